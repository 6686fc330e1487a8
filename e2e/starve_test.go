package e2e

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/raftkv/raftkv/internal/testenv"
	"github.com/raftkv/raftkv/selftest"
)

// starve lets a process run for a moment and stand still for a longer one, over and
// over, as a quota of CPU time does, until stop is called.
func starve(n *selftest.Node, runs, stands time.Duration) (stop func()) {
	end := make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		defer n.Resume()
		for {
			n.Pause()
			select {
			case <-time.After(stands):
			case <-end:
				return
			}
			n.Resume()
			select {
			case <-time.After(runs):
			case <-end:
				return
			}
		}
	})
	return func() { close(end); all.Wait() }
}

// CK-05: a follower sleeps for longer than an election timeout, wakes for a moment and
// sleeps again. It deposes nobody because it slept itself.
func TestSleepyFollowerDeposesNobody(t *testing.T) {
	staysWhileStarved(t, follower, 1, 100*time.Millisecond, 1500*time.Millisecond, 7)
}

// OL-11: the leader gets a twentieth of a CPU, by a quota whose period is longer than an election timeout. Another one
// leads soon; what the starved one may not do is to come back, and go, each time that it wakes up. Votes may split
// once or twice until then.
func TestStarvedLeader(t *testing.T) {
	staysWhileStarved(t, leader, 3, 50*time.Millisecond, 950*time.Millisecond, 8)
}

// staysWhileStarved starves a node for some seconds of another one, under load: that may cost so many elections.
func staysWhileStarved(t *testing.T, victim func(*testing.T, *selftest.Cluster) *selftest.Node, most uint64, runs, stands time.Duration, seconds float64) {
	t.Helper()
	testenv.FullOnly(t)
	parallel(t)
	c := start(t, selftest.Options{})
	torment(t, c, func(w *selftest.Workload) {
		atMost(t, c, most, "a node starves", func() {
			n := victim(t, c)
			stop := starve(n, runs, stands)
			defer stop()
			lives(t, others(c, n)[0], seconds)
			progress(t, w)
		})
	})
}

// CK-04: each node's clocks count from another moment, after a start that differs from the ones before: an hour,
// a year and a day after the boot of the machine. Nothing compares them, so nobody notices.
func TestDifferentBootClocks(t *testing.T) {
	testenv.FullOnly(t)
	testenv.NeedRoot(t)
	testenv.Need(t, "unshare")
	parallel(t)
	offsets := []int{3600, 365 * 86400, 86400}
	var apart atomic.Bool
	c := start(t, selftest.Options{Wrap: func(i int, argv []string) []string {
		if !apart.Load() {
			return argv
		}
		ahead := fmt.Sprint(offsets[i-1])
		return append([]string{"unshare", "--time", "--monotonic", ahead, "--boottime", ahead, "--fork", "--kill-child"}, argv...)
	}})
	// Were the time of the log what such a clock says, it would jump by an hour at least: this key would be gone.
	do(t, leader(t, c), "SET", "stays", "v", "EX", "1800")
	for _, n := range c.Nodes {
		n.Kill()
	}
	apart.Store(true)
	startAll(t, c)
	for i, n := range c.Nodes {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/timens_offsets", n.Pid()))
		if err != nil || strings.Count(string(b), fmt.Sprint(offsets[i])) != 2 {
			t.Errorf("%s has the offsets %s, %v, want %d s", n.Name, b, err, offsets[i])
		}
	}
	torment(t, c, func(w *selftest.Workload) {
		for _, n := range c.Nodes { // and it would stand still for the last one, which follows a later one
			leads(t, c, n)
			steady(t, c, "clocks apart, "+n.Name+" leads", func() {
				do(t, follower(t, c), "SET", "gone", "v", "PX", "1")
				until(t, "the key to expire", func() (bool, error) { return do(t, n, "EXISTS", "gone") == "0", nil })
				if do(t, n, "EXISTS", "stays") != "1" {
					t.Errorf("%s leads, and a key with half an hour to live has expired", n.Name)
				}
				progress(t, w)
			})
		}
		old := leader(t, c)
		old.Kill()
		newLeader(t, c, old)
		progress(t, w)
	})
}
