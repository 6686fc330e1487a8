package raftlog

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/raftkv/raftkv/internal/testenv"
	"github.com/raftkv/raftkv/raft"
)

// small makes stores that are quick to fill. A sample fits into one segment.
var small = Options{SegmentBytes: 4 * minSegmentBytes, LockTimeout: 30 * time.Millisecond, Spares: -1}

func open(t testing.TB, dir string, o Options) (*Bolt, raft.Durable) {
	t.Helper()
	b, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	d, err := b.Load()
	if err != nil {
		t.Fatal(err)
	}
	return b, d
}

func write(t testing.TB, b *Bolt, w *raft.Write) {
	t.Helper()
	if err := b.Write(w); err != nil {
		t.Fatal(err)
	}
}

func entriesOf(term raft.Term, from, to raft.Index, size int) []raft.Entry {
	var out []raft.Entry
	for i := from; i <= to; i++ {
		data := bytes.Repeat([]byte(fmt.Sprintf("entry %d;", i)), size/8+1)[:size]
		out = append(out, raft.Entry{EntryID: raft.EntryID{Term: term, Index: i}, Type: raft.EntryCommand, Time: raft.Time(i), Data: data})
	}
	return out
}

// sample makes a store of one segment and closes it: term 4, vote 7, seq 5, entries 1 to 40.
func sample(t testing.TB) (dir string, want raft.Durable) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "log")
	b, _ := open(t, dir, small)
	write(t, b, &raft.Write{Seq: 1, State: raft.HardState{Term: 2}, Entries: entriesOf(1, 1, 30, 45)})
	write(t, b, &raft.Write{Seq: 2, State: raft.HardState{Term: 3}, Entries: entriesOf(3, 25, 39, 70)})
	write(t, b, &raft.Write{Seq: 3, State: raft.HardState{Term: 3, Commit: 20}, Base: raft.EntryID{Term: 1, Index: 3}})
	write(t, b, &raft.Write{Seq: 4, State: raft.HardState{Term: 4, Commit: 20}})
	write(t, b, &raft.Write{Seq: 5, State: raft.HardState{Term: 4, Vote: 7, Commit: 20}, Entries: entriesOf(4, 40, 40, 0)})
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	_, want = reopen(t, dir)
	return dir, want
}

func reopen(t testing.TB, dir string) (*Bolt, raft.Durable) {
	t.Helper()
	b, d := open(t, dir, small)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	return b, d
}

func same(a, b raft.Durable) bool {
	return a.State == b.State && a.Base == b.Base && a.Seq == b.Seq && a.Fence == b.Fence &&
		slices.EqualFunc(a.Entries, b.Entries, func(x, y raft.Entry) bool {
			return x.EntryID == y.EntryID && x.Type == y.Type && x.Time == y.Time && bytes.Equal(x.Data, y.Data)
		})
}

func segmentPath(dir string, number uint64) string { return filepath.Join(dir, segmentName(number)) }

// flip changes one byte of a file.
func flip(t testing.TB, path string, at int64, mask byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= mask
	if _, err := f.WriteAt(b[:], at); err != nil {
		t.Fatal(err)
	}
}

// Each byte of each value is covered, and the error says which entry it is (DE-13).
func TestEachFlippedByteOfAValueIsFound(t *testing.T) {
	dir, _ := sample(t)
	path := segmentPath(dir, 1)
	s, err := readSegment(path, 1, nil, false)
	if err != nil {
		t.Fatal(err)
	}
	clear(s.pages.used[2:])
	flips := 0
	each := func(name string, value []byte) {
		at := int64(uintptr(unsafe.Pointer(&value[0])) - uintptr(unsafe.Pointer(&s.buf[0])))
		for i := range value {
			flip(t, path, at+int64(i), 0x10)
			_, err := readChain(dir, false)
			flip(t, path, at+int64(i), 0x10)
			if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), name) {
				t.Errorf("byte %d of %s: %v", i, name, err)
			}
			flips++
		}
	}
	err = s.pages.walk(s.pages.meta.root, func(bucket element) error {
		return s.pages.bucket(bucket.value, func(e element) error {
			if bytes.Equal(bucket.key, stateBucket) {
				each("state", e.value)
			} else if i := indexOf(e.key); i > 3 { // those up to the base are not read
				each(fmt.Sprintf("entry %d:", i), e.value)
			}
			return nil
		})
	})
	if err != nil || flips < 37*entryHeader+stateSize {
		t.Fatalf("%d flips, %v", flips, err)
	}
}

