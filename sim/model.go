package sim

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/statemachine"
)

// model is the observer's own, simple state machine. It keeps every value that a
// key ever had, so that it can tell what a command answers at any entry: reads
// are judged by it at the entry at which a node says it evaluated them.
type model struct {
	keys  map[string][]version
	users map[string][]version // value: the rules
	live  map[string]bool      // keys that are there, or were until their deadline
}

// version is what a key holds from an entry on.
type version struct {
	index    raft.Index
	value    string
	deadline int64 // in milliseconds; 0 is none
	there    bool
	made     bool // the key was missing before
}

// moment is an entry and its log time: where a command runs.
type moment struct {
	index raft.Index
	now   raft.Time
}

const perMilli = 1_000_000 // nanoseconds

// millis is the time of the moment; next rounds it up.
func (t moment) millis() int64 { return int64(t.now) / perMilli }
func (t moment) next() int64   { return (int64(t.now) + perMilli - 1) / perMilli }

func newModel() model {
	return model{map[string][]version{}, map[string][]version{}, map[string]bool{}}
}

// newest is the last of the versions that are not behind entry i.
func newest(vs []version, i raft.Index) (v version) {
	if n := sort.Search(len(vs), func(n int) bool { return vs[n].index > i }); n > 0 {
		v = vs[n-1]
	}
	return v
}

// find is what a key holds at a moment; there is false if it is missing.
func (m *model) find(key []byte, t moment) version {
	v := newest(m.keys[string(key)], t.index)
	if v.there && v.deadline != 0 && v.deadline <= t.millis() {
		return version{}
	}
	return v
}

// put gives a key a value, and a deadline unless that is 0.
func (m *model) put(key []byte, t moment, value string, deadline int64) {
	k := string(key)
	m.keys[k] = append(m.keys[k], version{t.index, value, deadline, true, !m.find(key, t).there})
	m.live[k] = true
}

// drop removes a key and tells how many that were.
func (m *model) drop(key []byte, t moment) int64 {
	if !m.find(key, t).there {
		return 0
	}
	k := string(key)
	m.keys[k] = append(m.keys[k], version{index: t.index})
	delete(m.live, k)
	return 1
}

// Results.
func resNil() statemachine.Result { return statemachine.Result{Kind: statemachine.ResultNil} }
func resOK() statemachine.Result  { return statemachine.Result{Kind: statemachine.ResultOK} }
func resInt(n int64) statemachine.Result {
	return statemachine.Result{Kind: statemachine.ResultInt, Int: n}
}
func resBytes(s string) statemachine.Result {
	return statemachine.Result{Kind: statemachine.ResultBytes, Bytes: []byte(s)}
}
func resArray(of ...statemachine.Result) statemachine.Result {
	return statemachine.Result{Kind: statemachine.ResultArray, Array: of}
}

// result is the value, or nil if the key is missing.
func (v version) result() statemachine.Result {
	if !v.there {
		return resNil()
	}
	return resBytes(v.value)
}

func resBool(b bool) statemachine.Result {
	if b {
		return resInt(1)
	}
	return resInt(0)
}

// judge runs a command at a moment and tells what is wrong with its result, "" if
// nothing is.
func (m *model) judge(t moment, c *statemachine.Command, result []byte) string {
	got, err := statemachine.DecodeResult(result)
	if err != nil {
		return err.Error()
	}
	want, known := m.run(t, c, &got)
	if !known {
		return fmt.Sprintf("the observer does not know operation %v", c.Op)
	}
	if text := statemachine.AppendResult(nil, want); string(text) != string(result) {
		return fmt.Sprintf("%v of %q answers %s, want %s", c.Op, c.Args, show(got), show(want))
	}
	return ""
}

func show(r statemachine.Result) string {
	switch r.Kind {
	case statemachine.ResultInt:
		return strconv.FormatInt(r.Int, 10)
	case statemachine.ResultArray:
		parts := make([]string, 0, len(r.Array))
		for _, e := range r.Array {
			parts = append(parts, show(e))
		}
		return "[" + strings.Join(parts, " ") + "]"
	case statemachine.ResultNil:
		return "nil"
	case statemachine.ResultOK:
		return "OK"
	}
	return fmt.Sprintf("%.80q", r.Bytes)
}

