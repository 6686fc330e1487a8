package sim

import "github.com/raftkv/raftkv/raft"

// ownTermByCounting: a leader commits by counting only entries of its own term;
// what stands before them goes along (raft paper 5.4.2, figure 8).
func ownTermByCounting(w *world) *rule {
	r := &rule{name: "only own-term entries by counting", source: "raft paper 5.4.2, figure 8"}
	r.counted = func(h *host, top *fact, _ []raft.NodeID) {
		if top.Term != top.term {
			r.broken(w, "leader %v of term %d commits up to %v", h.id, top.term, top.EntryID)
		}
	}
	return r
}
