package statemachine

import (
	"math"

	"github.com/tidwall/btree"
	"github.com/zeebo/xxh3"
)

// limitLife gives a stored key a deadline; one that has passed removes it.
func (s *state) limitLife(it *item, deadline int64) {
	if deadline <= s.nowMillis() {
		s.remove(it, "del", ofAny)
		return
	}
	s.reschedule(it, deadline)
	s.changed(it, "expire", ofAny)
}

// lift takes the deadline of a stored key away and tells whether it had one.
func (s *state) lift(it *item) bool {
	if it.deadline == 0 {
		return false
	}
	s.reschedule(it, 0)
	s.changed(it, "persist", ofAny)
	return true
}

// reschedule is schedule for a change that is only of the deadline.
func (s *state) reschedule(it *item, deadline int64) {
	s.view.keepKey(it)
	k := xxh3.HashString128(it.key())
	s.running.sub(it.head(k))
	it.settle()
	it.version = uint64(s.applied.Index)
	s.schedule(it, deadline)
	s.running.add(it.head(k))
}

// expire sets a deadline if the key is there and the condition allows it.
func (m *Machine) expire(c *Command, dst []byte) []byte {
	s := m.st
	deadline, passed := c.Num, false
	switch c.Flags & (FlagIn | FlagAt) {
	case FlagAt:
	case FlagIn:
		if c.Num > math.MaxInt64-s.nextMillis() {
			return appendError(dst, errExpire)
		}
		deadline, passed = s.nextMillis()+c.Num, c.Num <= 0
	default:
		return appendError(dst, errSyntax)
	}
	it := s.current(c.Args[0])
	if it == nil {
		return appendInt(dst, 0)
	}
	has := it.deadline != 0
	if c.Flags&FlagNX != 0 && has || c.Flags&FlagXX != 0 && !has ||
		c.Flags&FlagGT != 0 && (!has || deadline <= it.deadline) ||
		c.Flags&FlagLT != 0 && has && deadline >= it.deadline {
		return appendInt(dst, 0)
	}
	if passed {
		deadline = math.MinInt64
	}
	s.limitLife(it, deadline)
	return appendInt(dst, 1)
}

// persist takes the deadline away.
func (m *Machine) persist(c *Command, dst []byte) []byte {
	it := m.st.current(c.Args[0])
	if it != nil && m.st.lift(it) {
		return appendInt(dst, 1)
	}
	return appendInt(dst, 0)
}

// rename moves value and deadline to another key. With FlagNX it answers 1, or 0
// if that key is there, else OK.
func (m *Machine) rename(c *Command, dst []byte) []byte {
	s, from, to := m.st, c.Args[0], c.Args[1]
	it := s.current(from)
	if it == nil {
		return appendError(dst, "ERR no such key")
	}
	nx := c.Flags&FlagNX != 0
	if string(from) == string(to) {
		if nx {
			return appendInt(dst, 0)
		}
		return appendOK(dst)
	}
	if dst, bad := m.tooLarge(to, 0, dst); bad {
		return dst
	}
	there := s.current(to)
	if there != nil && nx {
		return appendInt(dst, 0)
	}
	it.settle() // the other item is another version
	value, deadline := it.value(), it.deadline
	s.remove(it, "rename_from", ofAny)
	s.put(there, to, value, deadline, "rename_to", ofAny)
	if nx {
		return appendInt(dst, 1)
	}
	return appendOK(dst)
}

// copyKey copies value and deadline to another key, which must be missing unless FlagReplace is set.
func (m *Machine) copyKey(c *Command, dst []byte) []byte {
	s, from, to := m.st, c.Args[0], c.Args[1]
	if string(from) == string(to) {
		return appendError(dst, "ERR source and destination objects are the same")
	}
	it, there := s.current(from), s.current(to)
	if it == nil || there != nil && c.Flags&FlagReplace == 0 {
		return appendInt(dst, 0)
	}
	if dst, bad := m.tooLarge(to, 0, dst); bad {
		return dst
	}
	it.settle() // the other item is another version
	// Both have the same bytes, which nobody changes. The room behind them stays
	// that of the first one: APPEND to the second moves it.
	s.put(there, to, it.value(), it.deadline, "copy_to", ofAny)
	return appendInt(dst, 1)
}

// flush removes all keys in no time, however many there are: the maps are left to
// the garbage collector, or to the frozen view, which goes on with them.
func (s *state) flush() {
	if s.tree.Len() == 0 {
		return
	}
	s.view.keepAll(s)
	s.keys = newTable(0)
	s.tree = btree.NewBTreeGOptions(byKey, btree.Options{NoLocks: true})
	s.timers = btree.NewBTreeGOptions(byDeadline, btree.Options{NoLocks: true})
	s.bytes, s.running = 0, sum{}
	if s.observe != nil {
		s.observe(Change{Kind: ChangeFlush, Index: s.applied.Index, Time: s.now})
	}
}
