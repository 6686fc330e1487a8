package sim

import (
	"errors"
	"slices"
	"time"

	"github.com/raftkv/raftkv/raft"
)

// link joins two hosts. It keeps what transport promises to node.Handler: one
// connection at most, fresh numbers for each, Heard and Connected before what
// comes over it, Unsent and Lost once, and then the next one.
//
//	     end a                                            end b
//	conn as a knows it ──> frozen, under way ──> ... ──> conn as b knows it
//
// Packets come in order, once, or never: then their connection is lost.
// Messages of cores may get lost, repeated and late besides.
type link struct {
	w    *world
	ends [2]*end
	conn *conn // the one that stands, nil if none does
	dial bool  // an attempt is under way
}

// end is one side of a link.
type end struct {
	l     *link
	side  int
	h     *host
	cut   bool  // nothing that leaves here arrives
	conn  *conn // as this side was told
	last  uint64
	other *end
}

// conn is one connection.
type conn struct {
	l      *link
	number [2]uint64 // as each side counts
	told   [2]bool   // Connected
	lost   [2]bool   // Lost was told
	broken bool
	flow   [2]flow // from each side
}

// flow is one direction of a connection.
type flow struct {
	arrive time.Duration // of the newest packet: order is kept
	frozen []packet      // sent into a cut: they go on when it heals, if the connection lasts
	unsent []uint64      // tokens of packets of which no byte was written
	drop   bool          // what is under way is lost
}

type packet struct {
	token uint64 // zero: a message
	do    func()
}

// maxFrozen is what a connection takes while nothing arrives; beyond it messages are dropped.
const maxFrozen = 100

// linkUp makes the links of a new host.
func (w *world) linkUp(h *host) {
	for _, o := range w.hosts[:h.n] {
		l := &link{w: w}
		l.ends[0], l.ends[1] = &end{l: l, side: 0, h: o}, &end{l: l, side: 1, h: h}
		l.ends[0].other, l.ends[1].other = l.ends[1], l.ends[0]
		o.ends = append(o.ends, l.ends[0])
		h.ends = append(h.ends, l.ends[1])
	}
	h.ends = append(h.ends, nil) // itself
}

// to is this host's end of the link with another one, nil for itself.
func (h *host) to(o *host) *end { return h.ends[o.n] }

// cutFrom tells whether nothing comes here from o.
func (h *host) cutFrom(o *host) bool {
	e := o.to(h)
	return e != nil && e.cut
}

// startLinks begins to dial.
func (h *host) startLinks() {
	for _, e := range h.ends {
		if e != nil {
			e.l.redial(h.w.upTo(5 * milli))
		}
	}
}

// redial tries to connect in d.
func (l *link) redial(d time.Duration) {
	if l.dial {
		return
	}
	l.dial = true
	l.w.after(d, func() {
		l.dial = false
		l.connect()
	})
}

// connect makes a connection if both sides can and want to.
func (l *link) connect() {
	w, a, b := l.w, l.ends[0], l.ends[1]
	if l.conn != nil || !a.h.up || !b.h.up {
		return // a start dials again
	}
	retry := w.between(10*milli, 200*milli)
	switch {
	case a.cut || b.cut || a.h.paused || b.h.paused:
		l.redial(retry)
		return
	case a.refuses(b) || b.refuses(a):
		return
	case !a.knows(b) && !b.knows(a):
		l.redial(retry)
		return
	}
	c := &conn{l: l}
	l.conn = c
	for _, e := range [2]*end{a, b} {
		e.last++
		c.number[e.side] = e.last
		e.h.growHeard()
	}
	for _, e := range [2]*end{a, b} {
		heard := e.other.h.heard[e.h.n] // as the other side greets
		d := w.upTo(2 * w.plan.delay)
		c.flow[e.other.side].arrive = w.now + d
		run := e.h.run
		w.after(d, func() {
			if e.h.run != run || !e.h.up || c.broken {
				return
			}
			e.h.input(func() {
				if old := e.conn; old != nil {
					e.tellLost(old, false)
				}
				e.conn, c.told[e.side] = c, true
				w.say("%v has connection %d with %v, which heard %d", e.h.id, c.number[e.side], e.other.h.id, heard)
				e.h.loop.Heard(e.other.h.id, heard)
				e.h.loop.Connected(e.other.h.id, c.number[e.side])
			})
		})
	}
}

// growHeard makes room for hosts that are newer than the process.
func (h *host) growHeard() {
	for len(h.heard) < len(h.w.hosts) {
		h.heard = append(h.heard, 0)
	}
}

func (e *end) knows(o *end) bool {
	_, ok := e.h.members.Find(o.h.id)
	return ok
}

