package e2e

import (
	"path/filepath"
	"testing"

	"github.com/raftkv/raftkv/internal/testenv"
	"github.com/raftkv/raftkv/selftest"
)

// SN-04: the leader dies while a follower fetches a snapshot from it through a thin pipe. The
// next leader sends its own, and nothing of the first is left behind.
func TestLeaderDiesInATransfer(t *testing.T) {
	testenv.FullOnly(t)
	parallel(t)
	const rate = 256 << 10 // bytes a second
	c, l := linked(t, selftest.Options{YAML: small})
	away := leftBehind(t, c, 40, 64<<10)
	torment(t, c, func(w *selftest.Workload) {
		before := map[*selftest.Node]int{}
		for _, n := range others(c, away) {
			l.Slow(n, away, 0, rate)
			before[n] = l.Moved(n, away)
		}
		if err := away.Start(); err != nil {
			t.Fatal(err)
		}
		part := func() int {
			files, err := filepath.Glob(filepath.Join(away.Data, "snapshots", "*.part"))
			if err != nil {
				t.Fatal(err)
			}
			return len(files)
		}
		var old *selftest.Node // who sends it: a busy machine may have elected another one
		until(t, "the transfer to be under way", func() (bool, error) {
			for n, was := range before {
				if l.Moved(n, away) > was+rate/2 {
					old = n
				}
			}
			return old != nil && part() > 0, nil
		})
		old.Kill()
		l.SlowAll(0, 0)
		newLeader(t, c, old)
		caughtUp(t, away, leader(t, c))
		fetched(t, away)
		until(t, "nothing to be left of the transfer", func() (bool, error) { return part() == 0, nil })
		progress(t, w)
	})
}

// PL-04: the power of one node goes while the others can't reach each other, and the one
// with which it had acknowledged is out of reach when it is back: what a client was told must be on its disk.
func TestPowerCutInAPartition(t *testing.T) {
	testenv.FullOnly(t)
	parallel(t)
	c, disks := startOnDisks(t, 64, selftest.Options{YAML: lowSpace})
	l := link(t, c)
	torment(t, c, func(w *selftest.Workload) {
		for range 2 {
			old := leader(t, c)
			victim := follower(t, c)
			late := third(c, old, victim)
			l.Cut(late, old) // so that the leader and the victim are what acknowledges
			l.Cut(late, victim)
			progress(t, w)
			cut(t, c, disks, victim)
			l.Heal()
			l.Isolate(old)
			if err := victim.Start(); err != nil {
				t.Fatal(err)
			}
			newLeader(t, c, old)
			progress(t, w)
			l.Heal()
			ready(t, c)
		}
	})
}
