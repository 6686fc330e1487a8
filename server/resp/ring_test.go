package resp

import (
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"github.com/raftkv/raftkv/node"
)

// Whatever comes in whatever order, slots leave in their order, once each, and the
// sums are those of the slots that are left.
func TestRing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newRing(rapid.IntRange(1, 50).Draw(t, "limit"), 1000)
		var open []uint64 // not yet filled
		var added, taken uint64
		results := map[uint64]int{}
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				room, _, _ := r.credit()
				if room == 0 {
					t.Skip("full")
				}
				batch := make([]slot, rapid.IntRange(1, room).Draw(t, "n"))
				for i := range batch {
					batch[i].bytes = 10
					batch[i].aux = added
					if batch[i].done = rapid.Bool().Draw(t, "done"); !batch[i].done {
						batch[i].read = rapid.Bool().Draw(t, "read")
						open = append(open, added)
					}
					added++
				}
				r.add(batch)
			},
			"fill": func(t *rapid.T) {
				if len(open) == 0 {
					t.Skip("none open")
				}
				i := rapid.IntRange(0, len(open)-1).Draw(t, "i")
				n := open[i]
				open = append(open[:i], open[i+1:]...)
				results[n] = rapid.IntRange(0, 100).Draw(t, "bytes")
				rep := node.Reply{Slot: n, Outcome: node.Applied, Result: make([]byte, results[n])}
				// A second reply, or one for a slot that isn't there, changes nothing.
				r.fill([]node.Reply{rep, {Slot: n, Result: make([]byte, 500)}, {Slot: added + 5}, {Slot: taken - 1}})
			},
			"take": func(t *rapid.T) {
				out := make([]slot, rapid.IntRange(1, 20).Draw(t, "room"))
				n, _, more := r.take(out)
				for _, s := range out[:n] {
					if !s.done || s.aux != taken || len(s.reply.Result) != results[taken] {
						t.Fatalf("slot %d came as number %d, done %v, %d bytes", s.aux, taken, s.done, len(s.reply.Result))
					}
					taken++
				}
				if !more {
					t.Fatal("ended before end")
				}
			},
			"": func(t *rapid.T) {
				bytes, reads := 0, 0
				for n := r.head; n != r.tail; n++ {
					s := r.slots[n&uint64(len(r.slots)-1)]
					bytes += s.bytes
					if s.read && !s.done {
						reads++
					}
				}
				if r.head != taken || r.tail != added || r.bytes != bytes || r.reads != reads || int(r.tail-r.head) > r.limit {
					t.Fatalf("ring %d..%d, %d bytes, %d reads; want %d..%d, %d, %d", r.head, r.tail, r.bytes, r.reads, taken, added, bytes, reads)
				}
			},
		})
		r.end()
	})
}

// A read is charged with what replies were like lately, until its own is there.
func TestReadsAreChargedBeforeTheirReplies(t *testing.T) {
	r := newRing(100, 6400)
	r.add([]slot{{read: true, bytes: 10}, {read: true, bytes: 10}, {bytes: 10}})
	if _, bytes, per := r.credit(); per != 100 || bytes != 6400-30-200 {
		t.Errorf("two reads open: %d bytes left at %d a read", bytes, per)
	}
	r.fill([]node.Reply{{Slot: 0, Result: make([]byte, 300)}})
	if _, bytes, _ := r.credit(); bytes != 6400-30-100-300 {
		t.Errorf("one of them answered: %d bytes left", bytes)
	}
	r.take(make([]slot, 5))
	if _, bytes, per := r.credit(); per != 300 || bytes != 6400-20-300 {
		t.Errorf("and sent: %d bytes left at %d a read", bytes, per)
	}
}

func BenchmarkRing(b *testing.B) {
	r := newRing(4096, 64<<20)
	batch := make([]slot, 16)
	replies := make([]node.Reply, 16)
	var out [64]slot
	b.ReportAllocs()
	for n := uint64(0); b.Loop(); n += 16 {
		r.add(batch)
		for i, j := range rand.Perm(16) {
			replies[i].Slot = n + uint64(j)
		}
		r.fill(replies)
		r.take(out[:])
	}
}
