package resp

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/raftkv/raftkv/node"
	wire "github.com/raftkv/raftkv/resp"
	"github.com/raftkv/raftkv/server/access"
	"github.com/raftkv/raftkv/statemachine"
)

// conn is one client. The reader goroutine owns every field but those of the
// second group.
type conn struct {
	srv *Server
	nc  net.Conn
	rd  *wire.Reader
	sub Submitter
	w   wire.Writer // of one reply that is made here; its Proto is the connection's

	id       uint64
	since    time.Time
	user     *access.User  // nil: it must authenticate
	users    *access.Users // that user is one of
	checked  bool          // requests must be permitted
	stale    bool          // READONLY
	subs     names         // channels
	track    tracking
	psubs    names    // patterns of channels
	subBytes int      // of the names in both
	mute     mute     // CLIENT REPLY
	newest   *command // the last one that was understood
	slow     *slow    // notes on the one under way, if it may be slow
	monitors bool
	bounded  bool // the socket has a deadline for reading
	last     bool // close after the reply under way
	ended    bool // the client sends nothing more

	req   request
	batch []node.Request
	slots []slot // of the batch, and of what is answered here
	arena []byte // of the data of the batch
	next  uint64 // number of the first slot in slots

	multi      *multi // nil outside of MULTI
	watches    []watched
	watchBytes int

	room, bytes, perRead int // what may still be added before the ring must be asked

	submitCtx context.Context
	timer     *time.Timer // cancels submitCtx; nil when it has
	commands  int         // understood since the last flush

	// Shared.
	shared   shared
	ring     *ring
	ctx      context.Context
	cancel   context.CancelFunc
	stopping atomic.Bool
}

func newConn(s *Server, nc net.Conn, id uint64) *conn {
	c := &conn{srv: s, nc: nc, id: id, since: time.Now()}
	c.w.Proto = 2
	c.rd = wire.NewReader(nc, s.limits())
	c.ring = newRing(s.cfg.Pipeline, s.cfg.OutputBytes)
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.req.srv = s
	c.shared.proto.Store(2)
	c.shared.at.Store(c.since.UnixNano())
	c.refreshUser(s.access.Now())
	return c
}

// Deliver fills reply slots; node.Sink.
func (c *conn) Deliver(replies []node.Reply) {
	if c.ring.fill(replies) {
		c.srv.stats.slow.Add(1)
		c.kill()
	}
}

// stop makes the reader take no more requests. What was taken is answered.
func (c *conn) stop() {
	c.stopping.Store(true)
	c.nc.SetReadDeadline(time.Unix(1, 0))
}

// kill ends the connection at once.
func (c *conn) kill() {
	c.cancel()
	c.nc.Close()
}

// handshakeTimeout bounds a TLS handshake.
const handshakeTimeout = 10 * time.Second

// serve runs the connection to its end.
func (c *conn) serve() {
	defer c.cancel()
	defer c.nc.Close()
	if t, ok := c.nc.(*tls.Conn); ok {
		ctx, cancel := context.WithTimeout(c.ctx, handshakeTimeout)
		err := t.HandshakeContext(ctx)
		cancel()
		if err != nil {
			return
		}
	}
	c.sub = c.srv.backend.Connect(c)
	defer c.sub.Close()

	written := make(chan struct{})
	// Owns the writing half of the socket. Stops when the reader has ended and all
	// replies are sent, or when the client takes none. This function waits for it.
	go func() {
		defer close(written)
		c.write()
	}()
	graceful := c.read()
	c.unsubscribeAll()
	c.unmonitor()
	c.untrack()
	if !graceful {
		c.kill() // nobody is there to take a reply
	}
	c.ring.end()
	<-written
	if graceful {
		c.linger()
	}
}

// linger lets the client take the last replies: closing a socket with unread
// input resets it and may destroy them. A client that has ended its half has sent
// all it will, and one that is stopped by us may not know of its end for long.
func (c *conn) linger() {
	wait := 200 * time.Millisecond
	switch {
	case c.ended:
		return
	case c.last:
		wait = time.Second
	}
	half, ok := c.nc.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	c.nc.SetReadDeadline(time.Now().Add(wait))
	io.Copy(io.Discard, io.LimitReader(c.nc, 1<<20))
}

