package node

import (
	"sync"

	"github.com/raftkv/raftkv/raft"
)

// core is the protocol with a flight recorder around it: each input is kept
// before it takes effect, and each output as a digest, so that the last of them
// can be played again through the same code, offline (TraceFile.Replay).
//
// Entries and messages are immutable, so keeping them copies only what points to
// them. Of proposals the length is kept, which is all that the core looks at.
type core struct {
	*raft.Raft
	rec *recorder // nil: nothing is recorded
}

// recorder keeps two windows. When the newer one is full, the older one is
// thrown away and a new one begins with a copy of the core as it is then.
//
//	start ── events ──────> start ── events ──> now
//	   older window            newer window
//
// The loop writes; whoever dumps reads. A mutex, since a dump is wanted most when
// the loop stands still: then nobody could be asked.
type recorder struct {
	mu         sync.Mutex
	older, now *window
	maxEvents  int
	maxBytes   int
}

// window is some events behind one another, and the core before the first.
type window struct {
	start    *raft.Raft // nobody changes it any more
	events   []happening
	messages []raft.Message      // of evReceive, in order
	metas    []raft.SnapshotMeta // of evCompact and evInstalled
	members  []raft.Member       // of evChangeMember with the flag
	bytes    int                 // about what the window holds in memory
}

// happening is one call of the core. What a, b and c are depends on the kind.
type happening struct {
	kind    happeningKind
	flag    bool
	install bool
	a, b, c uint64
}

// room is what an evOutput was asked with.
func (h happening) room() raft.Room {
	return raft.Room{Write: h.flag, Install: h.install, Apply: int(h.a), Hold: h.c != 0}
}

type happeningKind uint8

// The kinds. The numbers stand in trace files.
const (
	evTick         happeningKind = 1
	evReceive      happeningKind = 2  // a message
	evPropose      happeningKind = 3  // a: length, b: time
	evChangeMember happeningKind = 4  // a: id, flag: there is a member
	evRead         happeningKind = 5  // a: id
	evTransfer     happeningKind = 6  // a: id
	evWrote        happeningKind = 7  // a: seq
	evCompact      happeningKind = 8  // a snapshot, a: keep from
	evInstalled    happeningKind = 9  // a snapshot
	evFetching     happeningKind = 10 // a: term, b: index, c: bytes
	evUnreachable  happeningKind = 11 // a: id
	evFull         happeningKind = 12 // flag
	evFence        happeningKind = 13 // a: fence
	evApplied      happeningKind = 14 // a: index
	evLow          happeningKind = 16 // flag
	evOutput       happeningKind = 15 // flag: room to write, install: room to install, a: bytes to apply, b: digest of what came, c: 1 if entries are held
)

// happeningBytes is what an event costs in memory, about.
const happeningBytes = 32

func newCore(r *raft.Raft, maxEvents, maxBytes int) core {
	c := core{Raft: r}
	if maxEvents > 0 {
		c.rec = &recorder{older: &window{}, now: &window{start: r.Clone()}, maxEvents: maxEvents, maxBytes: maxBytes}
	}
	return c
}

// begin locks the newer window, which has room. The caller unlocks.
func (c *core) begin() *window {
	r := c.rec
	r.mu.Lock()
	if w := r.now; len(w.events) >= r.maxEvents || w.bytes >= r.maxBytes {
		r.roll(c.Raft)
	}
	return r.now
}

// roll begins a new window with the core as it is now.
func (r *recorder) roll(now *raft.Raft) {
	w := r.older
	clear(w.messages) // they hold on to entries
	clear(w.metas)
	*w = window{start: now.Clone(), events: w.events[:0], messages: w.messages[:0], metas: w.metas[:0], members: w.members[:0]}
	r.older, r.now = r.now, w
}

func (w *window) add(h happening) {
	w.events = append(w.events, h)
	w.bytes += happeningBytes
}

// note records an input that is all numbers.
func (c *core) note(h happening) {
	if c.rec == nil {
		return
	}
	c.begin().add(h)
	c.rec.mu.Unlock()
}

func (c *core) noteMeta(h happening, s raft.SnapshotMeta) {
	if c.rec == nil {
		return
	}
	w := c.begin()
	w.metas = append(w.metas, s)
	w.add(h)
	c.rec.mu.Unlock()
}

// Tick and the other inputs below are those of raft.Raft, recorded.
func (c *core) Tick() {
	c.note(happening{kind: evTick})
	c.Raft.Tick()
}

// Receive records and receives.
func (c *core) Receive(m raft.Message) {
	if c.rec != nil {
		w := c.begin()
		w.messages = append(w.messages, m)
		w.add(happening{kind: evReceive})
		w.bytes += messageBytes(&m)
		c.rec.mu.Unlock()
	}
	c.Raft.Receive(m)
}

// Propose records and proposes.
func (c *core) Propose(data []byte, now raft.Time) (raft.EntryID, error) {
	c.note(happening{kind: evPropose, a: uint64(len(data)), b: uint64(now)})
	return c.Raft.Propose(data, now)
}

// ChangeMember records and changes.
func (c *core) ChangeMember(id raft.NodeID, m *raft.Member) (raft.EntryID, error) {
	if c.rec != nil {
		w := c.begin()
		if m != nil {
			w.members = append(w.members, *m)
		}
		w.add(happening{kind: evChangeMember, flag: m != nil, a: uint64(id)})
		c.rec.mu.Unlock()
	}
	return c.Raft.ChangeMember(id, m)
}

