package statemachine

import (
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
)

// This file is the part of the model that knows strings, bits, keys and blocks.
// It is written to be read, not to be fast: bits are text, numbers are big.

func (g *generator) writeMore(m *Machine) Command {
	timed := func(c Command) Command {
		if g.draw("at", 2) == 0 {
			return c.with(int64(m.Now())/millisecond+int64(g.draw("until", 3000))-500, FlagAt)
		}
		return c.with(int64(g.draw("in", 3000)), FlagIn)
	}
	version := func(c Command) Command {
		if it, live := m.st.find(c.Args[0]); live && g.draw("right version", 4) != 0 {
			c.Seq = it.version
		} else {
			c.Seq = uint64(g.draw("version", 2))
		}
		return c
	}
	switch g.draw("more", 17) {
	case 0:
		return cmd(OpGetDel, g.key())
	case 1:
		switch c := cmd(OpGetEx, g.key()); g.draw("how", 3) {
		case 0:
			return c
		case 1:
			return c.with(0, FlagPersist)
		default:
			return timed(c)
		}
	case 2:
		return cmd(OpSetRange, g.key(), g.value()).with(int64(g.draw("offset", 8) - 1))
	case 3:
		return cmd(OpIncrByFloat, g.key(), []string{"0.1", "-1.5", "3", "1e3", "x", " 1", "0x10", "inf"}[g.draw("float", 8)])
	case 4:
		return cmd(OpMSetNX, g.key(), g.value(), g.key(), g.value())
	case 5:
		return cmd(OpSetBit, g.key()).with(int64(g.draw("bit", 180)), Flags(g.draw("one", 2)))
	case 6:
		c := cmd(OpBitOp, g.key(), g.key()).with(int64(BitAnd + g.draw("bitop", 4)))
		for range g.draw("more sources", 3) {
			c.Args = append(c.Args, []byte(g.key()))
		}
		return c
	case 7, 8:
		var fields []Field
		for range 1 + g.draw("fields", 3) {
			f := Field{Op: FieldOp(g.draw("field", 3)), Signed: g.draw("signed", 2) == 0, Overflow: Overflow(g.draw("overflow", 3)),
				Offset: int64(g.draw("offset", 100)), Bits: uint8(1 + g.draw("bits", 63))}
			f.Value = int64(g.draw("value", 1<<16)) - 1<<15
			if g.draw("huge", 4) == 0 {
				f.Value = math.MinInt64 + f.Value>>1&math.MaxInt64
			}
			fields = append(fields, f)
		}
		return field(OpBitField, g.key(), fields...)
	case 9:
		return cmd(OpRename, g.key(), g.key()).with(0, []Flags{0, FlagNX}[g.draw("nx", 2)])
	case 10:
		return cmd(OpCopy, g.key(), g.key()).with(0, []Flags{0, FlagReplace}[g.draw("replace", 2)])
	case 11, 12:
		c := timed(cmd(OpExpire, g.key()))
		c.Flags |= []Flags{0, FlagNX, FlagXX, FlagGT, FlagLT, FlagXX | FlagGT}[g.draw("condition", 6)]
		return c
	case 13:
		return cmd(OpPersist, g.key())
	case 14:
		if g.draw("flush", 8) == 0 {
			return cmd(OpFlush)
		}
		return cmd(OpDelIfEq, g.key(), g.value())
	case 15:
		return version(cmd(OpSetV, g.key(), g.value()))
	default:
		return version(cmd(OpDelV, g.key()))
	}
}

// block draws a block, mostly with conditions that hold.
func (g *generator) block(m *Machine) Command {
	var conditions []condition
	for range g.draw("conditions", 3) {
		key := g.key()
		token := m.st.watchToken([]byte(key))
		if g.draw("wrong token", 6) == 0 {
			token = int64(g.draw("token", 30) - 15)
		}
		conditions = append(conditions, condition{key, token})
	}
	var inner []Command
	for range g.draw("commands", 4) {
		switch g.draw("kind of command", 3) {
		case 0:
			inner = append(inner, cmd(OpGet, g.key()))
		case 1:
			inner = append(inner, cmd(OpWatch, g.key()))
		default:
			c := g.writeMore(m)
			inner = append(inner, c)
		}
	}
	return block(OpBlock, conditions, inner...)
}

