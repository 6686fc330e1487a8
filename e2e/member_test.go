package e2e

import (
	"os"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/selftest"
)

// DE-17, MB-08, MB-12: a voter that lost its disk never comes back under its
// old identity. It waits, is added as a new learner, and is promoted.
func TestWipedNodeIsReplaced(t *testing.T) {
	bothTiers(t)
	c := start(t, selftest.Options{YAML: small})
	fill(t, leader(t, c), "k", 300)
	gone := follower(t, c)
	before, err := gone.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	gone.Kill()
	replaceWiped(t, c, gone)
	after, err := gone.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if after.ID == before.ID {
		t.Errorf("node %s came back under its old identity %s", gone.Name, after.ID)
	}
	// It counts: with the old leader gone, it and the other one go on.
	leader(t, c).Kill()
	now := leader(t, c)
	if got := do(t, now, "DBSIZE"); got != "300" {
		t.Errorf("%s keys, want 300", got)
	}
	do(t, now, "SET", "after", "1")
}

// replaceWiped empties the directory of a node that must not come back as it is, and
// lets it join anew, as docs/operations.md says.
func replaceWiped(t *testing.T, c *selftest.Cluster, n *selftest.Node) {
	t.Helper()
	if err := os.RemoveAll(n.Data); err != nil {
		t.Fatal(err)
	}
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	until(t, "the empty node to say what to do", func() (bool, error) {
		_, body, err := n.Get(t.Context(), "/readyz")
		return strings.Contains(string(body), "raftkv member add"), err
	})
	changeMember(t, c, "REMOVE", n)
	changeMember(t, c, "ADD", n)
	ready(t, c)
	caughtUp(t, n, leader(t, c))
	changeMember(t, c, "PROMOTE", n)
}

// A fourth node joins, takes over leadership, and the first leader leaves: it ends with 69.
func TestNodeJoinsAndOldLeaderLeaves(t *testing.T) {
	bothTiers(t)
	c := start(t, selftest.Options{})
	fill(t, leader(t, c), "k", 100)
	n4, err := c.Add()
	if err != nil {
		t.Fatal(err)
	}
	if err := n4.Start(); err != nil {
		t.Fatal(err)
	}
	until(t, "the new node to answer", func() (bool, error) {
		_, _, err := n4.Get(t.Context(), "/livez")
		return err == nil, err
	})
	changeMember(t, c, "ADD", n4)
	ready(t, c)
	caughtUp(t, n4, leader(t, c))
	changeMember(t, c, "PROMOTE", n4)
	old := leader(t, c)
	if old == n4 { // a busy machine may have made it lead already
		old = c.Nodes[0]
	}
	changeMember(t, c, "REMOVE", old)
	code, err := old.Wait(deadline(t))
	if err != nil || code != 69 {
		t.Errorf("the removed leader ended with %d, %v; want 69", code, err)
	}
	now := leader(t, c)
	// A follower that is removed may never see the entry that does it: the others tell it.
	out := third(c, old, now)
	changeMember(t, c, "REMOVE", out)
	if code, err := out.Wait(deadline(t)); err != nil || code != 69 {
		t.Errorf("the removed follower ended with %d, %v; want 69", code, err)
	}
	now = leader(t, c)
	if got := do(t, now, "DBSIZE"); got != "100" {
		t.Errorf("%s keys, want 100", got)
	}
	if s, err := now.Status(t.Context()); err != nil || len(s.Members) != 2 {
		t.Errorf("members %+v, %v", s.Members, err)
	}
}

// missing waits until the leader has noticed that a node is gone, and returns the leader.
func missing(t *testing.T, c *selftest.Cluster, gone *selftest.Node) (lead *selftest.Node) {
	t.Helper()
	until(t, "the leader to miss "+gone.Name, func() (bool, error) {
		lead = leader(t, c)
		s, err := lead.Status(t.Context())
		for _, m := range s.Members {
			if m.Name == gone.Name && !m.Active && s.Role == "leader" {
				return true, nil
			}
		}
		return false, err
	})
	return lead
}

// An unsafe change is refused with a reason, and dry run changes nothing.
func TestUnsafeChangesAreRefused(t *testing.T) {
	bothTiers(t)
	c := start(t, selftest.Options{})
	l, other := leader(t, c), follower(t, c)
	if got := do(t, l, "RAFT", "MEMBER", "REMOVE", other.Name, "DRYRUN"); !strings.Contains(got, "would remove") {
		t.Errorf("dry run answered %q", got)
	}
	other.Kill()
	l = missing(t, c, other)
	third := others(c, l, other)[0]
	conn, err := selftest.Dial(t.Context(), l.Client)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _, err = conn.Do(attempt, "RAFT", "MEMBER", "REMOVE", third.Name)
	if err == nil || !strings.Contains(err.Error(), "reachable") {
		t.Errorf("removing a live voter while another one is dead: %v, want a refusal", err)
	}
	if s, err := l.Status(t.Context()); err != nil || len(s.Members) != 3 {
		t.Errorf("members %+v, %v", s.Members, err)
	}
}
