package load

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// CPUSeconds sums user and system CPU seconds of the processes.
func CPUSeconds(pids []int) float64 { u, s := cpuSeconds(pids); return u + s }

// UserSeconds sums the user CPU seconds of the processes.
func UserSeconds(pids []int) float64 { u, _ := cpuSeconds(pids); return u }

func cpuSeconds(pids []int) (user, sys float64) {
	for _, p := range pids {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p))
		if err != nil {
			continue
		}
		s := string(b)
		f := strings.Fields(s[strings.LastIndexByte(s, ')')+2:])
		u, _ := strconv.ParseFloat(f[11], 64)
		k, _ := strconv.ParseFloat(f[12], 64)
		user += u / 100
		sys += k / 100
	}
	return user, sys
}

func procField(pids []int, file, field string) int64 {
	var t int64
	for _, p := range pids {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/%s", p, file))
		for _, l := range strings.Split(string(b), "\n") {
			if strings.HasPrefix(l, field+":") {
				f := strings.Fields(l)
				n, _ := strconv.ParseInt(f[1], 10, 64)
				t += n
			}
		}
	}
	return t
}

// WrittenBytes sums write_bytes of the processes.
func WrittenBytes(pids []int) int64 { return procField(pids, "io", "write_bytes") }

// RSS sums resident KiB of the processes.
func RSS(pids []int) int64 { return procField(pids, "status", "VmRSS") }

func selfCPU() float64 {
	var ru syscall.Rusage
	syscall.Getrusage(0, &ru)
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano()).Seconds()
}
