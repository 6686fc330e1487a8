package e2e

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/internal/testenv"
	"github.com/raftkv/raftkv/selftest"
)

// needStrace makes sure that strace works here. It injects faults into the
// system calls of an unmodified daemon.
func needStrace(t *testing.T) {
	t.Helper()
	testenv.FullOnly(t)
	testenv.Need(t, "strace")
	if out, err := exec.Command("strace", "-o", "/dev/null", "true").CombinedOutput(); err != nil {
		t.Fatalf("strace can't trace here: %v: %s", err, out)
	}
}

// strace is a command line that runs argv with faults (the words after
// inject=). The daemon stays the child of the test, so that its exit code and
// its process group are its own; strace ends with it.
func strace(argv []string, faults ...string) []string {
	line := []string{"strace", "-DD", "-f", "-qq", "-o", "/dev/null", "-e", "trace=" + traced(faults)}
	for _, f := range faults {
		line = append(line, "-e", "inject="+f)
	}
	return append(line, argv...)
}

// traced lists the system calls that faults touch.
func traced(faults []string) string {
	var calls []string
	for _, f := range faults {
		set, _, _ := strings.Cut(f, ":")
		calls = append(calls, set)
	}
	return strings.Join(calls, ",")
}

// attach lets faults happen to a node that runs, from now on until it ends. The
// file log gets the calls that were touched. It returns once strace is there.
func attach(t *testing.T, n *selftest.Node, log string, faults ...string) {
	t.Helper()
	pid := n.Pid()
	args := []string{"-f", "-qq", "-o", log, "-p", strconv.Itoa(pid), "-e", "trace=pwrite64,fdatasync,fsync"}
	for _, f := range faults {
		args = append(args, "-e", "inject="+f)
	}
	cmd := exec.Command("strace", args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { // waits for strace; ends with it, at the latest in the cleanup
		_ = cmd.Wait()
		close(done)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended with the node
		<-done
	})
	until(t, "strace to be attached to "+n.Name, func() (bool, error) {
		b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
		if err != nil {
			return n.Pid() != pid, nil // the fault was faster
		}
		return strings.Contains(string(b), "TracerPid:\t"+strconv.Itoa(cmd.Process.Pid)), nil
	})
}
