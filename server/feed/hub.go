package feed

import (
	"errors"
	"fmt"
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/statemachine"
)

// Event is one change in its place. It is immutable: its key and value may be kept.
type Event struct {
	At Place
	statemachine.Change
	seq uint64 // its number in the ring
}

// Config bounds a Hub.
type Config struct {
	// Events is how many events are kept for those who come later or are slow.
	// It is rounded up to a power of two. Default 65,536.
	Events int
	// Bytes is how many bytes of keys and values, and eventOverhead each, are kept. Default 64 MiB.
	Bytes int64
	// Lag is how many events a subscriber may be behind before it is cut off.
	// Below Events, it leaves it time to come back before its place is lost. Default half of Events.
	Lag int
	// Subscribers is how many there may be at once. Default 10,000.
	Subscribers int
}

func (c Config) withDefaults() Config {
	if c.Events <= 0 {
		c.Events = 1 << 16
	}
	c.Events = 1 << bits.Len(uint(c.Events-1))
	if c.Bytes <= 0 {
		c.Bytes = 64 << 20
	}
	if c.Lag <= 0 {
		c.Lag = max(1, c.Events/2)
	}
	c.Lag = min(c.Lag, c.Events)
	if c.Subscribers <= 0 {
		c.Subscribers = 10_000
	}
	return c
}

// eventOverhead is what an event costs beside its key and value: itself, its slot.
const eventOverhead = 128 + 8

// blockEvents is how many events are made at a time: one piece of memory instead
// of many, of 4 KiB, which fit into Go's pages to the last byte. It stays, with what its events hold, until the last of them is
// forgotten, so that what is larger than blockValue is made alone.
const (
	blockEvents = 32
	blockValue  = 4 << 10
)

// Why there is nothing to read.
var (
	ErrClosed      = errors.New("the feed of changes is closed: the node is stopping")
	ErrSubscribers = errors.New("too many subscribers to the feed of changes")
)

// CompactedError means that changes behind After are no longer kept here, or
// never were: a snapshot jumped over them. Read the keys anew, then watch from Oldest on.
type CompactedError struct {
	After  Place      // what was asked for
	Oldest raft.Index // the first entry of which all changes are here
}

func (e *CompactedError) Error() string {
	return fmt.Sprintf("changes behind %v are no longer kept, the oldest that are here are of entry %d; read the keys anew and go on from there", e.After, e.Oldest)
}

// SlowError means that a subscriber was too far behind and was cut off. What it
// misses begins behind After, and is still kept for a while.
type SlowError struct {
	After Place
	Lag   int // events that it was behind
}

func (e *SlowError) Error() string {
	return fmt.Sprintf("cut off %d events behind; go on after %v", e.Lag, e.After)
}

// Hub keeps the recent changes and wakes those who wait for more.
//
//	slots:  ... | tail ........ head |  next
//	 forgotten       kept
//
// One goroutine calls Observe; the other methods may be called from any.
// Invariants:
//
//	slot i of the ring holds the event of seq i mod len, or a later one, or nil
//	head - tail <= len; bytes is the sum over the events from tail to head
//	every change behind End(floor) that was made is in the ring, below head
type Hub struct {
	cfg   Config
	slots []atomic.Pointer[Event]
	head  atomic.Uint64 // seq of the next event
	tail  atomic.Uint64 // seq of the oldest one kept
	floor atomic.Uint64 // index of the newest entry of which a change may be missing

	// bell wakes one subscriber, which wakes the others: so that a change costs the
	// applier the same however many wait. Capacity 1.
	bell chan struct{}

	// The observer's.
	last  Place
	block []Event
	bytes int64

	mu     sync.Mutex
	wake   chan struct{} // closed and made anew when there is something
	closed chan struct{}
	ended  bool
	count  int

	cut atomic.Uint64
}

// New makes a Hub that knows of nothing up to entry applied.
func New(cfg Config, applied raft.Index) *Hub {
	h := &Hub{
		cfg:  cfg.withDefaults(),
		bell: make(chan struct{}, 1), wake: make(chan struct{}), closed: make(chan struct{}),
		last: End(applied),
	}
	h.slots = make([]atomic.Pointer[Event], h.cfg.Events)
	h.floor.Store(uint64(applied))
	return h
}

