package sim

import (
	"fmt"
	"slices"
	"strings"

	"github.com/raftkv/raftkv/internal/linear"
	"github.com/raftkv/raftkv/node"
	"github.com/raftkv/raftkv/statemachine"
)

// What clients ask for. The kinds of keys are apart:
//
//	reg-G-N            registers: read, written, taken, changed if they are as somebody saw them
//	tok-G-N            tokens are appended, and counted at the end
//	num-G-N            counters
//	duo-G-N-a, -b      two keys that are only changed together: a block, or MSET
//	mix-N, tmp-N       everything else: bits, deadlines, RENAME, COPY, DEL, SCAN
//	flt-N              decimal numbers
//	rush-N             what a crowd writes (crowd.go)
//	rot-N              written once, for hosts whose memory rots
//
// Of the first four, histories go through porcupine (a duo is one object). All
// are judged by the observer's model, at the entry where they took effect.

// look is what a client was told of keys, and acts on: WATCH with the reads
// behind it, or GETV.
type look struct {
	object string // as in the history
	keys   []string
	value  string  // of the object, "" if it is missing
	tokens []int64 // of the keys: the version, or one of WATCH below 0
}

func args(of ...string) [][]byte {
	var b [][]byte
	for _, s := range of {
		b = append(b, []byte(s))
	}
	return b
}

func command(op statemachine.Op, of ...string) statemachine.Command {
	return statemachine.Command{Op: op, Args: args(of...)}
}

// blockOf makes a block of commands.
func blockOf(op statemachine.Op, commands ...statemachine.Command) statemachine.Command {
	b := statemachine.Command{Op: op}
	for _, c := range commands {
		b.Args = append(b.Args, statemachine.AppendCommand(nil, c))
	}
	return b
}

// only puts conditions before a block: it runs if the keys are as they were seen.
func (l *look) only(b statemachine.Command) statemachine.Command {
	var conditions [][]byte
	for i, key := range l.keys {
		conditions = append(conditions, []byte(key), statemachine.AppendToken(nil, l.tokens[i]))
	}
	b.Num, b.Args = int64(len(l.keys)), append(conditions, b.Args...)
	return b
}

// request makes a command and fills in what its answer is judged by.
func (c *client) request(o *op) statemachine.Command {
	w := c.w
	if w.trouble != nil && w.trouble.drive.rotting && !c.sessions {
		o.verb, o.key, o.value = "rot", fmt.Sprintf("%s%d", rotPrefix, w.unique), w.token()
		return command(statemachine.OpSet, o.key, o.value)
	}
	if w.rand.IntN(100) < w.plan.exotic {
		return c.exotic(o)
	}
	switch n := w.rand.IntN(10); {
	case n >= 4 && w.rand.IntN(100) < w.plan.fleeting:
		return c.fleeting(o)
	case n < 4:
		return c.get(o, c.key(pick(w, "reg", "tok")))
	case n < 7:
		o.token = w.token()
		o.does("append", c.key("tok"), o.token)
		o.tell = toldLength
		return command(statemachine.OpAppend, o.key, o.value)
	case n < 9 || c.sessions:
		o.does("set", c.key("reg"), w.value())
		return command(statemachine.OpSet, o.key, o.value)
	default:
		return c.fleeting(o)
	}
}

// fleeting writes a key that expires soon.
func (c *client) fleeting(o *op) statemachine.Command {
	w := c.w
	o.verb, o.key, o.value = "ttl", fmt.Sprintf("tmp-%d", w.rand.IntN(50)), w.token()
	cmd := command(statemachine.OpSet, o.key, o.value)
	cmd.Flags, cmd.Num = statemachine.FlagIn, 1+w.rand.Int64N(2000)
	return cmd
}

// does says what a write does to an object of the history.
func (o *op) does(verb, object, value string) {
	o.verb, o.key, o.value = verb, object, value
	o.history = linear.Op{Verb: verb, Key: object, Value: value}
	o.tell = told
}

// What an answer puts into the history.
func told(*linear.Op, *statemachine.Result) bool { return true }

func toldLength(x *linear.Op, res *statemachine.Result) bool {
	x.Length = int(res.Int)
	return true
}

func toldValue(x *linear.Op, res *statemachine.Result) bool {
	x.Seen = string(res.Bytes)
	return true
}

// toldBoth joins the values of a duo.
func toldBoth(x *linear.Op, res *statemachine.Result) bool {
	x.Seen = joined(res.Array)
	return true
}

func joined(values []statemachine.Result) string {
	if len(values) != 2 || values[0].Kind == statemachine.ResultNil && values[1].Kind == statemachine.ResultNil {
		return ""
	}
	return string(values[0].Bytes) + "|" + string(values[1].Bytes)
}

