package sim

import "github.com/raftkv/raftkv/raft"

// timeNeverGoesBack: log time ascends along the log and in every machine,
// whatever the clocks of leaders do (ARCHITECTURE, Time).
func timeNeverGoesBack(w *world) *rule {
	r := &rule{name: "time never goes back", source: "ARCHITECTURE, Time"}
	r.committed = func(h *host, f *fact, e *raft.Entry) {
		if p := w.truth.at(f.Index - 1); p != nil && e.Time < p.time {
			r.broken(w, "entry %v has time %d, the one before it %d", f.EntryID, e.Time, p.time)
		}
	}
	r.applied = func(h *host, f *fact, e *raft.Entry, _ []byte) {
		if h.machine.Now() != e.Time {
			r.broken(w, "node %v is at time %d after %v of time %d", h.id, h.machine.Now(), e.EntryID, e.Time)
		}
	}
	return r
}
