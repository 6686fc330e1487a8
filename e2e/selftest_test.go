package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/raftkv/raftkv/internal/testenv"
	"github.com/raftkv/raftkv/selftest"
)

// selfTest makes a run of the self test's machinery with the program under test.
func selfTest(t *testing.T, voters int, duration time.Duration) selftest.Run {
	t.Helper()
	return selftest.Run{
		Options:  selftest.Options{Bin: binary, Dir: t.TempDir(), Host: host(), Voters: voters, YAML: small},
		Duration: duration, Seed: uint64(os.Getpid()),
		Progress: func(p selftest.Progress) { t.Logf("%v %s", p.Elapsed.Round(10*time.Millisecond), p.Doing) },
	}
}

// All faults that need no root, on three and on five nodes: PC-01, PC-02, PC-03,
// PC-12, NP-01 to NP-08, NP-14, NP-20, CS-01, CS-08, MB-12, RD-01, RD-08, SN-12.
func TestNemesis(t *testing.T) {
	parallel(t)
	for _, tc := range []struct {
		name   string
		voters int
	}{{"three nodes", 3}, {"five nodes", 5}} {
		t.Run(tc.name, func(t *testing.T) {
			testenv.FullOnly(t)
			parallel(t)
			r := selfTest(t, tc.voters, 30*time.Second)
			v, err := r.Do(t.Context())
			if err != nil {
				t.Error(err)
			}
			t.Logf("%v; newest term %d, %d looks; faults %v, made of %v", v.Result, v.Term, v.Looks, v.Faults, v.Events)
		})
	}
}

// raftkv selftest is green on a good program, and leaves nothing behind then.
func TestSelfTestCommand(t *testing.T) {
	bothTiers(t)
	dir := filepath.Join(t.TempDir(), "own")
	out, err := exec.CommandContext(deadline(t), binary, "selftest", "--duration", "1s", "--seed", "3", "--dir", dir).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
	for _, want := range []string{"seed 3", "PASS", "tokens"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("it does not say %q", want)
		}
	}
	if strings.Contains(string(out), "\r") {
		t.Error("there is a progress bar though nobody looks at it")
	}
	if _, err := os.Stat(dir); err == nil {
		t.Errorf("%s is left behind", dir)
	}
}

// The self test goes red: with clients that read old values, or that repeat what
// they must not repeat.
func TestSelfTestGoesRed(t *testing.T) {
	parallel(t)
	for _, tc := range []struct {
		name, fault string
		wrong       func(*selftest.Workload)
		want        string
	}{
		{"stale reads", "isolate the leader", func(w *selftest.Workload) { w.Stale, w.Fresh = true, time.Minute }, "not linearizable"},
		{"naive retries", "lost replies", func(w *selftest.Workload) { w.Naive = true }, "is there"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bothTiers(t)
			for try := 1; ; try++ { // whether a client looks just where it goes wrong is up to chance
				r := selfTest(t, 3, 4*time.Second)
				r.Only = func(name string) bool { return name == tc.fault }
				r.Break, r.Seed = tc.wrong, r.Seed+uint64(try)
				v, err := r.Do(t.Context())
				if err == nil && try < tries {
					continue
				}
				if !contains(err, tc.want) {
					t.Errorf("%v\n%v, faults %v; want %q", err, v.Result, v.Faults, tc.want)
				}
				if _, err := os.Stat(v.Picture); err != nil && tc.want == "not linearizable" {
					t.Errorf("no picture: %v", err)
				}
				break
			}
		})
	}
}

// A process that dies by itself is told, one that was killed by the test is not.
func TestDeathsAreNoticed(t *testing.T) {
	bothTiers(t)
	c := start(t, selftest.Options{Voters: 1})
	n := c.Nodes[0]
	n.Kill()
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if err := c.Deaths(); err != nil {
		t.Errorf("a kill by the test was taken for a death: %v", err)
	}
	if err := syscall.Kill(n.Pid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Wait(deadline(t)); err != nil {
		t.Fatal(err)
	}
	for _, when := range []string{"before", "after"} {
		if err := c.Deaths(); !contains(err, "n1 ended by itself") {
			t.Errorf("%s the next start: %v", when, err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
	}
}
