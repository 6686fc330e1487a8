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
		{64 << 20, false},    // busy
		{64 << 20, false},    // busy still
		{100, true},          // at rest
		{100, false},         // given back already
		{1 << 20, false},     // a little work
		{100, false},         // not worth it
		{gcRoom, false},      // busy
		{gcQuiet - 1, false}, // there was work again soon: it waits longer this time
	} {
		if got, _ := g.look(g.seen+look.allocated, gcLarge); got != look.want {
			t.Errorf("look %d: %v, want %v", i, got, look.want)
		}
	}
	g = garbage{}
	// burst works until so much was allocated, and tells how many looks at rest the room is kept after it.
	burst := func(live uint64) int {
		if give, work := g.look(g.seen+gcRoom, live); give || !work {
			t.Errorf("at work: give %v, work %v", give, work)
		}
		for rest := 1; rest <= 2*gcRest; rest++ {
			if give, work := g.look(g.seen, live); work {
				t.Error("work at rest")
			} else if give {
				return rest
			}
		}
		return 0
	}
	idle := func(live uint64, looks int) {
		for range looks {
			if give, _ := g.look(g.seen, live); give {
				t.Error("room was given back twice")
			}
		}
	}
	for i, next := range []struct {
		live  uint64
		kept  int
		pause int // looks until the next burst
	}{
		{gcLarge - 1, gcRest, 10},
		{gcLarge - 1, gcRest, 2 * gcRest}, // a small state never gives it back sooner
		{gcLarge, 1, 10},
		{gcLarge, gcRest, 10}, // it was a mistake
		{gcLarge, gcRest, gcRest},
		{gcLarge, 1, gcRest}, // it was right
		{gcLarge, 1, 0},
	} {
		if kept := burst(next.live); kept != next.kept {
			t.Errorf("burst %d: the room is kept for %d looks, want %d", i, kept, next.kept)
		}
		idle(next.live, next.pause)
	}
}

// What a node does by itself after it has come to rest, a snapshot for one, is no mistake in giving room back.
func TestASnapshotIsNoWork(t *testing.T) {
	var g garbage
	g.look(gcRoom, gcLarge)
	if give, _ := g.look(g.seen, gcLarge); !give {
		t.Fatal("no room was given back")
	}
	for i := range gcBusy - 1 {
		if _, work := g.look(g.seen+gcWork-1, gcLarge); work {
			t.Errorf("work after %d looks", i)
		}
	}
	g.look(g.seen, gcLarge)
	if !g.gave || g.bursts {
		t.Error("it was a mistake")
	}
	for i := range gcBusy {
		if _, work := g.look(g.seen+gcQuiet, gcLarge); work != (i == gcBusy-1) {
			t.Errorf("a little all the time, %d looks: work %v", i, work)
		}
	}
	if g.gave || !g.bursts {
		t.Error("it was no mistake")
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
