package transporttest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/raftkv/raftkv/raft"
)

// Handler has the methods of transport.Handler and node.Handler.
type Handler interface {
	Received(ms []raft.Message)
	Packet(from raft.NodeID, conn uint64, b []byte)
	Unsent(to raft.NodeID, token uint64)
	Connected(peer raft.NodeID, conn uint64)
	Heard(peer raft.NodeID, seq uint64)
	Lost(peer raft.NodeID, conn uint64, gone bool)
}

// ErrNotConnected is what SendPacket says without a connection.
var ErrNotConnected = errors.New("no connection with that node at present; try again")

// Network joins endpoints in memory. Its methods may be called from any
// goroutine; what they cause reaches the handlers on a goroutine of each
// endpoint, in order.
type Network struct {
	mu    sync.Mutex
	nodes map[raft.NodeID]*Endpoint
	links map[[2]raft.NodeID]*link // by (from, to)
	conns uint64
	drop  func(*raft.Message) bool
}

// link is one direction between two nodes.
type link struct {
	conn  uint64 // of the pair, 0 while there is none
	cut   bool
	held  bool
	delay time.Duration
	wait  []delivery // held back, in order
	seq   uint64     // highest Message.Seq that came over it
}

// delivery is something on its way; exactly one of message and packet is set.
type delivery struct {
	conn    uint64
	message *raft.Message
	packet  []byte
	token   uint64
}

// New makes a network without nodes.
func New() *Network {
	return &Network{nodes: make(map[raft.NodeID]*Endpoint), links: make(map[[2]raft.NodeID]*link)}
}

// Endpoint is one node's side.
type Endpoint struct {
	n       *Network
	id      raft.NodeID
	h       Handler
	members raft.Configuration
	closed  bool
	source  func(last raft.EntryID, offset uint64) (io.ReadCloser, uint64, error)

	wake chan struct{} // capacity 1
	stop chan struct{}
	done chan struct{}
	in   []event // for the handler; guarded by n.mu
}

// event is one call of the handler, due at a time.
type event struct {
	at   time.Time
	from raft.NodeID
	conn uint64 // if not 0: only while this connection stands
	call func()
}

// Join adds a node, which may have been in the network before and been closed.
func (n *Network) Join(id raft.NodeID, h Handler) *Endpoint {
	n.mu.Lock()
	defer n.mu.Unlock()
	if old := n.nodes[id]; old != nil && !old.closed {
		panic(fmt.Sprintf("node %v is in the network already", id))
	}
	e := &Endpoint{n: n, id: id, h: h, wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{})}
	n.nodes[id] = e
	for key, l := range n.links {
		if key[1] == id {
			l.seq = 0 // a new process has heard nothing
		}
	}
	n.connect()
	go e.run() // owns the calls of h; Close ends it and waits
	return e
}

// Serve sets what answers the fetches of others.
func (e *Endpoint) Serve(source func(last raft.EntryID, offset uint64) (io.ReadCloser, uint64, error)) {
	e.n.mu.Lock()
	defer e.n.mu.Unlock()
	e.source = source
}

func (n *Network) link(from, to raft.NodeID) *link {
	key := [2]raft.NodeID{from, to}
	l := n.links[key]
	if l == nil {
		l = new(link)
		n.links[key] = l
	}
	return l
}

// ids is every node that ever was, ascending: the order of a map must not show.
func (n *Network) ids() []raft.NodeID { return slices.Sorted(maps.Keys(n.nodes)) }

// connect makes the connections that are possible and wanted. It runs under mu.
func (n *Network) connect() {
	for _, id := range n.ids() {
		a := n.nodes[id]
		for _, m := range a.members.Members {
			b := n.nodes[m.ID]
			if b == nil || b == a || a.closed || b.closed {
				continue
			}
			ab, ba := n.link(a.id, b.id), n.link(b.id, a.id)
			if ab.conn != 0 || ab.cut || ba.cut {
				continue
			}
			n.conns++
			ab.conn, ba.conn = n.conns, n.conns
			a.connected(b.id, n.conns, ab.seq)
			b.connected(a.id, n.conns, ba.seq)
		}
	}
}

