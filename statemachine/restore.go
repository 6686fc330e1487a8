package statemachine

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/zeebo/xxh3"

	"github.com/raftkv/raftkv/raft"
)

// Restore replaces the state by what Step had encoded, after it was read to the
// end, counted, and hashed anew: its hash must be meta.Hash, its index, term,
// time and level those of meta. On an error the old state stays; the error wraps
// ErrMalformed if the content is at fault, else it is the reader's. It needs
// the memory of both states. A frozen view ends with ErrViewGone. A machine that had
// stopped goes on.
func (m *Machine) Restore(meta raft.SnapshotMeta, r io.Reader) error {
	s, err := restore(meta, r, m.known)
	if err != nil {
		return fmt.Errorf("restore state at entry %v: %w", meta.Last, err)
	}
	if m.st.view != nil {
		m.gone = ErrViewGone
	}
	s.observe = m.st.observe
	m.st, m.err = s, nil
	m.usersChanged()
	if s.observe != nil {
		s.observe(Change{Kind: ChangeRestore, Index: s.applied.Index, Time: s.now})
	}
	return nil
}

func restore(meta raft.SnapshotMeta, r io.Reader, known uint32) (*state, error) {
	if meta.Level == 0 || meta.Level > known {
		return nil, fmt.Errorf("it is of level %d, this binary knows level %d; start a newer binary", meta.Level, known)
	}
	src := &source{r: bufio.NewReaderSize(r, sourceBytes)}
	h := src.header()
	if src.err != nil {
		return nil, src.err
	}
	switch {
	case h.applied != meta.Last || h.now != meta.Time || h.level != meta.Level:
		return nil, malformed("content is of entry %v at time %d, level %d; the snapshot says time %d, level %d",
			h.applied, h.now, h.level, meta.Time, meta.Level)
	case h.hash != meta.Hash:
		return nil, malformed("content says hash %x, the snapshot %x", h.hash, meta.Hash)
	case h.now < 0:
		return nil, malformed("time %d", h.now)
	}
	if err := h.limits.Validate(); err != nil {
		return nil, malformed("%v", err)
	}
	s := newState(h.limits)
	s.applied, s.now, s.level = h.applied, h.now, h.level
	src.section(sectionSessions)
	src.sessions(s, h.sessions)
	src.section(sectionKeys)
	src.keys(s, h.keys)
	src.section(sectionUsers)
	src.users(s)
	src.section(sectionBirths)
	src.births(s)
	src.section(sectionEnd)
	src.end()
	if src.err != nil {
		return nil, src.err
	}
	if got := s.hash(); got != meta.Hash {
		return nil, malformed("hash of what was read is %x, want %x", got, meta.Hash)
	}
	return s, nil
}

func malformed(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, ErrMalformed)...)
}

const (
	sourceBytes = 64 << 10 // read ahead; what comes is in memory already
	pieceBytes  = 1 << 20  // most that is allocated on the word of a length field
)

// source reads fields until the first fault and remembers that one. A length
// or count never allocates more than pieceBytes before its bytes have come.
type source struct {
	r   *bufio.Reader
	err error
}

func (r *source) fault(err error) {
	if r.err != nil {
		return
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = malformed("cut off")
	}
	r.err = err
}

// fixed reads n bytes, at most 64. They are valid until the next read; after a fault they are zero.
func (r *source) fixed(n int) []byte {
	if r.err == nil {
		b, err := r.r.Peek(n)
		if err == nil {
			r.r.Discard(n)
			return b
		}
		r.fault(err)
	}
	return make([]byte, n)
}

func (r *source) u64() uint64 { return binary.LittleEndian.Uint64(r.fixed(8)) }

func (r *source) uvarint() uint64 {
	if r.err != nil {
		return 0
	}
	b, err := r.r.Peek(binary.MaxVarintLen64)
	v, n := binary.Uvarint(b)
	switch {
	case n > 0:
		r.r.Discard(n)
		return v
	case n == 0 && err != nil:
		r.fault(err)
	default:
		r.fault(malformed("number"))
	}
	return 0
}

// bounded reads a number and refuses one above limit.
func (r *source) bounded(limit uint64, what string) uint64 {
	v := r.uvarint()
	if r.err == nil && v > limit {
		r.fault(malformed("%s %d above %d", what, v, limit))
	}
	if r.err != nil {
		return 0
	}
	return v
}

// bytes reads n bytes into a slice of their own. What is large comes in pieces.
func (r *source) bytes(n int) []byte {
	if r.err != nil {
		return nil
	}
	if n <= sourceBytes {
		b, err := r.r.Peek(n)
		if err != nil {
			r.fault(err)
			return nil
		}
		b = own(b) // which doesn't clear the room first
		r.r.Discard(n)
		return b
	}
	b := make([]byte, min(n, pieceBytes))
	for read := 0; ; {
		got, err := io.ReadFull(r.r, b[read:])
		if err != nil {
			r.fault(err)
			return nil
		}
		if read += got; read == n {
			return b
		}
		// Doubled, but to the very size in the end: the value may stay for long.
		b = append(make([]byte, 0, min(n, 2*read)), b...)[:min(n, 2*read)]
	}
}

