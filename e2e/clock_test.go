//go:build linux && amd64

package e2e

import (
	"bytes"
	"debug/elf"
	bytesof "encoding/binary"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/raftkv/raftkv/internal/testenv"
	"github.com/raftkv/raftkv/selftest"
)

// The clocks, by the kernel's numbers.
const (
	wallClock      = 0 // CLOCK_REALTIME
	monotonicClock = 1 // CLOCK_MONOTONIC
)

// jump moves one clock of one process by so many seconds from what it really is,
// and of no other process. Go asks for the time by a function that the
// kernel maps into each process (the vDSO). It is written over, in that process,
// by one that asks the kernel and adds.
func jump(t *testing.T, n *selftest.Node, clock byte, seconds int32) {
	t.Helper()
	pauseAndJump(t, n, clock, seconds)
	n.Resume()
}

// pauseAndJump leaves the process as it must be for that: stopped.
func pauseAndJump(t *testing.T, n *selftest.Node, clock byte, seconds int32) {
	t.Helper()
	pid := n.Pid()
	mem, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	at := clockGettime(t, pid, mem)
	code := []byte{
		0xb8, 228, 0, 0, 0, // mov eax, clock_gettime
		0x0f, 0x05, // syscall
		0x83, 0xff, clock, // cmp edi, clock
		0x75, 0x07, // jne to the end
		0x48, 0x81, 0x06, // add qword [rsi], seconds
	}
	code = append(bytesof.LittleEndian.AppendUint32(code, uint32(seconds)), 0xc3) // ret
	for away := false; !away; {
		n.Pause()
		until(t, "all threads to stand still", func() (still bool, err error) {
			still, away, err = standing(pid, at, at+uint64(len(code)))
			return still, err
		})
		if !away {
			n.Resume()
		}
	}
	if _, err := mem.WriteAt(code, int64(at)); err != nil {
		t.Fatal(err)
	}
}

// clockGettime is the address of the function in a process.
func clockGettime(t *testing.T, pid int, mem *os.File) uint64 {
	t.Helper()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(maps), "\n") {
		if !strings.HasSuffix(line, "[vdso]") {
			continue
		}
		var from, to uint64
		if _, err := fmt.Sscanf(line, "%x-%x", &from, &to); err != nil {
			t.Fatal(err)
		}
		image := make([]byte, to-from)
		if _, err := mem.ReadAt(image, int64(from)); err != nil {
			t.Fatal(err)
		}
		f, err := elf.NewFile(bytes.NewReader(image))
		if err != nil {
			t.Fatal(err)
		}
		symbols, err := f.DynamicSymbols()
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range symbols {
			if s.Name == "__vdso_clock_gettime" {
				return from + s.Value
			}
		}
	}
	t.Fatal("the process has no function for the time")
	return 0
}

// standing tells whether each thread of a process stands still, and none of them
// between two addresses.
func standing(pid int, from, to uint64) (still, away bool, err error) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	if err != nil {
		return false, false, err
	}
	away = true
	for _, task := range tasks {
		stat, err := os.ReadFile(task + "/stat")
		if err != nil {
			return false, false, err
		}
		if _, state, _ := strings.Cut(string(stat), ") "); !strings.HasPrefix(state, "T") {
			return false, false, nil
		}
		where, err := os.ReadFile(task + "/syscall") // its last word is where the thread is
		if err != nil {
			return false, false, err
		}
		fields := strings.Fields(string(where))
		pc, err := strconv.ParseUint(strings.TrimPrefix(fields[len(fields)-1], "0x"), 16, 64)
		if err != nil {
			return false, false, err
		}
		away = away && (pc < from || pc >= to)
	}
	return true, away, nil
}

// wallOf is what a node takes for the time of day, in whole seconds.
func wallOf(t *testing.T, n *selftest.Node) time.Time {
	t.Helper()
	resp, err := http.Get("http://" + n.HTTP + "/livez")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	at, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// CK-01: the time of day jumps in one process, back and forth, of the leader and
// of a follower. Nobody but the log's timestamps notices.
func TestWallClockOfAProcessJumps(t *testing.T) {
	testenv.FullOnly(t)
	testenv.NeedRoot(t)
	parallel(t)
	c := start(t, selftest.Options{YAML: calm})
	before := pids(c)
	torment(t, c, func(w *selftest.Workload) {
		for _, who := range []func(*testing.T, *selftest.Cluster) *selftest.Node{leader, follower} {
			for _, by := range []int32{-3600, 3600, 10 * 365 * 86400} {
				n := who(t, c)
				what := fmt.Sprintf("%s by %d s", n.Name, by)
				steady(t, c, what, func() {
					jump(t, n, wallClock, 0)
					jump(t, n, wallClock, by)
					for range 3 {
						progress(t, w)
					}
				})
				off := time.Until(wallOf(t, n)) - time.Duration(by)*time.Second
				if off.Abs() > time.Minute {
					t.Errorf("%s: the clock is off by %v more: it did not jump", what, off)
				}
			}
		}
	})
	samePids(t, c, before)
}

// CK-02: the clock that only goes forward jumps by 1000 s in one process, as after
// a long sleep of the machine. That costs an election at most, no read is
// old, and nobody takes himself for dead.
func TestMonotonicClockOfAProcessJumps(t *testing.T) {
	testenv.FullOnly(t)
	testenv.NeedRoot(t)
	parallel(t)
	c := start(t, selftest.Options{YAML: calm})
	before := pids(c)
	torment(t, c, func(w *selftest.Workload) {
		for _, who := range []func(*testing.T, *selftest.Cluster) *selftest.Node{leader, follower, leader} {
			n := who(t, c)
			was, err := n.Status(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if was.UptimeSeconds > 900 {
				continue // it jumped already
			}
			ahead := int32(0)
			steady(t, c, n.Name, func() {
				ahead += 1000
				jump(t, n, monotonicClock, ahead)
				for range 3 {
					progress(t, w)
				}
			})
			until(t, n.Name+" to notice that its clock has jumped", func() (bool, error) {
				is, err := n.Status(t.Context())
				return is.UptimeSeconds >= was.UptimeSeconds+990, err
			})
		}
	})
	samePids(t, c, before)
}

// CK-03: the leader stands still while its clocks jump, as when a virtual machine
// is moved. Another one leads; it wakes up as a follower.
func TestPausedLeaderWakesInAnotherTime(t *testing.T) {
	testenv.FullOnly(t)
	testenv.NeedRoot(t)
	parallel(t)
	c := start(t, selftest.Options{})
	before := pids(c)
	torment(t, c, func(w *selftest.Workload) {
		old := leader(t, c)
		pauseAndJump(t, old, wallClock, 86400)
		newLeader(t, c, old)
		progress(t, w)
		old.Resume()
		notLeading(t, old)
		progress(t, w)
	})
	samePids(t, c, before)
}
