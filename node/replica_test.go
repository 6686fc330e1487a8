package node

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/raftkv/raftkv/raft"
)

// A pipeline sees its own earlier writes and never its later ones, wherever it
// is connected.
func TestPipelineOfWritesAndReads(t *testing.T) {
	for _, at := range []raft.NodeID{1, 2} {
		c := newCluster(t, 3, nil)
		c.elect(1)
		k := c.host(at).client()
		k.submit("a", "r", "b", "c", "r", "r", "d", "s", "r")
		c.tick(5)
		k.want("ok a|a|ok b|ok c|a,b,c|a,b,c|ok d|a,b,c,d|a,b,c,d")
		c.wantAll("a,b,c,d")
	}
}

func TestSingleNode(t *testing.T) {
	c := newCluster(t, 1, nil)
	h := c.elect(1)
	k := h.client()
	h.hungDisk = true
	k.submit("a", "r")
	c.tick(3)
	k.want("-|-") // nothing before the own disk has it
	h.hungDisk = false
	c.settle()
	k.want("ok a|a")
	if k.calls != 1 {
		t.Errorf("%d calls of Deliver for one batch, want 1", k.calls)
	}
}

// The replies of one batch of a connection come in one call.
func TestRepliesOfOneBatchComeTogether(t *testing.T) {
	c := newCluster(t, 3, nil)
	h := c.elect(1)
	k, o := h.client(), h.client()
	k.submit("a", "b")
	o.submit("c")
	k.submit("d")
	c.settle()
	k.want("ok a|ok b|ok d")
	if k.calls != 1 || o.calls != 1 {
		t.Errorf("%d and %d calls of Deliver, want one each", k.calls, o.calls)
	}
}

// A write whose leader lost its place is settled by what is committed at its
// index: here it was replicated, so it took effect.
func TestLostLeadershipButCommitted(t *testing.T) {
	c := newCluster(t, 3, nil)
	h := c.elect(1)
	k := h.client()
	// The others get the entry, their answers get lost.
	c.cut = func(from, to raft.NodeID) bool { return to == 1 }
	k.submit("a")
	c.settle()
	k.want("-")
	c.elect(2)
	c.cut = nil
	c.tick(5)
	if h.r.leads() {
		t.Fatal("node 1 still leads")
	}
	k.want("ok a")
	c.wantAll("a")
}

// A write that was replaced by another leader's entry surely did nothing, so
// the node tries it again, in order, and its client never hears of it.
func TestReplacedWritesAreRetriedInOrder(t *testing.T) {
	c := newCluster(t, 3, nil)
	h := c.elect(1)
	k := h.client()
	c.cut = func(from, to raft.NodeID) bool { return from == 1 || to == 1 }
	k.submit("a", "b")
	c.settle()
	k.submit("c")
	o := c.elect(2).client()
	o.submit("x", "y")
	c.tick(3)
	k.want("-|-|-")
	c.cut = nil
	c.tick(10)
	o.want("ok x|ok y")
	k.want("ok a|ok b|ok c")
	c.wantAll("x,y,a,b,c")
}

// A write that neither a commit nor a replacement settled is unknown at its
// deadline, and what waited behind it on its connection is not submitted.
func TestDeadlineIsUnknown(t *testing.T) {
	c := newCluster(t, 3, nil)
	h := c.elect(1)
	k := h.client()
	c.cut = func(from, to raft.NodeID) bool { return from == 1 || to == 1 }
	k.submit("a")
	c.tick(30) // it loses its lead
	k.submit("b", "r")
	c.tick(80)
	k.want("unknown|not applied|-")
	if !errors.Is(k.err(1), ErrTimeout) || !errors.Is(k.err(2), ErrEarlier) {
		t.Errorf("errors %v, %v", k.err(1), k.err(2))
	}
	c.tick(60)
	k.want("unknown|not applied|not applied")
	if !errors.Is(k.err(3), ErrNoLeader) {
		t.Errorf("error %v, want no leader", k.err(3))
	}
}

