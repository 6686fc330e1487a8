package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/raftkv/raftkv/selftest"
)

// replayed plays a trace file again with a program, and returns what it says.
func replayed(t *testing.T, bin, file string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), bin, "trace", "replay", file).CombinedOutput()
	if err != nil {
		t.Fatalf("trace replay: %v\n%s", err, out)
	}
	shown, err := exec.CommandContext(t.Context(), bin, "trace", "show", file).CombinedOutput()
	if err != nil || !bytes.Contains(shown, []byte(" output, room ")) {
		t.Errorf("trace show: %v\n%s", err, shown)
	}
	return string(out)
}

// traceOf is the one trace that a node has written.
func traceOf(t *testing.T, n *selftest.Node) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(n.Data, "traces", "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("traces of %s: %v, %v\n%s", n.Name, files, err, n.Tail(5))
	}
	info, err := os.Stat(files[0])
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v: others may read it", info.Mode(), err)
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(b, []byte("secret")) {
		t.Error("a user's value is in the trace")
	}
	return files[0]
}

// What a node's flight recorder knows plays the same again, offline: asked for
// over HTTP, when the process is aborted, and of every node of a cluster that was tormented.
func TestTraceOfADaemonReplays(t *testing.T) {
	bothTiers(t)
	c := start(t, selftest.Options{YAML: small})
	torment(t, c, func(w *selftest.Workload) {
		old := leader(t, c)
		old.Pause()
		newLeader(t, c, old)
		old.Resume()
		progress(t, w)
	})
	do(t, leader(t, c), "SET", "k", "secret")
	for i, n := range c.Nodes {
		code, body, err := n.Get(t.Context(), "/debug/trace")
		if err != nil || code != 200 {
			t.Fatalf("%d, %v", code, err)
		}
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, body, 0o600); err != nil {
			t.Fatal(err)
		}
		if out := replayed(t, binary, file); !strings.Contains(out, "outputs as they were recorded") || !strings.Contains(out, "over HTTP") {
			t.Errorf("replay: %s", out)
		}

		sig := []syscall.Signal{syscall.SIGQUIT, syscall.SIGABRT, syscall.SIGQUIT}[i]
		if err := syscall.Kill(n.Pid(), sig); err != nil {
			t.Fatal(err)
		}
		if code, err := n.Wait(deadline(t)); err != nil || code != 2 {
			t.Errorf("%v ended %s with %d, %v", sig, n.Name, code, err)
		}
		log, err := os.ReadFile(n.Log)
		if err != nil || !bytes.Contains(log, []byte("goroutine ")) {
			t.Errorf("no goroutines in the log, %v", err)
		}
		if out := replayed(t, binary, traceOf(t, n)); !strings.Contains(out, sig.String()) {
			t.Errorf("replay: %s", out)
		}
	}
}

// A panic and a loop that stands still leave a trace as well.
func TestTraceOfAFault(t *testing.T) {
	parallel(t)
	for _, tc := range []struct{ name, fault, want string }{
		{"panic", "fault-panic@", "the loop panicked: fault-panic"},
		{"stuck", "fault-stall@", "watchdog: the loop stands still"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bothTiers(t)
			bin := withFaults(t)
			c := start(t, selftest.Options{Bin: bin, YAML: calm + "service: {watchdog_timeout: 5s}\n"})
			l, f := leader(t, c), follower(t, c)
			conn, err := selftest.Dial(deadline(t), f.Client)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			// Forwarded: the fault strikes where the leader proposes it.
			if _, outcome, err := conn.Do(attempt, "SET", "secret", tc.fault+l.Name); outcome == selftest.OK {
				t.Errorf("the write was acknowledged, %v", err)
			}
			if code, err := l.Wait(deadline(t)); err != nil || code != 70 {
				t.Errorf("ended with %d, %v; want 70", code, err)
			}
			if out := replayed(t, bin, traceOf(t, l)); !strings.Contains(out, tc.want) || !strings.Contains(out, "as they were recorded") {
				t.Errorf("replay: %s", out)
			}
		})
	}
}
