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
			began := time.Now()
			d.freeze(t)
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
// leads, ends the process with 74. The kernel lets it go once the disk answers. It runs
// alone: beside others a disk could hang for that long that shall not.
func TestDiskHangsForLong(t *testing.T) {
	c, disks := startOnDisks(t, 64, selftest.Options{YAML: "disk: {low_space_bytes: 2MiB, reserve_bytes: 1MiB, hang_timeout: 3s}\n"})
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
		lead, hung := leader(t, c), follower(t, c)
		was, err := lead.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		d := diskOf(c, disks, hung)
		failed := w.Failed()
		d.freeze(t)
		for range 10 {
			progress(t, w)
		}
		is, err := lead.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if is.Role != "leader" || is.Term != was.Term {
			t.Errorf("%s was leader of term %d and is %s of term %d", lead.Name, was.Term, is.Role, is.Term)
		}
		if n := w.Failed() - failed; n > 0 {
			t.Errorf("%d requests failed, of clients at all three nodes", n)
		}
		d.thaw(t)
		caughtUp(t, hung, leader(t, c))
	})
	samePids(t, c, before)
}
