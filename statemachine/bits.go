package statemachine

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// Bits are counted from the most significant one of the first byte, as in Redis.

// maxBit is the first offset that no value can reach.
const maxBit = maxValueBytes * 8

// bitAt is a bit of the value; behind its end all are 0.
func bitAt(value []byte, offset int64) int64 {
	if offset < 0 || offset>>3 >= int64(len(value)) {
		return 0
	}
	return int64(value[offset>>3] >> (7 - offset&7) & 1)
}

// setBit sets a bit and answers what it was.
func (m *Machine) setBit(c *Command, dst []byte) []byte {
	if c.Num < 0 || c.Num >= maxBit {
		return appendError(dst, "ERR bit offset is not an integer or out of range")
	}
	it := m.st.current(c.Args[0])
	at := int(c.Num >> 3)
	value, dst, ok := m.roomFor(it, c.Args[0], at+1, dst)
	if !ok {
		return dst
	}
	was, mask := bitAt(value, c.Num), byte(1)<<(7-c.Num&7)
	value[at] &^= mask
	if c.Flags&FlagOne != 0 {
		value[at] |= mask
	}
	m.st.overwrite(it, c.Args[0], value, at, at+1, "setbit")
	return appendInt(dst, was)
}

// bitSpan is the range of bits that a command asks for, half-open.
func bitSpan(c *Command, value []byte, to bool) (from, end int64) {
	start, stop := int64(0), int64(-1)
	if c.Flags&FlagFrom != 0 {
		start = c.Num
	}
	if to {
		stop = int64(c.Seq)
	}
	n := int64(len(value))
	if c.Flags&FlagBits != 0 {
		return clamp(start, stop, 8*n)
	}
	from, end = clamp(start, stop, n)
	return 8 * from, 8 * end
}

func bitCount(c *Command, value []byte) int64 {
	if c.Num < 0 && int64(c.Seq) < 0 && c.Num > int64(c.Seq) {
		return 0 // as GETRANGE, and unlike BITPOS
	}
	from, end := bitSpan(c, value, c.Flags&FlagFrom != 0)
	if from >= end {
		return 0
	}
	part := value[from>>3 : (end+7)>>3]
	n := int64(0)
	for ; len(part) >= 8; part = part[8:] {
		n += int64(bits.OnesCount64(binary.BigEndian.Uint64(part)))
	}
	for _, b := range part {
		n += int64(bits.OnesCount8(b))
	}
	// The bits of the first and the last byte that are outside.
	n -= int64(bits.OnesCount8(value[from>>3] &^ (0xff >> (from & 7))))
	if end&7 != 0 {
		n -= int64(bits.OnesCount8(value[end>>3] & (0xff >> (end & 7))))
	}
	return n
}

// bitPos is the place of the first bit that is as asked for, -1 if there is
// none. A missing key, and a value if no end was given, go on with zeros.
func bitPos(c *Command, it *item) int64 {
	one := c.Flags&FlagOne != 0
	if it == nil {
		if one {
			return -1
		}
		return 0
	}
	value := it.value()
	from, end := bitSpan(c, value, c.Flags&FlagTo != 0)
	if from >= end {
		return -1
	}
	flip := byte(0xff) // look for a one always
	if one {
		flip = 0
	}
	for at := from >> 3; at < (end+7)>>3; at++ {
		b := value[at] ^ flip
		if at == from>>3 {
			b &= 0xff >> (from & 7)
		}
		if b == 0 {
			continue
		}
		if pos := 8*at + int64(bits.LeadingZeros8(b)); pos < end {
			return pos
		}
		break
	}
	if !one && c.Flags&FlagTo == 0 {
		return end
	}
	return -1
}

// The operations of OpBitOp.
const (
	BitAnd = 1 + iota
	BitOr
	BitXor
	BitNot
)

