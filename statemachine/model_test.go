package statemachine

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"github.com/raftkv/raftkv/raft"
)

// generator draws entries that touch few keys and sessions often.
type generator struct {
	t      *rapid.T
	limits Limits
	now    raft.Time
	last   map[int64]uint64 // newest sequence number drawn of each session
}

func newGenerator(t *rapid.T) *generator {
	return &generator{t: t, limits: tinyLimits(), last: map[int64]uint64{}}
}

var genKeys = []string{"", "a", "aa", "ab", "b", "c", "k\x00", "\xff", "too long a key"}

func (g *generator) draw(label string, n int) int { return rapid.IntRange(0, n-1).Draw(g.t, label) }

func (g *generator) key() string { return rapid.SampledFrom(genKeys).Draw(g.t, "key") }

func (g *generator) value() string {
	if g.draw("number", 2) == 0 {
		return strconv.Itoa(g.draw("value", 100))
	}
	return string(bytes.Repeat([]byte{'v'}, g.draw("length", 23)))
}

// write draws a command that writes keys.
func (g *generator) write(m *Machine) Command {
	switch g.draw("op", 16) {
	case 0, 1, 2:
		c := cmd(OpSet, g.key(), g.value())
		c.Flags = Flags(g.draw("flags", 1<<3))
		if g.draw("if equal", 4) == 0 {
			c.Flags |= FlagEq
			c.Args = append(c.Args, []byte(g.value()))
		}
		switch g.draw("deadline", 6) {
		case 0:
			c.Flags |= FlagIn
			c.Num = int64(g.draw("in", 3000))
		case 1:
			c.Flags |= FlagAt
			c.Num = int64(m.Now())/millisecond + int64(g.draw("at", 3000)) - 500
		case 2:
			c.Flags |= FlagKeepTTL
		}
		return c
	case 3:
		return cmd(OpAppend, g.key(), g.value())
	case 4:
		return cmd(OpDel, g.key(), g.key())
	case 5:
		return cmd(OpMSet, g.key(), g.value(), g.key(), g.value())
	case 6:
		return cmd(OpLimit, "value-bytes").with(int64(20 + g.draw("cap", 5)))
	case 7:
		return cmd(OpIncrBy, g.key()).with(int64(g.draw("by", 7) - 3))
	case 8:
		return g.block(m)
	default:
		return g.writeMore(m)
	}
}

// session draws an id, mostly of one that is open.
func (g *generator) session(m *Machine) int64 {
	ids := []int64{0}
	m.st.sessions.Scan(func(id uint64, _ *session) bool {
		ids = append(ids, int64(id))
		return true
	})
	return rapid.SampledFrom(ids).Draw(g.t, "session")
}

func (g *generator) command(m *Machine) Command {
	switch g.draw("kind", 12) {
	case 0:
		return cmd(OpTick)
	case 1:
		return cmd(OpSessionOpen)
	case 2:
		return cmd(OpSessionKeep).with(g.session(m))
	case 3:
		if g.draw("close", 4) == 0 {
			return cmd(OpSessionClose).with(g.session(m))
		}
		return cmd(OpVerify)
	case 4, 5, 6:
		id := g.session(m)
		seq := g.last[id] + 1
		switch g.draw("seq", 6) {
		case 0:
			seq = uint64(g.draw("old", int(seq)+1))
		case 1:
			seq++
		default:
			g.last[id] = seq
		}
		return once(id, seq, g.write(m))
	default:
		return g.write(m)
	}
}

// entry draws the next entry of m.
func (g *generator) entry(m *Machine) raft.Entry {
	if g.draw("time passes", 4) == 0 {
		g.now += raft.Time(g.draw("by", 2_000)) * millisecond
	}
	g.now += raft.Time(g.draw("nanoseconds", 3))
	id := m.Applied()
	e := raft.Entry{EntryID: raft.EntryID{Term: max(id.Term, 1), Index: id.Index + 1}, Type: raft.EntryCommand, Time: g.now}
	switch g.draw("type", 30) {
	case 0:
		e.Type, e.Term = raft.EntryNoop, e.Term+1
	case 1:
		e.Type, e.Data = raft.EntryConfig, []byte("configuration")
	default:
		e.Data = AppendCommand(nil, g.command(m))
	}
	return e
}

