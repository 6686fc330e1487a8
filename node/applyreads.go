package node

import (
	"slices"

	"github.com/raftkv/raftkv/raft"
)

// readSet is the reads that share one confirmation.
type readSet struct {
	id        uint64
	reads     []held
	left      int // not answered
	confirmed bool
	dead      bool // dropped: its parked reads are skipped
}

type held struct {
	read
	result    []byte
	err       error
	at        raft.Index
	evaluated bool
	answered  bool
}

// park takes a read. It is evaluated at once if enough is applied.
func (a *Applier) park(j *Job, r *read) {
	if r.group == 0 && r.index <= a.applied.Index {
		a.answer(j, r, a.query(r.data), a.applied.Index)
		return
	}
	set := a.sets[r.group]
	if set == nil || r.group == 0 {
		set = a.newSet(r.group)
	}
	set.reads = append(set.reads, held{read: *r})
	set.left++
	if r.index <= a.applied.Index {
		a.evaluate(j, set, len(set.reads)-1)
		return
	}
	a.parked.push(spot{index: r.index, set: set, k: len(set.reads) - 1})
}

// newSet makes a set. That of a parked stale read has nobody to wait for; its
// id is taken from the top, where no group's ever is.
func (a *Applier) newSet(id uint64) *readSet {
	var set *readSet
	if n := len(a.free); n > 0 {
		set, a.free = a.free[n-1], a.free[:n-1]
	} else {
		set = &readSet{}
	}
	set.id = id
	if id == 0 {
		set.confirmed = true
		set.id = ^uint64(0)
		for a.sets[set.id] != nil {
			set.id--
		}
	}
	a.sets[set.id] = set
	return set
}

func (a *Applier) query(cmd []byte) []byte {
	return a.result(func(dst []byte) []byte { return a.m.Query(cmd, dst) })
}

// evaluateDue evaluates the parked reads for which enough is applied now.
func (a *Applier) evaluateDue(j *Job) {
	for len(a.parked) > 0 && a.parked[0].index <= a.applied.Index {
		s := a.parked.pop()
		if !s.set.dead && !s.set.reads[s.k].answered {
			a.evaluate(j, s.set, s.k)
		}
	}
}

func (a *Applier) evaluate(j *Job, set *readSet, k int) {
	h := &set.reads[k]
	h.result, h.at = a.query(h.data), a.applied.Index
	a.evaluated(j, set, k)
}

func (a *Applier) evaluated(j *Job, set *readSet, k int) {
	h := &set.reads[k]
	h.evaluated = true
	if set.confirmed {
		a.answerHeld(j, set, h)
	}
}

func (a *Applier) release(j *Job, id uint64) {
	set := a.sets[id]
	if set == nil {
		return
	}
	set.confirmed = true
	for k := range set.reads {
		if h := &set.reads[k]; h.evaluated && !h.answered {
			a.answerHeld(j, set, h)
			if a.sets[id] != set {
				return // that was the last one
			}
		}
	}
}

func (a *Applier) answerHeld(j *Job, set *readSet, h *held) {
	h.answered = true
	if h.err != nil {
		a.refuse(j, h, h.err)
	} else {
		a.answer(j, &h.read, h.result, h.at)
	}
	a.left(set)
}

// left counts an answer, and forgets a set that has none to give any more.
func (a *Applier) left(set *readSet) {
	set.left--
	if set.left > 0 {
		return
	}
	delete(a.sets, set.id)
	for _, h := range set.reads {
		if !h.evaluated {
			set.dead = true // still parked: not to be used again
			return
		}
	}
	clear(set.reads)
	*set = readSet{reads: set.reads[:0]}
	a.free = append(a.free, set)
}

func (a *Applier) answer(j *Job, r *read, result []byte, at raft.Index) {
	a.reply(r.conn, Reply{Slot: r.slot, Outcome: Applied, Result: result, Index: at})
	j.done = append(j.done, doneRead{conn: r.conn, index: at, stale: r.group == 0})
}

func (a *Applier) refuse(j *Job, h *held, err error) {
	a.reply(h.conn, Reply{Slot: h.slot, Outcome: NotApplied, Err: err})
	j.done = append(j.done, doneRead{conn: h.conn, stale: h.group == 0})
}

// expire answers the released reads whose index did not come in time. The
// others are the loop's to answer.
func (a *Applier) expire(j *Job) {
	var ids []uint64
	for id, set := range a.sets {
		if set.confirmed {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	for _, id := range ids {
		set := a.sets[id]
		for k := range set.reads {
			h := &set.reads[k]
			if h.answered || h.deadline > j.now {
				continue
			}
			h.answered = true
			a.refuse(j, h, ErrTimeout)
			a.left(set)
			if set.left == 0 {
				break
			}
		}
	}
	// Dead ones would else stay until their index comes, which may be never.
	dead := 0
	for _, s := range a.parked {
		if s.set.dead {
			dead++
		}
	}
	if dead > len(a.parked)/2 {
		a.parked = slices.DeleteFunc(a.parked, func(s spot) bool { return s.set.dead })
		a.parked.order()
	}
}

// spot is a read that waits for an index.
type spot struct {
	index raft.Index
	set   *readSet
	k     int
}

// parked is a binary heap of spots by index.
type parked []spot

func (p *parked) push(s spot) {
	*p = append(*p, s)
	h := *p
	for i := len(h) - 1; i > 0; {
		up := (i - 1) / 2
		if h[up].index <= h[i].index {
			break
		}
		h[up], h[i] = h[i], h[up]
		i = up
	}
}

func (p *parked) pop() spot {
	h := *p
	top, n := h[0], len(h)-1
	h[0], h[n] = h[n], spot{}
	*p = h[:n]
	p.down(0)
	return top
}

func (p *parked) down(i int) {
	h := *p
	for {
		least := i
		for c := 2*i + 1; c <= 2*i+2 && c < len(h); c++ {
			if h[c].index < h[least].index {
				least = c
			}
		}
		if least == i {
			return
		}
		h[i], h[least] = h[least], h[i]
		i = least
	}
}

func (p *parked) order() {
	for i := len(*p)/2 - 1; i >= 0; i-- {
		p.down(i)
	}
}
