package node

import (
	"errors"
	"math"

	"github.com/raftkv/raftkv/raft"
)

// transfer is leadership on its way to another node.
type transfer struct {
	until uint64 // tick
	done  func(error)
}

func (r *Replica) onChangeMember(ev ChangeMember) {
	switch {
	case ev.DryRun:
		ev.Done(r.core.CheckChange(ev.ID, ev.Member))
		return
	case r.closing:
		ev.Done(ErrShutdown)
		return
	}
	id, err := r.core.ChangeMember(ev.ID, ev.Member)
	if err != nil {
		ev.Done(err)
		return
	}
	r.log.Info("membership change proposed", "member", ev.ID.String(), "index", uint64(id.Index), "removed", ev.Member == nil)
	r.changes++
	r.tickets.add(id, op{
		done: func(_ raft.Index, err error) {
			r.changes--
			if errors.Is(err, ErrShutdown) {
				err = ErrLostLead // it is proposed: "shutting down" would say that nothing happened
			}
			ev.Done(err)
		},
		deadline: r.tick + uint64(r.cfg.RequestTicks),
	})
}

func (r *Replica) onTransfer(ev Transfer) {
	to := ev.To
	if to == raft.None {
		to = r.successor()
	}
	if err := r.core.Transfer(to); err != nil {
		ev.Done(err)
		return
	}
	if to == r.cfg.Raft.ID {
		ev.Done(nil)
		return
	}
	r.transfers = append(r.transfers, transfer{until: r.transferEnd(), done: ev.Done})
}

// transferEnd is when a transfer that did not happen counts as failed: the core
// gives up after an election timeout, and the next leader needs a moment.
func (r *Replica) transferEnd() uint64 { return r.tick + 2*uint64(r.cfg.Raft.ElectionTicks) }

// successor is the voter that is nearest to the end of the log, of those that
// answer and have room on their disks; one that has little is better than none.
func (r *Replica) successor() raft.NodeID {
	s := r.core.Status()
	best, match, low := raft.None, raft.Index(0), true
	for _, f := range s.Followers {
		if !f.Active || f.Full || !s.Config.IsVoter(f.ID) {
			continue
		}
		if best == raft.None || low && !f.Low || low == f.Low && f.Match > match {
			best, match, low = f.ID, f.Match, f.Low
		}
	}
	return best
}

// endTransfers answers transfers that happened or whose time is over.
func (r *Replica) endTransfers() {
	if len(r.transfers) == 0 {
		return
	}
	kept := r.transfers[:0]
	for _, t := range r.transfers {
		switch {
		case !r.leads():
			t.done(nil)
		case t.until <= r.tick:
			t.done(ErrTimeout)
		default:
			kept = append(kept, t)
		}
	}
	r.transfers = kept
}

func (r *Replica) onTakeSnapshot(ev TakeSnapshot) {
	r.snap.wanted = append(r.snap.wanted, ev.Done)
	r.wanted()
}

// onShutdown begins to leave: leadership goes to another voter, nothing new is
// taken, and what is open is waited for.
func (r *Replica) onShutdown(ev Shutdown) {
	r.drained = ev.Done
	if r.closing {
		return
	}
	r.closing = true
	r.isReady.Store(false)
	if to := r.successor(); r.leads() && to != raft.None {
		if err := r.core.Transfer(to); err != nil {
			r.log.Warn("leadership could not be handed over", "to", to.String(), "error", err)
		} else {
			r.transfers = append(r.transfers, transfer{until: r.transferEnd(), done: func(err error) {
				r.log.Info("handed leadership over", "to", to.String(), "error", err)
			}})
		}
	}
	r.markStalled() // what waits is refused
}

// finishShutdown tells when nothing is open any more.
func (r *Replica) finishShutdown() {
	if r.drained == nil || r.waiting+r.writes+r.reads+r.serve.open+r.changes+len(r.transfers) > 0 {
		return
	}
	done := r.drained
	r.drained = nil
	done()
}

// onStop ends everything that is open with what is known of it.
func (r *Replica) onStop(ev Stop) {
	err := ev.Err
	if err == nil {
		err = ErrShutdown
	}
	r.closing = true
	r.isReady.Store(false)
	r.tick = math.MaxUint64 // every deadline has come
	r.tickets.expire(r.tick, func(o *op) { r.unknown(o, err) })
	for _, f := range r.takeForwards(func(*forward) bool { return true }) {
		for i := range f.ops {
			r.unknown(&f.ops[i], err)
		}
	}
	r.askAgain(func(*ask) bool { return true })
	r.markStalled()
	r.pumpDirty() // closing: each is answered
	for _, t := range r.transfers {
		t.done(err)
	}
	for _, f := range append(r.snap.wanted, r.snap.saving...) {
		f(raft.SnapshotMeta{}, err)
	}
	r.transfers, r.snap.wanted, r.snap.saving = nil, nil, nil
	r.serve.send(r.d)
	r.deliver()
	// The applier answers the reads that it has, so it must have all of them.
	if !r.job.empty() {
		r.giveJob()
	}
}
