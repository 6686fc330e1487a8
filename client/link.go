package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/raftkv/raftkv/resp"
)

// link is one connection, shared by all callers.
//
//	callers ──queue──> writer ──flight──> reader ──> each caller's done
//
// Replies come in the order of requests, so the reader gives each to the oldest
// call in flight. A call that was not yet written when its caller gave up is never
// written: it surely did nothing.
type link struct {
	nc       net.Conn
	endpoint string

	queue  chan *call
	flight chan *call
	down   chan struct{} // closed when the link has failed
	all    *sync.WaitGroup

	mu      sync.Mutex
	err     error // why it failed
	open    int   // calls under way
	retired bool  // close it with its last call
}

// call is one request on its way.
type call struct {
	buf   []byte
	state atomic.Uint32 // queued, then written or dropped
	done  chan reply    // capacity 1
}

type reply struct {
	value resp.Value
	err   error
}

const (
	queued uint32 = iota
	written
	dropped
)

const (
	maxFlight  = 1024     // requests that wait for replies on one link
	writeChunk = 64 << 10 // requests gathered for one write
)

var errLinkLost = errors.New("connection lost")

func newLink(nc net.Conn, endpoint string, all *sync.WaitGroup) *link {
	l := &link{
		nc: nc, endpoint: endpoint, all: all,
		queue: make(chan *call), flight: make(chan *call, maxFlight), down: make(chan struct{}),
	}
	all.Add(2)
	// The writer owns the writing half, the reader the reading half. Both end when
	// the link fails or is closed; Client.Close waits for them.
	go l.write()
	go l.read()
	return l
}

// do sends a request and waits for its reply. sent: the request may have reached
// the server. It waits at most limit; then the link is taken for dead.
func (l *link) do(ctx context.Context, req []byte, limit time.Duration) (v resp.Value, sent bool, err error) {
	l.mu.Lock()
	if l.err != nil {
		l.mu.Unlock()
		return v, false, l.err
	}
	l.open++
	l.mu.Unlock()
	defer l.leave()

	c := &call{buf: req, done: make(chan reply, 1)}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case l.queue <- c:
	case <-l.down:
		return v, false, l.failure()
	case <-ctx.Done():
		return v, false, context.Cause(ctx)
	case <-timer.C:
		l.fail(fmt.Errorf("%s takes no request for %v", l.endpoint, limit))
		return v, false, l.failure()
	}
	select {
	case r := <-c.done:
		return r.value, true, r.err
	case <-l.down:
		// The reply may have come just before the end.
		select {
		case r := <-c.done:
			return r.value, true, r.err
		default:
		}
		return v, !c.state.CompareAndSwap(queued, dropped), l.failure()
	case <-ctx.Done():
		return v, !c.state.CompareAndSwap(queued, dropped), context.Cause(ctx)
	case <-timer.C:
		sent = !c.state.CompareAndSwap(queued, dropped)
		l.fail(fmt.Errorf("no answer from %s in %v", l.endpoint, limit))
		return v, sent, l.failure()
	}
}

func (l *link) leave() {
	l.mu.Lock()
	l.open--
	last := l.retired && l.open == 0
	l.mu.Unlock()
	if last {
		l.fail(errLinkLost)
	}
}

// retire closes the link once nobody waits for a reply.
func (l *link) retire() {
	l.mu.Lock()
	l.retired = true
	last := l.open == 0
	l.mu.Unlock()
	if last {
		l.fail(errLinkLost)
	}
}

// fail ends the link: whoever waits is told.
func (l *link) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return
	}
	l.err = err
	close(l.down)
	l.nc.Close()
}

func (l *link) failure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

func (l *link) failed() bool {
	select {
	case <-l.down:
		return true
	default:
		return false
	}
}

// write gathers what is queued and sends it in one go.
func (l *link) write() {
	defer l.all.Done()
	var buf []byte
	for {
		var c *call
		select {
		case c = <-l.queue:
		case <-l.down:
			return
		}
		buf = buf[:0]
		for c != nil {
			if c.state.CompareAndSwap(queued, written) {
				buf = append(buf, c.buf...)
				select {
				case l.flight <- c:
				case <-l.down:
					return
				}
			}
			c = nil
			if len(buf) < writeChunk {
				select {
				case c = <-l.queue:
				default:
				}
			}
		}
		if _, err := l.nc.Write(buf); err != nil {
			l.fail(fmt.Errorf("write to %s: %w", l.endpoint, err))
			return
		}
		if cap(buf) > 1<<20 {
			buf = nil
		}
	}
}

// read gives replies to the calls in flight.
func (l *link) read() {
	defer l.all.Done()
	r := resp.NewReplyReader(l.nc, resp.ReplyLimits{Bytes: 512 << 20})
	for {
		v, err := r.Read()
		if err != nil {
			l.fail(fmt.Errorf("read from %s: %w", l.endpoint, err))
			return
		}
		if v.Kind == resp.KindPush {
			continue
		}
		select {
		case c := <-l.flight:
			c.done <- reply{value: v}
		default:
			// A server that refuses a connection says so unasked.
			l.fail(fmt.Errorf("%s says unasked: %.100s", l.endpoint, v.Text()))
			return
		}
	}
}

// post sends a request whose reply nobody waits for, if the writer is idle.
func (l *link) post(req []byte) {
	select {
	case l.queue <- &call{buf: req, done: make(chan reply, 1)}:
	default:
	}
}
