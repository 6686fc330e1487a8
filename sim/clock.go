package sim

import (
	"time"

	"github.com/raftkv/raftkv/node"
	"github.com/raftkv/raftkv/raft"
)

// clock is a host's idea of time: it runs at its own speed, and its wall clock jumps.
type clock struct {
	percent int           // speed; 100 is right
	wall    time.Duration // how far the wall clock is off
	starved time.Duration // until then the ticker does nothing
	last    time.Duration // monotonic time of the last tick
	ticks   int           // of this process
}

// monotonic is the host's monotonic clock.
func (h *host) monotonic() time.Duration { return h.w.now * time.Duration(h.clock.percent) / 100 }

// startClock begins to tick, as run.go's ticker does: late ticks are one.
func (h *host) startClock() {
	h.clock.last, h.clock.ticks = h.monotonic(), 0
	h.tickSoon()
}

func (h *host) tickSoon() {
	h.kernel(tick*100/time.Duration(h.clock.percent), h.often.tick)
}

func (h *host) tick() {
	if !h.paused && h.w.now >= h.clock.starved {
		now := h.monotonic()
		h.clock.ticks++
		h.loop.Tick(node.Tick{
			Elapsed: now - h.clock.last,
			Wall:    epoch + raft.Time(now+h.clock.wall),
		})
		h.clock.last = now
		h.turn()
	}
	if h.up {
		h.tickSoon()
	}
}
