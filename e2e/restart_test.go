package e2e

import (
	"bytes"
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

// killOnceItSays kills a node when its log says something, or soon after: on a slow machine no time says how far a start has come.
func killOnceItSays(t *testing.T, n *selftest.Node, message string, d time.Duration) {
	t.Helper()
	before := len(logOf(t, n))
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	until(t, n.Name+" to say "+message, func() (bool, error) {
		return bytes.Contains(logOf(t, n)[before:], []byte(`"msg":"`+message+`"`)), nil
	})
	<-time.After(d)
	n.Kill()
}

// PC-09: killed twenty times in a row: up to 200 ms after exec, while it reads snapshot and log, and when it has
// read them. Nothing is lost, and the term does not run away.
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
	files, read := onDisk(t, n)
	const kills = 20
	for i := range kills {
		switch d := time.Duration(i) * time.Millisecond; i % 4 {
		case 0:
			killAfter(t, 10*d, n)
		case 1:
			killOnceItSays(t, n, "identity", d) // what comes next is the log
		default:
			killOnceItSays(t, n, "read", d)
		}
	}
	// What a start reads does not grow, so neither does the time that it takes: no file for each
	// start, nor so much in one.
	const more = kills / 4
	filesNow, now := onDisk(t, n)
	if filesNow > files+more || now > read+more*64<<10 {
		t.Errorf("%d KiB in %d files after %d kills, %d in %d before", now>>10, filesNow, kills, read>>10, files)
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
	t.Logf("%d kills, %d KiB in %d files before and %d in %d after", kills, read>>10, files, now>>10, filesNow)
}

// onDisk is how many files a node has, and how much they take.
func onDisk(t *testing.T, n *selftest.Node) (files int, size int64) {
	t.Helper()
	err := filepath.WalkDir(n.Data, func(path string, d fs.DirEntry, err error) error {
		var s syscall.Stat_t
		if err == nil {
			err = syscall.Lstat(path, &s)
		}
		size += s.Blocks * 512
		files++
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files, size
}

// PC-10: killed at random moments of the very first start, then started as
// they should: the cluster forms, whatever was half done.
func TestKilledInTheVeryFirstStart(t *testing.T) {
	parallel(t)
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
