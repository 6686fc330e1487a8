package resp

import (
	wire "github.com/raftkv/raftkv/resp"
	"github.com/raftkv/raftkv/statemachine"
)

func bitCommands() []command {
	one := [3]int{1, 1, 1}
	return []command{
		{name: "setbit", arity: 4, flags: fWrite | fGrows, keys: one, group: "bitmap", since: "2.2.0", cost: "O(n) in the bytes of the value",
			syntax: "key offset value", summary: "Set a bit; answers what it was", parse: parseSetBit},
		{name: "getbit", arity: 3, flags: fRead | fFast, keys: one, group: "bitmap", since: "2.2.0", cost: "O(1)",
			syntax: "key offset", summary: "Get a bit", parse: parseGetBit},
		{name: "bitcount", arity: -2, flags: fRead, keys: one, group: "bitmap", since: "2.6.0", cost: "O(n) in the bytes of the range",
			syntax: "key [start end [BYTE | BIT]]", summary: "Count the bits that are 1", parse: parseBitCount},
		{name: "bitpos", arity: -3, flags: fRead, keys: one, group: "bitmap", since: "2.8.7", cost: "O(n) in the bytes of the range",
			syntax: "key bit [start [end [BYTE | BIT]]]", summary: "Find the first bit that is 0 or 1", parse: parseBitPos},
		{name: "bitop", arity: -4, flags: fWrite | fGrows | fVariadic, keys: [3]int{2, -1, 1}, group: "bitmap", since: "2.6.0", cost: "O(n) in the bytes of all values",
			syntax: "AND | OR | XOR | NOT destkey key [key ...]", summary: "Store a combination of values; answers its length", parse: parseBitOp},
		{name: "bitfield", arity: -2, flags: fWrite | fGrows, keys: one, group: "bitmap", since: "3.2.0", cost: "O(n) in the operations, and in the bytes of the value for writes",
			syntax:  "key [GET encoding offset | [OVERFLOW WRAP | SAT | FAIL] SET encoding offset value | INCRBY encoding offset increment ...]",
			summary: "Read and write integers inside a value", parse: func(r *request) string { return r.bitField(false) }},
		{name: "bitfield_ro", arity: -2, flags: fRead | fFast, keys: one, group: "bitmap", since: "6.0.0", cost: "O(n) in the operations",
			syntax: "key [GET encoding offset [GET encoding offset ...]]", summary: "Read integers inside a value", parse: func(r *request) string { return r.bitField(true) }},
	}
}

const errBitOffset = "ERR bit offset is not an integer or out of range"

// maxBit is the first offset that is out of range: that of Redis, whose values have 512 MiB.
const maxBit = 512 << 20 * 8

func bitOffset(b []byte) (int64, bool) {
	n, ok := wire.ParseInt(b)
	return n, ok && n >= 0 && n < maxBit
}

func parseSetBit(r *request) string {
	offset, ok := bitOffset(r.args[2])
	if !ok {
		return errBitOffset
	}
	bit, ok := wire.ParseInt(r.args[3])
	if !ok || bit < 0 || bit > 1 {
		return "ERR bit is not an integer or out of range"
	}
	if bit == 1 {
		r.cmd.Flags = statemachine.FlagOne
	}
	r.cmd.Num = offset
	return oneKey(statemachine.OpSetBit)(r)
}

func parseGetBit(r *request) string {
	offset, ok := bitOffset(r.args[2])
	if !ok {
		return errBitOffset
	}
	r.cmd.Num = offset
	return oneKey(statemachine.OpGetBit)(r)
}

// bitUnit reads BYTE or BIT.
func (r *request) bitUnit(b []byte) bool {
	if is(b, "bit") {
		r.cmd.Flags |= statemachine.FlagBits
		return true
	}
	return is(b, "byte")
}

func parseBitCount(r *request) string {
	if text := r.bitCount(); text != "" {
		return r.unlessMissing(text, func(w *wire.Writer) { w.Int(0) })
	}
	return oneKey(statemachine.OpBitCount)(r)
}

func (r *request) bitCount() string {
	n := len(r.args)
	if n == 2 {
		return ""
	}
	if n != 4 && n != 5 {
		return errSyntax
	}
	start, ok := wire.ParseInt(r.args[2])
	end, ok2 := wire.ParseInt(r.args[3])
	if !ok || !ok2 {
		return errInteger
	}
	r.cmd.Flags, r.cmd.Num, r.cmd.Seq = statemachine.FlagFrom, start, uint64(end)
	nothing := start < 0 && end < 0 && start > end // Redis answers 0 before it looks on
	if n == 5 && !r.bitUnit(r.args[4]) && !nothing {
		return errSyntax
	}
	return ""
}

