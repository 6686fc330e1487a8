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
	parallel(t)
	c := start(t, selftest.Options{YAML: small})
	fill(t, leader(t, c), "k", 300)
	gone := follower(t, c)
	before, err := gone.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	gone.Kill()
	if err := os.RemoveAll(gone.Data); err != nil {
		t.Fatal(err)
	}
	if err := gone.Start(); err != nil {
		t.Fatal(err)
	}
	until(t, "the empty node to say what to do", func() (bool, error) {
		_, body, err := gone.Get(t.Context(), "/readyz")
		return strings.Contains(string(body), "raftkv member add"), err
	})
	l := leader(t, c)
	do(t, l, "RAFT", "MEMBER", "REMOVE", gone.Name)
	do(t, l, "RAFT", "MEMBER", "ADD", gone.Name, gone.Peer)
	if err := c.Ready(deadline(t)); err != nil {
		t.Fatal(err)
	}
	caughtUp(t, gone, l)
	promote(t, l, gone)
	after, err := gone.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if after.ID == before.ID {
		t.Errorf("node %s came back under its old identity %s", gone.Name, after.ID)
	}
	// It counts: with the old leader gone, it and the other one go on.
	l.Kill()
	now := leader(t, c)
	if got := do(t, now, "DBSIZE"); got != "300" {
		t.Errorf("%s keys, want 300", got)
	}
	do(t, now, "SET", "after", "1")
}

// A fourth node joins, takes over leadership, and the first leader leaves: it ends with 69.
func TestNodeJoinsAndOldLeaderLeaves(t *testing.T) {
	parallel(t)
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
	old := leader(t, c)
	do(t, old, "RAFT", "MEMBER", "ADD", n4.Name, n4.Peer)
	if err := c.Ready(deadline(t)); err != nil {
		t.Fatal(err)
	}
	caughtUp(t, n4, old)
	promote(t, old, n4)
	do(t, old, "RAFT", "MEMBER", "REMOVE", old.Name)
	code, err := old.Wait(deadline(t))
	if err != nil || code != 69 {
		t.Errorf("the removed leader ended with %d, %v; want 69", code, err)
	}
	now := leader(t, c)
	// A follower that is removed may never see the entry that does it: the others tell it.
	var out *selftest.Node
	for _, n := range c.Nodes[:3] {
		if n != old && n != now {
			out = n
		}
	}
	do(t, now, "RAFT", "MEMBER", "REMOVE", out.Name)
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

// An unsafe change is refused with a reason, and dry run changes nothing.
func TestUnsafeChangesAreRefused(t *testing.T) {
	parallel(t)
	c := start(t, selftest.Options{})
	l := leader(t, c)
	other := follower(t, c)
	if got := do(t, l, "RAFT", "MEMBER", "REMOVE", other.Name, "DRYRUN"); !strings.Contains(got, "would remove") {
		t.Errorf("dry run answered %q", got)
	}
	other.Kill()
	var third *selftest.Node
	for _, n := range c.Nodes {
		if n != l && n != other {
			third = n
		}
	}
	until(t, "the leader to miss the dead node", func() (bool, error) {
		s, err := l.Status(t.Context())
		for _, m := range s.Members {
			if m.Name == other.Name && !m.Active {
				return true, nil
			}
		}
		return false, err
	})
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
