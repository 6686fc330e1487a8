package e2e

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/internal/testenv"
	"github.com/raftkv/raftkv/selftest"
)

// The thresholds of the tests of full disks.
const (
	lowBytes     = 8 << 20
	reserveBytes = 2 << 20
	thresholds   = "disk: {low_space_bytes: 8MiB, reserve_bytes: 2MiB}\n"
)

// seesSpace waits until a node knows how its disk is.
func seesSpace(t *testing.T, n *selftest.Node, low bool) {
	t.Helper()
	until(t, fmt.Sprintf("%s to see that low space is %v", n.Name, low), func() (bool, error) {
		s, err := n.Status(t.Context())
		return err == nil && s.LowSpace == low, err
	})
}

// pids are those of all nodes: who kept its own did not die.
func pids(c *selftest.Cluster) (out []int) {
	for _, n := range c.Nodes {
		out = append(out, n.Pid())
	}
	return out
}

// samePids fails if a node was restarted or died.
func samePids(t *testing.T, c *selftest.Cluster, before []int) {
	t.Helper()
	for i, n := range c.Nodes {
		if n.Pid() != before[i] {
			t.Errorf("%s died:\n%s", n.Name, n.Tail(5))
		}
	}
}

// write makes one write at a node and returns the error reply, if any.
func write(t *testing.T, n *selftest.Node, args ...string) (selftest.Outcome, string) {
	t.Helper()
	conn, err := selftest.Dial(deadline(t), n.Client)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, outcome, err := conn.Do(attempt, args...)
	var reply *selftest.ErrorReply
	if errors.As(err, &reply) {
		return outcome, reply.Text
	}
	if err != nil {
		t.Fatal(err)
	}
	return outcome, ""
}

// takesWrites waits until a write at each of the nodes goes through.
func takesWrites(t *testing.T, nodes ...*selftest.Node) {
	t.Helper()
	for _, n := range nodes {
		until(t, n.Name+" to take a write", func() (bool, error) {
			outcome, text := write(t, n, "SET", "new", "v")
			return outcome == selftest.OK, errors.New(text)
		})
	}
}

// DE-05, DE-06, DE-08: the disk of one node, leader or follower, is full. The
// others have room: they go on to take writes, the node says so, and nothing
// dies. When the space is given back, it notices by itself.
func TestOneDiskFull(t *testing.T) {
	testenv.FullOnly(t)
	parallel(t)
	for _, tc := range []struct {
		name   string
		victim func(*testing.T, *selftest.Cluster) *selftest.Node
		left   uint64
	}{
		{"leader, low", leader, lowBytes / 2},
		{"follower, low", follower, lowBytes / 2},
		{"leader, below the floor", leader, reserveBytes / 2},
		{"follower, below the floor", follower, reserveBytes / 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			parallel(t)
			c, disks := startOnDisks(t, 64, selftest.Options{YAML: thresholds})
			before := pids(c)
			torment(t, c, func(w *selftest.Workload) {
				n := tc.victim(t, c)
				d := diskOf(c, disks, n)
				d.fill(t, tc.left)
				seesSpace(t, n, true)
				progress(t, w)
				until(t, "a leader with room", func() (bool, error) {
					l := leader(t, c)
					s, err := l.Status(t.Context())
					return err == nil && !s.LowSpace, err
				})
				for _, o := range c.Nodes {
					if o == n {
						continue // below the floor it takes no entries, so that it can't serve new reads
					}
					takesWrites(t, o)
					do(t, o, "GET", "new")
				}
				samePids(t, c, before)
				d.release(t)
				seesSpace(t, n, false)
				takesWrites(t, c.Nodes...)
				ready(t, c)
				caughtUp(t, n, leader(t, c))
			})
			samePids(t, c, before)
		})
	}
}

// DE-05, DE-06, DE-08: space is low where it counts: at a node that is alone, or
// below the floor at a majority. Writes get a clear error at every node, reads go
// on, nothing dies, and once there is space again writes go on by themselves.
func TestNoSpaceLeft(t *testing.T) {
	testenv.FullOnly(t)
	parallel(t)
	for _, tc := range []struct {
		name         string
		voters, full int
		left         uint64
		deletes      bool
	}{
		{"alone, low", 1, 1, lowBytes / 2, true},
		{"alone, below the floor", 1, 1, reserveBytes / 2, false},
		{"majority, low", 3, 2, lowBytes / 2, true},
		{"majority, below the floor", 3, 2, reserveBytes / 2, false},
		{"all, low", 3, 3, lowBytes / 2, true},
		{"all, below the floor", 3, 3, reserveBytes / 2, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			parallel(t)
			c, disks := startOnDisks(t, 64, selftest.Options{Voters: tc.voters, YAML: thresholds})
			fill(t, leader(t, c), "k", 50)
			before := pids(c)
			for i, n := range c.Nodes[:tc.full] {
				disks[i].fill(t, tc.left)
				seesSpace(t, n, true)
			}
			for _, n := range c.Nodes {
				until(t, n.Name+" to refuse writes for want of space", func() (bool, error) {
					outcome, text := write(t, n, "SET", "new", "v")
					return outcome == selftest.NotApplied && strings.HasPrefix(text, "NOSPACE"), fmt.Errorf("%v %s", outcome, text)
				})
				if got := do(t, n, "GET", "k7"); len(got) != 100 {
					t.Errorf("GET at %s brought %d bytes", n.Name, len(got))
				}
				if err := c.Ready(deadline(t)); err != nil {
					t.Errorf("not ready for reads: %v", err)
				}
				if tc.deletes {
					if got := do(t, n, "DEL", "k1"+n.Name[1:]); got != "1" {
						t.Errorf("DEL at %s answered %q", n.Name, got)
					}
				}
			}
			samePids(t, c, before)
			for _, d := range disks[:tc.full] {
				d.release(t)
			}
			takesWrites(t, c.Nodes...)
			samePids(t, c, before)
		})
	}
}
