package node

import "github.com/raftkv/raftkv/raft"

// Ticket is the claim on the outcome of one proposed entry.
type Ticket struct {
	id raft.EntryID
	op op
	// dead: answered already, at its deadline.
	dead bool
}

// Index is the index of the entry that the ticket waits for.
func (t Ticket) Index() raft.Index { return t.id.Index }

// tickets holds the open claims in the order of their proposals, which is the
// order of (term, index). Losing leadership ends none of them: a proposal is
// decided when its index is committed, here or by another leader, and by
// nothing else.
type tickets struct {
	q ring[Ticket]
}

func (t *tickets) len() int { return t.q.len() }

func (t *tickets) add(id raft.EntryID, o op) {
	if n := t.q.len(); n > 0 {
		if back := t.q.at(n - 1).id; back.Term > id.Term || back.Term == id.Term && back.Index >= id.Index {
			assert(false, "ticket %v behind %v", id, back)
		}
	}
	t.q.push(Ticket{id: id, op: o})
}

// verdict is what a batch of committed entries says of one ticket.
type verdict uint8

const (
	undecided verdict = iota
	isApplied
	isReplaced // an entry of another term is committed at its index, or must be
	isJumped   // a snapshot jumped over it
)

// judge compares one ticket with committed entries, which are contiguous.
// Terms ascend along a log, so a committed entry of a later term at or below
// the ticket's index has replaced it, whatever stands at that index later.
func judge(id raft.EntryID, entries []raft.Entry) verdict {
	first, last := entries[0].EntryID, entries[len(entries)-1].EntryID
	switch {
	case id.Index < first.Index:
		return isJumped
	case id.Index <= last.Index:
		if entries[id.Index-first.Index].Term == id.Term {
			return isApplied
		}
		return isReplaced
	case id.Term < last.Term:
		return isReplaced
	}
	return undecided
}

// settle takes out the tickets that the committed entries decide. The applied
// ones are appended to done, ascending by index; the others are told to ended.
func (t *tickets) settle(entries []raft.Entry, done []Ticket, ended func(*op, verdict)) []Ticket {
	if t.q.len() == 0 || len(entries) == 0 {
		return done
	}
	last := entries[len(entries)-1].EntryID
	front, back := t.q.at(0).id, t.q.at(t.q.len()-1).id
	if front.Term == back.Term && back.Term == last.Term && entries[0].Term == last.Term && front.Index >= entries[0].Index {
		// All of one term, the usual case: each ticket up to last is applied.
		for t.q.len() > 0 && t.q.at(0).id.Index <= last.Index {
			if k := t.q.pop(); !k.dead {
				done = append(done, k)
			}
		}
		return done
	}
	t.q.filter(func(k *Ticket) bool {
		v := judge(k.id, entries)
		switch {
		case v == undecided:
			return true
		case k.dead:
		case v == isApplied:
			done = append(done, *k)
		default:
			ended(&k.op, v)
		}
		return false
	})
	return done
}

// jumped takes out the tickets that an installed snapshot jumped over.
func (t *tickets) jumped(last raft.EntryID, ended func(*op, verdict)) {
	t.q.filter(func(k *Ticket) bool {
		switch {
		case k.id.Index <= last.Index:
			if !k.dead {
				ended(&k.op, isJumped)
			}
			return false
		case k.id.Term < last.Term:
			if !k.dead {
				ended(&k.op, isReplaced)
			}
			return false
		}
		return true
	})
}

// expire answers those whose deadline has come. They keep their place.
func (t *tickets) expire(tick uint64, ended func(*op)) {
	for i := range t.q.len() {
		if k := t.q.at(i); !k.dead && k.op.deadline <= tick {
			k.dead = true
			ended(&k.op)
			k.op = op{}
		}
	}
}
