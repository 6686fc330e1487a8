package sim

// committedStays: what is committed stays on the disks of a majority, whatever
// crashes; the commit index of a process never moves back, and no node believes
// in more than is committed (raft paper 5.3, 5.4).
func committedStays(w *world) *rule {
	r := &rule{name: "committed stays committed", source: "raft paper 5.3 and 5.4"}
	r.stored = func(*host) {
		n := len(w.truth.log)
		if n == 0 || w.truth.voters == nil {
			return
		}
		last, voters := w.truth.log[n-1].EntryID, w.truth.voters
		if have := w.onDisk(voters, last); have <= len(voters)/2 {
			r.broken(w, "entry %v was committed and is on %d disks of %d", last, have, len(voters))
		}
	}
	r.step = func(h *host) {
		v := &h.view
		if v.commit < v.was.commit {
			r.broken(w, "node %v: commit goes back from %d to %d", h.id, v.was.commit, v.commit)
		}
		if v.commit > w.truth.committed() {
			r.broken(w, "node %v: commit %d, only %d is committed", h.id, v.commit, w.truth.committed())
		}
		if f := w.truth.at(v.base.Index); v.base.Index > 0 && (f == nil || f.EntryID != v.base) {
			r.broken(w, "node %v: its log starts behind %v, which was not committed", h.id, v.base)
		}
	}
	r.started = func(h *host) {
		if s, _ := h.disk.State(); s.Commit > w.truth.committed() {
			r.broken(w, "node %v: the disk says that %d is committed, it is %d", h.id, s.Commit, w.truth.committed())
		}
	}
	return r
}
