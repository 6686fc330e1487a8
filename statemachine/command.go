package statemachine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
)

// Op is what a command does. The numbers are in the log for ever.
type Op uint8

// The operations. The arguments of each stand behind it; num is Command.Num.
const (
	OpTick         Op = 1  // (): lets time pass, nothing else
	OpSet          Op = 2  // (key, value); flags; num is milliseconds with FlagIn or FlagAt
	OpAppend       Op = 3  // (key, value)
	OpDel          Op = 4  // (key...)
	OpMSet         Op = 5  // (key, value, key, value...)
	OpIncrBy       Op = 6  // (key); num is added
	OpSessionOpen  Op = 7  // ()
	OpSessionKeep  Op = 8  // (); num is the session
	OpSessionClose Op = 9  // (); num is the session
	OpOnce         Op = 10 // (inner command); num is the session, Seq the sequence number
	OpVerify       Op = 11 // (): answers the state hash at exactly this entry
	OpLimit        Op = 12 // (name); num is the new value of a cluster setting
	OpLevel        Op = 13 // (); num is the level of commands and meanings from here on

	OpGetDel      Op = 20 // (key)
	OpGetEx       Op = 21 // (key); flags as OpSet's, FlagPersist; num as OpSet's
	OpSetRange    Op = 22 // (key, value); num is the offset in bytes
	OpIncrByFloat Op = 23 // (key, increment)
	OpMSetNX      Op = 24 // (key, value, key, value...)
	OpSetBit      Op = 25 // (key); num is the offset in bits; FlagOne
	OpBitOp       Op = 26 // (destination, source...); num is a BitOp
	OpBitField    Op = 27 // (key, field...): see AppendField
	OpRename      Op = 28 // (from, to); FlagNX
	OpCopy        Op = 29 // (from, to); FlagReplace
	OpExpire      Op = 30 // (key); FlagIn or FlagAt, FlagNX, FlagXX, FlagGT, FlagLT; num as OpSet's, may be negative
	OpPersist     Op = 31 // (key)
	OpFlush       Op = 32 // (): removes all keys
	OpDelIfEq     Op = 33 // (key, value): removes the key if it holds the value
	OpBlock       Op = 34 // (num times: key, token; command...): all of them at one moment
	OpSetV        Op = 35 // (key, value); flags as OpSet's but conditions; Seq is the version that must be there
	OpDelV        Op = 36 // (key); Seq is the version that must be there

	OpUserSet Op = 50 // (name, rules); num is the version that was seen, 0: none, -1: any
	OpUserDel Op = 51 // (name...)
	OpPublish Op = 52 // (channel, message): told to whoever observes, kept nowhere

	// Reads: never in the log.
	OpGet     Op = 64 // (key)
	OpStrlen  Op = 65 // (key)
	OpExists  Op = 66 // (key...)
	OpMGet    Op = 67 // (key...)
	OpScan    Op = 68 // (after key, pattern); num is the count
	OpDBSize  Op = 69 // ()
	OpSession Op = 70 // (); num is the session: its last sequence number

	OpGetRange  Op = 80 // (key); num is the start, Seq the end (as int64), both inclusive, from the end if negative
	OpLCS       Op = 81 // (key, key); FlagLen, FlagIdx, FlagWithLen; num is the shortest match
	OpGetBit    Op = 82 // (key); num is the offset in bits
	OpBitCount  Op = 83 // (key); FlagFrom, FlagBits; num and Seq as OpGetRange
	OpBitPos    Op = 84 // (key); FlagOne, FlagFrom, FlagTo, FlagBits; num and Seq as OpGetRange
	OpTTL       Op = 85 // (key): milliseconds to live
	OpDeadline  Op = 86 // (key): milliseconds since the Unix epoch
	OpRandomKey Op = 87 // (); num is the seed
	OpKeys      Op = 88 // (pattern)
	OpEncoding  Op = 89 // (key): what Redis would keep it as
	OpMemory    Op = 90 // (key): bytes that it takes, about
	OpGetV      Op = 91 // (key): value and version
	OpWatch     Op = 92 // (key...): tokens for the conditions of a block
	OpReadField Op = 93 // (key, field...): OpBitField with reads alone
	OpReadBlock Op = 94 // as OpBlock, with reads alone

	OpUsers Op = 120 // (name) or (): users with their rules
)

