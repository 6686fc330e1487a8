package sim

import (
	"encoding/binary"
	"slices"
	"strconv"

	"github.com/raftkv/raftkv/statemachine"
)

// What the model knows of commands on parts of a value: written bit by bit and
// byte by byte, unlike the state machine.

// part runs a write on a part of a value, or on its deadline.
func (m *model) part(t moment, c *statemachine.Command, old version) (want statemachine.Result, known bool) {
	key := c.Args[0]
	switch c.Op {
	case statemachine.OpGetEx:
		switch {
		case !old.there:
			return resNil(), true
		case c.Flags&statemachine.FlagIn != 0:
			m.put(key, t, old.value, t.next()+c.Num)
		case c.Flags&statemachine.FlagPersist != 0 && old.deadline != 0:
			m.put(key, t, old.value, 0)
		}
		return old.result(), true
	case statemachine.OpSetRange:
		b := []byte(old.value)
		for i := range len(c.Args[1]) {
			for len(b) <= int(c.Num)+i {
				b = append(b, 0)
			}
			b[int(c.Num)+i] = c.Args[1][i]
		}
		m.put(key, t, string(b), old.deadline)
		return resInt(int64(len(b))), true
	case statemachine.OpIncrByFloat:
		// Clients add quarters only, which are exact.
		a, _ := strconv.ParseFloat(old.value, 64)
		b, err := strconv.ParseFloat(string(c.Args[1]), 64)
		if err != nil {
			return want, false
		}
		sum := strconv.FormatFloat(a+b, 'f', -1, 64)
		m.put(key, t, sum, old.deadline)
		return resBytes(sum), true
	case statemachine.OpBitOp:
		return m.bitOp(t, c), true
	}
	return m.bitField(t, c, old), true
}

func (m *model) bitOp(t moment, c *statemachine.Command) statemachine.Result {
	var sources []string
	size := 0
	for _, key := range c.Args[1:] {
		v := m.find(key, t).value
		sources = append(sources, v)
		size = max(size, len(v))
	}
	if size == 0 {
		m.drop(c.Args[0], t)
		return resInt(0)
	}
	out := make([]byte, size)
	for i := range out {
		for n, s := range sources {
			b := byte(0)
			if i < len(s) {
				b = s[i]
			}
			switch {
			case c.Num == statemachine.BitNot:
				out[i] = b ^ 0xff
			case n == 0:
				out[i] = b
			case c.Num == statemachine.BitAnd:
				out[i] &= b
			case c.Num == statemachine.BitOr:
				out[i] |= b
			default:
				out[i] ^= b
			}
		}
	}
	m.put(c.Args[0], t, string(out), 0)
	return resInt(int64(size))
}

// bitField runs fields of at most 32 bits.
func (m *model) bitField(t moment, c *statemachine.Command, old version) statemachine.Result {
	b := []byte(old.value)
	changed := false
	var all []statemachine.Result
	for _, arg := range c.Args[1:] {
		op, signed, bits, overflow := statemachine.FieldOp(arg[0]), arg[1] == 1, int(arg[2]), statemachine.Overflow(arg[3])
		at, value := int(binary.BigEndian.Uint64(arg[4:])), int64(binary.BigEndian.Uint64(arg[12:]))
		low, high := int64(0), int64(1)<<bits-1
		if signed {
			low, high = -1<<(bits-1), int64(1)<<(bits-1)-1
		}
		was := int64(0)
		for i := at; i < at+bits; i++ {
			was *= 2
			if i/8 < len(b) && b[i/8]&(0x80>>(i%8)) != 0 {
				was++
			}
		}
		if was > high {
			was -= 1 << bits
		}
		if op == statemachine.FieldGet {
			all = append(all, resInt(was))
			continue
		}
		for len(b) <= (at+bits-1)/8 { // even if it fails
			b, changed = append(b, 0), true
		}
		now := value
		if op == statemachine.FieldIncr {
			now += was
		}
		if now < low || now > high {
			switch overflow {
			case statemachine.OverflowFail:
				all = append(all, resNil())
				continue
			case statemachine.OverflowSat:
				now = min(max(now, low), high)
			default:
				for now < low {
					now += 1 << bits
				}
				for now > high {
					now -= 1 << bits
				}
			}
		}
		changed = true
		for i := range bits {
			p := at + bits - 1 - i
			b[p/8] &^= 0x80 >> (p % 8)
			if now>>i&1 == 1 {
				b[p/8] |= 0x80 >> (p % 8)
			}
		}
		if op == statemachine.FieldIncr {
			was = now
		}
		all = append(all, resInt(was))
	}
	if changed {
		m.put(c.Args[0], t, string(b), old.deadline)
	}
	return resArray(all...)
}

// firstBit is the place of the first bit that is one, or zero.
func firstBit(it version, one bool) int64 {
	for i := range 8 * len(it.value) {
		if (it.value[i/8]&(0x80>>(i%8)) != 0) == one {
			return int64(i)
		}
	}
	if one {
		return -1
	}
	return int64(8 * len(it.value)) // zeros follow
}

// common is the length of the longest common subsequence.
func common(a, b string) int64 {
	row := make([]int64, len(b)+1)
	for i := range len(a) {
		slant := int64(0)
		for j := range len(b) {
			slant, row[j+1] = row[j+1], max(row[j+1], row[j], b2i(a[i] == b[j])*(slant+1))
		}
	}
	return slices.Max(row)
}

func b2i(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
