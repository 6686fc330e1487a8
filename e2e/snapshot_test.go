package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/selftest"
)

// small makes a cluster take snapshots often and keep little log.
const small = `
snapshot: {log_entries: 200, log_bytes: 1MiB, keep_entries: 20}
`

// fill writes n values through a node.
func fill(t *testing.T, n *selftest.Node, prefix string, count int) {
	t.Helper()
	for i := range count {
		do(t, n, "SET", fmt.Sprintf("%s%d", prefix, i), strings.Repeat("v", 100))
	}
}

// caughtUp waits until a node has applied what another one has committed.
func caughtUp(t *testing.T, behind, ahead *selftest.Node) {
	t.Helper()
	want, err := ahead.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	until(t, fmt.Sprintf("%s to apply entry %d", behind.Name, want.CommitIndex), func() (bool, error) {
		s, err := behind.Status(t.Context())
		return s.AppliedIndex >= want.CommitIndex && s.Ready, err
	})
}

// metric reads one number of /metrics.
func metric(t *testing.T, n *selftest.Node, name string) float64 {
	t.Helper()
	_, body, err := n.Get(t.Context(), "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(body)) {
		var v float64
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			if _, err := fmt.Sscan(rest, &v); err != nil {
				t.Fatal(err)
			}
			return v
		}
	}
	t.Fatalf("no metric %s at %s", name, n.Name)
	return 0
}

// compacted waits until a node's log starts above an index.
func compacted(t *testing.T, n *selftest.Node, above uint64) {
	t.Helper()
	until(t, fmt.Sprintf("%s to drop its log up to %d", n.Name, above), func() (bool, error) {
		s, err := n.Status(t.Context())
		return s.LogFirstIndex > above, err
	})
}

// A node that was away until the log it needs was compacted fetches a snapshot
// (raft paper 7) and then has everything.
func TestAbsentNodeFetchesSnapshot(t *testing.T) {
	parallel(t)
	c := start(t, selftest.Options{YAML: small})
	away := follower(t, c)
	s, err := away.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	away.Kill()
	l := leader(t, c)
	fill(t, l, "k", 600)
	for _, n := range others(c, away) { // either may lead when it is back
		compacted(t, n, s.LastIndex+1)
	}
	if err := away.Start(); err != nil {
		t.Fatal(err)
	}
	if err := c.Ready(deadline(t)); err != nil {
		t.Fatal(err)
	}
	caughtUp(t, away, leader(t, c))
	if n := metric(t, away, "raftkv_fetches_total"); n < 1 {
		t.Errorf("%v snapshots fetched, want at least 1", n)
	}
	if got := do(t, away, "DBSIZE"); got != "600" {
		t.Errorf("%s keys at the node that came back, want 600", got)
	}
	// It can lead with what it fetched.
	for _, n := range c.Nodes {
		if n != away {
			n.Kill()
			if err := n.Start(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := c.Ready(deadline(t)); err != nil {
		t.Fatal(err)
	}
	if got := do(t, away, "GET", "k599"); len(got) != 100 {
		t.Errorf("k599 has %d bytes, want 100", len(got))
	}
}

// DE-15, SN-07: a snapshot file that is torn or missing is noticed; the node
// fetches another one and serves nothing half.
func TestDamagedSnapshotIsFetchedAnew(t *testing.T) {
	for _, tc := range []struct {
		name   string
		damage func(path string) error
	}{
		{"torn", func(path string) error { return os.Truncate(path, 1000) }},
		{"flipped", func(path string) error {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			b[len(b)/2] ^= 0x10
			return os.WriteFile(path, b, 0o600)
		}},
		{"missing", os.Remove},
	} {
		t.Run(tc.name, func(t *testing.T) {
			parallel(t)
			c := start(t, selftest.Options{YAML: small})
			fill(t, leader(t, c), "k", 700)
			victim := follower(t, c)
			compacted(t, victim, 100)
			victim.Kill()
			files, err := filepath.Glob(filepath.Join(victim.Data, "snapshots", "*.snap")) // not what the kill cut off
			if err != nil || len(files) == 0 {
				t.Fatalf("no snapshot to damage: %v", err)
			}
			for _, f := range files {
				if err := tc.damage(f); err != nil {
					t.Fatal(err)
				}
			}
			if err := victim.Start(); err != nil {
				t.Fatal(err)
			}
			if err := c.Ready(deadline(t)); err != nil {
				t.Fatal(err)
			}
			caughtUp(t, victim, leader(t, c))
			if n := metric(t, victim, "raftkv_fetches_total"); n < 1 {
				t.Errorf("%v snapshots fetched, want at least 1", n)
			}
			if got := do(t, victim, "DBSIZE"); got != "700" {
				t.Errorf("%s keys, want 700", got)
			}
		})
	}
}

// A node that lost its snapshots and whose log starts above the leader's newest
// one has to get a newer one, though nobody writes any more: nothing else could help it.
func TestLostSnapshotIsNewerThanTheLeaders(t *testing.T) {
	parallel(t)
	c := start(t, selftest.Options{YAML: "snapshot: {log_entries: 100000, keep_entries: 20}\n"})
	l, victim := leader(t, c), follower(t, c)
	fill(t, l, "k", 200)
	caughtUp(t, victim, l)
	do(t, victim, "RAFT", "SNAPSHOT") // it alone has one, and drops its log up to there
	compacted(t, victim, 100)
	victim.Kill()
	files, err := filepath.Glob(filepath.Join(victim.Data, "snapshots", "*.snap"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no snapshot to lose: %v", err)
	}
	for _, f := range files {
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	caughtUp(t, victim, leader(t, c))
	if got := do(t, victim, "DBSIZE"); got != "200" {
		t.Errorf("%s keys, want 200", got)
	}
}
