package raft_test

import (
	"testing"

	"github.com/raftkv/raftkv/raft"
)

// A leader that is told to hold keeps new commands from its disk and from the
// others, and nothing else: heartbeats, read rounds and what members or elections
// wait for leave as ever. A follower does not hold.
func TestHold(t *testing.T) {
	hold := raft.Room{Write: true, Apply: 1 << 20, Install: true, Hold: true}
	c := core(t, 3, 1).lead()
	last := c.Status().Last.Index
	for from := raft.NodeID(2); from <= 3; from++ {
		c.get(raft.Message{Kind: raft.MsgAppendReply, From: from, Term: c.Term(), Match: last, Have: last, Last: id(c.Term(), last)})
	}
	propose := func() {
		if _, err := c.Propose([]byte("a"), 0); err != nil {
			t.Fatal(err)
		}
	}
	propose()
	o := c.Output(hold)
	if o.Write != nil || len(o.Messages) > 0 {
		t.Errorf("a held command left: write %v, messages %v", o.Write, o.Messages)
	}
	if _, err := c.Read(1); err != nil {
		t.Fatal(err)
	}
	o = c.Output(hold)
	if len(o.Messages) != 2 || len(o.Messages[0].Entries)+len(o.Messages[1].Entries) > 0 || o.Write != nil {
		t.Errorf("of a read round came %v and write %v, want two messages without entries", o.Messages, o.Write)
	}
	if sent := c.flush(); len(sent) != 2 || len(sent[0].Entries) != 1 || len(sent[1].Entries) != 1 {
		t.Errorf("once it is over %v came, want both members to get the command", sent)
	}
	last++
	c.get(raft.Message{Kind: raft.MsgAppendReply, Term: c.Term(), Match: last, Have: last, Last: id(c.Term(), last)})
	propose()
	if _, err := c.ChangeMember(4, &raft.Member{ID: 4, Name: "n4", Learner: true}); err != nil {
		t.Fatal(err)
	}
	if o = c.Output(hold); o.Write == nil || len(o.Write.Entries) != 2 {
		t.Errorf("write %v, want the configuration not to wait, nor what stands before it", o.Write)
	}

	f := core(t, 3, 1)
	m := entryAt(1)
	m.From, m.To = 2, 1
	f.Receive(m)
	if f.Output(hold).Write == nil {
		t.Error("a follower held an entry back")
	}
}
