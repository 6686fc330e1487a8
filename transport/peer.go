package transport

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/raftkv/raftkv/raft"
)

// peer is one other node. Its manager (run) owns which connection stands and
// makes every call of Connected, Unsent and Lost.
//
// Either node dials when it has no connection, so one open direction is enough.
// The node with the lower id decides: a connection stands when it says so, in its
// answer to a dial or with a go frame after its own, and each gets a number from
// it (epoch) that ascends. Two dials at once thus end in one connection, the same
// on both sides:
//
//	low dials:  hello ->            high dials:  hello ->
//	            <- hello                         <- hello(epoch)
//	            go(epoch) ->
//
// The lower node never gives a standing connection up for a new one of the same
// process, unless the other says in its hello that it knows the old one to be
// over; it refuses as a duplicate instead. The higher node takes a higher epoch,
// or any of a new process, in place of what it has.
//
// When a connection ends, the node redials at once, and Lost waits for what that
// tells: refused means that the process is gone, any answer that it lives.
type peer struct {
	t     *Transport
	ident *identity
	id    raft.NodeID
	q     *queue
	seq   *heardSeq
	stats peerCounters

	target atomic.Pointer[target]
	poke   chan struct{} // capacity 1: target changed
	ended  chan struct{} // capacity 1: a half of the link ended
	offers chan offer
	done   chan struct{} // closed when the manager has ended

	// awaited counts accepted connections whose go frame or verdict is to come: no
	// need to dial meanwhile.
	awaited atomic.Int32
}

// target says where the peer is dialled. The zero value is a stranger's.
type target struct {
	known bool   // it is a member
	addr  string // empty: not dialled
	name  string
	leave bool // it was removed: end the connection
}

func (t *target) member() bool { return t != nil && t.known }

// offer is an accepted connection that waits for the manager's word.
type offer struct {
	c       *candidate
	epoch   uint64               // of the peer's go frame, if the peer decides
	verdict chan<- *RefusedError // capacity 1; nil: taken over, or closed in peace
}

func newPeer(t *Transport, id *identity, peerID raft.NodeID) *peer {
	p := &peer{
		t: t, ident: id, id: peerID, q: newQueue(t.limits.QueueMessages, t.limits.QueueBytes), seq: t.heardSeqLocked(peerID),
		poke: make(chan struct{}, 1), ended: make(chan struct{}, 1), offers: make(chan offer), done: make(chan struct{}),
	}
	p.target.Store(&target{})
	return p
}

// aim sets the target and wakes the manager.
func (p *peer) aim(to *target) {
	if old := p.target.Load(); old != nil && *old == *to {
		return
	}
	p.target.Store(to)
	ring(p.poke)
}

// ring wakes whoever waits on a channel of capacity 1.
func ring(bell chan struct{}) {
	select {
	case bell <- struct{}{}:
	default:
	}
}

// manager is the state of run.
type manager struct {
	*peer
	link *link // that stands, or nil

	dialled chan dialResult    // capacity 1
	cancel  context.CancelFunc // of the dial under way, nil if there is none
	next    time.Time          // no dial before
	tries   int                // dials in vain since a connection last stood
	short   int                // connections in a row that did not last

	deadBoot, deadEpoch uint64 // what a hello says is over

	held   uint64    // connection that ended and is not yet reported as lost, 0 if none
	heldTo time.Time // when that is reported at the latest
}

type dialResult struct {
	c   *candidate
	err error
}

// lasting is how long a connection must stand to count as one that works. The
// first few that don't are redialled at once all the same.
const (
	lasting  = time.Second
	maxShort = 3
)

func (p *peer) run() {
	defer p.t.wg.Done()
	defer close(p.done)
	m := &manager{peer: p, dialled: make(chan dialResult, 1)}
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		timer.Reset(m.due())
		select {
		case <-p.t.ctx.Done():
			m.stop()
			return
		case <-p.poke:
			if p.target.Load().member() {
				m.next = time.Time{} // perhaps a new address
			}
		case <-p.ended: // onEnded looks
		case o := <-p.offers:
			m.onOffer(o)
		case d := <-m.dialled:
			m.onDialled(d)
		case <-timer.C:
			if m.held != 0 && !time.Now().Before(m.heldTo) {
				m.report(false)
			}
		}
		m.onEnded()
		if p.target.Load().leave && m.link != nil {
			m.finish(errors.New("the peer was removed from the cluster"))
			m.report(false)
		}
		if !p.target.Load().member() && m.link == nil && m.held == 0 && m.cancel == nil && p.t.forget(p) {
			return
		}
	}
}

// due starts a dial if it is time and returns how long to wait for the next thing to do.
func (m *manager) due() time.Duration {
	wait := time.Hour
	if to := m.target.Load(); to.addr != "" && m.link == nil && m.cancel == nil && m.awaited.Load() == 0 {
		if d := time.Until(m.next); d > 0 {
			wait = d
		} else {
			m.dial(to.addr)
		}
	}
	if m.held != 0 {
		wait = min(wait, max(0, time.Until(m.heldTo)))
	}
	return wait
}

