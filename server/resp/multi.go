package resp

import (
	"math/rand/v2"
	"strconv"

	"github.com/raftkv/raftkv/node"
	wire "github.com/raftkv/raftkv/resp"
	"github.com/raftkv/raftkv/statemachine"
)

// A block between MULTI and EXEC is kept here until EXEC. Then it goes to the node
// as one request: a write is one entry of the log, and reads alone are one read.
// What this node answers by itself (PING, CLIENT, ...) takes part when the answer is
// there, and only then the connection stands still for it.

// multi is the block that a connection is sending.
type multi struct {
	list   []queued
	bytes  int  // of arguments
	failed bool // one could not be queued: EXEC refuses
}

// queued is a command of a block.
type queued struct {
	cmd  *command
	args [][]byte
}

// watched is a key that a connection watches, and what it was like then.
type watched struct {
	key   string
	token int64
}

// Bounds of what a connection keeps for later.
const (
	maxQueued     = 65_536 // commands, as many as a request can have arguments
	queuedRoom    = 64     // bytes that a queued command costs beside its arguments
	maxWatchBytes = 16 << 20
)

func multiCommands() []command {
	const flags = fLoading | fFast | fNow
	return []command{
		{name: "multi", arity: 1, flags: flags, group: "transactions", since: "1.2.0", cost: "O(1)",
			summary: "Begin a block: what comes next is run by EXEC, all at one moment", local: beginMulti},
		{name: "exec", arity: -1, flags: fLoading | fNow, group: "transactions", since: "1.2.0", cost: "that of the commands",
			syntax:  "[ONCE session sequence]",
			summary: "Run the block as one entry of the log, if no watched key has changed; with ONCE, which takes the right to that command too, as number sequence of a session", run: exec, tell: tellBlock},
		{name: "discard", arity: 1, flags: flags, group: "transactions", since: "2.0.0", cost: "O(1)",
			summary: "Forget the block and the watched keys", local: discard},
		{name: "watch", arity: -2, flags: flags | fVariadic, keys: [3]int{1, -1, 1}, group: "transactions", since: "2.2.0", cost: "O(n) in the keys",
			syntax: "key [key ...]", summary: "Let EXEC run only if these keys have not changed by then", run: watch},
		{name: "unwatch", arity: 1, flags: fLoading | fFast, group: "transactions", since: "2.2.0", cost: "O(1)",
			summary: "Watch no keys any more", local: func(c *conn, _ [][]byte) { c.watches, c.watchBytes = nil, 0; c.w.Status("OK") }},
	}
}

func beginMulti(c *conn, _ [][]byte) {
	if c.multi != nil {
		c.w.Error("ERR MULTI calls can not be nested")
		return
	}
	c.multi = &multi{}
	c.w.Status("OK")
}

func discard(c *conn, _ [][]byte) {
	if c.multi == nil {
		c.w.Error("ERR DISCARD without MULTI")
		return
	}
	c.endMulti()
	c.w.Status("OK")
}

// endMulti forgets the block and the watched keys.
func (c *conn) endMulti() { c.multi, c.watches, c.watchBytes = nil, nil, 0 }

// rejected answers a request that can't be run, whatever the state is. It is the end of the block around it.
func (c *conn) rejected(name []byte, text string) {
	if c.multi != nil {
		if is(name, "exec") {
			c.endMulti()
			text = "EXECABORT Transaction discarded because of: " + text
		} else {
			c.multi.failed = true
		}
	}
	c.w.Error(text)
	c.answer()
}

// queue puts a request into the block. The arguments are copied: they lie in the
// room of the reader.
func (c *conn) queue(cmd *command, args [][]byte) {
	size := queuedRoom
	for _, a := range args {
		size += len(a)
	}
	switch {
	case cmd.flags&fNoMulti != 0:
		c.rejected(args[0], "ERR Command not allowed inside a transaction")
		return
	case c.multi.bytes+size > c.srv.cfg.CommandBytes || len(c.multi.list) >= maxQueued:
		c.rejected(args[0], "ERR the block has more than "+strconv.Itoa(maxQueued)+" commands or "+strconv.Itoa(c.srv.cfg.CommandBytes)+" bytes (limits.command_bytes)")
		return
	}
	room := make([]byte, 0, size)
	q := queued{cmd: cmd, args: make([][]byte, len(args))}
	for i, a := range args {
		from := len(room)
		room = append(room, a...)
		q.args[i] = room[from:len(room):len(room)]
	}
	c.multi.bytes += size
	c.multi.list = append(c.multi.list, q)
	c.w.Status("QUEUED")
	c.answer()
}

