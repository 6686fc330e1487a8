package transport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/raftkv/raftkv/raft"
)

// Handler is what a Transport calls, on its own goroutines; node.Handler has the
// same methods. Calls may block only briefly: nothing of that peer moves meanwhile.
//
// A connection has a number, fresh for each connection of this process, and is
// used in both directions. For one peer the calls come in this order:
//
//	Heard, Connected(conn), then Received and Packet of conn in any order,
//	then Unsent of packets meant for conn, then Lost(conn), then the next Heard
//
// After Close has returned nothing is called; connections that Close ends are
// not reported as lost.
type Handler interface {
	// Received hands over messages of one peer and the slice. Entries' data share one
	// buffer a frame and must not be changed.
	Received(ms []raft.Message)
	// Packet hands over what a peer's SendPacket sent over the connection conn. The
	// bytes belong to the handler. If SendPacket of the reply returns the same conn,
	// the asker gets it or learns that its own end of conn is lost.
	Packet(from raft.NodeID, conn uint64, b []byte)
	// Unsent tells that no byte of a queued packet was written, nor will be.
	Unsent(to raft.NodeID, token uint64)
	// Connected tells that conn stands and that Send and SendPacket use it.
	Connected(peer raft.NodeID, conn uint64)
	// Heard tells the highest Message.Seq that the peer's process had from this
	// node when it greeted.
	Heard(peer raft.NodeID, seq uint64)
	// Lost tells, once for each Connected, that the connection ended: what was sent
	// over it and not answered is unknown. gone: dialling again was refused, so the
	// peer's process is dead. It comes within Limits.GoneWindow of the end.
	Lost(peer raft.NodeID, conn uint64, gone bool)
}

// Transport carries messages between this node and its peers. Its methods may be
// called from any goroutine.
type Transport struct {
	cfg      Config
	limits   Limits
	listener net.Listener
	dialer   net.Dialer
	tls      *credentials // nil: plain
	log      *rateLog
	began    time.Time
	counters counters
	fetches  chan struct{} // a place for each snapshot that is served

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup // every goroutine
	conns  atomic.Uint64  // number of the last connection

	ident atomic.Pointer[identity]                  // nil before Start
	peers atomic.Pointer[map[raft.NodeID]*peer]     // replaced, never changed
	heard atomic.Pointer[map[raft.NodeID]*heardSeq] // the same

	mu      sync.Mutex // over changes of ident, peers, heard and members
	members *raft.Configuration
	closed  bool
}

type identity struct {
	self Hello
	h    Handler
}

// heardSeq is the highest Message.Seq ever heard of one node.
type heardSeq struct{ atomic.Uint64 }

// Listen binds the address and answers exchanges at once; everything else waits
// for Start. An address that is taken gives an error that wraps syscall.EADDRINUSE.
func Listen(cfg Config) (*Transport, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.ElectionTimeout == 0 {
		cfg.ElectionTimeout = 500 * time.Millisecond
	}
	t := &Transport{cfg: cfg, limits: cfg.Limits.withDefaults(), log: newRateLog(cfg.Logger), began: time.Now()}
	t.fetches = make(chan struct{}, t.limits.MaxFetches)
	t.peers.Store(&map[raft.NodeID]*peer{})
	t.heard.Store(&map[raft.NodeID]*heardSeq{})
	if cfg.TLS != nil {
		creds, err := loadCredentials(*cfg.TLS, t.log)
		if err != nil {
			return nil, err
		}
		t.tls = creds
	}
	keep := net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second, Count: 4}
	t.dialer.KeepAliveConfig = keep
	if cfg.DialFrom != "" {
		t.dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(cfg.DialFrom)}
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	lc := net.ListenConfig{KeepAliveConfig: keep}
	listener, err := lc.Listen(t.ctx, "tcp", cfg.Listen)
	if err != nil {
		t.cancel()
		return nil, fmt.Errorf("listen for peers on %s: %w; free the address or choose another", cfg.Listen, err)
	}
	t.listener = listener
	t.wg.Add(1)
	go t.accept() // owns the listener; Close ends it and waits
	return t, nil
}

// Addr is where the listener is bound.
func (t *Transport) Addr() net.Addr { return t.listener.Addr() }

// Advertise is where others reach this node.
func (t *Transport) Advertise() string {
	if t.cfg.Advertise != "" {
		return t.cfg.Advertise
	}
	return t.listener.Addr().String()
}

// Start begins peer connections as self and hands what comes to h. It may be
// called once; an error means that self is not complete.
func (t *Transport) Start(self Hello, h Handler) error {
	if err := self.validate(); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ident.Load() != nil || t.closed {
		return errors.New("transport: started twice or after Close")
	}
	t.ident.Store(&identity{self: self, h: h})
	t.applyMembers()
	return nil
}

func (t *Transport) identity() *identity { return t.ident.Load() }

