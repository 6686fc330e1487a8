package node

import "testing"

// What writes cost a node in allocations, disk writes and jobs of the applier. None of it
// depends on the machine, so it is held here and not by a clock.
func TestCostOfAWrite(t *testing.T) {
	const batch = 64
	c := newCluster(t, 1, func(cfg *Config) {
		cfg.SnapshotEntries = 1 << 30
		cfg.TraceEvents, cfg.TraceBytes = 8192, 4<<20 // as the daemon has them
	})
	h := c.elect(1)
	h.m, h.disk = nil, nil
	h.a.m = &quiet{machine{}}
	d := &discard{}
	conn := NewConn(d)
	requests := make([]Request, batch)
	for i := range requests {
		requests[i] = Request{Kind: Write, Data: []byte("0123456789abcdef"), Slot: uint64(i)}
	}
	sub := &Submitted{Conn: conn, Requests: requests}
	round := func() {
		h.r.Handle(sub)
		for h.turn() {
		}
	}
	for range 20 {
		round() // the recorder and the rings take their room
	}
	m, answered := h.r.metrics, d.n
	writes, batches := m.Writes.Load(), m.Batches.Load()
	rounds := uint64(0)
	allocs := testing.AllocsPerRun(100, func() { round(); rounds++ })
	if got := uint64(d.n - answered); got != rounds*batch {
		t.Fatalf("%d replies to %d writes", got, rounds*batch)
	}
	if got := m.Writes.Load() - writes; got != rounds {
		t.Errorf("%d disk writes for %d batches, want one each", got, rounds)
	}
	if got := m.Batches.Load() - batches; got != rounds {
		t.Errorf("%d jobs for %d batches, want one each", got, rounds)
	}
	if per := allocs / batch; per > 0.1 {
		t.Errorf("%.2f allocations a write, want at most 0.1", per)
	}
	t.Logf("%.2f allocations a write", allocs/batch)
}

// What a batch of writes costs three nodes in messages and disk writes: one append and one
// acknowledgement a follower, one write a node; heartbeats tell followers of the commit.
func TestMessagesOfABatch(t *testing.T) {
	const rounds, batch = 20, 64
	c := newCluster(t, 3, nil)
	h := c.elect(1)
	k := h.client()
	var writes, messages [3]uint64
	for i, n := range c.hosts {
		writes[i], messages[i] = n.r.metrics.Writes.Load(), n.r.metrics.Messages.Load()
	}
	for range rounds {
		cmds := make([]string, batch)
		for i := range cmds {
			cmds[i] = "x"
		}
		k.submit(cmds...)
		c.settle()
	}
	if len(k.replies) != rounds*batch {
		t.Fatalf("%d replies, want %d", len(k.replies), rounds*batch)
	}
	for i, n := range c.hosts {
		w, s := n.r.metrics.Writes.Load()-writes[i], n.r.metrics.Messages.Load()-messages[i]
		most := uint64(rounds)
		if n == h {
			most *= 2
		}
		if w > rounds || s > most {
			t.Errorf("node %d: %d disk writes, %d messages for %d batches; want at most %d and %d", i+1, w, s, rounds, rounds, most)
		}
	}
}
