package e2e

import (
	le "encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/internal/testenv"
	"github.com/raftkv/raftkv/selftest"
)

// third is the node of a cluster of three that is neither.
func third(c *selftest.Cluster, a, b *selftest.Node) *selftest.Node {
	i := slices.IndexFunc(c.Nodes, func(n *selftest.Node) bool { return n != a && n != b })
	return c.Nodes[i]
}

// PL-05: the newest meta page of a follower is torn, so that bbolt opens one
// transaction back, silently. Only that follower and the leader have the newest acknowledged write, so
// with the leader away the follower must not elect the one that lacks it. It is
// fenced, says so, catches up once there is a leader, and then votes and stands again.
func TestTornMetaPageFencesUntilCaughtUp(t *testing.T) {
	testenv.FullOnly(t)
	parallel(t)
	c := start(t, selftest.Options{})
	l, f := leader(t, c), follower(t, c)
	lacks := third(c, l, f)
	fill(t, l, "k", 20)
	lacks.Kill()
	do(t, l, "SET", "newest", "acknowledged")
	l.Kill()
	f.Kill()
	before := newestEntry(t, f)
	tearMeta(t, f)
	if after := newestEntry(t, f); after >= before {
		t.Logf("the torn page was not that of the newest entry: %s, then %s", before, after)
	}

	for _, n := range []*selftest.Node{f, lacks} {
		if err := n.Start(); err != nil {
			t.Fatal(err)
		}
	}
	// Some election timeouts long, by the ticks of the one that stands again and again.
	until(t, "elections to fail for a while", func() (bool, error) {
		s, err := lacks.Status(t.Context())
		if err != nil {
			return false, err
		}
		fenced, err := f.Status(t.Context())
		if err != nil {
			return false, err
		}
		if fenced.Fence != "one write may be forgotten" {
			t.Fatalf("the fence of %s is %q", f.Name, fenced.Fence)
		}
		if s.Role == "leader" || fenced.Role == "leader" {
			t.Fatalf("%s is %s, %s is %s, without the node that has all", lacks.Name, s.Role, f.Name, fenced.Role)
		}
		return min(s.UptimeSeconds, fenced.UptimeSeconds) >= 4, nil
	})
	if log := string(logOf(t, f)); !strings.Contains(log, "one write may be forgotten") || !strings.Contains(log, "meta page") {
		t.Errorf("the log does not say what happened:\n%s", f.Tail(10))
	}

	startOne(t, c, l)
	until(t, "the fence to go", func() (bool, error) {
		s, err := f.Status(t.Context())
		return err == nil && s.Fence == "", err
	})
	// It counts again: without the third one, it and the old leader are the majority.
	lacks.Kill()
	do(t, leader(t, c), "SET", "after", "1")
	if got := do(t, f, "GET", "newest"); got != "acknowledged" {
		t.Errorf("the acknowledged write is %q", got)
	}
	if l := leader(t, c); l != f {
		do(t, l, "RAFT", "TRANSFER", f.Name)
		newLeader(t, c, l)
	}
	if err := lacks.Start(); err != nil {
		t.Fatal(err)
	}
	sameState(t, c)
}

// newestEntry is the newest one in the log of a node that was stopped, as 0000012/0000345.
func newestEntry(t *testing.T, n *selftest.Node) string {
	t.Helper()
	out, _ := command(t, "data", "check", n.Data)
	entries := regexp.MustCompile(`(?m)^log-.* entries \d+ to (\d+)/(\d+) after`).FindAllStringSubmatch(out, -1)
	if len(entries) == 0 {
		t.Fatalf("no entries:\n%s", out)
	}
	last := entries[len(entries)-1]
	return fmt.Sprintf("%7s/%7s", last[1], last[2])
}

// tearMeta lets only the first bytes of the newest meta page of a node's newest
// segment in use be on the disk; what follows is what was written there before.
func tearMeta(t *testing.T, n *selftest.Node) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(n.Data, "log", "log-*.db"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no log files: %v", err)
	}
	path, newest, at := "", uint64(0), int64(0)
	metas := map[string][]byte{}
	for _, p := range files {
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		metas[p] = b[:2*4096]
		for i := range int64(2) {
			// bbolt's number of the transaction, behind the header of the page and six fields.
			if tx := le.LittleEndian.Uint64(b[i*4096+16+48:]); tx > newest {
				path, newest, at = p, tx, i*4096
			}
		}
	}
	const torn = 60 // bytes that are new: the transaction and the checksum are old
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	older := metas[path][4096-at:][torn:4096]
	_, err = f.WriteAt(older, at+torn)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}
