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

// fill writes so many values of 100 bytes through a node.
func fill(t *testing.T, n *selftest.Node, prefix string, count int) {
	t.Helper()
	fillWith(t, n, prefix, count, 100)
}

// fillWith is fill for values of another size.
func fillWith(t *testing.T, n *selftest.Node, prefix string, count, size int) {
	t.Helper()
	conn, err := selftest.Dial(deadline(t), n.Client)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for i := range count {
		args := []string{"SET", fmt.Sprintf("%s%d", prefix, i), strings.Repeat("v", size)}
		if _, outcome, _ := conn.Do(attempt, args...); outcome != selftest.OK {
			do(t, n, args...) // until it is answered
		}
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

// fetched makes sure that a node has fetched a snapshot since it started.
func fetched(t *testing.T, n *selftest.Node) {
	t.Helper()
	if got := metric(t, n, "raftkv_fetches_total"); got < 1 {
		t.Errorf("%s fetched %v snapshots, want at least 1", n.Name, got)
	}
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
	bothTiers(t)
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
	startOne(t, c, away)
	caughtUp(t, away, leader(t, c))
	fetched(t, away)
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
	ready(t, c)
	if got := do(t, away, "GET", "k599"); len(got) != 100 {
		t.Errorf("k599 has %d bytes, want 100", len(got))
	}
}

// DE-15, SN-07: a snapshot file that is torn or missing is noticed; the node
// fetches another one and serves nothing half.
func TestDamagedSnapshotIsFetchedAnew(t *testing.T) {
	parallel(t)
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
			bothTiers(t)
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
			startOne(t, c, victim)
			caughtUp(t, victim, leader(t, c))
			fetched(t, victim)
			if got := do(t, victim, "DBSIZE"); got != "700" {
				t.Errorf("%s keys, want 700", got)
			}
		})
	}
}

// A node that lost its snapshots and whose log starts above the leader's newest
// one has to get a newer one, though nobody writes any more: nothing else could help it.
func TestLostSnapshotIsNewerThanTheLeaders(t *testing.T) {
	bothTiers(t)
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
