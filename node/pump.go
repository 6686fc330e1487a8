package node

import (
	"cmp"
	"errors"
	"slices"

	"github.com/raftkv/raftkv/raft"
)

// onSubmitted queues requests in their connection's lane.
func (r *Replica) onSubmitted(c *Conn, requests []Request) {
	l := &c.lane
	if l.closed {
		return
	}
	for _, q := range requests {
		if l.waiting.len() >= r.cfg.MaxWaiting || l.bytes+len(q.Data) > r.cfg.MaxWaitingBytes && l.waiting.len() > 0 {
			r.metrics.Busy.Add(1)
			r.answer(c, q.Slot, NotApplied, ErrBusy)
			continue
		}
		l.placed++
		l.waiting.push(op{conn: c, req: q, place: l.placed, deadline: r.tick + uint64(r.cfg.RequestTicks)})
		l.bytes += len(q.Data)
		r.waiting++
	}
	r.markDirty(c)
}

// onClosed forgets what nobody waits for any more. What is open goes on.
func (r *Replica) onClosed(c *Conn) {
	l := &c.lane
	l.closed = true
	for l.waiting.len() > 0 {
		r.takeWaiting(l)
	}
	l.failed = nil
}

func (r *Replica) markDirty(c *Conn) {
	if !c.lane.dirty {
		c.lane.dirty = true
		r.dirty = append(r.dirty, c)
	}
}

func (r *Replica) markStalled() {
	for _, c := range r.stalled {
		c.lane.stalled = false
		r.markDirty(c)
	}
	clear(r.stalled)
	r.stalled = r.stalled[:0]
}

// stall lets a lane wait for the next tick or change of role.
func (r *Replica) stall(c *Conn) {
	if !c.lane.stalled {
		c.lane.stalled = true
		r.stalled = append(r.stalled, c)
	}
}

func (r *Replica) pumpDirty() {
	for i := 0; i < len(r.dirty); i++ {
		c := r.dirty[i]
		c.lane.dirty = false
		r.pump(c)
	}
	clear(r.dirty)
	r.dirty = r.dirty[:0]
}

// pump starts what may be started of one connection, in order.
func (r *Replica) pump(c *Conn) {
	l := &c.lane
	for l.waiting.len() > 0 {
		if !r.start(c) {
			// What waits for own open requests is woken by their end. A stall
			// besides costs little and forgets nothing.
			r.stall(c)
			return
		}
	}
	l.waiting.shrink(1024)
}

// start starts the first waiting request, or several writes of a forward. It
// returns false if that must wait.
func (r *Replica) start(c *Conn) bool {
	l := &c.lane
	o := l.waiting.at(0)
	if r.closing {
		slot := r.takeWaiting(l).req.Slot
		r.answer(c, slot, NotApplied, ErrShutdown)
		return true
	}
	if l.sealed || l.notBefore > r.tick {
		return false
	}
	kind := o.req.Kind
	want := mode{leader: r.soft.Leader, term: r.soft.Term, kind: kind}
	switch {
	case r.leads():
		want = mode{leader: r.cfg.Raft.ID, term: r.soft.Term}
	case kind == StaleRead:
		want = mode{kind: StaleRead}
	case want.leader == raft.None || want.leader == r.cfg.Raft.ID:
		return false
	}
	if l.open() > 0 && l.mode != want {
		return false
	}
	switch {
	case kind == StaleRead:
		if !r.wasReady {
			slot := r.takeWaiting(l).req.Slot
			r.answer(c, slot, NotApplied, ErrNotReady)
			return true
		}
		l.mode = want
		r.startStale(c, r.takeWaiting(l))
		return true
	case r.leads() && kind == Write:
		return r.propose(c, o, want)
	case r.leads():
		return r.startRead(c, want)
	case kind == Write:
		return r.startForward(c, want)
	default:
		l.mode = want
		r.ask(c, r.takeWaiting(l))
		return true
	}
}

// takeWaiting takes the first waiting request out of a lane.
func (r *Replica) takeWaiting(l *lane) op {
	o := l.waiting.pop()
	l.bytes -= len(o.req.Data)
	r.waiting--
	return o
}

func (l *lane) nextSeq() uint64 {
	l.seq++
	return l.seq
}

// propose appends the first waiting write to the own log.
func (r *Replica) propose(c *Conn, o *op, want mode) bool {
	l := &c.lane
	if r.tooNew(o.req.Data) {
		r.overload(c, ErrLevel)
		return true
	}
	if r.spared(o.req.Data) {
		r.overload(c, r.noSpace())
		return true
	}
	id, err := r.core.Propose(o.req.Data, r.clock.now)
	switch {
	case err == nil:
		taken := r.takeWaiting(l)
		taken.seq = l.nextSeq()
		l.mode, l.last, l.lastWrite = want, id, taken.seq
		l.writes++
		r.writes++
		r.returns.proposed(l)
		r.tickets.add(id, taken)
		r.unwritten += len(taken.req.Data)
		r.metrics.Proposals.Add(1)
		return true
	case errors.Is(err, raft.ErrBusy):
		r.overload(c, err)
		return true
	case errors.Is(err, raft.ErrNoSpace):
		r.overload(c, r.noSpace())
		return true
	}
	return false // the core knows of a change that Output has not told yet, or leadership is being handed over
}

// overload refuses every waiting write of a connection at once: a client under
// overload must hear so fast, and none of its later writes may slip past an earlier one.
func (r *Replica) overload(c *Conn, err error) {
	r.metrics.Busy.Add(1)
	r.failWrites(c, err, err)
	if c.lane.writes > 0 {
		c.lane.sealed = true
	}
}

