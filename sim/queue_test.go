package sim

import (
	"math/rand/v2"
	"testing"
	"time"
)

// Events come in the order of their times, those of one time in the order of
// their making, and each does what it was pushed with.
func TestQueueKeepsOrder(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var q queue
	did := uint64(0)
	waiting := map[uint64]time.Duration{}
	now := time.Duration(0)
	for range 20_000 {
		if rnd.IntN(5) < 3 { // more come than go, so it grows
			at, n := now+time.Duration(rnd.IntN(50)), q.made+1
			q.push(at, deed{do: func() { did = n }})
			waiting[n] = at
			continue
		}
		if len(q.heap) == 0 {
			continue
		}
		e, d := q.pop()
		d.do()
		if did != e.made || waiting[did] != e.at {
			t.Fatalf("event %d at %v did what %d is for, at %v", e.made, e.at, did, waiting[did])
		}
		delete(waiting, did)
		now = e.at
		if rnd.IntN(100) > 0 {
			continue
		}
		for n, at := range waiting {
			if at < e.at || at == e.at && n < e.made {
				t.Fatalf("event %d at %v came before %d at %v", e.made, e.at, n, at)
			}
		}
	}
	if len(q.deeds) > len(waiting)+len(q.free) || len(q.deeds) < 1000 {
		t.Errorf("%d places for %d events and %d free ones", len(q.deeds), len(waiting), len(q.free))
	}
}
