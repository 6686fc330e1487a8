package sim

import "github.com/raftkv/raftkv/raft"

// promisesOnDisk: term and vote never regress on a disk, over all crashes and
// starts: a node votes once a term (raft paper 5.2, "persistent state" in figure 2).
func promisesOnDisk(w *world) *rule {
	r := &rule{name: "term and vote never regress on disk", source: "raft paper 5.2, figure 2"}
	best := map[raft.NodeID]raft.HardState{}
	check := func(h *host, s raft.HardState, where string) {
		old := best[h.id]
		switch {
		case s.Term < old.Term:
			r.broken(w, "node %v: term goes back from %d to %d %s", h.id, old.Term, s.Term, where)
		case s.Term == old.Term && old.Vote != raft.None && s.Vote != old.Vote:
			r.broken(w, "node %v: vote of term %d changes from %v to %v %s", h.id, s.Term, old.Vote, s.Vote, where)
		}
	}
	r.stored = func(h *host) {
		s, _ := h.disk.State()
		if h.drive.amnesiac {
			return // that is what we did to it; promisesBeforeDisk sees what comes of it
		}
		check(h, s, "on disk")
		best[h.id] = s
	}
	r.write = func(h *host, x *raft.Write) {
		if !h.drive.amnesiac {
			check(h, x.State, "in a write")
		}
	}
	r.step = func(h *host) {
		v := &h.view
		if v.seen && v.term < v.was.term {
			r.broken(w, "node %v: term goes back from %d to %d", h.id, v.was.term, v.term)
		}
	}
	return r
}

// promisesBeforeDisk: nothing leaves a node before its disk can back it
// (ARCHITECTURE, "What leaves the core, and when"; thesis 10.2.1; raft paper 5.2).
func promisesBeforeDisk(w *world) *rule {
	r := &rule{name: "what leaves is on disk", source: "raft paper 5.2; ARCHITECTURE, what leaves the core and when"}
	type ballot struct {
		id   raft.NodeID
		term raft.Term
	}
	votes := map[ballot]raft.NodeID{}
	logs := map[raft.Term]*reign{}
	vote := func(h *host, to raft.NodeID, m *raft.Message) {
		if s, _ := h.disk.State(); s.Term != m.Term || s.Vote != to {
			r.broken(w, "a vote leaves, the disk has term %d, vote %v: %v", s.Term, s.Vote, *m)
		}
		b := ballot{h.id, m.Term}
		if old, voted := votes[b]; voted && old != to {
			r.broken(w, "second vote in a term, the first was for %v: %v", old, *m)
		}
		votes[b] = to
		if h.drive.ghost && (h.drive.amnesiac || h.disk.Fence() != raft.FenceNone) {
			r.broken(w, "a node that was made to forget votes or stands: %v", *m)
		}
	}
	r.step = func(h *host) {
		v := &h.view
		if v.role != raft.Leader {
			return
		}
		g := logs[v.term]
		if g == nil {
			g = &reign{id: h.id, base: v.base}
			logs[v.term] = g
		}
		for i := g.last() + 1; i <= v.last.Index; i++ {
			if i > v.base.Index {
				g.log = append(g.log, v.at(i).EntryID)
			}
		}
	}
	r.sent = func(h *host, m *raft.Message) {
		s, seq := h.disk.State()
		if m.From != h.id || m.Seq > seq && !h.drive.ghost {
			r.broken(w, "bad header, the disk is at write %d: %v", seq, *m)
		}
		switch m.Kind {
		case raft.MsgVoteReply:
			if m.Granted {
				vote(h, m.To, m)
			}
		case raft.MsgVote:
			vote(h, h.id, m)
			if !h.holds(m.Last) {
				r.broken(w, "a vote is asked for a log that the disk does not hold: %v", *m)
			}
		case raft.MsgAppend, raft.MsgOffer, raft.MsgTimeoutNow:
			if s.Term != m.Term || s.Vote != h.id {
				r.broken(w, "leads on a disk with term %d, vote %v: %v", s.Term, s.Vote, *m)
			}
			// It may step down in the turn in which it says so: then step comes too late.
			if g := logs[m.Term]; g != nil && g.id == h.id {
				for i := range m.Entries {
					if m.Entries[i].Index == g.last()+1 {
						g.log = append(g.log, m.Entries[i].EntryID)
					}
				}
			}
		case raft.MsgAppendReply:
			if m.Reject && m.Match == 0 && m.Have == 0 && m.Round == 0 {
				return // a refusal promises nothing
			}
			if s.Term != m.Term {
				r.broken(w, "a reply leaves, the disk has term %d: %v", s.Term, *m)
			}
			g := logs[m.Term]
			if g == nil || g.id != m.To {
				r.broken(w, "a reply to who does not lead: %v", *m)
			}
			if id, known := g.at(m.Match); known && !h.holds(id) {
				r.broken(w, "acknowledges %v, which the disk does not hold: %v", id, *m)
			}
		}
	}
	return r
}

// reign is the log of one leader's term, behind base, as it grew.
type reign struct {
	id   raft.NodeID
	base raft.EntryID
	log  []raft.EntryID
}

func (g *reign) last() raft.Index { return g.base.Index + raft.Index(len(g.log)) }

// at is the entry that the leader had at an index; known is false below base: that is committed.
func (g *reign) at(i raft.Index) (id raft.EntryID, known bool) {
	if i <= g.base.Index {
		return raft.EntryID{}, false
	}
	if i > g.last() {
		return raft.EntryID{Index: i}, true // nobody can hold it
	}
	return g.log[i-g.base.Index-1], true
}