// watch asks for what the keys are like, linearizably whatever READONLY says, and waits for it.
func watch(c *conn, args [][]byte) bool {
	if c.multi != nil {
		c.w.Error("ERR WATCH inside MULTI is not allowed")
		c.answer()
		return true
	}
	size := 0
	for _, key := range args[1:] {
		if text := c.req.tooLong(key); text != "" {
			c.w.Error(text)
			c.answer()
			return true
		}
		size += len(key) + queuedRoom
	}
	if c.watchBytes+size > maxWatchBytes {
		c.w.Error("ERR this connection watches too many keys (" + strconv.Itoa(maxWatchBytes) + " bytes); UNWATCH first")
		c.answer()
		return true
	}
	keys := make([]string, len(args)-1)
	for i, key := range args[1:] {
		keys[i] = string(key)
	}
	res, text, ok := c.await(node.Read, statemachine.AppendCommand(nil, statemachine.Command{Op: statemachine.OpWatch, Args: args[1:]}))
	if !ok {
		return false
	}
	if text == "" && len(res.Array) != len(keys) {
		text = "ERR node answered WATCH of " + strconv.Itoa(len(keys)) + " keys with " + strconv.Itoa(len(res.Array))
	}
	if text != "" {
		c.w.Error(text)
		c.answer()
		return true
	}
	for i, key := range keys {
		c.watches = append(c.watches, watched{key, res.Array[i].Int})
	}
	c.watchBytes += size
	c.w.Status("OK")
	c.answer()
	return true
}

// part is a command of a block that runs.
type part struct {
	cmd   *command
	aux   uint64
	local []byte   // the answer, if it is known already
	run   [][]byte // arguments of one that this node answers
}

// exec runs the block.
func exec(c *conn, args [][]byte) bool {
	text := ""
	var session int64
	var seq uint64
	if c.multi == nil {
		c.w.Error("ERR EXEC without MULTI") // what is watched stays so
		c.answer()
		return true
	}
	switch m := c.multi; {
	case len(args) != 1 && (len(args) != 4 || !is(args[1], "once")):
		text = "EXECABORT Transaction discarded because of: ERR wrong number of arguments for 'exec' command"
	case m.failed:
		text = "EXECABORT Transaction discarded because of previous errors."
	case len(args) == 4:
		once := c.srv.table.byName["once"]
		if text = may(c.user, once, args); text != "" {
			c.srv.denied.add(c, once, args, text)
		} else {
			session, seq, text = sessionAndSeq(args[2], args[3])
		}
		if text != "" {
			text = "EXECABORT Transaction discarded because of: " + text
		}
	}
	if text != "" {
		c.endMulti()
		c.w.Error(text)
		c.answer()
		return true
	}
	list, watches := c.multi.list, c.watches
	if c.track.on {
		c.noteKeys(list...)
		c.track.caching = 0
	}
	c.endMulti()
	block := statemachine.Command{Op: statemachine.OpReadBlock, Num: int64(len(watches))}
	for _, w := range watches {
		block.Args = append(block.Args, []byte(w.key), statemachine.AppendToken(nil, w.token))
	}
	parts := make([]part, len(list))
	waits := false
	draws := rand.NewPCG(uint64(session), seq)
	for i, q := range list {
		parts[i].cmd = q.cmd
		if text := may(c.user, q.cmd, q.args); text != "" {
			parts[i].local = c.made(func(w *wire.Writer) { w.Error(text) })
			continue
		}
		if q.cmd.parse == nil {
			parts[i].run, waits = q.args, true
			continue
		}
		r := c.start(q.args)
		switch text := q.cmd.parse(r); {
		case text != "":
			parts[i].local = c.made(func(w *wire.Writer) { w.Error(text) })
		case r.done != nil:
			parts[i].local = c.made(r.done)
		default:
			if seq != 0 && r.cmd.Op == statemachine.OpRandomKey {
				r.cmd.Num = int64(draws.Uint64()) // a repetition of the block must be the same bytes
			}
			if !r.cmd.Op.ReadOnly() {
				block.Op = statemachine.OpBlock
			}
			parts[i].aux = r.aux
			if r.told != nil {
				parts[i].cmd = r.told
			}
			block.Args = append(block.Args, statemachine.AppendCommand(nil, r.cmd))
		}
	}
	if seq != 0 {
		block.Op = statemachine.OpBlock
		block = statemachine.Command{Op: statemachine.OpOnce, Num: session, Seq: seq, Args: [][]byte{statemachine.AppendCommand(nil, block)}}
	}
	if seq == 0 && len(block.Args) == 0 { // nothing to ask
		if waits && !c.flush() {
			return false
		}
		c.finish(parts, nil)
		return true
	}
	if waits {
		return c.execAndWait(block, parts)
	}
	r := c.start(args)
	r.cmd = block
	r.stale = c.stale && len(watches) == 0
	r.parts = parts
	c.request(c.srv.table.byName["exec"], r)
	return true
}

