package statemachine

import (
	"math"
	"strconv"

	"github.com/zeebo/xxh3"
)

// Redis's words, which clients know.
const (
	errSyntax   = "ERR syntax error"
	errInteger  = "ERR value is not an integer or out of range"
	errOverflow = "ERR increment or decrement would overflow"
	errExpire   = "ERR invalid expire time in 'set' command"
)

// write runs a command that writes keys or settings.
func (m *Machine) write(c *Command, dst []byte) []byte {
	if need := m.since(c.Op); need > m.st.level {
		return appendErrorf(dst, "ERR '%v' needs level %d, the cluster is at level %d; upgrade all nodes", c.Op, need, m.st.level)
	}
	switch c.Op {
	case OpSet:
		return m.set(c, dst)
	case OpAppend:
		return m.append(c, dst)
	case OpDel:
		n := int64(0)
		for _, key := range c.Args {
			if it := m.st.current(key); it != nil {
				m.st.remove(it, "del", ofAny)
				n++
			}
		}
		return appendInt(dst, n)
	case OpMSet, OpMSetNX:
		return m.mset(c, dst)
	case OpIncrBy:
		return m.incr(c, dst)
	case OpLimit:
		return m.limit(c, dst)
	case OpPublish:
		m.st.published(c.Args[0], c.Args[1])
		return appendOK(dst)
	case OpGetDel:
		return m.getDel(c, dst)
	case OpGetEx:
		return m.getEx(c, dst)
	case OpSetRange:
		return m.setRange(c, dst)
	case OpIncrByFloat:
		return m.incrFloat(c, dst)
	case OpSetBit:
		return m.setBit(c, dst)
	case OpBitOp:
		return m.bitOp(c, dst)
	case OpBitField:
		return m.bitField(c, dst)
	case OpRename:
		return m.rename(c, dst)
	case OpCopy:
		return m.copyKey(c, dst)
	case OpExpire:
		return m.expire(c, dst)
	case OpPersist:
		return m.persist(c, dst)
	case OpFlush:
		m.st.flush()
		return appendOK(dst)
	case OpDelIfEq:
		return m.delIf(c, dst, func(it *item) bool { return string(it.value()) == string(c.Args[1]) })
	case OpDelV:
		return m.delIf(c, dst, func(it *item) bool { return it.version == c.Seq })
	case OpSetV:
		return m.setVersion(c, dst)
	case OpBlock:
		return m.block(c, dst)
	}
	// inspect lets nothing else through; an error on every node is still better than a panic.
	return appendErrorf(dst, "ERR '%v' is not a write", c.Op)
}

// tooLarge appends the error of a key or value above its cap. Nothing has changed then.
func (m *Machine) tooLarge(key []byte, valueBytes int, dst []byte) ([]byte, bool) {
	l := &m.st.limits
	if int64(len(key)) > l.KeyBytes {
		return appendErrorf(dst, "ERR key exceeds maximum allowed size (key-bytes %d)", l.KeyBytes), true
	}
	if int64(valueBytes) > l.ValueBytes {
		return appendErrorf(dst, "ERR string exceeds maximum allowed size (value-bytes %d)", l.ValueBytes), true
	}
	return dst, false
}

// own copies a value out of the entry, which the log holds on to and all that came with it.
func own(value []byte) []byte {
	v := make([]byte, len(value))
	copy(v, value)
	return v
}

// newDeadline is the deadline that a command asks for, in milliseconds; 0 is
// none. The texts name 'set'; servers put the name of the command there that a client sent.
func (s *state) newDeadline(c *Command) (deadline int64, fault string) {
	switch c.Flags & (FlagIn | FlagAt | FlagKeepTTL | FlagPersist) {
	case 0, FlagKeepTTL, FlagPersist:
		return 0, ""
	case FlagAt:
		if c.Num <= 0 {
			return 0, errExpire
		}
		return c.Num, ""
	case FlagIn:
		if c.Num <= 0 || c.Num > math.MaxInt64-s.nextMillis() {
			return 0, errExpire
		}
		return s.nextMillis() + c.Num, ""
	}
	return 0, errSyntax
}

// nextMillis is log time rounded up: a key lives at least as long as was asked for.
func (s *state) nextMillis() int64 {
	now := s.nowMillis()
	if int64(s.now)%millisecond != 0 {
		now++
	}
	return now
}

func (m *Machine) set(c *Command, dst []byte) []byte {
	s, key, value := m.st, c.Args[0], c.Args[1]
	const conditions = FlagNX | FlagXX | FlagEq
	switch c.Flags & conditions {
	case 0, FlagNX, FlagXX, FlagEq:
	default:
		return appendError(dst, errSyntax)
	}
	if (c.Flags&FlagEq != 0) != (len(c.Args) == 3) {
		return appendError(dst, errSyntax)
	}
	deadline, fault := s.newDeadline(c)
	if fault != "" {
		return appendError(dst, fault)
	}
	if dst, bad := m.tooLarge(key, len(value), dst); bad {
		return dst
	}
	it := s.current(key)
	get := c.Flags&FlagGet != 0
	if get {
		dst = appendValue(dst, it, it != nil)
	}
	if c.Flags&FlagNX != 0 && it != nil || c.Flags&FlagXX != 0 && it == nil ||
		c.Flags&FlagEq != 0 && (it == nil || string(it.value()) != string(c.Args[2])) {
		if !get {
			dst = appendNil(dst)
		}
		return dst
	}
	s.assign(c, it, deadline)
	if !get {
		dst = appendOK(dst)
	}
	return dst
}

