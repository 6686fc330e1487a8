package raft

import (
	"fmt"
	"slices"
)

// assert ends the program when it is wrong. One condition a call, stated
// positively, with the numbers in the message.
func assert(ok bool, format string, args ...any) {
	if !ok {
		panic("raft: " + fmt.Sprintf(format, args...))
	}
}

// assert1, assert2 and assert3 are assert for what runs after every step: their
// arguments are not allocated unless it is wrong.
func assert1[A any](ok bool, format string, a A) {
	if !ok {
		assert(false, format, a)
	}
}

func assert2[A, B any](ok bool, format string, a A, b B) {
	if !ok {
		assert(false, format, a, b)
	}
}

func assert3[A, B, C any](ok bool, format string, a A, b B, c C) {
	if !ok {
		assert(false, format, a, b, c)
	}
}

// Verify panics unless everything holds that must hold between two calls. It
// walks the whole log, so it runs after every step in tests and in the simulator only.
func (r *Raft) Verify() {
	r.verifyLog()
	r.verifyConfigs()
	r.w.verify(r)
	r.verifyRole()
	if r.role == Leader {
		r.verifyLead()
	}
}

func (r *Raft) verifyLog() {
	l := &r.log
	prev, bytes, at := l.base, 0, l.baseTime
	last := l.last().Index
	for i := l.base.Index + 1; i <= last; i++ {
		e := l.at(i)
		// The arguments of assert cost an allocation each, for every entry after every step.
		if e.Index != prev.Index+1 || e.Term < prev.Term || i > l.base.Index+1 && e.Time < at {
			assert(false, "entry %v of time %d behind %v of time %d", e.EntryID, e.Time, prev, at)
		}
		prev, bytes, at = e.EntryID, bytes+e.size(), e.Time
	}
	assert2(bytes == l.bytes, "log has %d bytes, counted %d", bytes, l.bytes)
	assert2(prev.Term <= r.term, "log ends in %v, term is %d", prev, r.term)
	assert2(l.base.Index <= r.handed, "base %v, handed %d", l.base, r.handed)
	assert2(r.applied <= r.handed, "applied %d, handed %d", r.applied, r.handed)
	assert2(r.handed <= r.commit, "handed %d, commit %d", r.handed, r.commit)
	assert2(r.commit <= prev.Index, "commit %d, last %v", r.commit, prev)
	assert2(r.refetch || r.snapshot.Last.Index >= l.base.Index, "base %v, newest snapshot %v", l.base, r.snapshot.Last)
}

func (r *Raft) verifyConfigs() {
	assert(len(r.configs) > 0, "no configuration at all")
	for i, c := range r.configs {
		if i == 0 {
			assert2(c.index <= r.commit, "configuration of %d below everything, commit is %d", c.index, r.commit)
			continue
		}
		assert2(c.index > r.configs[i-1].index, "configuration of %d behind that of %d", c.index, r.configs[i-1].index)
		assert2(c.index <= r.log.last().Index, "configuration of %d, last is %v", c.index, r.log.last())
		if c.index > r.log.base.Index {
			e := r.log.at(c.index)
			assert2(e.Type == EntryConfig, "configuration of %v, which is of type %d", e.EntryID, e.Type)
		}
	}
	for i := r.log.base.Index + 1; i <= r.log.last().Index; i++ {
		e := r.log.at(i)
		if e.Type != EntryConfig {
			continue
		}
		known := e.Index <= r.configs[0].index ||
			slices.ContainsFunc(r.configs, func(c configAt) bool { return c.index == e.Index })
		assert1(known, "configuration in %v is not in use", e.EntryID)
	}
}

func (w *writes) verify(r *Raft) {
	last := r.log.last().Index
	assert2(w.stable <= w.handed, "stable %d, handed to the disk %d", w.stable, w.handed)
	assert2(w.handed <= last, "handed to the disk %d, last %d", w.handed, last)
	assert2(w.reset || len(w.flight) > 0 || w.stable >= r.log.base.Index, "stable %d, base %v", w.stable, r.log.base)
	assert2(w.durable.term <= r.term, "durable term %d, term %d", w.durable.term, r.term)
	assert3(w.durable.term < r.term || w.durable.vote == None || w.durable.vote == r.vote,
		"in term %d the disk knows a vote for %v, memory one for %v", r.term, w.durable.vote, r.vote)
	assert3(w.done+uint64(len(w.flight)) == w.seq, "write %d is done, %d are in flight, newest is %d", w.done, len(w.flight), w.seq)
	assert1(len(w.flight) <= r.cfg.MaxWrites, "%d writes in flight", len(w.flight))
	prev := flight{seq: w.done}
	for _, f := range w.flight {
		assert2(f.seq == prev.seq+1, "write %d behind %d", f.seq, prev.seq)
		assert3(f.last >= prev.last, "write %d proves %d, the one before %d", f.seq, f.last, prev.last)
		assert3(f.last <= w.handed, "write %d proves %d, handed is %d", f.seq, f.last, w.handed)
		prev = f
	}
}