// Flags of a command.
type Flags uint16

// Flags of commands that set keys or their deadlines.
const (
	FlagNX      Flags = 1 << iota // only if the key is missing
	FlagXX                        // only if the key is there
	FlagGet                       // answer the old value
	FlagKeepTTL                   // keep the deadline that the key has
	FlagIn                        // the key lives Num milliseconds from the entry's time
	FlagAt                        // the key lives until Num, in milliseconds since the Unix epoch
	FlagGT                        // only if the deadline is later than the one there is; none is the latest
	FlagLT                        // only if it is earlier
	FlagEq                        // only if the key holds the third argument
	FlagPersist                   // the key lives for ever
	FlagReplace                   // the destination may be there already
)

// Flags of commands on bits.
const (
	FlagOne  Flags = 1 << iota // the bit is 1
	FlagBits                   // offsets count bits, else bytes
	FlagFrom                   // a start is given; of OpBitCount an end too
	FlagTo                     // an end is given
)

// Flags of OpLCS.
const (
	FlagLen     Flags = 1 << iota // answer the length alone
	FlagIdx                       // answer where the matches are, and the length
	FlagWithLen                   // with the length of each match
)

// Command is one operation with its arguments. Encoded, it is the data of an
// entry: see docs/formats.md.
type Command struct {
	Op    Op
	Flags Flags
	Num   int64
	Seq   uint64 // a second number: see the operations
	Args  [][]byte
}

// MaxArgs bounds the arguments of one command. It is a constant of the format.
const MaxArgs = 1 << 20

// ErrMalformed means that bytes are not a command or result that this package made.
var ErrMalformed = errors.New("malformed bytes")

// EncodedSize is how many bytes AppendCommand appends.
func EncodedSize(c Command) int {
	n := 1 + uvarintLen(uint64(c.Flags)) + uvarintLen(uint64(c.Num<<1)^uint64(c.Num>>63)) + uvarintLen(c.Seq) + uvarintLen(uint64(len(c.Args)))
	for _, a := range c.Args {
		n += uvarintLen(uint64(len(a))) + len(a)
	}
	return n
}

func uvarintLen(v uint64) int { return (bits.Len64(v|1) + 6) / 7 }

// AppendCommand appends the encoding of c to dst.
func AppendCommand(dst []byte, c Command) []byte {
	dst = append(dst, byte(c.Op))
	dst = binary.AppendUvarint(dst, uint64(c.Flags))
	dst = binary.AppendVarint(dst, c.Num)
	dst = binary.AppendUvarint(dst, c.Seq)
	dst = binary.AppendUvarint(dst, uint64(len(c.Args)))
	for _, a := range c.Args {
		dst = binary.AppendUvarint(dst, uint64(len(a)))
		dst = append(dst, a...)
	}
	return dst
}

// Decode fills c from b. The arguments alias b; the room of c.Args is reused.
// The error wraps ErrMalformed.
func (c *Command) Decode(b []byte) error {
	bad := func(what string) error { return fmt.Errorf("decode command: %s: %w", what, ErrMalformed) }
	if len(b) == 0 {
		return bad("empty")
	}
	c.Op, b = Op(b[0]), b[1:]
	flags, n := binary.Uvarint(b)
	if n <= 0 || flags > 1<<16-1 {
		return bad("flags")
	}
	c.Flags, b = Flags(flags), b[n:]
	if c.Num, n = binary.Varint(b); n <= 0 {
		return bad("number")
	}
	b = b[n:]
	if c.Seq, n = binary.Uvarint(b); n <= 0 {
		return bad("sequence number")
	}
	b = b[n:]
	argc, n := binary.Uvarint(b)
	if n <= 0 || argc > MaxArgs || argc > uint64(len(b)) {
		return bad("number of arguments")
	}
	b = b[n:]
	c.Args = c.Args[:0]
	for range argc {
		size, n := binary.Uvarint(b)
		if n <= 0 || size > uint64(len(b)-n) {
			return bad("length of an argument")
		}
		c.Args = append(c.Args, b[n:n+int(size):n+int(size)])
		b = b[n+int(size):]
	}
	if len(b) > 0 {
		return bad("bytes left over")
	}
	return nil
}
