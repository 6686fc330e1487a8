package main

import "testing"

// A process that was stopped for long is not stuck when it goes on: only looks
// that see nothing get on count, however far the clock has jumped between two of them.
func TestPatienceCountsLooks(t *testing.T) {
	var p patience
	for i, tc := range []struct{ turn, looks int64 }{{5, 0}, {5, 1}, {5, 2}, {1e12, 0}, {1e12, 1}, {7, 0}} {
		if got := p.look(tc.turn); int64(got/watchEvery) != tc.looks {
			t.Errorf("look %d: %v, want %d looks", i, got, tc.looks)
		}
	}
}