func (m *model) token(key string) int64 {
	if k, ok := m.keys[key]; ok {
		return int64(k.version)
	}
	return -1 - int64(m.made[key])
}

func (m *model) fits(key, value string) bool {
	return int64(len(key)) <= m.limits.KeyBytes && int64(len(value)) <= m.limits.ValueBytes
}

// padded is s with zero bytes up to n.
func padded(s string, n int) string { return s + strings.Repeat("\x00", max(0, n-len(s))) }

func toBits(s string) string {
	var b strings.Builder
	for i := range len(s) {
		fmt.Fprintf(&b, "%08b", s[i])
	}
	return b.String()
}

func fromBits(s string) string {
	out := make([]byte, len(s)/8)
	for i := range out {
		n, _ := strconv.ParseUint(s[8*i:8*i+8], 2, 8)
		out[i] = byte(n)
	}
	return string(out)
}

// until is the deadline that In or At ask for; ok is false for one that is refused.
func (m *model) until(c Command, negative bool) (deadline int64, ok bool) {
	if c.Flags&FlagIn != 0 {
		return (m.now+millisecond-1)/millisecond + c.Num, c.Num > 0 || negative
	}
	return c.Num, c.Num > 0 || negative
}

// live gives a key a deadline.
func (m *model) live(key string, deadline int64, passed bool) {
	if passed || deadline <= m.now/millisecond {
		delete(m.keys, key)
		return
	}
	m.put(key, m.keys[key].value, deadline)
}

func quoted(k modelKey, ok bool) string {
	if !ok {
		return "nil"
	}
	return strconv.Quote(k.value)
}

