// Package fuzztest is what fuzz targets share: bytes from outside may cost memory
// in proportion to how many they are, never to what they claim, and an end must come.
package fuzztest

import (
	"fmt"
	"runtime"
	"testing"
	"time"
)

// hang is far above what a few kilobytes of input take on a busy machine. Whoever
// needs longer does not come to an end.
const hang = 30 * time.Second

// Bounded runs f on an input of so many bytes. The test fails if f allocates more
// than fixed bytes and factor bytes for each of the input; the process ends,
// with all stacks, if f does not return. What other goroutines allocate meanwhile counts
// as well, those of the fuzzer too: fixed is not below 64 KiB.
func Bounded(t testing.TB, input, fixed, factor int, f func()) {
	t.Helper()
	stuck := time.AfterFunc(hang, func() {
		panic(fmt.Sprintf("an input of %d bytes keeps the code busy for %v", input, hang))
	})
	defer stuck.Stop()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	if got, most := after.TotalAlloc-before.TotalAlloc, uint64(fixed+factor*input); got > most {
		t.Errorf("an input of %d bytes allocates %d, at most %d are right (%d and %d a byte)", input, got, most, fixed, factor)
	}
}
