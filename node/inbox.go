package node

import (
	"context"
	"sync"
	"time"

	"github.com/raftkv/raftkv/raft"
)

// inbox is what waits for the loop. Each kind of event has a lane of its own,
// so that a flood in one can't take the place of another:
//
//	clients   bounded; Submit waits
//	messages  bounded; what finds no room is dropped, Raft repairs
//	packets   bounded; forwards that find no room are refused aloud
//	admin     bounded; the caller hears ErrBusy
//	the rest  answers of ports and ticks: bounded by nature, never refused
//
// Ticks that came while the loop was busy count as one.
type inbox struct {
	limits  InboxLimits
	metrics *Metrics
	wake    chan struct{} // capacity 1: there is something

	mu     sync.Mutex
	b      *batch
	closed error         // why nothing is taken any more
	room   chan struct{} // closed when the client lane was emptied; nil if nobody waits
}

// batch is what one turn of the loop handles, in the order of the fields.
type batch struct {
	wrote     Wrote
	jobs      []*Job
	progress  FetchProgress
	answers   []Packet // replies to own forwards, bounded by what is under way
	links     []Event
	slow      []Event // Saved, Fetched, Space
	messages  []raft.Message
	msgBytes  int
	packets   []Packet
	pktBytes  int
	refused   []Overflow
	runs      []run
	requests  []Request // of the runs, one after the other
	reqBytes  int
	gone      []*Conn
	admin     []Event
	tick      Tick
	ticked    bool
	submitted Submitted // room for the event of a run
}

// run is requests of one connection.
type run struct {
	conn *Conn
	n    int
}

// Bounds of lanes that are not settings. Past them an event is dropped, and what
// it would have told ends at a deadline.
const (
	maxAnswers  = 1 << 16
	maxLinks    = 1 << 12
	maxRefusals = 1 << 12
)

func newInbox(l InboxLimits, m *Metrics) *inbox {
	return &inbox{limits: l, metrics: m, wake: make(chan struct{}, 1), b: &batch{}}
}

// signal wakes the loop.
func (in *inbox) signal() {
	select {
	case in.wake <- struct{}{}:
	default:
	}
}

// put changes the batch under the lock and wakes the loop.
func (in *inbox) put(f func(b *batch)) {
	in.mu.Lock()
	if in.closed == nil {
		f(in.b)
	}
	in.mu.Unlock()
	in.signal()
}

// take swaps the batch for an empty one, last turn's.
func (in *inbox) take(empty *batch) *batch {
	in.mu.Lock()
	b := in.b
	in.b = empty
	if in.room != nil {
		close(in.room)
		in.room = nil
	}
	in.mu.Unlock()
	return b
}

// close makes the inbox refuse everything from now on. What it holds can still be taken.
func (in *inbox) close(err error) {
	in.mu.Lock()
	in.closed = err
	if in.room != nil {
		close(in.room)
		in.room = nil
	}
	in.mu.Unlock()
}

// reset empties a handled batch and keeps its room.
func (b *batch) reset() {
	empty(&b.jobs)
	empty(&b.answers)
	empty(&b.links)
	empty(&b.slow)
	empty(&b.messages)
	empty(&b.packets)
	empty(&b.refused)
	empty(&b.runs)
	empty(&b.requests)
	empty(&b.gone)
	empty(&b.admin)
	b.wrote, b.progress, b.tick, b.ticked, b.submitted = Wrote{}, FetchProgress{}, Tick{}, false, Submitted{}
	b.msgBytes, b.pktBytes, b.reqBytes = 0, 0, 0
}

func empty[T any](lane *[]T) {
	if len(*lane) > 0 { // most lanes are, in most turns
		clear(*lane)
		*lane = (*lane)[:0]
	}
}

// handle gives the batch to a replica. What comes often goes past
// Replica.Handle, whose argument is allocated. The tick comes last: what was heard in
// time must count before the time is over.
func (b *batch) handle(r *Replica) {
	if b.wrote.Seq > 0 {
		r.onWrote(b.wrote)
	}
	for _, j := range b.jobs {
		r.onApplied(j)
	}
	if b.progress.Bytes > 0 {
		r.Handle(b.progress)
	}
	for _, ev := range b.slow {
		r.Handle(ev)
	}
	for _, p := range b.answers {
		r.onPacket(p)
	}
	for _, ev := range b.links {
		r.Handle(ev)
	}
	if len(b.messages) > 0 {
		r.onReceived(b.messages)
	}
	for _, p := range b.packets {
		r.onPacket(p)
	}
	for _, o := range b.refused {
		r.Handle(o)
	}
	rest := b.requests
	for _, u := range b.runs {
		b.submitted = Submitted{Conn: u.conn, Requests: rest[:u.n:u.n]}
		rest = rest[u.n:]
		r.Handle(&b.submitted)
	}
	for _, c := range b.gone {
		r.Handle(Closed{Conn: c})
	}
	for _, ev := range b.admin {
		r.Handle(ev)
	}
	if b.ticked {
		r.onTick(b.tick)
	}
}

