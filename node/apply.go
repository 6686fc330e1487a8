package node

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"runtime/debug"
	"slices"

	"github.com/raftkv/raftkv/raft"
)

// Saver takes the parts of a frozen state. Its methods return at once.
type Saver interface {
	// Begin starts a snapshot. It is called only after the one before ended.
	Begin(meta raft.SnapshotMeta)
	// Room tells whether Put may be called.
	Room() bool
	// Part is an empty part to fill, with room for about max bytes: new, or one that was written.
	Part(max int) []byte
	// Put hands over the next part, which belongs to the Saver.
	Put(part []byte, last bool)
	// Abort gives the snapshot up; it may have failed already. Nothing follows.
	Abort(err error)
}

// Applier owns the Machine. It is synchronous: one goroutine calls Do and Step
// (run.go), or the simulator does.
//
// Entries and reads come through one queue, in order. A read is evaluated at
// the first applied index that suffices, so it sees the earlier writes of its
// connection and never the later ones; its result is held until the loop says
// that leadership was confirmed.
type Applier struct {
	m       Machine
	saver   Saver
	open    func(raft.EntryID) (raft.SnapshotMeta, io.ReadCloser, error)
	metrics *Metrics

	applied raft.EntryID
	config  raft.Configuration // at applied
	at      raft.EntryID       // being applied, for the message of a panic

	parked parked
	sets   map[uint64]*readSet
	free   []*readSet

	dirty   []*Conn // have replies in their outbox
	arena   []byte  // results are appended here and never overwritten
	scratch []byte  // for results that nobody waits for

	frozen bool
}

// arenaBytes is the size of an arena. One kept result keeps an arena.
const arenaBytes = 32 << 10

// errThawed is why a save ends when the state it came from was replaced.
var errThawed = errors.New("the frozen view was given up")

// NewApplier makes the applier of a machine that is empty or was restored from
// the snapshot start. open is Snapshots.Open.
func NewApplier(m Machine, start raft.SnapshotMeta, s Saver, metrics *Metrics,
	open func(raft.EntryID) (raft.SnapshotMeta, io.ReadCloser, error)) *Applier {
	return &Applier{
		m: m, saver: s, open: open, metrics: metrics,
		applied: start.Last, config: start.Config,
		sets: make(map[uint64]*readSet),
	}
}

// Do works a job off and delivers the replies that it leads to.
func (a *Applier) Do(j *Job) {
	if j.thaw {
		a.thaw(errThawed)
	}
	for i := range j.reads {
		if i == j.before && j.restore != nil {
			j.restoreErr = a.restore(j)
		}
		a.park(j, &j.reads[i])
	}
	if j.before == len(j.reads) && j.restore != nil {
		j.restoreErr = a.restore(j)
	}
	a.apply(j)
	for _, id := range j.release {
		a.release(j, id)
	}
	for _, id := range j.drop {
		if set := a.sets[id]; set != nil {
			set.dead = true
			delete(a.sets, id)
		}
	}
	if j.now > 0 {
		a.expire(j)
	}
	if j.freeze {
		j.freezeErr = a.freeze()
	}
	a.deliver()
	j.last, j.hash, j.level = a.applied, a.m.Hash(), a.m.Level()
	j.deadline, j.hasDeadline = a.m.Deadline()
}

func (a *Applier) apply(j *Job) {
	if len(j.entries) == 0 {
		return
	}
	defer a.named()
	next := 0
	for i := range j.entries {
		e := &j.entries[i]
		if e.Index != a.applied.Index+1 { // not by assert: its arguments would be allocated for each entry
			assert(false, "apply %v after %v", e.EntryID, a.applied)
		}
		a.at = e.EntryID
		if next < len(j.tickets) && j.tickets[next].id == e.EntryID {
			t := &j.tickets[next]
			next++
			result := a.result(func(dst []byte) []byte { return a.m.Apply(*e, dst) })
			switch {
			case t.op.served != nil:
				j.results = append(j.results, result)
			case t.op.conn != nil:
				a.reply(t.op.conn, Reply{Slot: t.op.req.Slot, Outcome: Applied, Result: result, Index: e.Index})
			}
		} else {
			a.scratch = a.m.Apply(*e, a.scratch[:0])
		}
		if e.Type == raft.EntryConfig {
			c, err := raft.DecodeConfiguration(e.Data)
			assert(err == nil, "configuration of committed entry %v: %v", e.EntryID, err)
			a.config = c
		}
		a.applied = e.EntryID
		if n := len(j.verified); n < len(j.verify) && j.verify[n] == e.Index {
			j.verified = append(j.verified, report{index: e.Index, level: a.m.Level(), hash: a.m.Hash()})
		}
		a.evaluateDue(j)
	}
	a.at = raft.EntryID{}
	assert(next == len(j.tickets), "%d of %d tickets met their entries", next, len(j.tickets))
	a.metrics.Applied.Add(uint64(len(j.entries)))
	a.metrics.Batches.Add(1)
}

