package raft

import (
	"encoding/binary"
	"slices"
)

// What a model checker needs beside Clone: time as events of its own, and a
// state without clocks. Nothing in production calls what is in this file.

// Timer names what ticks bring about.
type Timer uint8

// The timers.
const (
	// TimerLoyalty: the leader was heard of an election timeout ago, which ends stickiness.
	TimerLoyalty Timer = iota
	// TimerElection: nobody was heard of for long enough to make a bid, or to make the next.
	TimerElection
	// TimerHeartbeat: a leader's heartbeat is due, or a bid's next request.
	TimerHeartbeat
	// TimerQuorum: no member has answered the leader for an election timeout.
	TimerQuorum
	// TimerTransfer: the leader has waited for its heir long enough.
	TimerTransfer
	// TimerDisk: the leader's oldest write is under way for so long, with a majority
	// ahead of it, that it gives way.
	TimerDisk
)

// Expire does what ticks do at the moment when t runs out, with all other
// counters standing still. It returns false, and has changed nothing, where no
// number of ticks brings it about.
func (r *Raft) Expire(t Timer) bool {
	switch t {
	case TimerLoyalty:
		if r.role == Leader || r.heard >= r.cfg.ElectionTicks {
			return false
		}
		r.heard = r.cfg.ElectionTicks
		return true
	case TimerElection:
		if r.role == Leader || !r.mayCampaign() || r.role == Candidate && !r.election.asked {
			return false
		}
		r.heard, r.elapsed = r.cfg.ElectionTicks, r.timeout+slowMost
		r.electionTick()
		return true
	case TimerHeartbeat:
		switch {
		case r.role == Leader:
			r.heartbeat()
		case r.role == PreCandidate, r.election.asked:
			r.election.due = true
		default:
			return false
		}
		return true
	case TimerQuorum:
		if r.role != Leader || quorum(len(r.config().Voters())) == 1 && r.config().IsVoter(r.cfg.ID) {
			return false
		}
		for i := range r.lead.windows {
			r.lead.windows[i].silent = r.cfg.ElectionTicks
		}
		r.leaderTick()
		return true
	case TimerTransfer:
		if r.role != Leader || r.lead.transfer == None {
			return false
		}
		r.lead.transfer = None
		return true
	case TimerDisk:
		if r.role != Leader || len(r.w.flight) == 0 || !r.outrun() {
			return false
		}
		r.w.flight[0].age, r.behind = r.cfg.ElectionTicks, r.cfg.ElectionTicks
		r.leaderTick()
		return true
	}
	return false
}

// Naming replaces what differs between two cores only by name. Both functions
// are injective and leave zero alone.
type Naming struct {
	ID   func(NodeID) NodeID
	Boot func(uint64) uint64
}

// AppendState appends what the core will do from here on, as far as no time
// passes: all of its state but the counters of ticks, the numbers of writes and
// what only people look at. Cores with equal states take the same messages,
// disk completions and timers alike. What is in a configuration entry is not renamed.
func (r *Raft) AppendState(b []byte, as Naming) []byte {
	s := stater{b, as}
	s.id(r.cfg.ID)
	s.num(uint64(r.term), uint64(r.fence), uint64(r.role), uint64(r.commit), uint64(r.handed), uint64(r.applied))
	s.id(r.vote)
	s.id(r.leader)
	s.flags(r.sticky(), r.refetch, r.full, r.low, r.hung != 0)
	s.num(uint64(r.fastBid), uint64(r.fenceEnd), uint64(r.stateFrom))
	s.log(&r.log)
	s.writes(&r.w)
	s.num(uint64(len(r.configs)))
	for _, c := range r.configs {
		s.num(uint64(c.index))
		s.config(c.Configuration)
	}
	s.meta(&r.snapshot)
	if c := r.compact; c != nil {
		s.num(uint64(c.keepFrom))
		s.meta(&c.meta)
	} else {
		s.num(0)
	}
	s.election(&r.election)
	s.follow(&r.follow)
	s.lead(&r.lead, &r.cfg)
	s.id(r.voteOwed.to)
	s.entryID(r.voteOwed.last)
	s.num(uint64(len(r.answers)))
	for _, m := range r.answers {
		s.b = m.AppendState(s.b, as)
	}
	s.num(uint64(len(r.lost)))
	s.num(r.lost...)
	return s.b
}

// AppendState appends the message in the form of Raft.AppendState. The number of
// the sender's last write is left out: the core does not look at it.
func (m Message) AppendState(b []byte, as Naming) []byte {
	s := stater{b, as}
	s.num(uint64(m.Kind), uint64(m.Term), as.Boot(m.Boot), as.Boot(m.ToBoot), uint64(m.Commit), m.Round,
		uint64(m.Match), uint64(m.Have), m.Fetched)
	s.id(m.From)
	s.id(m.To)
	s.entryID(m.Prev)
	s.entryID(m.Last)
	s.entryID(m.Hint)
	s.entryID(m.Fetch)
	s.flags(m.Reject, m.Full, m.Low, m.Refetch, m.Granted, m.Transfer, m.Snapshot != nil)
	s.entries(m.Entries)
	if m.Snapshot != nil {
		s.meta(m.Snapshot)
	}
	return s.b
}