// toldRan: it says that it did something, in the way of its kind.
func toldRan(x *linear.Op, res *statemachine.Result) bool {
	switch res.Kind {
	case statemachine.ResultNil:
	case statemachine.ResultInt:
		x.Ran = res.Int > 0
	default:
		x.Ran = true
	}
	return true
}

// toldWeak is toldRan for what may find a change where none was: then it says nothing.
func toldWeak(x *linear.Op, res *statemachine.Result) bool {
	return toldRan(x, res) && x.Ran
}

// reads makes o a read, linearizable unless the connection reads its node's own state, always or this time.
func (c *client) reads(o *op, verb, key string) {
	o.verb, o.key, o.kind = verb, key, node.Read
	if c.stale || c.either && c.w.chance(2) {
		o.kind = node.StaleRead
	}
}

func (c *client) get(o *op, key string) statemachine.Command {
	c.reads(o, "get", key)
	o.history, o.tell = linear.Op{Verb: "get", Key: key}, toldValue
	return command(statemachine.OpGet, key)
}

// poll reads a key at a host. Whatever node the client was at, it leaves it.
func (c *client) poll(h *host) {
	w := c.w
	if c.h != nil {
		c.leave()
	}
	c.join(h)
	c.stale, c.either = false, false
	w.unique++
	o := &op{c: c, n: w.unique, call: w.now}
	cmd := c.get(o, c.key(pick(w, "reg", "tok")))
	o.op, o.cmd = cmd.Op, statemachine.AppendCommand(nil, cmd)
	c.submit([]*op{o})
}

func (w *world) token() string { return fmt.Sprintf("<%d>", w.unique) }

func (w *world) value() string {
	return w.token() + strings.Repeat("x", w.rand.IntN(w.plan.valueBytes+1))
}

// exotic makes one of the less common requests.
func (c *client) exotic(o *op) statemachine.Command {
	w := c.w
	if c.seen != nil && w.chance(2) {
		return c.change(o)
	}
	switch w.rand.IntN(9) {
	case 0, 1:
		return c.look(o)
	case 2:
		return c.swap(o)
	case 3:
		object := c.key("num")
		if w.chance(3) {
			return c.get(o, object)
		}
		by := 1 + w.rand.Int64N(9)
		o.does("incr", object, fmt.Sprint(by))
		o.tell = toldLength
		cmd := command(statemachine.OpIncrBy, object)
		cmd.Num = by
		return cmd
	case 4, 5:
		return c.duo(o)
	case 6:
		if !c.sessions && w.chance(2) {
			return c.users(o)
		}
		o.verb, o.key, o.value = "publish", pick(w, "news", "weather"), w.token()
		return command(statemachine.OpPublish, o.key, o.value)
	default:
		return c.mixed(o)
	}
}

// look reads what a later request rests on.
func (c *client) look(o *op) statemachine.Command {
	w := c.w
	switch w.rand.IntN(3) {
	case 0:
		key := c.key("reg")
		c.reads(o, "getv", key)
		o.looks = &look{object: key, keys: []string{key}}
		return command(statemachine.OpGetV, key)
	case 1:
		key := c.key("reg")
		c.reads(o, "watch", key)
		o.looks = &look{object: key, keys: []string{key}}
		return blockOf(statemachine.OpReadBlock, command(statemachine.OpWatch, key), command(statemachine.OpGet, key))
	default:
		object := c.key("duo")
		c.reads(o, "watch", object)
		o.looks = &look{object: object, keys: []string{object + "-a", object + "-b"}}
		return blockOf(statemachine.OpReadBlock, command(statemachine.OpWatch, o.looks.keys...), command(statemachine.OpMGet, o.looks.keys...))
	}
}

// learn keeps what a look has found.
func (c *client) learn(o *op, res *statemachine.Result) {
	l := o.looks
	if l == nil {
		return
	}
	switch {
	case res.Kind == statemachine.ResultNil: // GETV of a key that is missing
		l.tokens = []int64{0}
	case o.verb == "getv":
		l.value, l.tokens = string(res.Array[0].Bytes), []int64{res.Array[1].Int}
	default:
		for _, t := range res.Array[0].Array {
			l.tokens = append(l.tokens, t.Int)
		}
		if l.value = string(res.Array[1].Bytes); len(l.keys) == 2 {
			l.value = joined(res.Array[1].Array)
		}
	}
	c.seen = l
}

