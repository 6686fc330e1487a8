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
	live := []metrics.Sample{{Name: gcLiveMetric}}
	if metrics.Read(live); live[0].Value.Kind() != metrics.KindUint64 || live[0].Value.Uint64() == 0 {
		t.Errorf("%s is %v: this Go has another name for it", gcLiveMetric, live[0].Value.Kind())
	}
}
