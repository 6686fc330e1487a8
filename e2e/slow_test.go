package e2e

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/raftkv/raftkv/internal/testenv"
	"github.com/raftkv/raftkv/selftest"
)

// DE-12, OL-03: every sync of every disk takes a twentieth of a second. It becomes slow; the leader stays. Writes that come
// faster than that wait, up to raft.uncommitted_bytes, and what is more is refused as busy at once: no request may time out here.
func TestSlowDisks(t *testing.T) {
	needStrace(t)
	parallel(t)
	c := start(t, selftest.Options{
		YAML: "limits: {request_timeout: 10m, value_bytes: 512KiB, command_bytes: 1MiB}\nraft: {uncommitted_bytes: 2MiB}\n",
		Wrap: func(_ int, argv []string) []string { return strace(argv, "fdatasync:delay_enter=50000") },
	})
	torment(t, c, func(w *selftest.Workload) {
		steady(t, c, "slow disks", func() {
			lives(t, c.Nodes[0], 2)
			progress(t, w)
			progress(t, w)
		})
		// Clients of a starved machine may be slower than the disk, and lose their leader.
		for try := 1; ; try++ {
			var ok, busy, other int
			had := elections(t, c, func() { ok, busy, other = flood(t, leader(t, c), 64, 128<<10) })
			t.Logf("%d writes applied, %d refused as busy, %d ended in another way, in %d elections", ok, busy, other, had)
			if (had > 0 || busy == 0) && try < tries {
				continue
			}
			if ok == 0 || busy == 0 || other > 0 {
				t.Errorf("%d writes applied, %d refused as busy, %d ended in another way, in %d elections", ok, busy, other, had)
			}
			break
		}
		progress(t, w)
	})
}

// flood lets so many clients make a large write at the same time, four times, and counts the answers.
func flood(t *testing.T, n *selftest.Node, clients, size int) (ok, busy, other int) {
	t.Helper()
	var mu sync.Mutex
	var all sync.WaitGroup
	for range clients {
		conn, err := selftest.Dial(deadline(t), n.Client)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		all.Go(func() {
			for range 4 {
				_, outcome, err := conn.Do(attempt, "SET", "flood", strings.Repeat("x", size))
				var reply *selftest.ErrorReply
				mu.Lock()
				switch {
				case outcome == selftest.OK:
					ok++
				case outcome == selftest.NotApplied && errors.As(err, &reply) && reply.Prefix() == "BUSY":
					busy++
				default:
					other++
					t.Logf("a write that is too many: outcome %d, %v", outcome, err)
				}
				mu.Unlock()
				if err != nil && reply == nil {
					return // the connection is of no more use
				}
			}
		})
	}
	all.Wait()
	return ok, busy, other
}

// DE-19, PC-13: a follower stands still while a burst of log passes by. The others write on; the log
// on the leader's disk does not grow by what that one lacks; when it wakes up it catches up.
func TestPausedFollowerHoldsNoLog(t *testing.T) {
	testenv.FullOnly(t)
	parallel(t)
	c := start(t, selftest.Options{YAML: calm + "snapshot: {log_bytes: 4MiB, keep_entries: 1}\n"})
	l, f := leader(t, c), follower(t, c)
	f.Pause()
	const megabytes = 100
	for range megabytes {
		fillWith(t, l, "k", 1, 1<<20) // the same key
	}
	// A slow disk may still have its last snapshot to write. What is kept for the follower stays.
	until(t, fmt.Sprintf("less than half of the %d MiB that were written to be log on the leader's disk", megabytes), func() (bool, error) {
		onDisk := int64(0)
		for _, size := range sizes(t, l) {
			onDisk += size
		}
		return onDisk <= megabytes<<20/2, fmt.Errorf("%d MiB", onDisk>>20)
	})
	f.Resume()
	caughtUp(t, f, leader(t, c))
	sameState(t, c)
}
