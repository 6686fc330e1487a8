package transport

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/raftkv/raftkv/raft"
)

// accept takes connections until the listener is closed.
func (t *Transport) accept() {
	defer t.wg.Done()
	pending := make(chan struct{}, t.limits.MaxPending)
	pause := time.Duration(0)
	for {
		nc, err := t.listener.Accept()
		if err != nil {
			if t.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			// Out of descriptors, most likely: spinning would make it worse.
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			t.log.warn("accept", "peer connection was not accepted", "error", err)
			if !t.wait(pause) {
				return
			}
			continue
		}
		pause = 0
		t.counters.accepted.Add(1)
		select {
		case pending <- struct{}{}:
		default:
			nc.Close()
			t.counters.refused.Add(1)
			t.log.warn("pending", "peer connection closed: too many are in their handshake", "limit", t.limits.MaxPending)
			continue
		}
		t.wg.Add(1)
		// Owns the socket until the handshake gives it to a peer's manager, or to
		// the end of a fetch or an exchange. The socket closes with t.ctx.
		go func() {
			defer t.wg.Done()
			stop := context.AfterFunc(t.ctx, func() { nc.Close() })
			defer stop()
			release := func() { <-pending }
			t.receive(nc, release)
		}()
	}
}

// wait sleeps for d and tells whether the transport still runs.
func (t *Transport) wait(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-t.ctx.Done():
		return false
	}
}

// receive makes the handshake of an accepted connection. established is called
// once, when it no longer counts as pending.
func (t *Transport) receive(raw net.Conn, established func()) {
	done := false
	release := func() {
		if !done {
			done = true
			established()
		}
	}
	defer release()
	from := remoteHost(raw)
	c, err := t.welcome(raw)
	if err != nil {
		raw.Close()
		if t.ctx.Err() != nil {
			return
		}
		// One key a host: whoever sends nonsense gets one line, not one a try.
		t.log.warn("garbage "+from, "peer connection closed in its handshake", "from", raw.RemoteAddr().String(), "error", err)
		t.counters.garbage.Add(1)
		return
	}
	r := t.admit(c, release)
	if r == nil {
		return
	}
	t.counters.refused.Add(1)
	switch r.Code {
	case RefusedDuplicate, RefusedNotReady, RefusedSnapshot, RefusedSource: // usual, or logged where it was found
	default:
		t.log.warn(fmt.Sprintf("refuse %d %s %x", r.Code, from, c.hello.ID), "peer refused",
			"from", raw.RemoteAddr().String(), "peer", raft.NodeID(c.hello.ID), "name", c.hello.Name, "reason", r.Advice)
	}
	t.turnDown(c, r)
}

func remoteHost(nc net.Conn) string {
	host, _, err := net.SplitHostPort(nc.RemoteAddr().String())
	if err != nil {
		return nc.RemoteAddr().String()
	}
	return host
}

// welcome authenticates a stranger and reads the hello. All of it must be here
// within the handshake timeout.
func (t *Transport) welcome(raw net.Conn) (*candidate, error) {
	setSocketOptions(raw, t.limits.WriteTimeout)
	if err := raw.SetDeadline(time.Now().Add(t.limits.HandshakeTimeout)); err != nil {
		return nil, err
	}
	c := &candidate{raw: raw, nc: raw}
	in := bufio.NewReaderSize(raw, readBuffer)
	first, err := in.Peek(1)
	if err != nil {
		return nil, fmt.Errorf("nothing was sent: %w", err)
	}
	looksTLS := first[0] == 0x16
	if t.tls != nil {
		if !looksTLS {
			// Ours, but plain? Then it understands the refusal; others see bytes.
			t.turnDown(c, refuse(RefusedAuth, "this node takes TLS connections only; configure TLS on every node"))
			head, _ := in.Peek(min(in.Buffered(), frameHeader))
			return nil, fmt.Errorf("no TLS where TLS is configured (%s)", describePlain(head))
		}
		conf, err := t.tls.server()
		if err != nil {
			return nil, err
		}
		secure := tls.Server(prefixed{raw, in}, conf)
		ctx, cancel := context.WithTimeout(t.ctx, t.limits.HandshakeTimeout)
		defer cancel()
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, fmt.Errorf("TLS: %w", err)
		}
		c.nc = secure
		in = bufio.NewReaderSize(secure, readBuffer)
	} else if looksTLS {
		// A TLS dialler takes this for "no TLS over there", which is what it is.
		t.turnDown(c, refuse(RefusedAuth, "this node takes no TLS; configure TLS on every node or on none"))
		return nil, fmt.Errorf("%s: %w", describe([]byte{0x16, 3}), errFrame)
	}
	c.fr = &frameReader{r: in, max: maxHandshake}
	kind, body, err := c.fr.next()
	if err != nil {
		return nil, err
	}
	if kind != frameHello {
		return nil, fmt.Errorf("frame of kind %d in place of a hello: %w", kind, errFrame)
	}
	c.hello, err = decodeHello(newDecoder(), body)
	return c, err
}

