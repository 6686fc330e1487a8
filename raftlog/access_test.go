package raftlog

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/raftkv/raftkv/raft"
)

func TestDirectoryProblems(t *testing.T) {
	base := t.TempDir()
	file := filepath.Join(base, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(file, small); !errors.Is(err, unix.ENOTDIR) || !strings.Contains(err.Error(), file) {
		t.Errorf("a file as directory: %v", err)
	}
	if _, err := Open(filepath.Join(file, "log"), small); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("below a file: %v", err)
	}
	if _, err := Open(filepath.Join(base, strings.Repeat("x", 300)), small); !errors.Is(err, unix.ENAMETOOLONG) {
		t.Errorf("long name: %v", err)
	}
	if _, err := Open(filepath.Join(base, "log"), Options{SegmentBytes: 1}); err == nil {
		t.Error("segments of one byte were taken")
	}
}

func TestLockedByAnother(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	b, _ := open(t, dir, small)
	if _, err := Open(dir, small); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), dir) {
		t.Errorf("err = %v", err)
	}
	write(t, b, &raft.Write{Seq: 1, State: raft.HardState{Term: 1}})
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if _, d := reopen(t, dir); d.Seq != 1 {
		t.Errorf("seq %d", d.Seq)
	}
}

func TestNoPermissionNamesThePath(t *testing.T) {
	dir, want := sample(t)
	for _, path := range []string{dir, segmentPath(dir, 1), filepath.Join(dir, voteFile), filepath.Join(dir, lockFile)} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, 0); err != nil {
			t.Fatal(err)
		}
		err = asNobody(t, filepath.Dir(filepath.Dir(dir)), dir, func() error {
			b, err := Open(dir, small)
			if err == nil {
				b.Close()
			}
			return err
		})
		if !errors.Is(err, fs.ErrPermission) || errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
		if err := os.Chmod(path, info.Mode()); err != nil {
			t.Fatal(err)
		}
	}
	if os.Geteuid() == 0 {
		chownAll(t, dir, 0)
	}
	if _, d := reopen(t, dir); !same(d, want) {
		t.Error("the failed starts changed the log")
	}
}

// asNobody runs f without root's right to open everything: this thread's file
// system user changes, and the files under dir belong to that user.
func asNobody(t testing.TB, top, dir string, f func() error) error {
	if os.Geteuid() != 0 {
		return f()
	}
	const nobody = 65534
	chownAll(t, dir, nobody)
	for p := filepath.Dir(dir); len(p) >= len(top); p = filepath.Dir(p) {
		if err := os.Chmod(p, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if _, err := unix.SetfsuidRetUid(nobody); err != nil {
		t.Fatal(err)
	}
	defer unix.SetfsuidRetUid(0)
	return f()
}

func chownAll(t testing.TB, dir string, uid int) {
	t.Helper()
	names, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if err := os.Chown(filepath.Join(dir, name.Name()), uid, -1); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(dir, uid, -1); err != nil {
		t.Fatal(err)
	}
}

func TestModes(t *testing.T) {
	defer unix.Umask(unix.Umask(0))
	dir, _ := sample(t)
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("directory: %v, %v", info.Mode(), err)
	}
	names, err := os.ReadDir(dir)
	if err != nil || len(names) < 3 {
		t.Fatalf("%v, %v", names, err)
	}
	for _, name := range names {
		if info, err := name.Info(); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: %v, %v", name.Name(), info.Mode(), err)
		}
	}
}

// DE-16: whoever removes or replaces the file of the log under a running node gets no
// more confirmations: what is written to a file without a name is gone with the process.
func TestRemovedFileConfirmsNothing(t *testing.T) {
	for name, damage := range map[string]func(path string) error{
		"removed":           os.Remove,
		"directory removed": func(path string) error { return os.RemoveAll(filepath.Dir(path)) },
		"replaced by another": func(path string) error {
			b, err := os.ReadFile(path)
			return errors.Join(err, os.Rename(path, path+".old"), os.WriteFile(path, b, 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "log")
			b, _ := open(t, dir, small)
			write(t, b, &raft.Write{Seq: 1, State: raft.HardState{Term: 1}, Entries: entriesOf(1, 1, 3, 10)})
			if err := damage(b.active.path); err != nil {
				t.Fatal(err)
			}
			w := &raft.Write{Seq: 2, State: raft.HardState{Term: 1}, Entries: entriesOf(1, 4, 5, 10)}
			if err := b.Write(w); !errors.Is(err, ErrDisk) || !strings.Contains(err.Error(), "while it was in use") {
				t.Errorf("err = %v", err)
			}
		})
	}
}
