package snapshot

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/raft"
)

// tiny makes every size matter in tests: a sync after each few blocks.
var tiny = Options{SyncBytes: 100}

func metaAt(index raft.Index) raft.SnapshotMeta {
	return raft.SnapshotMeta{
		Last:   raft.EntryID{Term: 3, Index: index},
		Config: raft.Configuration{Members: []raft.Member{{ID: 7, Name: "a", Peer: "h:1"}, {ID: 9, Name: "b", Learner: true}}},
		Time:   12345,
		Level:  1,
		Hash:   [16]byte{1, 2, 3, byte(index)},
	}
}

// chunks gives the parts in turn, then io.EOF.
func chunks(parts ...[]byte) func() ([]byte, error) {
	return func() ([]byte, error) {
		if len(parts) == 0 {
			return nil, io.EOF
		}
		p := parts[0]
		parts = parts[1:]
		return p, nil
	}
}

// partsOf is content for the snapshot at index: n parts, different for each seed.
func partsOf(index raft.Index, seed uint64, n int) [][]byte {
	rng := rand.New(rand.NewPCG(uint64(index), seed))
	parts := make([][]byte, n)
	for i := range parts {
		parts[i] = make([]byte, 1+rng.IntN(60))
		for j := range parts[i] {
			parts[i][j] = byte(rng.Uint32())
		}
	}
	return parts
}

func mustSave(t testing.TB, d *Dir, index raft.Index, parts [][]byte) {
	t.Helper()
	if err := d.Save(metaAt(index), chunks(parts...)); err != nil {
		t.Fatal(err)
	}
}

func mustOpenDir(t testing.TB, fsys FS, path string, o Options) *Dir {
	t.Helper()
	d, err := OpenDir(fsys, path, o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func readAll(d *Dir, last raft.EntryID) (raft.SnapshotMeta, []byte, error) {
	meta, r, err := d.Open(last)
	if err != nil {
		return meta, nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	return meta, b, err
}

func wantContent(t testing.TB, d *Dir, index raft.Index, parts [][]byte) {
	t.Helper()
	meta, b, err := readAll(d, metaAt(index).Last)
	if err != nil {
		t.Fatal(err)
	}
	if !sameMeta(meta, metaAt(index)) {
		t.Errorf("meta %+v, want %+v", meta, metaAt(index))
	}
	if want := bytes.Join(parts, nil); !bytes.Equal(b, want) {
		t.Errorf("content of %d: %d bytes, want %d, or others", index, len(b), len(want))
	}
}

func wantNames(t testing.TB, fsys FS, path string, want ...string) {
	t.Helper()
	got, err := fsys.ReadDir(path)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("files %q, want %q", got, want)
	}
}

func snapName(index raft.Index) string { return fmt.Sprintf("%016x-%016x.snap", 3, uint64(index)) }

// Both file systems must behave alike where they are used.
func onBoth(t *testing.T, run func(t *testing.T, fsys FS, path string)) {
	t.Run("os", func(t *testing.T) { run(t, OS(), filepath.Join(t.TempDir(), "snap")) })
	t.Run("mem", func(t *testing.T) { run(t, NewMemFS(), "/snap") })
}

func TestWhatWasSavedIsRead(t *testing.T) {
	big := bytes.Repeat([]byte("0123456789"), blockMax/10*2+7) // a part longer than a block
	for _, tc := range []struct {
		name  string
		parts [][]byte
	}{
		{"nothing", nil},
		{"empty parts", [][]byte{{}, nil, []byte("x"), {}}},
		{"many", partsOf(5, 1, 50)},
		{"longer than a block", [][]byte{[]byte("a"), big}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			onBoth(t, func(t *testing.T, fsys FS, path string) {
				d := mustOpenDir(t, fsys, path, tiny)
				mustSave(t, d, 5, tc.parts)
				wantContent(t, d, 5, tc.parts)
				d = mustOpenDir(t, fsys, path, tiny)
				meta, err := d.Newest()
				if err != nil || !sameMeta(meta, metaAt(5)) {
					t.Errorf("newest: %v, %v", meta.Last, err)
				}
				wantNames(t, fsys, path, snapName(5))
				if faults := d.Faults(); faults != nil {
					t.Error(faults)
				}
			})
		})
	}
}

func TestDataMayComeWithEOF(t *testing.T) {
	d := mustOpenDir(t, NewMemFS(), "/snap", tiny)
	if err := d.Save(metaAt(5), func() ([]byte, error) { return []byte("all"), io.EOF }); err != nil {
		t.Fatal(err)
	}
	wantContent(t, d, 5, [][]byte{[]byte("all")})
}

func TestFilesAreForTheOwnerOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "snap")
	mustSave(t, mustOpenDir(t, OS(), path, tiny), 5, nil)
	for name, want := range map[string]os.FileMode{path: 0o700, filepath.Join(path, snapName(5)): 0o600} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: mode %v, %v; want %v", name, info.Mode().Perm(), err, want)
		}
	}
}

