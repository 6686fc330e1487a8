package e2e

import (
	"math/rand/v2"
	"testing"

	"github.com/raftkv/raftkv/internal/testenv"
	"github.com/raftkv/raftkv/selftest"
)

// rounds is how often a loop goes round: a few in tier 1, many in tier 2, half as
// many where that runs at each commit.
func rounds(few, many int) int {
	switch {
	case testenv.Full() && testenv.Half():
		return max(few, many/2)
	case testenv.Full():
		return many
	}
	return few
}

// PC-01, PC-02, PC-03: kill -9 of a follower, of the leader, and of all at once
// under load. Nothing that was acknowledged is lost, no Append is applied twice.
func TestKillNineLosesNothing(t *testing.T) {
	parallel(t)
	c := start(t, selftest.Options{})
	kills := 0
	torment(t, c, func(w *selftest.Workload) {
		for range rounds(2, 15) {
			for _, victim := range []*selftest.Node{leader(t, c), follower(t, c)} {
				victim.Kill()
				kills++
				progress(t, w)
				if err := victim.Start(); err != nil {
					t.Fatal(err)
				}
			}
			for _, n := range c.Nodes {
				n.Kill()
				kills++
			}
			for _, i := range rand.Perm(len(c.Nodes)) {
				if err := c.Nodes[i].Start(); err != nil {
					t.Fatal(err)
				}
			}
			progress(t, w)
		}
	})
	t.Logf("%d cycles of kills, %d nodes killed", kills/5, kills)
}

// PC-16: a node that is alone acknowledges only what is on its own disk.
func TestSingleNodeKeepsWhatItAcknowledged(t *testing.T) {
	parallel(t)
	c := start(t, selftest.Options{Voters: 1})
	torment(t, c, func(w *selftest.Workload) {
		for range rounds(3, 20) {
			c.Nodes[0].Kill()
			if err := c.Nodes[0].Start(); err != nil {
				t.Fatal(err)
			}
			progress(t, w)
		}
	})
}

// PC-12, RD-01: a leader that stood still wakes up deposed. It serves no old
// value and acknowledges nothing that did not happen.
func TestPausedLeader(t *testing.T) {
	parallel(t)
	c := start(t, selftest.Options{})
	torment(t, c, func(w *selftest.Workload) {
		for range rounds(2, 10) {
			old := leader(t, c)
			old.Pause()
			until(t, "another leader", func() (bool, error) {
				for _, n := range c.Nodes {
					if n == old {
						continue
					}
					if s, err := n.Status(t.Context()); err == nil && s.Role == "leader" && s.Ready {
						return true, nil
					}
				}
				return false, nil
			})
			old.Resume()
			progress(t, w)
		}
	})
}

// PC-01: a follower is killed and comes back under load. Clients of the other two see no
// error, unless their leader changes at the same time for a reason of its own.
func TestKilledFollowerIsNotNoticed(t *testing.T) {
	testenv.FullOnly(t)
	parallel(t)
	c := start(t, selftest.Options{})
	victim := follower(t, c)
	var endpoints []string
	for _, n := range c.Nodes {
		if n != victim {
			endpoints = append(endpoints, n.Client)
		}
	}
	quiet, noisy, all := 0, 0, 0
	tormentAt(t, c, endpoints, func(w *selftest.Workload) {
		for ; quiet < 3; all++ {
			if all == 30 {
				t.Fatalf("in %d rounds the leader stayed %d times", all, quiet)
			}
			until(t, "another leader than the victim", func() (bool, error) {
				l := leader(t, c)
				if l == victim {
					do(t, l, "RAFT", "TRANSFER")
				}
				return l != victim, nil
			})
			before, err := leader(t, c).Status(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			failed := w.Failed()
			victim.Kill()
			progress(t, w)
			startOne(t, c, victim)
			progress(t, w)
			n := w.Failed() - failed
			after, err := leader(t, c).Status(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if before.Term != after.Term {
				continue
			}
			if n == 0 {
				quiet++
				continue
			}
			// A machine that gives a node no time for seconds lets requests fail as well, but not each time.
			noisy++
			t.Logf("%d requests failed, and the leader was the same", n)
			if noisy == tries {
				t.Fatalf("requests failed in %d of %d rounds in which the leader was the same", noisy, quiet+noisy)
			}
		}
	})
	t.Logf("%d kills, with the same leader before and after", quiet)
}