// execAndWait runs a block with commands that this node answers.
func (c *conn) execAndWait(block statemachine.Command, parts []part) bool {
	kind := node.Write
	switch {
	case block.Op != statemachine.OpReadBlock:
	case c.stale && block.Num == 0:
		kind = node.StaleRead
	default:
		kind = node.Read
	}
	res, text, ok := c.await(kind, statemachine.AppendCommand(nil, block))
	switch {
	case !ok:
		return false
	case text != "":
		c.w.Error(text)
		c.answer()
	case res.Kind == statemachine.ResultNil:
		c.w.NullArray()
		c.answer()
	default:
		c.finish(parts, res.Array)
	}
	return true
}

// finish answers a block whose results are there, and runs what this node answers.
func (c *conn) finish(parts []part, results []statemachine.Result) {
	c.w.Array(len(parts))
	for _, p := range parts {
		switch {
		case p.local != nil:
			c.w.Raw(p.local)
		case p.run != nil:
			p.cmd.local(c, p.run)
		case len(results) > 0:
			tellOne(c.srv, &c.w, p.cmd, results[0], &slot{aux: p.aux, proto: int8(c.w.Proto)})
			results = results[1:]
		default:
			c.w.Error("ERR node answered fewer commands than the block has")
		}
	}
	c.answer()
}

// tellBlock writes the result of a block without commands of this node's own.
func tellBlock(s *Server, w *wire.Writer, res statemachine.Result, sl *slot) {
	if res.Kind != statemachine.ResultArray {
		w.NullArray()
		return
	}
	results := res.Array
	w.Array(len(sl.parts))
	for _, p := range sl.parts {
		switch {
		case p.local != nil:
			w.Raw(p.local)
		case len(results) > 0:
			tellOne(s, w, p.cmd, results[0], &slot{aux: p.aux, proto: sl.proto})
			results = results[1:]
		default:
			w.Error("ERR node answered fewer commands than the block has")
		}
	}
}

// made is what f writes, in the connection's version of the protocol.
func (c *conn) made(f func(w *wire.Writer)) []byte {
	w := wire.Writer{Proto: c.w.Proto}
	f(&w)
	return w.Bytes()
}

// awaitedSlot marks numbers of replies that the reader itself waits for. No slot of a ring has them.
const awaitedSlot = 1 << 63

// await hands over what there is, sends one more request and waits for its result.
// text is the error reply if there is none. Not ok: the connection is over.
func (c *conn) await(kind node.Kind, data []byte) (res statemachine.Result, text string, ok bool) {
	if !c.flush() {
		return res, "", false
	}
	c.batch = append(c.batch[:0], node.Request{Kind: kind, Data: data, Slot: awaitedSlot})
	err := c.submit()
	clear(c.batch)
	c.batch = c.batch[:0]
	if err != nil {
		return res, outcomeText(node.NotApplied, err, false), c.ctx.Err() == nil
	}
	select {
	case rep := <-c.ring.awaited:
		if rep.Outcome != node.Applied {
			return res, outcomeText(rep.Outcome, rep.Err, kind != node.Write), true
		}
		if res, err = statemachine.DecodeResult(rep.Result); err != nil {
			return res, "ERR node answered what can't be read: " + err.Error(), true
		}
		if res.Kind == statemachine.ResultError {
			return res, string(res.Bytes), true
		}
		return res, "", true
	case <-c.ctx.Done():
		return res, "", false
	}
}

// start readies the room for a request that is parsed next.
func (c *conn) start(args [][]byte) *request {
	r := &c.req
	r.args, r.user, r.stale, r.aux, r.done, r.told, r.parts = args, c.user, c.stale, 0, nil, nil, nil
	r.cmd = statemachine.Command{Args: r.cmd.Args[:0]}
	return r
}
