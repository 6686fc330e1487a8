package sim

import (
	"slices"

	"github.com/raftkv/raftkv/raft"
)

// oneChangeAtATime: a leader has at most one uncommitted configuration, it
// appends one only after an entry of its own term is committed, and two
// configurations in a row differ by one voter (thesis 4.1, with the correction of 2015).
func oneChangeAtATime(w *world) *rule {
	r := &rule{name: "one membership change at a time", source: "thesis 4.1; raft-dev, 2015: bug in single-server changes"}
	r.step = func(h *host) {
		v := &h.view
		if v.role != raft.Leader || v.was.role != raft.Leader || v.was.term != v.term {
			return
		}
		for i := range v.fresh {
			e := &v.fresh[i]
			if e.Type != raft.EntryConfig {
				continue
			}
			// What was committed in the same turn came before: operators are heard last.
			if f := w.truth.at(v.commit); f == nil || f.Term != v.term {
				r.broken(w, "leader %v changes the membership in %v before an entry of term %d is committed", h.id, e.EntryID, v.term)
			}
			before, at := raft.Configuration{}, raft.Index(0)
			for j := e.Index - 1; j > v.base.Index && at == 0; j-- {
				if o := v.at(j); o.Type == raft.EntryConfig {
					at = j
					before, _ = raft.DecodeConfiguration(o.Data)
				}
			}
			if at == 0 {
				continue // compacted, so it is committed
			}
			if at > v.commit {
				r.broken(w, "leader %v has two uncommitted configurations, %d and %v", h.id, at, e.EntryID)
			}
			next, err := raft.DecodeConfiguration(e.Data)
			if err != nil {
				r.broken(w, "entry %v: %v", e.EntryID, err)
			}
			if n := difference(before.Voters(), next.Voters()); n > 1 {
				r.broken(w, "entry %v changes %d voters at once", e.EntryID, n)
			}
		}
	}
	return r
}

// difference counts who is in one of two lists only.
func difference(a, b []raft.NodeID) int {
	n := 0
	for _, x := range a {
		if !slices.Contains(b, x) {
			n++
		}
	}
	for _, x := range b {
		if !slices.Contains(a, x) {
			n++
		}
	}
	return n
}
