package node

import (
	"testing"

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
