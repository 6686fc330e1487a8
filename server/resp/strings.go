package resp

import (
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
			syntax:  "key value [NX | XX] [GET] [EX seconds | PX milliseconds | EXAT unix-seconds | PXAT unix-milliseconds | KEEPTTL]",
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

// genericCommands are those on keys.
func genericCommands() []command {
	return []command{
		{name: "del", arity: -2, flags: fWrite | fVariadic, keys: [3]int{1, -1, 1}, group: "generic", since: "1.0.0", cost: "O(n) in the keys",
			syntax: "key [key ...]", summary: "Delete keys; answers how many there were", parse: allKeys(statemachine.OpDel)},
		{name: "unlink", arity: -2, flags: fWrite | fFast | fVariadic, keys: [3]int{1, -1, 1}, group: "generic", since: "4.0.0", cost: "O(n) in the keys",
			syntax: "key [key ...]", summary: "The same as DEL", parse: allKeys(statemachine.OpDel)},
		{name: "exists", arity: -2, flags: fRead | fFast | fVariadic, keys: [3]int{1, -1, 1}, group: "generic", since: "1.0.0", cost: "O(n) in the keys",
			syntax: "key [key ...]", summary: "Count the keys that exist", parse: allKeys(statemachine.OpExists)},
		{name: "scan", arity: -2, flags: fRead, group: "generic", since: "2.8.0", cost: "O(count)",
			syntax:  "cursor [MATCH pattern] [COUNT count] [TYPE type]",
			summary: "Iterate over the keys in the order of their bytes; cursors belong to one node", parse: parseScan, tell: tellScan},
		{name: "dbsize", arity: 1, flags: fRead | fFast, group: "server", since: "1.0.0", cost: "O(1)",
			summary: "Count all keys", parse: func(r *request) string { r.cmd.Op = statemachine.OpDBSize; return "" }},
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
		conditions = statemachine.FlagNX | statemachine.FlagXX
		deadlines  = statemachine.FlagIn | statemachine.FlagAt | statemachine.FlagKeepTTL
	)
	r.cmd.Op = statemachine.OpSet
	r.cmd.Args = append(r.cmd.Args, r.args[1], r.args[2])
	var number []byte
	var scale int64
	timed := func(i *int, flag statemachine.Flags, per int64) bool {
		if r.cmd.Flags&deadlines != 0 || *i+1 >= len(r.args) {
			return false
		}
		*i++
		number, scale = r.args[*i], per
		r.cmd.Flags |= flag
		return true
	}
	for i := 3; i < len(r.args); i++ {
		arg, ok := r.args[i], true
		switch {
		case is(arg, "nx"):
			ok = r.cmd.Flags&statemachine.FlagXX == 0
			r.cmd.Flags |= statemachine.FlagNX
		case is(arg, "xx"):
			ok = r.cmd.Flags&statemachine.FlagNX == 0
			r.cmd.Flags |= statemachine.FlagXX
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
		n, ok := wire.ParseInt(number)
		if !ok {
			return errInteger
		}
		if n <= 0 || n > math.MaxInt64/scale {
			return errExpire
		}
		r.cmd.Num = n * scale
	}
	return r.tooLong(r.args[1])
}

// maxScanCount bounds COUNT: one page is one step of the applier.
const maxScanCount = 10_000

func parseScan(r *request) string {
	id, err := strconv.ParseUint(string(r.args[1]), 10, 64)
	if err != nil {
		return "ERR invalid cursor"
	}
	var pattern []byte
	count, other := int64(10), false
	for i := 2; i < len(r.args); i += 2 {
		if i+1 >= len(r.args) {
			return errSyntax
		}
		name, value := r.args[i], r.args[i+1]
		switch {
		case is(name, "match"):
			pattern = value
		case is(name, "count"):
			n, ok := wire.ParseInt(value)
			if !ok {
				return errInteger
			}
			if n < 1 {
				return errSyntax
			}
			count = min(n, maxScanCount)
		case is(name, "type"):
			other = !is(value, "string")
		default:
			return errSyntax
		}
	}
	after := ""
	if id != 0 {
		var ok bool
		if after, ok = r.srv.cursors.find(id); !ok {
			return "ERR invalid cursor: it is another node's or too old, start again with 0"
		}
	}
	if other { // all values are strings
		r.done = func(w *wire.Writer) { w.Array(2); w.BulkString("0"); w.Array(0) }
		return ""
	}
	r.scan(after, pattern, count)
	r.aux = id
	return ""
}

func (r *request) scan(after string, pattern []byte, count int64) {
	r.cmd.Op, r.cmd.Num = statemachine.OpScan, count
	r.cmd.Args = append(r.cmd.Args, []byte(after))
	if len(pattern) > 0 && string(pattern) != "*" {
		r.cmd.Args = append(r.cmd.Args, pattern)
	}
}

// tellScan turns the key to go on after into a cursor.
func tellScan(s *Server, w *wire.Writer, res statemachine.Result, sl *slot) {
	if len(res.Array) == 0 {
		w.Error("ERR node answered a scan without a place to go on from")
		return
	}
	after, keys := res.Array[0].Bytes, res.Array[1:]
	w.Array(2)
	if len(after) == 0 {
		w.BulkString("0")
	} else {
		w.BulkString(strconv.FormatUint(s.cursors.next(sl.aux, string(after)), 10))
	}
	w.Array(len(keys))
	for _, k := range keys {
		w.Bulk(k.Bytes)
	}
}