// assign gives a key the value and deadline of a SET. it is what current returned.
func (s *state) assign(c *Command, it *item, deadline int64) {
	if c.Flags&FlagKeepTTL != 0 && it != nil {
		deadline = it.deadline
	}
	switch {
	case deadline == 0 || deadline > s.nowMillis():
		it = s.borrow(it, c.Args[0], c.Args[1], deadline, "set")
		if c.Flags&(FlagIn|FlagAt) != 0 {
			s.noted(it, "expire", ofAny)
		}
	case it != nil:
		s.remove(it, "del", ofAny) // it would never be seen
	}
}

// setVersion is a SET that answers the new version, if the key has the version
// that is given (0: is missing), and nil otherwise.
func (m *Machine) setVersion(c *Command, dst []byte) []byte {
	s := m.st
	deadline, fault := s.newDeadline(c)
	if fault != "" {
		return appendError(dst, fault)
	}
	if dst, bad := m.tooLarge(c.Args[0], len(c.Args[1]), dst); bad {
		return dst
	}
	it, version := s.current(c.Args[0]), uint64(0)
	if it != nil {
		version = it.version
	}
	if version != c.Seq {
		return appendNil(dst)
	}
	s.assign(c, it, deadline)
	return appendInt(dst, int64(s.applied.Index))
}

// delIf removes a key that is there and meets the condition, and answers how many that were.
func (m *Machine) delIf(c *Command, dst []byte, condition func(*item) bool) []byte {
	it := m.st.current(c.Args[0])
	if it == nil || !condition(it) {
		return appendInt(dst, 0)
	}
	m.st.remove(it, "del", ofAny)
	return appendInt(dst, 1)
}

func (m *Machine) mset(c *Command, dst []byte) []byte {
	for i := 0; i < len(c.Args); i += 2 {
		if dst, bad := m.tooLarge(c.Args[i], len(c.Args[i+1]), dst); bad {
			return dst
		}
	}
	if c.Op == OpMSetNX {
		for i := 0; i < len(c.Args); i += 2 {
			if _, live := m.st.find(c.Args[i]); live {
				return appendInt(dst, 0)
			}
		}
	}
	for i := 0; i < len(c.Args); i += 2 {
		m.st.borrow(m.st.current(c.Args[i]), c.Args[i], c.Args[i+1], 0, "set")
	}
	if c.Op == OpMSetNX {
		return appendInt(dst, 1)
	}
	return appendOK(dst)
}

// append costs what is added, and now and then a copy into a larger array. A
// frozen view or kept slice sees its own length of the shared array and never
// what is written behind it.
func (m *Machine) append(c *Command, dst []byte) []byte {
	s, key, added := m.st, c.Args[0], c.Args[1]
	it := s.current(key)
	if it == nil {
		if dst, bad := m.tooLarge(key, len(added), dst); bad {
			return dst
		}
		s.store(it, key, own(added), 0, "append")
		return appendInt(dst, int64(len(added)))
	}
	// The key is there already: a cap that was lowered since doesn't concern it.
	if dst, bad := m.tooLarge(nil, len(it.value())+len(added), dst); bad {
		return dst
	}
	s.view.keepKey(it)
	k := xxh3.HashString128(it.key())
	full := len(it.value()) / chunkBytes // chunks that stay as they are
	s.running.sub(it.head(k))
	s.running.sub(it.chunks(k, full))
	it.extend(added)
	it.version = uint64(s.applied.Index)
	s.running.add(it.head(k))
	s.running.add(it.chunks(k, full))
	s.bytes += int64(len(added))
	s.changed(it, "append", ofStrings)
	return appendInt(dst, int64(len(it.value())))
}

func (m *Machine) incr(c *Command, dst []byte) []byte {
	s, key := m.st, c.Args[0]
	it := s.current(key)
	live := it != nil
	var old, deadline int64
	if live {
		var ok bool
		if old, ok = parseInteger(it.value()); !ok {
			return appendError(dst, errInteger)
		}
		deadline = it.deadline
	}
	if c.Num > 0 && old > math.MaxInt64-c.Num || c.Num < 0 && old < math.MinInt64-c.Num {
		return appendError(dst, errOverflow)
	}
	var room [20]byte
	value := strconv.AppendInt(room[:0], old+c.Num, 10)
	limitKey := key
	if live {
		limitKey = nil
	}
	if dst, bad := m.tooLarge(limitKey, len(value), dst); bad {
		return dst
	}
	s.store(it, key, own(value), deadline, "incrby")
	return appendInt(dst, old+c.Num)
}

// parseInteger reads what Redis takes for an integer (string2ll): the one
// canonical form, without plus, blanks or leading zeros.
func parseInteger(b []byte) (int64, bool) {
	if len(b) == 0 || len(b) > 20 {
		return 0, false
	}
	v, err := strconv.ParseInt(string(b), 10, 64)
	if err != nil {
		return 0, false
	}
	var room [20]byte
	return v, string(strconv.AppendInt(room[:0], v, 10)) == string(b)
}

func (m *Machine) limit(c *Command, dst []byte) []byte {
	known, err := m.st.limits.set(c.Args[0], c.Num)
	switch {
	case !known:
		return appendErrorf(dst, "ERR unknown setting %.64q", c.Args[0])
	case err != nil:
		return appendErrorf(dst, "ERR %v", err)
	}
	m.st.settings = m.st.limits.sum()
	return appendOK(dst)
}
