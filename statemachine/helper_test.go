package statemachine

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/raft"
)

// rig applies commands one after the other, as a node would.
type rig struct {
	t   testing.TB
	m   *Machine
	now raft.Time // of the next entry
}

func newRig(t testing.TB) *rig { return newRigWith(t, DefaultLimits()) }

func newRigWith(t testing.TB, l Limits) *rig { return &rig{t: t, m: New(l), now: 1_000 * millisecond} }

// tinyLimits are so low that tests run into each of them.
func tinyLimits() Limits {
	return Limits{KeyBytes: 8, ValueBytes: 20, Sessions: 3, SessionIdle: 5000, SessionResults: 4, SessionResultBytes: 150}
}

func (r *rig) entry(data []byte) raft.Entry {
	id := r.m.Applied()
	return raft.Entry{EntryID: raft.EntryID{Term: max(id.Term, 1), Index: id.Index + 1}, Type: raft.EntryCommand, Time: r.now, Data: data}
}

func (r *rig) raw(data []byte) string {
	r.t.Helper()
	return show(r.t, r.m.Apply(r.entry(data), nil))
}

// apply catches the one panic that Apply may end with.
func apply(m *Machine, e raft.Entry) (out []byte, stop *StopError) {
	defer func() {
		if p := recover(); p != nil {
			stop = p.(*StopError) // any other panic goes on from here
		}
	}()
	return m.Apply(e, nil), nil
}

// do applies the command and shows the result.
func (r *rig) do(c Command) string {
	r.t.Helper()
	return r.raw(AppendCommand(nil, c))
}

func (r *rig) query(c Command) string {
	r.t.Helper()
	return show(r.t, r.m.Query(AppendCommand(nil, c), nil))
}

// any applies a write and queries a read.
func (r *rig) any(c Command) string {
	r.t.Helper()
	if c.Op.ReadOnly() {
		return r.query(c)
	}
	return r.do(c)
}

func show(t testing.TB, encoded []byte) string {
	t.Helper()
	res, err := DecodeResult(encoded)
	if err != nil {
		t.Fatalf("result %x: %v", encoded, err)
	}
	if !bytes.Equal(AppendResult(nil, res), encoded) {
		t.Fatalf("result %x is not canonical", encoded)
	}
	return showResult(res)
}

func showResult(r Result) string {
	switch r.Kind {
	case ResultNil:
		return "nil"
	case ResultOK:
		return "OK"
	case ResultInt:
		return strconv.FormatInt(r.Int, 10)
	case ResultBytes:
		return strconv.Quote(string(r.Bytes))
	case ResultArray:
		var parts []string
		for _, e := range r.Array {
			parts = append(parts, showResult(e))
		}
		return "[" + strings.Join(parts, " ") + "]"
	case ResultError:
		return "-" + string(r.Bytes)
	}
	return fmt.Sprintf("kind %d", r.Kind)
}

// cmd makes a command from strings.
func cmd(op Op, args ...string) Command {
	c := Command{Op: op}
	for _, a := range args {
		c.Args = append(c.Args, []byte(a))
	}
	return c
}

func (c Command) with(num int64, flags ...Flags) Command {
	c.Num = num
	for _, f := range flags {
		c.Flags |= f
	}
	return c
}

func once(session int64, seq uint64, inner Command) Command {
	return Command{Op: OpOnce, Num: session, Seq: seq, Args: [][]byte{AppendCommand(nil, inner)}}
}

// check verifies the invariants of state.
func (s *state) check(t interface {
	Helper()
	Fatalf(string, ...any)
}) {
	t.Helper()
	if got, want := s.hash(), s.recompute(); got != want {
		t.Fatalf("running hash %x, recomputed %x", got, want)
	}
	if s.keys.count != s.tree.Len() {
		t.Fatalf("%d keys, %d in the tree", s.keys.count, s.tree.Len())
	}
	s.keys.check(t)
	size, timed, last := int64(0), 0, ""
	s.tree.Scan(func(it *item) bool {
		if s.keys.get([]byte(it.key())) != it {
			t.Fatalf("key %q: map and tree differ", it.key())
		}
		if last >= it.key() && last != "" {
			t.Fatalf("key %q after %q", it.key(), last)
		}
		last = it.key()
		size += int64(len(it.key()) + len(it.value()))
		if it.deadline != 0 {
			timed++
			if got, ok := s.timers.Get(it); !ok || got != it {
				t.Fatalf("key %q: no timer", it.key())
			}
		}
		return true
	})
	if size != s.bytes || timed != s.timers.Len() {
		t.Fatalf("%d bytes, counted %d; %d timers, counted %d", size, s.bytes, s.timers.Len(), timed)
	}
	n := 0
	var older *session
	for e := s.oldest; e != nil; older, e = e, e.newer {
		n++
		if got, ok := s.sessions.Get(e.id); !ok || got != e || e.older != older {
			t.Fatalf("session %d: list and table differ", e.id)
		}
		if older != nil && (older.used >= e.used || older.usedAt > e.usedAt) {
			t.Fatalf("session %d used after %d", older.id, e.id)
		}
		b := int64(0)
		for _, k := range e.kept {
			b += int64(len(k.result)) + resultOverhead
		}
		if b != e.bytes || e.bytes > s.limits.SessionResultBytes && int64(len(e.kept)) > s.limits.SessionResults {
			t.Fatalf("session %d: %d bytes, counted %d", e.id, e.bytes, b)
		}
	}
	if n != s.sessions.Len() || older != s.newest {
		t.Fatalf("%d sessions in the list, %d in the table", n, s.sessions.Len())
	}
}

// encode is the whole state in one go.
func encode(t interface {
	Helper()
	Fatalf(string, ...any)
}, m *Machine) []byte {
	t.Helper()
	if err := m.Freeze(); err != nil {
		t.Fatalf("freeze: %v", err)
	}
	defer m.Thaw()
	out, done, err := m.Step(nil, 1<<30)
	if err != nil || !done {
		t.Fatalf("step: done %v, %v", done, err)
	}
	return out
}

func meta(m *Machine) raft.SnapshotMeta {
	return raft.SnapshotMeta{Last: m.Applied(), Time: m.Now(), Level: m.Level(), Hash: m.Hash()}
}

// condition is what a block asks of a key.
type condition struct {
	key   string
	token int64
}

// block makes a block of commands.
func block(op Op, conditions []condition, commands ...Command) Command {
	c := Command{Op: op, Num: int64(len(conditions))}
	for _, x := range conditions {
		c.Args = append(c.Args, []byte(x.key), AppendToken(nil, x.token))
	}
	for _, inner := range commands {
		c.Args = append(c.Args, AppendCommand(nil, inner))
	}
	return c
}

// field makes a BITFIELD.
func field(op Op, key string, fields ...Field) Command {
	c := cmd(op, key)
	for _, f := range fields {
		c.Args = append(c.Args, AppendField(nil, f))
	}
	return c
}
