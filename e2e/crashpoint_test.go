package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/internal/testenv"
	"github.com/raftkv/raftkv/selftest"
)

// PC-04, PC-06, PC-07: a node that is alone dies at the k-th call of each kind,
// over a script with snapshots and compaction. Afterwards everything that was
// acknowledged is there, and the term never goes back. strace counts for each thread.
func TestCrashPoints(t *testing.T) {
	needStrace(t)
	parallel(t)
	for _, tc := range []struct {
		calls string
		fresh int // how many crashes follow on one another before there is a new directory
		when  []int
	}{
		{"pwrite64", 5, []int{1, 2, 3, 4, 5, 6, 7, 10, 20, 50}},
		{"fdatasync", 5, []int{1, 2, 3, 4, 5, 6, 7, 10, 20, 50}},
		{"fsync", 4, []int{1, 2, 3, 4, 5, 6, 7, 8}},
		{"renameat", 3, []int{1, 2, 3, 4, 5, 6}},
		{"openat", 5, []int{6, 8, 10, 12, 14, 16, 18, 20, 24, 28}},
		{"mkdirat", 1, []int{1, 2, 3}},
		{"unlinkat", 2, []int{1, 2, 1, 2}},
		{"write", 5, []int{1, 2, 3, 5, 8, 13, 21, 34, 55, 89}},
	} {
		t.Run(tc.calls, func(t *testing.T) {
			parallel(t)
			died, acked := 0, 0
			var a acker
			var term uint64
			var c *selftest.Cluster
			fault := ""
			var whens []int
			for i, when := range tc.when {
				if len(tc.when) < 6 || testenv.Mine(i) {
					whens = append(whens, when)
				}
			}
			for i := 0; i < len(whens); i++ {
				when := whens[i]
				// Now and then from nothing, so that the first start is swept too; else
				// with what the crashes before left behind.
				if i%tc.fresh == 0 || when == 1 {
					if c != nil {
						c.Close()
					}
					acked += a.acked
					a, term = acker{}, 0
					c = prepare(t, selftest.Options{
						Voters: 1, YAML: strings.ReplaceAll(small, "200", "60") + quick, Env: []string{"GOMAXPROCS=1"},
						Wrap: func(_ int, argv []string) []string {
							if fault == "" {
								return argv
							}
							return strace(argv, fault)
						},
					})
				}
				n := c.Nodes[0]
				fault = fmt.Sprintf("%s:signal=SIGKILL:when=%d", tc.calls, when)
				if err := n.Start(); err != nil {
					t.Fatal(err)
				}
				// Until it is ready, or dead.
				until(t, "the node to be ready or dead", func() (bool, error) {
					code, _, err := n.Get(t.Context(), "/readyz")
					return n.Pid() == 0 || err == nil && code == 200, nil
				})
				if !a.run(t, n, 150) {
					died++
					if _, err := n.Wait(deadline(t)); err != nil {
						t.Fatalf("the connection broke, but the node lives: %v", err)
					}
				}
				n.Kill()
				fault = ""
				if err := n.Start(); err != nil {
					t.Fatal(err)
				}
				if err := c.Ready(deadline(t)); err != nil {
					t.Fatalf("after a crash at %s number %d: %v", tc.calls, when, err)
				}
				if gone := a.lost(t, n); len(gone) > 0 {
					t.Errorf("crash at %s number %d: of %d acknowledged keys %d are lost: %v", tc.calls, when, a.acked, len(gone), gone)
				}
				s, err := n.Status(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if s.Term <= term {
					t.Errorf("crash at %s number %d: term %d after %d", tc.calls, when, s.Term, term)
				}
				term = s.Term
				if !a.run(t, n, 5) { // there is always something that the next crash could lose
					t.Fatal("the connection broke without a crash")
				}
				n.Kill()
				if i == len(whens)-1 && died == 0 && when != 1 { // no thread made so many of them; each first start makes one
					whens = append(whens, 1)
				}
			}
			acked += a.acked
			t.Logf("%d runs, %d of them died at %s; %d keys acknowledged, all there", len(whens), died, tc.calls, acked)
			if died == 0 || acked == 0 {
				t.Error("nothing was tested")
			}
		})
	}
}

// The sweep can go red: a key that was acknowledged and is not there is found.
func TestSweepFindsLoss(t *testing.T) {
	bothTiers(t)
	c := start(t, selftest.Options{Voters: 1, YAML: quick})
	n := c.Nodes[0]
	var a acker
	a.run(t, n, 20)
	n.Kill()
	if err := os.RemoveAll(n.Data); err != nil {
		t.Fatal(err)
	}
	startAll(t, c)
	if gone := a.lost(t, n); len(gone) != 20 {
		t.Errorf("found %d of 20 lost keys", len(gone))
	}
}

// PC-04, PC-06: a node of three dies at the k-th call of a kind, under load, now one and now another (strace counts for each thread):
// between what it has on its disk and what it has told the others. Its disk then has all that it had
// acknowledged to the leader, and everything that torment looks at holds.
func TestCrashPointsInACluster(t *testing.T) {
	needStrace(t)
	parallel(t)
	calls := filepath.Join(t.TempDir(), "calls")
	fault, victim := "", 0
	c := start(t, selftest.Options{YAML: strings.ReplaceAll(small, "200", "60"), Env: []string{"GOMAXPROCS=1"}, Wrap: func(i int, argv []string) []string {
		if fault == "" || i != victim+1 {
			return argv
		}
		line := []string{"strace", "-DD", "-f", "-qq", "-yy", "-s", "0", "-o", calls, "-e", "inject=" + fault}
		if strings.HasPrefix(fault, "pwrite64") {
			// An acknowledgement that did not wait for the disk has left by the time of the next write.
			return append(append(line, "-e", "trace=pwrite64,fdatasync", "-e", "inject=fdatasync:delay_enter=20000"), argv...)
		}
		return append(append(line, "-e", "trace="+traced([]string{fault})), argv...)
	}})
	died, atPeers, matched := map[string]int{}, 0, 0
	aims := []struct {
		call string
		k    int
	}{
		{"pwrite64", 4}, {"write", 30}, {"pwrite64", 10}, {"fdatasync", 3}, {"pwrite64", 11},
		{"write", 60}, {"pwrite64", 12}, {"pwrite64", 13}, {"fdatasync", 20}, {"write", 75},
	}
	enough := func() bool { return died["pwrite64"] > 0 && died["fdatasync"] > 0 && atPeers > 0 && matched > 0 }
	tries := 0
	torment(t, c, func(w *selftest.Workload) {
		// Which thread makes a call, and whether the k-th write goes to a peer, is the scheduler's affair:
		// where one round has not hit all, others follow that aim elsewhere.
		for ; tries < len(aims) || !enough() && tries < 6*len(aims); tries++ {
			call, k := aims[tries%len(aims)].call, aims[tries%len(aims)].k
			if call == "write" {
				k += 5 * (tries / len(aims))
			}
			victim = tries % len(c.Nodes)
			n := c.Nodes[victim]
			n.Kill()
			fault = fmt.Sprintf("%s:signal=SIGKILL:when=%d", call, k)
			if err := n.Start(); err != nil {
				t.Fatal(err)
			}
			from := w.Acked()
			until(t, n.Name+" to die", func() (bool, error) { return n.Pid() == 0 || w.Acked() >= from+600, nil })
			if n.Pid() == 0 {
				died[call]++
				if call == "write" && endsAtPeer(t, calls) {
					atPeers++
				}
			}
			n.Kill()
			fault = ""
			if match := matchOf(t, c, n); match > 0 {
				matched++
				if has := newestIndex(t, n); has < match {
					t.Errorf("%s died at %s number %d: it had acknowledged entry %d, its log ends at %d", n.Name, call, k, match, has)
				}
			}
			if err := n.Start(); err != nil {
				t.Fatal(err)
			}
			progress(t, w)
		}
	})
	t.Logf("%d tries, deaths %v, %d of them while it wrote to a peer; %d times the leader knew what it had acknowledged", tries, died, atPeers, matched)
	if !enough() {
		t.Error("too little was tested")
	}
}

// endsAtPeer tells whether the last call of strace's log was one to a peer's socket.
func endsAtPeer(t *testing.T, log string) bool {
	t.Helper()
	b, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	at := ""
	for line := range strings.Lines(string(b)) {
		if strings.Contains(line, "write(") {
			at = line
		}
	}
	return regexp.MustCompile(`:51\d\d[->\]]`).MatchString(at)
}

// matchOf is the newest entry that a node has acknowledged to the present leader; 0 if none is known.
func matchOf(t *testing.T, c *selftest.Cluster, n *selftest.Node) uint64 {
	t.Helper()
	s, err := leader(t, c).Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range s.Members {
		if m.Name == n.Name {
			return m.Match
		}
	}
	return 0
}

// newestIndex is where the log of a node ends that doesn't run.
func newestIndex(t *testing.T, n *selftest.Node) (last uint64) {
	t.Helper()
	if _, err := fmt.Sscanf(strings.ReplaceAll(newestEntry(t, n), "/", " "), "%d %d", new(uint64), &last); err != nil {
		t.Fatal(err)
	}
	return last
}