// refuses: a handshake tells a removed node so, and that node ends.
func (e *end) refuses(o *end) bool {
	if !e.h.commits.WasRemoved(o.h.id) {
		return false
	}
	o.h.retire()
	return true
}

// tellLost tells this side, once, that a connection ended.
func (e *end) tellLost(c *conn, gone bool) {
	if c.lost[e.side] || !c.told[e.side] {
		return
	}
	c.lost[e.side] = true
	if e.conn == c {
		e.conn = nil
	}
	e.l.w.say("%v lost connection %d with %v, gone %v, unsent %v", e.h.id, c.number[e.side], e.other.h.id, gone, c.flow[e.side].unsent)
	for _, token := range c.flow[e.side].unsent {
		e.h.loop.Unsent(e.other.h.id, token)
	}
	c.flow[e.side].unsent = nil
	if gone {
		e.l.w.rules.gone(e.h)
	}
	e.h.loop.Lost(e.other.h.id, c.number[e.side], gone)
}

// breakUp ends the connection that stands. What is under way is lost; each
// side hears of it in its own time.
func (l *link) breakUp() {
	c := l.conn
	if c == nil {
		return
	}
	w := l.w
	l.conn, c.broken = nil, true
	for _, e := range l.ends {
		f := &c.flow[e.side]
		f.drop = true
		// A part of what was sent into a cut never left the process.
		kept := w.rand.IntN(len(f.frozen) + 1)
		for i, p := range f.frozen {
			if i >= kept && p.token != 0 {
				f.unsent = append(f.unsent, p.token)
			}
		}
		f.frozen = nil
		e.loseSoon(c, false)
	}
	l.redial(w.between(1*milli, 100*milli))
}

// loseSoon lets a side hear of the end of a connection.
func (e *end) loseSoon(c *conn, gone bool) {
	w, run := e.l.w, e.h.run
	w.after(w.plan.delay+w.upTo(50*milli), func() {
		if e.h.run != run || !e.h.up {
			return
		}
		e.h.input(func() {
			// Dialled again: refused, if the process is still away.
			e.tellLost(c, gone && !e.other.h.up && !e.cut && !e.other.cut)
		})
	})
}

// endLinks ends the connections of a host whose process has ended.
func (h *host) endLinks(how ending) {
	w := h.w
	for _, e := range h.ends {
		if e == nil {
			continue
		}
		e.conn = nil
		c := e.l.conn
		if c == nil {
			continue
		}
		e.l.conn, c.broken = nil, true
		c.flow[e.other.side].drop = true
		if how == powered {
			// Nobody resets the connection: the other side finds out by itself.
			c.flow[e.side].drop = true
			other, run := e.other, e.other.h.run
			w.after(w.between(500*milli, 4*time.Second), func() {
				if other.h.run == run {
					other.loseSoon(c, false)
				}
			})
			continue
		}
		// The system sends what the process had written, and then resets.
		c.flow[e.side].drop = w.chance(2)
		e.other.loseSoon(c, true)
	}
}

var errNoConn = errors.New("no connection")

// Send implements node.Driver.
func (h *host) Send(ms []raft.Message) {
	w := h.w
	for i := range ms {
		m := &ms[i]
		if w.opt.Trace != nil {
			w.say("%v", *m)
		}
		w.rules.sent(h, m)
		w.note(uint64(m.Kind)<<56 ^ uint64(m.Term)<<32 ^ uint64(m.To)<<24 ^ uint64(m.Match+m.Prev.Index) ^ uint64(len(m.Entries))<<16)
		to := w.host(m.To)
		if to == nil {
			continue
		}
		e := h.to(to)
		if e.conn == nil {
			continue
		}
		h.holdTransfer(m)
		if !w.calm && w.perMille(w.plan.loss) {
			w.count.Faults["lost-message"]++
			continue
		}
		e.sendMessage(m)
		if !w.calm && w.perMille(w.plan.dup) {
			w.count.Faults["repeated-message"]++
			e.sendMessage(m)
		}
	}
}

// delivery is one message on its way. Most of what happens in a run is one, so
// they are used again.
type delivery struct {
	e       *end // that it left
	c       *conn
	run     int // of the receiver
	sums    uint64
	m       [1]raft.Message
	taken   bool
	done    bool   // nothing will ask for it any more
	arrives func() // arrive, made once
	puts    func() // put, made once
}

// delivery takes a message for its way over the connection of e.
func (w *world) delivery(e *end, m *raft.Message) *delivery {
	var d *delivery
	if n := len(w.delivered); n > 0 {
		d, w.delivered = w.delivered[n-1], w.delivered[:n-1]
	} else {
		d = &delivery{}
		d.arrives, d.puts = d.arrive, d.put
	}
	d.e, d.c, d.run, d.sums, d.m[0] = e, e.conn, e.other.h.run, entrySums(m.Entries), *m
	d.taken, d.done = false, false
	return d
}

