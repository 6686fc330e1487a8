package sim

import (
	"errors"

	"github.com/zeebo/xxh3"

	"github.com/raftkv/raftkv/node"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/statemachine"
)

// equalStates: at one index all machines have the same state and gave the same
// results, whether they applied the log or restored a snapshot (raft paper 2,
// "state machines are deterministic"), and no node that compares its state with
// the others' (ARCHITECTURE, Comparing states) finds a difference. In the end it
// is the state that the observer has come to by itself.
func equalStates(w *world) *rule {
	r := &rule{name: "equal state hash at equal index", source: "raft paper 2 and 7"}
	r.applied = func(h *host, f *fact, e *raft.Entry, result []byte) {
		if len(e.Data) > 0 && statemachine.Op(e.Data[0]) == statemachine.OpVerify {
			hash := h.machine.Hash()
			if res, err := statemachine.DecodeResult(result); err != nil || string(res.Bytes) != string(hash[:]) {
				r.broken(w, "node %v answers %q to %v, its state is %x", h.id, result, e.EntryID, hash)
			}
			if w.rotted {
				return // the first one that answered may have been wrong
			}
		}
		if h.machine.Hash() != f.hash && !h.drive.rotten {
			r.broken(w, "node %v has state %x at %v, another node had %x", h.id, h.machine.Hash(), e.EntryID, f.hash)
		}
		if xxh3.Hash(result) != f.result {
			r.broken(w, "node %v answers %q to %v, another node something else", h.id, result, e.EntryID)
		}
	}
	r.replied = func(o *op, p *node.Reply) {
		if o.kind == node.Write && p.Outcome == node.Applied && xxh3.Hash(p.Result) != w.truth.at(p.Index).result {
			r.broken(w, "%v is answered %q, which is not the result of entry %d", o, p.Result, p.Index)
		}
	}
	r.step = func(h *host) {
		if w.rotted {
			return
		}
		if h.metrics.Diverged.Load() > 0 {
			r.broken(w, "node %v was told of another state than its own", h.id)
		}
		if d, ok := errors.AsType[*node.DivergedError](h.fatal); ok {
			r.broken(w, "node %v: %v", h.id, d)
		}
	}
	same := func(h *host, meta raft.SnapshotMeta) {
		f := w.truth.at(meta.Last.Index)
		if f == nil {
			return
		}
		right := !f.hashed && !h.drive.rotten || f.hashed && f.hash == meta.Hash
		if !right && !h.drive.rotten {
			r.broken(w, "node %v has a snapshot %v of state %x, the state was %x", h.id, meta.Last, meta.Hash, f.hash)
		}
		h.drive.wrong = !right
	}
	r.snapshot = same
	r.started = func(h *host) {
		at := h.machine.Applied()
		f := w.truth.at(at.Index)
		switch {
		case f != nil && !f.hashed:
		case f == nil || h.machine.Hash() == f.hash:
			h.drive.rotten, h.drive.wrong = false, false // what comes is made anew from the log
		case !h.drive.rotten:
			r.broken(w, "node %v starts with state %x at %v, the state was %x", h.id, h.machine.Hash(), at, f.hash)
		default:
			w.count.Seen["rotten-start"]++
		}
	}
	r.end = func() {
		if l := w.leader(); l != nil {
			at := w.truth.moment(l.machine.Applied().Index)
			if wrong := w.truth.differs(l.machine, at); wrong != "" {
				r.broken(w, "node %v at the end, entry %d: %s", l.id, at.index, wrong)
			}
		}
		for _, h := range w.hosts {
			if h.up && h.machine.Recompute() != h.machine.Hash() {
				r.broken(w, "node %v: the hash of its state %x is not that of what is stored, %x", h.id, h.machine.Hash(), h.machine.Recompute())
			}
		}
	}
	return r
}
