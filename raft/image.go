package raft

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// AppendImage appends every field of the core, so that ImageReader can make the
// same core again: for the flight recorder. The bytes are read by the very version that
// wrote them and no other. Commands are left out but for their lengths, which
// is all that the core looks at: users' keys and values are not in there.
func (r *Raft) AppendImage(dst []byte) []byte {
	c := coder{b: dst, write: true}
	r.code(&c)
	return c.b
}

// ImageReader reads what AppendImage and AppendTraceMessage wrote, but for the
// data of commands, which are zeros. All that one reader reads shares them: else
// each entry of a few bytes could cost as much memory as it claims to have.
type ImageReader struct{ zeros []byte }

// Core is the inverse of AppendImage. The error wraps ErrMalformed.
func (d *ImageReader) Core(b []byte) (*Raft, error) {
	c := coder{decoder: decoder{b: b}, reader: d}
	r := &Raft{}
	r.code(&c)
	if err := c.end("image of a core"); err != nil {
		return nil, err
	}
	if err := r.cfg.Validate(); err != nil {
		return nil, fmt.Errorf("decode image of a core: %w: %w", err, ErrMalformed)
	}
	return r, nil
}

// AppendTraceMessage appends a message as AppendImage would write it.
func AppendTraceMessage(dst []byte, m *Message) []byte {
	c := coder{b: dst, write: true}
	codeMessage(&c, m)
	return c.b
}

// Message is the inverse of AppendTraceMessage. The error wraps ErrMalformed.
func (d *ImageReader) Message(b []byte) (Message, error) {
	c := coder{decoder: decoder{b: b}, reader: d}
	var m Message
	codeMessage(&c, &m)
	return m, c.end("message")
}

// coder writes fields, or reads them: one list of fields serves both ways, so
// that they can't drift apart.
type coder struct {
	decoder
	b      []byte // what is written
	write  bool
	reader *ImageReader // what is read goes there
}

// Bounds of what is read.
const (
	maxTraceData = 1 << 30 // bytes of one entry: above every limit on commands
	maxTraceText = 1 << 16
)

// number codes any integer.
func number[T ~int | ~int64 | ~uint8 | ~uint32 | ~uint64](c *coder, v *T) {
	if c.write {
		c.b = binary.AppendUvarint(c.b, uint64(*v))
		return
	}
	if c.err != nil {
		return
	}
	u, n := binary.Uvarint(c.decoder.b)
	if n <= 0 || uint64(T(u)) != u {
		c.fault("number cut off or too large")
		return
	}
	c.decoder.b = c.decoder.b[n:]
	*v = T(u)
}

func (c *coder) flags(flags ...*bool) {
	var bits uint64
	for i, f := range flags {
		if *f {
			bits |= 1 << i
		}
	}
	number(c, &bits)
	for i, f := range flags {
		*f = bits&(1<<i) != 0
	}
}

func (c *coder) id(e *EntryID) {
	number(c, &e.Term)
	number(c, &e.Index)
}

// bytes codes a short string of bytes.
func (c *coder) bytes(v []byte) []byte {
	n := len(v)
	number(c, &n)
	if c.write {
		c.b = append(c.b, v...)
		return v
	}
	if n < 0 || n > len(c.decoder.b) {
		c.fault("%d bytes wanted, %d left", n, len(c.decoder.b))
	}
	if n == 0 || c.err != nil {
		return nil
	}
	return append([]byte(nil), c.take(n)...)
}

// list codes a slice. One byte at least stands for each element, so that a
// claimed length costs nothing.
func list[T any](c *coder, v *[]T, each func(*coder, *T)) {
	n := len(*v)
	number(c, &n)
	if c.write {
		for i := range *v {
			each(c, &(*v)[i])
		}
		return
	}
	if n < 0 || n > len(c.decoder.b) {
		c.fault("%d elements in %d bytes", n, len(c.decoder.b))
	}
	for i := 0; i < n && c.err == nil; i++ {
		var t T
		each(c, &t)
		*v = append(*v, t)
	}
}

// optional codes what may be missing.
func optional[T any](c *coder, v **T, each func(*coder, *T)) {
	there := *v != nil
	c.flags(&there)
	if !there {
		return
	}
	if *v == nil {
		*v = new(T)
	}
	each(c, *v)
}