func (r *Raft) verifyRole() {
	assert2(r.voteOwed.to == None || r.voteOwed.to == r.vote, "owes a vote to %v, voted for %v", r.voteOwed.to, r.vote)
	assert1(len(r.answers) <= maxAnswers, "%d answers wait", len(r.answers))
	if r.role != Follower {
		assert1(r.fence == FenceNone, "%v behind a fence", r.role)
		assert1(!r.refetch, "%v without a state", r.role)
	}
	if r.role == Leader || r.role == Candidate {
		assert3(r.vote == r.cfg.ID, "%v of term %d voted for %v", r.role, r.term, r.vote)
		assert1(r.hung == 0, "%v with a hung disk", r.role)
	}
	if r.role != Leader {
		assert1(r.leader != r.cfg.ID, "%v believes in itself", r.role)
		assert1(len(r.lead.windows) == 0, "%v with windows", r.role)
		assert1(len(r.lead.reads)+len(r.lead.ready) == 0, "%v with reads", r.role)
	}
	if r.role == PreCandidate || r.role == Candidate {
		assert2(r.leader == None, "%v with leader %v", r.role, r.leader)
		assert2(!r.elected(), "%v with the votes of %v", r.role, r.election.votes)
	}
	if r.role == Follower {
		assert(len(r.election.votes) == 0, "follower with votes")
		f := &r.follow
		assert2(f.matched >= r.commit, "matched %d, commit %d", f.matched, r.commit)
		assert2(f.matched <= r.log.last().Index, "matched %d, last %v", f.matched, r.log.last())
		assert2(f.told <= f.matched, "told %d, matched %d", f.told, f.matched)
	}
}

func (r *Raft) verifyLead() {
	l := &r.lead
	assert2(r.leader == r.cfg.ID, "leader %v believes in %v", r.cfg.ID, r.leader)
	assert2(r.w.durable.term == r.term && r.w.durable.vote == r.cfg.ID, "leads term %d, the disk knows %v", r.term, r.w.durable)
	assert2(l.uncommitted == r.log.bytesAbove(r.commit), "%d bytes above commit, counted %d", r.log.bytesAbove(r.commit), l.uncommitted)
	assert2(l.noop > 0 && l.noop <= r.log.last().Index, "no-op %d, last %v", l.noop, r.log.last())
	if t, ok := r.log.term(l.noop); ok {
		assert2(t == r.term, "no-op is of term %d, term is %d", t, r.term)
	}
	others := 0
	for _, m := range r.config().Members {
		if m.ID != r.cfg.ID {
			others++
			assert1(r.window(m.ID) != nil, "no window for member %v", m.ID)
		}
	}
	assert2(len(l.windows) == others, "%d windows for %d members", len(l.windows), others)
	for i := range l.windows {
		w := &l.windows[i]
		assert1(i == 0 || l.windows[i-1].id < w.id, "windows out of order at %v", w.id)
		assert3(w.round <= l.round, "member %v echoes round %d, newest is %d", w.id, w.round, l.round)
		w.verify(r.log.last().Index)
	}
	assert2(l.confirmed <= l.round, "round %d confirmed, newest is %d", l.confirmed, l.round)
	for i, d := range l.reads {
		assert2(d.round <= l.round, "read of round %d, newest is %d", d.round, l.round)
		assert2(d.round == 0 || d.round > l.confirmed, "read of round %d waits, %d is confirmed", d.round, l.confirmed)
		assert(i == 0 || d.round == 0 || l.reads[i-1].round != 0, "a read overtakes an earlier one")
	}
}

// Log is the retained log: what stands before it, and its entries. For tests and checks; the
// entries must not be changed.
func (r *Raft) Log() (base EntryID, entries []Entry) {
	return r.log.base, r.log.all()
}
