package resp

import (
	"bytes"

	wire "github.com/raftkv/raftkv/resp"
	"github.com/raftkv/raftkv/statemachine"
)

// valueCommands are those on values that are rarer than stringCommands.
func valueCommands() []command {
	one := [3]int{1, 1, 1}
	return []command{
		{name: "getset", arity: 3, flags: fWrite | fGrows | fFast, keys: one, group: "string", since: "1.0.0", cost: "O(1)",
			syntax: "key value", summary: "Set the value of a key; answers the old one", parse: func(r *request) string {
				r.cmd.Flags = statemachine.FlagGet
				return r.set(r.args[1], r.args[2])
			}},
		{name: "setnx", arity: 3, flags: fWrite | fGrows | fFast, keys: one, group: "string", since: "1.0.0", cost: "O(1)",
			syntax: "key value", summary: "Set the value of a key that is missing", tell: tellDone, parse: func(r *request) string {
				r.cmd.Flags = statemachine.FlagNX
				return r.set(r.args[1], r.args[2])
			}},
		{name: "setex", arity: 4, flags: fWrite | fGrows, keys: one, group: "string", since: "2.0.0", cost: "O(1)",
			syntax: "key seconds value", summary: "Set value and time to live of a key", parse: parseSetIn("setex", 1000)},
		{name: "psetex", arity: 4, flags: fWrite | fGrows, keys: one, group: "string", since: "2.6.0", cost: "O(1)",
			syntax: "key milliseconds value", summary: "Set value and time to live of a key", parse: parseSetIn("psetex", 1)},
		{name: "msetnx", arity: -3, flags: fWrite | fGrows | fVariadic, keys: [3]int{1, -1, 2}, group: "string", since: "1.0.1", cost: "O(n) in the keys",
			syntax: "key value [key value ...]", summary: "Set several keys if all of them are missing", parse: parseMSetNX},
		{name: "getdel", arity: 2, flags: fWrite | fFast, keys: one, group: "string", since: "6.2.0", cost: "O(1)",
			syntax: "key", summary: "Get the value of a key and delete it", parse: oneKey(statemachine.OpGetDel)},
		{name: "getex", arity: -2, flags: fWrite | fFast, keys: one, group: "string", since: "6.2.0", cost: "O(1)",
			syntax:  "key [EX seconds | PX milliseconds | EXAT unix-seconds | PXAT unix-milliseconds | PERSIST]",
			summary: "Get the value of a key and change its time to live", parse: parseGetEx},
		{name: "getrange", arity: 4, flags: fRead, keys: one, group: "string", since: "2.4.0", cost: "O(n) in the bytes answered",
			syntax: "key start end", summary: "Get a part of a value", parse: parseGetRange},
		{name: "substr", arity: 4, flags: fRead, keys: one, group: "string", since: "1.0.0", cost: "O(n) in the bytes answered",
			syntax: "key start end", summary: "The same as GETRANGE", parse: parseGetRange},
		{name: "setrange", arity: 4, flags: fWrite | fGrows, keys: one, group: "string", since: "2.2.0", cost: "O(n) in the bytes of the value",
			syntax: "key offset value", summary: "Overwrite a part of a value; answers its length", parse: parseSetRange},
		{name: "incrbyfloat", arity: 3, flags: fWrite | fGrows | fFast, keys: one, group: "string", since: "2.6.0", cost: "O(1)",
			syntax: "key increment", summary: "Add to a number with a point", parse: parseIncrByFloat},
		{name: "lcs", arity: -3, flags: fRead, keys: [3]int{1, 2, 1}, group: "string", since: "7.0.0", cost: "O(n*m) in the bytes of both values",
			syntax:  "key1 key2 [LEN] [IDX] [MINMATCHLEN min-match-len] [WITHMATCHLEN]",
			summary: "Find the longest common subsequence of two values", parse: parseLCS, tell: tellLCS},

		{name: "getv", arity: 2, flags: fRead | fFast, keys: one, group: "string", cost: "O(1)",
			syntax: "key", summary: "Get value and version of a key: the index of its last change", parse: oneKey(statemachine.OpGetV)},
		{name: "setv", arity: -4, flags: fWrite | fGrows, keys: one, group: "string", cost: "O(1)",
			syntax:  "key version value [EX seconds | PX milliseconds | EXAT unix-seconds | PXAT unix-milliseconds | KEEPTTL]",
			summary: "Set the value of a key that has this version (0: is missing); answers the new version, or nil", parse: parseSetV},
		{name: "delv", arity: 3, flags: fWrite | fFast, keys: one, group: "generic", cost: "O(1)",
			syntax: "key version", summary: "Delete a key that has this version; answers how many that were", parse: parseDelV},
		{name: "delifeq", arity: 3, flags: fWrite | fFast, keys: one, group: "string", cost: "O(n) in the bytes of the value",
			syntax: "key value", summary: "Delete a key that holds this value; answers how many that were (as Valkey 9)", parse: func(r *request) string {
				r.cmd.Op = statemachine.OpDelIfEq
				r.cmd.Args = append(r.cmd.Args, r.args[1], r.args[2])
				return r.tooLong(r.args[1])
			}},
	}
}