// The record of term, vote and base lies in a small bucket inside bbolt's root
// page, whose header nothing covers: one bit there makes the bucket look empty,
// and the segment as new.
func TestHiddenStateIsFound(t *testing.T) {
	dir, _ := sample(t)
	path := segmentPath(dir, 1)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// Key, bucket header (root 0, sequence 0), inline page: id 0, flags leaf, count 1.
	inline := append(slices.Clone(stateBucket), make([]byte, 16+8)...)
	inline = append(inline, 2, 0, 1, 0)
	found := 0
	for at := 0; ; {
		i := bytes.Index(b[at:], inline)
		if i < 0 {
			break
		}
		at += i + len(inline)
		flip(t, path, int64(at)-2, 1)
		found++
	}
	if found == 0 {
		t.Fatal("found no bucket of the state")
	}
	if _, err := readChain(dir, false); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a log without its state record: %v, want damage", err)
	}
}

// A flipped byte anywhere in the file is found, or was without meaning: the log
// is then as it was. Nothing panics, nothing is made up.
func TestAnyFlippedByteIsFoundOrHarmless(t *testing.T) {
	t.Parallel()
	dir, want := sample(t)
	path := segmentPath(dir, 1)
	s, err := readSegment(path, 1, nil, false)
	if err != nil {
		t.Fatal(err)
	}
	masks := []byte{0x01, 0x80, 0xff}
	first, step, openStep := 0, 7, 97
	if testenv.Full() {
		first, step = testenv.Turn(5)
		openStep = 7
	}
	fenced, refused := 0, 0
	for at := first; at < len(s.buf); at += step {
		mask := masks[at%len(masks)]
		flip(t, path, int64(at), mask)
		c, err := readChain(dir, false)
		switch {
		case err != nil && !errors.Is(err, ErrCorrupt):
			t.Errorf("byte %d: %v", at, err)
		case err != nil:
			refused++
		case len(c.bad) > 0:
			fenced++
		case !same(c.durable, want):
			t.Errorf("byte %d: another log came back", at)
		}
		flip(t, path, int64(at), mask)
		if err == nil && len(c.bad) == 0 && at/step%openStep == 0 {
			tryFlipped(t, dir, at, mask)
		}
	}
	t.Logf("%d bytes: %d refused, %d fenced", len(s.buf), refused, fenced)
	if refused*step < len(s.buf)/12 || fenced*step < metaSize {
		t.Errorf("only %d refused and %d fenced", refused, fenced)
	}
}

