package raftlog_test

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/internal/testenv"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raftlog"
	"github.com/raftkv/raftkv/raftlog/raftlogtest"
)

// The test binary runs itself as the process that writes and dies.
const childEnv = "RAFTKV_RAFTLOG_CHILD" // "SEED WRITES DIR"

func TestMain(m *testing.M) {
	if arg := os.Getenv(childEnv); arg != "" {
		os.Exit(child(arg))
	}
	// Those that run beside each other wait most of the time, for disks and children.
	if err := flag.Set("test.parallel", "4"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// childOptions: small segments, so that a kill hits every part of a rotation.
func childOptions() raftlog.Options {
	return raftlog.Options{SegmentBytes: 64 << 10, Spares: 1}
}

// child goes on with the generator's writes where the store stands, and says
// "ok SEQ" after each; it ends after so many of them, or at the first error.
func child(arg string) int {
	fields := strings.SplitN(arg, " ", 3)
	seed, _ := strconv.ParseUint(fields[0], 10, 64)
	writes, _ := strconv.Atoi(fields[1])
	s, err := raftlog.Open(fields[2], childOptions())
	if err != nil {
		fmt.Println("open:", err)
		return 3
	}
	d, err := s.Load()
	if err != nil {
		fmt.Println("load:", err)
		return 3
	}
	g := raftlogtest.NewGen(seed)
	for g.D.Seq < d.Seq {
		g.Next()
	}
	for range writes {
		w := g.Next()
		if err := s.Write(w); err != nil {
			return childFailed(s, err)
		}
		fmt.Println("ok", w.Seq)
	}
	fmt.Println("end")
	return 0
}

// childFailed looks whether an error is kept: that nothing is tried again.
func childFailed(s *raftlog.Bolt, err error) int {
	for i := range 3 {
		w := &raft.Write{Seq: 1<<40 + uint64(i), State: raft.HardState{Term: 1 << 40}}
		if again := s.Write(w); again == nil || again.Error() != err.Error() {
			fmt.Println("not sticky:", err, "then", again)
			return 4
		}
	}
	if !errors.Is(err, raftlog.ErrDisk) {
		fmt.Println("no disk error:", err)
		return 5
	}
	fmt.Println("failed:", err)
	return 74
}

// ending is how a child ended.
type ending struct {
	seq      uint64 // of the last write that it confirmed
	text     string // its last other line
	code     int    // -1 if killed
	finished bool   // it did all of its writes
}

// runChild runs a child, under prog (strace) if that is given. killAfter is the
// number of lines after which kill is called; negative means never.
func runChild(t testing.TB, seed uint64, writes int, dir string, prog []string, killAfter int, kill func(*os.Process)) ending {
	t.Helper()
	testenv.Anew()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args := append(append([]string{}, prog...), self)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), childEnv+"="+fmt.Sprint(seed, " ", writes, " ", dir))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var e ending
	lines := 0
	if killAfter == 0 {
		kill(cmd.Process)
	}
	for sc := bufio.NewScanner(out); sc.Scan(); {
		line := sc.Text()
		if seq, ok := strings.CutPrefix(line, "ok "); ok {
			e.seq, err = strconv.ParseUint(seq, 10, 64)
			if err != nil {
				t.Fatalf("child says %q", line)
			}
		} else {
			e.text, e.finished = line, line == "end"
		}
		if lines++; lines == killAfter {
			kill(cmd.Process)
		}
	}
	cmd.Wait() // the code below says it
	e.code = cmd.ProcessState.ExitCode()
	return e
}