// run answers what a command must answer. got is what it answered, which is
// looked at only where the model does not follow the state: the tokens of keys
// that are missing. known is false for commands that no client here sends.
func (m *model) run(t moment, c *statemachine.Command, got *statemachine.Result) (want statemachine.Result, known bool) {
	if c.Op.ReadOnly() {
		return m.read(t, c, got)
	}
	var old version
	if len(c.Args) > 0 {
		old = m.find(c.Args[0], t)
	}
	is := func(f statemachine.Flags) bool { return c.Flags&f != 0 }
	deadline := int64(0)
	if is(statemachine.FlagIn) {
		deadline = t.next() + c.Num
	}
	switch c.Op {
	case statemachine.OpTick:
		return resOK(), true
	case statemachine.OpSet:
		if is(statemachine.FlagKeepTTL) {
			deadline = old.deadline
		}
		ran := !(is(statemachine.FlagNX) && old.there || is(statemachine.FlagXX) && !old.there ||
			is(statemachine.FlagEq) && !(old.there && old.value == string(c.Args[2])))
		if ran {
			m.put(c.Args[0], t, string(c.Args[1]), deadline)
		}
		switch {
		case is(statemachine.FlagGet):
			return old.result(), true
		case !ran:
			return resNil(), true
		}
		return resOK(), true
	case statemachine.OpAppend:
		m.put(c.Args[0], t, old.value+string(c.Args[1]), old.deadline)
		return resInt(int64(len(old.value) + len(c.Args[1]))), true
	case statemachine.OpDel:
		n := int64(0)
		for _, key := range c.Args {
			n += m.drop(key, t)
		}
		return resInt(n), true
	case statemachine.OpMSet, statemachine.OpMSetNX:
		if c.Op == statemachine.OpMSetNX {
			for i := 0; i < len(c.Args); i += 2 {
				if m.find(c.Args[i], t).there {
					return resInt(0), true
				}
			}
		}
		for i := 0; i < len(c.Args); i += 2 {
			m.put(c.Args[i], t, string(c.Args[i+1]), 0)
		}
		if c.Op == statemachine.OpMSetNX {
			return resInt(1), true
		}
		return resOK(), true
	case statemachine.OpIncrBy:
		n, _ := strconv.ParseInt(old.value, 10, 64) // clients count only where numbers are
		n += c.Num
		m.put(c.Args[0], t, strconv.FormatInt(n, 10), old.deadline)
		return resInt(n), true
	case statemachine.OpGetDel:
		m.drop(c.Args[0], t)
		return old.result(), true
	case statemachine.OpSetBit:
		b := []byte(old.value)
		at, mask := int(c.Num>>3), byte(0x80)>>(c.Num&7)
		for len(b) <= at {
			b = append(b, 0)
		}
		was := b[at]&mask != 0
		b[at] &^= mask
		if is(statemachine.FlagOne) {
			b[at] |= mask
		}
		m.put(c.Args[0], t, string(b), old.deadline)
		return resBool(was), true
	case statemachine.OpRename:
		if !old.there {
			return statemachine.Result{Kind: statemachine.ResultError, Bytes: []byte("ERR no such key")}, true
		}
		if is(statemachine.FlagNX) {
			if m.find(c.Args[1], t).there {
				return resInt(0), true
			}
			m.drop(c.Args[0], t)
			m.put(c.Args[1], t, old.value, old.deadline)
			return resInt(1), true
		}
		m.drop(c.Args[0], t)
		m.put(c.Args[1], t, old.value, old.deadline)
		return resOK(), true
	case statemachine.OpCopy:
		if !old.there || m.find(c.Args[1], t).there && !is(statemachine.FlagReplace) {
			return resInt(0), true
		}
		m.put(c.Args[1], t, old.value, old.deadline)
		return resInt(1), true
	case statemachine.OpExpire:
		if !old.there || is(statemachine.FlagNX) && old.deadline != 0 || is(statemachine.FlagXX) && old.deadline == 0 ||
			is(statemachine.FlagGT) && (old.deadline == 0 || deadline <= old.deadline) ||
			is(statemachine.FlagLT) && old.deadline != 0 && deadline >= old.deadline {
			return resInt(0), true
		}
		if c.Num <= 0 {
			return resInt(m.drop(c.Args[0], t)), true
		}
		m.put(c.Args[0], t, old.value, deadline)
		return resInt(1), true
	case statemachine.OpPersist:
		if !old.there || old.deadline == 0 {
			return resInt(0), true
		}
		m.put(c.Args[0], t, old.value, 0)
		return resInt(1), true
	case statemachine.OpDelIfEq, statemachine.OpDelV:
		meets := c.Op == statemachine.OpDelV && uint64(old.index) == c.Seq ||
			c.Op == statemachine.OpDelIfEq && old.value == string(c.Args[len(c.Args)-1])
		if !old.there || !meets {
			return resInt(0), true
		}
		return resInt(m.drop(c.Args[0], t)), true
	case statemachine.OpSetV:
		if old.there && uint64(old.index) != c.Seq || !old.there && c.Seq != 0 {
			return resNil(), true
		}
		m.put(c.Args[0], t, string(c.Args[1]), deadline)
		return resInt(int64(t.index)), true
	case statemachine.OpPublish:
		return resOK(), true
	case statemachine.OpFlush:
		for key := range m.live {
			m.drop([]byte(key), t)
		}
		return resOK(), true
	case statemachine.OpGetEx, statemachine.OpSetRange, statemachine.OpIncrByFloat, statemachine.OpBitOp, statemachine.OpBitField:
		return m.part(t, c, old)
	case statemachine.OpBlock:
		return m.block(t, c, got)
	case statemachine.OpUserSet:
		user := newest(m.users[string(c.Args[0])], t.index)
		if c.Num >= 0 && raft.Index(c.Num) != user.seen() {
			return resNil(), true
		}
		m.users[string(c.Args[0])] = append(m.users[string(c.Args[0])], version{index: t.index, value: string(c.Args[1]), there: true})
		return resInt(int64(t.index)), true
	case statemachine.OpUserDel:
		n := int64(0)
		for _, name := range c.Args {
			if newest(m.users[string(name)], t.index).there {
				n++
				m.users[string(name)] = append(m.users[string(name)], version{index: t.index})
			}
		}
		return resInt(n), true
	}
	return statemachine.Result{}, false
}

