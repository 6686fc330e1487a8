package raft_test

import (
	"testing"

	"github.com/raftkv/raftkv/raft"
)

// A bid counts votes by one configuration. A snapshot that brings another one
// ends the bid, or votes of the old one would elect in the new (found by the
// simulator, seed 1434 of its time).
func TestSnapshotEndsABid(t *testing.T) {
	members := func(n raft.NodeID) raft.Configuration {
		var c raft.Configuration
		for id := raft.NodeID(1); id <= n; id++ {
			c.Members = append(c.Members, raft.Member{ID: id})
		}
		return c
	}
	cfg := raft.DefaultConfig()
	cfg.ID, cfg.Boot = 1, 1
	r, err := raft.New(cfg, raft.Durable{State: raft.HardState{Term: 3}, Snapshot: raft.SnapshotMeta{Config: members(3)}})
	if err != nil {
		t.Fatal(err)
	}
	tick := func(until raft.Role) {
		t.Helper()
		for range 1000 {
			if r.Role() == until {
				return
			}
			r.Tick()
			if w := r.Output(raft.Room{Write: true}).Write; w != nil {
				r.Wrote(w.Seq)
			}
			r.Verify()
		}
		t.Fatalf("is %v, never %v", r.Role(), until)
	}
	tick(raft.PreCandidate)
	if !r.Installed(raft.SnapshotMeta{Last: raft.EntryID{Term: 3, Index: 10}, Config: members(1)}) {
		t.Fatal("the snapshot was not taken")
	}
	r.Verify()
	if r.Role() != raft.Follower {
		t.Errorf("is %v, want follower", r.Role())
	}
	tick(raft.Leader)
}