// submit takes all of the requests or none. It waits while the lane is full.
func (in *inbox) submit(ctx context.Context, c *Conn, requests []Request) error {
	bytes := 0
	for i := range requests {
		bytes += len(requests[i].Data)
	}
	for {
		in.mu.Lock()
		switch {
		case in.closed != nil:
			defer in.mu.Unlock()
			return in.closed
		case c.gone:
			in.mu.Unlock()
			return errConnClosed
		}
		// A batch that is larger than the lane goes alone.
		if n := len(in.b.requests); n == 0 || n+len(requests) <= in.limits.Requests && in.b.reqBytes+bytes <= in.limits.RequestBytes {
			in.b.requests = append(in.b.requests, requests...)
			in.b.reqBytes += bytes
			if k := len(in.b.runs); k > 0 && in.b.runs[k-1].conn == c {
				in.b.runs[k-1].n += len(requests)
			} else {
				in.b.runs = append(in.b.runs, run{conn: c, n: len(requests)})
			}
			in.mu.Unlock()
			in.signal()
			return nil
		}
		if in.room == nil {
			in.room = make(chan struct{})
		}
		room := in.room
		in.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// gone tells that a connection ended. Nothing of it is taken any more.
func (in *inbox) gone(c *Conn) {
	in.put(func(b *batch) {
		if !c.gone {
			c.gone = true
			b.gone = append(b.gone, c)
		}
	})
}

// received takes messages of a peer, or drops those that find no room.
func (in *inbox) received(ms []raft.Message) {
	in.put(func(b *batch) {
		for i := range ms {
			size := messageBytes(&ms[i])
			if len(b.messages) >= in.limits.Messages || b.msgBytes+size > in.limits.MessageBytes && b.msgBytes > 0 {
				in.metrics.Dropped.Add(uint64(len(ms) - i))
				return
			}
			b.messages = append(b.messages, ms[i])
			b.msgBytes += size
		}
	})
}

func messageBytes(m *raft.Message) int {
	n := 128
	for i := range m.Entries {
		n += len(m.Entries[i].Data) + entryOverhead
	}
	return n
}

func (in *inbox) packet(p Packet) {
	if len(p.Bytes) > 1 {
		if k := packetKind(p.Bytes[1]); k == packetReplies || k == packetReadTell {
			in.put(func(b *batch) {
				if len(b.answers) < maxAnswers {
					b.answers = append(b.answers, p)
				}
			})
			return
		}
	}
	full := false
	in.put(func(b *batch) {
		if len(b.packets) >= in.limits.Packets || b.pktBytes+len(p.Bytes) > in.limits.PacketBytes && b.pktBytes > 0 {
			full = true
			return
		}
		b.packets = append(b.packets, p)
		b.pktBytes += len(p.Bytes)
	})
	if !full {
		return
	}
	// Only who must be told is kept, not what was asked.
	if f, ok := refusalOf(p.From, p.Bytes); ok {
		in.put(func(b *batch) {
			if len(b.refused) < maxRefusals {
				b.refused = append(b.refused, Overflow{Refusal: f})
			}
		})
	}
}

func (in *inbox) link(ev Event) {
	in.put(func(b *batch) {
		if len(b.links) < maxLinks {
			b.links = append(b.links, ev)
		}
	})
}

// slow takes the rare answers of ports.
func (in *inbox) slow(ev Event) {
	in.put(func(b *batch) { b.slow = append(b.slow, ev) })
}

func (in *inbox) wrote(seq uint64, took time.Duration) {
	in.put(func(b *batch) {
		b.wrote.Seq = max(b.wrote.Seq, seq)
		b.wrote.Took += took
	})
}

func (in *inbox) applied(j *Job) {
	in.put(func(b *batch) { b.jobs = append(b.jobs, j) })
}

func (in *inbox) fetching(p FetchProgress) {
	in.put(func(b *batch) { b.progress = p })
}

// tick coalesces: a loop that was starved must not make up for lost time by
// deposing a healthy leader.
func (in *inbox) tick(t Tick) {
	in.put(func(b *batch) {
		b.tick.Elapsed += t.Elapsed
		b.tick.Wall = t.Wall
		b.ticked = true
	})
}

// ask queues an operator's event.
func (in *inbox) ask(ev Event) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	switch {
	case in.closed != nil:
		return in.closed
	case len(in.b.admin) >= in.limits.Admin:
		return ErrBusy
	}
	in.b.admin = append(in.b.admin, ev)
	in.signal()
	return nil
}
