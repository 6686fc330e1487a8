package main

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// timerSlack is how late the kernel may wake a thread of the daemon that sleeps,
// in nanoseconds. Nothing here is timed finer than a tick of 10 ms.
//
// Go's monitor thread wants to look every 20 µs for threads that are held up in a system
// call, and one always is: that which syncs the log. With the kernel's default of 50 µs
// that is ten thousand wake-ups a second and an eighth of the CPU of a busy cluster.
const timerSlack = 1_000_000

// easeTimers gives every thread of this process timerSlack. The monitor thread is
// there before main is, and a thread takes its slack from the one that made it:
// so the program is started over, in the same process, and only once.
func easeTimers() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	slack := func() int {
		n, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
		if err != nil {
			return timerSlack // no such call: nothing to be done
		}
		return n
	}
	if slack() >= timerSlack {
		return
	}
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, timerSlack, 0, 0, 0); err != nil || slack() < timerSlack {
		return // real-time threads have none
	}
	if path, err := os.Executable(); err == nil {
		_ = unix.Exec(path, os.Args, os.Environ()) // else it goes on as it is, a little dearer
	}
}