// stater appends values that are long enough to be told apart: counts stand before lists.
type stater struct {
	b  []byte
	as Naming
}

func (s *stater) num(vs ...uint64) {
	for _, v := range vs {
		s.b = binary.AppendUvarint(s.b, v)
	}
}

func (s *stater) id(id NodeID) { s.num(uint64(s.as.ID(id))) }

func (s *stater) entryID(e EntryID) { s.num(uint64(e.Term), uint64(e.Index)) }

func (s *stater) flags(fs ...bool) {
	var v uint64
	for i, f := range fs {
		if f {
			v |= 1 << i
		}
	}
	s.num(v)
}

func (s *stater) entries(es []Entry) {
	s.num(uint64(len(es)))
	for i := range es {
		e := &es[i]
		s.entryID(e.EntryID)
		s.num(uint64(e.Type), uint64(e.Time), uint64(len(e.Data)))
		s.b = append(s.b, e.Data...)
	}
}

func (s *stater) log(l *raftLog) {
	s.entryID(l.base)
	s.num(uint64(l.baseTime))
	s.entries(l.all())
}

// writes: numbers of writes only ever count up, so their order is enough.
func (s *stater) writes(w *writes) {
	s.num(uint64(w.stable), uint64(w.handed))
	s.promise(w.durable)
	s.promise(w.given)
	s.num(uint64(len(w.flight)))
	for _, f := range w.flight {
		s.promise(f.promise)
		s.num(uint64(f.last))
	}
	s.entryID(w.base)
	s.flags(w.reset)
}

func (s *stater) promise(p promise) {
	s.num(uint64(p.term), uint64(p.fence))
	s.id(p.vote)
}

func (s *stater) config(c Configuration) {
	ids := make([]uint64, 0, len(c.Members))
	for _, m := range c.Members {
		id := uint64(s.as.ID(m.ID)) << 1
		if m.Learner {
			id |= 1
		}
		ids = append(ids, id)
	}
	slices.Sort(ids)
	s.num(uint64(len(ids)))
	s.num(ids...)
	s.ids(c.Removed)
}

func (s *stater) ids(from []NodeID) {
	ids := make([]uint64, 0, len(from))
	for _, id := range from {
		ids = append(ids, uint64(s.as.ID(id)))
	}
	slices.Sort(ids)
	s.num(uint64(len(ids)))
	s.num(ids...)
}

func (s *stater) meta(m *SnapshotMeta) {
	s.entryID(m.Last)
	s.num(uint64(m.Time), uint64(m.Level))
	s.b = append(s.b, m.Hash[:]...)
	s.config(m.Config)
}

func (s *stater) election(e *election) {
	s.ids(e.votes)
	s.flags(e.asked, e.due, e.transfer)
	s.entryID(e.last)
}

func (s *stater) follow(f *follow) {
	s.num(uint64(f.matched), f.echo, uint64(f.told), f.fetched)
	s.flags(f.owed, f.reject, f.offer != nil)
	s.entryID(f.prev)
	s.entryID(f.hint)
	s.entryID(f.fetch)
	if f.offer != nil {
		s.meta(f.offer)
	}
}

func (s *stater) lead(l *lead, cfg *Config) {
	// By the new names, so that the order is that of the renamed core's.
	at := make([]int, len(l.windows))
	for i := range at {
		at[i] = i
	}
	slices.SortFunc(at, func(a, b int) int { return cmpID(s.as.ID(l.windows[a].id), s.as.ID(l.windows[b].id)) })
	s.num(uint64(len(at)))
	for _, i := range at {
		s.window(&l.windows[i], l.appended, cfg)
	}
	s.num(uint64(l.noop), uint64(l.uncommitted), l.round, l.confirmed)
	s.num(uint64(len(l.reads)))
	for _, d := range l.reads {
		s.num(d.id, uint64(d.index), d.round)
	}
	s.num(uint64(len(l.ready)))
	for _, d := range l.ready {
		s.num(d.ID, uint64(d.Index))
	}
	s.id(l.transfer)
	s.flags(l.transferAsked, l.leaving)
}

func (s *stater) window(w *window, appended uint64, cfg *Config) {
	s.id(w.id)
	s.num(uint64(w.match), uint64(w.have), uint64(w.next), uint64(w.tried), uint64(w.told), w.sentRound, w.round, w.fetched)
	s.num(s.as.Boot(w.boot), uint64(w.limit), appended-w.sentAppended)
	s.flags(w.probe, w.asked, w.beat, w.full, w.low, w.refetch, w.active(cfg))
	s.entryID(w.fetch)
	s.num(uint64(len(w.sent)))
	for _, m := range w.sent {
		s.num(uint64(m.last), uint64(m.bytes))
	}
}
