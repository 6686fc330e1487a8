package node

import (
	"time"

	"github.com/raftkv/raftkv/raft"
)

// logClock is the clock that a leader stamps entries with. It starts at the
// election, never goes back, moves with monotonic time, and is drawn towards
// the wall clock gently: a jump of the wall clock must not expire everybody's
// keys at once, and must not stop time either.
type logClock struct {
	now raft.Time
	// most bounds what one tick adds, an election timeout: a machine that slept
	// for an hour has lost its leadership, and the log didn't sleep with it.
	most time.Duration
}

// elected starts the clock of a new leader. last is the time of the last entry of its log.
func (c *logClock) elected(last, wall raft.Time) {
	c.now = max(c.now, last, wall)
}

// tick adds the monotonic time since the tick before, give or take a tenth of
// it, so as to approach wall.
func (c *logClock) tick(elapsed time.Duration, wall raft.Time) {
	elapsed = min(max(elapsed, 0), c.most)
	next := c.now + raft.Time(elapsed)
	pull := raft.Time(elapsed / 10)
	switch {
	case next < wall:
		next += min(pull, wall-next)
	case next > wall:
		next -= min(pull, next-wall)
	}
	c.now = next
}
