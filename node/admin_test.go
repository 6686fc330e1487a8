package node

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/raftkv/raftkv/raft"
)

func TestChangeMember(t *testing.T) {
	c := newCluster(t, 3, nil)
	h := c.elect(1)
	answers := 0
	var got error
	done := func(err error) { answers, got = answers+1, err }

	h.r.Handle(ChangeMember{ID: 3, DryRun: true, Done: done})
	c.settle()
	if answers != 1 || got != nil || len(h.members.Members) != 3 {
		t.Fatalf("dry run: %d answers, %v, %d members", answers, got, len(h.members.Members))
	}
	c.host(2).r.Handle(ChangeMember{ID: 3, Done: done})
	var other *raft.NotLeaderError
	if answers != 2 || !errors.As(got, &other) || other.Leader != 1 {
		t.Errorf("on a follower: %v, want the leader", got)
	}
	for _, o := range c.hosts {
		o.hungDisk = true
	}
	h.r.Handle(ChangeMember{ID: 3, Done: done})
	c.settle()
	if answers != 2 {
		t.Fatal("answered before it was committed")
	}
	if len(h.members.Members) != 2 {
		t.Error("the network did not hear of it: a configuration counts as soon as it is in the log")
	}
	for _, o := range c.hosts {
		o.hungDisk = false
	}
	c.tick(5)
	if answers != 3 || got != nil {
		t.Errorf("%d answers, %v", answers, got)
	}
	for _, id := range []raft.NodeID{1, 2} {
		if n := len(c.host(id).members.Members); n != 2 {
			t.Errorf("node %v keeps connections with %d members, want 2", id, n)
		}
	}
	// The applier knows the configuration at exactly its index: a snapshot carries it.
	h.r.Handle(TakeSnapshot{Done: func(m raft.SnapshotMeta, err error) {
		answers, got = answers+1, err
		if len(m.Config.Members) != 2 || !m.Config.WasRemoved(3) {
			t.Errorf("snapshot with configuration %+v", m.Config)
		}
	}})
	c.tick(5)
	if answers != 4 || got != nil {
		t.Errorf("snapshot: %d answers, %v", answers, got)
	}
}

func TestTransfer(t *testing.T) {
	c := newCluster(t, 3, nil)
	h := c.elect(1)
	k := h.client()
	k.submit("a", "b")
	var got error = ErrTimeout
	h.r.Handle(Transfer{Done: func(err error) { got = err }})
	k.submit("c")
	c.tick(20)
	if got != nil || h.r.leads() {
		t.Errorf("transfer: %v, still leads: %v", got, h.r.leads())
	}
	k.want("ok a|ok b|ok c") // what came during the transfer waited for the new leader
	c.wantAll("a,b,c")

	got = nil
	h.r.Handle(Transfer{To: 1, Done: func(err error) { got = err }})
	var other *raft.NotLeaderError
	if !errors.As(got, &other) {
		t.Errorf("transfer on a follower: %v, want the leader", got)
	}
}

// Shutdown hands leadership over, ends what is open with its true outcome, and
// refuses what comes (PC-11).
func TestShutdownDrains(t *testing.T) {
	c := newCluster(t, 3, nil)
	h := c.elect(1)
	k := h.client()
	done := 0
	k.submit("a", "r")
	h.r.Handle(Shutdown{Done: func() { done++ }})
	k.submit("b")
	h.r.Flush()
	if done != 0 {
		t.Error("done with requests open")
	}
	if h.r.Ready() {
		t.Error("still ready")
	}
	c.tick(20)
	if done != 1 {
		t.Fatalf("done %d times, want 1", done)
	}
	k.want("not applied|not applied|not applied") // none was started: all came with the shutdown
	if !errors.Is(k.err(1), ErrShutdown) {
		t.Errorf("error %v", k.err(1))
	}
	if h.r.leads() {
		t.Error("still leads")
	}
}

func TestShutdownWaitsForOpenWrites(t *testing.T) {
	c := newCluster(t, 3, nil)
	h := c.elect(1)
	k := h.client()
	for _, o := range c.hosts {
		o.hungDisk = true
	}
	k.submit("a")
	c.settle()
	done := 0
	h.r.Handle(Shutdown{Done: func() { done++ }})
	c.settle()
	k.want("-")
	if done != 0 {
		t.Error("done with a write open")
	}
	for _, o := range c.hosts {
		o.hungDisk = false
	}
	c.tick(30)
	k.want("ok a")
	if done != 1 {
		t.Errorf("done %d times, want 1", done)
	}
}

// Stop leaves nothing without an answer.
func TestStopAnswersEverything(t *testing.T) {
	c := newCluster(t, 3, nil)
	h := c.elect(1)
	k, l, m := h.client(), c.host(2).client(), h.client()
	c.cut = func(from, to raft.NodeID) bool { return true }
	c.hold = true
	k.submit("a", "r", "s")
	l.submit("b")
	c.settle()
	l.submit("r")
	c.settle()
	m.submit("c") // not pumped yet
	for _, o := range []*host{h, c.host(2)} {
		o.r.Handle(Stop{})
		for len(o.jobs) > 0 {
			o.a.Do(o.jobs[0])
			o.jobs = o.jobs[1:]
		}
		o.a.Stop()
	}
	k.want("unknown|not applied|not applied")
	l.want("unknown|not applied")
	m.want("not applied")
}

// Whoever removes the leader is told so, though the leader ends because of it.
func TestShutdownWaitsForAChange(t *testing.T) {
	c := newCluster(t, 3, nil)
	h := c.elect(1)
	var said []string
	h.r.Handle(ChangeMember{ID: 1, Done: func(err error) { said = append(said, fmt.Sprint("change ", err)) }})
	h.r.Handle(Shutdown{Done: func() { said = append(said, "drained") }})
	h.r.Flush()
	if len(said) > 0 {
		t.Errorf("before anything is committed: %v", said)
	}
	c.tick(5)
	if want := []string{"change <nil>", "drained"}; !slices.Equal(said, want) {
		t.Errorf("said %v, want %v", said, want)
	}
}
