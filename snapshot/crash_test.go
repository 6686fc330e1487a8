package snapshot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"

	"github.com/raftkv/raftkv/raft"
)

var errStopped = errors.New("process is dead")

// tears is how many torn crashes are tried at each operation.
const tears = 6

// everyCrash runs act on a directory that holds snapshot 10, stopping the
// process after each of its operations in turn, with each kind of crash, and
// lets check look at what is there afterwards. acted is act's error.
func everyCrash(t *testing.T, act func(d *Dir) error, check func(t *testing.T, fsys *MemFS, d *Dir, acted error)) {
	t.Helper()
	total := 0
	for k := 0; k <= total; k++ {
		for variant := range 2 + tears {
			fsys := NewMemFS()
			mustSave(t, mustOpenDir(t, fsys, "/snap", tiny), 10, partsOf(10, 0, 5))
			d := mustOpenDir(t, fsys, "/snap", tiny)
			start := fsys.Ops()
			fsys.Inject(func(op Op) error {
				if op.N >= start+k {
					return errStopped
				}
				return nil
			})
			acted := act(d)
			total = max(total, fsys.Ops()-start)
			if k < total && acted == nil && variant == 0 && k < total/2 {
				t.Errorf("stopped after %d of %d operations, and it says that all is well", k, total)
			}
			mode := min(CrashMode(variant), CrashTear)
			fsys.Crash(mode, rand.New(rand.NewPCG(uint64(k), uint64(variant))))
			fsys.Inject(nil)
			ok := t.Run(fmt.Sprintf("op%d/mode%d", k, variant), func(t *testing.T) {
				check(t, fsys, mustOpenDir(t, fsys, "/snap", tiny), acted)
			})
			if !ok && testing.Short() {
				return
			}
		}
	}
	if total < 10 {
		t.Errorf("only %d operations: the test does not see them", total)
	}
	t.Logf("%d operations, %d crashes", total, (total+1)*(2+tears))
}

// wantOldOrNew checks that the newest snapshot is whole and one of the two; the
// new one if it was confirmed.
func wantOldOrNew(t *testing.T, d *Dir, acted error) {
	t.Helper()
	meta, err := d.Newest()
	if err != nil {
		t.Fatal(err)
	}
	switch meta.Last.Index {
	case 10:
		if acted == nil {
			t.Error("snapshot 20 was confirmed and is gone")
		}
		wantContent(t, d, 10, partsOf(10, 0, 5))
	case 20:
		wantContent(t, d, 20, partsOf(20, 0, 12))
	default:
		t.Errorf("newest is %v", meta.Last)
	}
	if faults := d.Faults(); faults != nil {
		t.Errorf("faults: %v", faults)
	}
}

func TestCrashInSaveLeavesOldOrNew(t *testing.T) {
	save := func(d *Dir) error { return d.Save(metaAt(20), chunks(partsOf(20, 0, 12)...)) }
	everyCrash(t, save, func(t *testing.T, fsys *MemFS, d *Dir, acted error) {
		wantOldOrNew(t, d, acted)
		wantNoLeftOvers(t, fsys, "")
		if err := save(d); err != nil {
			t.Error(err)
		}
		wantContent(t, d, 20, partsOf(20, 0, 12))
	})
}

func wantNoLeftOvers(t *testing.T, fsys *MemFS, allowed string) {
	t.Helper()
	names, err := fsys.ReadDir("/snap")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if !strings.HasSuffix(name, nameSuffix) && (allowed == "" || !strings.HasSuffix(name, allowed)) {
			t.Errorf("left behind: %s", name)
		}
	}
}

// bytesOf is the file of snapshot 20, as another node has it.
func bytesOf(t testing.TB, index raft.Index, parts [][]byte) []byte {
	t.Helper()
	fsys := NewMemFS()
	mustSave(t, mustOpenDir(t, fsys, "/other", Options{}), index, parts)
	b, err := fsys.ReadFile("/other/" + snapName(index))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

type opener = func(context.Context, uint64) (io.ReadCloser, error)

// serve is a source that has exactly these bytes.
func serve(file []byte) opener {
	return func(_ context.Context, offset uint64) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(file[min(offset, uint64(len(file))):])), nil
	}
}

func noProgress(uint64) {}

func TestCrashInReceiveLeavesOldOrNew(t *testing.T) {
	file := bytesOf(t, 20, partsOf(20, 0, 12))
	receive := func(d *Dir) error { return d.Receive(t.Context(), metaAt(20), serve(file), noProgress) }
	everyCrash(t, receive, func(t *testing.T, fsys *MemFS, d *Dir, acted error) {
		wantOldOrNew(t, d, acted)
		wantNoLeftOvers(t, fsys, partSuffix)
		if err := receive(d); err != nil {
			t.Error(err)
		}
		wantContent(t, d, 20, partsOf(20, 0, 12))
		wantNoLeftOvers(t, fsys, "")
	})
}

