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
)

// gcPercent is GOGC for so many live bytes.
func gcPercent(live uint64) int {
	return int(min(max(gcRoom*100/max(live, 1), gcLeast), gcMost))
}

// tuneCollector sets GOGC by what is alive until ctx ends. Whoever sets GOGC or
// GOMEMLIMIT has decided.
func tuneCollector(ctx context.Context) {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	live := []metrics.Sample{{Name: gcLiveMetric}}
	look := time.NewTicker(gcLook)
	defer look.Stop()
	now := 100
	for {
		metrics.Read(live)
		if p := gcPercent(live[0].Value.Uint64()); p > now+gcWorthChange || p < now-gcWorthChange {
			debug.SetGCPercent(p)
			now = p
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return
		}
	}
}
