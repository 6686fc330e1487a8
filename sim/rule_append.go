package sim

import "github.com/raftkv/raftkv/raft"

// leaderAppendOnly: a leader never overwrites or deletes entries of its log
// while it leads (raft paper figure 3, 5.3).
func leaderAppendOnly(w *world) *rule {
	r := &rule{name: "leader append-only", source: "raft paper 5.3, figure 3"}
	r.step = func(h *host) {
		v := &h.view
		if v.cut && v.role == raft.Leader && v.was.role == raft.Leader && v.term == v.was.term {
			r.broken(w, "leader %v of term %d had %v, its log ends in %v now", h.id, v.term, v.was.last, v.last)
		}
	}
	return r
}
