package sim

import (
	"github.com/raftkv/raftkv/node"
	"github.com/raftkv/raftkv/raft"
)

// acknowledgedIsDurable: an entry is on the disks of a majority before a leader
// commits it, and committed before a client hears of it (raft paper 5.3; thesis
// 10.2.1: the leader may write in parallel, but counts itself only when written).
func acknowledgedIsDurable(w *world) *rule {
	r := &rule{name: "acknowledged is durable on a quorum", source: "raft paper 5.3; thesis 10.2.1"}
	r.counted = func(h *host, top *fact, voters []raft.NodeID) {
		if have := w.onDisk(voters, top.EntryID); have <= len(voters)/2 {
			r.broken(w, "leader %v commits %v, which is on %d disks of %d", h.id, top.EntryID, have, len(voters))
		}
	}
	r.replied = func(o *op, p *node.Reply) {
		if p.Outcome == node.Applied && p.Index > w.truth.committed() {
			r.broken(w, "%v is answered at %d, only %d is committed", o, p.Index, w.truth.committed())
		}
	}
	return r
}
