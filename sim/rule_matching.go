package sim

import "github.com/raftkv/raftkv/raft"

// logMatching: entries of the same index and term are the same everywhere, and
// so are those before them (raft paper figure 3, 5.3).
func logMatching(w *world) *rule {
	r := &rule{name: "log matching", source: "raft paper 5.3, figure 3"}
	type made struct {
		sum  uint64
		prev raft.Term // of the entry before it
	}
	all := map[raft.EntryID]made{}
	r.step = func(h *host) {
		prev := h.view.prev
		for i := range h.view.fresh {
			e := &h.view.fresh[i]
			m := made{sumEntry(e), prev.Term}
			prev = e.EntryID
			switch old, known := all[e.EntryID]; {
			case !known:
				all[e.EntryID] = m
			case old.sum != m.sum:
				r.broken(w, "node %v: two entries %v", h.id, e.EntryID)
			case old != m:
				r.broken(w, "node %v: entry %v stands behind term %d here and behind %d elsewhere", h.id, e.EntryID, m.prev, old.prev)
			}
		}
	}
	return r
}
