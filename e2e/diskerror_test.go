package e2e

import (
	"bufio"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/raftkv/raftkv/selftest"
)

// DE-01, DE-02, DE-03: a sync or write of the log fails once. The node ends with
// 74 by itself, since nobody knows what the disk holds; the others go on; what was
// acknowledged is there; started again, the node is back.
func TestFailedDiskWriteEndsTheNode(t *testing.T) {
	needStrace(t)
	parallel(t)
	for _, tc := range []struct {
		name   string
		victim func(*testing.T, *selftest.Cluster) *selftest.Node
		fault  string
	}{
		{"sync of the leader", leader, "fdatasync:error=EIO:when=1"},
		{"sync of a follower", follower, "fdatasync:error=EIO:when=1"},
		{"second sync of the leader", leader, "fdatasync:error=EIO:when=2"}, // mostly that of a meta page
		{"second sync of a follower", follower, "fdatasync:error=EIO:when=2"},
		{"write of the leader", leader, "pwrite64:error=EIO:when=1"},
		{"write of a follower, no space", follower, "pwrite64:error=ENOSPC:when=2"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			parallel(t)
			c := start(t, selftest.Options{})
			torment(t, c, func(w *selftest.Workload) {
				for range 3 {
					n := tc.victim(t, c)
					log := filepath.Join(t.TempDir(), "strace")
					began, logged := time.Now(), len(logOf(t, n))
					attach(t, n, log, tc.fault)
					code, err := n.Wait(deadline(t))
					if err != nil || code != 74 {
						t.Fatalf("%s ended with %d, %v; want 74", n.Name, code, err)
					}
					if log := string(logOf(t, n)[logged:]); !strings.Contains(log, "the disk failed") {
						t.Errorf("log of %s: %s", n.Name, log)
					}
					t.Logf("%s ended %v after the fault was armed; it hit the %s", n.Name, time.Since(began).Round(time.Millisecond), hit(t, log))
					progress(t, w)
					startOne(t, c, n)
				}
			})
		})
	}
}

// hit tells from strace's log which call failed.
func hit(t *testing.T, log string) string {
	t.Helper()
	f, err := os.Open(log)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	meta := false
	for s := bufio.NewScanner(f); s.Scan(); {
		line := s.Text()
		if strings.Contains(line, "INJECTED") {
			switch {
			case strings.Contains(line, "pwrite64"):
				return "write"
			case meta:
				return "sync of a meta page"
			}
			return "sync of data pages"
		}
		if strings.Contains(line, "pwrite64(") {
			// bbolt's two meta pages are the first two of the file.
			meta = strings.Contains(line, ", 4096, 4096)") || strings.Contains(line, ", 4096, 0)")
		}
	}
	t.Fatal("no call was touched")
	return ""
}
