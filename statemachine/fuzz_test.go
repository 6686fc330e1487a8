package statemachine

import (
	"bytes"
	"errors"
	"testing"

	"github.com/raftkv/raftkv/internal/fuzztest"
	"github.com/raftkv/raftkv/raft"
)

func seedCommands() [][]byte {
	var out [][]byte
	for _, c := range []Command{
		cmd(OpTick), cmd(OpSet, "k", "v").with(5, FlagIn, FlagGet), cmd(OpAppend, "k", "v"), cmd(OpDel, "a", "b"),
		cmd(OpMSet, "a", "1", "b", "2"), cmd(OpIncrBy, "n").with(-3), cmd(OpSessionOpen), cmd(OpSessionKeep).with(1),
		cmd(OpSessionClose).with(1), once(1, 1, cmd(OpSet, "k", "v")), cmd(OpVerify), cmd(OpLimit, "sessions").with(4),
		cmd(OpGet, "k"), cmd(OpScan, "", "*").with(3), cmd(OpMGet, "a", "b"), cmd(OpDBSize), cmd(OpSession).with(1),
		cmd(OpGetDel, "k"), cmd(OpGetEx, "k").with(5, FlagIn), cmd(OpSetRange, "k", "v").with(3), cmd(OpIncrByFloat, "n", "1.5e3"),
		cmd(OpMSetNX, "a", "1", "x", "2"), cmd(OpSetBit, "k").with(9, FlagOne), cmd(OpBitOp, "d", "a", "b").with(BitXor),
		field(OpBitField, "k", Field{FieldIncr, true, 5, OverflowSat, 3, 17}, Field{Bits: 4, Offset: 1}),
		cmd(OpRename, "a", "z").with(0, FlagNX), cmd(OpCopy, "b", "z").with(0, FlagReplace), cmd(OpExpire, "a").with(5, FlagIn, FlagGT),
		cmd(OpPersist, "d"), cmd(OpFlush), cmd(OpDelIfEq, "a", "12"),
		block(OpBlock, []condition{{"a", 4}, {"none", 0}}, cmd(OpSet, "a", "1"), cmd(OpGet, "a")),
		cmd(OpSetV, "a", "1"), cmd(OpDelV, "a"), once(1, 1, block(OpBlock, nil, cmd(OpAppend, "k", "v"))),
		cmd(OpGetRange, "k").with(-3), cmd(OpLCS, "a", "b").with(0, FlagIdx, FlagWithLen), cmd(OpGetBit, "k").with(7),
		cmd(OpBitCount, "k").with(1, FlagFrom, FlagBits), cmd(OpBitPos, "k").with(1, FlagOne, FlagFrom), cmd(OpTTL, "d"), cmd(OpDeadline, "d"),
		cmd(OpRandomKey).with(-5), cmd(OpKeys, "[a-c]*"), cmd(OpEncoding, "a"), cmd(OpMemory, "a"), cmd(OpGetV, "a"), cmd(OpWatch, "a", "none"),
		field(OpReadField, "k", Field{Bits: 63, Offset: 1}), block(OpReadBlock, []condition{{"a", 4}}, cmd(OpGet, "a"), cmd(OpMGet, "a", "b")),
		cmd(OpUserSet, "al", "off").with(3), cmd(OpUserDel, "al", "bo"), cmd(OpPublish, "c", "m"), cmd(OpUsers, "al"),
	} {
		out = append(out, AppendCommand(nil, c))
	}
	return append(out, nil, []byte{2, 0xff, 0xff, 3, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f})
}

