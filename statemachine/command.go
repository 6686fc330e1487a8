package statemachine

import (
	"encoding/binary"
	"errors"
	"fmt"
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
	OpUserSet      Op = 50 // (name, rules); num is the version that was seen, 0: none, -1: any
	OpUserDel      Op = 51 // (name...)
	OpPublish      Op = 52 // (channel, message): told to whoever observes, kept nowhere

	// Reads: never in the log.
	OpGet     Op = 64  // (key)
	OpStrlen  Op = 65  // (key)
	OpExists  Op = 66  // (key...)
	OpMGet    Op = 67  // (key...)
	OpScan    Op = 68  // (after key, pattern); num is the count
	OpDBSize  Op = 69  // ()
	OpSession Op = 70  // (); num is the session: its last sequence number
	OpUsers   Op = 120 // (name) or (): users with their rules
)

// Flags of a command.
type Flags uint16

// The flags of OpSet.
const (
	FlagNX      Flags = 1 << iota // only if the key is missing
	FlagXX                        // only if the key is there
	FlagGet                       // answer the old value
	FlagKeepTTL                   // keep the deadline that the key has
	FlagIn                        // the key lives Num milliseconds from the entry's time
	FlagAt                        // the key lives until Num, in milliseconds since the Unix epoch
)

// Command is one operation with its arguments. Encoded, it is the data of an
// entry: see docs/formats.md.
type Command struct {
	Op    Op
	Flags Flags
	Num   int64
	Seq   uint64 // OpOnce
	Args  [][]byte
}

// MaxArgs bounds the arguments of one command. It is a constant of the format.
const MaxArgs = 1 << 20

// ErrMalformed means that bytes are not a command or result that this package made.
var ErrMalformed = errors.New("malformed bytes")

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
