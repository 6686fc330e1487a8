package main

import (
	"os"
	"runtime"
)

// fileThreads is how many goroutines may be inside a system call on a file at a
// time: one syncs the log, one writes a snapshot or prepares a segment.
const fileThreads = 2

// spareThreads lets as many goroutines run beside those as there are
// processors. Without it one that waits for the disk takes a processor's place
// until Go's monitor thread takes that back, which costs more than the place.
// Whoever sets GOMAXPROCS has decided.
func spareThreads() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + fileThreads)
	}
}
