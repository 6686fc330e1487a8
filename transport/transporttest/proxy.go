package transporttest

import (
	"fmt"
	"net"
	"sync"
)

// Proxy is a TCP relay between a dialler and a listener whose links a test cuts
// and freezes.
type Proxy struct {
	target string
	addr   string
	wg     sync.WaitGroup

	mu       sync.Mutex
	changed  *sync.Cond
	listener net.Listener // nil while it refuses
	pairs    map[*relay]bool
	frozen   [2]bool // toTarget, fromTarget
	closed   bool
}

type relay struct{ client, server net.Conn }

func (r *relay) close() { r.client.Close(); r.server.Close() }

// NewProxy listens on addr (port 0 lets the system choose) and relays to target.
func NewProxy(addr, target string) (*Proxy, error) {
	p := &Proxy{target: target, pairs: make(map[*relay]bool)}
	p.changed = sync.NewCond(&p.mu)
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	p.addr = l.Addr().String()
	p.serve(l)
	return p, nil
}

// Addr is where to dial.
func (p *Proxy) Addr() string { return p.addr }

func (p *Proxy) serve(l net.Listener) {
	p.mu.Lock()
	p.listener = l
	p.mu.Unlock()
	p.wg.Add(1)
	// Owns the listener; ends when that is closed.
	go func() {
		defer p.wg.Done()
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", p.target)
			if err != nil {
				client.Close()
				continue
			}
			r := &relay{client, server}
			p.mu.Lock()
			if p.closed || p.listener != l {
				p.mu.Unlock()
				r.close()
				return
			}
			p.pairs[r] = true
			p.mu.Unlock()
			p.wg.Add(2)
			go p.pump(r, client, server, 0) // each owns one direction; ends with either socket
			go p.pump(r, server, client, 1)
		}
	}()
}

func (p *Proxy) pump(r *relay, from, to net.Conn, direction int) {
	defer p.wg.Done()
	defer func() {
		r.close()
		p.mu.Lock()
		delete(p.pairs, r)
		p.changed.Broadcast()
		p.mu.Unlock()
	}()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		p.mu.Lock()
		for p.frozen[direction] && !p.closed && p.pairs[r] {
			p.changed.Wait()
		}
		p.mu.Unlock()
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

// Cut ends all connections. New ones are taken.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for r := range p.pairs {
		r.close()
		delete(p.pairs, r)
	}
	p.changed.Broadcast()
}

// Refuse ends all connections and refuses new ones until Accept.
func (p *Proxy) Refuse() {
	p.mu.Lock()
	l := p.listener
	p.listener = nil
	p.mu.Unlock()
	if l != nil {
		l.Close()
	}
	p.Cut()
}

// Accept ends Refuse. The port could be taken meanwhile.
func (p *Proxy) Accept() error {
	l, err := net.Listen("tcp", p.addr)
	if err != nil {
		return fmt.Errorf("proxy: %w", err)
	}
	p.serve(l)
	return nil
}

// Freeze sets in which directions bytes stand still; the sockets stay open and
// fill up. Both false lets everything flow again.
func (p *Proxy) Freeze(toTarget, fromTarget bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.frozen = [2]bool{toTarget, fromTarget}
	p.changed.Broadcast()
}

// Links is how many connections stand.
func (p *Proxy) Links() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.pairs)
}

// Close ends everything and waits.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.Refuse()
	p.wg.Wait()
}
