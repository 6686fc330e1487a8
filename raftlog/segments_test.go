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

	"go.etcd.io/bbolt"

	"github.com/raftkv/raftkv/raft"
)

// waitNext lets the helper finish the next segment, so that a test does not
// depend on who is faster.
func waitNext(t testing.TB, b *Bolt) {
	t.Helper()
	// The helper may have been busy when Write had something to hand over.
	if !b.todo.empty() {
		b.keeper.jobs <- b.todo
		b.todo = job{}
	}
	for b.wanted {
		m := <-b.keeper.made
		if m.err != nil {
			t.Fatal(m.err)
		}
		b.next, b.wanted = m.segment, false
	}
}

// fillSegments appends entries of term until the active segment is at least number.
func fillSegments(t testing.TB, b *Bolt, term raft.Term, number uint64) {
	t.Helper()
	for n := 0; b.active.number < number; n++ {
		at := b.shape.last.Index + 1
		write(t, b, &raft.Write{Seq: b.shape.seq + 1, State: raft.HardState{Term: term}, Entries: entriesOf(term, at, at+9, 200)})
		waitNext(t, b)
		if n > 200 {
			t.Fatal("no segment is ever full")
		}
	}
}

var tiny = Options{SegmentBytes: minSegmentBytes, LockTimeout: small.LockTimeout, Spares: 1}

// chainSample makes a store of four segments, the last one active.
func chainSample(t testing.TB) (dir string, want raft.Durable) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "log")
	b, _ := open(t, dir, tiny)
	fillSegments(t, b, 1, 2)
	fillSegments(t, b, 2, 4)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b, want = open(t, dir, tiny)
	if len(b.sealed) != 3 {
		t.Fatalf("%d sealed segments, want 3", len(b.sealed))
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, want
}

func TestSparesFor(t *testing.T) {
	for bytes, want := range map[int64]int{0: 2, 1 << 20: 2, 64 << 20: 4, 128 << 20: 8, 1 << 40: 8} {
		if got := SparesFor(bytes); got != want {
			t.Errorf("%d spares for %d bytes, want %d", got, bytes, want)
		}
	}
}

// However long a log is written, its files stay in proportion to what is needed.
func TestOldLogIsGivenBack(t *testing.T) {
	for _, spares := range []int{-1, 1} {
		t.Run(fmt.Sprint("spares ", spares), func(t *testing.T) {
			o := tiny
			o.Spares = spares
			testOldLogIsGivenBack(t, o)
		})
	}
}

func testOldLogIsGivenBack(t *testing.T, o Options) {
	dir := filepath.Join(t.TempDir(), "log")
	b, _ := open(t, dir, o)
	most, seen := int64(0), map[uint64]bool{}
	for range 250 {
		at := b.shape.last.Index + 1
		w := &raft.Write{Seq: b.shape.seq + 1, State: raft.HardState{Term: 1}, Entries: entriesOf(1, at, at+9, 200)}
		if at > 100 {
			w.Base = raft.EntryID{Term: 1, Index: at - 100}
		}
		write(t, b, w)
		waitNext(t, b)
		seen[b.active.number] = true
		if len(b.sealed) > 5 {
			t.Fatalf("%d sealed segments for 100 entries", len(b.sealed))
		}
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	names, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		info, err := name.Info()
		if err != nil {
			t.Fatal(err)
		}
		most += info.Size()
	}
	if len(seen) < 8 || most > 9*minSegmentBytes {
		t.Errorf("%d segments were used, %d bytes are left in %v", len(seen), most, names)
	}
	if _, d := open(t, dir, tiny); d.Base.Index != 2391 || len(d.Entries) != 109 {
		t.Errorf("base %v and %d entries", d.Base, len(d.Entries))
	}
}

