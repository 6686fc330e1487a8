package statemachine

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"github.com/raftkv/raftkv/raft"
)

// steps encodes the rest of the view in parts of max bytes, with between in between.
func steps(t *rapid.T, m *Machine, max func() int, between func()) []byte {
	var out []byte
	for n := 0; ; n++ {
		before, limit := len(out), max()
		var done bool
		var err error
		if out, done, err = m.Step(out, limit); err != nil {
			t.Fatalf("step: %v", err)
		}
		if done {
			return out
		}
		if n > 2000 {
			t.Fatal("no end")
		}
		if over := len(out) - before - limit; over > 500 {
			t.Fatalf("step of %d bytes is %d bytes too long", limit, over)
		}
		if n < 100 { // then it must come to its end without new writes
			between()
		}
	}
}

// What is encoded while writes go on is byte for byte what was there at the
// freeze: a twin that stands still says what that is.
func TestFrozenViewIsAPointInTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := newGenerator(t)
		a, twin := New(g.limits), New(g.limits)
		apply := func(both bool) {
			e := g.entry(a)
			got := a.Apply(e, nil)
			if both {
				if want := twin.Apply(e, nil); !bytes.Equal(got, want) {
					t.Fatalf("entry %d: %x and %x", e.Index, got, want)
				}
			}
		}
		for range rapid.SampledFrom([]int{60, 120, 20, 0}).Draw(t, "before") {
			apply(true)
		}
		want, at := encode(t, twin), meta(twin)
		if err := a.Freeze(); err != nil {
			t.Fatal(err)
		}
		size, writes := rapid.IntRange(1, 60), rapid.IntRange(0, 4)
		got := steps(t, a, func() int { return size.Draw(t, "max") }, func() {
			for range writes.Draw(t, "writes") {
				apply(false)
				a.st.check(t)
			}
		})
		if !bytes.Equal(got, want) {
			t.Fatalf("frozen:\n%q\nwant:\n%q", got, want)
		}
		if held := a.Stats().ViewBytes; held != 0 {
			t.Fatalf("%d bytes held back at the end", held)
		}
		a.Thaw()
		a.st.tree.Scan(func(it *item) bool {
			if it.keyLen&valueLent != 0 && it.version <= uint64(at.Last.Index) {
				t.Fatalf("key %q of entry %d is still lent by the log, which the snapshot of %d lets go", it.key(), it.version, at.Last.Index)
			}
			return true
		})

		// And it restores: the same state, the same bytes again.
		b := New(DefaultLimits())
		if err := b.Restore(at, iotest.OneByteReader(bytes.NewReader(got))); err != nil {
			t.Fatal(err)
		}
		b.st.check(t)
		if b.Hash() != twin.Hash() || !bytes.Equal(encode(t, b), want) {
			t.Fatal("restored state differs")
		}
		// It goes on as the twin does, lists, timers and all.
		for range 20 {
			e := g.entry(twin)
			if got, want := b.Apply(e, nil), twin.Apply(e, nil); !bytes.Equal(got, want) {
				t.Fatalf("entry %d after the restore: %x and %x", e.Index, got, want)
			}
		}
		if b.st.check(t); b.Hash() != twin.Hash() {
			t.Fatal("states differ after the restore")
		}
	})
}

func TestLargeValuesComeInParts(t *testing.T) {
	r := newRig(t)
	r.do(cmd(OpSet, "big", strings.Repeat("v", 100_000)))
	want := encode(t, r.m)
	if err := r.m.Freeze(); err != nil {
		t.Fatal(err)
	}
	defer r.m.Thaw()
	var out []byte
	for n := 0; ; n++ {
		part, done, err := r.m.Step(nil, 1000)
		if err != nil || len(part) > 1200 {
			t.Fatalf("part of %d bytes, %v", len(part), err)
		}
		out = append(out, part...)
		switch n {
		case 5:
			r.do(cmd(OpAppend, "big", "more"))
		case 10:
			r.do(cmd(OpDel, "big"))
		}
		if done {
			break
		}
	}
	if !bytes.Equal(out, want) {
		t.Error("the value changed while it was encoded")
	}
}