func (e *Endpoint) connected(peer raft.NodeID, conn, seq uint64) {
	e.push(event{call: func() { e.h.Heard(peer, seq); e.h.Connected(peer, conn) }})
}

// disconnect ends a connection; unsent says what becomes of packets that wait. It runs under mu.
func (n *Network) disconnect(a, b raft.NodeID, unsent, gone bool) {
	for _, pair := range [][2]raft.NodeID{{a, b}, {b, a}} {
		e, l := n.nodes[pair[0]], n.link(pair[0], pair[1])
		conn := l.conn
		l.conn = 0
		waiting := l.wait
		l.wait = nil
		if conn == 0 || e == nil || e.closed {
			continue
		}
		for _, d := range waiting {
			if d.packet != nil && unsent {
				e.push(event{call: func() { e.h.Unsent(pair[1], d.token) }})
			}
		}
		e.push(event{call: func() { e.h.Lost(pair[1], conn, gone) }})
	}
}

// Cut ends the connection of two nodes until Heal. Packets under way are lost
// without a word, as bytes in a socket are.
func (n *Network) Cut(a, b raft.NodeID) { n.cut(a, b, false) }

// Sever is Cut, but packets that Hold kept back count as not written: Unsent tells of them.
func (n *Network) Sever(a, b raft.NodeID) { n.cut(a, b, true) }

func (n *Network) cut(a, b raft.NodeID, unsent bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.link(a, b).cut, n.link(b, a).cut = true, true
	n.disconnect(a, b, unsent, false)
}

// Heal ends Cut.
func (n *Network) Heal(a, b raft.NodeID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.link(a, b).cut, n.link(b, a).cut = false, false
	n.connect()
}

// Drop makes messages (not packets) for which f is true vanish; nil ends that. f
// runs under the network's lock.
func (n *Network) Drop(f func(m *raft.Message) bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.drop = f
}

// Delay sets how long what a sends to b is under way from now on.
func (n *Network) Delay(a, b raft.NodeID, d time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.link(a, b).delay = d
}

// Hold keeps what a sends to b from now on until Release.
func (n *Network) Hold(a, b raft.NodeID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.link(a, b).held = true
}

// Release lets what Hold kept go, and what comes after.
func (n *Network) Release(a, b raft.NodeID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.link(a, b)
	l.held = false
	waiting := l.wait
	l.wait = nil
	for _, d := range waiting {
		n.deliver(a, b, l, d)
	}
}

// Held is how many messages and packets Hold keeps on the way from a to b.
func (n *Network) Held(a, b raft.NodeID) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.link(a, b).wait)
}

// deliver puts d on its way. It runs under mu.
func (n *Network) deliver(from, to raft.NodeID, l *link, d delivery) {
	if l.held {
		l.wait = append(l.wait, d)
		return
	}
	e := n.nodes[to]
	if e == nil || e.closed {
		return
	}
	ev := event{from: from, conn: d.conn}
	if l.delay > 0 {
		ev.at = time.Now().Add(l.delay)
	}
	if d.message != nil {
		m := *d.message
		l.seq = max(l.seq, m.Seq)
		ev.call = func() { e.h.Received([]raft.Message{m}) }
	} else {
		ev.call = func() { e.h.Packet(from, d.conn, d.packet) }
	}
	e.push(ev)
}

// push runs under mu.
func (e *Endpoint) push(ev event) {
	e.in = append(e.in, ev)
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// run calls the handler.
func (e *Endpoint) run() {
	defer close(e.done)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		call, wait := e.next()
		if call != nil {
			call()
			continue
		}
		timer.Reset(wait)
		select {
		case <-e.stop:
			return
		case <-e.wake:
		case <-timer.C:
		}
	}
}