// Read records and reads.
func (c *core) Read(id uint64) (raft.Index, error) {
	c.note(happening{kind: evRead, a: id})
	return c.Raft.Read(id)
}

// Transfer records and transfers.
func (c *core) Transfer(to raft.NodeID) error {
	c.note(happening{kind: evTransfer, a: uint64(to)})
	return c.Raft.Transfer(to)
}

// Wrote records and tells.
func (c *core) Wrote(seq uint64) {
	c.note(happening{kind: evWrote, a: seq})
	c.Raft.Wrote(seq)
}

// Compact records and compacts.
func (c *core) Compact(s raft.SnapshotMeta, keepFrom raft.Index) {
	c.noteMeta(happening{kind: evCompact, a: uint64(keepFrom)}, s)
	c.Raft.Compact(s, keepFrom)
}

// Installed records and installs.
func (c *core) Installed(s raft.SnapshotMeta) bool {
	c.noteMeta(happening{kind: evInstalled}, s)
	return c.Raft.Installed(s)
}

// Fetching records and tells.
func (c *core) Fetching(s raft.EntryID, bytes uint64) {
	c.note(happening{kind: evFetching, a: uint64(s.Term), b: uint64(s.Index), c: bytes})
	c.Raft.Fetching(s, bytes)
}

// Unreachable records and tells.
func (c *core) Unreachable(id raft.NodeID) {
	c.note(happening{kind: evUnreachable, a: uint64(id)})
	c.Raft.Unreachable(id)
}

// SetFull records and sets.
func (c *core) SetFull(full bool) {
	c.note(happening{kind: evFull, flag: full})
	c.Raft.SetFull(full)
}

// SetLow records and sets.
func (c *core) SetLow(low bool) {
	c.note(happening{kind: evLow, flag: low})
	c.Raft.SetLow(low)
}

// SetFence records and sets.
func (c *core) SetFence(f raft.Fence) {
	c.note(happening{kind: evFence, a: uint64(f)})
	c.Raft.SetFence(f)
}

// Applied records and tells.
func (c *core) Applied(i raft.Index) {
	c.note(happening{kind: evApplied, a: uint64(i)})
	c.Raft.Applied(i)
}

// Output records the question before it is asked, and then the digest of the answer.
func (c *core) Output(room raft.Room) raft.Output {
	if c.rec == nil {
		return c.Raft.Output(room)
	}
	w := c.begin()
	w.add(happening{kind: evOutput, flag: room.Write, install: room.Install, a: uint64(room.Apply), c: bit(room.Hold)})
	c.rec.mu.Unlock()
	out := c.Raft.Output(room)
	d := digest(&out)
	c.rec.mu.Lock()
	w.events[len(w.events)-1].b = d
	c.rec.mu.Unlock()
	return out
}

// digest is a number that differs when what an Output says differs, but for the
// data of entries. Zero, which stands for an Output that never came, it never is.
func digest(o *raft.Output) uint64 {
	h := mixer(1)
	h.add(uint64(len(o.Messages)))
	for i := range o.Messages {
		h.message(&o.Messages[i])
	}
	if w := o.Write; w != nil {
		h.add(w.Seq, uint64(w.State.Term), uint64(w.State.Vote), uint64(w.State.Commit))
		h.add(uint64(w.Base.Term), uint64(w.Base.Index), bit(w.Reset), uint64(w.Fence))
		h.entries(w.Entries)
	}
	h.entries(o.Committed)
	h.add(uint64(len(o.Reads)))
	for _, d := range o.Reads {
		h.add(d.ID, uint64(d.Index))
	}
	h.add(uint64(len(o.Lost)))
	h.add(o.Lost...)
	if i := o.Install; i != nil {
		h.add(uint64(i.From), uint64(i.Meta.Last.Term), uint64(i.Meta.Last.Index))
	}
	if s := o.Soft; s != nil {
		h.add(uint64(s.Role), uint64(s.Term), uint64(s.Leader))
	}
	return max(1, uint64(h))
}

// mixer hashes numbers in order, fast; nobody attacks it.
type mixer uint64

func (h *mixer) add(vs ...uint64) {
	x := uint64(*h)
	for _, v := range vs {
		x = (x ^ v) * 0x9e3779b97f4a7c15
		x ^= x >> 29
	}
	*h = mixer(x)
}

func (h *mixer) entries(es []raft.Entry) {
	h.add(uint64(len(es)))
	for i := range es {
		e := &es[i]
		h.add(uint64(e.Term), uint64(e.Index), uint64(e.Type), uint64(e.Time), uint64(len(e.Data)))
	}
}

func (h *mixer) message(m *raft.Message) {
	h.add(uint64(m.Kind), uint64(m.From), uint64(m.To), uint64(m.Term), m.Boot, m.Seq)
	h.add(uint64(m.Prev.Term), uint64(m.Prev.Index), uint64(m.Commit), m.Round, uint64(m.Last.Term), uint64(m.Last.Index), m.ToBoot)
	h.add(uint64(m.Match), uint64(m.Have), uint64(m.Hint.Term), uint64(m.Hint.Index), uint64(m.Fetch.Term), uint64(m.Fetch.Index), m.Fetched)
	h.add(bit(m.Reject), bit(m.Full), bit(m.Refetch), bit(m.Granted), bit(m.Transfer), bit(m.Low))
	if s := m.Snapshot; s != nil {
		h.add(uint64(s.Last.Term), uint64(s.Last.Index))
	}
	h.entries(m.Entries)
}

func bit(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}