// prefixed is a connection of which some bytes are already in a buffer.
type prefixed struct {
	net.Conn
	r io.Reader
}

func (p prefixed) Read(b []byte) (int, error) { return p.r.Read(b) }

func describePlain(h []byte) string {
	if len(h) >= 5 && h[4] == frameVersion {
		return "a raftkv node without TLS"
	}
	return describe(h)
}

// admit decides on a stranger that has said hello and serves it. It returns the
// refusal that the caller must send, or nil when the connection was taken over
// or is over.
func (t *Transport) admit(c *candidate, established func()) *RefusedError {
	w := &c.hello
	if c.version = commonVersion(w); c.version == 0 {
		return refuse(RefusedVersion, "it speaks protocol versions %d to %d, this node %d to %d; upgrade the older one", w.MinVersion, w.MaxVersion, minProtocol, maxProtocol)
	}
	if purpose(w.Purpose) == purposeExchange {
		return t.serveExchange(c) // short, and so it goes on counting as pending
	}
	id := t.identity()
	if id == nil {
		return refuse(RefusedNotReady, "this node has no identity yet; it is waiting for the cluster to be born or to be joined")
	}
	if r := t.check(id.self, w, raft.None); r != nil {
		return r
	}
	if raft.NodeID(w.To) != id.self.ID {
		return refuse(RefusedTarget, "this address leads to node %q (%v) and not to %v; check the peer addresses", id.self.Name, id.self.ID, raft.NodeID(w.To))
	}
	switch purpose(w.Purpose) {
	case purposeRaft:
		return t.admitPeer(id, c)
	case purposeFetch:
		established()
		return t.serveFetch(c)
	}
	return refuse(RefusedBytes, "unknown purpose %d; upgrade the older node", w.Purpose)
}

// admitPeer brings an accepted connection before the peer's manager. Where this
// node has the lower id the manager decides at once; else the other side does and
// says so with a go frame.
func (t *Transport) admitPeer(id *identity, c *candidate) *RefusedError {
	peer := raft.NodeID(c.hello.ID)
	if id.self.ID < peer {
		return t.offer(id, peer, offer{c: c})
	}
	// A stranger's manager could end while we wait, so this one is for the count only.
	if p := (*t.peers.Load())[peer]; p != nil {
		p.awaited.Add(1)
		defer func() {
			p.awaited.Add(-1)
			ring(p.ended) // it may dial again
		}()
	}
	epoch, err := t.awaitGo(c)
	if err != nil {
		c.close()
		// The other side took another connection: the usual end of two dials at once.
		if !errors.Is(err, io.EOF) && t.ctx.Err() == nil {
			t.log.warn("go "+peer.String(), "peer gave up its connection in the handshake", "peer", peer, "error", err)
		}
		return nil
	}
	return t.offer(id, peer, offer{c: c, epoch: epoch})
}

// awaitGo answers the hello and waits for the other side's decision.
func (t *Transport) awaitGo(c *candidate) (epoch uint64, err error) {
	hello, err := t.answer(&c.hello, c.version, 0)
	if err != nil {
		return 0, err
	}
	if _, err := c.nc.Write(hello); err != nil {
		return 0, err
	}
	body, err := expect(c, frameGo)
	if err != nil {
		return 0, err
	}
	var w wireGo
	err = newDecoder().value(body, &w)
	return w.Epoch, err
}

// offer gives the connection to the peer's manager and returns its verdict.
func (t *Transport) offer(id *identity, peer raft.NodeID, o offer) *RefusedError {
	verdict := make(chan *RefusedError, 1)
	o.verdict = verdict
	for {
		p, r := t.peerFor(id, peer)
		if r != nil {
			return r
		}
		select {
		case p.offers <- o:
			select {
			case r := <-verdict:
				return r
			case <-p.done:
				// The manager ended with the transport. If it took the connection, it
				// has closed it, and otherwise nobody wants it.
				o.c.close()
				return nil
			}
		case <-p.done:
			// The manager of a stranger ended at this moment: ask for a new one.
			if t.ctx.Err() != nil {
				o.c.close()
				return nil
			}
		}
	}
}
