package raft

import (
	"fmt"
	"hash/fnv"
	"strconv"
)

// Text forms, made for scenario files and traces: short, stable, sorted. Fields
// that are zero are left out.

// String names the kind as scenario files write it.
func (k Kind) String() string {
	switch k {
	case MsgAppend:
		return "append"
	case MsgAppendReply:
		return "reply"
	case MsgOffer:
		return "offer"
	case MsgVote:
		return "vote"
	case MsgVoteReply:
		return "vote-reply"
	case MsgPreVote:
		return "prevote"
	case MsgPreVoteReply:
		return "prevote-reply"
	case MsgTimeoutNow:
		return "timeout-now"
	}
	return "kind-" + strconv.Itoa(int(k))
}

// String is term/index, with the type behind it unless it is a command.
func (e Entry) String() string {
	switch e.Type {
	case EntryCommand:
		return e.EntryID.String()
	case EntryNoop:
		return e.EntryID.String() + "noop"
	case EntryConfig:
		return e.EntryID.String() + "config"
	}
	return e.EntryID.String() + "type" + strconv.Itoa(int(e.Type))
}

// String lists the members, a learner with a ~ before it, and the removed with a - before them.
func (c Configuration) String() string {
	var b []byte
	for _, m := range c.Members {
		b = sep(b, ' ')
		if m.Learner {
			b = append(b, '~')
		}
		b = append(b, m.ID.String()...)
	}
	for _, id := range c.Removed {
		b = append(sep(b, ' '), '-')
		b = append(b, id.String()...)
	}
	return string(b)
}

// String is one line: from->to kind term and what else the kind carries.
func (m Message) String() string {
	b := fmt.Appendf(nil, "%v->%v %v t=%d", m.From, m.To, m.Kind, m.Term)
	switch m.Kind {
	case MsgAppend:
		b = fmt.Appendf(b, " prev=%v ", m.Prev)
		b = appendEntries(b, m.Entries)
		b = appendNumber(b, "commit", uint64(m.Commit))
		b = appendNumber(b, "round", m.Round)
	case MsgOffer:
		if m.Snapshot != nil {
			b = fmt.Appendf(b, " snapshot=%v", m.Snapshot.Last)
		}
		b = appendNumber(b, "commit", uint64(m.Commit))
		b = appendNumber(b, "round", m.Round)
	case MsgAppendReply:
		b = fmt.Appendf(b, " match=%d", m.Match)
		if m.Have != m.Match {
			b = appendNumber(b, "have", uint64(m.Have))
		}
		if m.Reject {
			b = fmt.Appendf(b, " reject prev=%v hint=%v", m.Prev, m.Hint)
		}
		b = appendNumber(b, "round", m.Round)
		if m.Fetch != (EntryID{}) {
			b = fmt.Appendf(b, " fetch=%v fetched=%d", m.Fetch, m.Fetched)
		}
		b = appendFlag(b, "full", m.Full)
		b = appendFlag(b, "low", m.Low)
		b = appendFlag(b, "refetch", m.Refetch)
	case MsgVote, MsgPreVote:
		b = fmt.Appendf(b, " last=%v", m.Last)
		b = appendFlag(b, "transfer", m.Transfer)
	case MsgVoteReply, MsgPreVoteReply:
		if m.Granted {
			b = append(b, " granted"...)
		} else {
			b = append(b, " refused"...)
		}
	}
	return string(b)
}

// String is one line: seq, term and vote, entries, commit hint, base.
func (w *Write) String() string {
	b := fmt.Appendf(nil, "write %d t=%d", w.Seq, w.State.Term)
	if w.State.Vote != None {
		b = fmt.Appendf(b, " vote=%v", w.State.Vote)
	}
	if w.Reset {
		b = fmt.Appendf(b, " reset=%v", w.Base)
	} else if w.Base != (EntryID{}) {
		b = fmt.Appendf(b, " base=%v", w.Base)
	}
	b = appendEntries(append(b, ' '), w.Entries)
	b = appendNumber(b, "commit", uint64(w.State.Commit))
	b = appendNumber(b, "fence", uint64(w.Fence))
	return string(b)
}

// String is one line an item: messages, write, committed, reads, the rest.
func (o Output) String() string {
	var b []byte
	for _, m := range o.Messages {
		b = append(sep(b, '\n'), m.String()...)
	}
	if o.Write != nil {
		b = append(sep(b, '\n'), o.Write.String()...)
	}
	if len(o.Committed) > 0 {
		b = appendEntries(append(sep(b, '\n'), "committed "...), o.Committed)
	}
	for _, d := range o.Reads {
		b = fmt.Appendf(sep(b, '\n'), "read %d at %d", d.ID, d.Index)
	}
	for _, id := range o.Lost {
		b = fmt.Appendf(sep(b, '\n'), "read %d lost", id)
	}
	if o.Install != nil {
		b = fmt.Appendf(sep(b, '\n'), "install %v from %v", o.Install.Meta.Last, o.Install.From)
	}
	if s := o.Soft; s != nil {
		b = fmt.Appendf(sep(b, '\n'), "%v t=%d leader=%v: %s", s.Role, s.Term, s.Leader, s.Reason)
	}
	return string(b)
}

