package resp

import (
	"math"
	"math/rand/v2"
	"strconv"
	"strings"

	wire "github.com/raftkv/raftkv/resp"
	"github.com/raftkv/raftkv/statemachine"
)

// genericCommands are those on keys.
func genericCommands() []command {
	one, second := [3]int{1, 1, 1}, [3]int{2, 2, 1}
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
		{name: "flushall", arity: -1, flags: fWrite, group: "server", since: "1.0.0", cost: "O(1)", syntax: "[ASYNC | SYNC]",
			summary: "Delete all keys", parse: parseFlush},
		{name: "flushdb", arity: -1, flags: fWrite, group: "server", since: "1.0.0", cost: "O(1)", syntax: "[ASYNC | SYNC]",
			summary: "Delete all keys: there is one database", parse: parseFlush},
		{name: "type", arity: 2, flags: fRead | fFast, keys: one, group: "generic", since: "1.0.0", cost: "O(1)",
			syntax: "key", summary: "Tell string, or none if the key is missing", parse: oneKey(statemachine.OpExists), tell: tellType},
		{name: "touch", arity: -2, flags: fRead | fFast | fVariadic, keys: [3]int{1, -1, 1}, group: "generic", since: "3.2.1", cost: "O(n) in the keys",
			syntax: "key [key ...]", summary: "Count the keys that exist; uses are not tracked", parse: allKeys(statemachine.OpExists)},
		{name: "keys", arity: 2, flags: fRead, group: "generic", since: "1.0.0", cost: "O(n) in all keys; nothing else is applied meanwhile",
			syntax: "pattern", summary: "List the keys that match", parse: func(r *request) string {
				r.cmd.Op = statemachine.OpKeys
				r.cmd.Args = append(r.cmd.Args, r.args[1])
				return patternTooLong(r.args[1])
			}},
		{name: "randomkey", arity: 1, flags: fRead, group: "generic", since: "1.0.0", cost: "O(log n)",
			summary: "Get any key", parse: func(r *request) string {
				// A read runs on one node only, so the draw may be this one's.
				r.cmd.Op, r.cmd.Num = statemachine.OpRandomKey, rand.Int64()
				return ""
			}},
		{name: "rename", arity: 3, flags: fWrite, keys: [3]int{1, 2, 1}, group: "generic", since: "1.0.0", cost: "O(n) in the bytes of the value",
			syntax: "key newkey", summary: "Rename a key; the other one is overwritten", parse: allKeys(statemachine.OpRename)},
		{name: "renamenx", arity: 3, flags: fWrite | fFast, keys: [3]int{1, 2, 1}, group: "generic", since: "1.0.0", cost: "O(n) in the bytes of the value",
			syntax: "key newkey", summary: "Rename a key unless the other one exists", parse: func(r *request) string {
				r.cmd.Flags = statemachine.FlagNX
				return allKeys(statemachine.OpRename)(r)
			}},
		{name: "copy", arity: -3, flags: fWrite | fGrows, keys: [3]int{1, 2, 1}, group: "generic", since: "6.2.0", cost: "O(n) in the bytes of the value",
			syntax: "source destination [DB destination-db] [REPLACE]", summary: "Copy value and time to live of a key", parse: parseCopy},
		{name: "object", arity: -2, group: "generic", since: "2.2.3", cost: "O(1)", summary: "How a value is kept", subs: []*command{
			{name: "encoding", arity: 3, flags: fRead, keys: second, since: "2.2.3", cost: "O(1)", syntax: "key", summary: "Tell what Redis would keep the value as", parse: keyAt2(statemachine.OpEncoding)},
			{name: "freq", arity: 3, flags: fRead, keys: second, since: "4.0.0", cost: "O(1)", syntax: "key", summary: "Not tracked: an error, as Redis without an LFU policy", parse: keyAt2(statemachine.OpEncoding), tell: tellNotTracked(errNoFreq)},
			{name: "idletime", arity: 3, flags: fRead, keys: second, since: "2.2.3", cost: "O(1)", syntax: "key", summary: "Not tracked: an error", parse: keyAt2(statemachine.OpEncoding), tell: tellNotTracked(errNoIdle)},
			{name: "refcount", arity: 3, flags: fRead, keys: second, since: "2.2.3", cost: "O(1)", syntax: "key", summary: "Tell 1: values are not shared", parse: keyAt2(statemachine.OpExists), tell: tellRefCount},
			helpCommand(),
		}},
		{name: "memory", arity: -2, group: "server", since: "4.0.0", cost: "O(1)", summary: "How much memory is used", subs: []*command{
			{name: "usage", arity: -3, flags: fRead, keys: second, since: "4.0.0", cost: "O(1)", syntax: "key [SAMPLES count]", summary: "Estimate the bytes that a key takes", parse: parseMemoryUsage},
			helpCommand(),
		}},
	}
}