func parseBitPos(r *request) string {
	bit, ok := wire.ParseInt(r.args[2])
	if !ok {
		return errInteger
	}
	if bit != 0 && bit != 1 {
		return "ERR The bit argument must be 1 or 0."
	}
	if text := r.bitPos(); text != "" {
		return r.unlessMissing(text, func(w *wire.Writer) { w.Int(-bit) })
	}
	if bit == 1 {
		r.cmd.Flags |= statemachine.FlagOne
	}
	return oneKey(statemachine.OpBitPos)(r)
}

func (r *request) bitPos() (text string) {
	var ok bool
	if len(r.args) > 6 {
		return errSyntax
	}
	if len(r.args) > 3 {
		if r.cmd.Num, ok = wire.ParseInt(r.args[3]); !ok {
			return errInteger
		}
		r.cmd.Flags |= statemachine.FlagFrom
	}
	if len(r.args) > 5 && !r.bitUnit(r.args[5]) {
		return errSyntax
	}
	if len(r.args) > 4 {
		end, ok := wire.ParseInt(r.args[4])
		if !ok {
			return errInteger
		}
		r.cmd.Seq = uint64(end)
		r.cmd.Flags |= statemachine.FlagTo
	}
	return ""
}

func parseBitOp(r *request) string {
	switch op := r.args[1]; {
	case is(op, "and"):
		r.cmd.Num = statemachine.BitAnd
	case is(op, "or"):
		r.cmd.Num = statemachine.BitOr
	case is(op, "xor"):
		r.cmd.Num = statemachine.BitXor
	case is(op, "not"):
		r.cmd.Num = statemachine.BitNot
	default:
		return errSyntax
	}
	if r.cmd.Num == statemachine.BitNot && len(r.args) != 4 {
		return "ERR BITOP NOT must be called with a single source key."
	}
	r.args = r.args[1:]
	return allKeys(statemachine.OpBitOp)(r)
}

// bitField reads the operations of BITFIELD. One that only reads doesn't go through the log.
func (r *request) bitField(readOnly bool) string {
	args := r.args
	r.cmd.Op = statemachine.OpReadField
	r.cmd.Args = append(r.cmd.Args, args[1])
	overflow := statemachine.OverflowWrap
	for i := 2; i < len(args); {
		rest := len(args) - i - 1
		f := statemachine.Field{Overflow: overflow}
		used := 3
		switch name := args[i]; {
		case is(name, "get") && rest >= 2:
		case is(name, "set") && rest >= 3:
			f.Op, used = statemachine.FieldSet, 4
		case is(name, "incrby") && rest >= 3:
			f.Op, used = statemachine.FieldIncr, 4
		case is(name, "overflow") && rest >= 1:
			switch how := args[i+1]; {
			case is(how, "wrap"):
				overflow = statemachine.OverflowWrap
			case is(how, "sat"):
				overflow = statemachine.OverflowSat
			case is(how, "fail"):
				overflow = statemachine.OverflowFail
			default:
				return "ERR Invalid OVERFLOW type specified"
			}
			i += 2
			continue
		default:
			return errSyntax
		}
		if text := fieldType(&f, args[i+1]); text != "" {
			return text
		}
		if text := fieldOffset(&f, args[i+2]); text != "" {
			return text
		}
		if f.Op != statemachine.FieldGet {
			r.cmd.Op = statemachine.OpBitField
			var ok bool
			if f.Value, ok = wire.ParseInt(args[i+3]); !ok {
				return errInteger
			}
		}
		r.cmd.Args = append(r.cmd.Args, statemachine.AppendField(nil, f))
		i += used
	}
	if readOnly && r.cmd.Op != statemachine.OpReadField {
		return "ERR BITFIELD_RO only supports the GET subcommand"
	}
	return r.tooLong(args[1])
}

func fieldType(f *statemachine.Field, b []byte) string {
	const fault = "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is."
	if len(b) == 0 || b[0] != 'i' && b[0] != 'u' {
		return fault
	}
	f.Signed = b[0] == 'i'
	n, ok := wire.ParseInt(b[1:])
	if !ok || n < 1 || n > 64 || n > 63 && !f.Signed {
		return fault
	}
	f.Bits = uint8(n)
	return ""
}

// fieldOffset reads an offset in bits, or in fields behind a #.
func fieldOffset(f *statemachine.Field, b []byte) string {
	scale := int64(1)
	if len(b) > 0 && b[0] == '#' {
		b, scale = b[1:], int64(f.Bits)
	}
	n, ok := bitOffset(b)
	if !ok || n*scale > maxBit-int64(f.Bits) {
		return errBitOffset
	}
	f.Offset = n * scale
	return ""
}
