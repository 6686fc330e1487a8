package raftlog

import (
	"errors"
	"fmt"
	"slices"

	"github.com/raftkv/raftkv/raft"
)

// Mem is a Store in memory that forgets what was not confirmed when it is told
// to crash: the disk of a simulated node.
//
//	Submit ... Submit   writes under way, in order
//	   Confirm          the oldest ones become durable
//	   Crash(keep)      the first keep of them become durable, the rest never was
//
// Write is Submit and Confirm in one. Mem refuses what Bolt refuses.
type Mem struct {
	disk   state   // what a crash leaves
	past   []state // what disk was before its last writes, oldest first; at most maxPast
	flight []state // what disk will be after each write under way
	failed error
	sticky error // the failure that Fail planned
	writes uint64
}

var _ Store = (*Mem)(nil)

// maxPast bounds how many writes Forget can take back.
const maxPast = 8

// state is the content of the store after some write. States share the entries
// and the runs: they are only appended to, and copied when cut.
type state struct {
	shape   shape
	entries []raft.Entry
}

// NewMem returns an empty store.
func NewMem() *Mem { return &Mem{} }

// Load returns what is durable. Writes under way are not.
func (m *Mem) Load() (raft.Durable, error) {
	s := &m.disk.shape
	return raft.Durable{
		State: s.state, Base: s.base, Entries: slices.Clone(m.disk.entries), Seq: s.seq, Fence: s.fence,
	}, nil
}

// Write makes w durable at once, after all writes under way.
func (m *Mem) Write(w *raft.Write) error {
	if err := m.Submit(w); err != nil {
		return err
	}
	m.Confirm(len(m.flight))
	return nil
}

// Submit starts w. It fails like Bolt.Write, and then for ever.
func (m *Mem) Submit(w *raft.Write) error {
	if m.failed != nil {
		return m.failed
	}
	if m.sticky != nil {
		m.failed = fmt.Errorf("write %d: %w: %w", w.Seq, ErrDisk, m.sticky)
		return m.failed
	}
	last := &m.disk
	if n := len(m.flight); n > 0 {
		last = &m.flight[n-1]
	}
	next, err := last.with(w)
	if err != nil {
		m.failed = err
		return err
	}
	m.flight = append(m.flight, next)
	return nil
}

// State is what is durable of term, vote and commit hint, and the Seq of the
// last durable write.
func (m *Mem) State() (raft.HardState, uint64) { return m.disk.shape.state, m.disk.shape.seq }

// Ends are the two ends of the durable log: the entry that it starts after, and its last one.
func (m *Mem) Ends() (base, last raft.EntryID) { return m.disk.shape.base, m.disk.shape.last }

// Holds tells whether the durable log has this entry. What lies at or below its
// base was committed, so it counts as held.
func (m *Mem) Holds(id raft.EntryID) bool {
	s := &m.disk.shape
	return id.Index <= s.base.Index || id.Index <= s.last.Index && s.id(id.Index) == id
}

// Fence is the durable fence.
func (m *Mem) Fence() raft.Fence { return m.disk.shape.fence }

// Flight returns the Seq of each write under way, oldest first.
func (m *Mem) Flight() []uint64 {
	var seqs []uint64
	for i := range m.flight {
		seqs = append(seqs, m.flight[i].shape.seq)
	}
	return seqs
}

// Confirm makes the oldest n writes under way durable; the caller may tell the core.
func (m *Mem) Confirm(n int) {
	for i := range n {
		m.past = append(m.past, m.disk)
		if len(m.past) > maxPast {
			m.past = slices.Delete(m.past, 0, 1)
		}
		m.disk = m.flight[i]
		m.writes++
	}
	m.flight = slices.Delete(m.flight, 0, n)
}

// Crash ends the process: the first keep of the writes under way have reached
// the disk although nobody heard of it, the others never will. A planned or past
// failure ends with it.
func (m *Mem) Crash(keep int) {
	m.Confirm(min(keep, len(m.flight)))
	m.flight, m.failed, m.sticky = nil, nil, nil
}

// Fail makes the next Submit and all after it fail with ErrDisk and why. What is
// under way then may still be kept by Crash.
func (m *Mem) Fail(why error) {
	if why == nil {
		why = errors.New("planned failure")
	}
	m.sticky = why
}

// Forget takes back the last n confirmed writes, at most 8: the disk lied, or an
// older copy of it came back. Noticed, term and vote stay (the second copy has
// them) and the fence is up, as Open does it for n = 1. It returns how many it took.
func (m *Mem) Forget(n int, noticed bool) int {
	n = min(n, len(m.past))
	if n == 0 {
		return 0
	}
	was := m.disk.shape
	m.disk = m.past[len(m.past)-n]
	m.past = m.past[:len(m.past)-n]
	m.flight = nil
	if noticed {
		s := &m.disk.shape
		s.state.Term, s.state.Vote, s.seq = was.state.Term, was.state.Vote, was.seq
		s.fence = max(was.fence, raft.FenceOneBack)
	}
	return n
}

// Clone returns an independent copy. Entries are shared; they are immutable.
func (m *Mem) Clone() *Mem {
	c := *m
	c.disk = m.disk.clone()
	c.past, c.flight = slices.Clone(m.past), slices.Clone(m.flight)
	for i := range c.past {
		c.past[i] = c.past[i].clone()
	}
	for i := range c.flight {
		c.flight[i] = c.flight[i].clone()
	}
	return &c
}

// Transactions counts the writes that became durable.
func (m *Mem) Transactions() uint64 { return m.writes }

// Size is about what Bolt would need, in bytes.
func (m *Mem) Size() (int64, error) {
	n := int64(4 * pageSize)
	for i := range m.disk.entries {
		n += int64(len(m.disk.entries[i].Data)) + entryHeader + elementSize + 8
	}
	return n, nil
}

// Close ends the process as Crash(0) does.
func (m *Mem) Close() error {
	m.Crash(0)
	return nil
}

func (s *state) clone() state {
	c := *s
	c.shape.runs = slices.Clone(s.shape.runs)
	c.entries = slices.Clip(s.entries) // an append copies
	return c
}

// with returns the state after w. s stays as it is.
func (s *state) with(w *raft.Write) (state, error) {
	if err := s.shape.check(w); err != nil {
		return state{}, err
	}
	next := *s
	if w.Reset || w.Base.Index > s.shape.base.Index {
		next.shape.runs = slices.Clone(s.shape.runs)
	}
	next.shape.apply(w)
	first := next.shape.base.Index + 1
	switch {
	case w.Reset:
		next.entries = nil
	case len(w.Entries) > 0 && w.Entries[0].Index <= s.shape.last.Index:
		n := w.Entries[0].Index - s.shape.base.Index - 1
		next.entries = slices.Clone(s.entries[:n])
	case first > s.shape.base.Index+1:
		next.entries = slices.Clone(next.entries)
	}
	next.entries = append(next.entries, w.Entries...)
	if !w.Reset {
		next.entries = slices.Delete(next.entries, 0, int(first-s.shape.base.Index-1))
	}
	return next, nil
}