func FuzzDecodeCommand(f *testing.F) {
	for _, b := range seedCommands() {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var c Command
		var err error
		fuzztest.Bounded(t, len(b), 64<<10, 128, func() { err = c.Decode(b) })
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		if cap(c.Args) > 4*len(b)+16 {
			t.Fatalf("room for %d arguments from %d bytes", cap(c.Args), len(b))
		}
		if n := len(AppendCommand(nil, c)); n != EncodedSize(c) {
			t.Fatalf("%+v takes %d bytes, EncodedSize says %d", c, n, EncodedSize(c))
		}
		var again Command
		if err := again.Decode(AppendCommand(nil, c)); err != nil || len(again.Args) != len(c.Args) || again.Num != c.Num || again.Seq != c.Seq {
			t.Fatalf("%+v became %+v, %v", c, again, err)
		}
	})
}

func FuzzDecodeResult(f *testing.F) {
	for _, r := range []Result{
		{Kind: ResultNil}, {Kind: ResultInt, Int: -7}, {Kind: ResultError, Bytes: []byte("ERR x")},
		{Kind: ResultArray, Array: []Result{{Kind: ResultBytes, Bytes: []byte("b")}, {Kind: ResultArray, Array: []Result{{Kind: ResultOK}}}}},
	} {
		f.Add(AppendResult(nil, r))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var r Result
		var err error
		fuzztest.Bounded(t, len(b), 64<<10, 256, func() { r, err = DecodeResult(b) })
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		if again, err := DecodeResult(AppendResult(nil, r)); err != nil || showResult(again) != showResult(r) {
			t.Fatalf("%s became %s, %v", showResult(r), showResult(again), err)
		}
	})
}

// No committed bytes make a machine panic, and two machines agree on all of them.
//
// What is allocated is not measured: a command may make a value as long as the limits
// allow, out of few bytes (SETRANGE); FuzzDecodeCommand measures what reading it costs.
func FuzzApply(f *testing.F) {
	for _, b := range seedCommands() {
		f.Add(b, int64(0), uint8(2))
	}
	f.Fuzz(func(t *testing.T, b []byte, at int64, typ uint8) {
		a, other := sample(t), sample(t)
		for range 2 {
			e := a.entry(b)
			e.Time, e.Type = raft.Time(at), raft.EntryType(typ)
			x, stop := apply(a.m, e)
			y, otherStop := apply(other.m, e)
			show(t, a.m.Query(b, nil))
			if !bytes.Equal(x, y) || (stop == nil) != (otherStop == nil) {
				t.Fatalf("%x and %x, %v and %v", x, y, stop, otherStop)
			}
			if stop == nil {
				show(t, x)
			} else if Check(b) == nil && e.Type == raft.EntryCommand {
				t.Fatalf("may be proposed, but stops the machine: %v", a.m.Err())
			}
		}
		a.m.st.check(t)
		a.m.Deadline()
		if a.m.Err() == nil {
			m := New(DefaultLimits())
			if err := m.Restore(meta(a.m), bytes.NewReader(encode(t, a.m))); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// FuzzRestore takes the meta data from the content, so that it gets past the
// header, and the hash, so that it gets past that now and then.
func FuzzRestore(f *testing.F) {
	r := sample(f)
	f.Add(encode(f, r.m))
	f.Add(encode(f, New(DefaultLimits())))
	f.Fuzz(func(t *testing.T, b []byte) {
		at := meta(r.m)
		if len(b) > 49 {
			at.Last.Index = raft.Index(le64(b[9:]))
			at.Last.Term = raft.Term(le64(b[17:]))
			at.Time = raft.Time(le64(b[25:]))
			copy(at.Hash[:], b[33:])
		}
		m := New(DefaultLimits())
		var err error
		fuzztest.Bounded(t, len(b), 4<<20, 1<<10, func() { err = m.Restore(at, bytes.NewReader(b)) })
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		m.st.check(t)
		if again := encode(t, m); meta(m).Hash != at.Hash || len(again) > len(b) {
			t.Fatalf("restored %x\nfrom %x", again, b)
		}
	})
}

func le64(b []byte) (v uint64) {
	for i := range 8 {
		v |= uint64(b[i]) << (8 * i)
	}
	return v
}