func codeEntry(c *coder, e *Entry) {
	c.id(&e.EntryID)
	number(c, &e.Type)
	number(c, &e.Time)
	if e.Type == EntryConfig {
		e.Data = c.bytes(e.Data)
		return
	}
	n := len(e.Data)
	number(c, &n)
	if c.write || n == 0 {
		return
	}
	if n < 0 || n > maxTraceData {
		c.fault("entry of %d bytes", n)
		return
	}
	e.Data = c.reader.Zeros(n)
}

// Zeros returns n of them, which nobody may change. Their room grows by powers of two: all
// of it together is below four times the largest n.
func (d *ImageReader) Zeros(n int) []byte {
	if len(d.zeros) < n {
		d.zeros = make([]byte, 1<<bits.Len(uint(n-1)))
	}
	return d.zeros[:n:n]
}

func codeMeta(c *coder, s *SnapshotMeta) {
	if c.write {
		c.bytes(AppendSnapshotMeta(nil, *s))
		return
	}
	m, err := DecodeSnapshotMeta(c.bytes(nil))
	if err != nil {
		c.fault("%w", err)
	}
	*s = m
}

func codeConfiguration(c *coder, v *configAt) {
	number(c, &v.index)
	if c.write {
		c.bytes(AppendConfiguration(nil, v.Configuration))
		return
	}
	m, err := DecodeConfiguration(c.bytes(nil))
	if err != nil {
		c.fault("%w", err)
	}
	v.Configuration = m
}

func codeMessage(c *coder, m *Message) {
	number(c, &m.Kind)
	number(c, &m.From)
	number(c, &m.To)
	number(c, &m.Term)
	number(c, &m.Boot)
	number(c, &m.Seq)
	c.id(&m.Prev)
	list(c, &m.Entries, codeEntry)
	number(c, &m.Commit)
	number(c, &m.Round)
	c.id(&m.Last)
	number(c, &m.ToBoot)
	optional(c, &m.Snapshot, codeMeta)
	number(c, &m.Match)
	number(c, &m.Have)
	c.id(&m.Hint)
	c.id(&m.Fetch)
	number(c, &m.Fetched)
	c.flags(&m.Reject, &m.Full, &m.Refetch, &m.Granted, &m.Transfer, &m.Low)
}

func codePromise(c *coder, p *promise) {
	number(c, &p.term)
	number(c, &p.vote)
	number(c, &p.fence)
}

func codeWindow(c *coder, w *window) {
	number(c, &w.id)
	number(c, &w.match)
	number(c, &w.have)
	number(c, &w.next)
	number(c, &w.tried)
	list(c, &w.sent, func(c *coder, s *sent) {
		number(c, &s.last)
		number(c, &s.bytes)
		number(c, &s.tick)
	})
	number(c, &w.sentBytes)
	number(c, &w.limit)
	number(c, &w.timely)
	number(c, &w.sentAppended)
	number(c, &w.told)
	number(c, &w.sentRound)
	number(c, &w.round)
	number(c, &w.boot)
	number(c, &w.silent)
	number(c, &w.stuck)
	c.id(&w.fetch)
	number(c, &w.fetched)
	c.flags(&w.probe, &w.asked, &w.beat, &w.full, &w.refetch, &w.low)
}

// codeLog is the entries of a log. What does not hang together has no place in one.
func codeLog(c *coder, l *raftLog) {
	var entries []Entry
	if c.write {
		entries = l.all()
	}
	list(c, &entries, codeEntry)
	if c.write {
		return
	}
	last := l.base.Index
	for i := range entries {
		if entries[i].Index != last+1 {
			c.fault("entry %d behind %d", entries[i].Index, last)
			return
		}
		last++
	}
	l.load(entries)
}