// set makes the command an OpSet; flags and number are there already.
func (r *request) set(key, value []byte) string {
	r.cmd.Op = statemachine.OpSet
	r.cmd.Args = append(r.cmd.Args, key, value)
	return r.tooLong(key)
}

// tellDone tells 1 for done and 0 for not done.
func tellDone(_ *Server, w *wire.Writer, res statemachine.Result, _ *slot) {
	if res.Kind == statemachine.ResultOK {
		w.Int(1)
	} else {
		w.Int(0)
	}
}

func parseSetIn(name string, scale int64) func(*request) string {
	return func(r *request) string {
		if text := r.deadline(r.args[2], scale, name); text != "" {
			return text
		}
		r.cmd.Flags = statemachine.FlagIn
		return r.set(r.args[1], r.args[3])
	}
}

func parseMSetNX(r *request) string {
	if len(r.args)%2 == 0 {
		return "ERR wrong number of arguments for 'msetnx' command"
	}
	text := parseMSet(r)
	r.cmd.Op = statemachine.OpMSetNX
	return text
}

func parseGetEx(r *request) string {
	r.cmd.Op = statemachine.OpGetEx
	r.cmd.Args = append(r.cmd.Args, r.args[1])
	text := r.times(r.args[2:], statemachine.FlagPersist, "persist", "getex")
	if text != "" && text != errSyntax {
		return r.unlessMissing(text, func(w *wire.Writer) { w.Null() })
	}
	if text != "" {
		return text
	}
	return r.tooLong(r.args[1])
}

// unlessMissing answers an error if the key is there, and something else if not:
// Redis looks at some arguments only then.
func (r *request) unlessMissing(text string, missing func(w *wire.Writer)) string {
	r.cmd = statemachine.Command{Args: r.cmd.Args[:0]}
	r.told = &command{tell: func(_ *Server, w *wire.Writer, res statemachine.Result, _ *slot) {
		if res.Int > 0 {
			w.Error(text)
		} else {
			missing(w)
		}
	}}
	return oneKey(statemachine.OpExists)(r)
}

