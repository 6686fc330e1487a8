package e2e

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/raftkv/raftkv/internal/testenv"
	"github.com/raftkv/raftkv/selftest"
)

// DE-09 and beside it DE-01, DE-02: the k-th call of a kind fails once, with each
// error that the kernel has for it, in a node that is alone, over starts, writes, snapshots and
// compaction. The node ends with the exit code that is documented for it, or
// refuses and goes on; it never prints a stack trace; and whatever was acknowledged is there afterwards.
func TestEveryErrno(t *testing.T) {
	needStrace(t)
	parallel(t)
	disk := []int{74}
	for _, tc := range []struct {
		calls  string
		errnos []syscall.Errno
		when   []int
		codes  []int
	}{
		{"pwrite64", []syscall.Errno{syscall.EIO, syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG}, []int{1, 2, 4, 9, 30}, disk},
		{"fdatasync", []syscall.Errno{syscall.EIO, syscall.ENOSPC, syscall.EDQUOT}, []int{1, 2, 5, 30}, disk},
		{"fsync", []syscall.Errno{syscall.EIO, syscall.ENOSPC, syscall.EDQUOT}, []int{1, 2, 3, 6}, disk},
		{"openat", []syscall.Errno{syscall.EMFILE}, []int{8, 10, 12, 14, 16, 20, 24}, []int{75, 74}}, // at the start, and by the log once it runs
		{"openat", []syscall.Errno{syscall.EROFS, syscall.EIO}, []int{8, 10, 12, 14, 16, 20, 24}, disk},
		{"openat", []syscall.Errno{syscall.EACCES}, []int{8, 10, 12, 14, 16, 20, 24}, []int{77, 74}}, // the same
		{"renameat", []syscall.Errno{syscall.EIO, syscall.EROFS, syscall.ENOSPC}, []int{1, 2, 3}, disk},
		{"unlinkat", []syscall.Errno{syscall.EIO, syscall.EROFS}, []int{always}, disk}, // there are few
		{"mkdirat", []syscall.Errno{syscall.EROFS, syscall.ENOSPC}, []int{1, 2}, disk},
	} {
		t.Run(fmt.Sprint(tc.calls, " ends with ", tc.codes), func(t *testing.T) {
			parallel(t)
			s := &errnoSweep{ended: map[int]int{}}
			for i, errno := range tc.errnos {
				s.fresh(t)
				for j, when := range tc.when {
					if !testenv.Mine(i + j) { // as on a board: half of the pairs have each errno and each k
						continue
					}
					nth := fmt.Sprint(when)
					if when == always {
						nth = "1+"
					}
					s.one(t, fmt.Sprintf("%s:error=%s:when=%s", tc.calls, nameOf(errno), nth), errno, tc.codes)
				}
			}
			s.c.Close()
			t.Logf("%d runs: %d were not touched or went on, ended by code %v; %d keys acknowledged, all there", s.runs, s.alive, s.ended, s.acked+s.a.acked)
			if len(s.ended) == 0 || s.acked+s.a.acked == 0 {
				t.Error("nothing was tested")
			}
		})
	}
}

// always is every call, where so few are made that the k-th of a thread may never come.
const always = 0

// nameOf is the name that strace knows.
func nameOf(e syscall.Errno) string {
	return map[syscall.Errno]string{
		syscall.EIO: "EIO", syscall.ENOSPC: "ENOSPC", syscall.EDQUOT: "EDQUOT", syscall.EFBIG: "EFBIG",
		syscall.EMFILE: "EMFILE", syscall.EROFS: "EROFS", syscall.EACCES: "EACCES",
	}[e]
}

// errnoSweep is one directory after the other, and what was seen.
type errnoSweep struct {
	c     *selftest.Cluster
	a     acker
	fault string // of the next start

	runs, alive, acked int
	ended              map[int]int // by exit code
}

// fresh begins with an empty directory.
func (s *errnoSweep) fresh(t *testing.T) {
	t.Helper()
	if s.c != nil {
		s.c.Close()
	}
	s.acked += s.a.acked
	s.a = acker{}
	s.c = prepare(t, selftest.Options{
		Voters: 1, YAML: strings.ReplaceAll(small, "200", "60") + quick, Env: []string{"GOMAXPROCS=1"},
		Wrap: func(_ int, argv []string) []string {
			if s.fault == "" {
				return argv
			}
			return strace(argv, s.fault)
		},
	})
}

// one lets one fault happen and looks at what becomes of it.
func (s *errnoSweep) one(t *testing.T, fault string, errno syscall.Errno, codes []int) {
	t.Helper()
	n := s.c.Nodes[0]
	logged := len(logOf(t, n))
	s.runs++
	s.fault = fault
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	until(t, "the node to be ready or dead", func() (bool, error) {
		code, _, err := n.Get(t.Context(), "/readyz")
		return n.Pid() == 0 || err == nil && code == 200, nil
	})
	if s.a.run(t, n, 100) {
		s.alive++
	} else {
		code, err := n.Wait(deadline(t))
		if err != nil {
			t.Fatalf("%s: the connection broke, but the node lives: %v", fault, err)
		}
		s.ended[code]++
		log := string(logOf(t, n)[logged:])
		if !slices.Contains(codes, code) {
			t.Errorf("%s: ended with %d, want one of %v\n%s", fault, code, codes, lastLine(log))
		}
		if !strings.Contains(log, errno.Error()) {
			t.Errorf("%s: the log does not say %q:\n%s", fault, errno.Error(), lastLine(log))
		}
		if strings.Contains(log, "goroutine ") {
			t.Errorf("%s: there is a stack trace:\n%s", fault, n.Tail(30))
		}
	}
	n.Kill()
	s.fault = ""
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	if err := s.c.Ready(deadline(t)); err != nil {
		t.Fatalf("after %s: %v", fault, err)
	}
	if gone := s.a.lost(t, n); len(gone) > 0 {
		t.Errorf("%s: of %d acknowledged keys %d are lost: %v", fault, s.a.acked, len(gone), gone)
	}
	if !s.a.run(t, n, 5) {
		t.Fatal("the connection broke without a fault")
	}
	n.Kill()
}

// logOf is what a node has logged in all its runs.
func logOf(t *testing.T, n *selftest.Node) []byte {
	t.Helper()
	b, err := os.ReadFile(n.Log)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return b
}

func lastLine(s string) string {
	s = strings.TrimRight(s, "\n")
	return s[strings.LastIndexByte(s, '\n')+1:]
}
