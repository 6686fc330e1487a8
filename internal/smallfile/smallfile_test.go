package smallfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/raftkv/raftkv/internal/fuzztest"
)

func TestReadGivesBackWhatWasWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	for _, payload := range [][]byte{nil, []byte("one"), bytes.Repeat([]byte{0xff}, MaxPayload), []byte("shorter")} {
		if err := Write(path, "vote", payload); err != nil {
			t.Fatal(err)
		}
		got, err := Read(path, "vote")
		if err != nil || !bytes.Equal(got, payload) {
			t.Fatalf("read %d bytes, %v; wrote %d", len(got), err, len(payload))
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
	if names, _ := os.ReadDir(filepath.Dir(path)); len(names) != 1 {
		t.Errorf("left behind: %v", names)
	}
}

// A Write that fails on its way has not touched what was there.
func TestFailedWriteLeavesTheOldFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := Write(path, "vote", []byte("old")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path+TempSuffix, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Write(path, "vote", []byte("new")); err == nil {
		t.Error("written without its temporary file")
	}
	if got, err := Read(path, "vote"); err != nil || string(got) != "old" {
		t.Errorf("read %q, %v", got, err)
	}
}

func TestMissingFileIsNotDamaged(t *testing.T) {
	_, err := Read(filepath.Join(t.TempDir(), "f"), "vote")
	if !errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrDamaged) {
		t.Errorf("err = %v", err)
	}
}

// What a crash inside Write leaves is the temporary file: it is no content.
func TestTempFileIsNotRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path+TempSuffix, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(path, "vote"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("err = %v, want not exist", err)
	}
	if err := Write(path, "vote", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if got, err := Read(path, "vote"); err != nil || string(got) != "x" {
		t.Errorf("read %q, %v", got, err)
	}
}

func TestEveryFlippedBitAndEveryCutIsFound(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := Write(path, "vote", []byte("term 7")); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for bit := range 8 * len(whole) {
		b := bytes.Clone(whole)
		b[bit/8] ^= 1 << (bit % 8)
		if _, err := decode(b, "vote"); !errors.Is(err, ErrDamaged) {
			t.Errorf("bit %d of byte %d: %v", bit%8, bit/8, err)
		}
	}
	for n := range whole {
		if _, err := decode(whole[:n], "vote"); !errors.Is(err, ErrDamaged) {
			t.Errorf("first %d bytes: %v", n, err)
		}
	}
	if _, err := decode(append(bytes.Clone(whole), 0), "vote"); !errors.Is(err, ErrDamaged) {
		t.Errorf("one byte more: %v", err)
	}
}

func TestOtherKindAndOtherVersionAreRefused(t *testing.T) {
	b, err := encode("vote", []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := decode(b, "identity"); !errors.Is(err, ErrDamaged) {
		t.Errorf("other kind: %v", err)
	}
	binary.LittleEndian.PutUint32(b[versionAt:], version+1)
	binary.LittleEndian.PutUint32(b[sumAt:], sum(b))
	if _, err := decode(b, "vote"); !errors.Is(err, ErrVersion) || errors.Is(err, ErrDamaged) {
		t.Errorf("newer version: %v", err)
	}
}

func TestLimits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	for _, kind := range []string{"", strings.Repeat("k", MaxKind+1)} {
		if err := Write(path, kind, nil); err == nil {
			t.Errorf("kind %q was taken", kind)
		}
	}
	if err := Write(path, "vote", make([]byte, MaxPayload+1)); err == nil {
		t.Error("a payload above the limit was taken")
	}
	// A huge file is refused by its size, without reading it.
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 1<<40); err != nil {
		t.Skip("no sparse files here:", err)
	}
	if _, err := Read(path, "vote"); !errors.Is(err, ErrDamaged) {
		t.Errorf("huge file: %v", err)
	}
}

func TestWrongTypeOfFileIsAClearError(t *testing.T) {
	dir := t.TempDir()
	if _, err := Read(dir, "vote"); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "directory") {
		t.Errorf("directory: %v", err)
	}
	if err := Write(dir, "vote", nil); err == nil {
		t.Error("a directory was replaced")
	}
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Skip("no pipes here:", err)
	}
	if _, err := Read(pipe, "vote"); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "pipe") {
		t.Errorf("pipe: %v", err)
	}
}

func TestWriteIntoMissingDirectoryNamesIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none", "f")
	if err := Write(path, "vote", nil); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), path) {
		t.Errorf("err = %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	b, _ := encode("vote", []byte("payload"))
	f.Add(b)
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, b []byte) {
		var payload []byte
		var err error
		fuzztest.Bounded(t, len(b), 64<<10, 2, func() { payload, err = decode(b, "vote") })
		if err != nil {
			if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrVersion) {
				t.Error(err)
			}
			return
		}
		again, err := encode("vote", payload)
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("decoded %x, but its encoding is %x (%v)", b, again, err)
		}
	})
}