// change changes what was looked at, if it is as it was then.
func (c *client) change(o *op) statemachine.Command {
	w, l := c.w, c.seen
	c.seen = nil
	o.does("cas", l.object, w.value())
	o.history.Before, o.tell = l.value, toldRan
	if len(l.keys) == 2 {
		o.value = o.value + "|" + o.value + "b"
		a, b, _ := strings.Cut(o.value, "|")
		o.history.Value, o.tell = o.value, l.told()
		return l.only(blockOf(statemachine.OpBlock, command(statemachine.OpSet, l.keys[0], a), command(statemachine.OpSet, l.keys[1], b)))
	}
	key, token := l.keys[0], l.tokens[0]
	switch {
	case w.chance(3):
		o.tell = l.told()
		if w.chance(4) {
			o.gone()
			return l.only(blockOf(statemachine.OpBlock, command(statemachine.OpDel, key)))
		}
		return l.only(blockOf(statemachine.OpBlock, command(statemachine.OpSet, key, o.value), command(statemachine.OpStrlen, key)))
	case l.value == "" && w.chance(2):
		cmd := command(statemachine.OpSet, key, o.value)
		cmd.Flags = statemachine.FlagNX
		return cmd
	case l.value == "":
		return command(statemachine.OpSetV, key, o.value)
	}
	switch w.rand.IntN(4) {
	case 0:
		cmd := command(statemachine.OpSet, key, o.value, l.value)
		cmd.Flags = statemachine.FlagEq
		return cmd
	case 1:
		cmd := command(statemachine.OpSetV, key, o.value)
		cmd.Seq = uint64(token)
		return cmd
	case 2:
		o.gone()
		return command(statemachine.OpDelIfEq, key, l.value)
	default:
		o.gone()
		cmd := command(statemachine.OpDelV, key)
		cmd.Seq = uint64(token)
		return cmd
	}
}

// gone: it removes the key.
func (o *op) gone() { o.value, o.history.Value = "", "" }

// told is toldRan, or toldWeak if a key was missing: its token is one of a group of keys.
func (l *look) told() func(*linear.Op, *statemachine.Result) bool {
	if slices.ContainsFunc(l.tokens, func(t int64) bool { return t < 0 }) {
		return toldWeak
	}
	return toldRan
}

// swap writes or removes a register and answers what it held.
func (c *client) swap(o *op) statemachine.Command {
	if c.w.chance(3) {
		o.does("swap", c.key("reg"), "")
		o.tell = toldValue
		return command(statemachine.OpGetDel, o.key)
	}
	o.does("swap", c.key("reg"), c.w.value())
	o.tell = toldValue
	cmd := command(statemachine.OpSet, o.key, o.value)
	cmd.Flags = statemachine.FlagGet
	return cmd
}

// duo reads or writes two keys at one moment.
func (c *client) duo(o *op) statemachine.Command {
	w, object := c.w, c.key("duo")
	a, b := object+"-a", object+"-b"
	if w.chance(2) {
		c.reads(o, "get", object)
		o.history, o.tell = linear.Op{Verb: "get", Key: object}, toldBoth
		if w.chance(2) {
			return command(statemachine.OpMGet, a, b)
		}
		return blockOf(statemachine.OpReadBlock, command(statemachine.OpGet, a), command(statemachine.OpGet, b))
	}
	x, y := w.value(), w.token()
	o.does("set", object, x+"|"+y)
	if w.chance(3) {
		return command(statemachine.OpMSet, a, x, b, y)
	}
	return blockOf(statemachine.OpBlock, command(statemachine.OpSet, a, x), command(statemachine.OpGet, b), command(statemachine.OpSet, b, y))
}

// users reads or changes the users that live in the log.
func (c *client) users(o *op) statemachine.Command {
	w := c.w
	name := fmt.Sprintf("user-%d", w.rand.IntN(5))
	o.verb, o.key, o.value = "user", name, w.token()
	switch w.rand.IntN(4) {
	case 0:
		c.reads(o, "users", name)
		if w.chance(2) {
			return command(statemachine.OpUsers)
		}
		return command(statemachine.OpUsers, name)
	case 1:
		return command(statemachine.OpUserDel, name)
	default:
		cmd := command(statemachine.OpUserSet, name, o.value)
		cmd.Num = pick[int64](w, -1, -1, 0)
		return cmd
	}
}

