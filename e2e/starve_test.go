package e2e

import (
	"fmt"
	"os"
	"strings"
	"sync"
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
	staysWhileStarved(t, follower, 100*time.Millisecond, 1500*time.Millisecond, 7)
}

// OL-11: the leader gets a twentieth of a CPU. It leads on or another one does; what it may not do is
// to come and go.
func TestStarvedLeader(t *testing.T) {
	staysWhileStarved(t, leader, 5*time.Millisecond, 95*time.Millisecond, 5)
}

// staysWhileStarved starves a node for some seconds of another one, under load: that may cost one election.
func staysWhileStarved(t *testing.T, victim func(*testing.T, *selftest.Cluster) *selftest.Node, runs, stands time.Duration, seconds float64) {
	t.Helper()
	testenv.FullOnly(t)
	parallel(t)
	c := start(t, selftest.Options{})
	torment(t, c, func(w *selftest.Workload) {
		n := victim(t, c)
		steady(t, c, n.Name+" starves", func() {
			stop := starve(n, runs, stands)
			defer stop()
			lives(t, others(c, n)[0], seconds)
			progress(t, w)
		})
	})
}

// CK-04: each node's clocks count from another moment: an hour, a day and a year after the boot of the
// machine. Nothing compares them, so nobody notices.
func TestDifferentBootClocks(t *testing.T) {
	testenv.FullOnly(t)
	testenv.NeedRoot(t)
	testenv.Need(t, "unshare")
	parallel(t)
	offsets := []int{3600, 86400, 365 * 86400}
	c := start(t, selftest.Options{Wrap: func(i int, argv []string) []string {
		ahead := fmt.Sprint(offsets[i-1])
		return append([]string{"unshare", "--time", "--monotonic", ahead, "--boottime", ahead, "--fork", "--kill-child"}, argv...)
	}})
	for i, n := range c.Nodes {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/timens_offsets", n.Pid()))
		if err != nil || strings.Count(string(b), fmt.Sprint(offsets[i])) != 2 {
			t.Errorf("%s has the offsets %s, %v, want %d s", n.Name, b, err, offsets[i])
		}
	}
	torment(t, c, func(w *selftest.Workload) {
		for _, n := range c.Nodes { // were time what these clocks say, it would stand still for whoever follows a later one
			leads(t, c, n)
			steady(t, c, "clocks apart, "+n.Name+" leads", func() {
				do(t, follower(t, c), "SET", "gone", "v", "PX", "1")
				until(t, "the key to expire", func() (bool, error) { return do(t, n, "EXISTS", "gone") == "0", nil })
				progress(t, w)
			})
		}
		old := leader(t, c)
		old.Kill()
		newLeader(t, c, old)
		progress(t, w)
	})
}