// seen is the version as SETV and user-set count it: 0 is missing.
func (v version) seen() raft.Index {
	if !v.there {
		return 0
	}
	return v.index
}

// read is run for commands that change nothing.
func (m *model) read(t moment, c *statemachine.Command, got *statemachine.Result) (want statemachine.Result, known bool) {
	var it version
	if len(c.Args) > 0 {
		it = m.find(c.Args[0], t)
	}
	switch c.Op {
	case statemachine.OpGet:
		return it.result(), true
	case statemachine.OpMGet:
		var all []statemachine.Result
		for _, key := range c.Args {
			all = append(all, m.find(key, t).result())
		}
		return resArray(all...), true
	case statemachine.OpExists:
		n := int64(0)
		for _, key := range c.Args {
			if m.find(key, t).there {
				n++
			}
		}
		return resInt(n), true
	case statemachine.OpStrlen:
		return resInt(int64(len(it.value))), true
	case statemachine.OpGetV:
		if !it.there {
			return resNil(), true
		}
		return resArray(resBytes(it.value), resInt(int64(it.index))), true
	case statemachine.OpTTL, statemachine.OpDeadline:
		switch {
		case !it.there:
			return resInt(-2), true
		case it.deadline == 0:
			return resInt(-1), true
		case c.Op == statemachine.OpDeadline:
			return resInt(it.deadline), true
		}
		return resInt(max(it.deadline-t.next(), 0)), true
	case statemachine.OpGetBit:
		at := int(c.Num >> 3)
		return resBool(at < len(it.value) && it.value[at]&(0x80>>(c.Num&7)) != 0), true
	case statemachine.OpBitCount:
		n := 0
		for i := range len(it.value) {
			n += bits.OnesCount8(it.value[i])
		}
		return resInt(int64(n)), true
	case statemachine.OpBitPos:
		return resInt(firstBit(it, c.Flags&statemachine.FlagOne != 0)), true
	case statemachine.OpGetRange:
		from, end := int(c.Num), int(c.Seq)+1 // clients ask for no others
		return resBytes(it.value[min(from, len(it.value)):max(min(end, len(it.value)), min(from, len(it.value)))]), true
	case statemachine.OpLCS:
		return resInt(common(it.value, m.find(c.Args[1], t).value)), true
	case statemachine.OpDBSize:
		n := int64(0)
		for key := range m.keys {
			if m.find([]byte(key), t).there {
				n++
			}
		}
		return resInt(n), true
	case statemachine.OpScan:
		return m.scan(t, c)
	case statemachine.OpWatch:
		var tokens []statemachine.Result
		for i, key := range c.Args {
			token := int64(m.find(key, t).seen())
			if token == 0 && i < len(got.Array) && got.Array[i].Int < 0 && raft.Index(-1-got.Array[i].Int) <= t.index {
				token = got.Array[i].Int // its block is judged by it
			}
			tokens = append(tokens, resInt(token))
		}
		return resArray(tokens...), true
	case statemachine.OpReadBlock:
		return m.block(t, c, got)
	case statemachine.OpUsers:
		return m.list(t, c), true
	}
	return statemachine.Result{}, false
}

