package e2e

import (
	"errors"
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
			ok, busy := flood(t, leader(t, c), 64, 128<<10)
			t.Logf("%d writes applied, %d refused as busy", ok, busy)
			if ok == 0 || busy == 0 {
				t.Errorf("%d writes applied, %d refused as busy", ok, busy)
			}
			progress(t, w)
		})
	})
}

// flood lets so many clients make a large write at the same time, four times, and counts the answers; there must be no others.
func flood(t *testing.T, n *selftest.Node, clients, size int) (ok, busy int) {
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
					t.Errorf("a write that is too many: outcome %d, %v", outcome, err)
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return ok, busy
}

// DE-19, PC-13: a follower stands still while a burst of log passes by. The others write on; the log
// on the leader's disk does not grow by what that one lacks; when it wakes up it catches up.
func TestPausedFollowerHoldsNoLog(t *testing.T) {
	testenv.FullOnly(t)
	parallel(t)
	c := start(t, selftest.Options{YAML: calm + "snapshot: {log_bytes: 4MiB, keep_entries: 1}\n"})
	l, f := leader(t, c), follower(t, c)
	conn, err := selftest.Dial(deadline(t), l.Client)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	f.Pause()
	const megabytes = 100
	for range megabytes {
		if _, outcome, err := conn.Do(attempt, "SET", "k", strings.Repeat("x", 1<<20)); outcome != selftest.OK {
			t.Fatal(err)
		}
	}
	onDisk := int64(0)
	for _, size := range sizes(t, l) {
		onDisk += size
	}
	t.Logf("%d MiB written: %d MiB of log on the leader's disk", megabytes, onDisk>>20)
	if onDisk > megabytes<<20/2 {
		t.Errorf("%d MiB of log for %d MiB written and 1 MiB of state", onDisk>>20, megabytes)
	}
	f.Resume()
	caughtUp(t, f, leader(t, c))
	sameState(t, c)
}
