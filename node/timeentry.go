package node

import (
	"time"

	"github.com/raftkv/raftkv/raft"
)

// timeEntry lets time pass in a log that nobody writes to, when something of
// the state is due.
type timeEntry struct {
	command []byte
	last    raft.Index // of the newest one
	next    uint64     // tick before which none is proposed
}

func (t *timeEntry) elected() { t.last, t.next = 0, 0 }

// timePause is the least pause between time entries: ten a second are enough
// for what expires, and cost next to nothing.
const timePause = 100 * time.Millisecond

// proposeTime proposes a time entry if something is due and none is under way.
func (r *Replica) proposeTime() {
	t := &r.timeEntry
	if !r.leads() || r.closing || !r.hasDeadline || r.clock.now < r.deadline || r.tick < t.next || t.last > r.applied {
		return
	}
	id, err := r.core.Propose(t.command, r.clock.now)
	if err != nil {
		return // busy: then there are entries enough that carry the time
	}
	t.last = id.Index
	t.next = r.tick + uint64((timePause+r.cfg.Tick-1)/r.cfg.Tick)
	r.metrics.TimeEntries.Add(1)
}