// Requests that come while there is no leader wait for one.
func TestRequestsWaitForALeader(t *testing.T) {
	c := newCluster(t, 3, nil)
	k, l := c.host(1).client(), c.host(3).client()
	k.submit("a", "r")
	l.submit("r", "b")
	c.settle()
	k.want("-|-")
	c.elect(1)
	c.tick(5)
	k.want("ok a|a")
	if got := l.replies[2]; got.Outcome != Applied {
		t.Errorf("write of the follower: %+v", got)
	}
}

func TestNoLeaderInTime(t *testing.T) {
	c := newCluster(t, 3, nil)
	c.cut = func(_, _ raft.NodeID) bool { return true }
	k, s := c.host(1).client(), c.host(1).client()
	k.submit("a", "b", "r")
	s.submit("s")
	c.tick(120)
	k.want("not applied|not applied|not applied")
	if !errors.Is(k.err(1), ErrNoLeader) || !errors.Is(k.err(2), ErrEarlier) || !errors.Is(k.err(3), ErrNoLeader) {
		t.Errorf("errors %v, %v, %v", k.err(1), k.err(2), k.err(3))
	}
	s.want("not applied")
	if !errors.Is(s.err(1), ErrNotReady) {
		t.Errorf("error %v, want not ready", s.err(1))
	}
}

// What a node shows to stale readers may be as old as its silence.
func TestSilenceIsTold(t *testing.T) {
	c := newCluster(t, 3, nil)
	c.elect(1)
	silence := func(id raft.NodeID) float64 { return c.host(id).r.Status().SilenceSeconds }
	c.tick(30)
	for id := raft.NodeID(1); id <= 3; id++ {
		if got := silence(id); got != 0 {
			t.Errorf("node %d hears its leader and tells %v s of silence", id, got)
		}
	}
	c.cut = func(from, to raft.NodeID) bool { return from == 2 || to == 2 }
	c.tick(300)
	// It is noticed with an election timeout at the latest, and looked at now and then.
	if got := silence(2); got > 3 || got < 2.7 {
		t.Errorf("after 3 s without a leader it tells %v s", got)
	}
	if got := silence(1); got != 0 {
		t.Errorf("the leader tells %v s", got)
	}
	c.cut = nil
	c.tick(30)
	if got := silence(2); got != 0 {
		t.Errorf("it hears a leader again and tells %v s", got)
	}
}

// Busy writes are refused at once, with all that waits behind them, and nothing
// of the connection is submitted before the open ones have ended.
func TestOverload(t *testing.T) {
	c := newCluster(t, 3, func(cfg *Config) { cfg.Raft.MaxUncommittedBytes = 400 })
	h := c.elect(1)
	k := h.client()
	h.hungDisk = true
	for _, o := range c.hosts {
		o.hungDisk = true
	}
	big := strings.Repeat("x", 200)
	k.submit("a", big, big, "b", "r")
	c.settle()
	k.want("-|-|not applied|not applied|-")
	if !errors.Is(k.err(3), raft.ErrBusy) {
		t.Errorf("error %v, want busy", k.err(3))
	}
	k.submit("c")
	c.settle()
	if n := h.r.tickets.len(); n != 2 {
		t.Errorf("%d writes are open, want 2: c must wait", n)
	}
	for _, o := range c.hosts {
		o.hungDisk = false
	}
	c.tick(3)
	k.want("ok a|ok " + big + "|not applied|not applied|a," + big + "|ok c")
}

// A lane is bounded.
func TestWaitingIsBounded(t *testing.T) {
	c := newCluster(t, 3, func(cfg *Config) { cfg.MaxWaiting = 2 })
	k := c.host(1).client()
	k.submit("a", "b", "c", "d")
	c.settle()
	k.want("-|-|not applied|not applied")
	if !errors.Is(k.err(3), ErrBusy) {
		t.Errorf("error %v, want busy", k.err(3))
	}
}

