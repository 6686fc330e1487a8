package sim

import (
	"fmt"
	"time"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/statemachine"
)

// A crowd is clients that do nothing most of the time, and then all write to the
// leader at once, each again as soon as it is answered: a rush. Under one a leader
// keeps commands back, until what it has written is answered and then until most
// have come again (node/gather.go). Some stray meanwhile, and it ends at once for all.

// rush is one that is under way.
type rush struct {
	until time.Duration
	left  int // writes that are still to come
}

// rushWrites is how many writes a client of the crowd has in one rush, about.
const rushWrites = 40

// rushSoon lets the next rush begin.
func (w *world) rushSoon() {
	w.after(w.between(500*milli, 4*time.Second), func() {
		if w.calm {
			return
		}
		w.rush = rush{w.now + w.between(100*milli, 2*time.Second), w.plan.crowd * rushWrites}
		for _, c := range w.clients {
			if c.crowd {
				c.hurries()
			}
		}
		w.rushSoon()
	})
}

func (w *world) rushing() bool { return !w.calm && w.now < w.rush.until && w.rush.left > 0 }

// hurry sends the next write of a rush, if the last one is answered.
func (c *client) hurry() {
	w := c.w
	if !w.rushing() || !c.idle() {
		return
	}
	if l := w.leader(); c.h != l {
		if c.h != nil {
			c.leave()
		}
		if l != nil && l.up && !l.paused {
			c.join(l)
		}
	}
	switch {
	case c.h == nil:
		w.after(w.upTo(20*milli), c.hurries)
	case w.chance(300):
		w.after(w.upTo(200*milli), c.hurries) // it strays
	default:
		w.rush.left--
		c.submit([]*op{c.next()})
	}
}

// comesAgain comes back to a client of the crowd when it was answered, or lost its connection.
func (c *client) comesAgain() {
	if c.crowd {
		c.w.after(c.w.upTo(c.w.plan.crowdRound), c.hurries)
	}
}

// rushes makes a write of a rush.
func (c *client) rushes(o *op) statemachine.Command {
	o.verb, o.key, o.value = "rush", fmt.Sprintf("rush-%d", c.n), c.w.token()
	return command(statemachine.OpSet, o.key, o.value)
}

// held is how long a leader has kept commands back.
type held struct {
	behind raft.Index // the last entry that it has written
	ticks  int        // of its clock, when that began
	since  time.Duration
	awaits bool // all of that is answered: it waits for clients
}

// keepsBack looks whether a leader keeps commands back that its disk would take, and
// that this ends: it lasts two ticks or half a second at most (node/gather.go).
func (h *host) keepsBack() {
	v, w := &h.view, h.w
	if !h.up || h.fatal != nil || v.role != raft.Leader || v.last.Index <= h.given || h.toldOf < h.asked || h.space.Full {
		h.held = held{}
		return
	}
	if h.held.behind != h.given {
		h.held = held{behind: h.given, ticks: h.clock.ticks, since: w.now}
		w.count.Held++
	}
	if !h.held.awaits && h.machine.Applied().Index >= h.given {
		h.held.awaits = true
		w.count.Awaited++
	}
	if n := h.clock.ticks - h.held.ticks; n > 2 && w.now-h.held.since > 500*milli {
		w.rules.broken("liveness", "leader %v has kept commands behind %d back for %d ticks, its disk is idle", h.id, h.given, n)
	}
}
