package node

import (
	"errors"
	"testing"

	"github.com/raftkv/raftkv/raft"
)

// Growth is refused when those with room are no majority, and not before: not
// where one node is low, be it the leader. Who is short, and of what, is said.
func TestGrowthStopsWithTheMajority(t *testing.T) {
	c := newCluster(t, 3, func(cfg *Config) { cfg.Frees = func(cmd []byte) bool { return string(cmd) == "del" } })
	h := c.elect(1)
	space := func(id raft.NodeID, s Space) {
		c.host(id).r.Handle(s)
		c.tick(3) // a heartbeat and its reply
	}
	try := func(cmd string) (Outcome, error) {
		k := h.client()
		k.submit(cmd)
		c.settle()
		return k.replies[1].Outcome, k.err(1)
	}
	for _, tc := range []struct {
		name  string
		space [3]Space
		want  string // of the refusal of "set", empty if it is taken
		frees bool   // deletes are taken
	}{
		{"all have room", [3]Space{}, "", true},
		{"leader low", [3]Space{0: {Low: true}}, "", true},
		{"follower low", [3]Space{1: {Low: true}}, "", true},
		{"follower full", [3]Space{2: {Full: true}}, "", true},
		{"two low", [3]Space{0: {Low: true}, 2: {Low: true}},
			"disk space is low on a majority of the nodes; free some: below disk.low_space_bytes on n1, n3", true},
		{"one low, one full", [3]Space{1: {Low: true}, 2: {Full: true}},
			"disk space is low on a majority of the nodes; free some: below disk.low_space_bytes on n2; below disk.reserve_bytes on n3", true},
		{"two full", [3]Space{1: {Full: true}, 2: {Full: true}},
			"disk space is low on a majority of the nodes; free some: below disk.reserve_bytes on n2, n3", false},
		{"all have room again", [3]Space{}, "", true},
	} {
		for i, s := range tc.space {
			space(raft.NodeID(i+1), s)
		}
		outcome, err := try("set")
		switch {
		case tc.want == "" && outcome != Applied:
			t.Errorf("%s: set: %v %v", tc.name, outcome, err)
		case tc.want != "" && (outcome != NotApplied || !errors.Is(err, ErrNoSpace) || err.Error() != tc.want):
			t.Errorf("%s: set: %v %q, want %q", tc.name, outcome, err, tc.want)
		}
		if outcome, err := try("del"); (outcome == Applied) != tc.frees {
			t.Errorf("%s: del: %v %v", tc.name, outcome, err)
		}
	}
}

// Leadership goes to a voter with room, if there is one that answers.
func TestSuccessorHasRoom(t *testing.T) {
	c := newCluster(t, 4, nil)
	h := c.elect(1)
	for id, s := range map[raft.NodeID]Space{2: {Full: true}, 3: {Low: true}} {
		c.host(id).r.Handle(s)
	}
	c.tick(3)
	if got := h.r.successor(); got != 4 {
		t.Errorf("node %v would lead, want 4", got)
	}
	c.host(4).down = true
	c.tick(15)
	if got := h.r.successor(); got != 3 {
		t.Errorf("node %v would lead, want 3: low is better than full", got)
	}
}

// A follower that takes no entries can't serve linearizable reads once there are
// some: it is not ready. While there are none, it is.
func TestFullFollowerIsNotReady(t *testing.T) {
	c := newCluster(t, 3, nil)
	h := c.elect(1)
	f := c.host(3)
	f.r.Handle(Space{Full: true})
	c.tick(15)
	if !f.r.Ready() {
		t.Error("not ready, though it lacks nothing")
	}
	h.client().submit("a")
	c.tick(15)
	if f.r.Ready() {
		t.Error("ready, though it takes no entries and lacks one")
	}
	f.r.Handle(Space{})
	c.tick(15)
	if !f.r.Ready() {
		t.Error("not ready with space again")
	}
	c.wantAll("a")
}