// Low space refuses writes with a clear error and clears itself.
func TestLowSpace(t *testing.T) {
	c := newCluster(t, 1, func(cfg *Config) { cfg.Frees = func(cmd []byte) bool { return string(cmd) == "d" } })
	h := c.elect(1)
	k := h.client()
	h.r.Handle(Space{Low: true})
	k.submit("a", "r")
	c.settle()
	k.want("not applied|")
	del := h.client()
	del.submit("d")
	c.settle()
	del.want("ok d")
	if !errors.Is(k.err(1), ErrNoSpace) {
		t.Errorf("error %v, want no space", k.err(1))
	}
	h.r.Handle(Space{Low: false})
	k.submit("b")
	c.settle()
	k.want("not applied||ok b")
}

// Too few nodes with space: writes are refused clearly, wherever they come from.
func TestLowSpaceOfTheMajority(t *testing.T) {
	c := newCluster(t, 3, nil)
	h := c.elect(1)
	c.host(2).r.Handle(Space{Full: true})
	c.host(3).r.Handle(Space{Full: true})
	c.tick(5)
	k, l := h.client(), c.host(2).client()
	k.submit("a", "r")
	l.submit("b", "r")
	c.tick(5)
	k.want("not applied|")
	l.want("not applied|")
	if !errors.Is(k.err(1), ErrNoSpace) || !errors.Is(l.err(1), ErrNoSpace) {
		t.Errorf("errors %v, %v, want no space", k.err(1), l.err(1))
	}
}

// A connection that closed is never answered by the loop, and what it had
// waiting does nothing.
func TestClosedConnection(t *testing.T) {
	c := newCluster(t, 3, nil)
	k := c.host(1).client()
	k.submit("a")
	c.settle()
	c.host(1).r.Handle(Closed{Conn: k.conn})
	c.elect(1)
	c.tick(20)
	k.want("-")
	c.wantAll("")
	if got := c.host(1).r.waiting; got != 0 {
		t.Errorf("%d still waiting", got)
	}
}

// A node is ready only when it has applied what was committed before its start,
// and holds the same state after it (OL-15, RD-06).
func TestRestart(t *testing.T) {
	c := newCluster(t, 3, nil)
	h := c.elect(1)
	k := h.client()
	k.submit("a", "b", "c")
	c.tick(5)
	c.wantAll("a,b,c")
	for _, o := range c.hosts {
		o.restart()
		if o.r.Ready() {
			t.Errorf("node %v is ready before it replayed", o.id)
		}
	}
	n := c.host(2)
	n.hungApplier = true
	c.elect(2)
	c.tick(5)
	if n.r.Ready() || !n.r.core.Status().Ready {
		t.Error("ready with an older state than it had")
	}
	n.hungApplier = false
	c.tick(15)
	c.wantAll("a,b,c")
	for _, o := range c.hosts {
		if !o.r.Ready() {
			t.Errorf("node %v is not ready", o.id)
		}
	}
}

// An older copy of the disk is noticed when a peer heard more than it knows.
func TestOlderDiskIsFenced(t *testing.T) {
	c := newCluster(t, 3, nil)
	c.elect(1)
	f := c.host(2)
	f.r.Handle(Heard{Peer: 1, Seq: f.r.wrote})
	c.settle()
	if f.r.core.Status().Fence != raft.FenceNone {
		t.Fatal("fenced without reason")
	}
	f.r.Handle(Heard{Peer: 1, Seq: f.r.wrote + 1})
	c.settle()
	if f.disk.Fence != raft.FenceForever {
		t.Errorf("fence on disk %v, want for ever", f.disk.Fence)
	}
}

func TestStatus(t *testing.T) {
	c := newCluster(t, 3, nil)
	h := c.elect(1)
	k := h.client()
	k.submit("a")
	c.tick(20)
	s := h.r.Status()
	if s.Role != "leader" || s.Leader != "1" || s.LeaderName != "n1" || !s.Ready || s.Lag != 0 || s.AppliedIndex != uint64(h.m.applied.Index) {
		t.Errorf("status %+v", s)
	}
	if len(s.Members) != 3 || !s.Members[0].Active || !s.Members[1].Active || s.Members[1].Match != s.LastIndex || s.Members[0].Match != s.LastIndex {
		t.Errorf("members %+v", s.Members)
	}
}