// code is every field of a core. TestImageIsWhole notices one that is left out.
func (r *Raft) code(c *coder) {
	number(c, &r.cfg.ID)
	number(c, &r.cfg.Boot)
	number(c, &r.cfg.Seed)
	for _, v := range []*int{&r.cfg.ElectionTicks, &r.cfg.HeartbeatTicks, &r.cfg.StartTicks, &r.cfg.MaxAppendBytes, &r.cfg.MaxInflight,
		&r.cfg.MaxInflightBytes, &r.cfg.MaxWriteBytes, &r.cfg.MaxWrites, &r.cfg.MaxUncommittedBytes, &r.cfg.MaxRetainedBytes} {
		number(c, v)
	}
	r.codeRand(c)
	number(c, &r.term)
	number(c, &r.vote)
	number(c, &r.fence)
	c.id(&r.log.base)
	number(c, &r.log.baseTime)
	codeLog(c, &r.log)
	number(c, &r.log.bytes)
	r.w.code(c)
	number(c, &r.role)
	if r.role > Leader {
		c.fault("role %d", uint8(r.role))
		r.role = Follower
	}
	number(c, &r.leader)
	number(c, &r.commit)
	number(c, &r.handed)
	number(c, &r.applied)
	list(c, &r.configs, codeConfiguration)
	codeMeta(c, &r.snapshot)
	optional(c, &r.compact, func(c *coder, k *compaction) {
		codeMeta(c, &k.meta)
		number(c, &k.keepFrom)
	})
	number(c, &r.now)
	for _, v := range []*int{&r.elapsed, &r.timeout, &r.heard, &r.beat, &r.behind, &r.fastBid, &r.forgotten} {
		number(c, v)
	}
	number(c, &r.hung)
	number(c, &r.fenceEnd)
	number(c, &r.stateFrom)
	r.codeRole(c)
	number(c, &r.voteOwed.to)
	c.id(&r.voteOwed.last)
	list(c, &r.answers, codeMessage)
	list(c, &r.lost, number[uint64])
	c.flags(&r.refetch, &r.full, &r.low)
	number(c, &r.softSent.Role)
	number(c, &r.softSent.Term)
	number(c, &r.softSent.Leader)
	r.softSent.Reason = string(c.bytes([]byte(r.softSent.Reason)))
	r.reason = string(c.bytes([]byte(r.reason)))
}

func (r *Raft) codeRand(c *coder) {
	if c.write {
		p, _ := r.rand.MarshalBinary() // never fails
		c.bytes(p)
		return
	}
	if err := r.rand.UnmarshalBinary(c.bytes(nil)); err != nil {
		c.fault("%w", err)
	}
}

func (w *writes) code(c *coder) {
	number(c, &w.seq)
	number(c, &w.done)
	number(c, &w.stable)
	number(c, &w.handed)
	codePromise(c, &w.durable)
	codePromise(c, &w.given)
	list(c, &w.flight, func(c *coder, f *flight) {
		number(c, &f.seq)
		codePromise(c, &f.promise)
		number(c, &f.last)
		number(c, &f.age)
	})
	c.id(&w.base)
	c.flags(&w.reset)
	number(c, &w.slowest[0])
	number(c, &w.slowest[1])
	number(c, &w.period)
	number(c, &w.ended)
}

// codeRole is what a core has as candidate, follower or leader.
func (r *Raft) codeRole(c *coder) {
	e, f, l := &r.election, &r.follow, &r.lead
	list(c, &e.votes, number[NodeID])
	c.id(&e.last)
	number(c, &e.beat)
	c.flags(&e.asked, &e.due, &e.transfer, &f.owed, &f.reject, &l.transferAsked, &l.leaving, &l.low)

	number(c, &f.matched)
	number(c, &f.echo)
	number(c, &f.told)
	number(c, &f.wanted)
	c.id(&f.prev)
	c.id(&f.hint)
	optional(c, &f.offer, codeMeta)
	c.id(&f.fetch)
	number(c, &f.fetched)

	list(c, &l.windows, codeWindow)
	number(c, &l.noop)
	number(c, &l.uncommitted)
	number(c, &l.appended)
	number(c, &l.round)
	number(c, &l.confirmed)
	list(c, &l.reads, func(c *coder, d *read) {
		number(c, &d.id)
		number(c, &d.index)
		number(c, &d.round)
	})
	list(c, &l.ready, func(c *coder, d *ReadReady) {
		number(c, &d.ID)
		number(c, &d.Index)
	})
	number(c, &l.transfer)
	number(c, &l.transferTicks)
}
