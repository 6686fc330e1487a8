package sim

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/raftkv/raftkv/raft"
)

// world is one run: everything in it belongs to one goroutine.
type world struct {
	opt   Options
	rand  *rand.Rand
	plan  plan
	now   time.Duration // since the start of the run
	queue queue

	delivered []*delivery // for the next messages

	hosts    []*host // in the order of their making
	clients  []*client
	watchers []*watcher
	rules    *rules
	truth    truth
	history  history
	keys     generation

	calm     bool  // phase two: no faults any more
	rush     rush  // the last one
	ambush   bool  // killInstalling waits for somebody who fetches
	heir     *host // the word that makes it stand is to come late
	closing  bool  // clients begin nothing new
	trouble  *host // the one host that may be in a state that only others can mend
	rotted   bool  // some state was wrong once
	amnesiac *host // was wiped under its identity
	asked    int   // number of the last client that a fault made read
	unique   int   // number of the last token
	boots    uint64

	count  Counts
	hash   uint64
	log    *slog.Logger
	events int
}

// epoch is the wall clock at the start of a run.
const epoch = raft.Time(1_700_000_000_000_000_000)

// maxEvents is far above what a run needs: events that make each other for ever end there.
const maxEvents = 30_000_000

// after lets do happen in d.
func (w *world) after(d time.Duration, do func()) { w.queue.push(w.now+max(d, 0), deed{do: do}) }

// note adds a number to the trace hash.
func (w *world) note(v uint64) { w.hash = (w.hash ^ v) * 0x100000001b3 }

// runUntil lets time pass until end, or until stop says so.
func (w *world) runUntil(end time.Duration, stop func() bool) {
	for len(w.queue.heap) > 0 && w.queue.heap[0].at <= end {
		e, d := w.queue.pop()
		w.now = e.at
		w.note(uint64(e.at))
		w.note(e.made)
		w.events++
		if w.events > maxEvents {
			w.rules.broken("liveness", "%d events: something answers itself without end", w.events)
		}
		switch h := d.owner; {
		case h == nil || h.run == d.run && h.up && !(d.waits && h.paused):
			d.do()
		case h.run == d.run && h.up:
			h.backlog = append(h.backlog, d.do)
		}
		if stop != nil && stop() {
			return
		}
	}
	w.now = end
}

// say tells the trace.
func (w *world) say(format string, args ...any) {
	if w.opt.Trace != nil {
		w.opt.Trace(fmt.Sprintf("%12.6f %s", w.now.Seconds(), fmt.Sprintf(format, args...)))
	}
}

// chance is true in one of n cases.
func (w *world) chance(n int) bool { return w.rand.IntN(n) == 0 }

// perMille is true in p of a thousand cases.
func (w *world) perMille(p int) bool { return p > 0 && w.rand.IntN(1000) < p }

// upTo is a time between zero and d.
func (w *world) upTo(d time.Duration) time.Duration {
	return time.Duration(w.rand.Int64N(int64(d) + 1))
}

// between is a time between a and b.
func (w *world) between(a, b time.Duration) time.Duration { return a + w.upTo(b-a) }

// someHost is any host, up or not.
func (w *world) someHost() *host { return w.hosts[w.rand.IntN(len(w.hosts))] }

// someUp is any host that is up, or nil.
func (w *world) someUp() *host { return w.some((*host).running) }

// some is any host for which f is true, or nil.
func (w *world) some(f func(*host) bool) *host {
	n := 0
	for _, h := range w.hosts {
		if f(h) {
			n++
		}
	}
	if n == 0 {
		return nil
	}
	n = w.rand.IntN(n)
	for _, h := range w.hosts {
		if f(h) {
			if n == 0 {
				return h
			}
			n--
		}
	}
	return nil
}

// host is the host with this id, or nil: ids are given in the order of hosts.
func (w *world) host(id raft.NodeID) *host {
	if id == raft.None || id > raft.NodeID(len(w.hosts)) {
		return nil
	}
	return w.hosts[id-1]
}

// leader is the host that leads the highest term, or nil.
func (w *world) leader() *host {
	var best *host
	for _, h := range w.hosts {
		if h.running() && h.core().Role() == raft.Leader && (best == nil || h.core().Term() > best.core().Term()) {
			best = h
		}
	}
	return best
}

// someLeader is a host that believes it leads: mostly that of the highest term.
func (w *world) someLeader() *host {
	if w.chance(3) {
		return w.some(func(h *host) bool { return h.running() && h.core().Role() == raft.Leader })
	}
	return w.leader()
}