// Observe takes the next change. It never blocks. One goroutine calls it, in the
// order of the log. Key and value must stay as they are.
func (h *Hub) Observe(c statemachine.Change) {
	seq := h.head.Load()
	if c.Kind == statemachine.ChangeRestore {
		// What lies between is not known. Number seq is of no event: who stands in front
		// of it finds nothing there, and is told.
		for h.tail.Load() < seq {
			h.forget()
		}
		h.last = End(c.Index)
		h.floor.Store(uint64(c.Index))
		h.tail.Store(seq + 1)
	} else {
		for seq-h.tail.Load() >= uint64(len(h.slots)) {
			h.forget()
		}
		e := h.place(c, seq)
		h.slots[seq&uint64(len(h.slots)-1)].Store(e)
		for h.bytes += e.size(); h.bytes > h.cfg.Bytes && h.tail.Load() < seq; {
			h.forget()
		}
	}
	h.head.Store(seq + 1)
	select {
	case h.bell <- struct{}{}:
	default: // it rings already
	}
}

// place makes the event of a change.
func (h *Hub) place(c statemachine.Change, seq uint64) *Event {
	place := Place{Index: c.Index}
	if c.Index == h.last.Index && h.last.Part != whole {
		place.Part = h.last.Part + 1
	}
	h.last = place
	if len(c.Key)+len(c.Value) > blockValue {
		return &Event{At: place, Change: c, seq: seq}
	}
	if len(h.block) == 0 {
		h.block = make([]Event, blockEvents)
	}
	e := &h.block[0]
	h.block = h.block[1:]
	*e = Event{At: place, Change: c, seq: seq}
	return e
}

// forget drops the oldest event. The floor rises first: who reads the tail
// afterwards never believes that something is there that is not.
func (h *Hub) forget() {
	tail := h.tail.Load()
	slot := &h.slots[tail&uint64(len(h.slots)-1)]
	e := slot.Load()
	h.floor.Store(max(h.floor.Load(), uint64(e.At.Index)))
	h.tail.Store(tail + 1)
	h.bytes -= e.size()
	slot.Store(nil)
}

func (e *Event) size() int64 { return int64(len(e.Key)+len(e.Value)) + eventOverhead }

// at returns the event of a number, or nil if it is forgotten.
func (h *Hub) at(seq uint64) *Event {
	e := h.slots[seq&uint64(len(h.slots)-1)].Load()
	if e == nil || e.seq != seq {
		return nil
	}
	return e
}

// find returns the number of the first event behind a place, or false if events
// behind it may be missing.
func (h *Hub) find(after Place) (seq uint64, ok bool) {
	lo, hi := h.tail.Load(), h.head.Load()
	for lo < hi {
		mid := (lo + hi) / 2
		e := h.at(mid)
		switch {
		case e == nil: // forgotten meanwhile
			lo = mid + 1
		case after.Before(e.At):
			hi = mid
		default:
			lo = mid + 1
		}
	}
	// Asked last: had it been right before and wrong now, an event could have gone unseen.
	return lo, !after.Before(End(raft.Index(h.floor.Load())))
}

// Newest is the place of the newest change that was observed.
func (h *Hub) Newest() Place { return h.lastPlace(h.head.Load()) }

// Close ends all subscriptions with ErrClosed, and lets no new one begin.
func (h *Hub) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.ended {
		h.ended = true
		close(h.closed)
	}
}

// Stats is what there is, for metrics.
type Stats struct {
	Events      uint64 // observed so far
	Kept        int    // that a late subscriber could still have
	Subscribers int
	Cut         uint64 // subscribers that were too slow
}

// Stats counts what there is.
func (h *Hub) Stats() Stats {
	h.mu.Lock()
	defer h.mu.Unlock()
	head, tail := h.head.Load(), h.tail.Load()
	return Stats{Events: head, Kept: int(head - min(tail, head)), Subscribers: h.count, Cut: h.cut.Load()}
}