// maxPatternBytes bounds a pattern of keys or channels from its first special byte on. Every byte of every key may be
// compared with all of that, while the applier does nothing else. What comes before costs no more than the key.
const maxPatternBytes = 1 << 10

// patternTooLong is the error reply for a pattern above that.
func patternTooLong(pattern []byte) string {
	literal := 0
	for literal < len(pattern) && strings.IndexByte("*?[", pattern[literal]) < 0 {
		if pattern[literal] == '\\' {
			literal++
		}
		literal++
	}
	if len(pattern)-literal <= maxPatternBytes {
		return ""
	}
	return "ERR pattern of " + strconv.Itoa(len(pattern)-literal) + " bytes from its first *, ? or [ on is above the limit of " + strconv.Itoa(maxPatternBytes) + " bytes"
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
	return patternTooLong(pattern)
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

func parseFlush(r *request) string {
	if len(r.args) > 2 || len(r.args) == 2 && !is(r.args[1], "sync") && !is(r.args[1], "async") {
		return errSyntax
	}
	r.cmd.Op = statemachine.OpFlush
	return ""
}

func tellType(_ *Server, w *wire.Writer, res statemachine.Result, _ *slot) {
	if res.Int > 0 {
		w.Status("string")
	} else {
		w.Status("none")
	}
}

func parseCopy(r *request) string {
	for i := 3; i < len(r.args); i++ {
		switch arg := r.args[i]; {
		case is(arg, "replace"):
			r.cmd.Flags |= statemachine.FlagReplace
		case is(arg, "db") && i+1 < len(r.args):
			i++
			n, ok := wire.ParseInt(r.args[i])
			switch {
			case !ok:
				return errInteger
			case n < math.MinInt32 || n > math.MaxInt32:
				return "ERR value is out of range, value must between -2147483648 and 2147483647"
			case n != 0:
				return "ERR DB index is out of range"
			}
		default:
			return errSyntax
		}
	}
	r.args = r.args[:3]
	return allKeys(statemachine.OpCopy)(r)
}

// keyAt2 is oneKey behind a subcommand.
func keyAt2(op statemachine.Op) func(*request) string {
	return func(r *request) string {
		r.args = r.args[1:]
		return oneKey(op)(r)
	}
}

const (
	errNoFreq = "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust."
	errNoIdle = "ERR idle time is not tracked: reads of any node would have to be written down"
)

// tellNotTracked tells an error, or nil if the key is missing.
func tellNotTracked(text string) func(*Server, *wire.Writer, statemachine.Result, *slot) {
	return func(_ *Server, w *wire.Writer, res statemachine.Result, _ *slot) {
		if res.Kind == statemachine.ResultNil {
			w.Null()
		} else {
			w.Error(text)
		}
	}
}

func tellRefCount(_ *Server, w *wire.Writer, res statemachine.Result, _ *slot) {
	if res.Int > 0 {
		w.Int(1)
	} else {
		w.Null()
	}
}

func parseMemoryUsage(r *request) string {
	for i := 3; i < len(r.args); i += 2 {
		if !is(r.args[i], "samples") || i+1 == len(r.args) {
			return errSyntax
		}
		n, ok := wire.ParseInt(r.args[i+1])
		if !ok {
			return errInteger
		}
		if n < 0 {
			return errSyntax
		}
	}
	return keyAt2(statemachine.OpMemory)(r)
}
