package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/selftest"
)

// DE-16: a node is started on an older copy of its data directory. The first peer
// that heard more of it gives it away: it is fenced for ever, says so, and takes
// no part in elections. The others go on, and it can be replaced.
func TestOlderCopyIsFenced(t *testing.T) {
	bothTiers(t)
	c := start(t, selftest.Options{})
	l, n := leader(t, c), follower(t, c)
	fill(t, l, "k", 20)
	n.Kill()
	copied := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(copied, os.DirFS(n.Data)); err != nil {
		t.Fatal(err)
	}
	startOne(t, c, n)
	if l = leader(t, c); l == n { // others hear more of a follower: it acknowledges
		leads(t, c, others(c, n)[0])
		l = leader(t, c)
	}
	for i := range 50 {
		do(t, l, "SET", fmt.Sprint("later", i), "v")
	}
	caughtUp(t, n, l)
	n.Kill()
	if err := os.RemoveAll(n.Data); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(n.Data, os.DirFS(copied)); err != nil {
		t.Fatal(err)
	}
	if err := restrict(n.Data); err != nil {
		t.Fatal(err)
	}
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	until(t, n.Name+" to be fenced", func() (bool, error) {
		s, err := n.Status(t.Context())
		return err == nil && strings.Contains(s.Fence, "older copy"), err
	})
	if log, err := os.ReadFile(n.Log); err != nil || !strings.Contains(string(log), "remove this node from the cluster and let it rejoin") {
		t.Errorf("the log does not say what to do (%v)", err)
	}
	// With the leader gone only two are left, and one of them doesn't vote: no
	// leader, until the other one is back.
	third := others(c, n, l)[0]
	do(t, third, "SET", "a", "1")
	if l = leader(t, c); l == third { // a busy machine may have made it lead
		third = others(c, n, l)[0]
	}
	l.Kill()
	until(t, third.Name+" to miss a leader", func() (bool, error) {
		s, err := third.Status(t.Context())
		return err == nil && s.Leader == "", err
	})
	if err := l.Start(); err != nil {
		t.Fatal(err)
	}
	now := leader(t, c)
	if now == n {
		t.Error("the older copy leads")
	}
	if got := do(t, now, "GET", "later49"); got != "v" {
		t.Errorf("what was written since the copy is %q", got)
	}
}

// restrict gives a copied data directory the modes that it must have.
func restrict(dir string) error {
	return filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.Chmod(path, 0o700)
		}
		return os.Chmod(path, 0o600)
	})
}

// SN-07: the log of a node that is alone starts behind a snapshot, and that is
// gone. It does not start with half a state, and says what to do.
func TestLostSnapshotOfASingleNode(t *testing.T) {
	bothTiers(t)
	c := start(t, selftest.Options{Voters: 1, YAML: small})
	n := c.Nodes[0]
	fill(t, n, "k", 600)
	until(t, "the log to be trimmed", func() (bool, error) {
		s, err := n.Status(t.Context())
		return s.LogFirstIndex > 1 && s.SnapshotIndex > 0, err
	})
	n.Kill()
	files, err := filepath.Glob(filepath.Join(n.Data, "snapshots", "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no snapshots: %v", err)
	}
	for _, f := range files {
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
	ends(t, n, 65, "raftkv load a dump")
	if log := n.Tail(3); !strings.Contains(log, "the log starts at entry") {
		t.Errorf("the log does not say what is missing:\n%s", log)
	}
}

// MB-10: who is a member, and who a learner, is the same on all nodes after it went
// through snapshots and restarts. MB-07: a wrong address adds nobody.
func TestMembersSurviveSnapshotsAndRestarts(t *testing.T) {
	bothTiers(t)
	c := start(t, selftest.Options{YAML: small})
	n4, err := c.Add()
	if err != nil {
		t.Fatal(err)
	}
	if err := n4.Start(); err != nil {
		t.Fatal(err)
	}
	l := leader(t, c)
	for name, tc := range map[string][2]string{
		"nobody there":      {"n9", c.Host + ":9"},
		"another's address": {"n4", c.Nodes[0].Peer},
		"no address":        {"n4", "nonsense"},
	} {
		if outcome, text := write(t, l, "RAFT", "MEMBER", "ADD", tc[0], tc[1]); outcome == selftest.OK || text == "" {
			t.Errorf("%s: %v %q", name, outcome, text)
		}
	}
	do(t, l, "SET", "still", "served")
	changeMember(t, c, "ADD", n4)
	ready(t, c)
	fill(t, leader(t, c), "k", 300)
	sameState(t, c)
	members := func(n *selftest.Node) string {
		s, err := n.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		for _, m := range s.Members {
			fmt.Fprintf(&b, "%s %s %v; ", m.ID, m.Name, m.Learner)
		}
		return b.String()
	}
	want := members(n4)
	if strings.Count(want, ";") != 4 || strings.Count(want, "true") != 1 {
		t.Fatalf("members are %s", want)
	}
	for _, n := range c.Nodes {
		do(t, n, "RAFT", "SNAPSHOT")
		n.Kill()
	}
	startAll(t, c)
	for _, n := range c.Nodes {
		if got := members(n); got != want {
			t.Errorf("%s knows members %s, want %s", n.Name, got, want)
		}
	}
}
