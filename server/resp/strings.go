package resp

import (
	"bytes"
	"math"
	"strconv"

	wire "github.com/raftkv/raftkv/resp"
	"github.com/raftkv/raftkv/statemachine"
)

// stringCommands are those on values.
func stringCommands() []command {
	return []command{
		{name: "get", arity: 2, flags: fRead | fFast, keys: [3]int{1, 1, 1}, group: "string", since: "1.0.0", cost: "O(1)",
			syntax: "key", summary: "Get the value of a key", parse: oneKey(statemachine.OpGet)},
		{name: "set", arity: -3, flags: fWrite | fGrows, keys: [3]int{1, 1, 1}, group: "string", since: "1.0.0", cost: "O(1)",
			syntax:  "key value [NX | XX | IFEQ comparison-value] [GET] [EX seconds | PX milliseconds | EXAT unix-seconds | PXAT unix-milliseconds | KEEPTTL]",
			summary: "Set the value of a key", parse: parseSet},
		{name: "append", arity: 3, flags: fWrite | fGrows | fFast, keys: [3]int{1, 1, 1}, group: "string", since: "2.0.0", cost: "O(n) in the bytes added",
			syntax: "key value", summary: "Append to the value of a key; answers its length", parse: parseAppend},
		{name: "strlen", arity: 2, flags: fRead | fFast, keys: [3]int{1, 1, 1}, group: "string", since: "2.2.0", cost: "O(1)",
			syntax: "key", summary: "Get the length of a value", parse: oneKey(statemachine.OpStrlen)},
		{name: "mget", arity: -2, flags: fRead | fVariadic, keys: [3]int{1, -1, 1}, group: "string", since: "1.0.0", cost: "O(n) in the keys",
			syntax: "key [key ...]", summary: "Get the values of keys, all at one moment", parse: allKeys(statemachine.OpMGet)},
		{name: "mset", arity: -3, flags: fWrite | fGrows | fVariadic, keys: [3]int{1, -1, 2}, group: "string", since: "1.0.1", cost: "O(n) in the keys",
			syntax: "key value [key value ...]", summary: "Set several keys, all or none", parse: parseMSet},
		{name: "incr", arity: 2, flags: fWrite | fGrows | fFast, keys: [3]int{1, 1, 1}, group: "string", since: "1.0.0", cost: "O(1)",
			syntax: "key", summary: "Add one to a number", parse: addConst(1)},
		{name: "decr", arity: 2, flags: fWrite | fGrows | fFast, keys: [3]int{1, 1, 1}, group: "string", since: "1.0.0", cost: "O(1)",
			syntax: "key", summary: "Take one from a number", parse: addConst(-1)},
		{name: "incrby", arity: 3, flags: fWrite | fGrows | fFast, keys: [3]int{1, 1, 1}, group: "string", since: "1.0.0", cost: "O(1)",
			syntax: "key increment", summary: "Add to a number", parse: parseIncrBy},
		{name: "decrby", arity: 3, flags: fWrite | fGrows | fFast, keys: [3]int{1, 1, 1}, group: "string", since: "1.0.0", cost: "O(1)",
			syntax: "key decrement", summary: "Take from a number", parse: parseDecrBy},
	}
}

// tooLong is the error reply for a key above its limit.
func (r *request) tooLong(key []byte) string {
	if len(key) <= r.srv.cfg.KeyBytes {
		return ""
	}
	return "ERR key of " + strconv.Itoa(len(key)) + " bytes is above the limit of " + strconv.Itoa(r.srv.cfg.KeyBytes) + " bytes (limits.key_bytes)"
}

func oneKey(op statemachine.Op) func(*request) string {
	return func(r *request) string {
		r.cmd.Op = op
		r.cmd.Args = append(r.cmd.Args, r.args[1])
		return r.tooLong(r.args[1])
	}
}

func allKeys(op statemachine.Op) func(*request) string {
	return func(r *request) string {
		r.cmd.Op = op
		r.cmd.Args = append(r.cmd.Args, r.args[1:]...)
		for _, key := range r.args[1:] {
			if text := r.tooLong(key); text != "" {
				return text
			}
		}
		return ""
	}
}

func parseAppend(r *request) string {
	r.cmd.Op = statemachine.OpAppend
	r.cmd.Args = append(r.cmd.Args, r.args[1:]...)
	return r.tooLong(r.args[1])
}