// bitOp stores a combination of values; shorter ones go on with zeros. An empty
// result removes the destination.
func (m *Machine) bitOp(c *Command, dst []byte) []byte {
	s, key := m.st, c.Args[0]
	if c.Num < BitAnd || c.Num > BitNot {
		return appendError(dst, errSyntax)
	}
	if c.Num == BitNot && len(c.Args) != 2 {
		return appendError(dst, "ERR BITOP NOT must be called with a single source key.")
	}
	var sources [][]byte
	size := 0
	for _, k := range c.Args[1:] {
		var v []byte
		if it, live := s.find(k); live {
			v = it.value()
		}
		sources = append(sources, v)
		size = max(size, len(v))
	}
	it := s.current(key)
	if size == 0 {
		if it != nil {
			s.remove(it, "del", ofAny)
		}
		return appendInt(dst, 0)
	}
	if it == nil {
		if dst, bad := m.tooLarge(key, 0, dst); bad {
			return dst
		}
	}
	out := make([]byte, size)
	copy(out, sources[0])
	switch c.Num {
	case BitNot:
		for i := range out {
			out[i] = ^out[i]
		}
	case BitAnd:
		for _, v := range sources[1:] {
			for i := range v {
				out[i] &= v[i]
			}
			clear(out[len(v):])
		}
	case BitOr:
		for _, v := range sources[1:] {
			for i := range v {
				out[i] |= v[i]
			}
		}
	case BitXor:
		for _, v := range sources[1:] {
			for i := range v {
				out[i] ^= v[i]
			}
		}
	}
	s.store(it, key, out, 0, "set")
	return appendInt(dst, int64(size))
}

// FieldOp is what a Field does.
type FieldOp uint8

// The operations on a field.
const (
	FieldGet FieldOp = iota
	FieldSet
	FieldIncr
)

// Overflow is what becomes of a number that its field can't hold.
type Overflow uint8

// The ways to overflow, Redis's.
const (
	OverflowWrap Overflow = iota
	OverflowSat
	OverflowFail
)

// Field is one operation of BITFIELD on an integer inside a value.
type Field struct {
	Op       FieldOp
	Signed   bool
	Bits     uint8 // 1 to 64, at most 63 if unsigned
	Overflow Overflow
	Offset   int64 // in bits
	Value    int64 // to set or add
}

const fieldBytes = 20

// AppendField appends the encoding of f: an argument of OpBitField and OpReadField.
func AppendField(dst []byte, f Field) []byte {
	signed := byte(0)
	if f.Signed {
		signed = 1
	}
	dst = append(dst, byte(f.Op), signed, f.Bits, byte(f.Overflow))
	dst = binary.BigEndian.AppendUint64(dst, uint64(f.Offset))
	return binary.BigEndian.AppendUint64(dst, uint64(f.Value))
}

func decodeField(b []byte) (f Field, ok bool) {
	if len(b) != fieldBytes {
		return f, false
	}
	f = Field{FieldOp(b[0]), b[1] == 1, b[2], Overflow(b[3]), int64(binary.BigEndian.Uint64(b[4:])), int64(binary.BigEndian.Uint64(b[12:]))}
	most := uint8(63)
	if f.Signed {
		most = 64
	}
	ok = f.Op <= FieldIncr && b[1] <= 1 && f.Bits >= 1 && f.Bits <= most && f.Overflow <= OverflowFail &&
		f.Offset >= 0 && f.Offset <= maxBit-int64(f.Bits)
	return f, ok
}

const errField = "ERR malformed field of 'bitfield' command"

// readField answers the fields of a value.
func (m *Machine) readField(c *Command, value, dst []byte) []byte {
	start := len(dst)
	dst = appendArray(dst, len(c.Args)-1)
	for _, b := range c.Args[1:] {
		f, ok := decodeField(b)
		if !ok || f.Op != FieldGet {
			return appendError(dst[:start], errField)
		}
		dst = appendInt(dst, f.get(value))
	}
	return dst
}