// arrive hands the message over, if it still can be.
func (d *delivery) arrive() {
	h := d.e.other.h
	if h.run == d.run && h.up && !d.c.flow[d.e.side].drop {
		h.input(d.puts) // a paused process gets to it later
		if d.taken && h.run == d.run && h.up && !h.paused {
			h.w.rules.handled(h, &d.m[0])
		}
	} else {
		d.done = true
	}
	if d.done {
		d.m[0].Entries, d.m[0].Snapshot = nil, nil
		h.w.delivered = append(h.w.delivered, d)
	}
}

// put puts the message into the inbox.
func (d *delivery) put() {
	d.done = true
	o := d.e.other
	if o.conn != d.c {
		return // not told of it yet, or told that it ended
	}
	m := &d.m[0]
	o.h.w.rules.unchanged(m, d.sums)
	o.h.heard[d.e.h.n] = max(o.h.heard[d.e.h.n], m.Seq)
	o.h.w.rules.received(o.h, m)
	o.h.loop.Received(d.m[:]) // the inbox copies it
	d.taken = true
}

func (e *end) sendMessage(m *raft.Message) {
	w, c := e.l.w, e.conn
	d := w.delivery(e, m)
	f := &c.flow[e.side]
	if e.cut {
		if len(f.frozen) < maxFrozen && !c.broken {
			f.frozen = append(f.frozen, packet{do: d.arrives})
		}
		return
	}
	t := w.plan.delay/2 + w.upTo(w.plan.delay)
	if !w.calm && w.perMille(w.plan.late) {
		w.count.Faults["late-message"]++
		t += w.upTo(2 * time.Second)
	}
	// Reordered by their delays, but never before the other side knows the connection.
	w.after(max(t, f.arrive-w.now), d.arrives)
}

// SendPacket implements node.Driver.
func (h *host) SendPacket(to raft.NodeID, token uint64, b []byte) (uint64, error) {
	w := h.w
	o := w.host(to)
	if o == nil || o == h {
		return 0, errNoConn
	}
	e := h.to(o)
	if e.conn == nil {
		return 0, errNoConn
	}
	if w.opt.Trace != nil {
		w.say("%v->%v packet %d of %d bytes, kind %d, over %d", h.id, to, token, len(b), b[1], e.conn.number[e.side])
	}
	e.sendPacket(token, slices.Clone(b))
	return e.conn.number[e.side], nil
}

func (e *end) sendPacket(token uint64, b []byte) {
	w, c := e.l.w, e.conn
	f := &c.flow[e.side]
	if c.broken {
		// The other side is gone and this one has not noticed: written or not, nobody gets it.
		if w.chance(2) || len(f.unsent) > 0 {
			f.unsent = append(f.unsent, token)
			w.count.Seen["unsent-packet"]++
		}
		return
	}
	run := e.other.h.run
	deliver := func() {
		o := e.other
		if o.h.run != run || !o.h.up || f.drop {
			return
		}
		o.h.input(func() {
			if o.conn == c {
				o.h.loop.Packet(e.h.id, c.number[o.side], b)
			}
		})
	}
	if e.cut || len(f.frozen) > 0 {
		f.frozen = append(f.frozen, packet{token, deliver})
		return
	}
	f.arrive = max(f.arrive, w.now+w.plan.delay/2+w.upTo(w.plan.delay))
	w.after(f.arrive-w.now, deliver)
}

// block stops what goes from one host to another; the connection breaks when
// its keepalive does, unless it is healed before. What a fault had planned for later
// cuts nothing any more once all is healed.
func (w *world) block(from, to *host) {
	e := from.to(to)
	if e == nil || e.cut || w.calm {
		return
	}
	e.cut = true
	c := e.l.conn
	if c == nil {
		return
	}
	w.after(w.between(200*milli, 4*time.Second), func() {
		if e.l.conn == c && e.cut {
			e.l.breakUp()
		}
	})
}

// unblock heals one direction. What was sent into the cut comes now, in order.
func (w *world) unblock(from, to *host) {
	e := from.to(to)
	if e == nil || !e.cut {
		return
	}
	e.cut = false
	if c := e.l.conn; c != nil {
		f := &c.flow[e.side]
		for _, p := range f.frozen {
			f.arrive = max(f.arrive, w.now+w.plan.delay/2+w.upTo(w.plan.delay))
			w.after(f.arrive-w.now, p.do)
		}
		f.frozen = nil
		return
	}
	e.l.redial(w.upTo(20 * milli))
}