// Keys that were made since cost a step little, but not nothing.
func TestStepIsBoundedOverNewKeys(t *testing.T) {
	r := newRig(t)
	if err := r.m.Freeze(); err != nil {
		t.Fatal(err)
	}
	defer r.m.Thaw()
	for i := range 1000 {
		r.do(cmd(OpSet, fmt.Sprint(i), ""))
	}
	n := 0
	for done := false; !done; n++ {
		if _, done, _ = r.m.Step(nil, 100*skipCost); n > 100 {
			t.Fatal("no end")
		}
	}
	if n < 10 {
		t.Errorf("%d steps", n)
	}
}

func TestViewThatGrowsTooDearIsGivenUp(t *testing.T) {
	each := map[string]func(r *rig){
		"keys": func(r *rig) {
			for i := range 10 {
				r.do(cmd(OpDel, fmt.Sprint(i)))
			}
		},
		"sessions": func(r *rig) {
			for i := range 10 {
				r.do(cmd(OpSessionKeep).with(int64(i + 1)))
			}
		},
	}
	for name, write := range each {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			for range 10 {
				r.do(cmd(OpSessionOpen))
			}
			for i := range 10 {
				r.do(cmd(OpSet, fmt.Sprint(i), strings.Repeat("v", 100)))
			}
			r.m.LimitView(1000)
			if err := r.m.Freeze(); err != nil {
				t.Fatal(err)
			}
			if _, _, err := r.m.Step(nil, 1); err != nil {
				t.Fatal(err)
			}
			write(r)
			if out, done, err := r.m.Step([]byte("x"), 1<<20); !errors.Is(err, ErrViewTooDear) || done || string(out) != "x" {
				t.Fatalf("step: %q %v %v", out, done, err)
			}
			if n := r.m.Stats().ViewBytes; n != 0 {
				t.Errorf("%d bytes are still held back", n)
			}
			r.m.Thaw()
			r.m.LimitView(DefaultViewBytes)
			encode(t, r.m)
		})
	}
}

