package e2e

import (
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/raftkv/raftkv/selftest"
)

// killAfter kills nodes d after they were started: wherever that finds them.
func killAfter(t *testing.T, d time.Duration, nodes ...*selftest.Node) {
	t.Helper()
	for _, n := range nodes {
		if err := n.Start(); err != nil {
			t.Fatal(err)
		}
	}
	<-time.After(d) // the fault itself, not a wait for something
	for _, n := range nodes {
		n.Kill()
	}
}

// PC-09: killed 0 to 200 ms after exec, twenty times in a row, while it reads
// snapshot and log. Nothing is lost, and the term does not run away.
func TestKilledAgainAndAgainWhileStarting(t *testing.T) {
	bothTiers(t)
	c := start(t, selftest.Options{Voters: 1, YAML: small})
	n := c.Nodes[0]
	fill(t, n, "k", 450) // two snapshots, and a log behind them
	before, err := n.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	n.Kill()
	read := dataBytes(t, n)
	const kills = 20
	for i := range kills {
		killAfter(t, time.Duration(i)*10*time.Millisecond, n)
	}
	// What a start reads does not grow, so neither does the time that it takes.
	if now := dataBytes(t, n); now > read+read/4 {
		t.Errorf("%d bytes after %d kills, %d before", now, kills, read)
	}
	startOne(t, c, n)
	if got := do(t, n, "DBSIZE"); got != "450" {
		t.Errorf("%s keys, want 450", got)
	}
	if got := do(t, n, "GET", "k449"); len(got) != 100 {
		t.Errorf("k449 has %d bytes, want 100", len(got))
	}
	after, err := n.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if after.Term < before.Term || after.Term > before.Term+kills+1 || after.CommitIndex < before.CommitIndex {
		t.Errorf("term %d and commit %d, before %d kills %d and %d", after.Term, after.CommitIndex, kills, before.Term, before.CommitIndex)
	}
	t.Logf("%d kills", kills)
}

// dataBytes is how much the files of a node take on the disk.
func dataBytes(t *testing.T, n *selftest.Node) (sum int64) {
	t.Helper()
	err := filepath.WalkDir(n.Data, func(path string, d fs.DirEntry, err error) error {
		var s syscall.Stat_t
		if err == nil {
			err = syscall.Lstat(path, &s)
		}
		sum += s.Blocks * 512
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// PC-10: killed at random moments of the very first start, then started as
// they should: the cluster forms, whatever was half done.
func TestKilledInTheVeryFirstStart(t *testing.T) {
	for _, voters := range []int{1, 3} {
		t.Run(strconv.Itoa(voters), func(t *testing.T) {
			parallel(t)
			kills := 0
			for range rounds(3, 15) {
				c := prepare(t, selftest.Options{Voters: voters})
				for range 1 + rand.IntN(3) {
					d := time.Duration(rand.IntN(250)) * time.Millisecond
					victims := c.Nodes
					if rand.IntN(2) == 0 { // only one of them, the others go on
						if err := c.Start(); err != nil {
							t.Fatal(err)
						}
						victims = c.Nodes[rand.IntN(voters):][:1]
					}
					killAfter(t, d, victims...)
					kills += len(victims)
				}
				startAll(t, c)
				do(t, leader(t, c), "SET", "k", "v")
				c.Close()
			}
			t.Logf("%d kills", kills)
		})
	}
}

// PL-12: what crashes left behind is no obstacle, is never loaded and does not pile up.
func TestLeftoversOfCrashesAreSwept(t *testing.T) {
	bothTiers(t)
	c := start(t, selftest.Options{Voters: 1, YAML: small})
	n := c.Nodes[0]
	fill(t, n, "k", 250)
	compacted(t, n, 1)
	n.Kill()
	for _, path := range []string{"identity.tmp", "log/next.tmp", "log/template.tmp", "log/vote.tmp",
		"snapshots/0000000000000001-00000000000000c8.snap.tmp"} {
		if err := os.WriteFile(filepath.Join(n.Data, path), []byte("half of something"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	startOne(t, c, n)
	if got := do(t, n, "DBSIZE"); got != "250" {
		t.Errorf("%s keys, want 250", got)
	}
	if left, err := filepath.Glob(filepath.Join(n.Data, "snapshots", "*.tmp")); err != nil || len(left) > 0 {
		t.Errorf("still there: %v, %v", left, err)
	}
}
