package node

import (
	"slices"

	"github.com/raftkv/raftkv/raft"
)

// group is the reads of one batch: they share one confirmation of leadership.
// Its id is fresh at each attempt, so a late echo confirms nothing else.
//
// Sharing is right because the index is fixed when the first of them comes:
// whatever was acknowledged before any of them came had been handed to the
// applier by the Flush before.
type group struct {
	id       uint64
	index    raft.Index
	deadline uint64
	reads    []op
	asks     []askedRead // of other nodes
}

// startRead starts the first waiting read on the leader.
func (r *Replica) startRead(c *Conn, want mode) bool {
	l := &c.lane
	g := r.openGroup()
	if g == nil {
		return false
	}
	o := r.takeWaiting(l)
	o.seq = l.nextSeq()
	index := g.index
	if l.last.Term == want.term {
		index = max(index, l.last.Index) // its own earlier writes, committed or not
	}
	l.mode, l.lastRead = want, index
	l.reads++
	r.reads++
	g.reads = append(g.reads, o)
	// It enters the applier's queue before any later entry, and so is evaluated
	// before any later write of its connection.
	r.job.reads = append(r.job.reads, read{
		conn: c, slot: o.req.Slot, data: o.req.Data,
		index: index, group: g.id, deadline: o.deadline,
	})
	r.metrics.Reads.Add(1)
	return true
}

// openGroup returns the group of this batch, nil if this node doesn't lead.
func (r *Replica) openGroup() *group {
	if r.group != nil {
		return r.group
	}
	id := r.nextRead
	index, err := r.core.Read(id)
	if err != nil {
		return nil
	}
	r.nextRead++
	r.group = &group{id: id, index: index, deadline: r.tick + uint64(r.cfg.RequestTicks)}
	r.groups = append(r.groups, r.group)
	r.metrics.ReadRounds.Add(1)
	return r.group
}

func (r *Replica) takeGroup(id uint64) *group {
	i := slices.IndexFunc(r.groups, func(g *group) bool { return g.id == id })
	if i < 0 {
		return nil
	}
	g := r.groups[i]
	r.groups = slices.Delete(r.groups, i, i+1)
	if r.group == g {
		r.group = nil
	}
	return g
}

// onConfirmed releases the results of a group. From here on they are the applier's.
func (r *Replica) onConfirmed(ready raft.ReadReady) {
	g := r.takeGroup(ready.ID)
	if g == nil {
		return // its deadline came first
	}
	for i := range g.reads {
		l := &g.reads[i].conn.lane
		l.readSeq = max(l.readSeq, g.reads[i].seq)
	}
	if len(g.reads) > 0 {
		r.job.release = append(r.job.release, g.id)
	}
	for _, a := range g.asks {
		r.serve.answerRead(a, ready.Index, nil)
	}
}

// onReadsLost asks lost reads again where that keeps the order of their connection.
func (r *Replica) onReadsLost(ids []uint64) {
	err := &raft.NotLeaderError{Leader: r.soft.Leader}
	var again []op
	for _, id := range ids {
		g := r.takeGroup(id)
		if g == nil {
			continue
		}
		r.dropGroup(g)
		for _, a := range g.asks {
			r.serve.answerRead(a, 0, err)
		}
		for i := range g.reads {
			o := &g.reads[i]
			r.metrics.ReadsLost.Add(1)
			r.readDone(o.conn, false, 0)
			again = append(again, *o)
		}
	}
	r.requeue(again, err)
}

// dropGroup makes the applier forget the results of a group.
func (r *Replica) dropGroup(g *group) {
	if len(g.reads) > 0 {
		r.job.drop = append(r.job.drop, g.id)
	}
}

// requeue lets reads wait again, at their places; those that may not be asked
// again are answered with err.
func (r *Replica) requeue(reads []op, err error) {
	for _, o := range slices.Backward(reads) {
		l := &o.conn.lane
		switch {
		case l.closed:
			continue
		case l.overtaken(&o):
			r.answer(o.conn, o.req.Slot, NotApplied, err)
			continue
		}
		l.putBack(o)
		r.waiting++
		r.stall(o.conn)
	}
}

// overtaken tells that a read comes too late: a later write of its connection
// is under way, which it could see, or a later read was answered, behind which
// it would see more.
func (l *lane) overtaken(o *op) bool { return l.lastWrite > o.seq || l.readSeq > o.seq }

// startStale sends a read into the applier without confirmation. It sees at
// least what the connection was shown, and what it will be shown before this
// read's answer: the replies of a connection keep their order.
func (r *Replica) startStale(c *Conn, o op) {
	l := &c.lane
	index := l.shown
	if l.writes > 0 && l.last.Term == l.mode.term {
		index = max(index, l.last.Index)
	}
	if l.reads+l.stale > 0 {
		index = max(index, l.lastRead)
	}
	o.seq = l.nextSeq()
	l.readSeq, l.lastRead = o.seq, index
	l.stale++
	r.reads++
	r.job.reads = append(r.job.reads, read{
		conn: c, slot: o.req.Slot, data: o.req.Data, index: index, deadline: o.deadline,
	})
	r.metrics.StaleReads.Add(1)
}

// readDone notes that a read was answered, or is about to be.
func (r *Replica) readDone(c *Conn, stale bool, index raft.Index) {
	l := &c.lane
	if stale {
		l.stale--
	} else {
		l.reads--
	}
	r.reads--
	assert(l.reads >= 0 && l.stale >= 0, "a read ended twice")
	l.shown = max(l.shown, index)
	if l.waiting.len() > 0 {
		r.markDirty(c)
	}
}

// expireReads answers reads whose confirmation does not come, and lets the
// applier answer those whose index does not come.
func (r *Replica) expireReads() {
	for len(r.groups) > 0 && r.groups[0].deadline <= r.tick {
		g := r.takeGroup(r.groups[0].id)
		r.dropGroup(g)
		for i := range g.reads {
			o := &g.reads[i]
			r.readDone(o.conn, false, 0)
			r.answer(o.conn, o.req.Slot, NotApplied, ErrTimeout)
		}
		for _, a := range g.asks {
			r.serve.answerRead(a, 0, ErrTimeout)
		}
	}
	if r.reads > 0 {
		r.job.now = r.tick
	}
}
