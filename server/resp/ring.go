package resp

import (
	"sync"

	"github.com/raftkv/raftkv/node"
)

// slot is the place of one reply.
type slot struct {
	cmd   *command // how the result is told
	local []byte   // the reply itself, if it was made here
	reply node.Reply
	aux   uint64 // of cmd.tell
	proto int8   // version at the time of the request
	read  bool
	done  bool
	last  bool // close the connection behind it
	mute  bool // nobody wants to see it
	slow  *slow
	bytes int    // charged: of the request, later also of the reply
	parts []part // of EXEC
}

// ring holds the replies of one connection in the order of its requests.
//
//	head ....done....waiting....done.... tail
//	 │ the writer takes from here          │ the reader adds here
//
// The reader adds, the node's goroutines fill, the writer takes. Nobody holds mu
// while doing anything else, so filling a slot never waits for a socket.
//
// Invariants: head <= tail; tail-head <= limit; bytes is the sum over the slots.
type ring struct {
	mu    sync.Mutex
	slots []slot // a power of two; slot n lives at n & (len-1)
	head  uint64
	tail  uint64

	limit    int // most slots
	maxBytes int
	bytes    int // charged by slots
	reads    int // slots of reads without a reply: how large it will be is not known
	guess    int // what such a read is charged with

	pushes    []push
	pushBytes int

	ended    bool // no slot will be added
	flooded  bool // replies came to far more than maxBytes
	starving bool // the reader waits for room

	wake chan struct{} // to the writer: the front slot is done, or ended
	room chan struct{} // to the reader: there is room again

	awaited chan node.Reply // to the reader: the one reply that it waits for
}

func newRing(limit, maxBytes int) *ring {
	return &ring{
		limit: limit, maxBytes: maxBytes,
		// Until replies were seen, each is taken for large.
		guess: maxBytes / 64,
		wake:  make(chan struct{}, 1), room: make(chan struct{}, 1), awaited: make(chan node.Reply, 1),
	}
}

// credit is how many slots and bytes the reader may add, and what a read costs.
func (r *ring) credit() (slots, bytes, perRead int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.free()
}

func (r *ring) free() (slots, bytes, perRead int) {
	return r.limit - int(r.tail-r.head), r.maxBytes - r.bytes - r.reads*r.guess, r.guess
}

// enough tells whether it is worth to wake a reader that ran out of room.
func (r *ring) enough() bool {
	slots, bytes, _ := r.free()
	return r.head == r.tail || slots >= (r.limit+3)/4 && bytes > r.maxBytes/4
}

// wantRoom tells whether the reader must wait on room.
func (r *ring) wantRoom() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.starving = !r.enough()
	return r.starving
}

// add appends slots. The caller keeps within credit.
func (r *ring) add(batch []slot) {
	r.mu.Lock()
	for need := int(r.tail-r.head) + len(batch); need > len(r.slots); {
		grown := make([]slot, max(16, 2*len(r.slots)))
		for n := r.head; n != r.tail; n++ {
			grown[n&uint64(len(grown)-1)] = r.slots[n&uint64(len(r.slots)-1)]
		}
		r.slots = grown
	}
	mask := uint64(len(r.slots) - 1)
	for i := range batch {
		s := &batch[i]
		r.bytes += s.bytes
		if s.read && !s.done {
			r.reads++
		}
		r.slots[r.tail&mask] = *s
		r.tail++
	}
	ready := r.slots[r.head&mask].done
	r.mu.Unlock()
	if ready {
		notify(r.wake)
	}
}

// fill puts replies into their slots. It tells whether the connection holds far
// more than it may and must be closed.
func (r *ring) fill(replies []node.Reply) (flooded bool) {
	r.mu.Lock()
	if len(r.slots) == 0 {
		for i := range replies {
			r.aside(&replies[i])
		}
		r.mu.Unlock()
		return false
	}
	mask := uint64(len(r.slots) - 1)
	for i := range replies {
		n := replies[i].Slot
		if n-r.head >= r.tail-r.head {
			r.aside(&replies[i]) // not a slot of ours: answered already, or none
			continue
		}
		s := &r.slots[n&mask]
		if s.done {
			continue
		}
		s.reply, s.done = replies[i], true
		s.bytes += len(replies[i].Result)
		r.bytes += len(replies[i].Result)
		if s.read {
			r.reads--
		}
	}
	ready := r.head != r.tail && r.slots[r.head&mask].done
	if r.bytes > 4*r.maxBytes {
		r.flooded = true
	}
	flooded = r.flooded
	r.mu.Unlock()
	if ready {
		notify(r.wake)
	}
	return flooded
}

// aside gives the reader the reply that it waits for.
func (r *ring) aside(rep *node.Reply) {
	if rep.Slot != awaitedSlot {
		return
	}
	select {
	case r.awaited <- *rep:
	default: // a second one to the same request, which nobody waits for
	}
}

// push is a message, which answers no request.
type push struct {
	from uint64 // it is sent behind the replies before this slot, as soon as those are
	b    []byte // others have it, too
}

// push adds a message. It tells whether the client left so many bytes of messages
// that it must be cut off.
func (r *ring) push(from uint64, b []byte) (flooded bool) {
	r.mu.Lock()
	r.pushes = append(r.pushes, push{from, b})
	r.pushBytes += len(b) + pushOverhead
	flooded = r.pushBytes > r.maxBytes
	ready := r.head >= r.pushes[0].from
	r.mu.Unlock()
	if ready {
		notify(r.wake)
	}
	return flooded
}

// pushOverhead is what a message costs beside its bytes.
const pushOverhead = 32

// messages takes the messages that may be sent now. The writer asks before it takes
// replies: a message from before an unsubscription is sent before what confirms that.
func (r *ring) messages() (out []push) {
	n := 0
	for n < len(r.pushes) && r.pushes[n].from <= r.head {
		r.pushBytes -= len(r.pushes[n].b) + pushOverhead
		n++
	}
	if n == len(r.pushes) {
		out, r.pushes = r.pushes, nil
		return out
	}
	out = append(out, r.pushes[:n]...)
	r.pushes = append(r.pushes[:0], r.pushes[n:]...)
	return out
}

// take moves the finished slots at the front into out, or hands over messages,
// which come before them. more is false once nothing is left and nothing will come.
func (r *ring) take(out []slot) (n int, pushes []push, more bool) {
	r.mu.Lock()
	stop := r.tail
	if len(r.pushes) > 0 {
		if pushes = r.messages(); len(pushes) > 0 {
			r.mu.Unlock()
			return 0, pushes, true
		}
		stop = min(stop, r.pushes[0].from)
	}
	mask := uint64(len(r.slots) - 1)
	for n < len(out) && r.head != stop {
		s := &r.slots[r.head&mask]
		if !s.done {
			break
		}
		out[n] = *s
		r.bytes -= s.bytes
		if s.read {
			r.guess = max(64, len(s.reply.Result), r.guess-r.guess/8)
		}
		*s = slot{} // what it refers to is free
		n++
		r.head++
	}
	more = r.head != r.tail || !r.ended
	hungry := r.starving && r.enough()
	if hungry {
		r.starving = false
	}
	if r.head == r.tail && len(r.slots) > 256 {
		r.slots = nil // a burst is over
	}
	r.mu.Unlock()
	if hungry {
		notify(r.room)
	}
	return n, nil, more
}

// end says that no slot will be added.
func (r *ring) end() {
	r.mu.Lock()
	r.ended = true
	r.mu.Unlock()
	notify(r.wake)
}

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
