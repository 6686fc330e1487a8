package main

import (
	"context"
	"math"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"

	"github.com/raftkv/raftkv/internal/testenv"
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
	for _, name := range []string{gcCyclesMetric, gcObjectsMetric, gcTotalMetric, gcReleasedMetric} {
		heap = append(heap, metrics.Sample{Name: name})
	}
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
		if got := g.worth(g.seen+look.allocated, gcLarge); got != look.want {
			t.Errorf("look %d: %v, want %v", i, got, look.want)
		}
	}
	g.worth(g.seen+gcRoom, gcLarge-1)
	for rest := 1; rest <= 2*gcRest; rest++ {
		if got := g.worth(g.seen, gcLarge-1); got != (rest == gcRest) {
			t.Errorf("a small state, %d looks at rest: %v", rest, got)
		}
	}
}

var sink []byte

// While the state is read nothing is collected; then it has room beside it, and with the
// first collection the usual rule holds.
func TestNothingIsCollectedDuringAStart(t *testing.T) {
	if !ownsCollector() {
		t.Skip("GOGC or GOMEMLIMIT is set")
	}
	t.Cleanup(func() {
		debug.SetGCPercent(100)
		debug.SetMemoryLimit(math.MaxInt64)
	})
	cycles := func() uint64 {
		m := []metrics.Sample{{Name: gcCyclesMetric}}
		metrics.Read(m)
		return m[0].Value.Uint64()
	}
	end := startCollector(32<<20, &largePages{})
	before := cycles()
	for range 2 * gcRoom >> 20 {
		sink = make([]byte, 1<<20)
	}
	if n := cycles() - before; n > 0 {
		t.Errorf("%d collections while the state was read", n)
	}
	end()
	if limit := debug.SetMemoryLimit(-1); limit < gcRoom || limit > 16*gcRoom {
		t.Errorf("the limit is %d bytes", limit)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { // ends with ctx; awaited below
		defer close(done)
		tuneCollector(ctx, &largePages{})
	}()
	testenv.Eventually(t, "the usual rule holds again", func() bool {
		runtime.GC()
		return debug.SetMemoryLimit(-1) == math.MaxInt64 && debug.SetGCPercent(gcMost) > 0
	})
	cancel()
	<-done
}
