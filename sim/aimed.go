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
	if e == nil || !e.sends() || w.calm {
		return false
	}
	e.cut = true
	return true
}

// sends tells whether what leaves here arrives.
func (e *end) sends() bool { return !e.cut && e.conn != nil && e.l.conn == e.conn }

// watch looks on every 10 ms, for so long at most, until done says that it is over.
func (w *world) watch(most time.Duration, done func(over bool) bool) {
	end := w.now + most
	var look func()
	look = func() {
		if !done(w.calm || w.now >= end) && !w.calm && w.now < end {
			w.after(10*milli, look)
		}
	}
	look()
}

// heldEchoes lets a leader wait for echoes of its read round while the others
// elect another one and go on; when somebody has been shown what is new there, users ask
// the old one for more reads, and then the echoes come. Aimed at: a read is confirmed
// by a round that was opened after it came.
func (w *world) heldEchoes() bool {
	l := w.leader()
	if l == nil || l.paused {
		return false
	}
	others := slices.DeleteFunc(w.others(l), func(o *host) bool { return !o.up || !o.to(l).sends() })
	if len(others) < len(w.truth.voters)/2 {
		return false // too few to make an echo of a majority late
	}
	most := 10*w.electionTimeout() + time.Second
	l.clock.starved = max(l.clock.starved, w.now+most+4*w.plan.delay)
	for _, o := range others {
		w.stall(o, l)
	}
	// Its question goes out, and the answers don't come.
	w.ask(l)
	w.after(w.plan.lazyFor+w.upTo(w.plan.delay+5*milli), func() {
		for _, o := range others {
			w.stall(l, o)
		}
	})
	run := l.run
	w.watch(most, func(over bool) bool {
		if over = over || l.run != run; !over {
			next := w.some(func(h *host) bool {
				return h.up && !h.paused && h.core().Role() == raft.Leader && h.core().Term() > l.core().Term()
			})
			if next == nil {
				return false
			}
			if w.truth.floor <= l.view.commit {
				w.ask(next) // until somebody has been shown its first entry
				return false
			}
			w.ask(l)
			w.ask(l)
		}
		d := w.upTo(20 * milli)
		w.after(d, func() {
			for _, o := range others {
				w.unblock(o, l)
			}
		})
		w.after(d+w.between(w.plan.delay, 4*w.plan.delay), func() {
			l.clock.starved = min(l.clock.starved, w.now)
			for _, o := range others {
				w.unblock(l, o)
			}
		})
		return true
	})
	return true
}

// ask lets some client read at a host.
func (w *world) ask(h *host) {
	for range w.clients {
		w.asked++
		c := w.clients[w.asked%len(w.clients)]
		if !w.calm && h.up && !h.paused && len(c.pending) == 0 && (c.h != h || c.idle()) {
			c.poll(h)
			return
		}
	}
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
	// Its ticks stand still: else it would look for another leader by itself.
	most := 5*w.electionTimeout() + time.Second
	heir.clock.starved = max(heir.clock.starved, w.now+most)
	run, enough := heir.run, raft.Index(1+w.rand.IntN(5))
	w.watch(most, func(over bool) bool {
		if !over && heir.run == run && w.truth.committed() < heir.view.last.Index+enough {
			return false
		}
		heir.clock.starved = min(heir.clock.starved, w.now+2*w.plan.delay)
		w.unblock(h, heir)
		return true
	})
}

// unsavedBid holds the disk of a follower back until its log has more than one write takes, lets
// the leader die, and the disk go on once the follower stands: the write that holds its vote
// does not hold the rest. Nobody else has more, or hears nobody first. Aimed at: a vote is asked
// for a log that is on the disk.
func (w *world) unsavedBid() bool {
	l := w.leader()
	if l == nil || l.paused {
		return false
	}
	h := w.some(func(h *host) bool {
		return h != l && h.up && !h.paused && slices.Contains(w.truth.voters, h.id) && l.to(h).sends()
	})
	if h == nil {
		return false
	}
	others := w.others(h, l)
	fill, most := w.now+w.electionTimeout(), 2*w.electionTimeout()+2*time.Second
	for _, o := range others {
		w.stall(l, o)
		o.clock.starved = max(o.clock.starved, w.now+most)
	}
	h.drive.held = true
	run, led, bids := h.run, l.run, false
	w.watch(most, func(over bool) bool {
		stands := bids && h.run == run && h.view.role == raft.Candidate
		switch {
		case over || h.run != run || stands:
		case bids:
			return false
		case l.run != led || l.view.role != raft.Leader || l.paused || w.now > fill:
		case !h.unwritten():
			return false
		default:
			w.count.Faults["unsaved-bid"]++
			bids = true
			l.crash(killed) // its followers hear that it is gone
			w.after(w.between(time.Second, 2*time.Second), l.start)
		}
		for _, o := range others {
			w.unblock(l, o)
		}
		if bids && !stands && !over && h.run == run {
			return false
		}
		if h.run == run {
			h.release()
		}
		if !stands {
			for _, o := range others {
				o.clock.starved = min(o.clock.starved, w.now)
			}
		}
		return true
	})
	return false // counted when it comes to the bid
}

// unwritten tells whether a host's log has more that its disk was not asked to take than one
// write can hold.
func (h *host) unwritten() bool {
	v, bytes := &h.view, 0
	for i := max(h.given, v.base.Index) + 1; i <= v.last.Index; i++ {
		bytes += len(v.at(i).Data)
	}
	return bytes > h.writeBytes
}
