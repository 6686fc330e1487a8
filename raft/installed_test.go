package raft_test

import (
	"errors"
	"fmt"
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

// A snapshot that a leader offered long ago brings nothing: it is not fetched, it
// changes nothing, and the leader hears what is here, so that it goes on from there (SN-03).
func TestStaleSnapshotIsAcknowledged(t *testing.T) {
	c := core(t, 3, 1)
	c.get(raft.Message{Kind: raft.MsgAppend, Term: 1, Entries: log(1, 1, 1, 1, 1, 1), Commit: 4})
	stale := raft.SnapshotMeta{Last: id(1, 3), Config: c.Status().Config}
	sent := c.get(raft.Message{Kind: raft.MsgOffer, Term: 1, Snapshot: &stale, Commit: 4})
	if len(sent) != 1 || sent[0].Match != 5 || sent[0].Fetch != (raft.EntryID{}) {
		t.Errorf("a stale offer is answered with %v, want match 5", sent)
	}
	if c.Installed(stale) {
		t.Error("a stale snapshot would replace the state")
	}
	c.flush()
	if s := c.Status(); s.Commit != 4 || s.Last.Index != 5 || s.Base.Index != 0 || len(c.out.Committed) != 4 {
		t.Errorf("afterwards commit %d, last %v, base %v, %d applied", s.Commit, s.Last, s.Base, len(c.out.Committed))
	}
	// The same once the log has gone on: what it says isn't in the log any more.
	c.Applied(4)
	c.Compact(raft.SnapshotMeta{Last: id(1, 4), Config: stale.Config}, 5)
	c.flush()
	if s := c.Status(); s.Base.Index != 4 {
		t.Fatalf("the log begins behind %v, want 4", s.Base)
	}
	if c.Installed(stale) {
		t.Error("a stale snapshot would replace a newer state")
	}
	c.flush()
	if s := c.Status(); s.Commit != 4 || s.Last.Index != 5 || s.Base.Index != 4 {
		t.Errorf("afterwards commit %d, last %v, base %v", s.Commit, s.Last, s.Base)
	}
}

// "If existing log entry has same index and term as snapshot's last included entry,
// retain log entries following it and reply. Discard the entire log" otherwise
// (raft paper figure 13; SN-08).
func TestSnapshotAgainstALongerLog(t *testing.T) {
	for _, tc := range []struct {
		name    string
		log     []raft.Term
		last    raft.EntryID
		replace bool
		want    []raft.Term // of the log afterwards
	}{
		{"same term: the suffix stays", []raft.Term{1, 1, 1, 2, 2}, id(1, 3), false, []raft.Term{1, 1, 1, 2, 2}},
		{"other term: all of it goes", []raft.Term{1, 1, 1, 1, 1}, id(2, 3), true, nil},
		{"beyond the log: all of it goes", []raft.Term{1, 1}, id(2, 7), true, nil},
	} {
		c := core(t, 3, 2, tc.log...)
		c.get(raft.Message{Kind: raft.MsgAppend, Term: 3, Prev: id(3, 20)}) // a leader is there
		if got := c.Installed(raft.SnapshotMeta{Last: tc.last, Config: c.Status().Config}); got != tc.replace {
			t.Errorf("%s: the state is replaced: %v", tc.name, got)
		}
		c.Verify()
		c.flush()
		same(t, tc.name, c.terms(), tc.want)
		if s := c.Status(); s.Commit != tc.last.Index || s.Stable < tc.last.Index {
			t.Errorf("%s: commit %d, stable %d, want %d", tc.name, s.Commit, s.Stable, tc.last.Index)
		}
	}
}

// A log that starts behind what no snapshot reaches: with others the node fetches
// one; alone it says so and does not start (SN-07).
func TestLogWithoutItsSnapshot(t *testing.T) {
	for _, tc := range []struct {
		voters  raft.NodeID
		refetch raft.Index
		want    error
	}{
		{1, 0, raft.ErrNoState},
		{1, 15, nil}, // a majority of others found its state wrong: the birth's one voter is not all there is
		{3, 0, nil},
	} {
		voters, want := tc.voters, tc.want
		var c raft.Configuration
		for id := range voters {
			c.Members = append(c.Members, raft.Member{ID: id + 1})
		}
		cfg := raft.DefaultConfig()
		cfg.ID, cfg.Boot = 1, 1
		r, err := raft.New(cfg, raft.Durable{
			State: raft.HardState{Term: 1}, Base: id(1, 10), Entries: log(11, 1, 1), Snapshot: raft.SnapshotMeta{Last: id(1, 5), Config: c}, Refetch: tc.refetch,
		})
		if !errors.Is(err, want) || err == nil && !r.Status().Refetch {
			t.Errorf("%d voters: %v, want %v", voters, err, want)
		}
	}
}

// A node that lost its snapshot knows neither state nor time at the base of its log.
// The snapshot that it fetches tells both: as a leader it would else begin again at zero.
func TestFetchedSnapshotTellsTheTimeOfTheBase(t *testing.T) {
	c := raft.Configuration{Members: []raft.Member{{ID: 1}, {ID: 2}, {ID: 3}}}
	cfg := raft.DefaultConfig()
	cfg.ID, cfg.Boot = 1, 1
	r, err := raft.New(cfg, raft.Durable{State: raft.HardState{Term: 1}, Base: id(1, 10), Snapshot: raft.SnapshotMeta{Config: c}})
	if err != nil {
		t.Fatal(err)
	}
	if !r.Installed(raft.SnapshotMeta{Last: id(1, 10), Time: 77, Config: c}) {
		t.Error("the state is not replaced")
	}
	if got := r.LastTime(); got != 77 {
		t.Errorf("time at the base is %d, want 77", got)
	}
}

// A second change waits for the first; the same change once more changes nothing (MB-02).
func TestChangesOneAtATime(t *testing.T) {
	c := core(t, 3, 1).lead()
	ack := func() {
		last := c.Status().Last
		for _, from := range []raft.NodeID{2, 3} {
			c.get(raft.Message{Kind: raft.MsgAppendReply, From: from, Term: c.Term(), Match: last.Index, Have: last.Index, Last: last, Round: 0})
		}
	}
	ack()
	m := &raft.Member{ID: 9, Name: "n9", Learner: true}
	if _, err := c.ChangeMember(9, m); err != nil {
		t.Fatal(err)
	}
	if _, err := c.ChangeMember(8, &raft.Member{ID: 8, Name: "n8", Learner: true}); !errors.Is(err, raft.ErrPending) {
		t.Errorf("a second change: %v, want pending", err)
	}
	if _, err := c.ChangeMember(9, m); !errors.Is(err, raft.ErrPending) {
		t.Errorf("the same once more, too early: %v, want pending", err)
	}
	c.flush()
	ack()
	before := fmt.Sprint(c.Status().Config)
	if _, err := c.ChangeMember(9, m); err != nil {
		t.Errorf("the same once more: %v", err)
	}
	c.flush()
	ack()
	if s := c.Status(); fmt.Sprint(s.Config) != before || fmt.Sprint(s.Committed) != before {
		t.Errorf("members %v, committed %v, want %v", s.Config, s.Committed, before)
	}
}