// times reads the options of a command that takes a time or the one word that stands
// in its place; one may stand there twice. First all of them, then the number, as Redis does.
func (r *request) times(args [][]byte, other statemachine.Flags, word, name string) string {
	var number, which []byte
	var scale int64
	for i := 0; i < len(args); i++ {
		flag, per, arg := statemachine.FlagIn, int64(1), args[i]
		switch {
		case is(arg, word):
			flag = other
		case is(arg, "ex"):
			per = 1000
		case is(arg, "px"):
		case is(arg, "exat"):
			flag, per = statemachine.FlagAt, 1000
		case is(arg, "pxat"):
			flag = statemachine.FlagAt
		default:
			return errSyntax
		}
		if which != nil && !bytes.EqualFold(which, arg) {
			return errSyntax
		}
		which = arg
		r.cmd.Flags |= flag
		if flag == other {
			continue
		}
		if i++; i == len(args) {
			return errSyntax
		}
		number, scale = args[i], per
	}
	if scale == 0 {
		return ""
	}
	return r.deadline(number, scale, name)
}

func parseGetRange(r *request) string {
	start, ok := wire.ParseInt(r.args[2])
	end, ok2 := wire.ParseInt(r.args[3])
	if !ok || !ok2 {
		return errInteger
	}
	r.cmd.Num, r.cmd.Seq = start, uint64(end)
	return oneKey(statemachine.OpGetRange)(r)
}

func parseSetRange(r *request) string {
	offset, ok := wire.ParseInt(r.args[2])
	if !ok {
		return errInteger
	}
	if offset < 0 {
		return "ERR offset is out of range"
	}
	r.cmd.Op, r.cmd.Num = statemachine.OpSetRange, offset
	r.cmd.Args = append(r.cmd.Args, r.args[1], r.args[3])
	return r.tooLong(r.args[1])
}

func parseIncrByFloat(r *request) string {
	r.cmd.Op = statemachine.OpIncrByFloat
	r.cmd.Args = append(r.cmd.Args, r.args[1], r.args[2])
	return r.tooLong(r.args[1])
}

func parseLCS(r *request) string {
	r.cmd.Op = statemachine.OpLCS
	r.cmd.Args = append(r.cmd.Args, r.args[1], r.args[2])
	for i := 3; i < len(r.args); i++ {
		switch arg := r.args[i]; {
		case is(arg, "len"):
			r.cmd.Flags |= statemachine.FlagLen
		case is(arg, "idx"):
			r.cmd.Flags |= statemachine.FlagIdx
		case is(arg, "withmatchlen"):
			r.cmd.Flags |= statemachine.FlagWithLen
		case is(arg, "minmatchlen") && i+1 < len(r.args):
			i++
			n, ok := wire.ParseInt(r.args[i])
			if !ok {
				return errInteger
			}
			r.cmd.Num = max(n, 0)
		default:
			return errSyntax
		}
	}
	if text := r.tooLong(r.args[1]); text != "" {
		return text
	}
	return r.tooLong(r.args[2])
}

// tellLCS names the two parts of what IDX answers.
func tellLCS(_ *Server, w *wire.Writer, res statemachine.Result, _ *slot) {
	if res.Kind != statemachine.ResultArray || len(res.Array) != 2 {
		tellResult(w, res)
		return
	}
	w.Map(2)
	w.BulkString("matches")
	tellResult(w, res.Array[0])
	w.BulkString("len")
	tellResult(w, res.Array[1])
}

// version reads a version, which is an index of the log.
func (r *request) version(b []byte) string {
	v, ok := wire.ParseInt(b)
	if !ok || v < 0 {
		return "ERR version is not an integer or out of range"
	}
	r.cmd.Seq = uint64(v)
	return ""
}

func parseSetV(r *request) string {
	if text := r.version(r.args[2]); text != "" {
		return text
	}
	if text := r.times(r.args[4:], statemachine.FlagKeepTTL, "keepttl", "setv"); text != "" {
		return text
	}
	text := r.set(r.args[1], r.args[3])
	r.cmd.Op = statemachine.OpSetV
	return text
}

func parseDelV(r *request) string {
	if text := r.version(r.args[2]); text != "" {
		return text
	}
	return oneKey(statemachine.OpDelV)(r)
}

// millisecondsToSeconds rounds as Redis does.
func millisecondsToSeconds(ms int64) int64 { return int64((uint64(ms) + 500) / 1000) }
