package sim

import "github.com/raftkv/raftkv/raft"

// logCoversAll: snapshot and log of a disk together hold everything from the
// first entry on: the log never starts behind the newest durable snapshot, and
// a snapshot that was reported durable is found again (raft paper 7).
func logCoversAll(w *world) *rule {
	r := &rule{name: "snapshot and log cover everything", source: "raft paper 7"}
	check := func(h *host) {
		base, _ := h.disk.Ends()
		if base.Index > h.durable.Last.Index && !h.drive.lostFile {
			r.broken(w, "node %v: the log starts behind %v, the newest snapshot is %v", h.id, base, h.durable.Last)
		}
	}
	r.stored = check
	r.snapshot = func(h *host, meta raft.SnapshotMeta) {
		f := w.truth.at(meta.Last.Index)
		if f == nil || f.EntryID != meta.Last {
			r.broken(w, "node %v has a snapshot %v, which is not committed", h.id, meta.Last)
		}
		if meta.Last.Index > h.durable.Last.Index {
			h.durable = meta
			h.drive.lostFile = false
		}
	}
	r.started = func(h *host) {
		if found := h.loaded.Last; found.Index < h.durable.Last.Index && !h.drive.lostFile {
			r.broken(w, "node %v: snapshot %v was durable, the newest one at start is %v", h.id, h.durable.Last, found)
		}
		h.durable = h.loaded
		check(h)
	}
	return r
}
