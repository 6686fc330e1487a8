package raft_test

import (
	"testing"

	"github.com/raftkv/raftkv/raft"
)

// bidsAfter is how many ticks a new core of three voters waits before it asks for pre-votes.
func bidsAfter(t *testing.T, self raft.NodeID, startTicks int) int {
	t.Helper()
	cfg := raft.DefaultConfig()
	cfg.ID, cfg.Boot, cfg.StartTicks = self, 1, startTicks
	r, err := raft.New(cfg, raft.Durable{Snapshot: raft.SnapshotMeta{Config: raft.Configuration{Members: []raft.Member{{ID: 1}, {ID: 2}, {ID: 3}}}}})
	if err != nil {
		t.Fatal(err)
	}
	for ticks := 0; ticks < 10*cfg.ElectionTicks; ticks++ {
		for _, m := range r.Output(raft.Room{Write: true}).Messages {
			if m.Kind != raft.MsgPreVote {
				t.Fatalf("node %v sends %v before it has a majority", self, m)
			}
			return ticks
		}
		r.Tick()
	}
	t.Fatalf("node %v never bids", self)
	return 0
}

// Where all nodes start at once nobody needs to wait for a leader that isn't
// there: they bid soon, one after the other.
func TestStartingNodesBidInTurn(t *testing.T) {
	for self, want := range map[raft.NodeID]int{1: 10, 2: 20, 3: 30} {
		if got := bidsAfter(t, self, 10); got != want {
			t.Errorf("node %v bids after %d ticks, want %d", self, got, want)
		}
	}
	if got, timeout := bidsAfter(t, 1, 0), raft.DefaultConfig().ElectionTicks; got < timeout {
		t.Errorf("without StartTicks a node bids after %d ticks, want %d at least", got, timeout)
	}
}

// A node that starts while there is a leader hears it before its turn, and makes no bid then.
func TestStartingNodeFollowsALeader(t *testing.T) {
	cfg := raft.DefaultConfig()
	cfg.ID, cfg.Boot, cfg.StartTicks = 2, 1, 10
	r, err := raft.New(cfg, raft.Durable{State: raft.HardState{Term: 1}, Snapshot: raft.SnapshotMeta{Config: raft.Configuration{Members: []raft.Member{{ID: 1}, {ID: 2}, {ID: 3}}}}})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		r.Tick()
	}
	r.Receive(raft.Message{Kind: raft.MsgAppend, From: 1, To: 2, Term: 1})
	for range cfg.ElectionTicks - 1 {
		r.Tick()
		if r.Role() != raft.Follower {
			t.Fatalf("it is a %v while the leader is fresh", r.Role())
		}
	}
}