func TestFailingSourceLeavesNothing(t *testing.T) {
	onBoth(t, func(t *testing.T, fsys FS, path string) {
		d := mustOpenDir(t, fsys, path, tiny)
		mustSave(t, d, 5, nil)
		boom := errors.New("view grew too dear")
		n := 0
		err := d.Save(metaAt(9), func() ([]byte, error) {
			if n++; n == 4 {
				return nil, boom
			}
			return []byte("part"), nil
		})
		if !errors.Is(err, boom) {
			t.Errorf("err = %v, want %v", err, boom)
		}
		wantNames(t, fsys, path, snapName(5))
	})
}

func TestOlderSnapshotsAreRetired(t *testing.T) {
	for _, tc := range []struct {
		name string
		opt  Options
		want []string
	}{
		{"one by default", Options{}, []string{snapName(8)}},
		{"two", Options{Keep: 2}, []string{snapName(7), snapName(8)}},
		{"three", Options{Keep: 3}, []string{snapName(6), snapName(7), snapName(8)}},
		{"the older is too big", Options{Keep: 3, KeepBytes: 300}, []string{snapName(8)}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			onBoth(t, func(t *testing.T, fsys FS, path string) {
				d := mustOpenDir(t, fsys, path, tc.opt)
				for i := raft.Index(5); i <= 8; i++ {
					mustSave(t, d, i, [][]byte{make([]byte, 300)})
				}
				wantNames(t, fsys, path, tc.want...)
			})
		})
	}
}

// Save may be overtaken by Receive: what it made stays, though newer ones fill the places.
func TestSnapshotJustMadeIsNotRetired(t *testing.T) {
	d := mustOpenDir(t, NewMemFS(), "/snap", tiny)
	mustSave(t, d, 9, nil)
	mustSave(t, d, 5, nil)
	wantContent(t, d, 5, nil)
	wantContent(t, d, 9, nil)
}

func TestStartSweepsOnlyWhatIsOurs(t *testing.T) {
	onBoth(t, func(t *testing.T, fsys FS, path string) {
		d := mustOpenDir(t, fsys, path, tiny)
		mustSave(t, d, 5, nil)
		stay := []string{"README", "x.tmp", "5.snap", snapName(5) + ".bak",
			strings.ToUpper(snapName(0xab)), "0000000000000003-0000000000000000.snap", snapName(8) + partSuffix}
		for _, name := range append([]string{snapName(6) + tempSuffix, snapName(7) + partSuffix}, stay...) {
			f, err := fsys.Create(filepath.Join(path, name))
			if err != nil {
				t.Fatal(err)
			}
			f.Close()
		}
		d = mustOpenDir(t, fsys, path, tiny)
		wantNames(t, fsys, path, append(stay, snapName(5))...)
		if meta, err := d.Newest(); err != nil || meta.Last.Index != 5 {
			t.Errorf("newest: %v, %v", meta.Last, err)
		}
	})
}

func TestNoSnapshotIsNotADamagedOne(t *testing.T) {
	onBoth(t, func(t *testing.T, fsys FS, path string) {
		d := mustOpenDir(t, fsys, path, tiny)
		if _, err := d.Newest(); !errors.Is(err, ErrNotFound) || errors.Is(err, ErrDamaged) {
			t.Errorf("newest: %v", err)
		}
		if _, _, err := d.Open(metaAt(5).Last); !errors.Is(err, ErrNotFound) {
			t.Errorf("open: %v", err)
		}
		if _, _, err := d.Source(metaAt(5).Last, 0); !errors.Is(err, ErrNotFound) || !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("source: %v", err)
		}
		if n, err := d.Size(); n != 0 || err != nil {
			t.Errorf("size %d, %v", n, err)
		}
	})
}

