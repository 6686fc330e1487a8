package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/raftkv/raftkv/internal/testenv"
	"github.com/raftkv/raftkv/selftest"
)

// takeInodes makes empty files until the disk has room for so few more.
func (d *disk) takeInodes(t *testing.T, left uint64) {
	t.Helper()
	dir := filepath.Join(d.dir, "files")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for i := 0; ; i++ {
		var s syscall.Statfs_t
		if err := syscall.Statfs(d.dir, &s); err != nil {
			t.Fatal(err)
		}
		if s.Ffree <= left {
			return
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// DE-22: the disks have bytes and no inodes, so that no file can be made: no vote, no
// snapshot, no segment. It is as if they were full: one node says so and the others go on; a majority
// refuses writes with NOSPACE and goes on to read. Nothing dies, and it ends by itself.
func TestNoInodesLeft(t *testing.T) {
	testenv.FullOnly(t)
	parallel(t)
	var disks []*disk
	for range 3 {
		d := newDisk(t, 64)
		d.umount(t)
		sh(t, "mkfs.ext4", "-q", "-m", "0", "-N", "128", d.image)
		d.mount(t)
		disks = append(disks, d)
	}
	c := onTheseDisks(t, selftest.Options{YAML: small + thresholds}, disks)
	startAll(t, c)
	before := pids(c)
	torment(t, c, func(w *selftest.Workload) {
		n := leader(t, c)
		const left = 8
		diskOf(c, disks, n).takeInodes(t, left)
		seesSpace(t, n, true)
		newLeader(t, c, n)
		progress(t, w)
		other := follower(t, c)
		if other == n {
			other = third(c, n, leader(t, c))
		}
		diskOf(c, disks, other).takeInodes(t, left)
		seesSpace(t, other, true)
		for _, o := range c.Nodes {
			until(t, o.Name+" to refuse writes", func() (bool, error) {
				outcome, text := write(t, o, "SET", "new", "v")
				return outcome == selftest.NotApplied && strings.HasPrefix(text, "NOSPACE"), fmt.Errorf("%v %s", outcome, text)
			})
			if o == n {
				continue // it lacks what was written since it took no more
			}
			until(t, o.Name+" to be ready for reads", func() (bool, error) {
				code, body, err := o.Get(t.Context(), "/readyz")
				return code == http.StatusOK, fmt.Errorf("%d %s %v", code, body, err)
			})
		}
		samePids(t, c, before)
		for _, o := range []*selftest.Node{n, other} {
			if err := os.RemoveAll(filepath.Join(diskOf(c, disks, o).dir, "files")); err != nil {
				t.Fatal(err)
			}
		}
		takesWrites(t, c.Nodes...)
		// One that is started without inodes waits for them.
		n.Kill()
		diskOf(c, disks, n).takeInodes(t, 2)
		if err := n.Start(); err != nil {
			t.Fatal(err)
		}
		until(t, n.Name+" to wait", func() (bool, error) {
			if n.Pid() == 0 {
				t.Fatalf("%s died:\n%s", n.Name, n.Tail(3))
			}
			return waitsForSpace(t, n), errors.New("it does not wait")
		})
		if err := os.RemoveAll(filepath.Join(diskOf(c, disks, n).dir, "files")); err != nil {
			t.Fatal(err)
		}
		caughtUp(t, n, leader(t, c))
	})
}
