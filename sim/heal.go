package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/raftkv/raftkv/node"
	"github.com/raftkv/raftkv/raft"
)

// birth makes the first voters and lets everything begin.
func (w *world) birth() {
	var c raft.Configuration
	for i := range w.plan.voters {
		id := raft.NodeID(i + 1)
		c.Members = append(c.Members, raft.Member{ID: id, Name: fmt.Sprintf("n%d", id)})
	}
	w.truth.voters = c.Voters()
	for range w.plan.voters {
		h := w.newHost(c)
		if w.plan.lateBirth && w.chance(3) {
			// It died before it had stored Birth, and hears of it again later.
			w.count.Faults["late-birth"]++
			h.born = false
			w.after(w.upTo(5*time.Second), func() {
				h.born = true
				h.start()
			})
			continue
		}
		h.start()
	}
	for n := range w.plan.clients + w.plan.crowd {
		w.newClient(n)
	}
	if w.plan.crowd > 0 {
		w.rushSoon()
	}
	for n := range 2 {
		w.newWatcher(n)
	}
	w.after(w.upTo(500*milli), w.nemesis)
}

// heal ends all faults: what was cut is joined, what was down comes up.
func (w *world) heal() {
	w.say("heal")
	w.calm = true
	w.plan.lazy, w.plan.delay = 0, 1*milli
	w.plan.keepNamed([]string{"clock-drift"})
	w.plan.think = max(w.plan.think, 40*milli) // a node that lags must be able to catch up
	w.plan.applyDelay, w.plan.ackDelay = 100*micro, 0
	for _, h := range w.hosts {
		d := &h.drive
		d.slow, d.hung, d.fails = 0, min(d.hung, w.now), false
		h.release()
		h.hung = min(h.hung, w.now)
		h.clock.starved = 0
		h.fs.Inject(nil)
		h.born = true
		if h.drive.rotting {
			h.drive.rotting, w.trouble = false, nil
		}
		if h.paused {
			h.resume()
		}
	}
	w.calmDown()
	w.mend()
	for _, h := range w.hosts {
		if h.up && h.space != (node.Space{}) {
			h.input(func() { h.loop.Post(node.Space{}) })
		}
		if !h.up {
			h.start()
		}
	}
}

// calmDown makes clients slower and slower: with tiny windows a new node may not
// catch up with a cluster that is busy.
func (w *world) calmDown() {
	w.plan.think = min(2*w.plan.think, 2*time.Second)
	w.after(10*time.Second, w.calmDown)
}

// patience is how long a healed cluster may take: a node whose disk was slow
// waits up to half a minute before it stands, and requests have their time.
const patience = 3 * time.Minute

// demandProgress: every client gets further, what is open ends, and all
// members come to the same state.
func (w *world) demandProgress() {
	began := make([]int, len(w.clients))
	for i, c := range w.clients {
		began[i] = c.done
	}
	end := w.now + patience
	why := ""
	for _, phase := range []func() string{
		func() string {
			for i, c := range w.clients {
				if c.done == began[i] && !c.crowd {
					return fmt.Sprintf("client %d gets no answer (%d open, %d pending)", c.n, len(c.open), len(c.pending))
				}
			}
			if w.trouble != nil {
				return fmt.Sprintf("node %v is not mended", w.trouble.id)
			}
			w.closing = true
			return ""
		},
		func() string {
			for _, c := range w.clients {
				if !c.idle() {
					return fmt.Sprintf("client %d has requests open: %d, of its session %d", c.n, len(c.open), len(c.pending))
				}
			}
			return ""
		},
		w.unsettled,
	} {
		for why = phase(); why != ""; why = phase() {
			if w.now >= end {
				w.rules.broken("liveness", "%v after everything was healed: %s%s", patience, why, w.describe())
			}
			w.runUntil(w.now+20*milli, nil)
		}
	}
}

// unsettled tells what keeps the members from being the same and at rest, and
// watchers from having seen everything.
func (w *world) unsettled() string {
	l := w.leader()
	if l == nil {
		return "no leader"
	}
	c := l.core().Status().Config
	for _, m := range c.Members {
		h := w.host(m.ID)
		switch {
		case !h.up:
			return fmt.Sprintf("node %v is down", h.id)
		case h.machine.Applied().Index < w.truth.committed():
			return fmt.Sprintf("node %v has applied %v of %d", h.id, h.machine.Applied(), w.truth.committed())
		case h.metrics.Open.Load()+h.metrics.Waiting.Load() > 0:
			return fmt.Sprintf("node %v has %d requests open and %d waiting", h.id, h.metrics.Open.Load(), h.metrics.Waiting.Load())
		}
	}
	for _, x := range w.watchers {
		if x.behind() {
			return fmt.Sprintf("watcher %d has seen all up to %v", x.n, x.after)
		}
	}
	return ""
}

// checkEnd: a cluster at rest has one state, and everything acknowledged is in it.
func (w *world) checkEnd() {
	l := w.leader()
	for _, m := range l.core().Status().Config.Members {
		h := w.host(m.ID)
		if h.machine.Applied() != l.machine.Applied() || h.machine.Hash() != l.machine.Hash() {
			w.rules.broken("equal state hash at equal index", "node %v has %x at %v, leader %v has %x at %v",
				h.id, h.machine.Hash(), h.machine.Applied(), l.id, l.machine.Hash(), l.machine.Applied())
		}
	}
	w.rules.atEnd()
	w.count.Answers["verify"] = w.truth.compared
	if l.loop.Replica().Status().AgreedIndex > 0 {
		w.count.Answers["verify agreed"]++ // a majority told the last leader so
	}
	for _, h := range w.hosts {
		if h.up {
			hash := h.machine.Hash()
			w.note(uint64(hash[0])<<8 | uint64(hash[1]))
		}
	}
}

func (w *world) describe() string {
	var s strings.Builder
	for _, h := range w.hosts {
		if h.left && !h.up {
			continue
		}
		fmt.Fprintf(&s, "\n  %v", h)
		if h.up && h.core().Role() == raft.Leader {
			fmt.Fprintf(&s, " followers %+v", h.core().Status().Followers)
		}
	}
	cuts := 0
	for _, h := range w.hosts {
		cuts += len(slices.DeleteFunc(slices.Clone(h.ends), func(e *end) bool { return e == nil || e.conn != nil || !e.h.up || !e.other.h.up }))
	}
	fmt.Fprintf(&s, "\n  %d ends without a connection, trouble %v", cuts, w.trouble != nil)
	return s.String()
}