// A truncation that reaches back over two segments is one transaction in the
// active one; what it overrules never shows again.
func TestTruncationReachesIntoSealedSegments(t *testing.T) {
	dir, want := chainSample(t)
	b, _ := open(t, dir, tiny)
	first := b.sealed[1].from - 5 // in the first segment
	write(t, b, &raft.Write{Seq: want.Seq + 1, State: raft.HardState{Term: 3}, Entries: entriesOf(3, first, first+2, 50)})
	if len(b.sealed) != 1 {
		t.Errorf("%d sealed segments are kept, want 1", len(b.sealed))
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	_, d := open(t, dir, tiny)
	want.Entries = append(want.Entries[:first-1:first-1], entriesOf(3, first, first+2, 50)...)
	want.State.Term, want.Seq = 3, want.Seq+1
	if !same(d, want) {
		t.Errorf("%d entries to %v", len(d.Entries), d.Entries[len(d.Entries)-1].EntryID)
	}
}

// A sealed segment stays until its last entry may go, and no longer.
func TestSealedSegmentStaysForOneEntry(t *testing.T) {
	dir, want := chainSample(t)
	b, _ := open(t, dir, tiny)
	lastOfFirst := b.sealed[1].from - 1
	for _, tc := range []struct {
		base   raft.Index
		sealed int
	}{{lastOfFirst - 1, 3}, {lastOfFirst, 2}} {
		base := want.Entries[tc.base-1].EntryID
		write(t, b, &raft.Write{Seq: b.shape.seq + 1, State: want.State, Base: base})
		if len(b.sealed) != tc.sealed {
			t.Errorf("base %v: %d sealed segments, want %d", base, len(b.sealed), tc.sealed)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		var d raft.Durable
		b, d = open(t, dir, tiny)
		if d.Base != base || len(d.Entries) != len(want.Entries)-int(tc.base) {
			t.Errorf("base %v: %v and %d entries came back", base, d.Base, len(d.Entries))
		}
	}
}

func TestDamageInTheChainIsFound(t *testing.T) {
	for _, tc := range []struct {
		name   string
		damage func(t *testing.T, dir string)
		says   string
	}{
		{"a sealed segment is gone", func(t *testing.T, dir string) {
			os.Remove(segmentPath(dir, 2))
		}, "entries "},
		{"the first segment is gone", func(t *testing.T, dir string) {
			os.Remove(segmentPath(dir, 1))
		}, "entries 1 to "},
		{"two segments changed places", func(t *testing.T, dir string) {
			os.Rename(segmentPath(dir, 1), filepath.Join(dir, "x"))
			os.Rename(segmentPath(dir, 2), segmentPath(dir, 1))
			os.Rename(filepath.Join(dir, "x"), segmentPath(dir, 2))
		}, "checksum"},
		{"a sealed segment is a copy of another", func(t *testing.T, dir string) {
			b, err := os.ReadFile(segmentPath(dir, 1))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(segmentPath(dir, 3), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "checksum"},
		{"a sealed segment lost its last transaction", func(t *testing.T, dir string) {
			s, err := readSegment(segmentPath(dir, 2), 2, nil, false)
			if err != nil {
				t.Fatal(err)
			}
			flip(t, segmentPath(dir, 2), int64(s.pages.meta.txid%2)*pageSize+pageHeader+20, 1)
		}, "are missing"},
		{"a sealed segment is newer than the active one", func(t *testing.T, dir string) {
			s, err := readSegment(segmentPath(dir, 1), 1, nil, false)
			if err != nil {
				t.Fatal(err)
			}
			s.record.seq = 1 << 40
			o, err := tiny.withDefaults()
			if err != nil {
				t.Fatal(err)
			}
			db, err := openBolt(segmentPath(dir, 1), o)
			if err != nil {
				t.Fatal(err)
			}
			if err := db.Update(func(tx *bbolt.Tx) error {
				return tx.Bucket(stateBucket).Put(stateKey, appendRecord(nil, saltOf(1), &s.record))
			}); err != nil {
				t.Fatal(err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
		}, "a newer one"},
		{"a sealed segment was cut off", func(t *testing.T, dir string) {
			if err := os.Truncate(segmentPath(dir, 2), 5*pageSize); err != nil {
				t.Fatal(err)
			}
		}, "cut off"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir, _ := chainSample(t)
			tc.damage(t, dir)
			before := snapshotDir(t, dir)
			_, err := Open(dir, tiny)
			if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("err = %v", err)
			}
			if after := snapshotDir(t, dir); after != before {
				t.Error("a refused start changed the files")
			}
			if err := Dump(dir, new(bytes.Buffer), DumpOptions{}); !errors.Is(err, ErrCorrupt) {
				t.Errorf("dump: %v", err)
			}
		})
	}
}

func snapshotDir(t testing.TB, dir string) string {
	t.Helper()
	names, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, name := range names {
		b, err := os.ReadFile(filepath.Join(dir, name.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all.WriteString(name.Name())
		all.Write(b)
	}
	return all.String()
}

// A sealed segment whose older meta page is bad has all that was written: no fence.
func TestBadOlderMetaOfASealedSegmentIsHarmless(t *testing.T) {
	dir, want := chainSample(t)
	s, err := readSegment(segmentPath(dir, 2), 2, nil, false)
	if err != nil {
		t.Fatal(err)
	}
	flip(t, segmentPath(dir, 2), int64(1-s.pages.meta.txid%2)*pageSize+pageHeader+20, 1)
	if _, d := open(t, dir, tiny); !same(d, want) {
		t.Errorf("fence %d, %d entries of %d", d.Fence, len(d.Entries), len(want.Entries))
	}
}

// An unused segment with a bad meta page may have been the newest one, before
// that page went bad. The fence is raised once and the file replaced.
func TestBadMetaOfTheNextSegmentRaisesTheFence(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	b, _ := open(t, dir, tiny)
	fillSegments(t, b, 1, 2)
	// The one transaction of segment 2 is in the page of the higher txid.
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := readSegment(segmentPath(dir, 2), 2, nil, false)
	if err != nil || !s.has {
		t.Fatalf("%v, %v", s, err)
	}
	flip(t, segmentPath(dir, 2), int64(s.pages.meta.txid%2)*pageSize+pageHeader+20, 1)
	b, d := open(t, dir, tiny)
	if d.Fence != raft.FenceOneBack || d.Seq >= s.record.seq {
		t.Fatalf("fence %d, seq %d", d.Fence, d.Seq)
	}
	if b.next != nil || b.active.number != 1 {
		t.Errorf("active %d, next %v", b.active.number, b.next)
	}
	write(t, b, &raft.Write{Seq: d.Seq + 1, State: d.State}) // lifts it
	fillSegments(t, b, 1, 2)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if _, d := open(t, dir, tiny); d.Fence != raft.FenceNone {
		t.Errorf("fence %d", d.Fence)
	}
}

// What crashes leave behind goes away; what is not ours stays (PL-12).
func TestLeftoversAreSwept(t *testing.T) {
	dir, want := sample(t)
	ours := []string{"next.tmp", "template.tmp", "spare-0000000000000007.tmp", "vote.tmp"}
	others := []string{"README", "log-1.db", "log-0000000000000000.db", "log-000000000000000A.db", "x.tmp", "log-0000000000000001.db.bak"}
	for _, name := range slices.Concat(ours, others) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, d := reopen(t, dir); !same(d, want) {
		t.Error("another log came back")
	}
	for _, name := range ours {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			t.Errorf("%s is still there", name)
		}
	}
	for _, name := range others {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A birth that was cut off anywhere begins again (PC-10).
func TestBirthThatWasCutOff(t *testing.T) {
	for _, names := range [][]string{{}, {lockFile}, {lockFile, "vote.tmp"}, {lockFile, voteFile}, {lockFile, voteFile, "template.tmp", "next.tmp"}} {
		dir := t.TempDir()
		for _, name := range names {
			if name == voteFile {
				if err := writeBallot(dir, ballot{}); err != nil {
					t.Fatal(err)
				}
				continue
			}
			if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if b, d := open(t, dir, small); !same(d, raft.Durable{}) || b.shape.seq != 0 {
			t.Errorf("%v: %+v", names, d)
		}
	}
}

// The first failure is final: nothing is tried again, and Close touches nothing.
func TestFailedWriteIsFinal(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	var files []*os.File
	o := small
	o.openFile = func(name string, flag int, mode os.FileMode) (*os.File, error) {
		f, err := os.OpenFile(name, flag, mode)
		files = append(files, f)
		return f, err
	}
	b, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Load(); err != nil {
		t.Fatal(err)
	}
	write(t, b, &raft.Write{Seq: 1, State: raft.HardState{Term: 1}, Entries: entriesOf(1, 1, 3, 10)})
	for _, f := range files { // from now on each pwrite and fdatasync fails
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	w := &raft.Write{Seq: 2, State: raft.HardState{Term: 1}, Entries: entriesOf(1, 4, 5, 10)}
	first := b.Write(w)
	if !errors.Is(first, ErrDisk) || !strings.Contains(first.Error(), dir) {
		t.Fatalf("err = %v", first)
	}
	if again := b.Write(w); again != first {
		t.Errorf("again: %v", again)
	}
	if _, err := b.Load(); err != first {
		t.Errorf("load: %v", err)
	}
	if n := b.Transactions(); n != 1 {
		t.Errorf("%d transactions", n)
	}
	if err := b.Close(); err != first {
		t.Errorf("close: %v", err)
	}
}

func TestDump(t *testing.T) {
	dir, want := chainSample(t)
	var out bytes.Buffer
	if err := Dump(dir, &out, DumpOptions{Entries: true, Data: 8}); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for _, line := range []string{"vote file: term 2", "log-0000000000000002.db: transaction ", "1/1 type 2 time 1, 200 bytes \"entry 1;\"\n"} {
		if !strings.Contains(out.String(), line) {
			t.Errorf("no %q in:\n%.600s", line, out.String())
		}
	}
	if n := strings.Count(out.String(), " type 2 time "); n != len(want.Entries) {
		t.Errorf("%d entries, want %d", n, len(want.Entries))
	}
	out.Reset()
	if err := Dump(dir, &out, DumpOptions{}); err != nil || strings.Count(out.String(), " type 2 ") != 2 {
		t.Errorf("%v\n%s", err, out.String())
	}
	b, _ := open(t, dir, tiny)
	if err := Dump(dir, &out, DumpOptions{}); !errors.Is(err, ErrLocked) {
		t.Errorf("beside a running node: %v", err)
	}
	b.Close()
	if err := Dump(filepath.Join(dir, "none"), &out, DumpOptions{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
}

// The last transaction of a sealed segment replaced an entry. Without it the log
// has no hole, but another entry there: the newer segment knows which it was.
func TestSealedSegmentThatWentBackIsFound(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	b, _ := open(t, dir, small)
	write(t, b, &raft.Write{Seq: 1, State: raft.HardState{Term: 1}, Entries: entriesOf(1, 1, 10, 20)})
	b.opts.SegmentBytes = 1 // each Write asks for a new segment now
	write(t, b, &raft.Write{Seq: 2, State: raft.HardState{Term: 2}, Entries: entriesOf(2, 10, 10, 20)})
	waitNext(t, b)
	write(t, b, &raft.Write{Seq: 3, State: raft.HardState{Term: 2}, Entries: entriesOf(2, 11, 12, 20)})
	if b.active.number != 2 {
		t.Fatalf("segment %d is active", b.active.number)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := readSegment(segmentPath(dir, 1), 1, nil, false)
	if err != nil {
		t.Fatal(err)
	}
	flip(t, segmentPath(dir, 1), int64(s.pages.meta.txid%2)*pageSize+pageHeader+20, 1)
	if _, err := Open(dir, small); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "entry 1/10, 2/10 was written there") {
		t.Errorf("err = %v", err)
	}
}