func TestSizeIsOfTheNewestFile(t *testing.T) {
	onBoth(t, func(t *testing.T, fsys FS, path string) {
		d := mustOpenDir(t, fsys, path, tiny)
		mustSave(t, d, 5, nil)
		mustSave(t, d, 6, [][]byte{make([]byte, 1000)})
		r, size, err := d.Source(metaAt(6).Last, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		got, err := d.Size()
		if err != nil || got != size || int(got) != len(b) || got < 1000 {
			t.Errorf("size %d, source says %d and has %d; %v", got, size, len(b), err)
		}
	})
}

// Who fetches may lose the connection and ask for the rest: what it is fetching
// stays until two newer ones are there.
func TestServedSnapshotStaysForOneMore(t *testing.T) {
	onBoth(t, func(t *testing.T, fsys FS, path string) {
		d := mustOpenDir(t, fsys, path, tiny)
		mustSave(t, d, 5, nil)
		mustSave(t, d, 6, nil)
		wantNames(t, fsys, path, snapName(6))
		r, _, err := d.Source(metaAt(6).Last, 0)
		if err != nil {
			t.Fatal(err)
		}
		r.Close()
		mustSave(t, d, 7, nil)
		wantNames(t, fsys, path, snapName(6), snapName(7))
		if r, _, err = d.Source(metaAt(6).Last, 10); err != nil {
			t.Fatal(err)
		}
		r.Close()
		mustSave(t, d, 8, nil)
		wantNames(t, fsys, path, snapName(8))
	})
}

// A follower that is slow must not lose the file under its hands.
func TestServedFileCanBeReadAfterItsRemoval(t *testing.T) {
	onBoth(t, func(t *testing.T, fsys FS, path string) {
		d := mustOpenDir(t, fsys, path, tiny)
		mustSave(t, d, 5, [][]byte{[]byte("old")})
		r, size, err := d.Source(metaAt(5).Last, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		mustSave(t, d, 6, nil)
		mustSave(t, d, 7, nil)
		wantNames(t, fsys, path, snapName(7))
		info, err := Verify(r)
		if err != nil || info.Bytes != size || info.Content != 3 {
			t.Errorf("%+v, %v; want %d bytes", info, err, size)
		}
	})
}

func TestTooLargeSnapshotIsRefused(t *testing.T) {
	fsys := NewMemFS()
	d := mustOpenDir(t, fsys, "/snap", Options{MaxBytes: 1000})
	endless := func() ([]byte, error) { return make([]byte, 100), nil }
	if err := d.Save(metaAt(5), endless); !errors.Is(err, ErrTooLarge) {
		t.Errorf("err = %v", err)
	}
	wantNames(t, fsys, "/snap")
}

func TestSecondSaveBesideTheFirstIsRefused(t *testing.T) {
	d := mustOpenDir(t, NewMemFS(), "/snap", tiny)
	var inner error
	err := d.Save(metaAt(5), func() ([]byte, error) {
		inner = d.Save(metaAt(5), chunks())
		return nil, io.EOF
	})
	if err != nil || inner == nil {
		t.Errorf("outer %v, inner %v", err, inner)
	}
	mustSave(t, d, 6, nil)
}

func TestSnapshotOfNothingIsRefused(t *testing.T) {
	fsys := NewMemFS()
	d := mustOpenDir(t, fsys, "/snap", tiny)
	if err := d.Save(raft.SnapshotMeta{}, chunks()); err == nil {
		t.Error("saved")
	}
	wantNames(t, fsys, "/snap")
}

func TestOpenDirTellsWhatStandsInTheWay(t *testing.T) {
	path := filepath.Join(t.TempDir(), "snap")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{path, filepath.Join(t.TempDir(), "none", "snap")} {
		if _, err := OpenDir(OS(), p, tiny); err == nil || !strings.Contains(err.Error(), p) {
			t.Errorf("err = %v, want one that names %s", err, p)
		}
	}
}