// mixed does anything to a few keys.
func (c *client) mixed(o *op) statemachine.Command {
	w := c.w
	a, b := fmt.Sprintf("mix-%d", w.rand.IntN(20)), fmt.Sprintf("mix-%d", 20+w.rand.IntN(5))
	if w.chance(2) {
		a, b = b, a
	}
	o.verb, o.key, o.value = "mixed", a, w.value()
	life := 1 + w.rand.Int64N(3000)
	cmd := command(statemachine.OpGet, a)
	if w.perMille(w.plan.flush) {
		o.does("del", everyKey, "")
		o.verb = "flush"
		return statemachine.Command{Op: statemachine.OpFlush}
	}
	switch w.rand.IntN(30) {
	case 0:
		cmd = command(statemachine.OpSetBit, a)
		cmd.Num, cmd.Flags = w.rand.Int64N(100), pick(w, 0, statemachine.FlagOne)
	case 1:
		cmd.Op, cmd.Num = statemachine.OpGetBit, w.rand.Int64N(100)
	case 2:
		cmd.Op = statemachine.OpBitCount
	case 3, 4:
		cmd.Op, cmd.Num = statemachine.OpExpire, life
		cmd.Flags = statemachine.FlagIn | pick(w, 0, 0, statemachine.FlagNX, statemachine.FlagXX, statemachine.FlagGT, statemachine.FlagLT)
		if w.chance(8) {
			cmd.Num = -cmd.Num
		}
	case 5:
		cmd.Op = statemachine.OpPersist
	case 6:
		cmd.Op = statemachine.OpTTL
	case 7:
		cmd.Op = statemachine.OpDeadline
	case 8:
		cmd = command(statemachine.OpRename, a, b)
		cmd.Flags = pick(w, 0, 0, statemachine.FlagNX)
	case 9:
		cmd = command(statemachine.OpCopy, a, b)
		cmd.Flags = pick(w, 0, statemachine.FlagReplace)
	case 10:
		cmd = command(statemachine.OpDel, a, b, a)
	case 11:
		cmd = command(statemachine.OpMSetNX, a, o.value, b, o.value)
	case 12, 13:
		cmd = command(statemachine.OpSet, a, o.value)
		cmd.Flags, cmd.Num = pick(w, 0, statemachine.FlagIn, statemachine.FlagKeepTTL), life
	case 14:
		cmd = command(statemachine.OpScan, "", "mix-*")
		cmd.Num = 10_000
	case 15:
		cmd = command(statemachine.OpExists, a, b, a)
	case 16:
		cmd.Op = statemachine.OpStrlen
	case 17:
		if cmd = command(statemachine.OpAppend, a, "y"); w.chance(4) {
			cmd = command(statemachine.OpDBSize)
		}
	case 18:
		cmd = command(statemachine.OpGetV, a)
	case 19, 20:
		cmd.Op, cmd.Num = statemachine.OpGetEx, life
		cmd.Flags = pick(w, 0, statemachine.FlagIn, statemachine.FlagPersist)
	case 21:
		cmd = command(statemachine.OpSetRange, a, o.value)
		cmd.Num = w.rand.Int64N(40)
	case 22:
		o.key, o.value = fmt.Sprintf("flt-%d", w.rand.IntN(5)), fmt.Sprint(float64(w.rand.IntN(400)-200)/4)
		cmd = command(statemachine.OpIncrByFloat, o.key, o.value)
	case 23:
		cmd = command(statemachine.OpBitOp, b, a, b, a)
		if cmd.Num = 1 + w.rand.Int64N(statemachine.BitNot); cmd.Num == statemachine.BitNot {
			cmd = command(statemachine.OpBitOp, b, a)
			cmd.Num = statemachine.BitNot
		}
	case 24, 25:
		cmd = command(statemachine.OpBitField, a)
		for range 1 + w.rand.IntN(3) {
			cmd.Args = append(cmd.Args, statemachine.AppendField(nil, w.field()))
		}
	case 26:
		cmd.Op, cmd.Flags = statemachine.OpBitPos, pick(w, 0, statemachine.FlagOne)
	case 27:
		cmd.Op, cmd.Num = statemachine.OpGetRange, w.rand.Int64N(20)
		cmd.Seq = uint64(w.rand.IntN(40))
	case 28:
		cmd = command(statemachine.OpLCS, a, b)
		cmd.Flags = statemachine.FlagLen
	default:
		cmd = command(statemachine.OpMGet, a, b)
	}
	if cmd.Op.ReadOnly() {
		c.reads(o, "mixed", a)
	}
	return cmd
}

// field is a random operation of BITFIELD on a small number.
func (w *world) field() statemachine.Field {
	f := statemachine.Field{
		Op: pick(w, statemachine.FieldGet, statemachine.FieldSet, statemachine.FieldIncr), Signed: w.chance(2),
		Bits: uint8(1 + w.rand.IntN(16)), Overflow: pick(w, statemachine.OverflowWrap, statemachine.OverflowSat, statemachine.OverflowFail),
		Offset: w.rand.Int64N(100), Value: w.rand.Int64N(1000),
	}
	if f.Signed && w.chance(2) || f.Op == statemachine.FieldIncr && w.chance(2) {
		f.Value = -f.Value
	}
	return f
}
