package statemachine

import (
	"math"
	"sort"
	"strings"

	"github.com/tidwall/btree"
	"github.com/zeebo/xxh3"

	"github.com/raftkv/raftkv/raft"
)

// level is the newest level of commands and meanings that this code knows.
const level = 1

// millisecond in the unit of raft.Time.
const millisecond = 1_000_000

// Removal is bounded, so that one entry never pays for a million deadlines that
// passed at once. What is due is invisible from the first moment all the same.
const (
	removePerEntry = 64   // keys, and as many sessions
	removePerTick  = 1024 // by OpTick, which has nothing else to do
)

// birthBuckets is how many groups of keys births tells apart: see state.watchToken.
// It is a constant of the format; 32 KiB that a snapshot carries at most.
const birthBuckets = 4096

// state is all that entries have made.
//
// Invariants (check in the tests verifies them):
//
//	keys and tree hold the same items, under their keys
//	a value that is lent is a part of the entry of its item's version; of the versions up
//	  to that of the last view that was walked to its end none is
//	timers holds the items with a deadline, each under its present one
//	the list from oldest to newest holds all sessions, ascending by used and by usedAt
//	running is the sum of all elements of keys, lasting that of sessions and users,
//	  birthSum that of births
type state struct {
	applied raft.EntryID
	now     raft.Time
	level   uint32 // in force, see level.go

	limits   Limits
	settings sum // of limits

	keys   table
	tree   *btree.BTreeG[*item] // by key; touched only when a key is made or removed
	timers *btree.BTreeG[*item] // by deadline, then key
	bytes  int64                // of keys and values

	sessions       btree.Map[uint64, *session]
	oldest, newest *session // by last use

	users     []User // by name; replaced, never changed
	userBytes int

	births   [birthBuckets]uint64 // by key hash: index of the last entry that made such a key
	birthSum sum

	running sum   // of keys: FLUSHALL ends all of them at once
	lasting sum   // of sessions and users
	view    *view // nil if not frozen

	observe func(Change) // nil if nobody wants to know
}

func newState(l Limits) *state {
	return &state{
		level:    1,
		limits:   l,
		settings: l.sum(),
		keys:     newTable(0),
		tree:     btree.NewBTreeGOptions(byKey, btree.Options{NoLocks: true}),
		timers:   btree.NewBTreeGOptions(byDeadline, btree.Options{NoLocks: true}),
	}
}

func byKey(a, b *item) bool { return a.key() < b.key() }

func byDeadline(a, b *item) bool { return compareDeadline(a, b) < 0 }

func compareDeadline(a, b *item) int {
	switch {
	case a.deadline < b.deadline:
		return -1
	case a.deadline > b.deadline:
		return 1
	}
	return strings.Compare(a.key(), b.key())
}

// nowMillis is the last whole millisecond of log time: a deadline up to it has passed.
func (s *state) nowMillis() int64 { return int64(s.now) / millisecond }

// due tells whether the deadline has passed: the key is invisible.
func (s *state) due(it *item) bool { return it.deadline != 0 && it.deadline <= s.nowMillis() }

// dueCount is the number of keys that are due and not yet removed.
func (s *state) dueCount() int {
	now := s.nowMillis()
	return sort.Search(s.timers.Len(), func(i int) bool {
		it, _ := s.timers.GetAt(i)
		return it.deadline > now
	})
}

// find returns what is stored under the key, and whether it can be seen.
func (s *state) find(key []byte) (it *item, live bool) {
	it = s.keys.get(key)
	return it, it != nil && !s.due(it)
}

// current is find for a write: what is due goes first, as it does in Redis.
func (s *state) current(key []byte) *item {
	it, live := s.find(key)
	if it != nil && !live {
		s.expire(it)
		return nil
	}
	return it
}

// store gives the key a value, which the state owns from now on. it is what
// current returned. The event, one of strings, is what observers are told.
func (s *state) store(it *item, key, value []byte, deadline int64, event string) *item {
	return s.put(it, key, value, deadline, event, ofStrings)
}

// borrow is store for a value that is a part of the present entry. The log keeps the entry
// anyway until a snapshot covers it, so that until then the value is in memory once, not
// twice. The walk of a frozen view comes by every such item and settles it: a small
// value would else keep all that came with it. Nothing but memory depends on that.
func (s *state) borrow(it *item, key, value []byte, deadline int64, event string) *item {
	it = s.store(it, key, value, deadline, event)
	it.keyLen |= valueLent
	return it
}

// put is store with an event of any class.
func (s *state) put(it *item, key, value []byte, deadline int64, event string, class byte) *item {
	fresh := it == nil
	if fresh {
		it = newItem(key)
		s.keys.add(it)
		s.tree.Set(it)
		s.bytes += int64(len(key))
	} else {
		s.view.keepKey(it)
		s.running.sub(it.sum())
		s.bytes -= int64(it.valueLen)
	}
	it.setValue(value)
	it.version = uint64(s.applied.Index)
	s.schedule(it, deadline)
	k := xxh3.HashString128(it.key())
	s.running.add(it.head(k))
	s.running.add(it.chunks(k, 0))
	s.bytes += int64(len(value))
	if fresh {
		s.born(k)
	}
	if s.observe != nil {
		if fresh {
			s.noted(it, "new", ofNew)
		}
		s.changed(it, event, class)
	}
	return it
}

// schedule sets the deadline of a stored item.
func (s *state) schedule(it *item, deadline int64) {
	if it.deadline == deadline {
		return
	}
	if it.deadline != 0 {
		s.timers.Delete(it)
	}
	it.deadline = deadline
	if deadline != 0 {
		s.timers.Set(it)
	}
}

// expire removes a key whose deadline has passed.
func (s *state) expire(it *item) { s.remove(it, "expired", ofExpiry) }

// remove takes a stored key away. The event is what observers are told.
func (s *state) remove(it *item, event string, class byte) {
	s.view.keepKey(it)
	s.running.sub(it.sum())
	s.bytes -= int64(len(it.key()) + len(it.value()))
	s.keys.remove(it)
	s.tree.Delete(it)
	s.schedule(it, 0)
	// The tree's nodes share arrays and may hold on to the item for a while.
	it.setValue(nil)
	s.gone(it.key(), event, class)
}

// advance moves to the next entry.
func (s *state) advance(e raft.Entry) {
	s.applied = e.EntryID
	s.now = max(s.now, e.Time)
}

// sweep removes at most limit keys that are due, in the order of their
// deadlines, and as many sessions.
func (s *state) sweep(limit int) {
	now := s.nowMillis()
	for range limit {
		it, ok := s.timers.Min()
		if !ok || it.deadline > now {
			break
		}
		s.expire(it)
	}
	s.sweepSessions(limit)
}

// deadline is the earliest time at which something becomes due, or became and still is there.
func (s *state) deadline() (raft.Time, bool) {
	first, found := raft.Time(math.MaxInt64), false
	// A deadline that log time can't reach is none.
	if it, ok := s.timers.Min(); ok && it.deadline <= math.MaxInt64/millisecond {
		first, found = raft.Time(it.deadline*millisecond), true
	}
	if s.oldest != nil {
		first, found = min(first, s.idleAt(s.oldest)), true
	}
	return first, found
}
