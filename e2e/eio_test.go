package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/raftkv/raftkv/internal/testenv"
	"github.com/raftkv/raftkv/selftest"
)

// brokenBlock is a disk on which one block can't be written for a while: its image lies in
// a file system in memory without any room, and has a hole there.
type brokenBlock struct {
	*disk
	memory string
}

const imageBytes = 64 << 20

func newBrokenBlock(t *testing.T) *brokenBlock {
	t.Helper()
	testenv.FullOnly(t)
	testenv.NeedRoot(t)
	testenv.Need(t, "mount", "umount", "mkfs.ext4")
	tmp := t.TempDir()
	d := &brokenBlock{&disk{kind: "ext4", image: filepath.Join(tmp, "memory", "image"), dir: filepath.Join(tmp, "disk")}, filepath.Join(tmp, "memory")}
	for _, dir := range []string{d.memory, d.dir} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	sh(t, "mount", "-t", "tmpfs", "-o", "size=80m", "tmpfs", d.memory)
	t.Cleanup(func() { unmount(t, d.memory) })
	sh(t, "truncate", "-s", fmt.Sprint(imageBytes), d.image)
	sh(t, "mkfs.ext4", "-q", "-m", "0", "-b", "4096", d.image)
	d.mount(t)
	t.Cleanup(func() { unmount(t, d.dir) })
	return d
}

// breakPage makes the next write of a page of a file on the disk fail. Its content is lost.
func (d *brokenBlock) breakPage(t *testing.T, path string, page int32) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const fibmap = 1 // linux/fs.h: where a block of a file is on its disk
	block := page
	if _, _, e := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), fibmap, uintptr(unsafe.Pointer(&block))); e != 0 || block == 0 {
		t.Fatalf("block %d of %s: %v", page, path, e)
	}
	image, err := os.OpenFile(d.image, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer image.Close()
	// All other blocks have their room, those too that were made by giving room back.
	if err := unix.Fallocate(int(image.Fd()), 0, 0, imageBytes); err != nil {
		t.Fatal(err)
	}
	if err := unix.Fallocate(int(image.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, int64(block)*4096, 4096); err != nil {
		t.Fatal(err)
	}
	filler, err := os.Create(filepath.Join(d.memory, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	defer filler.Close()
	for {
		if _, err := filler.Write(make([]byte, 4096)); errors.Is(err, syscall.ENOSPC) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// mend lets the block be written again.
func (d *brokenBlock) mend(t *testing.T) {
	t.Helper()
	if err := os.Remove(filepath.Join(d.memory, "filler")); err != nil {
		t.Fatal(err)
	}
}

// PL-13: the disk can't write the meta page of a commit, once. The kernel says so, and from
// then on shows the page in its cache as if it were there. The node ends; a restart, with
// the disk well again and the cache as it was, reads what the disk has, and is fenced until it has caught up.
func TestCacheIsNotBelievedAfterAnError(t *testing.T) {
	d := newBrokenBlock(t)
	parallel(t)
	c := prepare(t, selftest.Options{YAML: lowSpace})
	n := c.Nodes[2]
	if err := os.Symlink(d.data(), n.Data); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(d.data(), 0o700); err != nil {
		t.Fatal(err)
	}
	startAll(t, c)
	torment(t, c, func(w *selftest.Workload) {
		progress(t, w)
		n.Pause() // else the page could be written between the hole and the loss of room
		files, err := filepath.Glob(filepath.Join(d.data(), "log", "log-*.db"))
		if err != nil || len(files) != 1 {
			t.Fatalf("segments %v, %v", files, err)
		}
		d.breakPage(t, files[0], 1)
		n.Resume() // every other commit writes this page
		if code, err := n.Wait(deadline(t)); err != nil || code != 74 || !strings.Contains(n.Tail(2), "the disk failed") {
			t.Fatalf("%s ended with %d, %v:\n%s", n.Name, code, err, n.Tail(2))
		}
		progress(t, w)
		d.mend(t)
		logged := len(logOf(t, n))
		if err := n.Start(); err != nil {
			t.Fatal(err)
		}
		caughtUp(t, n, leader(t, c))
		if log := string(logOf(t, n)[logged:]); !strings.Contains(log, "one write may be forgotten") || !strings.Contains(log, "meta page") {
			t.Errorf("it believed its cache:\n%s", n.Tail(10))
		}
	})
}
