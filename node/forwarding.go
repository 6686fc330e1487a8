package node

import (
	"cmp"
	"errors"
	"slices"

	"github.com/raftkv/raftkv/raft"
)

// forwards is the follower's side: requests of this node's clients at a leader.
//
// A connection has one forward under way at most, so that one that surely did
// nothing can be tried again before any later write of the connection leaves.
type forwards struct {
	boot   uint64
	nextID uint64 // ascends over forwards and reads
	sent   []*forward
	asks   []*ask
	open   *ask       // takes the reads of this batch; sealed when sent
	fresh  []*forward // of this batch
	token  uint64
}

// forward is writes of one connection under way to a leader.
type forward struct {
	id       uint64
	to       raft.NodeID
	term     raft.Term
	conn     uint64 // that it was written to
	token    uint64 // of its packet
	deadline uint64
	ops      []op
}

// ask is reads that wait for a read index from the leader.
type ask struct {
	id       uint64
	to       raft.NodeID
	conn     uint64
	token    uint64
	deadline uint64
	reads    []op
}

func (f *forwards) init(boot uint64) { f.boot, f.nextID = boot, 1 }

// startForward sends the run of writes at the front of a lane to the leader.
func (r *Replica) startForward(c *Conn, want mode) bool {
	l := &c.lane
	if l.writes > 0 {
		return false // the next forward goes when this one has ended
	}
	f := &forward{id: r.fwd.nextID, to: want.leader, term: want.term, deadline: r.tick + uint64(r.cfg.RequestTicks)}
	r.fwd.nextID++
	l.mode = want
	for bytes := 0; l.waiting.len() > 0 && len(f.ops) < r.cfg.MaxForwards; {
		next := l.waiting.at(0)
		bytes += len(next.req.Data)
		if next.req.Kind != Write || bytes > r.cfg.MaxForwardBytes && len(f.ops) > 0 {
			break
		}
		o := r.takeWaiting(l)
		o.seq = l.nextSeq()
		l.lastWrite = o.seq
		l.writes++
		r.writes++
		// One deadline for all: the earliest.
		f.deadline = min(f.deadline, o.deadline)
		f.ops = append(f.ops, o)
	}
	r.fwd.fresh = append(r.fwd.fresh, f)
	r.metrics.Forwarded.Add(uint64(len(f.ops)))
	return true
}

// ask lets a read wait for a read index of the leader.
func (r *Replica) ask(c *Conn, o op) {
	l := &c.lane
	o.seq = l.nextSeq()
	l.reads++
	r.reads++
	f := &r.fwd
	if f.open == nil || f.open.to != r.soft.Leader {
		f.open = &ask{id: f.nextID, to: r.soft.Leader, deadline: r.tick + uint64(r.cfg.RequestTicks)}
		f.nextID++
		f.asks = append(f.asks, f.open)
		r.metrics.ReadRounds.Add(1)
	}
	f.open.deadline = min(f.open.deadline, o.deadline)
	f.open.reads = append(f.open.reads, o)
	r.metrics.Reads.Add(1)
}

// sendPackets sends what this batch has for other replicas.
func (r *Replica) sendPackets() {
	f := &r.fwd
	for len(f.fresh) > 0 {
		// One packet for forwards to one leader in one term, up to a bound.
		first, n, bytes := f.fresh[0], 0, 0
		b := appendPacket(nil, packetForward, f.boot)
		b = appendUvarint(b, uint64(first.term))
		f.token++
		for n < len(f.fresh) && f.fresh[n].to == first.to && f.fresh[n].term == first.term && bytes < r.cfg.MaxForwardBytes {
			w := f.fresh[n]
			w.token = f.token
			b = appendForward(b, w.id, len(w.ops))
			for i := range w.ops {
				b = appendCommand(b, w.ops[i].req.Data)
				bytes += len(w.ops[i].req.Data)
			}
			n++
		}
		batch := slices.Clone(f.fresh[:n])
		f.fresh = slices.Delete(f.fresh, 0, n)
		conn, err := r.d.SendPacket(first.to, f.token, b)
		for _, w := range batch {
			if err != nil {
				r.endForward(w, ErrNoLeader)
				continue
			}
			w.conn = conn
			f.sent = append(f.sent, w)
		}
	}
	if a := f.open; a != nil {
		f.open = nil
		f.token++
		a.token = f.token
		b := appendUvarint(appendPacket(nil, packetReadAsk, f.boot), a.id)
		conn, err := r.d.SendPacket(a.to, a.token, b)
		a.conn = conn
		if err != nil {
			r.askAgain(func(x *ask) bool { return x == a })
		}
	}
	r.serve.send(r.d)
}

// endForward ends a forward that surely did nothing.
func (r *Replica) endForward(f *forward, err error) {
	for i := range f.ops {
		r.refuse(&f.ops[i], err)
	}
}

// takeForwards takes out the forwards for which match is true.
func (r *Replica) takeForwards(match func(*forward) bool) []*forward {
	var taken []*forward
	r.fwd.sent = slices.DeleteFunc(r.fwd.sent, func(f *forward) bool {
		if !match(f) {
			return false
		}
		taken = append(taken, f)
		return true
	})
	return taken
}

