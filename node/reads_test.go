package node

import (
	"errors"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/raft"
)

// A deposed leader that doesn't know it answers no read: its result is held
// until a majority has confirmed it, and thrown away if none does (RD-01).
func TestDeposedLeaderAnswersNoRead(t *testing.T) {
	c := newCluster(t, 3, nil)
	h := c.elect(1)
	c.cut = func(from, to raft.NodeID) bool { return from == 1 || to == 1 }
	k := h.client()
	o := c.elect(2).client()
	if !h.r.leads() {
		t.Fatal("node 1 knows already")
	}
	o.submit("x")
	c.settle()
	o.want("ok x")
	k.submit("r")
	c.settle()
	k.want("-")
	c.cut = nil
	c.tick(10)
	k.want("x") // asked again, at the new leader
	if h.metrics.ReadsLost.Load() != 1 {
		t.Errorf("%d reads lost, want 1", h.metrics.ReadsLost.Load())
	}
}

// A read shares a confirmation with the reads of its batch only: an echo that was
// under way before it came says nothing of the time when it came.
func TestLateEchoConfirmsNoLaterRead(t *testing.T) {
	c := newCluster(t, 3, nil)
	h := c.elect(1)
	c.cut = func(_, to raft.NodeID) bool { return to == 1 }
	early, late := h.client(), h.client()
	early.submit("r")
	var echoes []raft.Message
	for more := true; more; more = c.step() {
		for _, m := range c.msgs {
			if m.To == 1 && m.Kind == raft.MsgAppendReply {
				echoes = append(echoes, m)
			}
		}
	}
	early.want("-")
	c.cut = func(from, to raft.NodeID) bool { return from == 1 || to == 1 }
	o := c.elect(2).client()
	o.submit("x")
	c.settle()
	o.want("ok x")
	late.submit("r")
	c.settle()
	c.cut = func(from, _ raft.NodeID) bool { return from == 1 }
	c.msgs = append(c.msgs, echoes...)
	c.settle()
	early.want("") // it was asked before x was written
	late.want("-")
}

// A lost read with a write of its connection behind it can't be asked again: it
// could see that write.
func TestLostReadBeforeAWriteIsRefused(t *testing.T) {
	c := newCluster(t, 3, nil)
	h := c.elect(1)
	c.cut = func(from, to raft.NodeID) bool { return from == 1 || to == 1 }
	k := h.client()
	k.submit("r", "a")
	c.settle()
	c.elect(2)
	c.cut = nil
	c.tick(10)
	k.want("not applied|ok a")
	var other *raft.NotLeaderError
	if !errors.As(k.err(1), &other) {
		t.Errorf("error %v, want another leader", k.err(1))
	}
}

// A write that was replaced is not tried again behind a read of its connection
// that was answered without it, whatever the level of that.
func TestReplacedWriteBehindAnAnsweredRead(t *testing.T) {
	for _, read := range []string{"r", "s"} {
		t.Run(read, func(t *testing.T) {
			c := newCluster(t, 3, nil)
			h := c.elect(1)
			k := h.client()
			for _, o := range c.hosts[1:] {
				o.hungDisk = true
			}
			k.submit("a", read)
			c.settle()
			k.want("-|-")
			if len(h.r.groups) != 0 {
				t.Fatal("the read is not confirmed")
			}
			c.cut = func(from, to raft.NodeID) bool { return from == 1 || to == 1 }
			for _, o := range c.hosts[1:] {
				o.hungDisk = false
				o.restart() // without the entry
			}
			c.elect(2)
			c.cut = nil
			c.tick(10)
			k.want("not applied|")
			c.wantAll("")
		})
	}
}

// A read of the own state shows no less than a read before it, which waits for what the applier was not handed yet.
func TestStaleReadBehindAReadSeesAsMuch(t *testing.T) {
	c := newCluster(t, 3, nil)
	h := c.elect(1)
	k, other := h.client(), h.client()
	h.hungApplier = true
	for range 2 * h.r.cfg.MaxJobs {
		other.submit("a")
		c.settle()
	}
	k.submit("r", "s")
	c.settle()
	k.want("-|-")
	h.hungApplier = false
	c.tick(2)
	all := strings.TrimSuffix(strings.Repeat("a,", 2*h.r.cfg.MaxJobs), ",")
	k.want(all + "|" + all)
}

// A follower's read whose packet was lost is not asked again once a later one
// was answered: it could only see more.
func TestOvertakenReadOfAFollower(t *testing.T) {
	c := newCluster(t, 3, nil)
	c.elect(1)
	k := c.host(2).client()
	c.hold = true
	k.submit("r")
	c.settle()
	c.packets, c.hold = nil, false
	k.submit("r")
	c.settle()
	k.want("-|")
	c.elect(3)
	c.tick(5)
	k.want("not applied|")
}

// A read that another leader was asked for is asked again at once.
func TestReadFollowsTheLeader(t *testing.T) {
	c := newCluster(t, 3, nil)
	c.elect(1)
	k := c.host(2).client()
	c.cut = func(from, to raft.NodeID) bool { return from == 1 || to == 1 }
	k.submit("r")
	c.settle()
	c.elect(3)
	c.tick(3)
	k.want("")
}

// One confirmation serves all reads of a batch (OL-12).
func TestReadsShareOneRound(t *testing.T) {
	c := newCluster(t, 3, nil)
	h := c.elect(1)
	for range 50 {
		h.client().submit("r")
	}
	f := c.host(2)
	for range 50 {
		f.client().submit("r")
	}
	c.settle()
	if got := h.metrics.ReadRounds.Load(); got > 2 {
		t.Errorf("%d rounds for 100 reads, want 2 at most", got)
	}
}

// A stale read is served without leader, once the node was ready, and never
// below what its connection was shown.
func TestStaleReadNeverGoesBack(t *testing.T) {
	c := newCluster(t, 3, nil)
	c.elect(1)
	f := c.host(2)
	k := f.client()
	f.hungApplier = true
	k.submit("a")
	c.settle()
	k.want("ok a") // the leader's answer
	k.submit("s")
	c.settle()
	k.want("ok a|-")
	f.hungApplier = false
	c.tick(2)
	k.want("ok a|a")

	c.cut = func(_, _ raft.NodeID) bool { return true }
	c.tick(50)
	k.submit("s")
	c.settle()
	k.want("ok a|a|a")
}