// A transfer that was cut, then a crash: what the crash made of the partial file is verified, not believed.
func TestCrashBetweenTwoTriesOfReceive(t *testing.T) {
	file := bytesOf(t, 20, partsOf(20, 0, 12))
	receive := func(d *Dir) error {
		if err := d.Receive(t.Context(), metaAt(20), serve(file[:len(file)-200]), noProgress); err == nil {
			return errors.New("half a file was taken")
		}
		return d.Receive(t.Context(), metaAt(20), serve(file), noProgress)
	}
	everyCrash(t, receive, func(t *testing.T, fsys *MemFS, d *Dir, acted error) {
		wantOldOrNew(t, d, acted)
		if err := d.Receive(t.Context(), metaAt(20), serve(file), noProgress); err != nil {
			t.Error(err)
		}
		wantContent(t, d, 20, partsOf(20, 0, 12))
	})
}

// everyError lets each operation of act fail alone, once with each errno.
func everyError(t *testing.T, act func(d *Dir) error, check func(t *testing.T, fsys *MemFS, d *Dir, failed Op)) {
	t.Helper()
	for _, errno := range []error{syscall.ENOSPC, syscall.EIO} {
		for k, more := 0, true; more; k++ {
			fsys := NewMemFS()
			mustSave(t, mustOpenDir(t, fsys, "/snap", tiny), 10, partsOf(10, 0, 5))
			d := mustOpenDir(t, fsys, "/snap", tiny)
			start := fsys.Ops()
			var failed Op
			fsys.Inject(func(op Op) error {
				if op.N != start+k {
					return nil
				}
				failed = op
				return errno
			})
			err := act(d)
			fsys.Inject(nil)
			more = failed.Kind != ""
			t.Run(fmt.Sprintf("%v/op%d-%s", errno, k, failed.Kind), func(t *testing.T) {
				if err != nil && !errors.Is(err, errno) {
					t.Errorf("err = %v, want it to say %v", err, errno)
				}
				faults := d.Faults()
				if more && err == nil && len(faults) == 0 {
					t.Errorf("%s of %s failed and nobody hears", failed.Kind, failed.Path)
				}
				if err != nil && failed.Kind != "syncdir" {
					if meta, err := d.Newest(); err != nil || meta.Last.Index != 10 {
						t.Errorf("newest: %v, %v", meta.Last, err)
					}
				}
				wantNoLeftOvers(t, fsys, "")
				check(t, fsys, d, failed)
				// A sync that failed and is forgotten would show here.
				fsys.Crash(CrashLose, nil)
				wantContent(t, mustOpenDir(t, fsys, "/snap", tiny), 20, partsOf(20, 0, 12))
			})
		}
	}
}

func TestErrorInSaveLeavesOldAndNoTemp(t *testing.T) {
	save := func(d *Dir) error { return d.Save(metaAt(20), chunks(partsOf(20, 0, 12)...)) }
	everyError(t, save, func(t *testing.T, fsys *MemFS, d *Dir, failed Op) {
		if err := save(d); err != nil {
			t.Error(err)
		}
	})
}

func TestErrorInReceiveLeavesOldAndNoPart(t *testing.T) {
	file := bytesOf(t, 20, partsOf(20, 0, 12))
	receive := func(d *Dir) error { return d.Receive(t.Context(), metaAt(20), serve(file), noProgress) }
	everyError(t, receive, func(t *testing.T, fsys *MemFS, d *Dir, failed Op) {
		if err := receive(d); err != nil {
			t.Error(err)
		}
	})
}

// The names of a directory are not durable before it is synced: MemFS must show
// what Save would lose without that.
func TestMemFSLosesWhatWasNotSynced(t *testing.T) {
	fsys := NewMemFS()
	if err := fsys.Mkdir("/d"); err != nil {
		t.Fatal(err)
	}
	if err := fsys.SyncDir("/"); err != nil {
		t.Fatal(err)
	}
	put := func(name, data string, sync bool) {
		f, err := fsys.Create("/d/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(f, data); err != nil {
			t.Fatal(err)
		}
		if sync {
			if err := f.Sync(); err != nil {
				t.Fatal(err)
			}
		}
	}
	put("a", "one", true)
	if err := fsys.SyncDir("/d"); err != nil {
		t.Fatal(err)
	}
	put("a", "two", false)
	put("b", "named only in memory", true)
	fsys.Crash(CrashLose, nil)
	wantNames(t, fsys, "/d", "a")
	if b, err := fsys.ReadFile("/d/a"); err != nil || string(b) != "one" {
		t.Errorf("a = %q, %v", b, err)
	}
	put("c", "named, not synced", false)
	if err := fsys.SyncDir("/d"); err != nil {
		t.Fatal(err)
	}
	if err := fsys.Rename("/d/a", "/d/z"); err != nil {
		t.Fatal(err)
	}
	fsys.Crash(CrashLose, nil)
	wantNames(t, fsys, "/d", "a", "c")
	if b, err := fsys.ReadFile("/d/c"); err != nil || len(b) != 0 {
		t.Errorf("c = %q, %v", b, err)
	}
}
