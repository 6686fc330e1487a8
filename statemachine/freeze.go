package statemachine

import (
	"errors"
	"fmt"

	"github.com/tidwall/btree"

	"github.com/raftkv/raftkv/raft"
)

// DefaultViewBytes is what a frozen view may hold back, unless LimitView says otherwise.
const DefaultViewBytes = 256 << 20

// Why a view can't be read. In each case Thaw, and Freeze again later.
var (
	ErrViewTooDear = errors.New("writes changed too much of the frozen state; freeze it again later")
	ErrViewGone    = errors.New("the frozen state was replaced by a restore")
	ErrNotFrozen   = errors.New("no view is frozen")
	ErrFrozen      = errors.New("a view is frozen already; thaw it first")
)

// view is the state as it was at one entry, while the state goes on.
//
//	keys in order:   ............ key ............
//	                  encoded      | not yet: a write to one of these first
//	                               | puts what it was into oldKeys
//
// An item whose version is above the frozen index was written since. It is then
// in oldKeys as well, or it is new and no part of the view. So a write costs one
// comparison, freezing costs nothing, and the tree is not copied. Sessions are
// held in the same way, by the index of their last use.
type view struct {
	head  header
	phase phase

	id  uint64 // sessions up to this one are encoded
	key string // keys up to this one are encoded, once begun
	any bool   // a key is encoded: "" is a key too

	oldSessions btree.Map[uint64, *session]
	oldKeys     *btree.BTreeG[record]
	bytes       int64 // about what the old ones hold back
	limit       int64
	err         error

	rest []byte // of the value that is being encoded

	users    []User // as they were
	nextUser int

	births *[birthBuckets]uint64 // as they were

	flushed     *btree.BTreeG[*item] // the keys, since FLUSHALL took them from the state; nobody changes them
	flushedCost int64
}

// phase is what comes next.
type phase int

const (
	inHeader phase = iota
	inSessions
	inKeys
	inUsers
	inBirths
	inEnd
	atEnd
)

// What an overlay element costs beside its bytes, about.
const (
	oldKeyOverhead     = 96
	oldSessionOverhead = 160
)

// skipCost is what passing over a key that is no part of the view counts for
// in a step, in bytes: a step is bounded whatever was written meanwhile.
const skipCost = 16

// LimitView bounds the bytes that a frozen view may hold back for writes. It
// concerns this node only. It holds from the next Freeze on.
func (m *Machine) LimitView(bytes int64) { m.viewLimit = bytes }

// Freeze fixes a view of the state at Applied, in no time. The view's meta data
// are what Applied, Now, Level and Hash say at this moment. There is one view at a
// time: ErrFrozen. A machine that has stopped has none: its Err.
func (m *Machine) Freeze() error {
	switch {
	case m.err != nil:
		return m.err
	case m.st.view != nil || m.gone != nil:
		return ErrFrozen
	}
	s := m.st
	s.view = &view{
		head: header{
			level: s.level, applied: s.applied, now: s.now, hash: s.hash(), limits: s.limits,
			sessions: uint64(s.sessions.Len()), keys: uint64(s.tree.Len()),
		},
		oldKeys: btree.NewBTreeGOptions(func(a, b record) bool { return a.key < b.key }, btree.Options{NoLocks: true}),
		limit:   m.viewLimit,
		users:   s.users,
		births:  m.births,
	}
	if m.births = nil; s.view.births == nil {
		s.view.births = new([birthBuckets]uint64)
	}
	*s.view.births = s.births
	return nil
}

// Step appends the next part of the view's encoding to dst: at most max bytes
// and one record's header and key more. done tells that it was the last part.
// After ErrViewTooDear or ErrViewGone the view holds nothing back any more.
func (m *Machine) Step(dst []byte, max int) (out []byte, done bool, err error) {
	if m.gone != nil {
		return dst, false, m.gone
	}
	v := m.st.view
	switch {
	case v == nil:
		return dst, false, ErrNotFrozen
	case v.err != nil:
		return dst, false, v.err
	}
	dst, done = v.step(m.st, dst, max)
	return dst, done, nil
}

// Thaw ends the view, finished or not. Without one it does nothing.
func (m *Machine) Thaw() {
	if v := m.st.view; v != nil {
		m.births = v.births
	}
	m.st.view, m.gone = nil, nil
}

// keepKey puts a key aside that is about to change, if the view still needs it.
func (v *view) keepKey(it *item) {
	if v == nil || v.err != nil || v.phase > inKeys || it.version > uint64(v.head.applied.Index) {
		return
	}
	if v.any && it.key() <= v.key {
		return
	}
	r := it.record()
	v.oldKeys.Set(r)
	v.hold(r.cost())
}

// keepSession is keepKey for a session.
func (v *view) keepSession(e *session) {
	if v == nil || v.err != nil || v.phase > inSessions || e.used > uint64(v.head.applied.Index) || e.id <= v.id {
		return
	}
	v.oldSessions.Set(e.id, e.clone())
	v.hold(e.cost())
}