// tryFlipped opens a copy with one flipped byte that seemed harmless and goes on with it.
func tryFlipped(t *testing.T, dir string, at int, mask byte) {
	t.Helper()
	dup := filepath.Join(t.TempDir(), "log")
	if err := os.CopyFS(dup, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	flip(t, segmentPath(dup, 1), int64(at), mask)
	b, d := open(t, dup, small)
	w := &raft.Write{Seq: d.Seq + 1, State: d.State, Entries: entriesOf(4, 41, 60, 300)}
	write(t, b, w)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if _, got := reopen(t, dup); len(got.Entries) != len(d.Entries)+20 {
		t.Errorf("byte %d: %d entries after 20 more, had %d", at, len(got.Entries), len(d.Entries))
	}
}

// With the newer meta page damaged bbolt would go one write back in silence
// (DE-14). It is noticed: term and vote come from the second copy, and the fence
// stays until the core takes it away.
func TestDamagedMetaPageRaisesTheFence(t *testing.T) {
	for page := range int64(2) {
		dir, want := sample(t)
		flip(t, segmentPath(dir, 1), page*pageSize+pageHeader+20, 1)
		_, d := reopen(t, dir)
		if d.Fence != raft.FenceOneBack || d.State.Term != 4 || d.State.Vote != 7 {
			t.Fatalf("page %d: fence %d, state %+v", page, d.Fence, d.State)
		}
		if n := len(d.Entries); n != len(want.Entries) && n != len(want.Entries)-1 {
			t.Fatalf("page %d: %d entries of %d", page, n, len(want.Entries))
		}
		// The page is healed by the first write, the fence is not.
		b, d := open(t, dir, small)
		write(t, b, &raft.Write{Seq: d.Seq + 1, State: d.State, Fence: d.Fence})
		write(t, b, &raft.Write{Seq: d.Seq + 2, State: d.State, Fence: d.Fence})
		b.Close()
		b, d = open(t, dir, small)
		if d.Fence != raft.FenceOneBack {
			t.Fatalf("page %d: fence %d after two writes", page, d.Fence)
		}
		write(t, b, &raft.Write{Seq: d.Seq + 1, State: d.State})
		b.Close()
		if _, d = reopen(t, dir); d.Fence != raft.FenceNone {
			t.Fatalf("page %d: fence %d after it was taken away", page, d.Fence)
		}
	}
}

// The fence is on disk before bbolt writes: a crash right after Open keeps it,
// even where the meta page was healed by other means.
func TestFenceIsStoredByOpen(t *testing.T) {
	dir, _ := sample(t)
	path := segmentPath(dir, 1)
	flip(t, path, pageHeader+20, 1)
	reopen(t, dir)
	flip(t, path, pageHeader+20, 1)
	if _, d := reopen(t, dir); d.Fence != raft.FenceOneBack {
		t.Errorf("fence %d", d.Fence)
	}
}

func TestBothCopiesDamagedIsRefused(t *testing.T) {
	dir, _ := sample(t)
	path, vote := segmentPath(dir, 1), filepath.Join(dir, voteFile)
	flip(t, path, pageHeader+20, 1)
	for name, damage := range map[string]func(){
		"both meta pages":              func() { flip(t, path, pageSize+pageHeader+20, 1) },
		"a meta page and the vote":     func() { flip(t, vote, 40, 1) },
		"a meta page and no vote file": func() { os.Remove(vote) },
	} {
		keep, err := os.ReadFile(vote)
		if err != nil {
			t.Fatal(err)
		}
		damage()
		if _, err := Open(dir, small); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
		if strings.HasPrefix(name, "both") {
			flip(t, path, pageSize+pageHeader+20, 1)
		}
		if err := os.WriteFile(vote, keep, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// The vote file alone is damaged or gone: it could have been newer.
func TestLostVoteFileRaisesTheFence(t *testing.T) {
	for name, damage := range map[string]func(path string) error{
		"gone":    os.Remove,
		"emptied": func(path string) error { return os.Truncate(path, 0) },
		"cut":     func(path string) error { return os.Truncate(path, 40) },
	} {
		dir, want := sample(t)
		if err := damage(filepath.Join(dir, voteFile)); err != nil {
			t.Fatal(err)
		}
		want.Fence = raft.FenceOneBack
		for range 2 {
			if _, d := reopen(t, dir); !same(d, want) {
				t.Errorf("%s: %+v fence %d", name, d.State, d.Fence)
			}
		}
	}
}

// A vote file that knows more than the log: the log went back.
func TestNewerVoteFileRaisesTheFence(t *testing.T) {
	for _, v := range []ballot{
		{term: 5, vote: 9, seq: 6},
		{term: 5, seq: 6},
		{term: 4, vote: 7, seq: 6},
		{term: 9, vote: 1, seq: 5, fence: raft.FenceForever},
	} {
		dir, want := sample(t)
		if err := writeBallot(dir, v); err != nil {
			t.Fatal(err)
		}
		_, d := reopen(t, dir)
		want.State.Term, want.State.Vote, want.Seq = v.term, v.vote, max(v.seq, want.Seq)
		want.Fence = max(raft.FenceOneBack, v.fence)
		if !same(d, want) {
			t.Errorf("%+v: term %d, vote %v, seq %d, fence %d", v, d.State.Term, d.State.Vote, d.Seq, d.Fence)
		}
	}
}

// A crash between the commit and the vote file: the log is newer, and right.
func TestOlderVoteFileIsBroughtUp(t *testing.T) {
	dir, want := sample(t)
	if err := writeBallot(dir, ballot{term: 3, seq: 2}); err != nil {
		t.Fatal(err)
	}
	if _, d := reopen(t, dir); !same(d, want) {
		t.Errorf("%+v", d.State)
	}
	if v, err := readBallot(dir); err != nil || v.term != 4 || v.vote != 7 {
		t.Errorf("vote file %+v, %v", v, err)
	}
}

// The second copy is there when Write returns, and is only written when it must.
func TestWriteKeepsTheVoteFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	b, _ := open(t, dir, small)
	for i, tc := range []struct {
		state raft.HardState
		fence raft.Fence
		want  ballot
	}{
		{raft.HardState{Term: 1}, 0, ballot{term: 1, seq: 1}},
		{raft.HardState{Term: 1, Vote: 5}, 0, ballot{term: 1, vote: 5, seq: 2}},
		{raft.HardState{Term: 1, Vote: 5}, 0, ballot{term: 1, vote: 5, seq: 2}},
		{raft.HardState{Term: 1, Vote: 5}, raft.FenceForever, ballot{term: 1, vote: 5, seq: 4, fence: raft.FenceForever}},
		{raft.HardState{Term: 2, Vote: 5}, raft.FenceForever, ballot{term: 2, vote: 5, seq: 5, fence: raft.FenceForever}},
		{raft.HardState{Term: 2, Vote: 5}, 0, ballot{term: 2, vote: 5, seq: 6}},
	} {
		write(t, b, &raft.Write{Seq: uint64(i + 1), State: tc.state, Fence: tc.fence})
		if v, err := readBallot(dir); err != nil || v != tc.want {
			t.Errorf("write %d: %+v, %v; want %+v", i+1, v, err, tc.want)
		}
	}
}

func TestTwoVotesInOneTermAreRefused(t *testing.T) {
	dir, _ := sample(t)
	if err := writeBallot(dir, ballot{term: 4, vote: 8, seq: 5}); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, small); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "two votes in term 4") {
		t.Errorf("err = %v", err)
	}
}

func TestWrongFilesAreClearErrors(t *testing.T) {
	truncate := func(size int64) func(string) error {
		return func(dir string) error { return os.Truncate(segmentPath(dir, 1), size) }
	}
	replace := func(f func(path string) error) func(string) error {
		return func(dir string) error {
			if err := os.Remove(segmentPath(dir, 1)); err != nil {
				return err
			}
			return f(segmentPath(dir, 1))
		}
	}
	for _, tc := range []struct {
		name   string
		damage func(dir string) error
		says   string
	}{
		{"emptied", truncate(0), "both meta pages are damaged (file of 0 bytes)"},
		{"one page", truncate(pageSize), "cut off"},
		{"two pages", truncate(2 * pageSize), "cut off"},
		{"not whole pages", truncate(3*pageSize + 7), "cut off"},
		{"gone", func(dir string) error { return os.Remove(segmentPath(dir, 1)) }, ""},
		{"directory", replace(func(p string) error { return os.Mkdir(p, 0o700) }), "no regular file"},
		{"pipe", replace(func(p string) error { return unix.Mkfifo(p, 0o600) }), ""},
		{"zeros", replace(func(p string) error { return os.WriteFile(p, make([]byte, 1<<16), 0o600) }), "magic"},
		{"text", replace(func(p string) error { return os.WriteFile(p, bytes.Repeat([]byte("hello "), 9000), 0o600) }), "magic"},
		{"two pages swapped", func(dir string) error {
			b, err := os.ReadFile(segmentPath(dir, 1))
			if err != nil {
				return err
			}
			p, q := slices.Clone(b[3*pageSize:4*pageSize]), b[4*pageSize:5*pageSize]
			copy(b[3*pageSize:], q)
			copy(b[4*pageSize:], p)
			return os.WriteFile(segmentPath(dir, 1), b, 0o600)
		}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir, want := sample(t)
			if err := tc.damage(dir); err != nil {
				t.Fatal(err)
			}
			b, err := Open(dir, small)
			if err == nil && tc.name == "two pages swapped" { // both may be free
				defer b.Close()
				if d, _ := b.Load(); !same(d, want) {
					t.Error("another log came back")
				}
				return
			}
			if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), tc.says) || !strings.Contains(err.Error(), dir) {
				t.Errorf("err = %v", err)
			}
		})
	}
}
