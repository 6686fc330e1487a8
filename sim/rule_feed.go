package sim

import (
	"slices"

	"github.com/zeebo/xxh3"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/server/feed"
	"github.com/raftkv/raftkv/statemachine"
)

const feedRule = "a subscriber sees every change"

// everyChange: at one entry all machines tell of the same changes, and a
// subscriber sees every change in the order of the log, at whatever nodes it
// reads, or is told where there is a gap (server/feed).
func everyChange(w *world) *rule {
	r := &rule{name: feedRule, source: "server/feed"}
	r.applied = func(h *host, f *fact, e *raft.Entry, _ []byte) {
		var now []uint64
		if h.changedAt == e.Index {
			now = h.changes
		}
		if h.drive.rotten {
			return // it tells what it stored
		}
		if !f.told {
			f.changes, f.told = slices.Clone(now), true
			return
		}
		if !slices.Equal(now, f.changes) {
			r.broken(w, "node %v tells of %d changes by %v, another node of %d, or of others", h.id, len(now), e.EntryID, len(f.changes))
		}
	}
	r.watched = func(x *watcher, e *feed.Event) {
		next, ok := w.truth.nextChange(x.after)
		if !ok || next != e.At {
			r.broken(w, "watcher %d at node %v has seen all up to %v and sees %v next, not %v", x.n, x.h.id, x.after, e.At, next)
		}
		if f := w.truth.at(e.At.Index); f.changes[e.At.Part] != sumChange(&e.Change) {
			r.broken(w, "watcher %d at node %v sees another change at %v than was made", x.n, x.h.id, e.At)
		}
	}
	r.end = func() {
		for _, x := range w.watchers {
			if x.behind() {
				r.broken(w, "watcher %d at node %v sees nothing behind %v", x.n, x.h.id, x.after)
			}
		}
	}
	return r
}

// sumChange is a hash of all of a change.
func sumChange(c *statemachine.Change) uint64 {
	gone := uint64(0)
	if c.Deleted {
		gone = 1
	}
	h := xxh3.Hash(c.Key)
	for _, v := range [8]uint64{
		xxh3.Hash(c.Value), xxh3.HashString(c.Event), uint64(c.Kind)<<16 | uint64(c.Class)<<8 | gone,
		uint64(c.Index), uint64(c.Time), c.Version, uint64(c.Deadline), uint64(len(c.Value)),
	} {
		h = (h ^ v) * 0x9E3779B97F4A7C15
		h ^= h >> 29
	}
	return h
}