// model is the state as one would write it in ten minutes: maps, and everything looked at every time.
type model struct {
	limits   Limits
	index    uint64
	now      int64 // ns
	keys     map[string]modelKey
	made     map[string]uint64 // index of the entry that last made the key
	sessions map[int64]*modelSession
}

type modelKey struct {
	value    string
	deadline int64 // ms
	version  uint64
}

type modelSession struct {
	used    uint64
	usedAt  int64
	last    uint64
	request map[uint64]string
	result  map[uint64]string
}

func (m *model) has(key string) bool { _, ok := m.keys[key]; return ok }

func (m *model) apply(e raft.Entry) string {
	m.index, m.now = uint64(e.Index), max(m.now, int64(e.Time))
	for k, v := range m.keys {
		if v.deadline != 0 && v.deadline*millisecond <= m.now {
			delete(m.keys, k)
		}
	}
	for id, s := range m.sessions {
		if s.usedAt+m.limits.SessionIdle*millisecond <= m.now {
			delete(m.sessions, id)
		}
	}
	if e.Type != raft.EntryCommand {
		return "OK"
	}
	var c Command
	if err := c.Decode(e.Data); err != nil {
		panic(err)
	}
	switch c.Op {
	case OpTick:
		return "OK"
	case OpSessionOpen:
		if int64(len(m.sessions)) == m.limits.Sessions {
			least := int64(0)
			for id, s := range m.sessions {
				if least == 0 || s.used < m.sessions[least].used {
					least = id
				}
			}
			delete(m.sessions, least)
		}
		m.sessions[int64(m.index)] = &modelSession{used: m.index, usedAt: m.now, request: map[uint64]string{}, result: map[uint64]string{}}
		return fmt.Sprint(m.index)
	case OpSessionKeep, OpSessionClose, OpOnce:
		s := m.sessions[c.Num]
		if s == nil {
			return "-SESSIONEXPIRED"
		}
		s.used, s.usedAt = m.index, m.now
		if c.Op == OpSessionClose {
			delete(m.sessions, c.Num)
		}
		if c.Op != OpOnce {
			return "OK"
		}
		return m.once(s, c)
	}
	return m.write(c)
}

func (m *model) once(s *modelSession, c Command) string {
	request := string(c.Args[0])
	switch {
	case c.Seq == 0:
		return "-ERR"
	case c.Seq > s.last+1:
		return "-SEQGAP"
	case c.Seq <= s.last && s.request[c.Seq] == "":
		return "-SEQOLD"
	case c.Seq <= s.last && s.request[c.Seq] != request:
		return "-SEQREUSED"
	case c.Seq <= s.last:
		return s.result[c.Seq]
	}
	var inner Command
	if err := inner.Decode(c.Args[0]); err != nil {
		panic(err)
	}
	s.last++
	s.request[s.last], s.result[s.last] = request, m.write(inner)
	return s.result[s.last]
}

// put writes a key, as every change of one does.
func (m *model) put(key, value string, deadline int64) {
	if !m.has(key) {
		m.made[key] = m.index
	}
	m.keys[key] = modelKey{value, deadline, m.index}
}

