package sim

import (
	"slices"

	"github.com/raftkv/raftkv/raft"
)

// noDisruption: who hears a leader grants no pre-vote and follows no vote
// request (thesis 4.2.3 and 9.6), a bid needs the leave of a majority or the
// leader's word (9.6, 3.10), and a leader that hears no majority gives up (6.2).
// Time is that of the node itself: its ticks.
func noDisruption(w *world) *rule {
	r := &rule{name: "elections do not disrupt", source: "thesis 3.10, 4.2.3, 6.2 and 9.6"}
	type ear struct {
		run    int
		leader int // tick at which the leader of the term was heard
		since  int // tick at which it began to lead
		heard  map[raft.NodeID]int
		leave  map[raft.Term][]raft.NodeID // pre-votes granted to it
		heir   raft.Term                   // a leader of this term told it to stand
		term   raft.Term                   // before the message that is being handled
		loyal  bool                        // it must not follow that message
	}
	ears := map[raft.NodeID]*ear{}
	of := func(h *host) *ear {
		e := ears[h.id]
		if e == nil || e.run != h.run {
			e = &ear{run: h.run, leader: -1 << 30, heard: map[raft.NodeID]int{}, leave: map[raft.Term][]raft.NodeID{}}
			ears[h.id] = e
		}
		return e
	}
	// exact: each message is handled at once, by itself, and none is dropped.
	exact := func() bool { return w.plan.lazy == 0 && !w.plan.tiny }
	hears := func(h *host, e *ear) bool {
		c := h.core()
		return c.Leader() != raft.None && h.clock.ticks-e.leader < w.plan.electionTicks-1
	}
	r.received = func(h *host, m *raft.Message) {
		e := of(h)
		e.heard[m.From] = h.clock.ticks
		e.loyal = false
		switch m.Kind {
		case raft.MsgPreVoteReply:
			if m.Granted && !slices.Contains(e.leave[m.Term], m.From) {
				e.leave[m.Term] = append(e.leave[m.Term], m.From)
			}
		case raft.MsgTimeoutNow:
			e.heir = max(e.heir, m.Term)
		case raft.MsgVote:
			e.loyal, e.term = exact() && !m.Transfer && m.Term > h.core().Term() && hears(h, e), h.core().Term()
		}
	}
	r.handled = func(h *host, m *raft.Message) {
		e, c := of(h), h.core()
		if e.loyal && c.Term() != e.term && c.Role() == raft.Follower {
			r.broken(w, "node %v hears leader of term %d and follows %v", h.id, e.term, *m)
		}
		if (m.Kind == raft.MsgAppend || m.Kind == raft.MsgOffer) && m.Term == c.Term() {
			e.leader = h.clock.ticks
		}
	}
	r.gone = func(h *host) { of(h).leader = -1 << 30 } // its process is dead: nobody to be loyal to
	r.sent = func(h *host, m *raft.Message) {
		if m.Kind == raft.MsgPreVoteReply && m.Granted && exact() && hears(h, of(h)) {
			r.broken(w, "node %v hears leader %v and grants a pre-vote: %v", h.id, h.core().Leader(), *m)
		}
	}
	r.step = func(h *host) {
		v := &h.view
		if v.role == v.was.role && v.term == v.was.term && v.role != raft.Leader {
			return
		}
		e := of(h)
		voters, fresh := v.voters, v.role != v.was.role || v.term != v.was.term
		if v.role == raft.Candidate && fresh && e.heir < v.term-1 {
			if n := 1 + len(e.leave[v.term]); n <= len(voters)/2 && v.wasVoters == nil {
				r.broken(w, "node %v stands in term %d with the leave of %d of %d voters", h.id, v.term, n, len(voters))
			}
		}
		if v.role != raft.Leader {
			return
		}
		if fresh {
			e.since = h.clock.ticks
		}
		have := 0
		for _, id := range voters {
			last := max(e.since, e.heard[id]) // ticks begin at zero
			if id == h.id || h.clock.ticks-last < 3*w.plan.electionTicks {
				have++
			}
		}
		if have <= len(voters)/2 {
			r.broken(w, "leader %v of term %d has heard %d of %d voters within three election timeouts", h.id, v.term, have, len(voters))
		}
	}
	return r
}
