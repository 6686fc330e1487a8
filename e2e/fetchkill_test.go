package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/selftest"
)

// PC-08: a node is killed again and again while it fetches a snapshot. Each time it
// starts from what it had and goes on with the fetch; in the end it has everything.
func TestKilledWhileItFetches(t *testing.T) {
	bothTiers(t)
	c := start(t, selftest.Options{YAML: "snapshot: {log_entries: 20, log_bytes: 64MiB, keep_entries: 1}\n"})
	away := follower(t, c)
	l := others(c, away)[0] // it leads, or hands on what it is asked
	big := strings.Repeat("x", 1<<20)
	var s selftest.Status
	// leave kills the node, and lets what it lacks be in a snapshot alone. The leader keeps its log
	// for a node that it takes to be there, until it looks again after some more writes.
	leave := func() {
		t.Helper()
		var err error
		if s, err = away.Status(t.Context()); err != nil {
			t.Fatal(err)
		}
		away.Kill()
		for _, i := range strings.Split("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMN", "") {
			do(t, l, "SET", i, i+big)
		}
		for _, n := range others(c, away) { // either may lead when it is back
			until(t, "the log of "+n.Name+" to be dropped", func() (bool, error) {
				do(t, l, "SET", "again", "x")
				now, err := n.Status(t.Context())
				return now.LogFirstIndex > s.LastIndex+2, err
			})
		}
	}
	leave()

	// part is how much of a snapshot is here.
	part := func() (size int64) {
		files, err := filepath.Glob(filepath.Join(away.Data, "snapshots", "*.part"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if info, err := os.Stat(f); err == nil {
				size = max(size, info.Size())
			}
		}
		return size
	}
	kills, most := 0, int64(0)
	for whole := 0; kills < 5; {
		if err := away.Start(); err != nil {
			t.Fatal(err)
		}
		fetched := false
		until(t, "more of the snapshot to be there", func() (bool, error) {
			size := int64(0)
			for range 10_000 { // a transfer takes but a few of the pauses of until
				if size = part(); size > most {
					return true, nil
				}
			}
			now, err := away.Status(t.Context())
			fetched = err == nil && now.SnapshotIndex > s.LastIndex
			return fetched, nil
		})
		if fetched && kills == 0 && whole < 10 { // a busy machine may fetch all of it between two looks
			whole++
			leave()
			continue
		}
		if fetched {
			break
		}
		away.Kill()
		most = max(most, part())
		kills++
	}
	t.Logf("killed %d times, the last time with %d bytes of the snapshot", kills, most)
	if kills == 0 {
		t.Error("it was never killed while it fetched")
	}
	startAll(t, c)
	caughtUp(t, away, leader(t, c))
	sameState(t, c)
	if got := do(t, away, "GET", "N"); got != "N"+big {
		t.Errorf("N has %d bytes", len(got))
	}
}
