// Package tcpproxy relays TCP connections for tests, which cut, hold, slow, refuse
// or bite them. The daemons at both ends don't know it.
package tcpproxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Proxy is a TCP relay whose connections a fault cuts, holds, slows or bites. Its
// methods may be called from any goroutine.
type Proxy struct {
	target string
	addr   string
	all    sync.WaitGroup

	mu      sync.Mutex
	changed *sync.Cond
	ln      net.Listener // nil while it refuses
	relays  map[*relay]bool
	held    [2]bool // by direction
	lines   [2]line // by direction
	closed  bool
	bite    func() bool
	bitten  int
	taken   int
}

// The directions of a relay.
const (
	toTarget = iota
	fromTarget
)

type relay struct {
	dialler, target *net.TCPConn
	ended           atomic.Int32 // directions whose sender has closed
}

// line is what all connections share in one direction.
type line struct {
	delay time.Duration
	rate  int       // bytes a second, 0: any
	free  time.Time // when it has carried all that was given to it
	moved int       // bytes that went on so far
}

const (
	// backlog is how much a thin line keeps before it: more waits in the sockets.
	backlog = 100 * time.Millisecond
	// pieceBytes is how much is read at once, where a line is thin: one connection's
	// bytes must not stand before another's for long.
	pieceBytes = 1 << 10
	// inFlight bounds the pieces of a connection that are on their way.
	inFlight = 1 << 12
)

// piece is some bytes and when they come out.
type piece struct {
	bytes []byte
	due   time.Time
}

// close ends both sockets with a reset, as a fault would.
func (r *relay) close() {
	for _, c := range []*net.TCPConn{r.dialler, r.target} {
		_ = c.SetLinger(0) // it may be closed already
		c.Close()
	}
}

// New listens on addr (port 0 lets the system choose) and relays to target.
func New(addr, target string) (*Proxy, error) {
	p := &Proxy{target: target, relays: map[*relay]bool{}}
	p.changed = sync.NewCond(&p.mu)
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	p.addr = ln.Addr().String()
	p.serve(ln)
	return p, nil
}

// Addr is where to dial.
func (p *Proxy) Addr() string { return p.addr }

func (p *Proxy) serve(ln net.Listener) {
	p.mu.Lock()
	p.ln = ln
	p.mu.Unlock()
	p.all.Add(1)
	// Owns the listener; ends when that is closed.
	go func() {
		defer p.all.Done()
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			t, err := net.Dial("tcp", p.target)
			if err != nil {
				c.Close()
				continue
			}
			r := &relay{dialler: c.(*net.TCPConn), target: t.(*net.TCPConn)}
			p.mu.Lock()
			if p.closed || p.ln != ln {
				p.mu.Unlock()
				r.close()
				return
			}
			p.relays[r] = true
			p.taken++
			p.mu.Unlock()
			p.all.Add(2)
			go p.pump(r, r.dialler, r.target, toTarget) // each owns one direction; ends with either socket
			go p.pump(r, r.target, r.dialler, fromTarget)
		}
	}()
}

// pump reads one direction of a connection. What it read is written by another
// goroutine, as long after as the line says. Where the sender closes, so does that one when all is
// written, and without a reset: that would take away what the receiver has not read yet.
func (p *Proxy) pump(r *relay, from, to *net.TCPConn, direction int) {
	defer p.all.Done()
	way := make(chan piece, inFlight)
	defer close(way)
	whole := false // the sender has closed; set before way is closed
	p.all.Add(1)
	// Owns the writing half. Ends when way is closed, and ends the connection unless the other direction goes on.
	go func() {
		defer p.all.Done()
		for next := range way {
			if !p.arrive(r, next.due) {
				continue
			}
			if _, err := to.Write(next.bytes); err != nil {
				p.end(r)
			}
		}
		if !whole {
			p.end(r)
			return
		}
		_ = to.CloseWrite() // it may be closed already
		if r.ended.Add(1) == 2 {
			p.forget(r)
			r.dialler.Close()
			r.target.Close()
		}
	}()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf[:p.room(direction)])
		if !p.pass(r, direction, n) {
			p.end(r)
			return
		}
		if n > 0 {
			way <- piece{bytes.Clone(buf[:n]), p.enter(direction, n)}
		}
		if err != nil {
			whole = errors.Is(err, io.EOF)
			return
		}
	}
}

