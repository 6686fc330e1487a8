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

// intent is what a dialler wants.
type intent struct {
	purpose   purpose
	to        raft.NodeID // None in an exchange
	addr      string
	deadBoot  uint64
	deadEpoch uint64
}

// errNotStarted means that this node has no identity yet.
var errNotStarted = errors.New("transport is not started: the node has no identity yet")

// connect dials, authenticates and greets, within the handshake timeout. The
// candidate that it returns has that deadline still. A refusal comes as
// *RefusedError, be it theirs or ours.
func (t *Transport) connect(ctx context.Context, in intent) (*candidate, error) {
	ctx, cancel := context.WithTimeout(ctx, t.limits.HandshakeTimeout)
	defer cancel()
	raw, err := t.dialer.DialContext(ctx, "tcp", in.addr)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", in.addr, err)
	}
	// A context that ends closes the socket, which ends whatever waits on it.
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	c, err := t.greet(ctx, raw, in)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		raw.Close()
		if cause := context.Cause(ctx); cause != nil && !isRefusal(err) {
			err = cause
		}
		return nil, fmt.Errorf("handshake with %s: %w", in.addr, err)
	}
	return c, nil
}

func isRefusal(err error) bool {
	var r *RefusedError
	return errors.As(err, &r)
}

func (t *Transport) greet(ctx context.Context, raw net.Conn, in intent) (*candidate, error) {
	setSocketOptions(raw, t.limits.WriteTimeout)
	if err := raw.SetDeadline(time.Now().Add(t.limits.HandshakeTimeout)); err != nil {
		return nil, err
	}
	nc := raw
	if t.tls != nil {
		conf, err := t.tls.client()
		if err != nil {
			return nil, err
		}
		secure := tls.Client(raw, conf)
		if err := secure.HandshakeContext(ctx); err != nil {
			var plain tls.RecordHeaderError
			if errors.As(err, &plain) {
				return nil, refuse(RefusedAuth, "the other side speaks no TLS; configure TLS on every node or on none")
			}
			return nil, fmt.Errorf("TLS: %w", err)
		}
		nc = secure
	}
	body, err := t.greeting(in)
	if err != nil {
		return nil, err
	}
	if _, err := nc.Write(appendFrame(nil, frameHello, body)); err != nil {
		return nil, err
	}
	fr := &frameReader{r: bufio.NewReaderSize(nc, readBuffer), max: maxHandshake}
	kind, answer, err := fr.next()
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = fmt.Errorf("the other side closed the connection without an answer: %w", io.ErrUnexpectedEOF)
		}
		return nil, err
	}
	dec := newDecoder()
	switch kind {
	case frameRefusal:
		var w wireRefusal
		if err := dec.value(answer, &w); err != nil {
			return nil, err
		}
		return nil, w.error()
	case frameHello:
	default:
		return nil, fmt.Errorf("frame of kind %d in place of a hello: %w", kind, errFrame)
	}
	hello, err := decodeHello(dec, answer)
	if err != nil {
		return nil, err
	}
	c := &candidate{raw: raw, nc: nc, fr: fr, hello: hello, version: hello.Version}
	if v := hello.Version; v < minProtocol || v > maxProtocol {
		return nil, t.turnDown(c, refuse(RefusedVersion, "protocol version %d was chosen, this binary speaks %d to %d; upgrade the older node", v, minProtocol, maxProtocol))
	}
	if in.purpose == purposeExchange {
		return c, nil
	}
	if r := t.check(t.identity().self, &hello, in.to); r != nil {
		return nil, t.turnDown(c, r)
	}
	return c, nil
}

// greeting is the body of the dialler's hello.
func (t *Transport) greeting(in intent) ([]byte, error) {
	w := wireHello{
		Magic: helloMagic, MinVersion: minProtocol, MaxVersion: maxProtocol,
		Purpose: uint8(in.purpose), To: uint64(in.to), DeadBoot: in.deadBoot, DeadEpoch: in.deadEpoch,
		MaxFrame: uint32(t.limits.MaxFrame),
	}
	if in.purpose != purposeExchange {
		id := t.identity()
		if id == nil {
			return nil, errNotStarted
		}
		t.sign(&w, id.self, in.to)
	}
	return newEncoder().append(nil, &w, maxHandshake)
}

// sign fills in who self is and what it heard of the other.
func (t *Transport) sign(w *wireHello, self Hello, other raft.NodeID) {
	w.Cluster, w.Node, w.ID = self.Cluster[:], self.Node[:], uint64(self.ID)
	w.Name, w.Addr, w.Boot = self.Name, t.Advertise(), self.Boot
	w.MinLevel, w.MaxLevel = self.MinLevel, self.MaxLevel
	w.Heard = t.heardOf(other)
}

// answer is the frame of the acceptor's hello.
func (t *Transport) answer(theirs *wireHello, version uint8, epoch uint64) ([]byte, error) {
	w := wireHello{
		Magic: helloMagic, MinVersion: minProtocol, MaxVersion: maxProtocol, Version: version,
		Purpose: theirs.Purpose, To: theirs.ID, MaxFrame: uint32(t.limits.MaxFrame), Epoch: epoch,
	}
	if id := t.identity(); id != nil && purpose(theirs.Purpose) != purposeExchange {
		t.sign(&w, id.self, raft.NodeID(theirs.ID))
	}
	body, err := newEncoder().append(nil, &w, maxHandshake)
	if err != nil {
		return nil, err
	}
	return appendFrame(nil, frameHello, body), nil
}

func goFrame(epoch uint64) []byte {
	body, err := newEncoder().append(nil, &wireGo{Epoch: epoch}, 16)
	if err != nil {
		panic(err) // a struct of one number: a wrong program
	}
	return appendFrame(nil, frameGo, body)
}

// turnDown sends a refusal, closes the connection and returns r. It lingers a
// moment, because a close with unread bytes would reset the connection and could
// take the refusal with it.
func (t *Transport) turnDown(c *candidate, r *RefusedError) *RefusedError {
	defer c.close()
	body, err := newEncoder().append(nil, &wireRefusal{Code: uint8(r.Code), Advice: r.Advice, Boot: r.boot, Epoch: r.epoch}, maxHandshake)
	if err != nil {
		return r
	}
	if err := c.raw.SetDeadline(time.Now().Add(min(t.limits.HandshakeTimeout, lingerTime))); err != nil {
		return r
	}
	if _, err := c.nc.Write(appendFrame(nil, frameRefusal, body)); err != nil {
		return r
	}
	if tcp, ok := c.raw.(*net.TCPConn); ok && tcp.CloseWrite() == nil {
		_, _ = io.CopyN(io.Discard, c.raw, maxExchange)
	}
	return r
}

// lingerTime is how long a refused connection is read to its end at most.
const lingerTime = 250 * time.Millisecond

// readBuffer is the size of the buffer before a socket.
const readBuffer = 64 << 10
