package testenv

import (
	"testing"
	"time"
)

// patience is how long Eventually waits: far above what a busy machine needs.
const patience = 90 * time.Second

// Eventually waits until ok holds, or fails the test with what it waited for. It
// is for conditions that nothing tells of.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	late := time.After(patience)
	for !ok() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatal("waited in vain for " + what)
		}
	}
}
