package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// tellThreads is what TEST_AS=threads runs: main's preparations, then the least
// slack of the threads that it may look at (all of them, as root).
func tellThreads() {
	easeTimers()
	spareThreads()
	least, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	threads, _ := os.ReadDir("/proc/self/task")
	for _, id := range threads {
		b, _ := os.ReadFile("/proc/" + id.Name() + "/timerslack_ns")
		if n, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil {
			least = min(least, n)
		}
	}
	fmt.Println(os.Getpid(), least, err, runtime.GOMAXPROCS(0))
}

// The daemon starts over once, in the same process, with lazy timers for all its
// threads, and runs more goroutines than there are processors, unless it is told how many.
func TestThreadsOfTheDaemon(t *testing.T) {
	tell := func(env ...string) []string {
		c := exec.Command(os.Args[0], "serve", "--config", "x")
		c.Env = append(os.Environ(), append(env, "TEST_AS=threads")...)
		out, err := c.Output()
		if err != nil {
			t.Fatal(err)
		}
		f := strings.Fields(string(out))
		if len(f) != 4 || f[0] != strconv.Itoa(c.Process.Pid) || f[2] != "<nil>" {
			t.Fatalf("process %d says %q", c.Process.Pid, out)
		}
		return f
	}
	f := tell("GOMAXPROCS=")
	if n, _ := strconv.Atoi(f[1]); n != timerSlack {
		t.Errorf("timer slack %s ns, want %d", f[1], timerSlack)
	}
	if n, _ := strconv.Atoi(f[3]); n != runtime.NumCPU()+fileThreads && os.Getenv("GOMAXPROCS") == "" && runtime.GOMAXPROCS(0) == runtime.NumCPU() {
		t.Errorf("GOMAXPROCS %d, want %d more than %d processors", n, fileThreads, runtime.NumCPU())
	}
	if f := tell("GOMAXPROCS=3"); f[3] != "3" {
		t.Errorf("GOMAXPROCS=3 became %s", f[3])
	}
}