// keepAll is keepKey for all keys at once: the view goes on with the tree itself.
func (v *view) keepAll(s *state) {
	if v == nil || v.err != nil || v.phase > inKeys || v.flushed != nil {
		return
	}
	v.flushed, v.flushedCost = s.tree, s.bytes+int64(s.tree.Len())*oldKeyOverhead
	v.hold(v.flushedCost)
}

func (r *record) cost() int64 { return int64(len(r.key)+len(r.value)) + oldKeyOverhead }

func (s *session) cost() int64 { return s.bytes + oldSessionOverhead }

// hold counts what is put aside and gives the view up when it is too much: a
// snapshot can be taken later, memory can't.
func (v *view) hold(bytes int64) {
	v.bytes += bytes
	if v.bytes > v.limit {
		*v = view{err: fmt.Errorf("view at entry %v holds back %d bytes, limit %d: %w", v.head.applied, v.bytes, v.limit, ErrViewTooDear)}
	}
}

func (v *view) step(s *state, dst []byte, max int) (out []byte, done bool) {
	limit := len(dst) + max
	if v.phase == inHeader {
		dst = v.head.append(dst)
		v.phase = inSessions
	}
	if v.phase == inSessions {
		dst = v.stepSessions(s, dst, limit)
	}
	if v.phase == inKeys {
		dst = v.stepKeys(s, dst, limit)
	}
	if v.phase == inUsers {
		dst = v.stepUsers(dst, limit)
	}
	if v.phase == inBirths {
		dst = v.appendBirths(dst)
		v.phase = inEnd
	}
	if v.phase == inEnd {
		dst = append(dst, sectionEnd)
		v.phase = atEnd
	}
	return dst, v.phase == atEnd
}

// stepSessions merges the sessions as they are with those put aside, in the order of their ids.
func (v *view) stepSessions(s *state, dst []byte, limit int) []byte {
	frozen := uint64(v.head.applied.Index)
	emit := func(e *session) {
		dst = appendSession(dst, e)
		v.id = e.id
	}
	// old emits what was put aside up to id.
	old := func(id uint64) {
		for len(dst) < limit {
			_, e, ok := v.oldSessions.Min()
			if !ok || e.id > id {
				return
			}
			v.oldSessions.Delete(e.id)
			v.bytes -= e.cost()
			emit(e)
		}
	}
	full := false
	s.sessions.Ascend(v.id+1, func(id uint64, e *session) bool {
		if id > frozen {
			return false // opened since, and so are all behind it
		}
		old(id)
		if full = len(dst) >= limit; full {
			return false
		}
		if e.used <= frozen {
			emit(e)
		}
		return true
	})
	if !full {
		old(frozen)
	}
	if !full && v.oldSessions.Len() == 0 {
		v.phase = inKeys
		dst = append(dst, sectionKeys)
	}
	return dst
}

// stepKeys is stepSessions for keys, with values cut at the limit.
func (v *view) stepKeys(s *state, dst []byte, limit int) []byte {
	frozen := uint64(v.head.applied.Index)
	skipped := 0
	full := func() bool { return len(dst)+skipped*skipCost >= limit }
	value := func() {
		n := min(len(v.rest), max(limit-len(dst), 0))
		dst = append(dst, v.rest[:n]...)
		v.rest = v.rest[n:]
	}
	emit := func(r record) {
		dst = appendItemHead(dst, &r)
		v.key, v.any, v.rest = r.key, true, r.value
		value()
	}
	// old emits what was put aside, up to the key if there is one.
	old := func(to *item) {
		for !full() {
			r, ok := v.oldKeys.Min()
			if !ok || to != nil && r.key > to.key() {
				return
			}
			v.oldKeys.PopMin()
			v.bytes -= r.cost()
			emit(r)
		}
	}
	value()
	if len(v.rest) > 0 {
		return dst
	}
	stopped := false
	tree := s.tree
	if v.flushed != nil {
		tree = v.flushed
	}
	tree.Ascend(newItem(bytesOf(v.key)), func(it *item) bool {
		if v.any && it.key() <= v.key {
			return true
		}
		old(it)
		if stopped = full(); stopped {
			return false
		}
		if it.version <= frozen {
			it.settle()
			emit(it.record())
		} else {
			skipped++
			// Passed over: the next step need not look again. What is put aside
			// up to here is encoded, and nothing new comes in below.
			v.key, v.any = it.key(), true
		}
		return true
	})
	if !stopped {
		old(nil)
	}
	if !stopped && len(v.rest) == 0 && v.oldKeys.Len() == 0 {
		v.phase = inUsers
		v.bytes -= v.flushedCost
		v.flushed, v.flushedCost = nil, 0
	}
	return dst
}

// header is what a snapshot's content starts with.
type header struct {
	level    uint32
	applied  raft.EntryID
	now      raft.Time
	hash     [16]byte
	limits   Limits
	sessions uint64
	keys     uint64
}
