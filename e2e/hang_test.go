package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/raftkv/raftkv/selftest"
)

// DE-10: the disk of the leader hangs, its process does not die and its sockets
// work. Another node leads soon, nobody reads an old value, and after the thaw
// the node is a good follower again.
func TestLeadersDiskHangs(t *testing.T) {
	parallel(t)
	c, disks := startOnDisks(t, 64, selftest.Options{YAML: lowSpace})
	before := pids(c)
	torment(t, c, func(w *selftest.Workload) {
		for range 3 {
			old := leader(t, c)
			d := diskOf(c, disks, old)
			d.freeze(t)
			began := time.Now() // the kernel writes out what is dirty before, for seconds where the machine is busy
			newLeader(t, c, old)
			t.Logf("another leader %v after the disk of %s hung", time.Since(began).Round(time.Millisecond), old.Name)
			notLeading(t, old)
			progress(t, w)
			d.thaw(t)
			caughtUp(t, old, leader(t, c))
			progress(t, w)
		}
	})
	samePids(t, c, before)
}

// DE-10: a disk that hangs for longer than disk.hang_timeout, while another node
// leads, ends the process with 74. The kernel lets it go once the disk answers. Longer than
// a write takes beside other tests: no other disk shall be taken for a hung one.
func TestDiskHangsForLong(t *testing.T) {
	parallel(t)
	c, disks := startOnDisks(t, 64, selftest.Options{YAML: "disk: {low_space_bytes: 2MiB, reserve_bytes: 1MiB, hang_timeout: 10s}\n"})
	torment(t, c, func(w *selftest.Workload) {
		old := leader(t, c)
		d := diskOf(c, disks, old)
		d.freeze(t)
		newLeader(t, c, old)
		until(t, old.Name+" to give up on its disk", func() (bool, error) {
			return strings.Contains(old.Tail(20), "the disk has been writing for too long"), nil
		})
		d.thaw(t)
		if code, err := old.Wait(deadline(t)); err != nil || code != 74 {
			t.Errorf("%s ended with %d, %v; want 74", old.Name, code, err)
		}
		progress(t, w)
	})
}

// DE-11: the disk of a follower hangs. Clients notice nothing.
func TestFollowersDiskHangs(t *testing.T) {
	parallel(t)
	c, disks := startOnDisks(t, 64, selftest.Options{YAML: calm + lowSpace})
	before := pids(c)
	torment(t, c, func(w *selftest.Workload) {
		// A machine that gives nobody any time for seconds lets requests fail, too, but not each time.
		for try := 1; ; try++ {
			failed := 0
			had := elections(t, c, func() {
				hung := follower(t, c)
				d := diskOf(c, disks, hung)
				before := w.Failed()
				d.freeze(t)
				for range 10 {
					progress(t, w)
				}
				failed = w.Failed() - before
				d.thaw(t)
				caughtUp(t, hung, leader(t, c))
			})
			if had == 0 && failed == 0 {
				break
			}
			t.Logf("%d elections, and %d requests failed, of clients at all three nodes", had, failed)
			if try == tries {
				t.Fatal("clients notice it each time")
			}
		}
	})
	samePids(t, c, before)
}
