package e2e

import (
	"strings"
	"testing"

	"github.com/raftkv/raftkv/internal/testenv"
	"github.com/raftkv/raftkv/selftest"
)

// supervise starts a node again whenever it died, as systemd would, until done.
// The node may end with 74, and not again and again.
func supervise(t *testing.T, n *selftest.Node, done func() (bool, error)) (deaths int) {
	t.Helper()
	until(t, n.Name+" under supervision", func() (bool, error) {
		if n.Pid() == 0 {
			deaths++
			if code, err := n.Wait(t.Context()); code != 74 {
				t.Fatalf("%s ended with %d, %v: %s", n.Name, code, err, n.Tail(2))
			}
			if deaths > 3 {
				t.Fatalf("%s dies again and again: %s", n.Name, n.Tail(2))
			}
			if err := n.Start(); err != nil {
				return false, err
			}
		}
		return done()
	})
	return deaths
}

// waitsForSpace tells whether a node says, before it serves, that it has no space.
func waitsForSpace(t *testing.T, n *selftest.Node) bool {
	t.Helper()
	_, body, err := n.Get(t.Context(), "/readyz")
	return err == nil && strings.Contains(string(body), "waiting for disk space")
}

// DE-05, DE-07, DE-08: the disk fills to the last byte, faster than anybody
// looks, so that a write or a snapshot finds no space. If that ends the node it
// is with 74; the others go on; with the space back the node comes back by itself,
// or by its supervisor, with everything.
func TestDiskFillsToTheLastByte(t *testing.T) {
	testenv.FullOnly(t)
	parallel(t)
	for _, tc := range []struct {
		name   string
		victim func(*testing.T, *selftest.Cluster) *selftest.Node
	}{{"leader", leader}, {"follower", follower}} {
		t.Run(tc.name, func(t *testing.T) {
			parallel(t)
			c, disks := startOnDisks(t, 48, selftest.Options{YAML: small + "disk: {low_space_bytes: 1MiB, reserve_bytes: 256KiB}\n"})
			deaths := 0
			torment(t, c, func(w *selftest.Workload) {
				for range 2 {
					n := tc.victim(t, c)
					d := diskOf(c, disks, n)
					d.fill(t, 0)
					for range 4 {
						from := w.Acked()
						deaths += supervise(t, n, func() (bool, error) { return w.Acked() >= from+50, nil })
					}
					d.release(t)
					want, err := leader(t, c).Status(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					deaths += supervise(t, n, func() (bool, error) {
						s, err := n.Status(t.Context())
						return err == nil && s.Ready && !s.LowSpace && s.AppliedIndex >= want.CommitIndex, err
					})
				}
			})
			t.Logf("the node died %d times", deaths)
		})
	}
}

// The same for all disks at once: nothing that was acknowledged is lost, and
// with the space back the cluster is.
func TestAllDisksFillToTheLastByte(t *testing.T) {
	parallel(t)
	c, disks := startOnDisks(t, 48, selftest.Options{YAML: small + "disk: {low_space_bytes: 1MiB, reserve_bytes: 256KiB}\n"})
	deaths := 0
	torment(t, c, func(w *selftest.Workload) {
		for _, d := range disks {
			d.fill(t, 0)
		}
		for _, n := range c.Nodes {
			deaths += supervise(t, n, func() (bool, error) {
				s, err := n.Status(t.Context())
				return err == nil && s.LowSpace || waitsForSpace(t, n), err
			})
		}
		for _, d := range disks {
			d.release(t)
		}
		for _, n := range c.Nodes {
			deaths += supervise(t, n, func() (bool, error) {
				s, err := n.Status(t.Context())
				return err == nil && s.Ready && !s.LowSpace, err
			})
		}
		takesWrites(t, c.Nodes...)
	})
	t.Logf("nodes died %d times", deaths)
}
