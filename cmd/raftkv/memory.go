package main

import (
	"context"
	"math"
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
	gcLook        = 100 * time.Millisecond // soon after the first collection: it came by a limit, and the next would come at once
	gcRestLooks   = 10                     // looks between two that see whether the node is at rest
	gcLiveMetric  = "/gc/heap/live:bytes"  // what the last collection found alive
	gcWorthChange = 5                      // percent; a change stops the world for a moment

	gcAllocMetric = "/gc/heap/allocs:bytes" // allocated since the start

	gcCyclesMetric   = "/gc/cycles/total:gc-cycles"
	gcObjectsMetric  = "/memory/classes/heap/objects:bytes"  // alive, or not yet swept
	gcTotalMetric    = "/memory/classes/total:bytes"         // mapped by Go
	gcFreeMetric     = "/memory/classes/heap/free:bytes"     // the collector's, for new objects
	gcReleasedMetric = "/memory/classes/heap/released:bytes" // given back, or never touched

	gcQuiet = 1 << 20   // bytes allocated between two looks; less is a node that does next to nothing
	gcWork  = 8 << 20   // the same; as many are work for clients
	gcBusy  = 5         // or so many looks in a row that are not quiet
	gcFirst = 512 << 20 // bytes of addresses where large pages may be, from the start on
	gcLarge = 256 << 20 // bytes alive from which on the room is worth to be given back at once
	gcRest  = 60        // looks at rest until other room is
)

// gcPercent is GOGC for so many live bytes.
func gcPercent(live uint64) int {
	return int(min(max(gcRoom*100/max(live, 1), gcLeast), gcMost))
}

// garbage tells when a node that has come to rest should give its room back: Go
// collects only when that is full, which may be hours later, and keeps it then. But whoever comes in bursts
// pays for each page that is touched for the first time again, up to half of the CPU of a burst. So
// room is kept for a while, unless it is that of a large state, hundreds of MiB, and giving it back soon
// has not turned out to be a mistake the last time: there was work again within gcRest looks.
type garbage struct {
	seen   uint64 // bytes allocated, as of the last look
	given  uint64 // the same, of when room was given back last
	since  int    // looks since then
	gave   bool   // there was no work since
	bursts bool   // it was a mistake
	rest   int    // looks at rest in a row
	busy   int    // looks not at rest in a row
}

// look tells, once after each busy time, that room should be given back, and that there is work that wants it. Between
// the two is what a node does by itself now and then, a snapshot for one.
func (g *garbage) look(allocated, live uint64) (give, work bool) {
	did := allocated - g.seen
	g.seen = allocated
	g.since++
	if did >= gcQuiet {
		g.rest = 0
		g.busy++
		if did < gcWork && g.busy < gcBusy {
			return false, false
		}
		if g.gave {
			g.bursts = g.since <= gcRest
		}
		g.gave = false
		return false, true
	}
	g.busy = 0
	g.rest++
	soon := live >= gcLarge && !g.bursts
	if allocated-g.given < gcRoom || !soon && g.rest < gcRest {
		return false, false
	}
	g.given, g.since, g.gave = allocated, 0, true
	return true, false
}

// ownsCollector tells whether the collector is ours to tune: whoever sets GOGC or GOMEMLIMIT has decided.
func ownsCollector() bool { return os.Getenv("GOGC") == "" && os.Getenv("GOMEMLIMIT") == "" }

// startCollector prepares the heap for a state of about so many bytes that is about to be
// read. Nearly all of it stays, so that collecting meanwhile would look again and again at
// the same: there is none until the state has its room beside it.
func startCollector(bytes int, pages *largePages) (end func()) {
	if !ownsCollector() {
		return func() {}
	}
	debug.SetGCPercent(-1)
	pages.grow(max(bytes+gcRoom, gcFirst))
	return func() {
		heap := []metrics.Sample{{Name: gcTotalMetric}, {Name: gcReleasedMetric}, {Name: gcObjectsMetric}}
		metrics.Read(heap)
		used, objects := heap[0].Value.Uint64()-heap[1].Value.Uint64(), heap[2].Value.Uint64()
		if objects < gcRoom {
			debug.SetGCPercent(gcPercent(objects))
			return
		}
		debug.SetMemoryLimit(int64(used + objects*uint64(gcPercent(objects))/100))
	}
}

// tuneCollector sets GOGC by what is alive until ctx ends, gives room back at rest, and lets the heap
// grow where large pages may be. Until the first collection nobody knows what is alive, and
// the limit of startCollector holds.
func tuneCollector(ctx context.Context, pages *largePages) {
	if !ownsCollector() {
		return
	}
	heap := []metrics.Sample{
		{Name: gcLiveMetric}, {Name: gcAllocMetric}, {Name: gcCyclesMetric}, {Name: gcObjectsMetric},
		{Name: gcFreeMetric}, {Name: gcReleasedMetric},
	}
	metrics.Read(heap)
	cycles := heap[2].Value.Uint64()
	var rest garbage
	look := time.NewTicker(gcLook)
	defer look.Stop()
	now := -1 // as startCollector left it
	for n := 0; ; n++ {
		metrics.Read(heap)
		live := heap[3].Value.Uint64() // what was read, nearly all of it
		if cycles != heap[2].Value.Uint64() {
			live = heap[0].Value.Uint64()
			if p := gcPercent(live); p > now+gcWorthChange || p < now-gcWorthChange {
				debug.SetGCPercent(p)
				if now < 0 {
					debug.SetMemoryLimit(math.MaxInt64)
				}
				now = p
			}
		}
		if n%gcRestLooks == 0 {
			give, work := rest.look(heap[1].Value.Uint64(), live)
			switch {
			case give:
				pages.allow(false)
				debug.FreeOSMemory()
			case work:
				pages.allow(true)
			}
		}
		if heap[4].Value.Uint64()+heap[5].Value.Uint64() < gcRoom/4 {
			pages.grow(int(max(gcRoom, live/2)))
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return
		}
	}
}
