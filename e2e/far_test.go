package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/raftkv/raftkv/internal/testenv"
	"github.com/raftkv/raftkv/selftest"
)

// lives waits until a node has ticked for so many seconds more.
func lives(t *testing.T, n *selftest.Node, seconds float64) {
	t.Helper()
	from, err := n.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	until(t, fmt.Sprintf("%v seconds of %s", seconds, n.Name), func() (bool, error) {
		s, err := n.Status(t.Context())
		return s.UptimeSeconds > from.UptimeSeconds+seconds, err
	})
}

// leftBehind kills a follower and writes values of so many bytes until it needs a snapshot, whoever leads then.
func leftBehind(t *testing.T, c *selftest.Cluster, values, size int) *selftest.Node {
	t.Helper()
	away := follower(t, c)
	s, err := away.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	away.Kill()
	fillWith(t, leader(t, c), "big", values, size)
	for _, n := range others(c, away) {
		compacted(t, n, s.LastIndex+1)
	}
	return away
}

// NP-10: every byte between nodes takes longer than the pause between two heartbeats, now
// more and now less, but less than an election timeout. The leader stays, clients are served.
func TestLatencyAboveTheHeartbeat(t *testing.T) {
	testenv.FullOnly(t)
	parallel(t)
	c, l := linked(t, selftest.Options{})
	torment(t, c, func(w *selftest.Workload) {
		steady(t, c, "latency above the heartbeat", func() {
			for _, ms := range []time.Duration{80, 120, 60, 100} {
				l.SlowAll(ms*time.Millisecond, 0)
				lives(t, c.Nodes[0], 1)
			}
			progress(t, w)
		})
		l.SlowAll(0, 0)
	})
}

// NP-11: the ways between nodes are thin, and a snapshot goes through one of them that takes
// seconds. Heartbeats and writes find their way beside it: the leader stays, and the
// snapshot arrives.
func TestSnapshotThroughAThinPipe(t *testing.T) {
	testenv.FullOnly(t)
	parallel(t)
	const rate = 512 << 10 // bytes a second
	c, l := linked(t, selftest.Options{YAML: small})
	torment(t, c, func(w *selftest.Workload) {
		steady(t, c, "a snapshot in a thin pipe", func() {
			away := leftBehind(t, c, 300, 8<<10)
			moved := func() (n int) { // from whoever leads
				for _, o := range others(c, away) {
					n += l.Moved(o, away)
				}
				return n
			}
			before := moved()
			l.SlowAll(0, rate)
			if err := away.Start(); err != nil {
				t.Fatal(err)
			}
			until(t, "the snapshot to begin", func() (bool, error) { return moved() > before+rate/2, nil })
			progress(t, w)
			caughtUp(t, away, leader(t, c))
			fetched(t, away)
			l.SlowAll(0, 0)
		})
	})
}

// NP-21: one node is far away: a second each way, and not much passes. It is kept up to
// date by what is sent once, not over and over, and the others don't notice.
func TestOneNodeFarAway(t *testing.T) {
	testenv.FullOnly(t)
	parallel(t)
	c, l := linked(t, selftest.Options{})
	const values, size = 200, 10 << 10
	for try := 1; ; try++ {
		lead, far := leader(t, c), follower(t, c)
		for _, n := range c.Nodes {
			if n != far {
				l.Slow(far, n, time.Second, 10<<20)
			}
		}
		lives(t, far, 3) // it misses some heartbeats until the first of them has come the long way
		moved := 0
		had := elections(t, c, func() {
			before := l.Moved(lead, far)
			for i := range values {
				do(t, lead, "SET", fmt.Sprintf("k%d", i), strings.Repeat("v", size))
			}
			caughtUp(t, far, lead)
			moved = l.Moved(lead, far) - before
		})
		l.SlowAll(0, 0)
		t.Logf("%d bytes of values, %d bytes to and from %s, %d elections", values*size, moved, far.Name, had)
		if had > 0 && try < tries { // another leader sends it from the beginning
			continue
		}
		if had > 0 || moved < values*size || moved > 2*values*size {
			t.Errorf("%d elections, %d bytes went to and from %s for %d bytes of values", had, moved, far.Name, values*size)
		}
		break
	}
	sameState(t, c)
}

// NP-02, NP-06, NP-07: five nodes, cut in ways that leave somebody in touch with a majority,
// or nobody. Where the leader has one it stays; where nobody has one, nothing is acknowledged.
func TestFiveNodesCutInParts(t *testing.T) {
	testenv.FullOnly(t)
	parallel(t)
	c, l := linked(t, selftest.Options{Voters: 5})
	torment(t, c, func(w *selftest.Workload) {
		// The leader first, the others as they come.
		order := func() []*selftest.Node {
			n := []*selftest.Node{leader(t, c)}
			for _, o := range c.Nodes {
				if o != n[0] {
					n = append(n, o)
				}
			}
			return n
		}
		healed := func() {
			t.Helper()
			l.Heal()
			ready(t, c)
		}
		steady(t, c, "two nodes at the ends of a chain", func() {
			n := order()
			l.Split(n[3:4], []*selftest.Node{n[0], n[2], n[4]}) // 3 hears 1 only
			l.Split(n[4:5], []*selftest.Node{n[0], n[1]})       // 4 hears 2 only
			lives(t, n[3], 3)
			progress(t, w)
			healed()
		})
		steady(t, c, "two halves with a bridge", func() {
			n := order()
			l.Split(n[0:2], n[3:5]) // 2 hears all
			lives(t, n[3], 3)
			progress(t, w)
			healed()
		})
		n := order()
		l.Split(n[0:2], n[2:5])
		newLeader(t, c, n[0])
		progress(t, w)
		healed()
		n = order()
		l.Split(n[0:2], n[2:5])
		l.Split(n[2:4], n[4:5])
		for _, o := range n {
			until(t, o.Name+" to lose touch", func() (bool, error) {
				s, err := o.Status(t.Context())
				return !s.Ready && s.Role != "leader", err
			})
		}
		lives(t, n[0], 0.5) // what was answered before is counted by then
		acked := w.Acked()
		lives(t, n[0], 2)
		if now := w.Acked(); now != acked {
			t.Errorf("%d answers while no three nodes are in touch", now-acked)
		}
		healed()
	})
}
