package e2e

import (
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/raftkv/raftkv/internal/testenv"
	"github.com/raftkv/raftkv/selftest"
)

// linked starts a cluster whose nodes reach each other through ways that a test cuts.
func linked(t *testing.T, o selftest.Options) (*selftest.Cluster, *selftest.Links) {
	t.Helper()
	c := start(t, o)
	return c, link(t, c)
}

// link starts the nodes of a cluster anew, with ways between them that a test cuts.
func link(t *testing.T, c *selftest.Cluster) *selftest.Links {
	t.Helper()
	c.Close()
	l, err := selftest.NewLinks(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	startAll(t, c)
	return l
}

// contains tells whether err says something.
func contains(err error, text string) bool { return err != nil && strings.Contains(err.Error(), text) }

// newLeader waits for a leader that isn't old.
func newLeader(t *testing.T, c *selftest.Cluster, old *selftest.Node) (now *selftest.Node) {
	t.Helper()
	until(t, "another leader than "+old.Name, func() (bool, error) {
		for _, n := range c.Nodes {
			if n == old {
				continue
			}
			if s, err := n.Status(t.Context()); err == nil && s.Role == "leader" && s.Ready {
				now = n
				return true, nil
			}
		}
		return false, nil
	})
	return now
}

// notLeading waits until a node knows that it leads no more.
func notLeading(t *testing.T, n *selftest.Node) {
	t.Helper()
	until(t, n.Name+" to step down", func() (bool, error) {
		s, err := n.Status(t.Context())
		return err == nil && s.Role != "leader", err
	})
}

// NP-01, NP-03, NP-04, RD-01: the leader alone, or deaf, or mute. Another one is
// elected, the old one steps down while it is still cut off, nobody reads an old value.
func TestLeaderCutOff(t *testing.T) {
	parallel(t)
	c, l := linked(t, selftest.Options{})
	cuts := 0
	torment(t, c, func(w *selftest.Workload) {
		for range rounds(1, 4) {
			for _, cut := range []func(leader, other *selftest.Node){
				l.Cut,
				func(leader, other *selftest.Node) { l.CutOneWay(other, leader) }, // it sends and hears nothing
				func(leader, other *selftest.Node) { l.CutOneWay(leader, other) }, // it hears and can't send
			} {
				old := leader(t, c)
				for _, n := range c.Nodes {
					if n != old {
						cut(old, n)
					}
				}
				cuts++
				notLeading(t, old)
				newLeader(t, c, old)
				progress(t, w)
				l.Heal()
				ready(t, c)
				progress(t, w)
			}
		}
	})
	t.Logf("%d cuts", cuts)
}

// NP-05: one follower is cut from the leader alone (Cloudflare, 2020-11-02). The
// leader stays, and the terms don't grow.
func TestFollowerCutFromLeaderOnly(t *testing.T) {
	bothTiers(t)
	c, l := linked(t, selftest.Options{})
	torment(t, c, func(w *selftest.Workload) {
		// A busy machine may cost elections; without pre-vote there are six at least.
		atMost(t, c, 3, "a follower that the leader does not reach", func() {
			lead, cut := leader(t, c), follower(t, c)
			l.Cut(lead, cut)
			until(t, cut.Name+" to miss the leader", func() (bool, error) {
				s, err := cut.Status(t.Context())
				return err == nil && s.Leader == "", err
			})
			lives(t, cut, 6) // some election timeouts of the node that is cut off
			progress(t, w)
			l.Heal()
			ready(t, c)
		})
	})
}

// NP-08, NP-14: links that come and go, with resets in the middle of frames.
// Progress goes on, and connections don't pile up.
func TestFlappingLinks(t *testing.T) {
	parallel(t)
	c, l := linked(t, selftest.Options{})
	flaps := 0
	torment(t, c, func(w *selftest.Workload) {
		before, err := leader(t, c).Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		connected := l.Taken()
		for range rounds(8, 60) {
			for i, a := range c.Nodes {
				b := c.Nodes[(i+1)%len(c.Nodes)]
				if flaps%2 == 0 {
					l.Reset(a, b)
				} else {
					l.CutOneWay(a, b)
				}
				flaps++
				acked := w.Acked()
				until(t, "a few answers", func() (bool, error) { return w.Acked() >= acked+5, nil })
				l.Heal()
			}
		}
		ready(t, c)
		after, err := leader(t, c).Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		taken := l.Taken() - connected
		t.Logf("%d flaps, terms %d to %d, %d connections", flaps, before.Term, after.Term, taken)
		if after.Term > before.Term+uint64(flaps) {
			t.Errorf("%d flaps, and term %d became %d", flaps, before.Term, after.Term)
		}
		// Both ends dial anew when a link ends; a node whose leader went, all of its links.
		if taken > 4*flaps {
			t.Errorf("%d flaps, and %d connections", flaps, taken)
		}
		for _, n := range c.Nodes {
			if g := metric(t, n, "go_goroutines"); g > 200 {
				t.Errorf("%s runs %v goroutines", n.Name, g)
			}
		}
	})
}

// NP-13: a node that is gone is asked for again and again, ever more seldom.
func TestDeadNodeIsDialledSeldom(t *testing.T) {
	testenv.FullOnly(t)
	parallel(t)
	c := start(t, selftest.Options{})
	gone := follower(t, c)
	gone.Kill()
	lives(t, others(c, gone)[0], 1) // while a loss is held back, it is asked for each 2 ms
	l, err := net.Listen("tcp", gone.Peer)
	if err != nil {
		t.Fatal(err)
	}
	var dials atomic.Int64
	go func() { // counts who comes and hangs up; ends when l is closed
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			dials.Add(1)
			nc.Close()
		}
	}()
	const seconds = 6
	// 10 ms after the first time, a second in the end. A dial each 10 ms would be some hundred a second. An election,
	// which a starved machine may have at any time, begins anew.
	for try := 1; ; try++ {
		before := dials.Load()
		lives(t, others(c, gone)[0], seconds)
		n := dials.Load() - before
		t.Logf("%d dials of two nodes in %d s", n, seconds)
		if n >= seconds/2 && n <= 40*seconds {
			break
		}
		if try == tries {
			t.Fatalf("each time less than %d or more than %d dials in %d s", seconds/2, 40*seconds, seconds)
		}
	}
	l.Close()
	startOne(t, c, gone)
	caughtUp(t, gone, leader(t, c))
}

// The harness can go red: clients that read one node's own state, while that node
// is cut off, see old values.
func TestHarnessFindsStaleReads(t *testing.T) {
	bothTiers(t)
	c, l := linked(t, selftest.Options{})
	// Whether a client meets the node that is cut off, and looks at a key that has
	// changed, is up to chance: it gets more than one.
	const tries = 8
	for try := range tries {
		w := workload(c.Endpoints())
		w.Stale, w.Clients, w.Fresh = true, 8, time.Minute // few keys, so that what is old is noticed
		w.Prefix, w.Seed = fmt.Sprint("try", try, "-"), uint64(try)
		w.Start(t.Context())
		progress(t, w)
		l.Isolate(follower(t, c))
		for range 8 {
			progress(t, w)
		}
		l.Heal()
		ready(t, c)
		res, err := w.Stop("")
		t.Logf("%v", res)
		if contains(err, "not linearizable") {
			return
		}
		if err != nil {
			t.Errorf("something else was found: %v", err)
		}
	}
	t.Errorf("nothing was found in %d tries", tries)
}