func (m *model) writeMore(c Command) string {
	arg := func(i int) string { return string(c.Args[i]) }
	k, ok := modelKey{}, false
	if len(c.Args) > 0 && c.Op != OpBlock {
		k, ok = m.keys[arg(0)]
	}
	switch c.Op {
	case OpBlock:
		return m.block(c)
	case OpGetDel:
		delete(m.keys, arg(0))
		return quoted(k, ok)
	case OpGetEx:
		deadline, good := m.until(c, c.Flags&(FlagIn|FlagAt) == 0)
		switch {
		case !ok:
			return "nil"
		case !good:
			return "-ERR"
		case c.Flags == 0:
		case c.Flags&FlagPersist != 0:
			if k.deadline != 0 {
				m.put(arg(0), k.value, 0)
			}
		default:
			m.live(arg(0), deadline, false)
		}
		return quoted(k, ok)
	case OpSetRange:
		if c.Num < 0 {
			return "-ERR"
		}
		if arg(1) == "" {
			return fmt.Sprint(len(k.value))
		}
		at, end := int(c.Num), int(c.Num)+len(arg(1))
		v := padded(k.value, end)
		if !ok && !m.fits(arg(0), v) || len(v) > len(k.value) && !m.fits("", v) {
			return "-ERR"
		}
		m.put(arg(0), v[:at]+arg(1)+v[end:], k.deadline)
		return fmt.Sprint(len(v))
	case OpIncrByFloat:
		if !ok {
			k.value = "0"
		}
		x, okX := new(big.Rat).SetString(k.value)
		y, okY := new(big.Rat).SetString(arg(1))
		if !okX || !okY {
			return "-ERR"
		}
		float := func(r *big.Rat) *big.Float { return new(big.Float).SetPrec(64).SetRat(r) }
		v := strings.TrimRight(float(x).Add(float(x), float(y)).Text('f', 17), "0")
		v = strings.TrimSuffix(v, ".")
		if !ok && !m.fits(arg(0), v) || !m.fits("", v) {
			return "-ERR"
		}
		m.put(arg(0), v, k.deadline)
		return strconv.Quote(v)
	case OpMSetNX:
		for i := 0; i < len(c.Args); i += 2 {
			if !m.fits(arg(i), arg(i+1)) {
				return "-ERR"
			}
		}
		if ok || m.has(arg(2)) {
			return "0"
		}
		m.put(arg(0), arg(1), 0)
		m.put(arg(2), arg(3), 0)
		return "1"
	case OpSetBit:
		v := padded(k.value, int(c.Num)/8+1)
		if !ok && !m.fits(arg(0), v) || len(v) > len(k.value) && !m.fits("", v) {
			return "-ERR"
		}
		b := []byte(toBits(v))
		was := b[c.Num]
		b[c.Num] = '0' + byte(c.Flags&FlagOne)
		m.put(arg(0), fromBits(string(b)), k.deadline)
		return string(was)
	case OpBitOp:
		return m.bitOp(c)
	case OpBitField:
		return m.bitField(c, k, ok)
	case OpRename:
		switch {
		case !ok:
			return "-ERR"
		case arg(0) == arg(1) && c.Flags&FlagNX != 0:
			return "0"
		case arg(0) == arg(1):
			return "OK"
		case !m.fits(arg(1), ""):
			return "-ERR"
		case m.has(arg(1)) && c.Flags&FlagNX != 0:
			return "0"
		}
		delete(m.keys, arg(0))
		m.put(arg(1), k.value, k.deadline)
		if c.Flags&FlagNX != 0 {
			return "1"
		}
		return "OK"
	case OpCopy:
		switch {
		case arg(0) == arg(1):
			return "-ERR"
		case !ok || m.has(arg(1)) && c.Flags&FlagReplace == 0:
			return "0"
		case !m.fits(arg(1), ""):
			return "-ERR"
		}
		m.put(arg(1), k.value, k.deadline)
		return "1"
	case OpExpire:
		deadline, _ := m.until(c, true)
		infinite := int64(math.MaxInt64)
		now := k.deadline
		if now == 0 {
			now = infinite
		}
		if !ok || c.Flags&FlagNX != 0 && now != infinite || c.Flags&FlagXX != 0 && now == infinite ||
			c.Flags&FlagGT != 0 && deadline <= now || c.Flags&FlagLT != 0 && deadline >= now {
			return "0"
		}
		m.live(arg(0), deadline, c.Flags&FlagIn != 0 && c.Num <= 0)
		return "1"
	case OpPersist:
		if k.deadline == 0 {
			return "0"
		}
		m.put(arg(0), k.value, 0)
		return "1"
	case OpFlush:
		clear(m.keys)
		return "OK"
	case OpDelIfEq:
		if !ok || k.value != arg(1) {
			return "0"
		}
		delete(m.keys, arg(0))
		return "1"
	case OpDelV:
		if !ok || k.version != c.Seq {
			return "0"
		}
		delete(m.keys, arg(0))
		return "1"
	case OpSetV:
		if !m.fits(arg(0), arg(1)) {
			return "-ERR"
		}
		if k.version != c.Seq {
			return "nil"
		}
		m.put(arg(0), arg(1), 0)
		return fmt.Sprint(m.index)
	}
	panic(c.Op)
}

func (m *model) bitOp(c Command) string {
	if c.Num == BitNot && len(c.Args) != 2 {
		return "-ERR"
	}
	size := 0
	var sources []string
	for _, a := range c.Args[1:] {
		v := m.keys[string(a)].value
		size = max(size, len(v))
		sources = append(sources, v)
	}
	dest := string(c.Args[0])
	if size == 0 {
		delete(m.keys, dest)
		return "0"
	}
	if !m.has(dest) && !m.fits(dest, "") {
		return "-ERR"
	}
	out := []byte(toBits(padded(sources[0], size)))
	for i := range out {
		if c.Num == BitNot {
			out[i] ^= 1
		}
		for _, v := range sources[1:] {
			b := toBits(padded(v, size))[i]
			switch c.Num {
			case BitAnd:
				out[i] &= b
			case BitOr:
				out[i] |= b
			case BitXor:
				out[i] = '0' + (out[i]^b)&1
			}
		}
	}
	m.put(dest, fromBits(string(out)), 0)
	return fmt.Sprint(size)
}