// read takes requests until the client ends, says QUIT, breaks the protocol or is
// cut off. graceful: replies that are due should still be sent.
func (c *conn) read() (graceful bool) {
	for {
		switch idle := time.Duration(c.srv.idle.Load()); {
		case c.user == nil:
			c.nc.SetReadDeadline(c.since.Add(c.srv.cfg.AuthTimeout))
			c.bounded = true
		case idle > 0 && c.subscribed() == 0:
			c.nc.SetReadDeadline(time.Now().Add(idle))
			c.bounded = true
		case c.bounded:
			c.nc.SetReadDeadline(time.Time{})
			c.bounded = false
		}
		if c.stopping.Load() {
			return true // checked behind SetReadDeadline, which may have undone stop's
		}
		if err := c.rd.Fill(); err != nil {
			c.ended = errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
			return c.ended || errors.Is(err, os.ErrDeadlineExceeded)
		}
		for !c.last {
			if !c.reserve() {
				return false
			}
			args, ok, err := c.rd.Next()
			if err != nil {
				c.refuse(err)
				continue
			}
			if !ok {
				break
			}
			if !c.handle(args) {
				return false
			}
		}
		if !c.flush() {
			return false
		}
		if c.last {
			return true
		}
	}
}

// refuse answers a request that could not be read.
func (c *conn) refuse(err error) {
	text := "ERR " + err.Error()
	var big *wire.TooBigError
	switch {
	case errors.As(err, &big) && big.What == "argument":
		text += " (limits.value_bytes)"
	case errors.As(err, &big):
		text += " (limits.command_bytes)"
	default:
		c.srv.stats.protocol.Add(1)
		c.last = true
	}
	c.w.Error(text)
	c.answer()
}

// handle gives one request its slot. It returns false if the connection is over.
func (c *conn) handle(args [][]byte) bool {
	if is(args[0], "post") || is(args[0], "host:") {
		// A web page made a browser talk to us (BI-15): what comes next is not a client's.
		c.srv.stats.protocol.Add(1)
		if c.srv.browser.may(time.Now()) {
			c.srv.cfg.Log.Warn("possible attack: an HTTP request came to the port of clients; connection closed; more of them are told once a minute",
				"remote", c.nc.RemoteAddr().String())
		}
		return false
	}
	if now := c.srv.access.Now(); now != c.users && !c.refreshUser(now) {
		return false
	}
	cmd, text := c.srv.table.lookup(args)
	if text != "" {
		c.rejected(args[0], text)
		return true
	}
	c.commands++
	c.newest = cmd
	if c.checked && !c.permitted(cmd, args) {
		return true
	}
	if c.srv.cfg.Moved && (!c.stale || cmd.flags&fWrite != 0) {
		if text, ok := c.moved(cmd, args); ok {
			c.rejected(args[0], text)
			return true
		}
	}
	if c.srv.monitored.Load() {
		c.srv.show(c, cmd, args)
	}
	if c.srv.slowlog.threshold.Load() >= 0 && cmd.flags&fAdmin == 0 && cmd.group != "connection" {
		c.slow = c.srv.slowlog.begin(c, args)
	}
	if c.multi != nil && cmd.flags&fNow == 0 {
		c.queue(cmd, args)
		return true
	}
	if cmd.run != nil {
		return cmd.run(c, args)
	}
	if cmd.local != nil {
		if cmd.flags&fBlocks != 0 && !c.flush() {
			return false
		}
		cmd.local(c, args)
		c.answer()
		return true
	}
	r := c.start(args)
	if text := cmd.parse(r); text != "" {
		c.w.Error(text)
		c.answer()
		return true
	}
	if r.done != nil {
		r.done(&c.w)
		c.answer()
		return true
	}
	c.request(cmd, r)
	return true
}

// request adds a command for the node to the batch.
func (c *conn) request(cmd *command, r *request) {
	kind := node.Write
	switch {
	case !r.cmd.Op.ReadOnly():
	case r.stale:
		kind = node.StaleRead
	default:
		kind = node.Read
	}
	if c.track.on && c.multi == nil {
		c.noteKeys(queued{cmd, r.args})
		c.track.caching = 0
	}
	data := c.encode(r.cmd)
	if r.told != nil {
		cmd = r.told
	}
	c.batch = append(c.batch, node.Request{Kind: kind, Data: data, Slot: c.next + uint64(len(c.slots))})
	s := slot{cmd: cmd, aux: r.aux, proto: int8(c.w.Proto), read: kind != node.Write, mute: c.mute.take(), bytes: len(data), slow: c.slow, parts: r.parts}
	c.slow = nil
	c.slots = append(c.slots, s)
	c.room--
	c.bytes -= len(data)
	if s.read {
		c.bytes -= c.perRead
	}
}