func (r *source) section(want byte) {
	if got := r.fixed(1)[0]; r.err == nil && got != want {
		r.fault(malformed("section %d, want %d", got, want))
	}
}

func (r *source) end() {
	if r.err != nil {
		return
	}
	switch _, err := r.r.ReadByte(); {
	case err == nil:
		r.fault(malformed("bytes left over"))
	case !errors.Is(err, io.EOF):
		r.fault(err)
	}
}

func (r *source) header() header {
	if magic := r.fixed(len(contentMagic)); r.err == nil && string(magic) != contentMagic {
		r.fault(malformed("no state: starts with %q", magic))
	}
	if v := r.fixed(1)[0]; r.err == nil && v != contentVersion {
		r.fault(malformed("content of version %d, this binary reads %d", v, contentVersion))
	}
	var h header
	h.level = binary.LittleEndian.Uint32(r.fixed(4))
	h.applied.Index = raft.Index(r.u64())
	h.applied.Term = raft.Term(r.u64())
	h.now = raft.Time(r.u64())
	copy(h.hash[:], r.fixed(len(h.hash)))
	settings := r.u64()
	h.sessions = r.u64()
	h.keys = r.u64()
	table := h.limits.table()
	if r.err == nil && settings != uint64(len(table)) {
		r.fault(malformed("%d settings, want %d", settings, len(table)))
	}
	if r.err == nil && h.sessions > maxSessions {
		r.fault(malformed("%d sessions", h.sessions))
	}
	r.section(sectionSettings)
	for _, s := range table {
		if name := r.bytes(int(r.bounded(64, "length of a name"))); r.err == nil && string(name) != s.Name {
			r.fault(malformed("setting %q, want %q", name, s.Name))
		}
		*s.at = int64(r.uvarint())
	}
	return h
}

// sessions reads the sessions, which ascend by id, and lists them by last use.
func (r *source) sessions(s *state, count uint64) {
	var all []*session
	before := uint64(0)
	for range count {
		e := r.session()
		if r.err != nil {
			return
		}
		if e.id <= before || e.used < e.id || e.used > uint64(s.applied.Index) || e.usedAt < 0 || e.usedAt > s.now {
			r.fault(malformed("session %d after %d, used by entry %d", e.id, before, e.used))
			return
		}
		before = e.id
		s.sessions.Load(e.id, e)
		s.lasting.add(e.sum())
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b *session) int {
		if a.used < b.used {
			return -1
		}
		return 1
	})
	for i, e := range all {
		if i > 0 && (all[i-1].used == e.used || all[i-1].usedAt > e.usedAt) {
			r.fault(malformed("sessions %d and %d: last uses out of order", all[i-1].id, e.id))
			return
		}
		s.link(e)
	}
}

func (r *source) session() *session {
	e := &session{id: r.uvarint(), last: r.uvarint(), used: r.uvarint(), usedAt: raft.Time(r.uvarint())}
	n := r.bounded(maxKept, "number of results")
	if r.err == nil && n > e.last {
		r.fault(malformed("session %d: %d results of %d writes", e.id, n, e.last))
	}
	for range n {
		k := kept{request: xxh3.Uint128{Hi: r.u64(), Lo: r.u64()}}
		k.result = string(r.bytes(int(r.bounded(maxKeptBytes, "length of a result"))))
		if r.err != nil {
			return e
		}
		e.kept = append(e.kept, k)
		e.bytes += int64(len(k.result)) + resultOverhead
	}
	return e
}

// keys reads the keys, which ascend, and then builds the table and the index of
// deadlines, whose sizes are known by then: counts that came true, not a field's word.
func (r *source) keys(s *state, count uint64) {
	var last string
	var timed []*item
	for i := range count {
		it := r.item()
		if r.err != nil {
			return
		}
		key := it.key()
		if i > 0 && last >= key || it.version == 0 || it.version > uint64(s.applied.Index) || it.deadline < 0 {
			r.fault(malformed("key %.64q: order, version %d or deadline %d", key, it.version, it.deadline))
			return
		}
		s.running.add(it.sum())
		s.bytes += int64(len(key) + len(it.value()))
		s.tree.Load(it)
		if last = key; it.deadline != 0 {
			timed = append(timed, it)
		}
	}
	s.keys = newTable(s.tree.Len())
	s.tree.Scan(func(it *item) bool {
		s.keys.add(it)
		return true
	})
	slices.SortFunc(timed, compareDeadline)
	for _, it := range timed {
		s.timers.Load(it)
	}
}

func (r *source) item() *item {
	n := int(r.bounded(maxKeyBytes, "length of a key"))
	var it *item
	if n <= sourceBytes && r.err == nil {
		key, err := r.r.Peek(n)
		if err != nil {
			r.fault(err)
			return nil
		}
		it = newItem(key)
		r.r.Discard(n)
	} else {
		it = newItem(r.bytes(n))
	}
	it.version = r.uvarint()
	it.deadline = int64(r.uvarint())
	it.setValue(r.bytes(int(r.bounded(maxValueBytes, "length of a value"))))
	return it
}