func (m *manager) dial(addr string) {
	ctx, cancel := context.WithCancel(m.t.ctx)
	m.cancel = cancel
	in := intent{purpose: purposeRaft, to: m.id, addr: addr, deadBoot: m.deadBoot, deadEpoch: m.deadEpoch}
	m.stats.dials.Add(1)
	// Owns the socket until it is in the result. Ends with ctx or the handshake
	// timeout; the manager always takes the result before it ends.
	go func() {
		c, err := m.t.connect(ctx, in)
		m.dialled <- dialResult{c, err}
	}()
}

// decides tells whether this node is the one that decides on connections.
func (p *peer) decides() bool { return p.ident.self.ID < p.id }

func (m *manager) onDialled(d dialResult) {
	m.cancel()
	m.cancel = nil
	if d.err != nil {
		m.onDialError(d.err)
		return
	}
	switch {
	case !m.decides() && d.c.hello.Epoch == 0:
		m.t.turnDown(d.c, refuse(RefusedBytes, "the answer of the lower id names no epoch"))
		m.backOff()
	case m.decides() && m.alive() || !m.decides() && m.holdsNewer(&d.c.hello, d.c.hello.Epoch):
		d.c.close() // another one came first
	case m.twin(&d.c.hello):
		m.t.turnDown(d.c, m.twinRefusal())
		m.backOff()
	default:
		m.stand(d.c, d.c.hello.Epoch, m.decides(), nil)
	}
}

func (m *manager) onDialError(err error) {
	if m.link != nil || m.t.ctx.Err() != nil {
		return // overtaken: nobody waits for this dial
	}
	addr := m.target.Load().addr
	var r *RefusedError
	switch {
	case errors.As(err, &r) && r.Code == RefusedDuplicate:
		m.report(false)
		// The connection that it means is either about to reach us or over.
		if m.awaited.Load() == 0 {
			m.deadBoot, m.deadEpoch = r.boot, r.epoch
		}
		m.next = time.Now().Add(jitter(m.t.limits.RetryMin))
	case errors.As(err, &r):
		m.report(false)
		m.backOff()
		if r.Code != RefusedNotReady {
			m.stats.refusal.Store(&r.Advice)
			m.t.log.warn("dial "+m.id.String(), "connection with peer refused", "peer", m.id.String(), "addr", addr, "reason", r.Advice)
			if m.t.cfg.OnRefused != nil && r.theirs {
				m.t.cfg.OnRefused(m.id, r.Code, r.Advice)
			}
		}
	case errors.Is(err, syscall.ECONNREFUSED):
		m.report(true)
		m.backOff()
		m.t.log.info("dial "+m.id.String(), "peer not reached", "peer", m.id.String(), "addr", addr, "error", err)
	case m.held != 0 && (errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.ErrUnexpectedEOF)):
		// A process that dies closes its sockets one by one: its listener may take a
		// last connection. Ask again; held bounds for how long.
		m.next = time.Now().Add(2 * time.Millisecond)
	default:
		m.backOff()
		m.t.log.info("dial "+m.id.String(), "peer not reached", "peer", m.id.String(), "addr", addr, "error", err)
	}
}

// backOff sets the time of the next dial: doubling from RetryMin to RetryMax, with jitter.
func (m *manager) backOff() {
	d := m.t.limits.RetryMin << min(m.tries, 20)
	m.tries++
	m.next = time.Now().Add(jitter(min(d, m.t.limits.RetryMax)))
}

// jitter is between half of d and d.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }

// alive tells whether a connection stands that has not ended.
func (m *manager) alive() bool {
	if m.link == nil {
		return false
	}
	select {
	case <-m.link.stop:
		return false
	default:
		return true
	}
}

// holdsNewer tells whether the standing connection is to be kept against one
// that the deciding peer numbered epoch.
func (m *manager) holdsNewer(w *wireHello, epoch uint64) bool {
	return m.alive() && m.link.hello.Boot == w.Boot && m.link.epoch >= epoch
}

// twin tells whether w comes from another process than the standing connection,
// which spoke within an election timeout. A restart is not taken for one: its old
// connection has ended.
func (m *manager) twin(w *wireHello) bool {
	return m.alive() && m.link.hello.Boot != w.Boot &&
		time.Since(m.t.began)-time.Duration(m.link.heardAt.Load()) < m.t.cfg.ElectionTimeout
}

func (m *manager) twinRefusal() *RefusedError {
	return refuse(RefusedTwin, "two processes run with the identity of node %q (%v); stop the one whose data directory is a copy", m.link.hello.Name, m.id)
}

