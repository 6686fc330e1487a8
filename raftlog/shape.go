package raftlog

import (
	"fmt"
	"sort"

	"github.com/raftkv/raftkv/raft"
)

// shape is what a store knows of its log without reading it: enough to tell
// whether a Write fits.
//
// Invariants: runs ascend in first and in term; the first begins at
// base.Index+1; there is none if the log is empty.
type shape struct {
	state raft.HardState
	fence raft.Fence
	seq   uint64
	base  raft.EntryID
	last  raft.EntryID // base if the log is empty
	runs  []run
}

// run is a stretch of entries of one term; it ends where the next begins.
type run struct {
	first raft.Index
	term  raft.Term
}

// id returns the name of the entry at i, which lies in base..last.
func (s *shape) id(i raft.Index) raft.EntryID {
	if i == s.base.Index {
		return s.base
	}
	n := sort.Search(len(s.runs), func(n int) bool { return s.runs[n].first > i })
	return raft.EntryID{Term: s.runs[n-1].term, Index: i}
}

// check tells whether w may follow what is stored. The core is trusted to be
// right; this finds it out if it isn't, before the disk believes it.
func (s *shape) check(w *raft.Write) error {
	fault := func(format string, args ...any) error {
		return fmt.Errorf("write %d: %s: %w", w.Seq, fmt.Sprintf(format, args...), ErrMisuse)
	}
	if w.Seq <= s.seq {
		return fault("write %d is stored already", s.seq)
	}
	if w.State.Term < s.state.Term {
		return fault("term %d after term %d", w.State.Term, s.state.Term)
	}
	if w.State.Term == s.state.Term && s.state.Vote != raft.None && w.State.Vote != s.state.Vote {
		return fault("vote for %v after a vote for %v in term %d", w.State.Vote, s.state.Vote, s.state.Term)
	}
	if w.Fence > raft.FenceForever {
		return fault("fence %d is none", w.Fence)
	}
	base, last := s.base, s.last
	if w.Reset {
		base, last = w.Base, w.Base
	}
	if len(w.Entries) > 0 {
		first := w.Entries[0].Index
		if first <= base.Index || first > last.Index+1 {
			return fault("entries from %d on, the log has %d to %d", first, base.Index+1, last.Index)
		}
		prev := base
		if first-1 > base.Index {
			prev = s.id(first - 1)
		}
		for i := range w.Entries {
			id := w.Entries[i].EntryID
			if id.Index != prev.Index+1 || id.Term < prev.Term || id.Term == 0 {
				return fault("entry %v after %v", id, prev)
			}
			prev = id
		}
		last = prev
	}
	if !w.Reset && w.Base != (raft.EntryID{}) {
		if w.Base.Index < base.Index || w.Base.Index > last.Index {
			return fault("base %v, the log has %d to %d", w.Base, base.Index+1, last.Index)
		}
		if have := s.after(w, w.Base.Index); have != w.Base {
			return fault("base %v, the log has %v there", w.Base, have)
		}
	}
	if last.Term > w.State.Term {
		return fault("last entry %v in term %d", last, w.State.Term)
	}
	if w.State.Commit > last.Index {
		return fault("commit %d, the log ends at %d", w.State.Commit, last.Index)
	}
	return nil
}

// after returns the name that the entry at i has once w, no Reset, is done.
func (s *shape) after(w *raft.Write, i raft.Index) raft.EntryID {
	if len(w.Entries) > 0 && i >= w.Entries[0].Index {
		return w.Entries[i-w.Entries[0].Index].EntryID
	}
	return s.id(i)
}

// apply makes w, which check let pass, part of s.
func (s *shape) apply(w *raft.Write) {
	s.seq, s.state, s.fence = w.Seq, w.State, w.Fence
	if w.Reset {
		s.base, s.last, s.runs = w.Base, w.Base, s.runs[:0]
	}
	if len(w.Entries) > 0 {
		first := w.Entries[0].Index
		n := sort.Search(len(s.runs), func(n int) bool { return s.runs[n].first >= first })
		s.runs = s.runs[:n:n] // Mem has states that share them
		for i := range w.Entries {
			s.push(w.Entries[i].EntryID)
		}
	}
	if w.Base.Index > s.base.Index {
		s.rebase(w.Base)
	}
}

// push puts one more entry at the end.
func (s *shape) push(id raft.EntryID) {
	if n := len(s.runs); n == 0 || s.runs[n-1].term != id.Term {
		s.runs = append(s.runs, run{first: id.Index, term: id.Term})
	}
	s.last = id
}

// rebase drops the entries up to base, which is in the log.
func (s *shape) rebase(base raft.EntryID) {
	s.base = base
	if base.Index >= s.last.Index {
		s.runs = s.runs[:0]
		return
	}
	n := sort.Search(len(s.runs), func(n int) bool { return s.runs[n].first > base.Index+1 })
	s.runs = append(s.runs[:0], s.runs[n-1:]...)
	s.runs[0].first = base.Index + 1
}
