package statemachine

import (
	"errors"
	"fmt"

	"github.com/raftkv/raftkv/raft"
)

// Machine is the replicated state. One goroutine owns it: no method may run
// beside another. It meets node.Machine.
type Machine struct {
	st  *state
	err *StopError

	known uint32          // newest level that this binary knows
	since func(Op) uint32 // level that an operation needs: sinceLevel

	onUsers   func([]User) // told of every change of users
	viewLimit int64
	gone      error                 // why the view that was asked for ended early
	births    *[birthBuckets]uint64 // room for those of the next view

	outer, inner, nested Command  // decoding scratch
	found                []string // of scan
}

// New makes an empty state before the first entry. The limits must be valid,
// and the same on every node: see Limits. It panics if they are not valid.
func New(l Limits) *Machine {
	if err := l.Validate(); err != nil {
		panic(fmt.Sprintf("statemachine: %v", err))
	}
	return &Machine{st: newState(l), known: level, since: sinceLevel, viewLimit: DefaultViewBytes}
}

// Apply applies the next committed entry and appends the result to dst. A
// command that is malformed or refused answers an error result and only moves
// index and time. The entry's data must never change: values may stay where they are in it
// until a view frozen at or above it was encoded.
//
// An entry that this binary can't know the meaning of (unknown type, operation
// or flag), or that is not the next one, is never skipped: Apply panics with a
// *StopError that names the index. Nothing is applied then, neither it nor any
// later entry, and Applied stays before it. A panic, because there is no result
// that the node might take for an answer and tell a client. Nothing else makes
// Apply panic.
func (m *Machine) Apply(e raft.Entry, dst []byte) []byte {
	if m.err != nil {
		panic(m.err)
	}
	m.order(e)
	if e.Type != raft.EntryCommand {
		m.st.advance(e)
		m.st.sweep(removePerEntry)
		return appendOK(dst)
	}
	defer m.forget()
	err := inspect(e.Data, &m.outer, &m.inner, &m.nested)
	if unknown, ok := errors.AsType[*unknownError](err); ok {
		m.stop(e, unknown.Error())
	}
	if m.outer.Op == OpLevel && err == nil && m.outer.Num > int64(m.known) {
		m.stop(e, fmt.Sprintf("it raises the level to %d, this binary knows level %d; start a newer binary", m.outer.Num, m.known))
	}
	m.st.advance(e)
	switch {
	case err != nil:
		m.st.sweep(removePerEntry)
		return appendError(dst, err.Error())
	case m.outer.Op == OpTick:
		m.st.sweep(removePerTick)
		return appendOK(dst)
	}
	m.st.sweep(removePerEntry)
	return m.run(dst)
}

// stop ends the machine before e.
func (m *Machine) stop(e raft.Entry, reason string) {
	m.err = &StopError{e.Index, reason}
	panic(m.err)
}

// order stops at what can't be the next entry.
func (m *Machine) order(e raft.Entry) {
	switch at := m.st.applied; {
	case e.Index != at.Index+1 || e.Term < at.Term:
		m.stop(e, fmt.Sprintf("entry %v does not follow %v", e.EntryID, at))
	case e.Type != raft.EntryNoop && e.Type != raft.EntryConfig && e.Type != raft.EntryCommand:
		m.stop(e, (&unknownError{fmt.Sprintf("entry type %d", e.Type)}).Error())
	}
}

// run runs the decoded command.
func (m *Machine) run(dst []byte) []byte {
	switch c := &m.outer; c.Op {
	case OpSessionOpen, OpSessionKeep, OpSessionClose:
		return m.sessionCommand(c, dst)
	case OpOnce:
		return m.once(c, &m.inner, dst)
	case OpVerify:
		h := m.st.hash()
		return appendBytes(dst, h[:])
	case OpLevel:
		return m.raise(c, dst)
	case OpUserSet:
		return m.setUser(c, dst)
	case OpUserDel:
		return m.delUsers(c, dst)
	default:
		return m.write(c, dst)
	}
}

// keepArgs is the room for arguments that stays from one command to the next.
const keepArgs = 1024

// forget drops what the scratch holds of the last command.
func (m *Machine) forget() {
	for _, c := range []*Command{&m.outer, &m.inner, &m.nested} {
		clear(c.Args)
		c.Args = c.Args[:0]
		if cap(c.Args) > keepArgs {
			c.Args = nil
		}
	}
}

// Err is nil, or the *StopError that Apply panicked with: why the machine takes no more entries.
func (m *Machine) Err() error {
	if m.err == nil {
		return nil
	}
	return m.err
}

// Applied is the last entry applied or restored.
func (m *Machine) Applied() raft.EntryID { return m.st.applied }

// Now is the log time at Applied.
func (m *Machine) Now() raft.Time { return m.st.now }

// Deadline is the earliest time at which the state changes by itself (a key or
// a session expires); false if there is none. It lies in the past while there
// is more to remove than one entry may.
func (m *Machine) Deadline() (raft.Time, bool) { return m.st.deadline() }

// TickCommand appends the command that only lets time pass.
func (m *Machine) TickCommand(dst []byte) []byte {
	return AppendCommand(dst, Command{Op: OpTick})
}

// Hash is the multiset hash of the state at Applied. It costs the same however
// large the state is. Two machines of one level with the same state have the same hash.
func (m *Machine) Hash() [16]byte { return m.st.hash() }

// Recompute is Hash computed anew from all that is stored, in a time that grows
// with the state. Another value than Hash means that memory is damaged.
func (m *Machine) Recompute() [16]byte { return m.st.recompute() }

// Level is the level of commands and meanings in force.
func (m *Machine) Level() uint32 { return m.st.level }

// MaxLevel is the newest level that this binary knows.
func (m *Machine) MaxLevel() uint32 { return m.known }

// Limits are the cluster settings in force.
func (m *Machine) Limits() Limits { return m.st.limits }

// Stats is what there is, for metrics.
type Stats struct {
	Keys      int   // with those that are due and not yet removed
	Bytes     int64 // of keys and values
	Deadlines int   // keys with a deadline
	Sessions  int
	ViewBytes int64 // held back for the frozen view
}

// Stats counts what there is. It costs nothing.
func (m *Machine) Stats() Stats {
	s := m.st
	out := Stats{Keys: s.tree.Len(), Bytes: s.bytes, Deadlines: s.timers.Len(), Sessions: s.sessions.Len()}
	if s.view != nil {
		out.ViewBytes = s.view.bytes
	}
	return out
}

// StopError is what Apply panics with: the state at Index can't be known by
// this binary. Nothing of that entry was applied. The node must stop and say so.
type StopError struct {
	Index  raft.Index
	Reason string
}

func (e *StopError) Error() string { return fmt.Sprintf("apply entry %d: %s", e.Index, e.Reason) }