func (m *model) write(c Command) string {
	arg := func(i int) string { return string(c.Args[i]) }
	// fits tells whether key and value are within the caps.
	fits := func(key, value string) bool {
		return int64(len(key)) <= m.limits.KeyBytes && int64(len(value)) <= m.limits.ValueBytes
	}
	switch c.Op {
	case OpSet:
		nowMillis := m.now / millisecond
		deadline := int64(0)
		ways := 0
		for _, f := range []Flags{FlagIn, FlagAt, FlagKeepTTL} {
			if c.Flags&f != 0 {
				ways++
			}
		}
		switch {
		case c.Flags&FlagNX != 0 && c.Flags&FlagXX != 0, ways > 1, c.Flags&FlagEq != 0 && c.Flags&(FlagNX|FlagXX) != 0:
			return "-ERR"
		case c.Flags&FlagIn != 0:
			deadline = (m.now+millisecond-1)/millisecond + c.Num
		case c.Flags&FlagAt != 0:
			deadline = c.Num
		}
		if c.Flags&(FlagIn|FlagAt) != 0 && c.Num <= 0 || !fits(arg(0), arg(1)) {
			return "-ERR"
		}
		old := m.keys[arg(0)]
		if c.Flags&FlagKeepTTL != 0 {
			deadline = old.deadline
		}
		done := !(c.Flags&FlagNX != 0 && m.has(arg(0)) || c.Flags&FlagXX != 0 && !m.has(arg(0)) ||
			c.Flags&FlagEq != 0 && (!m.has(arg(0)) || old.value != arg(2)))
		answer := "nil"
		if c.Flags&FlagGet != 0 && m.has(arg(0)) {
			answer = strconv.Quote(old.value)
		} else if c.Flags&FlagGet == 0 && done {
			answer = "OK"
		}
		if done {
			if deadline != 0 && deadline <= nowMillis {
				delete(m.keys, arg(0))
			} else {
				m.put(arg(0), arg(1), deadline)
			}
		}
		return answer
	case OpAppend:
		k := m.keys[arg(0)]
		k.value += arg(1)
		if !fits(arg(0), k.value) {
			return "-ERR"
		}
		m.put(arg(0), k.value, k.deadline)
		return fmt.Sprint(len(k.value))
	case OpDel:
		n := 0
		for i := range c.Args {
			if m.has(arg(i)) {
				delete(m.keys, arg(i))
				n++
			}
		}
		return fmt.Sprint(n)
	case OpMSet:
		for i := 0; i < len(c.Args); i += 2 {
			if !fits(arg(i), arg(i+1)) {
				return "-ERR"
			}
		}
		for i := 0; i < len(c.Args); i += 2 {
			m.put(arg(i), arg(i+1), 0)
		}
		return "OK"
	case OpIncrBy:
		k, ok := m.keys[arg(0)]
		if !ok {
			k.value = "0"
		}
		v, err := strconv.ParseInt(k.value, 10, 64)
		if err != nil || fmt.Sprint(v) != k.value || !fits(arg(0), "") {
			return "-ERR"
		}
		m.put(arg(0), fmt.Sprint(v+c.Num), k.deadline)
		return fmt.Sprint(v + c.Num)
	case OpLimit:
		m.limits.ValueBytes = c.Num
		return "OK"
	}
	return m.writeMore(c)
}

// The machine answers what the model answers, shows what the model shows, and
// two machines fed alike are alike, with the hash right after every entry.
func TestMachineAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := newGenerator(t)
		// Only count bounds the results here: the model knows no bytes. One too large never comes.
		g.limits.SessionResultBytes = 1 << 20
		a, b := New(g.limits), New(g.limits)
		mod := &model{limits: g.limits, keys: map[string]modelKey{}, made: map[string]uint64{}, sessions: map[int64]*modelSession{}}
		for range rapid.SampledFrom([]int{150, 300, 20, 5}).Draw(t, "entries") {
			e := g.entry(a)
			out := a.Apply(e, nil)
			if other := b.Apply(e, []byte("head")); string(other) != "head"+string(out) {
				t.Fatalf("entry %d: two machines answer %q and %q", e.Index, out, other)
			}
			compareResult(t, mod, e, out, a)
			compareState(t, mod, a)
		}
		if a.st.check(t); a.Hash() != b.Hash() {
			t.Fatal("two machines differ")
		}
	})
}

func compareResult(t *rapid.T, mod *model, e raft.Entry, out []byte, m *Machine) {
	res, err := DecodeResult(out)
	if err != nil {
		t.Fatal(err)
	}
	if e.Type == raft.EntryCommand && Op(e.Data[0]) == OpVerify {
		mod.apply(raft.Entry{EntryID: e.EntryID, Type: raft.EntryNoop, Time: e.Time})
		if h := m.Recompute(); !bytes.Equal(res.Bytes, h[:]) {
			t.Fatalf("verify answered %x, state is %x", res.Bytes, h)
		}
		return
	}
	got := showResult(prefixes(res))
	if want := mod.apply(e); got != want {
		t.Fatalf("entry %d, %q: got %s, want %s", e.Index, e.Data, showResult(res), want)
	}
	for id, s := range mod.sessions {
		for seq := range s.request {
			if seq+uint64(mod.limits.SessionResults) <= s.last {
				delete(s.request, seq)
			}
		}
		if got := m.st.session(id); got == nil || got.last != s.last || got.used != s.used {
			t.Fatalf("session %d: %+v, want %+v", id, got, s)
		}
	}
}

