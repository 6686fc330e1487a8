package sim

import (
	"slices"
	"time"

	"github.com/raftkv/raftkv/node"
	"github.com/raftkv/raftkv/raft"
)

// Faults aimed at one promise. Random ones hardly ever meet the moment at which a
// node that breaks it would be seen to: each of these makes that moment.

// electionTimeout is the least one of a run, without jitter and slow disks.
func (w *world) electionTimeout() time.Duration { return time.Duration(w.plan.electionTicks) * tick }

// stall lets what goes from one host to another wait. Unlike block it never
// breaks the connection: all of it comes with unblock, in order.
func (w *world) stall(from, to *host) bool {
	e := from.to(to)
	if e == nil || e.cut || e.conn == nil || e.l.conn != e.conn {
		return false
	}
	e.cut = true
	return true
}

// heldEchoes lets a leader wait for echoes of its read round while the others
// elect another one and go on; then they come, and users have asked for more reads
// meanwhile. Aimed at: a read is confirmed by a round that was opened after it came.
func (w *world) heldEchoes() bool {
	l := w.leader()
	if l == nil || l.paused {
		return false
	}
	others := slices.DeleteFunc(w.others(l), func(o *host) bool { return !o.up })
	hold := w.between(2*w.electionTimeout(), 6*w.electionTimeout()+200*milli)
	asked := 0
	ask := func() {
		for range w.clients {
			c := w.clients[asked%len(w.clients)]
			asked++
			if !w.calm && l.up && !l.paused && len(c.pending) == 0 && (c.h != l || c.idle()) {
				c.poll(l)
				return
			}
		}
	}
	l.clock.starved = max(l.clock.starved, w.now+hold+4*w.plan.delay)
	for _, o := range others {
		w.stall(o, l)
	}
	// Its question goes out, and the answers don't come.
	ask()
	w.after(w.between(w.plan.delay, 2*w.plan.delay+5*milli), func() {
		for _, o := range others {
			w.stall(l, o)
		}
	})
	for _, part := range []time.Duration{60, 75, 90} {
		w.after(hold*part/100, ask)
	}
	w.after(hold, func() {
		for _, o := range others {
			w.unblock(o, l)
		}
	})
	w.after(hold+w.between(w.plan.delay, 4*w.plan.delay), func() {
		for _, o := range others {
			w.unblock(l, o)
		}
	})
	return true
}

// heldTransfer hands leadership over and lets the word that says so come late:
// by then its leader has taken it back and the log has gone on without the heir,
// which stands nevertheless, without a pre-vote. Aimed at: nobody votes for an older log.
func (w *world) heldTransfer() bool {
	l := w.leader()
	if l == nil {
		return false
	}
	heir := w.some(func(h *host) bool {
		return h != l && h.up && !h.paused && slices.Contains(w.truth.voters, h.id) && l.to(h).conn != nil && !l.to(h).cut
	})
	if heir == nil {
		return false
	}
	w.heir = heir
	l.input(func() { _ = l.loop.Ask(node.Transfer{To: heir.id, Done: func(error) {}}) })
	return false // holdTransfer counts it
}

// holdTransfer is told of each message before it leaves.
func (h *host) holdTransfer(m *raft.Message) {
	w := h.w
	heir := w.heir
	if m.Kind != raft.MsgTimeoutNow || heir == nil || m.To != heir.id || w.calm {
		return
	}
	w.heir = nil
	if !w.stall(h, heir) {
		return
	}
	w.count.Faults["held-transfer"]++
	hold := w.between(w.electionTimeout()*6/5, 4*w.electionTimeout()+100*milli)
	// Its ticks stand still: else it would look for another leader by itself.
	heir.clock.starved = max(heir.clock.starved, w.now+hold+2*w.plan.delay)
	w.after(hold, func() { w.unblock(h, heir) })
}

// unsavedBid makes a follower stand whose disk has not caught up with its log.
// Aimed at: a vote is asked for a log that is on the disk.
func (h *host) unsavedBid() {
	w := h.w
	l := w.leader()
	if l == nil || l == h || l.paused || !slices.Contains(w.truth.voters, h.id) {
		return
	}
	w.count.Faults["unsaved-bid"]++
	h.drive.slow = max(h.drive.slow, w.now+time.Second)
	h.after(0, func() { w.end(l, killed) }) // its followers hear that it is gone
	for _, o := range w.others(h, l) {
		o.clock.starved = max(o.clock.starved, w.now+w.between(100*milli, time.Second)) // and this one is the first to stand
	}
}

// unsaved tells how many entries of its log a host's disk lacks.
func (h *host) unsaved() int {
	_, last := h.disk.Ends()
	return int(h.view.last.Index) - int(last.Index)
}
