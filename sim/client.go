package sim

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/raftkv/raftkv/internal/linear"
	"github.com/raftkv/raftkv/node"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/statemachine"
)

// client is one user: it keeps a connection to some node, sends pipelines of
// requests, and goes elsewhere when that node is gone or silent. Half of them
// write inside a session and repeat each write until it is answered; the others
// take "unknown" for an answer.
type client struct {
	w        *world
	n        int
	sessions bool // writes inside a session

	h      *host // nil: not connected
	wire   *wire
	stale  bool // the connection reads what its node has (READONLY)
	shown  raft.Index
	placed []placed
	slot   uint64
	open   []*op // sent over this connection and not answered, in order
	room   int   // places in the pipeline, this time

	session int64
	seq     uint64
	pending []*op // writes of the session that are not settled, in order of their numbers
	refused int   // answers in a row that were none
	done    int   // requests that were answered with a result
}

// wire is one connection of a client. Replies over an earlier one are nobody's any more.
type wire struct {
	c    *client
	conn *node.Conn
}

// Deliver implements node.Sink.
func (x *wire) Deliver(replies []node.Reply) {
	if x.c.wire == x {
		x.c.deliver(replies)
	}
}

// op is one request of a client, and what is needed to judge its answer.
type op struct {
	c          *client
	n          int
	kind       node.Kind
	verb       string // get set append del ttl open
	key, value string
	cmd        []byte
	session    int64
	seq        uint64

	call     time.Duration // of the first attempt
	sent     time.Duration // of this attempt
	floor    raft.Index    // what had been shown to anybody when this attempt was sent
	shown    raft.Index    // to its own connection
	slot     uint64
	attempts int
	answered bool // this attempt
	maybe    bool // an attempt may have taken effect and was not answered
	orphan   bool // its session is gone: this attempt is the last one
}

func (o *op) String() string {
	s := fmt.Sprintf("client %d slot %d: %s %s %s", o.c.n, o.slot, o.verb, o.key, o.value)
	if o.seq > 0 {
		s += fmt.Sprintf(" (session %d number %d, attempt %d)", o.session, o.seq, o.attempts)
	}
	return s
}

func (w *world) newClient(n int) *client {
	c := &client{w: w, n: n, sessions: n%2 == 0}
	w.clients = append(w.clients, c)
	w.after(w.upTo(200*milli), c.act)
	return c
}

// act does one thing and comes back.
func (c *client) act() {
	w := c.w
	if w.closing && c.idle() {
		return
	}
	w.after(w.upTo(2*w.plan.think)+50*micro, c.act)
	if c.h == nil {
		if !w.chance(3) || w.calm {
			c.connect()
		}
		return
	}
	limit := time.Duration(w.plan.requestTicks)*tick*3 + 3*time.Second
	switch {
	case len(c.open) > 0 && w.now-c.open[0].sent > limit && (w.chance(20) || w.calm):
		c.leave() // not even "unknown" came
	case !w.calm && w.chance(400), len(c.open) == 0 && c.refused > 0 && w.chance(3):
		c.leave() // perhaps another node is better off
	default:
		c.send()
	}
}

// idle tells whether nothing of this client is open.
func (c *client) idle() bool { return len(c.open) == 0 && len(c.pending) == 0 }

func (c *client) connect() {
	h := c.w.some(func(h *host) bool {
		// Once all is well, clients know where to go.
		return h.up && !h.paused && !h.left && (!c.w.calm || slices.Contains(c.w.truth.voters, h.id))
	})
	if h == nil {
		return
	}
	c.h, c.wire = h, &wire{c: c}
	c.wire.conn = node.NewConn(c.wire)
	c.stale = !c.sessions && c.w.chance(4) && !c.w.calm
	c.shown, c.placed, c.slot, c.refused = 0, nil, 0, 0
	c.room = 1 + c.w.rand.IntN(c.w.plan.pipeline)
}

// leave closes the connection: what is open is unknown.
func (c *client) leave() {
	h, conn := c.h, c.wire.conn
	h.input(func() { h.loop.Close(conn) })
	c.cutOff()
}

// cutOff ends the connection from outside: the node is gone.
func (c *client) cutOff() {
	c.h, c.wire = nil, nil
	open := c.open
	c.open = nil
	for _, o := range open {
		o.answered = true
		c.unknown(o)
	}
}