// bitField reads and writes fields, one after the other, and answers an array.
func (m *Machine) bitField(c *Command, dst []byte) []byte {
	key, size := c.Args[0], 0
	from, end := int64(math.MaxInt64), int64(0)
	for _, b := range c.Args[1:] {
		f, ok := decodeField(b)
		if !ok {
			return appendError(dst, errField)
		}
		if f.Op != FieldGet {
			from, end = min(from, f.Offset>>3), max(end, (f.Offset+int64(f.Bits)+7)>>3)
			size = int(end)
		}
	}
	it := m.st.current(key)
	if size == 0 {
		if it == nil {
			return m.readField(c, nil, dst)
		}
		return m.readField(c, it.value(), dst)
	}
	value, dst, ok := m.roomFor(it, key, size, dst)
	if !ok {
		return dst
	}
	dst = appendArray(dst, len(c.Args)-1)
	changed := false
	for _, b := range c.Args[1:] {
		f, _ := decodeField(b)
		old := f.get(value)
		if f.Op == FieldGet {
			dst = appendInt(dst, old)
			continue
		}
		answer := old
		var written int64
		var over bool
		if f.Op == FieldSet {
			written, over = f.fit(f.Value, 0)
		} else {
			written, over = f.fit(old, f.Value)
			answer = written
		}
		if over && f.Overflow == OverflowFail {
			dst = appendNil(dst)
			continue
		}
		f.put(value, written)
		changed = true
		dst = appendInt(dst, answer)
	}
	// Redis makes the value longer even if every field then failed.
	if changed || it == nil || len(value) > len(it.value()) {
		m.st.overwrite(it, key, value, int(from), int(end), "setbit")
	}
	return dst
}

// get reads the field; behind the end of the value all bits are 0.
func (f Field) get(value []byte) int64 {
	v := uint64(0)
	for i := range int64(f.Bits) {
		v = v<<1 | uint64(bitAt(value, f.Offset+i))
	}
	if f.Signed && f.Bits < 64 && v>>(f.Bits-1) == 1 {
		v |= math.MaxUint64 << f.Bits
	}
	return int64(v)
}

// put writes the low bits of v.
func (f Field) put(value []byte, v int64) {
	for i := range int64(f.Bits) {
		at := f.Offset + i
		mask := byte(1) << (7 - at&7)
		value[at>>3] &^= mask
		if uint64(v)>>(int64(f.Bits)-1-i)&1 == 1 {
			value[at>>3] |= mask
		}
	}
}

// fit adds and makes the sum fit into the field as Overflow says. over tells that
// it did not fit as it was.
func (f Field) fit(v, add int64) (sum int64, over bool) {
	sum = v + add
	if f.Signed {
		top := int64(math.MaxInt64)
		if f.Bits < 64 {
			top = 1<<(f.Bits-1) - 1
		}
		low := -top - 1
		switch {
		// Both parts may lie outside the field already, so sum alone doesn't tell.
		case v > top || add > 0 && (sum < v || sum > top):
			over = true
			if f.Overflow == OverflowSat {
				return top, true
			}
		case v < low || add < 0 && (sum > v || sum < low):
			over = true
			if f.Overflow == OverflowSat {
				return low, true
			}
		}
		if over && f.Bits < 64 {
			sum = sum << (64 - f.Bits) >> (64 - f.Bits) // wrapped, with the sign
		}
		return sum, over
	}
	// Redis takes the number to set for unsigned: a negative one is far too large.
	top := uint64(1)<<f.Bits - 1
	switch u := uint64(v); {
	case u > top || add > 0 && uint64(add) > top-u:
		over = true
		if f.Overflow == OverflowSat {
			return int64(top), true
		}
	case add < 0 && uint64(-(add+1)) >= u:
		over = true
		if f.Overflow == OverflowSat {
			return 0, true
		}
	}
	if over {
		sum = int64(uint64(sum) & top)
	}
	return sum, over
}
