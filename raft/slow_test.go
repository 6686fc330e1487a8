package raft_test

import (
	"testing"

	"github.com/raftkv/raftkv/raft"
)

// entryAt is one entry of leader 2 in term 1.
func entryAt(i raft.Index) raft.Message {
	m := raft.Message{Kind: raft.MsgAppend, Term: 1, Entries: log(i, 1)}
	if i > 1 {
		m.Prev = id(1, i-1)
	}
	return m
}

// standsAfter is how long a copy of the core waits before it stands, without the jitter.
func standsAfter(c *one) (least, most int) {
	r, ticks := c.Clone(), 0
	for r.Role() == raft.Follower {
		r.Tick()
		ticks++
	}
	e := raft.DefaultConfig().ElectionTicks
	return ticks - 2*e + 1, ticks - e
}

// An election timeout grows by four times the slowest recent own write. One that
// is under way counts. One that is over is forgotten when the disk was quick
// since, for a while and often: three hung disks in a row must not make a cluster
// slow to elect for minutes.
func TestSlowWritesStretchTheTimeout(t *testing.T) {
	c := core(t, 3, 1)
	next := raft.Index(1)
	stretch := func(what string, want int) {
		t.Helper()
		if least, most := standsAfter(c); least > want || most < want {
			t.Errorf("%s: timeouts are stretched by %d to %d ticks, want %d", what, least, most, want)
		}
	}
	beats := func(n int) {
		for range n {
			c.Tick()
			c.get(raft.Message{Kind: raft.MsgAppend, Term: 1, Prev: id(1, next-1)})
		}
	}
	quick := func(n int) {
		for range n {
			c.get(entryAt(next))
			next++
		}
	}
	quick(1)
	stretch("quick", 0)

	m := entryAt(next)
	m.From, m.To = 2, 1
	c.Receive(m)
	next++
	w := c.Output(raft.Room{Write: true}).Write
	if w == nil {
		t.Fatal("no write")
	}
	for range 100 {
		c.Tick()
		c.Receive(raft.Message{Kind: raft.MsgAppend, From: 2, To: 1, Term: 1, Prev: id(1, next-1)})
	}
	// The copy's write ages as it waits, until the bound: half a minute.
	stretch("under way", 3000)
	c.Wrote(w.Seq)
	stretch("just over", 400)
	beats(2000)
	stretch("nothing written since", 400)
	quick(20)
	beats(1)
	stretch("written often, not for long", 400)
	beats(600)
	quick(20)
	beats(1)
	stretch("quick, for long and often", 0)
}

// A reply of a process that is gone, which comes behind one of the process that
// followed, says nothing: the new one may know less, and no alarm is due.
func TestReplyOfAnEarlierBootIsIgnored(t *testing.T) {
	c := core(t, 3, 1).lead()
	_, _ = c.Propose([]byte("a"), 1)
	c.flush()
	last := c.Status().Last
	reply := func(boot uint64, match raft.Index) {
		c.get(raft.Message{Kind: raft.MsgAppendReply, Term: c.Term(), Boot: boot, Match: match, Have: match, Last: id(c.Term(), match)})
	}
	reply(8, 1)
	reply(7, 1)
	reply(7, last.Index) // late: boot 8 does not have so much
	if got := c.Status().Followers[0].Match; got != 1 {
		t.Errorf("match %d of an earlier boot counts", got)
	}
	reply(8, 1)
	if n := c.Status().Forgotten; n != 0 {
		t.Errorf("%d members are said to have forgotten", n)
	}
	reply(9, 0)
	if n := c.Status().Forgotten; n != 1 {
		t.Errorf("%d members forgot, want the one that came back with less", n)
	}
}
