package sim

import "github.com/raftkv/raftkv/raft"

// electionSafety: at most one leader a term, and who stopped leading a term
// doesn't lead it again (raft paper figure 3, 5.2).
func electionSafety(w *world) *rule {
	r := &rule{name: "election safety", source: "raft paper 5.2, figure 3"}
	leaders := map[raft.Term]raft.NodeID{}
	ended := map[raft.Term]bool{}
	r.started = func(h *host) {
		for t, id := range leaders {
			if id == h.id {
				ended[t] = true
			}
		}
	}
	r.step = func(h *host) {
		v := &h.view
		led := v.was.role == raft.Leader && v.was.term > 0
		if led && (v.role != raft.Leader || v.term != v.was.term) {
			ended[v.was.term] = true
		}
		if v.role != raft.Leader {
			return
		}
		id, known := leaders[v.term]
		switch {
		case !known:
			leaders[v.term] = h.id
			w.truth.terms++
		case id != h.id:
			r.broken(w, "nodes %v and %v lead term %d", id, h.id, v.term)
		case ended[v.term]:
			r.broken(w, "node %v leads term %d again after it had stopped", h.id, v.term)
		}
	}
	return r
}