// send sends what the pipeline has room for.
func (c *client) send() {
	w := c.w
	room := c.room - len(c.open)
	var batch []*op
	switch again := c.again(); {
	case again && len(c.open) > 0:
		return // settle first
	case again:
		// All that is pending, in order: a later one alone would meet a gap.
		batch = slices.Clone(c.pending[:min(len(c.pending), max(room, 1))])
		if len(batch) > 1 && !w.calm && w.chance(8) {
			batch = batch[1:] // a client that does it wrong meets one
		}
	case w.closing:
		return
	default:
		for range room {
			if o := c.next(); o != nil {
				batch = append(batch, o)
			}
		}
	}
	if len(batch) == 0 {
		return
	}
	requests := make([]node.Request, 0, len(batch))
	for _, o := range batch {
		c.slot++
		o.slot, o.answered = c.slot, false
		o.floor, o.shown = w.truth.floor, c.shown
		requests = append(requests, node.Request{Kind: o.kind, Data: o.cmd, Slot: o.slot})
	}
	h, x := c.h, c.wire
	c.open = append(c.open, batch...)
	for _, o := range batch {
		if o.kind == node.Write {
			k := w.truth.tries[string(o.cmd)]
			if k == nil {
				k = &tally{}
				w.truth.tries[string(o.cmd)] = k
			}
			k.sent++
		}
		o.attempts++
		o.sent = w.now
		if w.opt.Trace != nil {
			w.say("%v sends %v", h.id, o)
		}
	}
	h.input(func() {
		if err := h.loop.Submit(x.conn, requests); err != nil {
			// None was taken.
			replies := make([]node.Reply, 0, len(requests))
			for i := range requests {
				replies = append(replies, node.Reply{Slot: requests[i].Slot, Outcome: node.NotApplied, Err: err})
			}
			x.Deliver(replies)
		}
	})
}

// again tells whether writes of the session wait to be sent once more.
func (c *client) again() bool {
	return len(c.pending) > 0 && slices.ContainsFunc(c.pending, func(o *op) bool { return o.attempts == 0 || o.answered })
}

// next makes a new request, or nil if it can't yet.
func (c *client) next() *op {
	w := c.w
	w.unique++
	o := &op{c: c, n: w.unique, call: w.now, kind: node.Write}
	if c.sessions && c.session == 0 {
		if len(c.open) > 0 || len(c.pending) > 0 {
			return nil
		}
		o.verb = "open"
		o.cmd = statemachine.AppendCommand(nil, statemachine.Command{Op: statemachine.OpSessionOpen})
		c.pending = append(c.pending, o)
		return o
	}
	token := fmt.Sprintf("<%d>", w.unique)
	arg := func(s string) []byte { return []byte(s) }
	var cmd statemachine.Command
	switch n := w.rand.IntN(10); {
	case n < 4:
		o.verb, o.key, o.kind = "get", c.key(pick(w, "reg", "tok")), node.Read
		if c.stale {
			o.kind = node.StaleRead
		}
		o.cmd = statemachine.AppendCommand(nil, statemachine.Command{Op: statemachine.OpGet, Args: [][]byte{arg(o.key)}})
		return o
	case n < 7:
		o.verb, o.key, o.value = "append", c.key("tok"), token
		cmd = statemachine.Command{Op: statemachine.OpAppend, Args: [][]byte{arg(o.key), arg(o.value)}}
	case n < 9 || c.sessions:
		o.verb, o.key, o.value = "set", c.key("reg"), token+strings.Repeat("x", w.rand.IntN(w.plan.valueBytes+1))
		cmd = statemachine.Command{Op: statemachine.OpSet, Args: [][]byte{arg(o.key), arg(o.value)}}
	default:
		o.verb, o.key, o.value = "ttl", fmt.Sprintf("tmp-%d", w.rand.IntN(50)), token
		cmd = statemachine.Command{Op: statemachine.OpSet, Flags: statemachine.FlagIn, Num: 1 + w.rand.Int64N(2000), Args: [][]byte{arg(o.key), arg(o.value)}}
	}
	o.cmd = statemachine.AppendCommand(nil, cmd)
	if c.sessions {
		c.seq++
		o.session, o.seq = c.session, c.seq
		o.cmd = statemachine.AppendCommand(nil, statemachine.Command{Op: statemachine.OpOnce, Num: o.session, Seq: o.seq, Args: [][]byte{o.cmd}})
		c.pending = append(c.pending, o)
	}
	return o
}

// A set of twenty keys is used for so many requests of all clients, or until so
// many of them are unknown: the cost of checking a key grows fast with its
// history, and faster with what may have happened at any time.
const (
	keyRequests = 500
	keyUnknown  = 15
)

// generation is the set of keys that is in use.
type generation struct{ number, requests, unknown int }

// key is one of the twenty that are in use now. Kinds are apart: what is
// appended to stays countable.
func (c *client) key(kind string) string {
	g := &c.w.keys
	if g.requests++; g.requests > keyRequests || g.unknown > keyUnknown {
		*g = generation{number: g.number + 1}
	}
	return fmt.Sprintf("%s-%d-%d", kind, g.number, c.w.rand.IntN(10))
}

