package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/raftkv/raftkv/internal/testenv"
	"github.com/raftkv/raftkv/selftest"
)

// SN-12: one replica applies a command wrongly. It is found by the next
// comparison, ends with 70, and the others go on and sound the alarm. Started
// again it sets its own state aside, fetches that of another, and is right,
// although it would do the same wrong once more.
func TestDivergedReplicaStops(t *testing.T) {
	bothTiers(t)
	c := start(t, selftest.Options{Bin: withFaults(t), YAML: "service: {verify_interval: 500ms}\n"})
	wrong, other := c.Nodes[1], c.Nodes[2]
	do(t, other, "SET", "a", "1")
	do(t, wrong, "RAFT", "SNAPSHOT") // one that lies before the fault must not be used either
	do(t, other, "SET", "x", "fault-diverge@n2")
	code, err := wrong.Wait(deadline(t))
	if err != nil {
		t.Fatal(err)
	}
	if log := wrong.Tail(50); code != 70 || !strings.Contains(log, "the state of this node is wrong: at entry") {
		t.Fatalf("n2 ended with %d:\n%s", code, log)
	}
	do(t, other, "SET", "b", "2")
	until(t, "the alarm", func() (bool, error) {
		s, err := other.Status(t.Context())
		return err == nil && len(s.Differ) == 1, nil
	})
	_, metrics, err := other.Get(t.Context(), "/metrics")
	if err != nil || !strings.Contains(string(metrics), "\nraftkv_differing_members 1\n") {
		t.Errorf("the metrics don't say that a member differs (%v)", err)
	}

	for range 2 {
		if err := wrong.Start(); err != nil {
			t.Fatal(err)
		}
		until(t, "n2 to be right", func() (bool, error) {
			_, err := os.Stat(filepath.Join(wrong.Data, "diverged"))
			s, serr := wrong.Status(t.Context())
			return errors.Is(err, fs.ErrNotExist) && serr == nil && s.Ready, nil
		})
		if got := do(t, wrong, "GET", "x"); got != "fault-diverge@n2" {
			t.Errorf("n2 says %q", got)
		}
		do(t, other, "INCR", "n")
		sameState(t, c)
		until(t, "n2 to be found right", func() (bool, error) {
			s, err := other.Status(t.Context())
			w, werr := wrong.Status(t.Context())
			return err == nil && werr == nil && len(s.Differ) == 0 && s.AgreedIndex > 0 && w.AgreedIndex == s.AgreedIndex, nil
		})
		wrong.Kill() // and it stays so
	}
}

// PC-20: the loop of a node stands still. Its watchdog ends the process at once,
// with a dump of the goroutines; the others go on, and a restart heals it. A supervisor gets
// no more signs of life than there were looks until then.
func TestStuckLoopEndsTheNode(t *testing.T) {
	bothTiers(t)
	const patience = 5 // looks, a second apart
	sockets := filepath.Join(t.TempDir(), "notify")
	var signs []*atomic.Int64
	for i := range 3 {
		signs = append(signs, signsOfLife(t, fmt.Sprint(sockets, i+1)))
	}
	c := start(t, selftest.Options{
		Bin: withFaults(t), YAML: calm + fmt.Sprintf("service: {watchdog_timeout: %ds}\n", patience),
		Wrap: func(i int, argv []string) []string {
			return append([]string{"env", fmt.Sprint("NOTIFY_SOCKET=", sockets, i)}, argv...)
		},
	})
	l, f := leader(t, c), follower(t, c)
	sign := signs[slices.Index(c.Nodes, l)]
	until(t, "signs of life", func() (bool, error) { return sign.Load() >= 2, nil })
	conn, err := selftest.Dial(deadline(t), f.Client)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	before := sign.Load()
	if _, _, err := conn.Do(attempt, "SET", "x", "fault-stall@"+l.Name); err == nil {
		t.Error("a write that its leader never proposed was acknowledged")
	}
	code, err := l.Wait(deadline(t))
	if err != nil {
		t.Fatal(err)
	}
	if n := sign.Load() - before; n > 3*patience {
		t.Errorf("%d signs of life, want at most %d while the loop stands still", n, 3*patience)
	}
	log, err := os.ReadFile(l.Log)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"watchdog: the node's loop stands still", "goroutine ", "faults.go"} {
		if code != 70 || !strings.Contains(string(log), want) {
			t.Errorf("%s ended with %d, and the log does not say %q", l.Name, code, want)
		}
	}
	do(t, f, "SET", "y", "1")
	startOne(t, c, l)
	sameState(t, c)
}

// PC-15: an entry that makes whoever applies it panic. Every node stops at that entry
// and names it, however often it is started; none goes on without it. A program that can apply it heals the cluster.
func TestPoisonedEntryStopsEveryNodeThere(t *testing.T) {
	testenv.FullOnly(t)
	parallel(t)
	c := start(t, selftest.Options{Bin: withFaults(t), YAML: "limits: {request_timeout: 2s}\n"})
	do(t, c.Nodes[0], "SET", "before", "1")
	conn, err := selftest.Dial(deadline(t), c.Nodes[0].Client)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, outcome, err := conn.Do(attempt, "SET", "x", "fault-poison"); outcome != selftest.Unknown {
		t.Errorf("the poisoned write: outcome %d, %v", outcome, err)
	}
	named := regexp.MustCompile(`apply entry \d+/\d+: fault-poison`)
	where := map[string]string{}
	until(t, "every node to stop there", func() (bool, error) {
		for _, n := range c.Nodes {
			if n.Pid() != 0 {
				continue
			}
			if err := n.Ends(t.Context(), 70); err != nil {
				t.Fatal(err)
			}
			where[n.Name] = named.FindString(string(logOf(t, n)))
			if len(where) < len(c.Nodes) { // without it the others may not learn that the entry is committed
				if err := n.Start(); err != nil {
					return false, err
				}
			}
		}
		return len(where) == len(c.Nodes), nil
	})
	for name, at := range where {
		if at == "" || at != where[c.Nodes[0].Name] {
			t.Errorf("%s stopped at %q, %s at %q", name, at, c.Nodes[0].Name, where[c.Nodes[0].Name])
		}
	}
	c.Close()
	c.Bin = binary
	startAll(t, c)
	for key, want := range map[string]string{"before": "1", "x": "fault-poison"} {
		if got := do(t, c.Nodes[1], "GET", key); got != want {
			t.Errorf("%s is %q", key, got)
		}
	}
	sameState(t, c)
}

// signsOfLife counts what the watchdog of a supervisor gets at a socket.
func signsOfLife(t *testing.T, socket string) *atomic.Int64 {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	signs := new(atomic.Int64)
	go func() { // ends when conn is closed
		buf := make([]byte, 4096)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			if string(buf[:n]) == "WATCHDOG=1" {
				signs.Add(1)
			}
		}
	}()
	return signs
}