// encode makes the bytes of a command. Those of one read share an array: they go
// the same way at the same time.
func (c *conn) encode(cmd statemachine.Command) []byte {
	const arenaMax = 16 << 10
	size := statemachine.EncodedSize(cmd) // exactly: a write's stay in the log for long
	if cap(c.arena)-len(c.arena) < size {
		c.arena = make([]byte, 0, max(size, min(arenaMax, c.rd.Buffered())))
	}
	from := len(c.arena)
	c.arena = statemachine.AppendCommand(c.arena, cmd)
	return c.arena[from:len(c.arena):len(c.arena)]
}

// answer gives what is in c.w the next slot.
func (c *conn) answer() {
	s := slot{done: true, last: c.last, bytes: c.w.Len()}
	switch string(c.w.Bytes()) {
	case replyOK:
		s.local = c.srv.ok
	case replyPong:
		s.local = c.srv.pong
	default:
		s.local = append([]byte{}, c.w.Bytes()...)
	}
	// That a subscription began or ended is no reply to Redis: CLIENT REPLY is not about it.
	push := c.newest != nil && strings.HasSuffix(c.newest.name, "subscribe")
	s.mute, s.slow = c.mute.take() && !push, c.slow
	c.slow = nil
	c.w.Reset(4 << 10)
	c.slots = append(c.slots, s)
	c.room--
	c.bytes -= s.bytes
}

// The commonest replies, which every connection shares.
const (
	replyOK   = "+OK\r\n"
	replyPong = "+PONG\r\n"
)

// reserve makes sure that one more slot may be taken. While there is no room it
// hands over what there is and waits: this is what makes a client that doesn't
// read stand still.
func (c *conn) reserve() bool {
	if c.room > 0 && c.bytes > 0 {
		return true
	}
	if !c.flush() {
		return false
	}
	for {
		if c.room, c.bytes, c.perRead = c.ring.credit(); c.room > 0 && c.bytes > 0 {
			return true
		}
		for c.ring.wantRoom() {
			select {
			case <-c.ring.room:
			case <-c.ctx.Done():
				return false
			}
		}
	}
}

// flush hands the slots to the writer and the batch to the node, in this order:
// replies may come before Submit returns.
func (c *conn) flush() bool {
	if len(c.slots) == 0 {
		return true
	}
	c.srv.stats.commands.Add(uint64(c.commands))
	c.commands = 0
	c.shared.cmd.Store(c.newest)
	c.shared.at.Store(time.Now().UnixNano())
	c.ring.add(c.slots)
	c.next += uint64(len(c.slots))
	clear(c.slots)
	c.slots = c.slots[:0]
	c.room, c.bytes = 0, 0 // ask again
	if len(c.batch) == 0 {
		return true
	}
	err := c.submit()
	if err != nil {
		if c.ctx.Err() != nil {
			return false
		}
		replies := make([]node.Reply, len(c.batch))
		for i, r := range c.batch {
			replies[i] = node.Reply{Slot: r.Slot, Outcome: node.NotApplied, Err: err}
		}
		c.ring.fill(replies)
	}
	clear(c.batch)
	c.batch, c.arena = c.batch[:0], nil // the bytes are the node's now
	return true
}

// submit waits for room at the node, but not for long. The context that ends the
// wait is made anew only after it has ended one: making one a batch would cost
// more than the batch.
func (c *conn) submit() error {
	if c.timer == nil {
		ctx, cancel := context.WithCancelCause(c.ctx)
		c.submitCtx = ctx
		c.timer = time.AfterFunc(c.srv.cfg.SubmitTimeout, func() { cancel(node.ErrBusy) })
	} else {
		c.timer.Reset(c.srv.cfg.SubmitTimeout)
	}
	err := c.sub.Submit(c.submitCtx, c.batch)
	if !c.timer.Stop() {
		c.timer = nil
		if err != nil && errors.Is(err, context.Canceled) && c.ctx.Err() == nil {
			err = node.ErrBusy
		}
	}
	return err
}
