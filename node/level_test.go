package node

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/raft"
)

// upgrading is a cluster whose binaries know these levels. "new" needs level 2.
func upgrading(t *testing.T, known map[raft.NodeID]uint32) *cluster {
	return newCluster(t, len(known), func(cfg *Config) {
		cfg.Level = func(n uint32) []byte { return fmt.Appendf(nil, "level %d", n) }
		cfg.MaxLevel = known[cfg.Raft.ID]
		cfg.PeerLevel = func(id raft.NodeID) uint32 { return known[id] }
		cfg.Needs = func(cmd []byte) uint32 {
			if string(cmd) == "new" {
				return 2
			}
			return 1
		}
	})
}

// The level is raised once every member's binary knows it, and not before: not by
// a majority, and not while one can't be asked. What needs it is refused until then.
func TestLevelWaitsForEveryMember(t *testing.T) {
	known := map[raft.NodeID]uint32{1: 2, 2: 2, 3: 1}
	c := upgrading(t, known)
	h := c.elect(1)
	try := func(at *host, cmd string) (Outcome, error) {
		k := at.client()
		k.submit(cmd)
		c.tick(3)
		return k.replies[1].Outcome, k.err(1)
	}
	refused := func(what string) {
		t.Helper()
		c.tick(30)
		if s := h.r.Status(); s.Level != 1 || s.MaxLevel != 2 {
			t.Errorf("%s: level %d of %d, want 1 of 2", what, s.Level, s.MaxLevel)
		}
		for _, at := range []*host{h, c.host(2)} {
			if outcome, err := try(at, "new"); outcome != NotApplied || !errors.Is(err, ErrLevel) {
				t.Errorf("%s: a new command at node %v: %v %v", what, at.id, outcome, err)
			}
		}
		if outcome, err := try(h, "old"); outcome != Applied {
			t.Errorf("%s: an old command: %v %v", what, outcome, err)
		}
	}
	refused("one knows less")
	known[3] = 0
	refused("one is not connected")
	known[3] = 2
	c.tick(30)
	for _, o := range c.hosts {
		if s := o.r.Status(); s.Level != 2 {
			t.Errorf("node %v is at level %d, want 2", o.id, s.Level)
		}
	}
	if outcome, err := try(h, "new"); outcome != Applied {
		t.Errorf("a new command: %v %v", outcome, err)
	}
	last := h.r.core.Status().Last
	c.tick(100)
	if got := h.r.core.Status().Last; got != last || strings.Count(strings.Join(h.m.list, ","), "level") != 1 {
		t.Errorf("it goes on to raise the level: %q", h.m.list)
	}
	// A member that comes later and knows more changes nothing: all must.
	known[3] = 7
	c.tick(30)
	if got := h.r.Status().Level; got != 2 {
		t.Errorf("level %d, want 2: only one knows more", got)
	}
}
