package sim

import "github.com/raftkv/raftkv/raft"

// leaderCompleteness: whatever was committed in a term is in the logs of the
// leaders of all higher terms (raft paper figure 3, 5.4).
func leaderCompleteness(w *world) *rule {
	r := &rule{name: "leader completeness", source: "raft paper 5.4, figure 3"}
	r.step = func(h *host) {
		v := &h.view
		if v.role != raft.Leader || v.was.role == raft.Leader && v.was.term == v.term {
			return
		}
		for i := v.base.Index; i <= w.truth.committed(); i++ {
			f := w.truth.at(i)
			if f == nil || f.term >= v.term {
				continue
			}
			if !v.has(f.EntryID) {
				r.broken(w, "leader %v of term %d lacks entry %v, committed in term %d", h.id, v.term, f.EntryID, f.term)
			}
		}
	}
	return r
}