// A disk that went one write back knows one Seq less than the peers heard. That
// is what its fence is for, and no reason for the one that never lifts.
func TestOneWriteBackIsNotAnOlderCopy(t *testing.T) {
	c := newCluster(t, 3, nil)
	c.elect(1)
	c.settle()
	f := c.host(3)
	heard := f.disk.Seq
	f.disk.Seq, f.disk.Fence = heard-1, raft.FenceOneBack
	f.restart()
	f.r.Handle(Heard{Peer: 1, Seq: heard})
	f.r.Flush()
	if got := f.r.core.Status().Fence; got == raft.FenceForever {
		t.Error("fenced for ever by the write that the fence is about")
	}
	f.r.Handle(Heard{Peer: 1, Seq: heard + 1})
	f.r.Flush()
	if got := f.r.core.Status().Fence; got != raft.FenceForever {
		t.Errorf("fence %d after a peer heard of two writes that are gone, want for ever", got)
	}
}

// NP-19: a node that was alone for ten minutes comes back. It has asked all the time whether it may stand; no
// term was used, the leader stays, and it has everything at once.
func TestAloneForLong(t *testing.T) {
	c := newCluster(t, 3, nil)
	h := c.elect(1)
	before := h.r.core.Status().Term
	c.cut = func(from, to raft.NodeID) bool { return from == 3 || to == 3 }
	k := h.client()
	k.submit("a")
	c.tick(20)
	away := c.host(3)
	for range 60_000 {
		away.r.Handle(Tick{Elapsed: 10 * time.Millisecond, Wall: c.wall})
		c.settle()
	}
	if s := away.r.core.Status(); s.Role != raft.PreCandidate || s.Term != before {
		t.Errorf("alone it is %v in term %d, want one that asks in term %d", s.Role, s.Term, before)
	}
	c.cut = nil
	c.tick(20)
	for _, o := range c.hosts {
		if s := o.r.core.Status(); s.Term != before || s.Leader != 1 {
			t.Errorf("node %v is in term %d under %v, want %d and 1", o.id, s.Term, s.Leader, before)
		}
	}
	if away.r.applied != h.r.applied {
		t.Errorf("it has applied %d, the leader %d", away.r.applied, h.r.applied)
	}
}

// BI-06: a message with a forged term, even from a peer, brings no node to that term. People are told, not
// with each of them.
func TestAbsurdTermIsToldAndNotBelieved(t *testing.T) {
	var log bytes.Buffer
	c := newCluster(t, 3, func(cfg *Config) {
		if cfg.Raft.ID == 2 {
			cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
		}
	})
	h := c.elect(1)
	before := h.r.core.Status().Term
	for range 5 {
		for _, to := range c.hosts {
			to.r.Handle(Received{Messages: []raft.Message{{Kind: raft.MsgAppendReply, From: to.id%3 + 1, To: to.id, Term: 1<<62 - 1}}})
		}
		c.tick(20)
	}
	if got := h.r.core.Status(); got.Term != before || got.Role != raft.Leader {
		t.Errorf("node 1 is %v of term %d, want the leader of term %d still", got.Role, got.Term, before)
	}
	if lines := strings.Count(log.String(), "claims=4611686018427387903"); lines != 1 {
		t.Errorf("told %d times in a second, want once:\n%s", lines, log.String())
	}
	c.tick(absurdTicks)
	c.host(2).r.Handle(Received{Messages: []raft.Message{{Kind: raft.MsgAppend, From: 3, To: 2, Term: 1 << 63}}})
	if lines := strings.Count(log.String(), "claims="); lines != 2 {
		t.Errorf("told %d times, want a second time after ten seconds", lines)
	}
	// A node that knows no term takes a large one: it may be new in a cluster that had such a thing happen.
	r, err := raft.New(c.hosts[0].cfg.Raft, raft.Durable{Snapshot: birth(3)})
	if err != nil {
		t.Fatal(err)
	}
	r.Receive(raft.Message{Kind: raft.MsgAppend, From: 2, To: 1, Term: 1 << 40})
	if r.Term() != 1<<40 {
		t.Errorf("a new node is at term %d", r.Term())
	}
}