// askAgain puts the reads of matching asks back into their lanes. Reads have no
// effect, so each may be asked as often as its deadline lets it. Later reads of
// the same connections go along: an answer to those, fixed before the new
// question, would show less than what stands before it in the pipeline.
func (r *Replica) askAgain(match func(*ask) bool) {
	var reads []op
	r.fwd.asks = slices.DeleteFunc(r.fwd.asks, func(a *ask) bool {
		if !match(a) {
			return false
		}
		if r.fwd.open == a {
			r.fwd.open = nil
		}
		reads = append(reads, a.reads...)
		return true
	})
	if len(reads) == 0 {
		return
	}
	for _, a := range r.fwd.asks {
		a.reads = slices.DeleteFunc(a.reads, func(o op) bool {
			later := slices.ContainsFunc(reads, func(x op) bool { return x.conn == o.conn && x.seq < o.seq })
			if later {
				reads = append(reads, o)
			}
			return later
		})
	}
	slices.SortStableFunc(reads, func(a, b op) int { return cmp.Compare(a.seq, b.seq) }) // of a connection: its order
	for i := range reads {
		r.readDone(reads[i].conn, false, 0)
		r.pause(reads[i].conn)
	}
	r.requeue(reads, ErrLostLink)
}

// forgetAsks asks reads again that another leader was asked for: its answer,
// should it come, is for an id that nobody knows any more.
func (r *Replica) forgetAsks() {
	r.askAgain(func(a *ask) bool { return a.to != r.soft.Leader || r.leads() })
}

func (r *Replica) onUnsent(ev Unsent) {
	for _, f := range r.takeForwards(func(f *forward) bool { return f.to == ev.To && f.token == ev.Token }) {
		r.endForward(f, ErrNoLeader)
	}
	r.askAgain(func(a *ask) bool { return a.to == ev.To && a.token == ev.Token })
}

func (r *Replica) onLost(ev Lost) {
	if ev.Gone {
		r.core.Unreachable(ev.Peer)
	}
	for _, f := range r.takeForwards(func(f *forward) bool { return f.to == ev.Peer && f.conn == ev.Conn }) {
		for i := range f.ops {
			r.unknown(&f.ops[i], ErrLostLink)
		}
	}
	r.askAgain(func(a *ask) bool { return a.to == ev.Peer && a.conn == ev.Conn && a.token != 0 })
}

func (r *Replica) expireForwards() {
	for _, f := range r.takeForwards(func(f *forward) bool { return f.deadline <= r.tick }) {
		for i := range f.ops {
			r.unknown(&f.ops[i], ErrTimeout)
		}
	}
	r.fwd.asks = slices.DeleteFunc(r.fwd.asks, func(a *ask) bool {
		if a.deadline > r.tick || a == r.fwd.open {
			return false
		}
		for i := range a.reads {
			o := &a.reads[i]
			r.readDone(o.conn, false, 0)
			r.answer(o.conn, o.req.Slot, NotApplied, ErrTimeout)
		}
		return true
	})
}

func (r *Replica) onPacket(ev Packet) {
	d := packetReader{b: ev.Bytes}
	kind, boot := d.header()
	switch kind {
	case packetForward:
		r.onForward(ev, boot, &d)
	case packetReadAsk:
		r.onReadAsk(ev, boot, &d)
	case packetReplies:
		if boot == r.fwd.boot {
			r.onReplies(ev.From, &d)
		}
	case packetReadTell:
		if boot == r.fwd.boot {
			r.onReadTell(ev.From, &d)
		}
	case packetReport:
		r.onReport(ev.From, &d)
	}
	if d.err != nil {
		r.metrics.Malformed.Add(1)
		r.log.Warn("a packet could not be read", "from", ev.From.String(), "error", d.err)
	}
}

// onReplies takes the leader's answers to forwards.
func (r *Replica) onReplies(from raft.NodeID, d *packetReader) {
	for d.more() {
		id, n := d.uvarint(), d.count(4)
		replies := make([]Reply, 0, n)
		for range n {
			replies = append(replies, d.reply())
		}
		if d.err != nil {
			return
		}
		for _, f := range r.takeForwards(func(f *forward) bool { return f.id == id && f.to == from && len(f.ops) == n }) {
			for i, p := range replies {
				r.answerForwarded(&f.ops[i], p)
			}
		}
	}
}

func (r *Replica) answerForwarded(o *op, p Reply) {
	switch p.Outcome {
	case Applied:
		p.Slot = o.req.Slot
		r.reply(o.conn, p)
		r.settled(o, p.Index)
	case NotApplied:
		var other *raft.NotLeaderError
		if errors.As(p.Err, &other) {
			p.Err = &raft.NotLeaderError{Leader: r.soft.Leader}
		}
		r.refuse(o, p.Err)
	default:
		r.unknown(o, p.Err)
	}
}

// onReadTell takes a read index: the reads are evaluated here, once that is applied.
func (r *Replica) onReadTell(from raft.NodeID, d *packetReader) {
	for d.more() {
		id, reason, index := d.uvarint(), d.byte(), raft.Index(d.uvarint())
		if d.err != nil {
			return
		}
		i := slices.IndexFunc(r.fwd.asks, func(a *ask) bool { return a.id == id && a.to == from })
		if i < 0 {
			continue
		}
		a := r.fwd.asks[i]
		if reason != 0 {
			r.askAgain(func(x *ask) bool { return x == a })
			continue
		}
		r.fwd.asks = slices.Delete(r.fwd.asks, i, i+1)
		group := r.nextRead
		r.nextRead++
		for k := range a.reads {
			o := &a.reads[k]
			l := &o.conn.lane
			if l.overtaken(o) {
				// A packet was late: a later read has been answered.
				r.readDone(o.conn, false, 0)
				r.answer(o.conn, o.req.Slot, NotApplied, ErrLostLink)
				continue
			}
			l.readSeq = max(l.readSeq, o.seq)
			r.job.reads = append(r.job.reads, read{
				conn: o.conn, slot: o.req.Slot, data: o.req.Data,
				index: max(index, l.shown), group: group, deadline: o.deadline,
			})
		}
		r.job.release = append(r.job.release, group)
	}
}
