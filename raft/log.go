package raft

import "slices"

// raftLog is the retained log, whole, in memory (ARCHITECTURE: memory is bounded
// because snapshots bound the log).
//
//	base | base+1 ........................ last
//	     | entries[0]      entries[len-1]
//
// Slices of entries leave the core inside messages and writes, and others read
// them later. So elements are never overwritten: cutting the tail clips the
// capacity, and cutting the head copies what stays.
type raftLog struct {
	base     EntryID
	baseTime Time
	entries  []Entry
	bytes    int // sum of sizes
}

func (l *raftLog) last() EntryID {
	if n := len(l.entries); n > 0 {
		return l.entries[n-1].EntryID
	}
	return l.base
}

func (l *raftLog) lastTime() Time {
	if n := len(l.entries); n > 0 {
		return l.entries[n-1].Time
	}
	return l.baseTime
}

// term returns the term of the entry at i; false below base and above last.
func (l *raftLog) term(i Index) (Term, bool) {
	switch {
	case i == l.base.Index:
		return l.base.Term, true
	case i < l.base.Index || i > l.last().Index:
		return 0, false
	}
	return l.at(i).Term, true
}

// at returns the entry at i, which must lie in base+1..last.
func (l *raftLog) at(i Index) *Entry { return &l.entries[i-l.base.Index-1] }

// has tells whether the log holds exactly this entry, its base included.
func (l *raftLog) has(id EntryID) bool {
	t, ok := l.term(id.Index)
	return ok && t == id.Term
}

func (l *raftLog) append(e Entry) {
	// Behind an if, because the arguments of assert are allocated even when it holds.
	if last := l.last(); e.Index != last.Index+1 || e.Term < last.Term {
		assert(false, "append of %v behind %v", e.EntryID, last)
	}
	l.entries = append(l.entries, e)
	l.bytes += e.size()
}

// truncate drops the entries from i on.
func (l *raftLog) truncate(i Index) {
	keep := int(i - l.base.Index - 1)
	for _, e := range l.entries[keep:] {
		l.bytes -= e.size()
	}
	l.entries = l.entries[:keep:keep]
}

// compact drops the entries up to and with base.
func (l *raftLog) compact(base EntryID) {
	drop := int(base.Index - l.base.Index)
	l.baseTime = l.entries[drop-1].Time
	for _, e := range l.entries[:drop] {
		l.bytes -= e.size()
	}
	l.entries = slices.Clone(l.entries[drop:])
	l.base = base
}

// slice returns entries from lo on up to and with hi, as many as fit into
// bytes, but at least one.
func (l *raftLog) slice(lo, hi Index, bytes int) []Entry {
	if lo > hi {
		return nil
	}
	all := l.entries[lo-l.base.Index-1 : hi-l.base.Index]
	n, sum := 1, all[0].size()
	for n < len(all) && sum+all[n].size() <= bytes {
		sum += all[n].size()
		n++
	}
	return all[:n:n]
}

// bytesAbove sums the sizes of the entries above i, which lies in base..last.
func (l *raftLog) bytesAbove(i Index) int {
	sum := 0
	for _, e := range l.entries[i-l.base.Index:] {
		sum += e.size()
	}
	return sum
}

// agreeing returns the last entry at or below id.Index whose term is at most
// id.Term, or base: where this log and one with id in it may agree. Both sides use it
// to skip whole terms at once (the optimisation at the end of raft paper 5.3).
func (l *raftLog) agreeing(id EntryID) EntryID {
	i := min(id.Index, l.last().Index)
	for i > l.base.Index && l.at(i).Term > id.Term {
		i--
	}
	if i <= l.base.Index {
		return l.base
	}
	return l.at(i).EntryID
}
