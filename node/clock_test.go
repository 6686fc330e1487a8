package node

import (
	"strconv"
	"testing"
	"time"

	"github.com/raftkv/raftkv/raft"
)

func TestLogClock(t *testing.T) {
	const ms = raft.Time(time.Millisecond)
	for _, tc := range []struct {
		name    string
		now     raft.Time
		elapsed time.Duration
		wall    raft.Time
		want    raft.Time
	}{
		{"in step", 1000 * ms, 10 * time.Millisecond, 1010 * ms, 1010 * ms},
		{"a little behind", 1000 * ms, 10 * time.Millisecond, 1010*ms + 5, 1010*ms + 5},
		{"a little ahead", 1000 * ms, 10 * time.Millisecond, 1010*ms - 5, 1010*ms - 5},
		{"wall an hour ahead", 1000 * ms, 10 * time.Millisecond, 3_600_000 * ms, 1011 * ms},
		{"wall an hour back", 4_000_000 * ms, 10 * time.Millisecond, 1000 * ms, 4_000_009 * ms},
		{"slept an hour", 1000 * ms, time.Hour, 1500 * ms, 1500 * ms},
		{"slept an hour, with the wall", 1000 * ms, time.Hour, 3_601_000 * ms, 1550 * ms},
		{"time that runs backwards", 1000 * ms, -time.Hour, 0, 1000 * ms},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := logClock{now: tc.now, most: 500 * time.Millisecond}
			c.tick(tc.elapsed, tc.wall)
			if c.now != tc.want {
				t.Errorf("%d, want %d", c.now, tc.want)
			}
		})
	}
}

func TestLogClockAtElection(t *testing.T) {
	c := logClock{}
	c.elected(500, 300)
	if c.now != 500 {
		t.Errorf("%d, want the time of the last entry", c.now)
	}
	c.elected(500, 700)
	if c.now != 700 {
		t.Errorf("%d, want the wall clock", c.now)
	}
	c.elected(0, 0)
	if c.now != 700 {
		t.Errorf("%d: it went back", c.now)
	}
}

// A wall clock that jumps on the leader changes log time by a tenth at most, and
// a new leader goes on where the old one was (CK-01, CK-06).
func TestWallClockJumps(t *testing.T) {
	c := newCluster(t, 3, nil)
	h := c.elect(1)
	k := h.client()
	k.submit("a")
	c.tick(5)
	was := h.m.now
	c.wall += raft.Time(1000 * time.Hour)
	c.tick(50)
	k.submit("b")
	c.tick(2)
	if d := h.m.now - was; d > raft.Time(800*time.Millisecond) || d < raft.Time(400*time.Millisecond) {
		t.Errorf("log time moved by %v in about 57 ticks of 10ms", time.Duration(d))
	}
	was = h.m.now
	c.wall -= raft.Time(2000 * time.Hour)
	n := c.elect(2)
	k = n.client()
	k.submit("c")
	c.tick(5)
	if n.m.now < was {
		t.Errorf("log time went back by %v at the election", time.Duration(was-n.m.now))
	}
	was = n.m.now
	c.tick(50)
	k.submit("d")
	c.tick(2)
	if n.m.now <= was {
		t.Error("log time stands still under a wall clock in the past")
	}
}

// When something is due the leader lets time pass, at most ten times a second,
// and not at all while nothing is.
func TestTimeEntries(t *testing.T) {
	c := newCluster(t, 3, nil)
	h := c.elect(1)
	k := h.client()
	c.tick(100)
	if got := h.metrics.TimeEntries.Load(); got != 0 {
		t.Fatalf("%d time entries with nothing due", got)
	}
	due := int64(c.wall) + int64(300*time.Millisecond)
	k.submit("due " + itoa(due))
	c.tick(20)
	if h.metrics.TimeEntries.Load() != 0 || h.m.due == 0 {
		t.Fatalf("%d time entries before their time, due %d", h.metrics.TimeEntries.Load(), h.m.due)
	}
	c.tick(20)
	if got := h.metrics.TimeEntries.Load(); got != 1 || h.m.due != 0 {
		t.Errorf("%d time entries, want 1; due %d", got, h.m.due)
	}

	// Something that stays due, as when removal is bounded per entry.
	for _, o := range c.hosts {
		o.m.due = 1 << 62
		o.r.deadline, o.r.hasDeadline = 1, true
	}
	was := h.metrics.TimeEntries.Load()
	for range 100 {
		h.r.deadline, h.r.hasDeadline = 1, true
		c.tick(1)
	}
	if got := h.metrics.TimeEntries.Load() - was; got < 5 || got > 11 {
		t.Errorf("%d time entries in a second, want about 10", got)
	}
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
