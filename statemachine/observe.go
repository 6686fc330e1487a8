package statemachine

import (
	"unsafe"

	"github.com/raftkv/raftkv/raft"
)

// ChangeKind says what a Change is about.
type ChangeKind uint8

// The kinds of changes.
const (
	// ChangeKey: one key has another value, deadline or version than before, or is gone.
	ChangeKey ChangeKind = iota + 1
	// ChangeNote is one more event of the change that stands beside it, which
	// keyspace notifications need and nobody else: "new" before the change that
	// makes a key, "expire" behind a SET that sets a deadline.
	ChangeNote
	// ChangeMessage: a message was published. Key is the channel, Value the message.
	ChangeMessage
	// ChangeFlush: all keys are gone at once.
	ChangeFlush
	// ChangeRestore: the state was replaced by a snapshot of entry Index.
	// Everything may have changed, and what happened in between is not told.
	ChangeRestore
)

// Change is what Machine.Observe tells.
type Change struct {
	Kind    ChangeKind
	Deleted bool // the key is gone

	// Event is Redis's name of a keyspace event: set, append, del, expired,
	// incrby, expire, persist, rename_from, rename_to and so on. Class is the
	// letter of notify-keyspace-events that it belongs to: $ of strings, g of any
	// key, x expired, n new.
	Class byte
	Event string

	Index raft.Index // of the entry that made it
	Time  raft.Time  // log time at that entry

	// Key and Value are part of the state: they never change, must not be written
	// to, and may be kept; a kept key may keep its last value in memory.
	// Value is nil when Deleted.
	Key      []byte
	Value    []byte
	Version  uint64 // index of this entry; of a deleted key too
	Deadline int64  // in milliseconds since the Unix epoch; 0 is none
}

// Observe makes the machine call tell for every visible change, in the order of
// the log, from within Apply and Restore. nil ends it. A key that expires is told
// when an entry removes it or makes it anew; it may have been invisible before that.
//
// tell runs on the goroutine that applies. It must not block, since nothing is
// applied meanwhile, must not call the machine, and must not panic.
func (m *Machine) Observe(tell func(Change)) { m.st.observe = tell }

// changed tells of a key that was written.
func (s *state) changed(it *item, event string, class byte) {
	if s.observe != nil {
		s.observe(s.change(ChangeKey, it, event, class))
	}
}

// noted tells of one more event of a change.
func (s *state) noted(it *item, event string, class byte) {
	if s.observe != nil {
		s.observe(s.change(ChangeNote, it, event, class))
	}
}

func (s *state) change(kind ChangeKind, it *item, event string, class byte) Change {
	return Change{
		Kind: kind, Index: s.applied.Index, Time: s.now, Event: event, Class: class,
		Key: bytesOf(it.key()),
		// Nobody may append to it: what lies behind may become another value's.
		Value: it.value(), Version: it.version, Deadline: it.deadline,
	}
}

// gone tells of a key that was removed. Its deadline is 0 by then.
func (s *state) gone(key, event string, class byte) {
	if s.observe != nil {
		s.observe(Change{
			Kind: ChangeKey, Index: s.applied.Index, Time: s.now, Event: event, Class: class,
			Key: bytesOf(key), Deleted: true, Version: uint64(s.applied.Index),
		})
	}
}

// published tells of a message. The entry's bytes are the log's: it gets its own.
func (s *state) published(channel, message []byte) {
	if s.observe != nil {
		s.observe(Change{Kind: ChangeMessage, Index: s.applied.Index, Time: s.now, Key: own(channel), Value: own(message)})
	}
}

// bytesOf is a string's memory, which nobody may write to.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// Classes of events, as notify-keyspace-events calls them.
const (
	ofStrings = '$'
	ofAny     = 'g'
	ofExpiry  = 'x'
	ofNew     = 'n'
)