// failWrites answers all waiting writes: the first one with first, the others with rest.
func (r *Replica) failWrites(c *Conn, first, rest error) {
	l := &c.lane
	err := first
	l.waiting.filter(func(o *op) bool {
		if o.req.Kind != Write {
			return true
		}
		r.answer(c, o.req.Slot, NotApplied, err)
		l.bytes -= len(o.req.Data)
		r.waiting--
		err = rest
		return false
	})
}

// answer answers a request that has no result.
func (r *Replica) answer(c *Conn, slot uint64, o Outcome, err error) {
	if o == Unknown {
		r.metrics.Unknown.Add(1)
	} else {
		r.metrics.Refused.Add(1)
	}
	r.reply(c, Reply{Slot: slot, Outcome: o, Err: err})
}

// settled notes that a write was applied and answered.
func (r *Replica) settled(o *op, index raft.Index) {
	switch {
	case o.done != nil:
		o.done(index, nil)
	case o.conn != nil:
		l := &o.conn.lane
		l.shown = max(l.shown, index)
		l.settled = max(l.settled, o.seq)
		r.returns.answer(l, index)
		r.writeEnded(o.conn)
	}
}

// refuse notes that a write which was open surely did nothing.
func (r *Replica) refuse(o *op, err error) {
	switch {
	case o.served != nil:
		r.servedOne(o, Reply{Outcome: NotApplied, Err: err})
	case o.done != nil:
		o.done(0, err)
	case o.conn != nil:
		l := &o.conn.lane
		l.sealed = true
		if !l.closed {
			o.err = err
			l.failed = append(l.failed, *o)
		}
		r.writeEnded(o.conn)
	}
}

// unknown notes that nobody knows what became of a write.
func (r *Replica) unknown(o *op, err error) {
	switch {
	case o.served != nil:
		r.servedOne(o, Reply{Outcome: Unknown, Err: err})
	case o.done != nil:
		o.done(0, err)
	case o.conn != nil:
		l := &o.conn.lane
		l.sealed, l.broken = true, true
		l.settled = max(l.settled, o.seq)
		r.answer(o.conn, o.req.Slot, Unknown, err)
		r.writeEnded(o.conn)
	}
}

// writeEnded opens a sealed lane again once its last open write has ended.
func (r *Replica) writeEnded(c *Conn) {
	l := &c.lane
	l.writes--
	r.writes--
	assert(l.writes >= 0, "a write ended twice")
	if l.writes > 0 {
		return
	}
	if l.sealed {
		r.unseal(c)
	}
	if l.waiting.len() > 0 {
		r.markDirty(c)
	}
}

// unseal decides about the writes that surely did nothing. They are tried again
// if nothing behind them took effect or may yet: no later write, and no
// later read that was answered without them. Else they, and what waits behind
// them, are answered.
func (r *Replica) unseal(c *Conn) {
	l := &c.lane
	failed, settled, broken := l.failed, l.settled, l.broken
	l.failed, l.settled, l.sealed, l.broken = nil, 0, false, false
	if broken {
		defer r.failWrites(c, ErrEarlier, ErrEarlier)
	}
	if len(failed) == 0 {
		return
	}
	slices.SortFunc(failed, func(a, b op) int { return cmp.Compare(a.seq, b.seq) })
	first := failed[0]
	if !broken && !r.closing && retriable(first.err) && first.seq > settled && first.seq > l.readSeq && first.deadline > r.tick {
		for _, o := range slices.Backward(failed) {
			l.putBack(o)
			r.waiting++
		}
		r.metrics.Retried.Add(uint64(len(failed)))
		r.pause(c)
		return
	}
	for _, o := range failed {
		r.answer(c, o.req.Slot, NotApplied, o.err)
	}
	if !broken {
		r.failWrites(c, ErrEarlier, ErrEarlier)
	}
}

// pause lets the next attempt of a lane wait for the next tick: whoever refused
// just now would refuse again, and again, as fast as the network goes.
func (r *Replica) pause(c *Conn) { c.lane.notBefore = r.tick + 1 }

// retriable tells whether another attempt may go better.
func retriable(err error) bool {
	var other *raft.NotLeaderError
	return errors.As(err, &other) || errors.Is(err, raft.ErrTransfer) || errors.Is(err, ErrLostLead) ||
		errors.Is(err, ErrNoLeader) || errors.Is(err, ErrLostLink) || errors.Is(err, ErrShutdown) || errors.Is(err, ErrNotReady)
}

// expire answers what has waited too long. It is called every lookTicks.
func (r *Replica) expire() {
	r.tickets.expire(r.tick, func(o *op) { r.unknown(o, ErrTimeout) })
	r.expireForwards()
	r.expireReads()
	for _, c := range r.stalled {
		r.expireWaiting(c)
	}
	// A dirty lane was stalled until this very tick.
	for _, c := range r.dirty {
		r.expireWaiting(c)
	}
}

// expireWaiting answers waiting requests at their deadline. With the first
// write all waiting ones go: they must not overtake it.
func (r *Replica) expireWaiting(c *Conn) {
	l := &c.lane
	late := false
	l.waiting.filter(func(o *op) bool {
		switch {
		case o.deadline > r.tick:
			return true
		case o.req.Kind == Write:
			late = true
			return true
		}
		r.answer(c, o.req.Slot, NotApplied, r.whyLate(o))
		l.bytes -= len(o.req.Data)
		r.waiting--
		return false
	})
	if !late {
		return
	}
	for i := range l.waiting.len() {
		if o := l.waiting.at(i); o.req.Kind == Write {
			r.failWrites(c, r.whyLate(o), ErrEarlier)
			return
		}
	}
}

func (r *Replica) whyLate(o *op) error {
	switch {
	case r.soft.Leader == raft.None:
		return ErrNoLeader
	case o.err != nil:
		return o.err
	}
	return ErrTimeout
}