func TestViewStates(t *testing.T) {
	r := newRig(t)
	if _, _, err := r.m.Step(nil, 1); !errors.Is(err, ErrNotFrozen) {
		t.Errorf("step without a view: %v", err)
	}
	r.m.Thaw()
	content, at := encode(t, r.m), meta(r.m)
	if err := r.m.Freeze(); err != nil {
		t.Fatal(err)
	}
	if err := r.m.Freeze(); !errors.Is(err, ErrFrozen) {
		t.Errorf("second freeze: %v", err)
	}
	if err := r.m.Restore(at, bytes.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.m.Step(nil, 1); !errors.Is(err, ErrViewGone) {
		t.Errorf("step after a restore: %v", err)
	}
	if err := r.m.Freeze(); !errors.Is(err, ErrFrozen) {
		t.Errorf("freeze before thaw: %v", err)
	}
	r.m.Thaw()
	encode(t, r.m)
}

// sample is a machine with something of everything.
func sample(t testing.TB) *rig {
	r := newRig(t)
	r.do(cmd(OpSessionOpen))
	r.do(cmd(OpSessionOpen))
	r.do(once(1, 1, cmd(OpSet, "a", "1")))
	r.do(once(1, 2, cmd(OpAppend, "a", "2")))
	r.do(cmd(OpMSet, "", "empty key", "b", "", "c", "\x00\xff"))
	r.do(cmd(OpSet, "d", "with deadline").with(77_000, FlagAt))
	r.do(cmd(OpLimit, "key-bytes").with(1000))
	r.do(cmd(OpUserSet, "al", "on nopass"))
	return r
}

// chunky is sample with a value of two different chunks.
func chunky(t testing.TB) *rig {
	r := sample(t)
	r.do(cmd(OpSet, "big", strings.Repeat("x", chunkBytes)+strings.Repeat("y", chunkBytes)))
	return r
}

// Whatever is wrong with the content, the old state stays and goes on.
func TestRestoreRefusesDamage(t *testing.T) {
	src := sample(t)
	content, at := encode(t, src.m), meta(src.m)
	old := newRig(t)
	old.do(cmd(OpSet, "old", "1"))
	h := old.m.Hash()
	refuse := func(name string, at raft.SnapshotMeta, r io.Reader, want error) {
		t.Helper()
		err := old.m.Restore(at, r)
		if err == nil || want != nil && !errors.Is(err, want) {
			t.Fatalf("%s: %v", name, err)
		}
		if old.m.Hash() != h || old.query(cmd(OpGet, "old")) != `"1"` {
			t.Fatalf("%s: the old state is gone", name)
		}
	}
	for n := range content {
		refuse(fmt.Sprintf("cut at %d", n), at, bytes.NewReader(content[:n]), ErrMalformed)
		for _, bit := range []byte{0x01, 0x80} {
			damaged := bytes.Clone(content)
			damaged[n] ^= bit
			refuse(fmt.Sprintf("bit %#x of byte %d", bit, n), at, bytes.NewReader(damaged), ErrMalformed)
		}
	}
	refuse("bytes left over", at, bytes.NewReader(append(bytes.Clone(content), 0)), ErrMalformed)
	broken := errors.New("disk on fire")
	refuse("reader", at, io.MultiReader(bytes.NewReader(content[:100]), iotest.ErrReader(broken)), broken)
	refuse("reader at the end", at, io.MultiReader(bytes.NewReader(content), iotest.ErrReader(broken)), broken)
	for name, change := range map[string]func(m *raft.SnapshotMeta){
		"index": func(m *raft.SnapshotMeta) { m.Last.Index++ },
		"term":  func(m *raft.SnapshotMeta) { m.Last.Term++ },
		"time":  func(m *raft.SnapshotMeta) { m.Time++ },
		"hash":  func(m *raft.SnapshotMeta) { m.Hash[15]++ },
	} {
		m := at
		change(&m)
		refuse(name, m, bytes.NewReader(content), ErrMalformed)
	}
	m := at
	m.Level++
	refuse("level", m, bytes.NewReader(content), nil)
	if err := old.m.Restore(at, iotest.HalfReader(bytes.NewReader(content))); err != nil || old.m.Hash() != at.Hash {
		t.Fatalf("undamaged: %v", err)
	}
	old.m.st.check(t)
}

// A length or count field alone allocates next to nothing.
func TestRestoreTrustsNoLength(t *testing.T) {
	h := header{level: level, applied: raft.EntryID{Term: 1, Index: 1 << 40}, limits: DefaultLimits(), sessions: maxSessions, keys: 1 << 60}
	at := raft.SnapshotMeta{Last: h.applied, Level: level}
	sessions := h.append(nil)
	h.sessions = 0
	keys := append(h.append(nil), sectionKeys)
	for name, content := range map[string][]byte{
		"counts":      sessions,
		"result":      append(bytes.Clone(sessions), append([]byte{1, 1, 1, 0, 1}, append(make([]byte, 16), 0xff, 0xff, 0xff, 0x1f)...)...),
		"no keys":     keys,
		"long key":    append(bytes.Clone(keys), 0xff, 0xff, 0xff, 0x07),
		"long value":  append(bytes.Clone(keys), 1, 'k', 1, 0, 0xff, 0xff, 0xff, 0xff, 0x01),
		"huge number": append(bytes.Clone(keys), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f),
	} {
		m := New(DefaultLimits())
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := m.Restore(at, bytes.NewReader(content))
		runtime.ReadMemStats(&after)
		if !errors.Is(err, ErrMalformed) {
			t.Error(name, err)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 2<<20 {
			t.Errorf("%s: %d bytes allocated for %d bytes of content", name, n, len(content))
		}
	}
}

func TestLargeKeysAndValuesRestore(t *testing.T) {
	r := newRig(t)
	r.do(cmd(OpSet, strings.Repeat("k", sourceBytes+1), strings.Repeat("v", 5*pieceBytes+7)))
	r.do(cmd(OpSet, strings.Repeat("l", sourceBytes), strings.Repeat("w", pieceBytes)))
	for i := range keepArgs { // one large command leaves no large scratch behind
		r.do(cmd(OpSet, fmt.Sprint(i), ""))
	}
	many := cmd(OpDel)
	for i := range 2 * keepArgs {
		many.Args = append(many.Args, fmt.Append(nil, i))
	}
	if got := r.do(many); got != fmt.Sprint(keepArgs) || cap(r.m.outer.Args) > keepArgs {
		t.Errorf("deleted %s, room for %d arguments kept", got, cap(r.m.outer.Args))
	}
	want := encode(t, r.m)
	r.moved()
	r.m.st.check(t)
	if !bytes.Equal(encode(t, r.m), want) {
		t.Error("restored state differs")
	}
	r.m.st.tree.Scan(func(it *item) bool {
		if it.keyLen&valueRoom != 0 {
			t.Errorf("the value of %q has room behind it", it.key())
		}
		return true
	})
}

// Forgetting results clears them in place; the view has its own.
func TestViewKeepsResultsThatAreForgottenSince(t *testing.T) {
	r := newRigWith(t, tinyLimits())
	r.do(cmd(OpSessionOpen))
	seq := uint64(0)
	incr := func() { seq++; r.do(once(1, seq, cmd(OpIncrBy, "n").with(1))) }
	for range 6 { // so many that there is room behind the results, and the next one moves none
		incr()
	}
	want := encode(t, r.m)
	if err := r.m.Freeze(); err != nil {
		t.Fatal(err)
	}
	defer r.m.Thaw()
	for range 4 {
		incr()
	}
	if got, _, err := r.m.Step(nil, 1<<20); err != nil || !bytes.Equal(got, want) {
		t.Errorf("view %q\nwant %q, %v", got, want, err)
	}
}

// The hash of the whole can be right and the content wrong all the same.
func TestRestoreRefusesWrongOrder(t *testing.T) {
	one := func(key string, version uint64) *item {
		it := newItem([]byte(key))
		it.setValue([]byte("v"))
		it.version = version
		return it
	}
	kept := func(id, used uint64, at raft.Time) *session { return &session{id: id, used: used, usedAt: at} }
	for name, tc := range map[string]struct {
		items    []*item
		sessions []*session
		ok       bool
	}{
		"right":                  {[]*item{one("", 1), one("a", 9)}, []*session{kept(2, 5, 7), kept(3, 4, 7)}, true},
		"key twice":              {[]*item{one("a", 1), one("a", 1)}, nil, false},
		"keys descend":           {[]*item{one("b", 1), one("a", 1)}, nil, false},
		"version of the future":  {[]*item{one("a", 10)}, nil, false},
		"no version":             {[]*item{one("a", 0)}, nil, false},
		"session twice":          {nil, []*session{kept(2, 3, 1), kept(2, 4, 1)}, false},
		"one use of two":         {nil, []*session{kept(2, 4, 1), kept(3, 4, 1)}, false},
		"use before the opening": {nil, []*session{kept(3, 2, 1)}, false},
		"use of the future":      {nil, []*session{kept(3, 10, 1)}, false},
		"time of the future":     {nil, []*session{kept(3, 4, 9)}, false},
		"times descend":          {nil, []*session{kept(2, 4, 2), kept(3, 5, 1)}, false},
		"no id":                  {nil, []*session{kept(0, 4, 2)}, false},
	} {
		s := newState(DefaultLimits())
		s.applied, s.now = raft.EntryID{Term: 1, Index: 9}, 8
		h := header{level: level, applied: s.applied, now: s.now, limits: s.limits, keys: uint64(len(tc.items)), sessions: uint64(len(tc.sessions))}
		for _, it := range tc.items {
			s.running.add(it.sum())
		}
		for _, e := range tc.sessions {
			s.running.add(e.sum())
		}
		h.hash = s.hash()
		content := h.append(nil)
		for _, e := range tc.sessions {
			content = appendSession(content, e)
		}
		content = append(content, sectionKeys)
		for _, it := range tc.items {
			r := it.record()
			content = append(appendItemHead(content, &r), r.value...)
		}
		content = append(content, sectionUsers, 0, sectionBirths, 0, sectionEnd)
		m := New(DefaultLimits())
		err := m.Restore(raft.SnapshotMeta{Last: s.applied, Time: s.now, Level: level, Hash: h.hash}, bytes.NewReader(content))
		if (err == nil) != tc.ok || err != nil && !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRestoreRevivesAStoppedMachine(t *testing.T) {
	src, r := sample(t), newRig(t)
	if _, stop := apply(r.m, r.entry([]byte{99})); stop == nil {
		t.Fatal("no stop")
	}
	if err := r.m.Restore(meta(src.m), bytes.NewReader(encode(t, src.m))); err != nil || r.m.Err() != nil {
		t.Fatalf("%v, %v", err, r.m.Err())
	}
	r.expect("OK", cmd(OpSet, "k", "v"))
}
