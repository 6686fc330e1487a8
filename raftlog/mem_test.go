package raftlog

import (
	"errors"
	"testing"

	"github.com/raftkv/raftkv/raft"
)

func appendOne(seq uint64, term raft.Term, index raft.Index) *raft.Write {
	return &raft.Write{Seq: seq, State: raft.HardState{Term: term}, Entries: entriesOf(term, index, index, 8)}
}

func submit(t *testing.T, m *Mem, ws ...*raft.Write) {
	t.Helper()
	for _, w := range ws {
		if err := m.Submit(w); err != nil {
			t.Fatal(err)
		}
	}
}

func last(t *testing.T, m *Mem) (raft.Index, uint64) {
	t.Helper()
	d, err := m.Load()
	if err != nil {
		t.Fatal(err)
	}
	return d.Base.Index + raft.Index(len(d.Entries)), d.Seq
}

// A crash keeps the prefix that the test chooses, and what was confirmed.
func TestMemCrashKeepsAPrefix(t *testing.T) {
	for keep := range 5 {
		m := NewMem()
		submit(t, m, appendOne(1, 1, 1), appendOne(2, 1, 2), appendOne(3, 1, 3), appendOne(4, 2, 3))
		m.Confirm(1)
		if i, seq := last(t, m); i != 1 || seq != 1 {
			t.Fatalf("one write is confirmed, %d entries and seq %d are there", i, seq)
		}
		m.Crash(keep)
		want := uint64(min(1+keep, 4))
		if i, seq := last(t, m); seq != want || i != raft.Index(min(want, 3)) {
			t.Errorf("keep %d: %d entries, seq %d", keep, i, seq)
		}
		// The fourth replaces the third's entry: only if it was kept.
		if d, _ := m.Load(); keep >= 2 && d.Entries[2].Term != raft.Term(keep-1) && keep < 4 {
			t.Errorf("keep %d: entry %v", keep, d.Entries[2].EntryID)
		}
		if len(m.Flight()) != 0 {
			t.Errorf("keep %d: %v are under way after the crash", keep, m.Flight())
		}
	}
}

func TestMemFailsForEverUntilACrash(t *testing.T) {
	m, why := NewMem(), errors.New("no luck")
	submit(t, m, appendOne(1, 1, 1))
	m.Fail(why)
	for range 2 {
		if err := m.Submit(appendOne(2, 1, 2)); !errors.Is(err, ErrDisk) || !errors.Is(err, why) {
			t.Errorf("err = %v", err)
		}
	}
	m.Crash(1)
	submit(t, m, appendOne(2, 1, 2))
	m.Confirm(1)
	if i, seq := last(t, m); i != 2 || seq != 2 {
		t.Errorf("%d entries, seq %d", i, seq)
	}
}

// States share their entries; no later write may change an earlier state.
func TestMemCloneAndForgetAreIndependent(t *testing.T) {
	m := NewMem()
	submit(t, m, appendOne(1, 1, 1), appendOne(2, 1, 2), appendOne(3, 1, 3))
	m.Confirm(2)
	c := m.Clone()
	submit(t, m, appendOne(4, 1, 4))
	submit(t, c, appendOne(4, 2, 4))
	m.Confirm(2)
	c.Confirm(2)
	dm, _ := m.Load()
	dc, _ := c.Load()
	if dm.Entries[3].Term != 1 || dc.Entries[3].Term != 2 {
		t.Errorf("terms %d and %d", dm.Entries[3].Term, dc.Entries[3].Term)
	}
	if n := m.Forget(1, true); n != 1 {
		t.Fatalf("forgot %d", n)
	}
	d, _ := m.Load()
	if len(d.Entries) != 3 || d.Seq != 4 || d.State.Term != 1 || d.Fence != raft.FenceOneBack {
		t.Errorf("noticed: %d entries, seq %d, term %d, fence %d", len(d.Entries), d.Seq, d.State.Term, d.Fence)
	}
	if n := c.Forget(100, false); n != 4 {
		t.Fatalf("forgot %d", n)
	}
	if d, _ := c.Load(); len(d.Entries) != 0 || d.Seq != 0 || d.Fence != raft.FenceNone {
		t.Errorf("unnoticed: %+v", d)
	}
	submit(t, m, appendOne(5, 3, 4))
	m.Confirm(1)
	if d, _ := m.Load(); d.Entries[3].Term != 3 || dm.Entries[3].Term != 1 {
		t.Error("a state that was handed out has changed")
	}
}