func sep(b []byte, c byte) []byte {
	if len(b) > 0 {
		b = append(b, c)
	}
	return b
}

func appendEntries(b []byte, es []Entry) []byte {
	b = append(b, '[')
	for i, e := range es {
		if i > 0 {
			b = append(b, ' ')
		}
		b = append(b, e.String()...)
	}
	return append(b, ']')
}

func appendNumber(b []byte, name string, v uint64) []byte {
	if v == 0 {
		return b
	}
	return fmt.Appendf(b, " %s=%d", name, v)
}

func appendFlag(b []byte, name string, v bool) []byte {
	if !v {
		return b
	}
	return append(append(b, ' '), name...)
}

// AppendText appends every field of the core in a canonical form, one thought a
// line. Two cores with the same text behave the same for ever. For model checkers
// and tests; the form may change with any version.
func (r *Raft) AppendText(b []byte) []byte { return r.appendText(b, true) }

// AppendSummary appends what AppendText does, but for the log, which may be long.
func (r *Raft) AppendSummary(b []byte) []byte { return r.appendText(b, false) }

func (r *Raft) appendText(b []byte, log bool) []byte {
	b = fmt.Appendf(b, "config %+v\n", r.cfg)
	p, _ := r.rand.MarshalBinary() // never fails
	b = fmt.Appendf(b, "rand %x\n", p)
	b = fmt.Appendf(b, "term %d vote %v fence %d refetch %v from %d\n", r.term, r.vote, r.fence, r.refetch, r.stateFrom)
	b = fmt.Appendf(b, "role %v leader %v commit %d handed %d applied %d\n", r.role, r.leader, r.commit, r.handed, r.applied)
	b = fmt.Appendf(b, "log base %v time %d bytes %d\n", r.log.base, r.log.baseTime, r.log.bytes)
	if log {
		for _, e := range r.log.all() {
			b = fmt.Appendf(b, " %v %d %d %q\n", e.EntryID, e.Type, e.Time, e.Data)
		}
	}
	w := &r.w
	b = fmt.Appendf(b, "writes seq %d done %d stable %d handed %d base %v reset %v slowest %v period %d ended %d\n",
		w.seq, w.done, w.stable, w.handed, w.base, w.reset, w.slowest, w.period, w.ended)
	b = fmt.Appendf(b, " durable %v given %v flight %v\n", w.durable, w.given, w.flight)
	for _, c := range r.configs {
		b = fmt.Appendf(b, "configuration %d %v\n", c.index, AppendConfiguration(nil, c.Configuration))
	}
	b = fmt.Appendf(b, "snapshot %x\n", AppendSnapshotMeta(nil, r.snapshot))
	if c := r.compact; c != nil {
		b = fmt.Appendf(b, "compact %x from %d\n", AppendSnapshotMeta(nil, c.meta), c.keepFrom)
	}
	b = fmt.Appendf(b, "timers now %d elapsed %d timeout %d heard %d beat %d behind %d hung %d bid %d fence end %d\n",
		r.now, r.elapsed, r.timeout, r.heard, r.beat, r.behind, r.hung, r.fastBid, r.fenceEnd)
	b = fmt.Appendf(b, "election %+v\n", r.election)
	f := r.follow
	if f.offer != nil {
		b = fmt.Appendf(b, "offer %x\n", AppendSnapshotMeta(nil, *f.offer))
	}
	f.offer = nil
	b = fmt.Appendf(b, "follow %+v\n", f)
	l := r.lead
	for i := range l.windows {
		b = fmt.Appendf(b, "window %+v\n", l.windows[i])
	}
	l.windows = nil
	b = fmt.Appendf(b, "lead %+v\n", l)
	b = fmt.Appendf(b, "owed %v lost %v full %v low %v forgotten %d soft %v reason %q\n",
		r.voteOwed, r.lost, r.full, r.low, r.forgotten, r.softSent, r.reason)
	for _, m := range r.answers {
		b = fmt.Appendf(b, "answer %v\n", m)
	}
	return b
}

// Hash is a hash of AppendText: equal cores have equal ones.
func (r *Raft) Hash() uint64 {
	h := fnv.New64a()
	h.Write(r.AppendText(nil))
	return h.Sum64()
}
