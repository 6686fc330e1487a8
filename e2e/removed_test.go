package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/internal/testenv"
	"github.com/raftkv/raftkv/selftest"
)

// DE-16: somebody removes the data directory of a running node, or its log alone. The
// kernel would take its writes for ever; the node confirms none, but ends with 74 and
// says why. The others go on, with all that was acknowledged.
func TestDirectoryRemovedUnderADaemon(t *testing.T) {
	parallel(t)
	for _, tc := range []struct {
		name   string
		path   string
		victim func(*testing.T, *selftest.Cluster) *selftest.Node
	}{
		{"data directory of the leader", "", leader},
		{"data directory of a follower", "", follower},
		{"log of a follower", "log", follower},
	} {
		t.Run(tc.name, func(t *testing.T) {
			testenv.FullOnly(t)
			parallel(t)
			c := start(t, selftest.Options{})
			n := tc.victim(t, c)
			other := others(c, n)[0]
			fill(t, other, "before", 100)
			if err := os.RemoveAll(filepath.Join(n.Data, tc.path)); err != nil {
				t.Fatal(err)
			}
			conn, err := selftest.Dial(deadline(t), other.Client)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_, _, _ = conn.Do(attempt, "SET", "x", "y") // its outcome is unknown where the leader dies of it
			endsOfRemoved(t, n)
			takesWrites(t, other)
			fill(t, other, "after", 20)
			for prefix, count := range map[string]int{"before": 100, "after": 20} {
				for i := range count {
					if got := do(t, other, "GET", fmt.Sprint(prefix, i)); got != strings.Repeat("v", 100) {
						t.Errorf("%s%d is %q", prefix, i, got)
					}
				}
			}
		})
	}
	// Nobody else has what a node has that is alone.
	t.Run("alone", func(t *testing.T) {
		parallel(t)
		c := start(t, selftest.Options{Voters: 1})
		n := c.Nodes[0]
		do(t, n, "SET", "x", "1")
		if err := os.RemoveAll(n.Data); err != nil {
			t.Fatal(err)
		}
		conn, err := selftest.Dial(deadline(t), n.Client)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, outcome, err := conn.Do(attempt, "SET", "x", "2"); outcome != selftest.Unknown {
			t.Errorf("a write to a directory that is gone: outcome %d, %v", outcome, err)
		}
		endsOfRemoved(t, n)
	})
}

func endsOfRemoved(t *testing.T, n *selftest.Node) {
	t.Helper()
	code, err := n.Wait(deadline(t))
	if log := n.Tail(3); err != nil || code != 74 || !strings.Contains(log, "was removed while it was in use") {
		t.Fatalf("%s ended with %d, %v:\n%s", n.Name, code, err, log)
	}
}