// scan answers a whole page: clients ask for no more keys than fit.
func (m *model) scan(t moment, c *statemachine.Command) (want statemachine.Result, known bool) {
	prefix, ok := strings.CutSuffix(string(c.Args[1]), "*")
	if !ok || len(c.Args[0]) > 0 {
		return want, false
	}
	var keys []string
	for key := range m.keys {
		if strings.HasPrefix(key, prefix) && m.find([]byte(key), t).there {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	all := []statemachine.Result{resBytes("")}
	for _, key := range keys {
		all = append(all, resBytes(key))
	}
	return resArray(all...), true
}

// list answers one user, or all of them.
func (m *model) list(t moment, c *statemachine.Command) statemachine.Result {
	var names []string
	for name := range m.users {
		if (len(c.Args) == 0 || name == string(c.Args[0])) && newest(m.users[name], t.index).there {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var all []statemachine.Result
	for _, name := range names {
		u := newest(m.users[name], t.index)
		all = append(all, resArray(resBytes(name), resBytes(u.value), resInt(int64(u.index))))
	}
	return resArray(all...)
}

// block runs all of a block, or nothing if a condition isn't met.
func (m *model) block(t moment, c *statemachine.Command, got *statemachine.Result) (want statemachine.Result, known bool) {
	ran := got.Kind == statemachine.ResultArray
	for i := range c.Num {
		key := c.Args[2*i]
		token, _ := binary.Varint(c.Args[2*i+1])
		it := m.find(key, t)
		switch {
		case token >= 0 && int64(it.seen()) != token:
			return resNil(), true
		case token < 0 && (it.there || !ran):
			// The token of a key that is missing is one for a group of keys: another one
			// of the group may have ended the block.
			return resNil(), true
		case token < 0 && m.madeBehind(string(key), raft.Index(-1-token)):
			return resNil(), true
		}
	}
	commands := c.Args[2*c.Num:]
	all := make([]statemachine.Result, 0, len(commands))
	for i, b := range commands {
		var inner statemachine.Command
		if inner.Decode(b) != nil {
			return want, false
		}
		answer := statemachine.Result{}
		if i < len(got.Array) {
			answer = got.Array[i]
		}
		r, known := m.run(t, &inner, &answer)
		if !known {
			return want, false
		}
		all = append(all, r)
	}
	return resArray(all...), true
}

// madeBehind tells whether a key was made after entry i.
func (m *model) madeBehind(key string, i raft.Index) bool {
	for _, v := range slices.Backward(m.keys[key]) {
		if v.index <= i {
			return false
		}
		if v.made {
			return true
		}
	}
	return false
}