// next takes the first event that is due. Of one peer nothing overtakes, so a
// delayed message delays what comes behind it.
func (e *Endpoint) next() (call func(), wait time.Duration) {
	e.n.mu.Lock()
	defer e.n.mu.Unlock()
	wait = time.Hour
	if e.closed {
		return nil, wait
	}
	late := make(map[raft.NodeID]bool)
	now := time.Now()
	for i := 0; i < len(e.in); i++ {
		ev := e.in[i]
		if ev.conn != 0 && e.n.link(e.id, ev.from).conn != ev.conn {
			e.in = append(e.in[:i], e.in[i+1:]...) // its connection is over
			i--
			continue
		}
		if late[ev.from] && ev.conn != 0 {
			continue
		}
		if d := ev.at.Sub(now); !ev.at.IsZero() && d > 0 {
			late[ev.from] = true
			wait = min(wait, d)
			continue
		}
		e.in = append(e.in[:i], e.in[i+1:]...)
		return ev.call, 0
	}
	return nil, wait
}

// Send is transport.Transport.Send.
func (e *Endpoint) Send(ms []raft.Message) {
	e.n.mu.Lock()
	defer e.n.mu.Unlock()
	for i := range ms {
		m := ms[i]
		m.From = e.id
		l := e.n.link(e.id, m.To)
		if e.closed || l.conn == 0 || e.n.drop != nil && e.n.drop(&m) {
			continue
		}
		e.n.deliver(e.id, m.To, l, delivery{conn: l.conn, message: &m})
	}
}

// SendPacket is transport.Transport.SendPacket.
func (e *Endpoint) SendPacket(to raft.NodeID, token uint64, b []byte) (conn uint64, err error) {
	e.n.mu.Lock()
	defer e.n.mu.Unlock()
	l := e.n.link(e.id, to)
	if e.closed || l.conn == 0 {
		return 0, ErrNotConnected
	}
	if b == nil {
		b = []byte{}
	}
	e.n.deliver(e.id, to, l, delivery{conn: l.conn, packet: b, token: token})
	return l.conn, nil
}

// SetMembers is transport.Transport.SetMembers.
func (e *Endpoint) SetMembers(c raft.Configuration) {
	e.n.mu.Lock()
	defer e.n.mu.Unlock()
	e.members = c
	e.n.connect()
}

// Fetch is transport.Transport.Fetch. A cut ends it with an error.
func (e *Endpoint) Fetch(ctx context.Context, from raft.NodeID, last raft.EntryID, offset uint64) (io.ReadCloser, error) {
	e.n.mu.Lock()
	source := e.n.nodes[from]
	reachable := source != nil && !source.closed && !e.closed && !e.n.link(e.id, from).cut
	e.n.mu.Unlock()
	if !reachable {
		return nil, fmt.Errorf("fetch snapshot %v from node %v: not reached", last, from)
	}
	e.n.mu.Lock()
	serve := source.source
	e.n.mu.Unlock()
	if serve == nil {
		return nil, fmt.Errorf("fetch snapshot %v from node %v: %w", last, from, fs.ErrNotExist)
	}
	r, _, err := serve(last, offset)
	if err != nil {
		return nil, fmt.Errorf("fetch snapshot %v from node %v: %w", last, from, err)
	}
	return &fetch{ReadCloser: r, ctx: ctx, cut: func() bool {
		e.n.mu.Lock()
		defer e.n.mu.Unlock()
		return source.closed || e.closed || e.n.link(e.id, from).cut
	}}, nil
}

type fetch struct {
	io.ReadCloser
	ctx context.Context
	cut func() bool
}

func (f *fetch) Read(b []byte) (int, error) {
	if err := f.ctx.Err(); err != nil {
		return 0, err
	}
	if f.cut() {
		return 0, fmt.Errorf("fetch: connection lost: %w", io.ErrUnexpectedEOF)
	}
	return f.ReadCloser.Read(b)
}

// Close ends the node as kill -9 does: the others learn that it is gone, its own
// handler is not called any more. It waits for a call that is under way.
func (e *Endpoint) Close() error {
	e.n.mu.Lock()
	if e.closed {
		e.n.mu.Unlock()
		return nil
	}
	e.closed = true
	for _, id := range e.n.ids() {
		if id != e.id {
			e.n.disconnect(e.id, id, true, true)
		}
	}
	close(e.stop)
	e.n.mu.Unlock()
	<-e.done
	return nil
}
