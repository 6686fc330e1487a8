package sim

import (
	"bytes"
	"fmt"
	"slices"
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
	acts     func() // act, made once
	hurries  func() // hurry, made once
	sessions bool   // writes inside a session
	crowd    bool   // it writes in a rush, and nothing else

	h      *host // nil: not connected
	wire   *wire
	stale  bool // the connection reads what its node has (READONLY)
	either bool // each read of the connection draws whether it does (READONLY and READWRITE in turns)
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
	seen    *look // what it was told of some keys, and has not acted on
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
	op         statemachine.Op
	verb       string // for the trace
	key, value string
	token      string // of an append to a key whose tokens are counted
	cmd        []byte
	history    linear.Op                                         // what it does to a key that is checked; no verb: nothing
	tell       func(x *linear.Op, res *statemachine.Result) bool // puts the result into the history; false: it is no part of it
	looks      *look                                             // what the answer of this read tells of keys
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

// what counts an answer: the operation, whether it stood in a session, and whether it did nothing.
func (o *op) what(res *statemachine.Result) string {
	s := o.op.String()
	if o.kind == node.StaleRead {
		s = "stale " + s
	}
	if o.seq > 0 {
		s = "once " + s
	}
	switch {
	case res.Kind == statemachine.ResultError:
		s += " refused"
	case o.kind == node.Write && res.Kind == statemachine.ResultNil:
		s += " in vain"
	}
	return s
}

// manages tells whether it opens, keeps or closes a session: it is alone on its way, and not sent again.
func (o *op) manages() bool {
	return o.op == statemachine.OpSessionOpen || o.op == statemachine.OpSessionKeep || o.op == statemachine.OpSessionClose
}

func (o *op) String() string {
	s := fmt.Sprintf("client %d slot %d: %s %s %s", o.c.n, o.slot, o.verb, o.key, o.value)
	if o.seq > 0 {
		s += fmt.Sprintf(" (session %d number %d, attempt %d)", o.session, o.seq, o.attempts)
	}
	return s
}

func (w *world) newClient(n int) *client {
	c := &client{w: w, n: n, sessions: n%2 == 0 && n < w.plan.clients, crowd: n >= w.plan.clients}
	c.acts, c.hurries = c.act, c.hurry
	w.clients = append(w.clients, c)
	w.after(w.upTo(200*milli), c.acts)
	return c
}

// act does one thing and comes back.
func (c *client) act() {
	w := c.w
	if w.closing && c.idle() {
		return
	}
	think := 2 * w.plan.think
	if c.crowd {
		think = max(think, 400*milli) // it only looks whether it is still connected
	}
	w.after(w.upTo(think)+50*micro, c.acts)
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
	case !c.crowd:
		c.send()
	}
}

// idle tells whether nothing of this client is open.
func (c *client) idle() bool { return len(c.open) == 0 && len(c.pending) == 0 }

func (c *client) connect() {
	h := c.w.some(func(h *host) bool { return !h.paused && c.w.settledAt(h) })
	if h != nil {
		c.join(h)
	}
}

// join connects to a host.
func (c *client) join(h *host) {
	c.h, c.wire = h, &wire{c: c}
	c.wire.conn = node.NewConn(c.wire)
	c.stale = !c.sessions && c.w.chance(4) && !c.w.calm
	c.either = !c.stale && c.w.rand.IntN(100) < c.w.plan.either && !c.w.calm
	c.shown, c.placed, c.slot, c.refused = 0, nil, 0, 0
	c.room = 1 + c.w.rand.IntN(c.w.plan.pipeline)
}

// settledAt tells whether users may be at a host. Once all is well they know where to go.
func (w *world) settledAt(h *host) bool {
	return h.up && !h.left && (!w.calm || slices.Contains(w.truth.voters, h.id))
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
	c.comesAgain()
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
	if len(batch) > 0 {
		c.submit(batch)
	}
}

// submit sends a batch.
func (c *client) submit(batch []*op) {
	w := c.w
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
		o.verb, o.op = "open", statemachine.OpSessionOpen
		o.cmd = statemachine.AppendCommand(nil, statemachine.Command{Op: statemachine.OpSessionOpen})
		c.pending = append(c.pending, o)
		return o
	}
	if len(c.pending) > 0 && c.pending[0].manages() {
		return nil
	}
	if c.sessions && c.idle() && w.chance(100) {
		o.op = pick(w, statemachine.OpSessionKeep, statemachine.OpSessionClose)
		o.verb, o.session = o.op.String(), c.session
		o.cmd = statemachine.AppendCommand(nil, statemachine.Command{Op: o.op, Num: c.session})
		c.pending = append(c.pending, o)
		return o
	}
	var cmd statemachine.Command
	if c.crowd {
		cmd = c.rushes(o)
	} else {
		cmd = c.request(o)
	}
	o.op = cmd.Op
	o.cmd = statemachine.AppendCommand(nil, cmd)
	if c.sessions && o.kind == node.Write {
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
	c.comesAgain()
}

// answered takes one answer.
func (c *client) answered(o *op, p *node.Reply) {
	w := c.w
	switch p.Outcome {
	case node.NotApplied:
		w.count.Refused++
		c.refused++
		switch {
		case o.manages():
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
	res, err := statemachine.DecodeResult(p.Result)
	if err != nil {
		w.rules.broken("results", "%v: %v", o, err)
	}
	w.count.Answers[o.what(&res)]++
	if o.kind != node.Write {
		c.learn(o, &res)
		if o.kind == node.Read {
			w.record(o, &res)
		}
		return
	}
	w.count.Writes++
	switch {
	case o.manages():
		c.pending = nil
		switch {
		case o.op == statemachine.OpSessionOpen:
			c.session, c.seq = res.Int, 0
		case o.op == statemachine.OpSessionClose || res.Kind == statemachine.ResultError:
			c.session, c.seq = 0, 0
		}
		return
	case o.seq > 0 && res.Kind == statemachine.ResultError && sessionError(res.Bytes):
		c.sessionSays(o, res.Bytes)
		return
	}
	c.settle(o)
	if o.token != "" {
		w.truth.acked[o.token] = o.key
	}
	w.record(o, &res)
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
		if o.token != "" {
			w.truth.acked[o.token] = o.key
		}
		w.record(o, nil)
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
		c.w.record(o, nil)
	}
}

// unknown: nobody tells what became of this attempt.
func (c *client) unknown(o *op) {
	if o.kind != node.Write {
		return
	}
	o.maybe = true
	switch {
	case o.manages():
		// Another one is opened: this one is gone, or idles out.
		c.pending, c.session, c.seq = nil, 0, 0
	case o.seq == 0 || o.orphan:
		c.giveUp(o)
	}
}

// record notes what a request did to the keys that are checked for
// linearizability. res is nil if nobody knows.
func (w *world) record(o *op, res *statemachine.Result) {
	x := o.history
	switch {
	case x.Verb == "":
		return
	case res == nil:
		w.keys.unknown++
		x.Unknown = true
	case !o.tell(&x, res):
		return
	}
	x.Client, x.Call, x.Return = o.c.n, int64(o.call), int64(w.now)
	if ops := w.history.ops; len(ops) == cap(ops) {
		w.history.ops = slices.Grow(ops, len(ops)+256) // append would copy a long history often
	}
	w.history.ops = append(w.history.ops, x)
}

// place remembers where the newest requests of the connection took effect.
func (c *client) place(p placed) {
	if len(c.placed) == 64 {
		c.placed = slices.Delete(c.placed, 0, 32)
	}
	c.placed = append(c.placed, p)
}
