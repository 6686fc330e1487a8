package feed

import (
	"context"
	"sync/atomic"

	"github.com/raftkv/raftkv/raft"
)

// Options choose what a subscription sees.
type Options struct {
	// After is the place behind which it begins. Ignored if Now is set.
	After Place
	// Now begins with whatever is applied next.
	Now bool
	// Match tells which events are wanted; nil takes all. It is called on the subscriber's goroutine.
	Match func(*Event) bool
}

// Subscription reads the feed from one place on. One goroutine uses it; Close
// may be called from any.
type Subscription struct {
	h     *Hub
	match func(*Event) bool
	next  uint64 // number of the next event to look at
	after Place  // everything up to here was looked at
	lag   uint64 // events that it may be behind
	err   error  // why it is over

	gone atomic.Bool
}

const (
	batchMax = 256  // events that Next hands over at a time
	scanMax  = 4096 // events that are looked at before the context is
)

// Subscribe begins a subscription. Errors: *CompactedError, ErrSubscribers, ErrClosed. Close it.
func (h *Hub) Subscribe(o Options) (*Subscription, error) {
	if o.After.Index == 0 {
		o.After = End(0) // no entry has this index
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.ended:
		return nil, ErrClosed
	case h.count >= h.cfg.Subscribers:
		return nil, ErrSubscribers
	}
	s := &Subscription{h: h, match: o.Match, after: o.After}
	if o.Now {
		s.next = h.head.Load()
		s.after = h.lastPlace(s.next)
	} else {
		var ok bool
		if s.next, ok = h.find(o.After); !ok {
			return nil, h.compacted(o.After)
		}
	}
	// One that comes from far behind is given time: else it would be cut off at once,
	// and whenever it came back.
	s.lag = h.head.Load() - min(s.next, h.head.Load()) + uint64(h.cfg.Lag)
	h.count++
	return s, nil
}

// lastPlace is where the event in front of number seq stands.
func (h *Hub) lastPlace(seq uint64) Place {
	if seq > 0 {
		if e := h.at(seq - 1); e != nil {
			return e.At
		}
	}
	return End(raft.Index(h.floor.Load()))
}

func (h *Hub) compacted(after Place) error {
	return &CompactedError{After: after, Oldest: raft.Index(h.floor.Load()) + 1}
}

// After is the place up to which everything was looked at, wanted or not: where
// to go on with another subscription.
func (s *Subscription) After() Place { return s.after }

// Next appends the next wanted events to dst, at least one, and waits for it.
// Errors: that of ctx, after which it may be called again; and then for good
// *SlowError, *CompactedError, ErrClosed.
func (s *Subscription) Next(ctx context.Context, dst []*Event) ([]*Event, error) {
	for {
		if s.err == nil {
			dst = s.scan(dst)
		}
		switch {
		case len(dst) > 0:
			return dst, nil // an error, if there is one, comes behind them
		case s.err != nil:
			return dst, s.err
		}
		select {
		case <-ctx.Done():
			return dst, ctx.Err()
		default:
		}
		wake := s.h.waker()
		if s.next != s.h.head.Load() {
			continue // it came between the look and the wait
		}
		select {
		case <-s.h.bell:
			s.h.ring()
		case <-wake:
		case <-ctx.Done():
			return dst, ctx.Err()
		case <-s.h.closed:
			s.err = ErrClosed
		}
	}
}

// scan looks at what there is and appends what is wanted.
func (s *Subscription) scan(dst []*Event) []*Event {
	h := s.h
	for range scanMax {
		if len(dst) >= batchMax {
			break
		}
		head := h.head.Load()
		if s.next == head {
			break
		}
		if lag := head - s.next; lag > s.lag && h.at(s.next) != nil {
			h.cut.Add(1)
			s.err = &SlowError{After: s.after, Lag: int(lag)}
			break
		}
		e := h.at(s.next)
		if e == nil {
			s.err = h.compacted(s.after)
			break
		}
		s.next++
		if !s.after.Before(e.At) {
			continue // it began ahead of what is applied here
		}
		s.after = e.At
		if s.match == nil || s.match(e) {
			dst = append(dst, e)
		}
	}
	return dst
}

// waker is closed with the next ring.
func (h *Hub) waker() chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.wake
}

// ring wakes all who wait.
func (h *Hub) ring() {
	h.mu.Lock()
	defer h.mu.Unlock()
	close(h.wake)
	h.wake = make(chan struct{})
}

// Close ends the subscription. It may be called twice.
func (s *Subscription) Close() {
	if s.gone.Swap(true) {
		return
	}
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	s.h.count--
}