// SetMembers tells whom to keep connections with. It doesn't block and may come
// before Start. The connection of a node that left stays until it ends by
// itself, unless Config.Removed lists the node: so call it again when a removal
// is committed.
func (t *Transport) SetMembers(c raft.Configuration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.members = &c
	t.applyMembers()
}

// applyMembers runs under mu.
func (t *Transport) applyMembers() {
	id := t.ident.Load()
	if id == nil || t.members == nil || t.closed {
		return
	}
	for _, m := range t.members.Members {
		if m.ID == id.self.ID || m.ID == raft.None {
			continue
		}
		addr := m.Peer
		if t.cfg.Addr != nil {
			addr = t.cfg.Addr(m)
		}
		p := (*t.peers.Load())[m.ID]
		if p == nil {
			p = t.addPeer(id, m.ID)
		}
		p.aim(&target{known: true, addr: addr, name: m.Name})
	}
	for pid, p := range *t.peers.Load() {
		if _, ok := t.members.Find(pid); !ok {
			p.aim(&target{leave: t.cfg.Removed != nil && t.cfg.Removed(pid)})
		}
	}
}

// addPeer makes a peer and starts its manager. It runs under mu.
func (t *Transport) addPeer(id *identity, peer raft.NodeID) *peer {
	p := newPeer(t, id, peer)
	next := maps.Clone(*t.peers.Load())
	next[peer] = p
	t.peers.Store(&next)
	t.wg.Add(1)
	go p.run() // owns the peer's connection; ends with t.ctx, or as a stranger's with its connection
	return p
}

// peerFor returns the peer of an incoming connection, a new one for a stranger.
func (t *Transport) peerFor(id *identity, peer raft.NodeID) (*peer, *RefusedError) {
	t.mu.Lock()
	defer t.mu.Unlock()
	peers := *t.peers.Load()
	if p := peers[peer]; p != nil {
		return p, nil
	}
	strangers := 0
	for _, p := range peers {
		if !p.target.Load().member() {
			strangers++
		}
	}
	if strangers >= t.limits.MaxStrangers || t.closed {
		return nil, refuse(RefusedBusy, "%d nodes that are not members are connected already; try again later", strangers)
	}
	return t.addPeer(id, peer), nil
}

// forget ends a stranger's peer, unless it has become a member meanwhile. The
// caller is its manager, without a connection.
func (t *Transport) forget(p *peer) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p.target.Load().member() {
		return false
	}
	next := maps.Clone(*t.peers.Load())
	delete(next, p.id)
	t.peers.Store(&next)
	return true
}

// maxHeard bounds the nodes whose Seq is remembered. One more is not noted,
// which only means that an older copy of its disk is not noticed here.
const maxHeard = 4096

// heardSeqLocked is where the highest Seq of a node is kept for the life of the process.
func (t *Transport) heardSeqLocked(id raft.NodeID) *heardSeq {
	known := *t.heard.Load()
	if s := known[id]; s != nil {
		return s
	}
	s := new(heardSeq)
	if len(known) < maxHeard {
		next := maps.Clone(known)
		next[id] = s
		t.heard.Store(&next)
	}
	return s
}

func (t *Transport) heardOf(id raft.NodeID) uint64 {
	if s := (*t.heard.Load())[id]; s != nil {
		return s.Load()
	}
	return 0
}

// Send queues messages for the nodes that they name. It never blocks; a message
// for which there is no connection or no room is dropped and counted. Entries
// are encoded later and must not change.
func (t *Transport) Send(ms []raft.Message) {
	peers := *t.peers.Load()
	for i := range ms {
		p := peers[ms[i].To]
		if p == nil {
			t.counters.homeless.Add(1)
		} else if !p.q.put(&ms[i]) {
			p.stats.dropped.Add(1)
		}
	}
}

// SendPacket queues b, which must not change from now on, for a peer. It never
// blocks. On an error no byte of it was or will be written (ErrNotConnected,
// ErrQueueFull, ErrTooLarge). Else conn is the connection that it is written to,
// once and in the order of the calls; its answer comes over the same one. If no
// byte could be written before conn was lost, Handler.Unsent(to, token) comes
// before Lost(to, conn); a packet without Unsent is unknown when Lost comes.
func (t *Transport) SendPacket(to raft.NodeID, token uint64, b []byte) (conn uint64, err error) {
	p := (*t.peers.Load())[to]
	if p == nil {
		return 0, ErrNotConnected
	}
	conn, err = p.q.putPacket(packet{token: token, data: b})
	if err != nil {
		p.stats.refused.Add(1)
	}
	return conn, err
}

// Close ends every connection and goroutine and waits for them.
func (t *Transport) Close() error {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	// The listener first: a peer that sees its connection end and dials again must
	// be refused and not be let in by a node that is leaving.
	err := t.listener.Close()
	t.cancel()
	t.wg.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil // closed before
	}
	return err
}
