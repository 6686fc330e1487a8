package statemachine

import "github.com/zeebo/xxh3"

// getDel answers the value and removes the key.
func (m *Machine) getDel(c *Command, dst []byte) []byte {
	it := m.st.current(c.Args[0])
	dst = appendValue(dst, it, it != nil)
	if it != nil {
		m.st.remove(it, "del", ofAny)
	}
	return dst
}

// getEx answers the value and changes the deadline.
func (m *Machine) getEx(c *Command, dst []byte) []byte {
	s := m.st
	it := s.current(c.Args[0])
	if it == nil {
		return appendNil(dst) // Redis looks at the deadline only if the key is there
	}
	deadline, fault := s.newDeadline(c)
	if fault != "" {
		return appendError(dst, fault)
	}
	dst = appendValue(dst, it, true)
	switch {
	case c.Flags == 0:
	case c.Flags&FlagPersist != 0:
		s.lift(it)
	default:
		s.limitLife(it, deadline)
	}
	return dst
}

// setRange overwrites a part of a value, which grows with zeros as needed.
func (m *Machine) setRange(c *Command, dst []byte) []byte {
	s, key, part := m.st, c.Args[0], c.Args[1]
	if c.Num < 0 {
		return appendError(dst, "ERR offset is out of range")
	}
	it := s.current(key)
	var old []byte
	if it != nil {
		old = it.value()
	}
	if len(part) == 0 {
		return appendInt(dst, int64(len(old)))
	}
	if c.Num > maxValueBytes {
		return appendErrorf(dst, "ERR string exceeds maximum allowed size (value-bytes %d)", s.limits.ValueBytes)
	}
	at := int(c.Num)
	value, dst, ok := m.roomFor(it, key, at+len(part), dst)
	if !ok {
		return dst
	}
	copy(value[at:], part)
	s.overwrite(it, key, value, at, at+len(part), "setrange")
	return appendInt(dst, int64(len(value)))
}

// roomFor is a copy of the value, with zeros behind it up to a size: frozen views,
// observers and copies of the key may hold the old one. it is what current
// returned. Not ok: it would be too large, and the error is appended.
func (m *Machine) roomFor(it *item, key []byte, size int, dst []byte) (value, out []byte, ok bool) {
	var old []byte
	if it != nil {
		key, old = nil, it.value() // a cap on keys that was lowered since doesn't concern it
	}
	if size > len(old) || it == nil {
		if dst, bad := m.tooLarge(key, size, dst); bad {
			return nil, dst, false
		}
	}
	value = make([]byte, max(size, len(old)))
	copy(value, old)
	return value, dst, true
}

// overwrite is store for a value that differs from the old one in from..end
// alone, and in its length if it is longer. The deadline stays. Only what differs is hashed.
func (s *state) overwrite(it *item, key, value []byte, from, end int, event string) {
	if it == nil {
		s.store(nil, key, value, 0, event)
		return
	}
	if len(value) > len(it.value()) {
		from, end = min(from, len(it.value())), len(value)
	}
	s.view.keepKey(it)
	k := xxh3.HashString128(it.key())
	first, last := from/chunkBytes, (end-1)/chunkBytes
	s.running.sub(it.head(k))
	s.running.sub(it.chunksIn(k, first, last))
	s.bytes += int64(len(value) - len(it.value()))
	it.setValue(value)
	it.version = uint64(s.applied.Index)
	s.running.add(it.head(k))
	s.running.add(it.chunksIn(k, first, last))
	s.changed(it, event, ofStrings)
}

// incrFloat adds to a decimal number.
func (m *Machine) incrFloat(c *Command, dst []byte) []byte {
	s, key := m.st, c.Args[0]
	it := s.current(key)
	old, deadline := []byte("0"), int64(0)
	if it != nil {
		old, deadline = it.value(), it.deadline
	}
	value, fault := addFloats(old, c.Args[1])
	if fault != "" {
		return appendError(dst, fault)
	}
	limitKey := key
	if it != nil {
		limitKey = nil
	}
	if dst, bad := m.tooLarge(limitKey, len(value), dst); bad {
		return dst
	}
	dst = appendBytes(dst, value)
	s.store(it, key, value, deadline, "incrbyfloat")
	return dst
}

// maxCells bounds the table of one LCS: four bytes each, and the applier does
// nothing else meanwhile.
const maxCells = 16 << 20

// lcs answers the longest common subsequence of two values as Redis does: the
// string, its length, or [[[from of a, to], [from of b, to], length]..., length]
// with the matches from the end to the start.
func (m *Machine) lcs(c *Command, dst []byte) []byte {
	var a, b []byte
	if it, live := m.st.find(c.Args[0]); live {
		a = it.value()
	}
	if it, live := m.st.find(c.Args[1]); live {
		b = it.value()
	}
	if c.Flags&FlagLen != 0 && c.Flags&FlagIdx != 0 {
		return appendError(dst, "ERR If you want both the length and indexes, please just use IDX.")
	}
	if int64(len(a)+1)*int64(len(b)+1) > maxCells {
		return appendErrorf(dst, "ERR Insufficient memory, transient memory for LCS exceeds %d cells", maxCells)
	}
	width := len(b) + 1
	cells := make([]uint32, (len(a)+1)*width)
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			if a[i-1] == b[j-1] {
				cells[i*width+j] = cells[(i-1)*width+j-1] + 1
			} else {
				cells[i*width+j] = max(cells[(i-1)*width+j], cells[i*width+j-1])
			}
		}
	}
	length := int(cells[len(cells)-1])
	if c.Flags&FlagLen != 0 {
		return appendInt(dst, int64(length))
	}
	common := make([]byte, length)
	type match struct{ aFrom, aTo, bFrom, bTo int }
	var matches []match
	n := length
	open := match{aFrom: -1}
	closeMatch := func() {
		if open.aFrom >= 0 && (c.Num <= 0 || int64(open.aTo-open.aFrom+1) >= c.Num) {
			matches = append(matches, open)
		}
		open = match{aFrom: -1}
	}
	for i, j := len(a), len(b); i > 0 && j > 0; {
		switch {
		case a[i-1] == b[j-1]:
			common[n-1] = a[i-1]
			if open.aFrom == i && open.bFrom == j {
				open.aFrom, open.bFrom = i-1, j-1
			} else {
				closeMatch()
				open = match{i - 1, i - 1, j - 1, j - 1}
			}
			n, i, j = n-1, i-1, j-1
		case cells[(i-1)*width+j] > cells[i*width+j-1]:
			i--
		default:
			j--
		}
	}
	closeMatch()
	if c.Flags&FlagIdx == 0 {
		return appendBytes(dst, common)
	}
	dst = appendArray(dst, 2)
	dst = appendArray(dst, len(matches))
	for _, x := range matches {
		parts := 2
		if c.Flags&FlagWithLen != 0 {
			parts = 3
		}
		dst = appendArray(dst, parts)
		for _, r := range [][2]int{{x.aFrom, x.aTo}, {x.bFrom, x.bTo}} {
			dst = appendArray(dst, 2)
			dst = appendInt(dst, int64(r[0]))
			dst = appendInt(dst, int64(r[1]))
		}
		if parts == 3 {
			dst = appendInt(dst, int64(x.aTo-x.aFrom+1))
		}
	}
	return appendInt(dst, int64(length))
}