// prefixes cuts errors after their first word.
func prefixes(r Result) Result {
	if r.Kind == ResultError {
		r.Bytes = bytes.Fields(r.Bytes)[0]
	}
	for i := range r.Array {
		r.Array[i] = prefixes(r.Array[i])
	}
	return r
}

func compareState(t *rapid.T, mod *model, m *Machine) {
	var want []string
	for k := range mod.keys {
		want = append(want, k)
	}
	slices.Sort(want)
	res, err := DecodeResult(m.Query(AppendCommand(nil, cmd(OpScan, "", "*").with(1000)), nil))
	if err != nil || len(res.Array) != 1+len(want) || len(res.Array[0].Bytes) != 0 {
		t.Fatalf("scan %s, want %q, %v", showResult(res), want, err)
	}
	for i, k := range want {
		if string(res.Array[i+1].Bytes) != k {
			t.Fatalf("scan %s, want %q", showResult(res), want)
		}
		v, err := DecodeResult(m.Query(AppendCommand(nil, cmd(OpGet, k)), nil))
		if err != nil || string(v.Bytes) != mod.keys[k].value || m.st.keys.get([]byte(k)).deadline != mod.keys[k].deadline || m.st.keys.get([]byte(k)).version != mod.keys[k].version {
			t.Fatalf("key %q: %s, want %+v", k, showResult(v), mod.keys[k])
		}
	}
	n, err := DecodeResult(m.Query(AppendCommand(nil, cmd(OpDBSize)), nil))
	if err != nil || n.Int != int64(len(want)) {
		t.Fatalf("dbsize %d, want %d", n.Int, len(want))
	}
	if m.Hash() != m.Recompute() {
		t.Fatal("running hash differs from the state")
	}
}

// Each field of the state moves the hash: a fault in any of them is seen.
func TestHashCoversEverything(t *testing.T) {
	base := chunky(t).m.Hash()
	for name, change := range map[string]func(s *state){
		"key":         func(s *state) { *s.keys.get([]byte("a")).room() = 'A' },
		"value":       func(s *state) { s.keys.get([]byte("a")).setValue([]byte("13")) },
		"empty value": func(s *state) { s.keys.get([]byte("b")).setValue([]byte{0}) },
		"version":     func(s *state) { s.keys.get([]byte("a")).version++ },
		"deadline":    func(s *state) { s.keys.get([]byte("d")).deadline++ },
		"two values": func(s *state) {
			a, c := s.keys.get([]byte("a")), s.keys.get([]byte("c"))
			v := a.value()
			a.setValue(c.value())
			c.setValue(v)
		},
		"session last":  func(s *state) { s.oldest.last++ },
		"session used":  func(s *state) { s.oldest.used++ },
		"session time":  func(s *state) { s.oldest.usedAt++ },
		"result":        func(s *state) { s.newest.kept[0].result = "\x01" },
		"request":       func(s *state) { s.newest.kept[0].request.Lo++ },
		"results":       func(s *state) { s.newest.kept = s.newest.kept[1:] },
		"setting":       func(s *state) { s.limits.SessionIdle++ },
		"two settings":  func(s *state) { l := &s.limits; l.KeyBytes, l.ValueBytes = l.ValueBytes, l.KeyBytes },
		"user's name":   func(s *state) { s.users = []User{{"bo", s.users[0].Rules, s.users[0].Version}} },
		"user's rules":  func(s *state) { s.users = []User{{"al", "off", s.users[0].Version}} },
		"user's change": func(s *state) { s.users = []User{{"al", s.users[0].Rules, 1}} },
		"births":        func(s *state) { s.births[4095] = 1 },
		"index":         func(s *state) { s.applied.Index++ },
		"term":          func(s *state) { s.applied.Term++ },
		"time":          func(s *state) { s.now++ },
		"chunk":         func(s *state) { s.keys.get([]byte("a")).setValue(append(make([]byte, chunkBytes), 1)) },
		"nothing at it": nil,
		"order of chunks": func(s *state) {
			v := s.keys.get([]byte("big")).value()
			s.keys.get([]byte("big")).setValue(append(bytes.Clone(v[chunkBytes:]), v[:chunkBytes]...))
		},
	} {
		m := chunky(t).m
		if change == nil {
			if m.Recompute() != base {
				t.Error("the same state has two hashes")
			}
			continue
		}
		if change(m.st); m.Recompute() == base {
			t.Errorf("%s is not in the hash", name)
		}
	}
}

