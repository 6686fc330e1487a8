package node

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/raft"
)

// comparing is a cluster whose leader lets states be compared every 50 ticks.
func comparing(t *testing.T, n int) *cluster {
	return newCluster(t, n, func(cfg *Config) { cfg.Verify, cfg.VerifyTicks = []byte("verify"), 50 })
}

// twistOn lets a node apply a command wrongly, now and after every restart.
func (h *host) twistOn(cmd string) { h.twist, h.m.twist = cmd, cmd }

// fatals are the nodes that must not go on.
func (c *cluster) fatals() (ids []raft.NodeID) {
	for _, h := range c.hosts {
		if h.fatal != nil {
			ids = append(ids, h.id)
		}
	}
	return ids
}

// wantDiffer checks whose state a node holds for another one.
func (h *host) wantDiffer(want ...string) {
	h.t.Helper()
	if got := h.r.Status().Differ; !slices.Equal(got, want) {
		h.t.Errorf("node %v says that the states of %q differ, want %q", h.id, got, want)
	}
}

// A replica whose state differs from that of a majority stops, whoever it is (SN-12).
// Its log is good: it fetches a snapshot that lies behind what it did wrong, although
// it would do so again, and is right then.
func TestDivergedMinorityStops(t *testing.T) {
	for _, id := range []raft.NodeID{1, 2} { // the leader, a follower
		c := comparing(t, 3)
		h := c.elect(1)
		wrong := c.host(id)
		wrong.twistOn("b")
		h.client().submit("a")
		c.tick(2)
		for _, o := range c.hosts { // an older snapshot would lead to the same again
			o.r.Handle(TakeSnapshot{Done: func(raft.SnapshotMeta, error) {}})
		}
		c.tick(10)
		h.client().submit("b", "c")
		c.tick(60)
		diverged, ok := errors.AsType[*DivergedError](wrong.fatal)
		if !slices.Equal(c.fatals(), []raft.NodeID{id}) || !ok || diverged.Agree != 2 || diverged.Voters != 3 {
			t.Fatalf("node %v is wrong, and %v stop: %v", id, c.fatals(), wrong.fatal)
		}
		wrong.down, wrong.fatal = true, nil
		c.tick(30)
		right := h
		if id == 1 {
			right = c.elect(3)
		}
		right.wantDiffer(id.String())
		if n := right.metrics.Diverged.Load(); n != 1 {
			t.Errorf("%d alarms, want 1", n)
		}
		right.client().submit("d")
		c.tick(60)

		wrong.down, wrong.refetch = false, diverged.Index
		wrong.restart()
		c.tick(100)
		if n := wrong.metrics.Fetches.Load(); n != 1 {
			t.Errorf("%d snapshots fetched, want 1", n)
		}
		right.client().submit("e")
		c.tick(100)
		c.wantAll("a,b,c,d,e")
		right.wantDiffer()
		if s := right.r.Status(); len(c.fatals()) > 0 || s.AgreedIndex < s.AppliedIndex {
			t.Errorf("after all: %v stop, agreed at %d of %d", c.fatals(), s.AgreedIndex, s.AppliedIndex)
		}
	}
}

// Without a majority of all voters that agree nobody knows who is right: nobody
// stops, and everybody who sees it sounds the alarm.
func TestNoMajorityIsAnAlarmOnly(t *testing.T) {
	two := comparing(t, 2)
	h := two.elect(1)
	two.host(2).twistOn("b")
	h.client().submit("a", "b")
	two.tick(60)
	h.wantDiffer("2")
	two.host(2).wantDiffer("1")

	all := comparing(t, 3)
	h = all.elect(1)
	all.host(2).twistOn("a")
	all.host(3).twistOn("b")
	h.client().submit("a", "b")
	all.tick(60)
	h.wantDiffer("2", "3")

	// The third one is down: two reports are no majority of three against each other.
	down := comparing(t, 3)
	h = down.elect(1)
	down.host(3).down = true
	down.host(2).twistOn("b")
	h.client().submit("a", "b")
	down.tick(55)
	h.wantDiffer() // it may still come
	down.tick(reportTimeouts*10 + 20)
	h.wantDiffer("2")

	for _, c := range []*cluster{two, all, down} {
		if len(c.fatals()) > 0 {
			t.Errorf("%v stop, though no majority agrees", c.fatals())
		}
		if n := c.host(1).metrics.Diverged.Load(); n == 0 {
			t.Error("no alarm")
		}
	}
}

