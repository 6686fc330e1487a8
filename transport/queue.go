package transport

import (
	"errors"
	"sync"

	"github.com/raftkv/raftkv/raft"
)

// Why SendPacket refused a packet: no byte of it was or will be written.
var (
	ErrNotConnected = errors.New("no connection with that node at present; try again")
	ErrQueueFull    = errors.New("the queue for that node is full; try again later")
	ErrTooLarge     = errors.New("packet is larger than a frame may be")
)

type packet struct {
	token uint64
	data  []byte
}

// batch is what a writer took from a queue and has not written yet.
type batch struct {
	urgent, bulk []raft.Message
	packets      []packet
}

// queue is what waits for one peer. Any goroutine puts, the writer of the
// standing connection takes; it is a queue, so it has a mutex. There are three
// lanes: bulk (appends and offers, whose order matters to their receiver),
// urgent (everything else of Raft, which may overtake bulk) and packets.
//
// The counts cover what is in the lanes and what the writer holds, so a writer
// that is stuck doesn't make room.
type queue struct {
	wake chan struct{} // capacity 1: something was put

	mu       sync.Mutex
	conn     uint64 // connection that the writer writes to; 0: nothing is taken in
	maxCount int
	maxBytes int
	maxBody  int // most bytes of a frame that the peer takes
	lanes    batch
	messages usage
	packets  usage
}

type usage struct{ count, bytes int }

func newQueue(maxCount, maxBytes int) *queue {
	return &queue{wake: make(chan struct{}, 1), maxCount: maxCount, maxBytes: maxBytes}
}

// messageCost is what m counts for against the limit on bytes.
func messageCost(m *raft.Message) int {
	n := messageSize
	for i := range m.Entries {
		n += len(m.Entries[i].Data) + 64
	}
	if m.Snapshot != nil {
		n += 128 + 8*len(m.Snapshot.Config.Removed)
		for _, b := range m.Snapshot.Config.Members {
			n += 32 + len(b.Name) + len(b.Peer) + len(b.Client) + len(b.HTTP)
		}
	}
	return n
}

func urgent(k raft.Kind) bool { return k != raft.MsgAppend && k != raft.MsgOffer }

// put queues m and tells whether there was room and a connection.
func (q *queue) put(m *raft.Message) bool {
	cost := messageCost(m)
	q.mu.Lock()
	u := &q.messages
	// One message is always taken: it might be larger than the limit on bytes.
	if q.conn == 0 || u.count >= q.maxCount || u.count > 0 && u.bytes+cost > q.maxBytes {
		q.mu.Unlock()
		return false
	}
	u.count++
	u.bytes += cost
	if urgent(m.Kind) {
		q.lanes.urgent = append(q.lanes.urgent, *m)
	} else {
		q.lanes.bulk = append(q.lanes.bulk, *m)
	}
	q.mu.Unlock()
	ring(q.wake)
	return true
}

// putPacket queues a packet and returns the connection that it will be written to.
func (q *queue) putPacket(p packet) (uint64, error) {
	q.mu.Lock()
	u := &q.packets
	switch {
	case q.conn == 0:
		q.mu.Unlock()
		return 0, ErrNotConnected
	case len(p.data) > q.maxBody:
		q.mu.Unlock()
		return 0, ErrTooLarge
	case u.count >= q.maxCount || u.count > 0 && u.bytes+len(p.data) > q.maxBytes:
		q.mu.Unlock()
		return 0, ErrQueueFull
	}
	u.count++
	u.bytes += len(p.data)
	q.lanes.packets = append(q.lanes.packets, p)
	conn := q.conn
	q.mu.Unlock()
	ring(q.wake)
	return conn, nil
}

// take moves everything behind what b holds.
func (q *queue) take(b *batch) {
	q.mu.Lock()
	b.urgent, q.lanes.urgent = move(b.urgent, q.lanes.urgent)
	b.bulk, q.lanes.bulk = move(b.bulk, q.lanes.bulk)
	b.packets, q.lanes.packets = move(b.packets, q.lanes.packets)
	q.mu.Unlock()
}

// move appends from to to and empties from. An empty to changes places with
// from, so that two slices serve for ever.
func move[T any](to, from []T) (filled, emptied []T) {
	if len(to) == 0 {
		return from, to
	}
	to = append(to, from...)
	clear(from)
	return to, from[:0]
}

// release gives back the room of what was written.
func (q *queue) release(messages, packets usage) {
	q.mu.Lock()
	q.messages.count -= messages.count
	q.messages.bytes -= messages.bytes
	q.packets.count -= packets.count
	q.packets.bytes -= packets.bytes
	q.mu.Unlock()
}

// open lets the queue take what is for conn.
func (q *queue) open(conn uint64, maxBody int) {
	q.mu.Lock()
	q.conn, q.maxBody = conn, maxBody
	q.mu.Unlock()
}

// shut lets nothing more in.
func (q *queue) shut() {
	q.mu.Lock()
	q.conn = 0
	q.mu.Unlock()
}

// drain empties the queue, after the writer has ended: messages are dropped,
// their number returned, and packets are returned in their order.
func (q *queue) drain() (dropped int, unsent []packet) {
	q.mu.Lock()
	defer q.mu.Unlock()
	dropped, unsent = len(q.lanes.urgent)+len(q.lanes.bulk), q.lanes.packets
	q.lanes, q.messages, q.packets = batch{}, usage{}, usage{}
	return dropped, unsent
}

// depth is what waits now, in messages and packets and in bytes.
func (q *queue) depth() (count, bytes int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.messages.count + q.packets.count, q.messages.bytes + q.packets.bytes
}
