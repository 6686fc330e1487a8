package raft

import "slices"

// raftLog is the retained log, whole, in memory (ARCHITECTURE: memory is bounded
// because snapshots bound the log). It is in blocks: one slice of all would be copied
// again and again while it grows, tens of megabytes in one step.
//
//	base | base+1 ................................ last
//	     | blocks[0] |       blocks[1]      | blocks[2] |
//
// Slices of entries leave the core inside messages and writes, and others read
// them later. So elements are never overwritten: cutting the tail clips the
// capacity, and cutting the head copies what stays of its block.
//
// Each block but the first and the last has blockLen entries, and none has more, or
// none at all.
type raftLog struct {
	base     EntryID
	baseTime Time
	blocks   [][]Entry
	bytes    int // sum of sizes
}

// blockLen is how many entries a block has: small enough to be copied between two
// messages, large enough that messages seldom reach over its end.
const blockLen = 1024

func (l *raftLog) last() EntryID {
	if e := l.newest(); e != nil {
		return e.EntryID
	}
	return l.base
}

func (l *raftLog) lastTime() Time {
	if e := l.newest(); e != nil {
		return e.Time
	}
	return l.baseTime
}

// newest is the last entry, or nil.
func (l *raftLog) newest() *Entry {
	n := len(l.blocks)
	if n == 0 {
		return nil
	}
	b := l.blocks[n-1]
	return &b[len(b)-1]
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
func (l *raftLog) at(i Index) *Entry {
	block, place := l.place(i)
	return &l.blocks[block][place]
}

// place tells where the entry at i is.
func (l *raftLog) place(i Index) (block, place int) {
	p := uint64(i - l.base.Index - 1)
	n := uint64(len(l.blocks[0]))
	if p < n {
		return 0, int(p)
	}
	p -= n
	return int(p/blockLen) + 1, int(p % blockLen)
}

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
	n := len(l.blocks)
	switch {
	case n == 0:
		l.blocks = append(l.blocks, nil)
	case len(l.blocks[n-1]) == blockLen:
		l.blocks = append(l.blocks, make([]Entry, 0, blockLen))
	default:
		n--
	}
	l.blocks[n] = append(l.blocks[n], e)
	l.bytes += e.size()
}

// truncate drops the entries from i on.
func (l *raftLog) truncate(i Index) {
	for at := l.last().Index; at >= i; at-- {
		l.bytes -= l.at(at).size()
	}
	if i == l.base.Index+1 {
		l.blocks = nil
		return
	}
	block, place := l.place(i - 1)
	clear(l.blocks[block+1:])
	l.blocks = l.blocks[:block+1]
	l.blocks[block] = l.blocks[block][: place+1 : place+1]
}

// compact drops the entries up to and with base.
func (l *raftLog) compact(base EntryID) {
	for i := l.base.Index + 1; i <= base.Index; i++ {
		l.bytes -= l.at(i).size()
	}
	l.baseTime = l.at(base.Index).Time
	if base.Index == l.last().Index {
		l.base, l.blocks = base, nil
		return
	}
	block, place := l.place(base.Index + 1)
	l.base = base
	l.blocks = slices.Clone(l.blocks[block:])
	l.blocks[0] = slices.Clone(l.blocks[0][place:])
}

// slice returns entries from lo on up to and with hi, as many as fit into
// bytes, but at least one.
func (l *raftLog) slice(lo, hi Index, bytes int) []Entry {
	if lo > hi {
		return nil
	}
	n, sum := 1, l.at(lo).size()
	for lo+Index(n) <= hi {
		size := l.at(lo + Index(n)).size()
		if sum+size > bytes {
			break
		}
		sum += size
		n++
	}
	return l.span(lo, n)
}

// span returns n entries from lo on: those of the log itself, or a copy if they are in several blocks.
func (l *raftLog) span(lo Index, n int) []Entry {
	block, place := l.place(lo)
	if b := l.blocks[block]; place+n <= len(b) {
		return b[place : place+n : place+n]
	}
	out := make([]Entry, 0, n)
	for ; len(out) < n; block, place = block+1, 0 {
		b := l.blocks[block][place:]
		out = append(out, b[:min(len(b), n-len(out))]...)
	}
	return out
}

// all returns all entries, which must not be changed.
func (l *raftLog) all() []Entry {
	switch len(l.blocks) {
	case 0:
		return nil
	case 1:
		return slices.Clip(l.blocks[0])
	}
	return slices.Concat(l.blocks...)
}

// load puts entries that hang together into an empty log. It keeps nothing of the slice.
func (l *raftLog) load(entries []Entry) {
	for b := range slices.Chunk(entries, blockLen) {
		l.blocks = append(l.blocks, append(make([]Entry, 0, len(b)), b...))
	}
}

// clone copies the log: it shares all entries, and what is appended to the copy goes elsewhere.
func (l *raftLog) clone() raftLog {
	c := *l
	c.blocks = slices.Clone(l.blocks)
	if n := len(c.blocks); n > 0 {
		c.blocks[n-1] = slices.Clip(c.blocks[n-1])
	}
	return c
}

// bytesAbove sums the sizes of the entries above i, which lies in base..last.
func (l *raftLog) bytesAbove(i Index) int {
	sum := 0
	for last := l.last().Index; i < last; i++ {
		sum += l.at(i + 1).size()
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
