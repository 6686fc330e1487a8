package e2e

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/selftest"
)

// SN-12: one replica applies a command wrongly. It is found by the next
// comparison, ends with 70, and the others go on and sound the alarm. Started
// again it sets its own state aside, fetches that of another, and is right,
// although it would do the same wrong once more.
func TestDivergedReplicaStops(t *testing.T) {
	parallel(t)
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
// with a dump of the goroutines; the others go on, and a restart heals it.
func TestStuckLoopEndsTheNode(t *testing.T) {
	parallel(t)
	c := start(t, selftest.Options{Bin: withFaults(t), YAML: calm + "service: {watchdog_timeout: 5s}\n"})
	l, f := leader(t, c), follower(t, c)
	conn, err := selftest.Dial(deadline(t), f.Client)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, _, err := conn.Do(attempt, "SET", "x", "fault-stall@"+l.Name); err == nil {
		t.Error("a write that its leader never proposed was acknowledged")
	}
	code, err := l.Wait(deadline(t))
	if err != nil {
		t.Fatal(err)
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
	if err := l.Start(); err != nil {
		t.Fatal(err)
	}
	if err := c.Ready(deadline(t)); err != nil {
		t.Fatal(err)
	}
	sameState(t, c)
}
