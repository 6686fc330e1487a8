//go:build unix

package resp

import "syscall"

// cpuSeconds is the processor time of this process so far: in the kernel, and outside of it.
func cpuSeconds() (system, user float64) {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0, 0
	}
	seconds := func(t syscall.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }
	return seconds(u.Stime), seconds(u.Utime)
}
