package statemachine

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"runtime"
	"testing"
	"time"

	"github.com/raftkv/raftkv/raft"
)

// benchKeys is a million; a node of that size is what the targets are about.
const benchKeys = 1_000_000

func benchKey(dst []byte, i int) []byte {
	return fmt.Appendf(dst, "key:%012d", i*7919%benchKeys) // not in order
}

// fill makes a machine of n keys with 16-byte keys and 256-byte values, which the entries lend it.
func fill(tb testing.TB, n int) *Machine {
	m := New(DefaultLimits())
	value := make([]byte, 256)
	var out []byte
	for i := range n {
		binary.LittleEndian.PutUint64(value, uint64(i))
		c := Command{Op: OpSet, Args: [][]byte{benchKey(nil, i), value}}
		data := AppendCommand(make([]byte, 0, EncodedSize(c)), c)
		e := raft.Entry{EntryID: raft.EntryID{Term: 1, Index: raft.Index(i + 1)}, Type: raft.EntryCommand, Time: 1, Data: data}
		out = m.Apply(e, out[:0])
	}
	return m
}

func benchSet(b *testing.B, m *Machine, keys int, c Command) {
	cmds := make([][]byte, keys)
	for i := range cmds {
		c.Args = [][]byte{benchKey(nil, i*31), make([]byte, 256)}
		cmds[i] = AppendCommand(nil, c)
	}
	e := raft.Entry{EntryID: m.Applied(), Type: raft.EntryCommand, Time: 1}
	var out []byte
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		e.Index++
		e.Data = cmds[i]
		out = m.Apply(e, out[:0])
		if i++; i == keys {
			i = 0
		}
	}
}

func BenchmarkApplySet(b *testing.B) {
	m := fill(b, benchKeys)
	b.Run("old key", func(b *testing.B) { benchSet(b, m, 1<<16, Command{Op: OpSet}) })
	b.Run("old key frozen", func(b *testing.B) {
		if err := m.Freeze(); err != nil {
			b.Fatal(err)
		}
		defer m.Thaw()
		benchSet(b, m, 1<<16, Command{Op: OpSet})
	})
	b.Run("with deadline", func(b *testing.B) { benchSet(b, m, 1<<16, Command{Op: OpSet, Flags: FlagIn, Num: 1 << 30}) })
}

func BenchmarkApplyNewKey(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		fill(b, benchKeys)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*benchKeys), "ns/key")
}

func BenchmarkApplyOnce(b *testing.B) {
	r := newRig(b)
	r.do(cmd(OpSessionOpen))
	c := once(1, 0, cmd(OpSet, "key:000000000001", string(make([]byte, 256))))
	e := r.entry(nil)
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		c.Seq++
		e.Data = AppendCommand(nil, c)
		out = r.m.Apply(e, out[:0])
		e.Index++
	}
	if string(out) != string([]byte{byte(ResultOK)}) {
		b.Fatal(show(b, out))
	}
}

func BenchmarkApplyAppend(b *testing.B) {
	m := New(DefaultLimits())
	e := raft.Entry{EntryID: raft.EntryID{Term: 1}, Type: raft.EntryCommand, Time: 1}
	add := AppendCommand(nil, cmd(OpAppend, "k", "0123456789"))
	del := AppendCommand(nil, cmd(OpDel, "k"))
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		e.Data = add
		if e.Index%400_000 == 399_999 {
			e.Data = del // before the cap
		}
		e.Index++
		out = m.Apply(e, out[:0])
	}
}

func BenchmarkQueryGet(b *testing.B) {
	m := fill(b, benchKeys)
	q := AppendCommand(nil, Command{Op: OpGet, Args: [][]byte{benchKey(nil, 4711)}})
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		out = m.Query(q, out[:0])
	}
}

// BenchmarkFreeze reports the longest single call of Freeze, and of Step at 1 MiB.
func BenchmarkFreeze(b *testing.B) {
	m := fill(b, benchKeys)
	runtime.GC()
	var freeze, step time.Duration
	var bytes int64
	buf := make([]byte, 0, 2<<20)
	for b.Loop() {
		at := time.Now()
		if err := m.Freeze(); err != nil {
			b.Fatal(err)
		}
		freeze = max(freeze, time.Since(at))
		for done := false; !done; {
			at = time.Now()
			var err error
			if buf, done, err = m.Step(buf[:0], 1<<20); err != nil {
				b.Fatal(err)
			}
			step = max(step, time.Since(at))
			bytes += int64(len(buf))
		}
		m.Thaw()
	}
	b.ReportMetric(float64(freeze.Microseconds()), "us-freeze-max")
	b.ReportMetric(float64(step.Microseconds()), "us-step-max")
	b.ReportMetric(float64(bytes)/1e6/b.Elapsed().Seconds(), "MB/s")
}

func BenchmarkRestore(b *testing.B) {
	m := fill(b, benchKeys)
	content, at := encode(b, m), meta(m)
	m = nil
	runtime.GC()
	for b.Loop() {
		m := New(DefaultLimits())
		if err := m.Restore(at, io.Reader(bytes.NewReader(content))); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(content))/benchKeys, "B/key-encoded")
}

// BenchmarkMemory reports the bytes of heap for a key: with the entry that lends the value,
// after a snapshot settled it, and after restoring.
func BenchmarkMemory(b *testing.B) {
	heap := func() float64 {
		runtime.GC()
		runtime.GC()
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		return float64(s.HeapAlloc)
	}
	for b.Loop() {
		empty := heap()
		m := fill(b, benchKeys)
		b.ReportMetric((heap()-empty)/benchKeys, "B/key-lent")
		content, mt := encode(b, m), meta(m)
		b.ReportMetric((heap()-empty-float64(cap(content)))/benchKeys, "B/key-settled")
		at := time.Now()
		runtime.GC()
		b.ReportMetric(float64(time.Since(at).Milliseconds()), "ms-gc")
		m = nil
		empty = heap()
		m = New(DefaultLimits())
		if err := m.Restore(mt, bytes.NewReader(content)); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric((heap()-empty)/benchKeys, "B/key-restored")
		runtime.KeepAlive(m)
		runtime.KeepAlive(content)
	}
}

func BenchmarkRecompute(b *testing.B) {
	m := fill(b, benchKeys)
	for b.Loop() {
		m.Recompute()
	}
}