func parseMSet(r *request) string {
	if len(r.args)%2 == 0 {
		return "ERR wrong number of arguments for 'mset' command"
	}
	r.cmd.Op = statemachine.OpMSet
	r.cmd.Args = append(r.cmd.Args, r.args[1:]...)
	for i := 1; i < len(r.args); i += 2 {
		if text := r.tooLong(r.args[i]); text != "" {
			return text
		}
	}
	return ""
}

func addConst(n int64) func(*request) string {
	return func(r *request) string {
		r.cmd.Op, r.cmd.Num = statemachine.OpIncrBy, n
		r.cmd.Args = append(r.cmd.Args, r.args[1])
		return r.tooLong(r.args[1])
	}
}

func parseIncrBy(r *request) string {
	n, ok := wire.ParseInt(r.args[2])
	if !ok {
		return errInteger
	}
	return addConst(n)(r)
}

func parseDecrBy(r *request) string {
	n, ok := wire.ParseInt(r.args[2])
	if !ok {
		return errInteger
	}
	if n == math.MinInt64 {
		return "ERR decrement would overflow"
	}
	return addConst(-n)(r)
}

// parseSet reads the options as Redis 7 does: first all of them, then the number.
func parseSet(r *request) string {
	const (
		conditions = statemachine.FlagNX | statemachine.FlagXX | statemachine.FlagEq
		deadlines  = statemachine.FlagIn | statemachine.FlagAt | statemachine.FlagKeepTTL
	)
	r.cmd.Op = statemachine.OpSet
	r.cmd.Args = append(r.cmd.Args, r.args[1], r.args[2])
	var number, which []byte
	var scale int64
	// An option may stand there twice, the last one counts; another one of its kind may not.
	timed := func(i *int, flag statemachine.Flags, per int64) bool {
		if *i+1 >= len(r.args) || r.cmd.Flags&deadlines != 0 && (which == nil || !bytes.EqualFold(which, r.args[*i])) {
			return false
		}
		which = r.args[*i]
		*i++
		number, scale = r.args[*i], per
		r.cmd.Flags |= flag
		return true
	}
	for i := 3; i < len(r.args); i++ {
		arg, ok := r.args[i], true
		switch {
		case is(arg, "nx"):
			ok = r.cmd.Flags&(statemachine.FlagXX|statemachine.FlagEq) == 0
			r.cmd.Flags |= statemachine.FlagNX
		case is(arg, "xx"):
			ok = r.cmd.Flags&(statemachine.FlagNX|statemachine.FlagEq) == 0
			r.cmd.Flags |= statemachine.FlagXX
		case is(arg, "ifeq") && i+1 < len(r.args):
			ok = r.cmd.Flags&conditions == 0
			i++
			r.cmd.Flags |= statemachine.FlagEq
			r.cmd.Args = append(r.cmd.Args, r.args[i])
		case is(arg, "get"):
			r.cmd.Flags |= statemachine.FlagGet
		case is(arg, "keepttl"):
			ok = r.cmd.Flags&(statemachine.FlagIn|statemachine.FlagAt) == 0
			r.cmd.Flags |= statemachine.FlagKeepTTL
		case is(arg, "ex"):
			ok = timed(&i, statemachine.FlagIn, 1000)
		case is(arg, "px"):
			ok = timed(&i, statemachine.FlagIn, 1)
		case is(arg, "exat"):
			ok = timed(&i, statemachine.FlagAt, 1000)
		case is(arg, "pxat"):
			ok = timed(&i, statemachine.FlagAt, 1)
		default:
			ok = false
		}
		if !ok {
			return errSyntax
		}
	}
	if scale != 0 {
		if text := r.deadline(number, scale, "set"); text != "" {
			return text
		}
	}
	return r.tooLong(r.args[1])
}

// deadline reads a time of SET and the like, in units of so many milliseconds, into the command.
func (r *request) deadline(number []byte, scale int64, name string) string {
	n, ok := wire.ParseInt(number)
	if !ok {
		return errInteger
	}
	if n <= 0 || n > math.MaxInt64/scale {
		return errExpireIn + name + "' command"
	}
	r.cmd.Num = n * scale
	return ""
}
