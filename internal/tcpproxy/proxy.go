// Package tcpproxy relays TCP connections for tests, which cut, hold, refuse or
// bite them. The daemons at both ends don't know it.
package tcpproxy

import (
	"fmt"
	"net"
	"sync"
)

// Proxy is a TCP relay whose connections a fault cuts, holds or bites. Its
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

type relay struct{ dialler, target *net.TCPConn }

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
			r := &relay{c.(*net.TCPConn), t.(*net.TCPConn)}
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

func (p *Proxy) pump(r *relay, from, to *net.TCPConn, direction int) {
	defer p.all.Done()
	defer func() {
		r.close()
		p.mu.Lock()
		delete(p.relays, r)
		p.changed.Broadcast()
		p.mu.Unlock()
	}()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if !p.pass(r, direction, n) {
			return
		}
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
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
