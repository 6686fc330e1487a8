package sim

import "github.com/raftkv/raftkv/raft"

// stateMachineSafety: no two nodes apply different entries at one index, each
// node applies all of them in order, and only what is committed (raft paper
// figure 3, 5.4.3). That an entry is the committed one is checked for every
// commit and every application before the rules are asked.
func stateMachineSafety(w *world) *rule {
	r := &rule{name: "state machine safety", source: "raft paper 5.4.3, figure 3"}
	r.applied = func(h *host, _ *fact, e *raft.Entry, _ []byte) {
		if at := h.machine.Applied(); at != e.EntryID {
			r.broken(w, "node %v is at %v after it applied %v", h.id, at, e.EntryID)
		}
	}
	r.step = func(h *host) {
		if at := h.machine.Applied(); at.Index > h.view.commit {
			r.broken(w, "node %v has applied %v and committed %d", h.id, at, h.view.commit)
		}
	}
	return r
}