// end closes a connection.
func (p *Proxy) end(r *relay) {
	r.close()
	p.forget(r)
}

func (p *Proxy) forget(r *relay) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.relays, r)
	p.changed.Broadcast()
}

// room waits until a line takes more bytes, and says how many at once.
func (p *Proxy) room(direction int) int {
	p.mu.Lock()
	l := p.lines[direction]
	p.mu.Unlock()
	if l.rate == 0 {
		return 32 << 10
	}
	time.Sleep(time.Until(l.free.Add(-backlog)))
	return pieceBytes
}

// enter puts n bytes on a line and says when they come out.
func (p *Proxy) enter(direction, n int) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := &p.lines[direction]
	l.moved += n
	now := time.Now()
	if l.rate == 0 {
		return now.Add(l.delay)
	}
	if l.free.Before(now) {
		l.free = now
	}
	l.free = l.free.Add(time.Duration(n) * time.Second / time.Duration(l.rate))
	return l.free.Add(l.delay)
}

// arrive waits until bytes are due, and tells whether their connection still stands.
func (p *Proxy) arrive(r *relay, due time.Time) bool {
	time.Sleep(time.Until(due))
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.relays[r]
}

// pass waits while a direction is held, and tells whether its bytes go on.
func (p *Proxy) pass(r *relay, direction, n int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.held[direction] && !p.closed && p.relays[r] {
		p.changed.Wait()
	}
	if n > 0 && direction == fromTarget && p.bite != nil && p.bite() {
		p.bitten++
		return false
	}
	return true
}

// Slow lets bytes come out so much later than they went in, in each direction, and
// no more than so many a second (0: any number), all connections together. What is on its way is
// not hurried: with less delay than before, it still comes first.
func (p *Proxy) Slow(delay time.Duration, bytesPerSecond int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.lines {
		p.lines[i].delay, p.lines[i].rate = delay, bytesPerSecond
	}
}

// Moved is how many bytes went through so far, in both directions.
func (p *Proxy) Moved() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lines[toTarget].moved + p.lines[fromTarget].moved
}

// Bite lets f decide, for each piece of a reply, whether its connection is reset
// instead: then the request was carried out and its answer is lost. Nil ends that.
func (p *Proxy) Bite(f func() bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bite = f
}

// Bitten is how many replies were lost by Bite.
func (p *Proxy) Bitten() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.bitten
}

// Taken is how many connections were relayed so far.
func (p *Proxy) Taken() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.taken
}

// Hold lets bytes stand still by direction, as a network without a way there:
// sockets stay open and fill up, new connections are taken and stand still too.
func (p *Proxy) Hold(to, from bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = [2]bool{to, from}
	p.changed.Broadcast()
}

// Reset ends all connections. New ones are taken.
func (p *Proxy) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for r := range p.relays {
		r.close()
		delete(p.relays, r)
	}
	p.changed.Broadcast()
}

// Refuse ends all connections and refuses new ones until Accept.
func (p *Proxy) Refuse() {
	p.mu.Lock()
	ln := p.ln
	p.ln = nil
	p.mu.Unlock()
	if ln != nil {
		ln.Close()
	}
	p.Reset()
}

// Accept ends Refuse. The port could be taken meanwhile.
func (p *Proxy) Accept() error {
	ln, err := net.Listen("tcp", p.addr)
	if err != nil {
		return fmt.Errorf("proxy: %w", err)
	}
	p.serve(ln)
	return nil
}

// Close ends everything and waits.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.Refuse()
	p.all.Wait()
}
