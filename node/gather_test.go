package node

import (
	"testing"
	"time"

	"github.com/raftkv/raftkv/raft"
)

// While what was written is not yet committed and answered, a leader with many
// clients lets new commands wait, and then writes all of them together.
func TestWritesGather(t *testing.T) {
	c := newCluster(t, 3, nil)
	h := c.elect(1)
	writes := func(what string, from, want uint64) {
		t.Helper()
		if got := h.r.metrics.Writes.Load() - from; got != want {
			t.Errorf("%s: %d writes, want %d", what, got, want)
		}
	}
	var ks []*client
	for range 2 * gatherOpen {
		ks = append(ks, h.client())
	}
	start := h.r.metrics.Writes.Load()
	c.cut = func(from, to raft.NodeID) bool { return to == 1 } // no acknowledgement comes
	for _, k := range ks[:gatherOpen-1] {
		k.submit("a")
		c.settle()
	}
	writes("few clients", start, gatherOpen-1)
	ks[gatherOpen-1].submit("a")
	c.settle()
	start = h.r.metrics.Writes.Load()
	for _, k := range ks[gatherOpen:] {
		k.submit("b")
		c.settle()
	}
	writes("many, nothing is committed", start, 0)
	c.tick(1)
	writes("one tick later", start, 0)
	c.tick(1)
	writes("two ticks later", start, 1)
	c.cut = nil
	c.tick(10)
	for _, k := range ks {
		if len(k.replies) != 1 {
			t.Error("a client waits for ever")
		}
	}
}

// A leader whose clients come again as soon as they are answered waits for them: two
// halves of a crowd that took turns share a batch then. When they stay away,
// those who did come wait for the time of one batch, and the next time not at all.
func TestClientsThatComeAgainAreAwaited(t *testing.T) {
	c := newCluster(t, 3, nil)
	h := c.elect(1)
	const half, took = 16, 5 * time.Millisecond
	halves := [2][]*client{}
	for i := range halves {
		for range half {
			halves[i] = append(halves[i], h.client())
		}
	}
	send := func(i int) {
		for _, k := range halves[i] {
			k.submit("x")
		}
		c.settle()
	}
	// answer ends the batch under way, and returns how many writes then went to the disk at once.
	h.hungApplier = true
	answer := func() uint64 {
		before := h.r.metrics.Writes.Load()
		h.r.now += took
		for h.hungApplier = false; len(h.jobs) > 0; {
			h.step()
		}
		h.hungApplier = true
		c.settle()
		return h.r.metrics.Writes.Load() - before
	}
	send(0)
	turn, rounds := 1, 0
	for ; ; rounds++ {
		send(turn) // while the others' batch is under way
		if answer() == 0 {
			break // they wait for the others
		}
		if turn = 1 - turn; rounds == 20 {
			t.Fatal("the halves take turns for ever")
		}
	}
	if rounds < gatherTrust {
		t.Errorf("awaited in round %d, want trust after %d", rounds, gatherTrust)
	}
	entries := h.r.metrics.WriteEntries.Load()
	send(1 - turn)
	if got := h.r.metrics.WriteEntries.Load() - entries; got != 2*half {
		t.Errorf("%d entries in the batch, want %d", got, 2*half)
	}
	// The whole crowd is answered, and few come again.
	if got := answer(); got != 0 {
		t.Fatalf("%d writes, nobody sent one", got)
	}
	before := h.r.metrics.Writes.Load()
	halves[0][0].submit("x")
	c.settle()
	h.r.now += took - 1
	c.settle()
	if got := h.r.metrics.Writes.Load() - before; got != 0 {
		t.Errorf("%d writes before the others' time is over", got)
	}
	h.r.now++
	c.settle()
	if got := h.r.metrics.Writes.Load() - before; got != 1 {
		t.Errorf("%d writes behind that, want 1", got)
	}
	send(1)
	if answer() == 0 {
		t.Error("clients that stayed away are awaited again")
	}
}

// A large batch is full enough: nobody is awaited behind one, nor behind the next small ones.
func TestLargeBatchesAwaitNobody(t *testing.T) {
	var s returns
	lanes := make([]lane, gatherOpen)
	batch := func(last raft.Index, bytes int) bool {
		s.wrote(0, last, bytes)
		for i := range lanes {
			s.answer(&lanes[i], last)
		}
		s.applied(time.Millisecond, last)
		awaited := s.awaited(time.Millisecond, last)
		for i := range lanes {
			s.proposed(&lanes[i])
		}
		s.awaited(time.Millisecond, last)
		return awaited
	}
	for i := range gatherTrust {
		if batch(raft.Index(i+1), 100) {
			t.Errorf("awaited behind batch %d", i+1)
		}
	}
	if !batch(10, 100) {
		t.Error("not awaited though they always came")
	}
	if batch(11, awaitBytes) || batch(12, 100) {
		t.Error("awaited behind a large batch")
	}
}

// Where batches take long, since the other nodes are far, commands wait as long as one
// usually takes, whatever number of ticks that is, and not much longer.
func TestBatchesOfFarNodesAreWaitedFor(t *testing.T) {
	c := newCluster(t, 3, nil)
	h := c.elect(1)
	const took = 50 * time.Millisecond
	var ks []*client
	for range 2 * gatherOpen {
		ks = append(ks, h.client())
	}
	far := func(from, to raft.NodeID) bool { return to == 1 }
	send := func(ks []*client) {
		for _, k := range ks {
			k.submit("x")
		}
		c.settle()
	}
	waited := func(what string, d time.Duration, ticks int, want uint64) {
		t.Helper()
		before := h.r.metrics.Writes.Load()
		h.r.now += d
		c.tick(ticks)
		if got := h.r.metrics.Writes.Load() - before; got != want {
			t.Errorf("%s: %d writes, want %d", what, got, want)
		}
	}
	for range 30 {
		c.cut = far
		send(ks)
		h.r.now += took
		c.cut = nil
		c.tick(2) // a heartbeat is answered
	}
	h.r.now += took // nobody is awaited any more
	c.cut = far
	send(ks[:gatherOpen])
	before := h.r.metrics.Writes.Load()
	send(ks[gatherOpen:])
	if got := h.r.metrics.Writes.Load() - before; got != 0 {
		t.Fatalf("%d writes while a batch is under way", got)
	}
	waited("five ticks, as long as a batch takes", took, 5, 0)
	waited("twice as long", took, 1, 1)
}
