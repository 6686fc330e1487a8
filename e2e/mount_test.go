package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/raftkv/raftkv/internal/testenv"
	"github.com/raftkv/raftkv/selftest"
)

// disk is a file system of its own, in a file that is loop-mounted: one can fill
// it, freeze it and cut its power.
type disk struct {
	kind  string // ext4 or xfs
	image string
	dir   string // where it is mounted
}

// newDisk makes and mounts an ext4 of some MiB. It is gone at the end of the test.
func newDisk(t *testing.T, megabytes int64) *disk {
	t.Helper()
	return newDiskOf(t, "ext4", megabytes)
}

// newDiskOf is newDisk for ext4, or for xfs, which needs 300 MiB at least.
func newDiskOf(t *testing.T, kind string, megabytes int64) *disk {
	t.Helper()
	testenv.FullOnly(t)
	testenv.NeedRoot(t)
	testenv.Need(t, "mount", "umount", "mkfs."+kind)
	tmp := t.TempDir()
	d := &disk{kind: kind, image: filepath.Join(tmp, "image"), dir: filepath.Join(tmp, "disk")}
	if err := os.Mkdir(d.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	d.format(t, megabytes)
	t.Cleanup(func() {
		if mounted(d.dir) {
			unmount(t, d.dir)
		}
	})
	d.mount(t)
	return d
}

// format makes an empty file system. It must not be mounted.
func (d *disk) format(t *testing.T, megabytes int64) {
	t.Helper()
	if err := os.WriteFile(d.image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(d.image, megabytes<<20); err != nil {
		t.Fatal(err)
	}
	if d.kind == "xfs" {
		sh(t, "mkfs.xfs", "-q", d.image)
		return
	}
	// No reserved blocks: root could use them, and the daemon runs as root here.
	sh(t, "mkfs.ext4", "-q", "-m", "0", d.image)
}

func (d *disk) mount(t *testing.T)  { t.Helper(); sh(t, "mount", "-o", "loop", d.image, d.dir) }
func (d *disk) umount(t *testing.T) { t.Helper(); unmount(t, d.dir) }

// unmount takes away a file system that nobody uses. The kernel may still call it busy: a program that
// another test starts has all files of this process until its exec, a directory that was just looked at too.
func unmount(t *testing.T, dir string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second) // that of the test may be over
	defer cancel()
	err := selftest.Until(ctx, dir+" to be free", func() (bool, error) {
		out, err := exec.Command("umount", dir).CombinedOutput()
		if err != nil && !bytes.Contains(out, []byte("busy")) {
			t.Fatalf("umount %s: %v: %s", dir, err, out)
		}
		return err == nil, fmt.Errorf("%w: %s", err, out)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// sync lets everything that was written so far be on the disk.
func (d *disk) sync(t *testing.T) {
	t.Helper()
	f, err := os.Open(d.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		t.Fatal(err)
	}
}

// data is the data directory on the disk.
func (d *disk) data() string { return filepath.Join(d.dir, "data") }

// sh runs a program that must succeed.
func sh(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v: %s", args, err, out)
	}
}

// mounted tells whether a directory is a mount point.
func mounted(dir string) bool {
	var here, above syscall.Stat_t
	if syscall.Stat(dir, &here) != nil || syscall.Stat(filepath.Dir(dir), &above) != nil {
		return true // a file system that was shut down answers with errors
	}
	return here.Dev != above.Dev
}

// The ioctls, from linux/fs.h, fs/ext4/ext4.h and fs/xfs/libxfs/xfs_fs.h: both
// file systems have the same number for a shutdown, and for its flag.
const (
	ioctlFreeze   = 0xc0045877
	ioctlThaw     = 0xc0045878
	ioctlShutdown = 0x8004587d

	shutdownNoLogFlush = 2 // the journal in memory is lost as well, as when the power goes
)

func (d *disk) ioctl(request uintptr, arg uint32) error {
	f, err := os.Open(d.dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, _, e := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), request, uintptr(unsafe.Pointer(&arg))); e != 0 {
		return fmt.Errorf("ioctl %x of %s: %w", request, d.dir, e)
	}
	return nil
}

// powerCut loses what was not synced: from now on nothing reaches the disk any more.
func (d *disk) powerCut(t *testing.T) {
	t.Helper()
	if err := d.ioctl(ioctlShutdown, shutdownNoLogFlush); err != nil {
		t.Fatal(err)
	}
}

// powerOn mounts the disk again after a cut. Nobody may use it.
func (d *disk) powerOn(t *testing.T) {
	t.Helper()
	d.umount(t)
	d.mount(t)
}

// freeze lets every write hang until thaw, at the latest at the end of the test.
func (d *disk) freeze(t *testing.T) {
	t.Helper()
	if err := d.ioctl(ioctlFreeze, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.ioctl(ioctlThaw, 0) }) // mostly it is thawed already
}

func (d *disk) thaw(t *testing.T) {
	t.Helper()
	if err := d.ioctl(ioctlThaw, 0); err != nil {
		t.Fatal(err)
	}
}

// free is the number of bytes that may still be written.
func (d *disk) free(t *testing.T) uint64 {
	t.Helper()
	var s syscall.Statfs_t
	if err := syscall.Statfs(d.dir, &s); err != nil {
		t.Fatal(err)
	}
	return s.Bavail * uint64(s.Bsize)
}

// fill takes space until only so many bytes are left.
func (d *disk) fill(t *testing.T, left uint64) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(d.dir, "filler"), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	// In ever smaller pieces: the file system takes some blocks for itself.
	size := int64(0)
	for piece := uint64(16 << 20); piece >= 4096; piece /= 2 {
		for d.free(t) >= left+piece {
			if err := syscall.Fallocate(int(f.Fd()), 0, size, int64(piece)); err != nil {
				break
			}
			size += int64(piece)
		}
	}
}

// release gives the space back.
func (d *disk) release(t *testing.T) {
	t.Helper()
	if err := os.Remove(filepath.Join(d.dir, "filler")); err != nil {
		t.Fatal(err)
	}
}

// onDisks prepares a cluster whose nodes have a disk each.
func onDisks(t *testing.T, megabytes int64, o selftest.Options) (*selftest.Cluster, []*disk) {
	t.Helper()
	if o.Voters == 0 {
		o.Voters = 3
	}
	var disks []*disk
	for range o.Voters {
		disks = append(disks, newDisk(t, megabytes))
	}
	return onTheseDisks(t, o, disks), disks
}

// startOnDisks makes a cluster whose nodes have a disk each, and waits until all of it serves.
func startOnDisks(t *testing.T, megabytes int64, o selftest.Options) (*selftest.Cluster, []*disk) {
	t.Helper()
	c, disks := onDisks(t, megabytes, o)
	startAll(t, c)
	return c, disks
}

// onTheseDisks prepares a cluster whose nodes have these disks.
func onTheseDisks(t *testing.T, o selftest.Options, disks []*disk) *selftest.Cluster {
	t.Helper()
	o.Voters = len(disks)
	o.DataDir = func(i int) string { return disks[i-1].data() }
	return prepare(t, o)
}

// diskOf is the disk of a node.
func diskOf(c *selftest.Cluster, disks []*disk, n *selftest.Node) *disk {
	for i, o := range c.Nodes {
		if o == n {
			return disks[i]
		}
	}
	return nil
}