// named gives a panic of the machine the entry that it died of: every node
// that applies it will.
func (a *Applier) named() {
	if p := recover(); p != nil {
		panic(fmt.Sprintf("apply entry %v: %v\n%s", a.at, p, debug.Stack()))
	}
}

// result gives f room for what it appends: in the arena, or, where that does not do, apart
// from it, so that a large result takes none of the others along.
func (a *Applier) result(f func(dst []byte) []byte) []byte {
	if cap(a.arena)-len(a.arena) < 256 {
		a.arena = make([]byte, 0, arenaBytes)
	}
	room := a.arena[len(a.arena):]
	out := f(room)
	if len(out) <= cap(room) {
		a.arena = a.arena[:len(a.arena)+len(out)]
	}
	return slices.Clip(out)
}

func (a *Applier) reply(c *Conn, r Reply) {
	c.out.replies = append(c.out.replies, r)
	if !c.out.queued {
		c.out.queued = true
		a.dirty = append(a.dirty, c)
	}
}

func (a *Applier) restore(j *Job) error {
	meta := *j.restore
	assert(meta.Last.Index > a.applied.Index, "restore %v, but %v is applied", meta.Last, a.applied)
	a.thaw(errThawed)
	if err := restore(a.m, meta, a.open); err != nil {
		return err
	}
	a.applied, a.config = meta.Last, meta.Config
	// A read whose index was jumped over could see later writes of its own connection.
	for len(a.parked) > 0 && a.parked[0].index <= meta.Last.Index {
		if s := a.parked.pop(); !s.set.dead && !s.set.reads[s.k].answered {
			s.set.reads[s.k].err = ErrInstalled
			a.evaluated(j, s.set, s.k)
		}
	}
	return nil
}

// restore loads a snapshot into a machine.
func restore(m Machine, meta raft.SnapshotMeta, open func(raft.EntryID) (raft.SnapshotMeta, io.ReadCloser, error)) error {
	found, content, err := open(meta.Last)
	if err != nil {
		return fmt.Errorf("open snapshot %v: %w", meta.Last, err)
	}
	err = m.Restore(found, content)
	if cerr := content.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("restore snapshot %v: %w", meta.Last, err)
	}
	if got := m.Applied(); got != meta.Last {
		return fmt.Errorf("restore snapshot %v: the machine is at %v", meta.Last, got)
	}
	return nil
}

// freeze fixes a view of the state; Step hands it to the Saver.
func (a *Applier) freeze() error {
	if a.frozen {
		return errors.New("a view is frozen already")
	}
	if err := a.m.Freeze(); err != nil {
		return fmt.Errorf("freeze the state at %v: %w", a.applied, err)
	}
	a.frozen = true
	a.saver.Begin(raft.SnapshotMeta{
		Last:   a.applied,
		Config: a.config,
		Time:   a.m.Now(),
		Level:  a.m.Level(),
		Hash:   a.m.Hash(),
	})
	return nil
}

// Freezing tells whether a frozen view is being encoded, so that Step has work.
func (a *Applier) Freezing() bool { return a.frozen }

// Step encodes about max bytes more of the frozen view, if the Saver has room,
// and tells whether it did.
func (a *Applier) Step(max int) bool {
	if !a.frozen || !a.saver.Room() {
		return false
	}
	part, last, err := a.m.Step(a.saver.Part(max), max)
	if err != nil {
		a.thaw(fmt.Errorf("encode the state: %w", err))
		return true
	}
	if last {
		a.m.Thaw()
		a.frozen = false
	}
	a.saver.Put(part, last)
	return true
}

func (a *Applier) thaw(err error) {
	if !a.frozen {
		return
	}
	a.m.Thaw()
	a.frozen = false
	a.saver.Abort(err)
}

// Stop gives up what is frozen and answers the reads that are still here.
// Nothing may be called after it.
func (a *Applier) Stop() {
	a.thaw(ErrShutdown)
	for _, id := range slices.Sorted(maps.Keys(a.sets)) {
		for k := range a.sets[id].reads {
			if h := &a.sets[id].reads[k]; !h.answered {
				a.reply(h.conn, Reply{Slot: h.slot, Outcome: NotApplied, Err: ErrShutdown})
			}
		}
	}
	a.sets = nil
	a.deliver()
}

func (a *Applier) deliver() {
	for _, c := range a.dirty {
		c.sink.Deliver(c.out.replies)
		clear(c.out.replies)
		c.out.replies, c.out.queued = c.out.replies[:0], false
	}
	clear(a.dirty)
	a.dirty = a.dirty[:0]
}
