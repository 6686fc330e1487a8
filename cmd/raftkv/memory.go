package main

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// The room that the garbage collector gets above what is alive. Go's own rule is
// as much again: too little for a small state, which is then collected many times a second,
// and too much for a large one, which takes twice the memory that it needs.
const (
	gcRoom        = 128 << 20 // bytes
	gcLeast       = 40        // percent of what is alive; less would cost more CPU than it saves memory
	gcMost        = 400
	gcLook        = time.Second
	gcLiveMetric  = "/gc/heap/live:bytes" // what the last collection found alive
	gcWorthChange = 5                     // percent; a change stops the world for a moment

	gcAllocMetric = "/gc/heap/allocs:bytes" // allocated since the start
	gcQuiet       = 1 << 20                 // bytes allocated between two looks; less is a node that does next to nothing
)

// gcPercent is GOGC for so many live bytes.
func gcPercent(live uint64) int {
	return int(min(max(gcRoom*100/max(live, 1), gcLeast), gcMost))
}

// garbage tells when a node that has come to rest should give its room back: Go
// collects only when that is full, which may be hours later, and keeps it then.
type garbage struct {
	seen  uint64 // bytes allocated, as of the last look
	given uint64 // the same, of when room was given back last
}

// worth is asked at each look. It is true once after each busy time.
func (g *garbage) worth(allocated uint64) bool {
	quiet := allocated-g.seen < gcQuiet
	g.seen = allocated
	if !quiet || allocated-g.given < gcRoom {
		return false
	}
	g.given = allocated
	return true
}

// tuneCollector sets GOGC by what is alive until ctx ends, and gives room back at rest.
// Whoever sets GOGC or GOMEMLIMIT has decided.
func tuneCollector(ctx context.Context) {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	heap := []metrics.Sample{{Name: gcLiveMetric}, {Name: gcAllocMetric}}
	var rest garbage
	look := time.NewTicker(gcLook)
	defer look.Stop()
	now := 100
	for {
		metrics.Read(heap)
		if p := gcPercent(heap[0].Value.Uint64()); p > now+gcWorthChange || p < now-gcWorthChange {
			debug.SetGCPercent(p)
			now = p
		}
		if rest.worth(heap[1].Value.Uint64()) {
			debug.FreeOSMemory()
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return
		}
	}
}
