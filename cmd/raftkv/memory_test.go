package main

import (
	"runtime"
	"runtime/metrics"
	"testing"
)

// A small heap gets room, a large one does not get as much again.
func TestGCPercent(t *testing.T) {
	for _, tc := range []struct {
		live uint64
		want int
	}{
		{0, 400}, {1 << 20, 400}, {32 << 20, 400}, {64 << 20, 200}, {128 << 20, 100}, {256 << 20, 50}, {320 << 20, 40}, {4 << 30, 40}, {1 << 63, 40},
	} {
		if got := gcPercent(tc.live); got != tc.want {
			t.Errorf("%d bytes alive: %d, want %d", tc.live, got, tc.want)
		}
	}
	runtime.GC()
	heap := []metrics.Sample{{Name: gcLiveMetric}, {Name: gcAllocMetric}}
	metrics.Read(heap)
	for _, m := range heap {
		if m.Value.Kind() != metrics.KindUint64 || m.Value.Uint64() == 0 {
			t.Errorf("%s is %v: this Go has another name for it", m.Name, m.Value.Kind())
		}
	}
}

// Room is given back when a busy time is over, once.
func TestRoomIsGivenBackAtRest(t *testing.T) {
	var g garbage
	for i, look := range []struct {
		allocated uint64 // since the last look
		want      bool
	}{
		{64 << 20, false}, // busy
		{64 << 20, false}, // busy still
		{100, true},       // at rest
		{100, false},      // given back already
		{1 << 20, false},  // a little work
		{100, false},      // not worth it
		{gcRoom, false},   // busy
		{gcQuiet - 1, true},
	} {
		if got := g.worth(g.seen + look.allocated); got != look.want {
			t.Errorf("look %d: %v, want %v", i, got, look.want)
		}
	}
}