// APPEND hashes only what it touches: check that against the whole, around chunk borders.
func TestAppendHashesOverChunks(t *testing.T) {
	r := newRig(t)
	for i, n := range []int{1, chunkBytes - 2, 1, 1, chunkBytes, 3*chunkBytes - 1, 0, 5} {
		r.do(cmd(OpAppend, "k", string(bytes.Repeat([]byte{byte(i)}, n))))
		r.m.st.check(t)
	}
	r.do(cmd(OpSet, "k", "short"))
	r.m.st.check(t)
	r.do(cmd(OpDel, "k"))
	if r.m.st.check(t); r.m.st.running != (sum{}) {
		t.Error("an empty state has a sum")
	}
}

// A frozen or copied slice never sees what APPEND writes behind it.
func TestAppendSharesNothingVisible(t *testing.T) {
	r := newRig(t)
	r.do(cmd(OpSet, "k", "0123456789"))
	r.do(cmd(OpAppend, "k", "a")) // now there is room behind the value
	old := r.m.st.keys.get([]byte("k")).value()
	if roomFor(len(old)) == len(old) {
		t.Fatal("no room: the test says nothing")
	}
	r.do(cmd(OpAppend, "k", "b"))
	if string(old) != "0123456789a" || &old[0] != &r.m.st.keys.get([]byte("k")).value()[0] {
		t.Errorf("old slice %q", old)
	}
	r.do(cmd(OpSet, "k", "x"))
	r.do(cmd(OpAppend, "k", "y"))
	if string(old) != "0123456789a" || r.query(cmd(OpGet, "k")) != `"xy"` {
		t.Errorf("old slice %q", old)
	}
}

// lends is a rig whose entries can be cleared up to one of them, as if the log had dropped
// them and their memory were used again.
type lends struct {
	*rig
	data [][]byte // of the entries from 1 on
}

func (l *lends) do(c Command) {
	data := AppendCommand(nil, c)
	l.data = append(l.data, data)
	l.raw(data)
}

// Of an entry that a snapshot covers the state keeps no bytes, whatever was done to
// the key since: not before the view, and not while it was walked either.
func TestASnapshotSettlesWhatTheLogLent(t *testing.T) {
	l := &lends{rig: newRig(t)}
	before := []Command{
		cmd(OpSet, "set", "value"), cmd(OpMSet, "m", "value"), cmd(OpAppend, "app", "value"), cmd(OpAppend, "app", "more"),
		cmd(OpSet, "added", "value"), cmd(OpAppend, "added", "more"), cmd(OpSet, "name", "value"), cmd(OpRename, "name", "b"),
		cmd(OpSet, "from", "value"), cmd(OpCopy, "from", "to"), cmd(OpSet, "timed", "value"),
		cmd(OpSet, "x1", "value"), cmd(OpSet, "x2", "value"), cmd(OpSet, "x3", "value"), cmd(OpSet, "x4", "value"),
	}
	for _, c := range before {
		l.do(c)
	}
	if err := l.m.Freeze(); err != nil {
		t.Fatal(err)
	}
	covered := len(l.data)
	// Newer versions of keys that the walk has not met yet, with values of before.
	for _, c := range []Command{
		cmd(OpRename, "x1", "a1"), cmd(OpCopy, "x2", "a2"), cmd(OpExpire, "timed").with(1e9, FlagIn),
		cmd(OpExpire, "x3").with(1e9, FlagIn), cmd(OpPersist, "x3"), cmd(OpGetEx, "x4").with(1e9, FlagIn), cmd(OpSet, "new", "lent"),
	} {
		l.do(c)
	}
	for done := false; !done; {
		var err error
		if _, done, err = l.m.Step(nil, 1); err != nil {
			t.Fatal(err)
		}
	}
	l.m.Thaw()
	for _, data := range l.data[:covered] {
		clear(data)
	}
	l.m.st.check(t)
	all := cmd(OpMGet, "set", "m", "app", "added", "b", "from", "to", "timed", "a1", "x2", "a2", "x3", "x4", "new")
	want := `["value" "value" "valuemore" "valuemore" "value" "value" "value" "value" "value" "value" "value" "value" "value" "lent"]`
	if got := l.query(all); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if it := l.m.st.keys.get([]byte("new")); it.keyLen&valueLent == 0 {
		t.Error("a value that no snapshot covers is a copy: the log and the state hold it twice")
	}
}