// A learner's word counts for nothing, but it judges itself as all others do.
func TestDivergedLearner(t *testing.T) {
	c := comparing(t, 3)
	h := c.elect(1)
	h.r.Handle(ChangeMember{ID: 3, Member: &raft.Member{ID: 3, Name: "n3", Learner: true}, Done: func(err error) {
		if err != nil {
			t.Error(err)
		}
	}})
	c.tick(5)
	c.host(3).twistOn("b")
	h.client().submit("a", "b")
	c.tick(60)
	if !slices.Equal(c.fatals(), []raft.NodeID{3}) {
		t.Errorf("%v stop, want 3: both voters agree", c.fatals())
	}
}

// Nothing is proposed while nothing happens, and nothing by a node that is told not to.
func TestVerifyOnlyAfterChanges(t *testing.T) {
	c := comparing(t, 3)
	h := c.elect(1)
	h.client().submit("a")
	c.tick(60)
	last := h.r.core.Status().Last
	if s := h.r.Status(); s.AgreedIndex != uint64(last.Index) {
		t.Errorf("agreed at %d, last entry is %v", s.AgreedIndex, last)
	}
	c.tick(300)
	if got := h.r.core.Status().Last; got != last {
		t.Errorf("the log of an idle cluster grew from %v to %v", last, got)
	}
	off := newCluster(t, 1, func(cfg *Config) { cfg.Verify, cfg.VerifyTicks = []byte("verify"), 0 })
	h = off.elect(1)
	h.client().submit("a")
	off.tick(200)
	if got := h.r.core.Status().Last.Index; got != 2 {
		t.Errorf("last entry %d where none should be proposed, want no-op and one command", got)
	}
}

// Reports get lost, come twice, come late, and speak of other levels: nothing follows from it.
func TestReportsThatDoNotCount(t *testing.T) {
	c := comparing(t, 3)
	h := c.elect(1)
	c.refuse = func(from, to raft.NodeID) bool { return true }
	c.host(2).twistOn("b")
	h.client().submit("a", "b")
	c.tick(60)
	if h.wantDiffer(); len(c.fatals()) > 0 || h.r.Status().AgreedIndex != 0 {
		t.Errorf("%v stop, agreed at %d, and nobody heard anything", c.fatals(), h.r.Status().AgreedIndex)
	}
	at := h.r.compare.points[len(h.r.compare.points)-1].index
	say := func(from raft.NodeID, rep report) {
		h.r.Handle(Packet{From: from, Bytes: appendReport(appendPacket(nil, packetReport, 9), rep)})
		h.r.Flush()
	}
	for _, from := range []raft.NodeID{2, 3} {
		say(from, report{index: at, level: 2, hash: [16]byte{1}})
		say(from, report{index: at + 100, level: 1, hash: [16]byte{1}}) // not applied here
	}
	for i := range raft.Index(20) { // more than are kept
		say(2, report{index: at + 200 + i, level: 1})
	}
	say(3, report{index: at, level: 1, hash: [16]byte{2}}) // long forgotten
	if len(c.fatals()) > 0 || len(h.r.compare.points) > maxPoints {
		t.Errorf("%v stop, %d points are kept", c.fatals(), len(h.r.compare.points))
	}
	h.wantDiffer()

	bad := appendReport(appendPacket(nil, packetReport, 9), report{index: at, level: 1})
	for _, b := range [][]byte{bad[:len(bad)-1], append(bad, 7), appendReport(appendPacket(nil, packetReport, 9), report{level: 1})} {
		before := h.metrics.Malformed.Load()
		h.r.Handle(Packet{From: 2, Bytes: b})
		if h.metrics.Malformed.Load() != before+1 {
			t.Errorf("%x was read", b)
		}
	}
}

// A node that jumped over the entry with a snapshot says nothing of it.
func TestJumpReportsNothing(t *testing.T) {
	c := comparing(t, 3)
	h := c.elect(1)
	late := c.host(3)
	late.down = true
	h.client().submit(strings.Split(strings.Repeat("x ", 20), " ")[:20]...)
	c.tick(60)
	at := h.r.compare.last
	h.r.Handle(TakeSnapshot{Done: func(raft.SnapshotMeta, error) {}})
	c.tick(20)
	late.down = false
	late.restart()
	c.tick(30)
	if late.metrics.Fetches.Load() != 1 || late.r.applied < at {
		t.Fatalf("it did not jump: %d fetches, applied %d", late.metrics.Fetches.Load(), late.r.applied)
	}
	for _, p := range h.r.compare.points {
		if rep, ok := p.of(3); ok && rep.index == at {
			t.Errorf("it reports on entry %d, which it never applied", at)
		}
	}
}
