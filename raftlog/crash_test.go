package raftlog_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/raftkv/raftkv/internal/testenv"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raftlog"
	"github.com/raftkv/raftkv/raftlog/raftlogtest"
)

// verifyDir opens what a dead child left and compares it with the writes that it
// made: all that it confirmed, and of those after it at most the next one, whole.
func verifyDir(t testing.TB, dir string, seed, confirmed uint64) (found uint64) {
	t.Helper()
	found, fenced, err := examine(t, dir, seed, confirmed)
	if err != nil {
		t.Fatal(err)
	}
	if fenced {
		t.Fatalf("seed %d, write %d: fenced without a reason", seed, found)
	}
	names, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name.Name(), ".tmp") && !strings.HasPrefix(name.Name(), "spare") && name.Name() != "next.tmp" && name.Name() != "template.tmp" {
			t.Errorf("left behind: %s", name.Name())
		}
	}
	return found
}

// examine is verifyDir for a directory that may be damaged. It tells whether Open raised the fence.
func examine(t testing.TB, dir string, seed, confirmed uint64) (found uint64, fenced bool, err error) {
	t.Helper()
	s, err := raftlog.Open(dir, childOptions())
	if err != nil {
		return 0, false, fmt.Errorf("after the crash: %w", err)
	}
	defer s.Close()
	got, err := s.Load()
	if err != nil {
		return 0, false, err
	}
	g := raftlogtest.NewGen(seed)
	before := g.D.Seq
	for g.D.Seq < got.Seq {
		before = g.D.Seq
		g.Next()
	}
	switch {
	case got.Seq < confirmed:
		return got.Seq, false, fmt.Errorf("write %d was confirmed, the disk has %d", confirmed, got.Seq)
	case got.Seq > confirmed && before > confirmed:
		return got.Seq, false, fmt.Errorf("write %d was confirmed last, the disk has %d", confirmed, got.Seq)
	}
	if fenced = got.Fence == raft.FenceOneBack && g.D.Fence < got.Fence; fenced {
		got.Fence = g.D.Fence
	}
	if diff := raftlogtest.Diff(got, g.D); diff != "" {
		return got.Seq, fenced, fmt.Errorf("seed %d, write %d: %s", seed, got.Seq, diff)
	}
	return got.Seq, fenced, nil
}

// A process that is killed at any moment leaves every confirmed write (PC-04).
func TestKill(t *testing.T) {
	t.Parallel()
	stores := 1
	if testenv.Full() {
		stores = 20
		if testenv.Half() {
			stores = 10
		}
	}
	const rounds = 20 // of kills, for each store
	master := rand.Uint64()
	t.Logf("seed %d", master)
	var extra atomic.Int64
	t.Cleanup(func() {
		t.Logf("%d of %d kills came after a commit and before its confirmation", extra.Load(), stores*rounds)
	})
	for store := range stores {
		t.Run(fmt.Sprint(store), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(master, uint64(store)))
			dir, seed, confirmed := filepath.Join(t.TempDir(), "log"), rng.Uint64(), uint64(0)
			for round := range rounds {
				// The kill comes some microseconds after a line, so inside what follows it: the
				// moment is the input of this test, nothing is waited for.
				lines, delay := rng.IntN(40), time.Duration(rng.IntN(3000))*time.Microsecond
				kill := func(p *os.Process) {
					timer := time.NewTimer(delay)
					<-timer.C
					p.Kill()
				}
				e := runChild(t, seed, 1<<30, dir, nil, lines, kill)
				if e.text != "" {
					t.Fatalf("round %d: child: %s", round, e.text)
				}
				confirmed = max(confirmed, e.seq)
				found := verifyDir(t, dir, seed, confirmed)
				if found > confirmed {
					extra.Add(1)
				}
				confirmed = found
			}
		})
	}
}

// A process that dies at its k-th call of the kernel, for all k of its birth and
// first rotations, leaves a store that opens (PC-04, PC-10, PL-08, PL-11).
func TestKillAtEachCall(t *testing.T) {
	testenv.FullOnly(t)
	testenv.Need(t, "strace")
	t.Parallel()
	const writes = 150
	for _, call := range []string{"pwrite64", "fdatasync", "fsync", "renameat", "openat", "ftruncate", "unlinkat", "mmap"} {
		t.Run(call, func(t *testing.T) {
			t.Parallel()
			seed, died := rand.Uint64(), 0
			for i, k, step := 0, 1, 1; k < 800; i, k = i+1, k+step {
				step = 1 + k/20
				if !testenv.Mine(i) {
					continue
				}
				dir := filepath.Join(testenv.MemoryDir(t), "log")
				e := runChild(t, seed, writes, dir, strace(call, fmt.Sprintf("signal=KILL:when=%d", k)), -1, nil)
				if e.text != "" && !e.finished {
					t.Fatalf("call %d: %s", k, e.text)
				}
				if _, err := os.Stat(dir); err == nil {
					verifyDir(t, dir, seed, e.seq)
				}
				if e.finished {
					break
				}
				died++
			}
			if died == 0 && call != "ftruncate" && call != "unlinkat" {
				t.Errorf("no call of %s was hit", call)
			}
			t.Logf("%d deaths", died)
		})
	}
}

// strace makes a command line that runs what follows with an injected fault.
func strace(call, inject string) []string {
	return []string{"strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=" + call, "-e", "inject=" + call + ":" + inject}
}

// The first failed call ends it: the error stays, and what is found later is all
// that was confirmed, or one write more (DE-01, DE-02, DE-03).
func TestFailedCallIsFinal(t *testing.T) {
	testenv.FullOnly(t)
	testenv.Need(t, "strace")
	t.Parallel()
	for _, tc := range []struct{ call, inject string }{
		{"fdatasync", "error=EIO:when=3+"}, {"fdatasync", "error=EIO:when=8"}, {"fdatasync", "error=EIO:when=9"},
		{"pwrite64", "error=EIO:when=40"}, {"pwrite64", "error=ENOSPC:when=60+"}, {"pwrite64", "error=EIO:when=61"},
		{"fsync", "error=EIO:when=7+"}, {"fsync", "error=EIO:when=8"}, {"renameat", "error=EIO:when=4"},
		{"ftruncate", "error=ENOSPC:when=1"},
	} {
		t.Run(tc.call+","+tc.inject, func(t *testing.T) {
			dir, seed := filepath.Join(testenv.MemoryDir(t), "log"), rand.Uint64()
			e := runChild(t, seed, 400, dir, strace(tc.call, tc.inject), -1, nil)
			switch {
			case e.finished && tc.call != "fdatasync" && tc.call != "pwrite64": // never hit, or only where an old file is given back
			case e.code == 3 && e.seq == 0 && strings.Contains(e.text, "disk error"): // failed at birth
			case e.code != 74 || !strings.HasPrefix(e.text, "failed: "):
				t.Fatalf("child ended with %d: %q", e.code, e.text)
			}
			t.Log(e.text)
			verifyDir(t, dir, seed, e.seq)
		})
	}
}
