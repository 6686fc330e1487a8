package statemachine

import (
	"encoding/binary"
	"fmt"
)

// ResultKind is the first byte of an encoded result. The numbers are in snapshots
// (kept session results) and on the wire (forwarded requests).
type ResultKind uint8

// The kinds of results.
const (
	ResultNil    ResultKind = 1 // nothing there, or a condition not met
	ResultOK     ResultKind = 2 // done, nothing to tell
	ResultInt    ResultKind = 3
	ResultBytes  ResultKind = 4
	ResultArray  ResultKind = 5
	ResultError  ResultKind = 6 // Bytes is a Redis error: PREFIX, blank, text
	ResultStatus ResultKind = 7 // Bytes is a Redis simple string
)

// Result is what a command answers. The protocols of the servers are made from it.
type Result struct {
	Kind  ResultKind
	Int   int64
	Bytes []byte
	Array []Result
}

// AppendResult appends the encoding of r to dst.
func AppendResult(dst []byte, r Result) []byte {
	dst = append(dst, byte(r.Kind))
	switch r.Kind {
	case ResultInt:
		dst = binary.AppendVarint(dst, r.Int)
	case ResultBytes, ResultError, ResultStatus:
		dst = binary.AppendUvarint(dst, uint64(len(r.Bytes)))
		dst = append(dst, r.Bytes...)
	case ResultArray:
		dst = binary.AppendUvarint(dst, uint64(len(r.Array)))
		for _, e := range r.Array {
			dst = AppendResult(dst, e)
		}
	}
	return dst
}

// maxResultDepth bounds arrays in arrays.
const maxResultDepth = 8

// DecodeResult is the inverse of AppendResult. The result aliases b. The error wraps ErrMalformed.
func DecodeResult(b []byte) (Result, error) {
	r, rest, err := decodeResult(b, 0)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("decode result: %d bytes left over: %w", len(rest), ErrMalformed)
	}
	return r, err
}

func decodeResult(b []byte, depth int) (Result, []byte, error) {
	bad := func(what string) (Result, []byte, error) {
		return Result{}, nil, fmt.Errorf("decode result: %s: %w", what, ErrMalformed)
	}
	if len(b) == 0 {
		return bad("empty")
	}
	r := Result{Kind: ResultKind(b[0])}
	b = b[1:]
	switch r.Kind {
	case ResultNil, ResultOK:
	case ResultInt:
		v, n := binary.Varint(b)
		if n <= 0 {
			return bad("number")
		}
		r.Int, b = v, b[n:]
	case ResultBytes, ResultError, ResultStatus:
		size, n := binary.Uvarint(b)
		if n <= 0 || size > uint64(len(b)-n) {
			return bad("length")
		}
		r.Bytes, b = b[n:n+int(size):n+int(size)], b[n+int(size):]
	case ResultArray:
		count, n := binary.Uvarint(b)
		if n <= 0 || count > uint64(len(b)-n) || depth == maxResultDepth {
			return bad("array")
		}
		b = b[n:]
		// Elements are appended one by one: a count alone allocates nothing.
		for range count {
			e, rest, err := decodeResult(b, depth+1)
			if err != nil {
				return Result{}, nil, err
			}
			r.Array, b = append(r.Array, e), rest
		}
	default:
		return bad("kind")
	}
	return r, b, nil
}

// The append functions write results without building a Result first.

func appendNil(dst []byte) []byte { return append(dst, byte(ResultNil)) }

func appendOK(dst []byte) []byte { return append(dst, byte(ResultOK)) }

func appendInt(dst []byte, v int64) []byte {
	return binary.AppendVarint(append(dst, byte(ResultInt)), v)
}

func appendBytes[B []byte | string](dst []byte, b B) []byte {
	dst = binary.AppendUvarint(append(dst, byte(ResultBytes)), uint64(len(b)))
	return append(dst, b...)
}

// appendArray starts an array; its elements follow.
func appendArray(dst []byte, count int) []byte {
	return binary.AppendUvarint(append(dst, byte(ResultArray)), uint64(count))
}

// appendValue appends what a key holds, or nil.
func appendValue(dst []byte, it *item, live bool) []byte {
	if !live {
		return appendNil(dst)
	}
	return appendBytes(dst, it.value())
}

// appendError appends a Redis error: prefix, blank, text.
func appendError(dst []byte, text string) []byte {
	dst = binary.AppendUvarint(append(dst, byte(ResultError)), uint64(len(text)))
	return append(dst, text...)
}

func appendErrorf(dst []byte, format string, args ...any) []byte {
	return appendError(dst, fmt.Sprintf(format, args...))
}