// deliver takes replies of the connection.
func (c *client) deliver(replies []node.Reply) {
	for i := range replies {
		p := &replies[i]
		at := slices.IndexFunc(c.open, func(o *op) bool { return o.slot == p.Slot })
		if at < 0 {
			c.w.rules.broken("order of a connection", "client %d: slot %d is answered, which is not open", c.n, p.Slot)
		}
		o := c.open[at]
		c.open = slices.Delete(c.open, at, at+1)
		if c.w.opt.Trace != nil {
			c.w.say("%v answers %v: %v at %d %.60q %v", c.h.id, o, p.Outcome, p.Index, p.Result, p.Err)
		}
		c.w.rules.replied(o, p)
		o.answered = true
		c.answered(o, p)
	}
}

// answered takes one answer.
func (c *client) answered(o *op, p *node.Reply) {
	w := c.w
	switch p.Outcome {
	case node.NotApplied:
		w.count.Refused++
		c.refused++
		switch {
		case o.verb == "open":
			c.pending = nil
		case o.orphan:
			c.giveUp(o)
		}
		return // a write of a session is pending still: it is sent again
	case node.Unknown:
		c.unknown(o)
		return
	}
	c.done++
	c.refused = 0
	c.shown = max(c.shown, p.Index)
	if o.kind != node.Write {
		if o.kind == node.Read {
			res, _ := statemachine.DecodeResult(p.Result)
			w.record(linear.Op{Client: c.n, Verb: "get", Key: o.key, Seen: string(res.Bytes), Call: int64(o.call), Return: int64(w.now)})
		}
		return
	}
	w.count.Writes++
	res, err := statemachine.DecodeResult(p.Result)
	if err != nil {
		w.rules.broken("results", "%v: %v", o, err)
	}
	switch {
	case o.verb == "open":
		c.pending = nil
		c.session, c.seq = res.Int, 0
		return
	case o.seq > 0 && res.Kind == statemachine.ResultError && sessionError(res.Bytes):
		c.sessionSays(o, res.Bytes)
		return
	case res.Kind == statemachine.ResultError:
		w.rules.broken("results", "%v: %s", o, res.Bytes)
	}
	c.settle(o)
	if o.verb == "append" {
		w.truth.acked[o.value] = o.key
	}
	w.recordWrite(o, int(res.Int), false)
}

// settle takes a write of the session off the list.
func (c *client) settle(o *op) {
	c.pending = slices.DeleteFunc(c.pending, func(x *op) bool { return x == o })
}

// sessionSays takes an answer that is of the session, not of the command in it.
func (c *client) sessionSays(o *op, text []byte) {
	w := c.w
	switch {
	case bytes.HasPrefix(text, []byte(statemachine.PrefixSeqGap)):
		// Nothing ran; an earlier one did not arrive. All are sent again.
	case bytes.HasPrefix(text, []byte(statemachine.PrefixSeqOld)):
		c.settle(o) // it ran, the result is forgotten
		if o.verb == "append" {
			w.truth.acked[o.value] = o.key
		}
		w.recordWrite(o, 0, true)
	default:
		// The session is gone. This attempt did nothing; earlier ones may have.
		c.settle(o)
		c.endSession(o.session)
		c.giveUp(o)
	}
}

// endSession opens another session for what comes. Writes that are under way
// are waited for; the others are not sent again.
func (c *client) endSession(session int64) {
	if c.session != session {
		return
	}
	pending := c.pending
	c.pending, c.session, c.seq = nil, 0, 0
	for _, o := range pending {
		o.orphan = true
		if o.answered && !slices.Contains(c.open, o) {
			c.giveUp(o)
		}
	}
}

// giveUp ends a write that is not sent again.
func (c *client) giveUp(o *op) {
	if o.maybe {
		c.w.count.Unknown++
		c.w.recordWrite(o, 0, true)
	}
}

// unknown: nobody tells what became of this attempt.
func (c *client) unknown(o *op) {
	if o.kind != node.Write {
		return
	}
	o.maybe = true
	switch {
	case o.verb == "open":
		c.pending = nil // another one is opened; this one idles out
	case o.seq == 0 || o.orphan:
		c.giveUp(o)
	}
}

// recordWrite notes a write for the check of linearizability.
func (w *world) recordWrite(o *op, length int, unknown bool) {
	if o.verb != "set" && o.verb != "append" && o.verb != "del" {
		return
	}
	if unknown {
		w.keys.unknown++
	}
	w.record(linear.Op{Client: o.c.n, Verb: o.verb, Key: o.key, Value: o.value, Call: int64(o.call), Return: int64(w.now), Unknown: unknown, Length: length})
}

func (w *world) record(o linear.Op) { w.history.ops = append(w.history.ops, o) }

// place remembers where the newest requests of the connection took effect.
func (c *client) place(p placed) {
	if len(c.placed) == 64 {
		c.placed = slices.Delete(c.placed, 0, 32)
	}
	c.placed = append(c.placed, p)
}