func (m *model) bitField(c Command, k modelKey, ok bool) string {
	size := 0
	for _, a := range c.Args[1:] {
		if f, _ := decodeField(a); f.Op != FieldGet {
			size = max(size, (int(f.Offset)+int(f.Bits)+7)/8)
		}
	}
	v := padded(k.value, size)
	if size > 0 && (!ok && !m.fits(string(c.Args[0]), v) || len(v) > len(k.value) && !m.fits("", v)) {
		return "-ERR"
	}
	text := toBits(v)
	var answers []string
	changed := size > 0 && (!ok || len(v) > len(k.value))
	for _, a := range c.Args[1:] {
		f, _ := decodeField(a)
		at, end := int(f.Offset), int(f.Offset)+int(f.Bits)
		long := text + strings.Repeat("0", max(0, end-len(text)))
		old, _ := new(big.Int).SetString(long[at:end], 2)
		low, top := new(big.Int), new(big.Int).Lsh(big.NewInt(1), uint(f.Bits))
		modulus := new(big.Int).Set(top)
		top.Sub(top, big.NewInt(1))
		if f.Signed {
			top.Rsh(top, 1)
			low.Neg(top).Sub(low, big.NewInt(1))
			if old.Cmp(top) > 0 {
				old.Sub(old, modulus)
			}
		}
		want := big.NewInt(f.Value)
		switch f.Op {
		case FieldGet:
			answers = append(answers, old.String())
			continue
		case FieldIncr:
			want.Add(want, old)
		case FieldSet:
			if !f.Signed && f.Value < 0 { // Redis reads it as an unsigned number
				want.Add(want, new(big.Int).Lsh(big.NewInt(1), 64))
			}
		}
		switch over, under := want.Cmp(top) > 0, want.Cmp(low) < 0; {
		case !over && !under:
		case f.Overflow == OverflowFail:
			answers = append(answers, "nil")
			continue
		case f.Overflow == OverflowSat && over:
			want.Set(top)
		case f.Overflow == OverflowSat:
			want.Set(low)
		}
		raw := new(big.Int).Mod(want, modulus)
		text = text[:at] + fmt.Sprintf("%0*s", int(f.Bits), raw.Text(2)) + text[end:]
		changed = true
		if f.Op == FieldSet {
			answers = append(answers, old.String())
		} else if f.Signed && raw.Cmp(top) > 0 {
			answers = append(answers, raw.Sub(raw, modulus).String())
		} else {
			answers = append(answers, raw.String())
		}
	}
	if changed {
		m.put(string(c.Args[0]), fromBits(text), k.deadline)
	}
	return "[" + strings.Join(answers, " ") + "]"
}

func (m *model) block(c Command) string {
	for i := range c.Num {
		key := string(c.Args[2*i])
		want, _ := token(c.Args[2*i+1])
		if want == 0 && m.has(key) || want != 0 && m.token(key) != want {
			return "nil"
		}
	}
	var answers []string
	for _, b := range c.Args[2*c.Num:] {
		var inner Command
		if err := inner.Decode(b); err != nil {
			panic(err)
		}
		switch inner.Op {
		case OpGet:
			k, ok := m.keys[string(inner.Args[0])]
			answers = append(answers, quoted(k, ok))
		case OpWatch:
			answers = append(answers, fmt.Sprintf("[%d]", m.token(string(inner.Args[0]))))
		default:
			answers = append(answers, m.writeMore(inner))
		}
	}
	return "[" + strings.Join(answers, " ") + "]"
}