func (m *manager) onOffer(o offer) {
	m.onEnded()
	w := &o.c.hello
	switch {
	case m.twin(w):
		o.verdict <- m.twinRefusal()
	case m.decides() && m.alive() && m.link.hello.Boot == w.Boot &&
		(w.DeadBoot != m.ident.self.Boot || w.DeadEpoch < m.link.epoch):
		r := refuse(RefusedDuplicate, "a connection with node %q stands already", w.Name)
		r.boot, r.epoch = m.ident.self.Boot, m.link.epoch
		o.verdict <- r
	case !m.decides() && m.holdsNewer(w, o.epoch):
		o.c.close()
		o.verdict <- nil
	case m.decides() && hungUp(o.c.raw):
		// The hello of a dial that was given up, perhaps by a process that is gone
		// since. As a connection it would say that the peer lives.
		o.c.close()
		o.verdict <- nil
	default:
		m.stand(o.c, o.epoch, false, w)
		o.verdict <- nil
	}
}

// stand makes c the connection of this peer. Where this node decides, the other
// learns so from the first frame: go after our dial, else the answer to w.
func (m *manager) stand(c *candidate, epoch uint64, weDialled bool, w *wireHello) {
	if m.link != nil {
		m.finish(errReplaced)
	}
	m.report(false)
	conn := m.t.conns.Add(1)
	var first []byte
	if m.decides() {
		epoch = conn
		if weDialled {
			first = goFrame(epoch)
		} else {
			var err error
			if first, err = m.t.answer(w, c.version, epoch); err != nil {
				panic(err) // our own hello: a wrong program
			}
		}
	}
	if m.cancel != nil {
		m.cancel() // its result finds this link and is dropped
	}
	_ = c.raw.SetDeadline(time.Time{}) // an error shows at the first read
	c.fr.max = m.t.limits.MaxFrame
	m.link = &link{
		candidate: c, conn: conn, epoch: epoch, peer: m.id, self: m.ident.self.ID,
		maxBody: max(frameFloor, min(m.t.limits.MaxFrame, int(c.hello.MaxFrame))),
		q:       m.q, h: m.ident.h, stats: &m.stats, log: m.t.log,
		timeout: m.t.limits.WriteTimeout, plain: c.nc == c.raw, clock: func() time.Duration { return time.Since(m.t.began) },
		seq: &m.seq.Uint64, stop: make(chan struct{}), stood: time.Now(),
	}
	m.link.heardAt.Store(int64(m.link.clock()))
	m.stats.refusal.Store(nil)
	m.stats.connected.Store(m.link)
	m.stats.connects.Add(1)
	m.t.log.info("connected "+m.id.String(), "peer connected", "peer", m.id.String(), "name", c.hello.Name, "addr", c.raw.RemoteAddr().String(), "conn", conn)
	m.ident.h.Heard(m.id, c.hello.Heard)
	m.q.open(conn, m.link.maxBody)
	m.ident.h.Connected(m.id, conn)
	m.link.start(first, func() { ring(m.ended) })
}

// onEnded deals with a link that ended by itself: it prepares the redial that
// tells whether the peer is gone.
func (m *manager) onEnded() {
	if m.link == nil || m.alive() {
		return
	}
	l := m.link
	m.finish(nil)
	m.t.log.info("lost "+m.id.String(), "peer connection ended", "peer", m.id.String(), "name", l.hello.Name, "conn", l.conn, "reason", l.cause)
	m.tries, m.next = 0, time.Time{}
	if m.short++; time.Since(l.stood) >= lasting {
		m.short = 0
	} else if m.short > maxShort {
		// It breaks again and again: don't spin. But ask within the gone window.
		d := min(m.t.limits.RetryMin<<min(m.short-maxShort, 20), m.t.limits.RetryMax, m.t.limits.GoneWindow/4)
		m.next = time.Now().Add(jitter(d))
	}
	if m.target.Load().addr == "" {
		m.report(false)
	}
}

// finish ends the link, waits for both halves, tells of unsent packets and holds
// the report of the loss.
func (m *manager) finish(cause error) {
	l := m.link
	m.link = nil
	m.stats.connected.Store(nil)
	m.q.shut()
	l.end(cause)
	l.halves.Wait()
	dropped, queued := m.q.drain()
	m.stats.dropped.Add(uint64(dropped + l.lost))
	if !m.decides() {
		m.deadBoot, m.deadEpoch = l.hello.Boot, l.epoch
	}
	if m.t.ctx.Err() != nil {
		return // Close: nobody is told
	}
	for _, p := range append(l.unsent, queued...) {
		m.ident.h.Unsent(m.id, p.token)
	}
	m.held, m.heldTo = l.conn, time.Now().Add(m.t.limits.GoneWindow)
}

// report tells of a held loss.
func (m *manager) report(gone bool) {
	if m.held == 0 {
		return
	}
	conn := m.held
	m.held = 0
	if m.t.ctx.Err() == nil {
		m.ident.h.Lost(m.id, conn, gone)
	}
}

// stop ends everything without a word to the handler.
func (m *manager) stop() {
	if m.cancel != nil {
		m.cancel()
		if d := <-m.dialled; d.c != nil {
			d.c.close()
		}
	}
	if m.link != nil {
		m.finish(errors.New("transport closed"))
	}
}
