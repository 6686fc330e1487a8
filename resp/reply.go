package resp

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// Kind is the first byte of a reply.
type Kind byte

// The kinds of replies. KindNull stands for every form of null; sets and pushes
// are read as arrays, big numbers and verbatim strings as bulk strings without
// their format, blob errors as errors, attributes are passed over.
const (
	KindStatus Kind = '+'
	KindError  Kind = '-'
	KindInt    Kind = ':'
	KindBulk   Kind = '$'
	KindArray  Kind = '*'
	KindNull   Kind = '_'
	KindBool   Kind = '#'
	KindDouble Kind = ','
	KindMap    Kind = '%' // Array holds key, value, key, value ...
	KindPush   Kind = '>'
)

// Value is one reply. It owns its bytes.
type Value struct {
	Kind  Kind
	Int   int64   // KindInt; KindBool: 0 or 1
	Float float64 // KindDouble
	Bytes []byte  // KindStatus, KindError, KindBulk
	Array []Value // KindArray, KindMap, KindPush
}

// Text is the value of a string, status or number, for people and comparisons.
func (v Value) Text() string {
	switch v.Kind {
	case KindInt, KindBool:
		return strconv.FormatInt(v.Int, 10)
	case KindDouble:
		return strconv.FormatFloat(v.Float, 'g', -1, 64)
	}
	return string(v.Bytes)
}

// ErrReply means that a server does not speak this protocol, or says more than
// the limits allow. The connection is of no more use.
var ErrReply = errors.New("not a reply of the Redis protocol")

// ReplyLimits bound one reply. A zero field stands for its default.
type ReplyLimits struct {
	Bytes    int // of all strings together; default 64 MiB
	Elements int // of all arrays together; default 1,048,576
}

// ReplyReader reads replies. One goroutine uses it.
type ReplyReader struct {
	r    *bufio.Reader
	lim  ReplyLimits
	left ReplyLimits
}

// maxReplyDepth bounds arrays in arrays; COMMAND needs 7.
const maxReplyDepth = 32

// NewReplyReader makes a ReplyReader of the replies in src.
func NewReplyReader(src io.Reader, lim ReplyLimits) *ReplyReader {
	if lim.Bytes <= 0 {
		lim.Bytes = 64 << 20
	}
	if lim.Elements <= 0 {
		lim.Elements = 1 << 20
	}
	return &ReplyReader{r: bufio.NewReaderSize(src, 16<<10), lim: lim}
}

// Read reads one reply. An error reply is a Value, not an error. Errors are those
// of the connection, io.EOF only between replies, and ErrReply.
func (r *ReplyReader) Read() (Value, error) {
	if _, err := r.r.Peek(1); err != nil {
		return Value{}, err
	}
	r.left = r.lim
	v, err := r.value(0)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return v, err
}

func (r *ReplyReader) value(depth int) (Value, error) {
	line, err := r.line()
	if err != nil {
		return Value{}, err
	}
	if len(line) == 0 {
		return Value{}, bad("empty line")
	}
	kind, rest := line[0], line[1:]
	switch kind {
	case '+', '-':
		if r.left.Bytes -= len(rest); r.left.Bytes < 0 {
			return Value{}, bad("longer than %d bytes", r.lim.Bytes)
		}
		return Value{Kind: Kind(kind), Bytes: bytes.Clone(rest)}, nil
	case ':':
		n, err := strconv.ParseInt(string(rest), 10, 64)
		if err != nil {
			return Value{}, bad("integer %.32q", rest)
		}
		return Value{Kind: KindInt, Int: n}, nil
	case '$', '=', '!':
		return r.bulk(kind, rest)
	case '*', '~', '>', '%', '|':
		return r.aggregate(kind, rest, depth)
	case '_':
		return Value{Kind: KindNull}, nil
	case '#':
		switch string(rest) {
		case "t":
			return Value{Kind: KindBool, Int: 1}, nil
		case "f":
			return Value{Kind: KindBool}, nil
		}
		return Value{}, bad("boolean %.32q", rest)
	case ',':
		f, err := strconv.ParseFloat(string(rest), 64)
		if err != nil {
			return Value{}, bad("double %.32q", rest)
		}
		return Value{Kind: KindDouble, Float: f}, nil
	case '(':
		return Value{Kind: KindBulk, Bytes: bytes.Clone(rest)}, nil
	}
	return Value{}, bad("begins with %q", kind)
}

func (r *ReplyReader) bulk(kind byte, rest []byte) (Value, error) {
	n, ok := parseInt(rest)
	if kind == '$' && n == -1 && ok {
		return Value{Kind: KindNull}, nil
	}
	if !ok || n < 0 || n > int64(r.left.Bytes) {
		return Value{}, bad("length %.32q, at most %d", rest, r.lim.Bytes)
	}
	r.left.Bytes -= int(n)
	body, err := r.take(int(n))
	if err != nil {
		return Value{}, err
	}
	switch kind {
	case '=':
		if len(body) < 4 {
			return Value{}, bad("verbatim string of %d bytes", len(body))
		}
		return Value{Kind: KindBulk, Bytes: body[4:]}, nil
	case '!':
		return Value{Kind: KindError, Bytes: body}, nil
	}
	return Value{Kind: KindBulk, Bytes: body}, nil
}

func (r *ReplyReader) aggregate(kind byte, rest []byte, depth int) (Value, error) {
	n, ok := parseInt(rest)
	if kind == '*' && n == -1 && ok {
		return Value{Kind: KindNull}, nil
	}
	if !ok || n < 0 || n > int64(r.left.Elements) || depth == maxReplyDepth {
		return Value{}, bad("count %.32q at depth %d", rest, depth)
	}
	v := Value{Kind: KindArray}
	switch kind {
	case '%', '|':
		v.Kind = KindMap
		n *= 2
	case '>':
		v.Kind = KindPush
	}
	if r.left.Elements -= int(n); r.left.Elements < 0 {
		return Value{}, bad("more than %d elements", r.lim.Elements)
	}
	// One by one: a count alone allocates nothing.
	for range n {
		e, err := r.value(depth + 1)
		if err != nil {
			return Value{}, err
		}
		v.Array = append(v.Array, e)
	}
	if kind == '|' {
		if depth++; depth == maxReplyDepth {
			return Value{}, bad("attributes of attributes")
		}
		return r.value(depth)
	}
	return v, nil
}

// take reads n bytes and the line end behind them. Its room grows as the bytes come.
func (r *ReplyReader) take(n int) ([]byte, error) {
	body := make([]byte, 0, min(n, 64<<10))
	for len(body) < n {
		if len(body) == cap(body) {
			grown := make([]byte, len(body), min(n, 2*cap(body)))
			copy(grown, body)
			body = grown
		}
		m, err := io.ReadFull(r.r, body[len(body):min(n, cap(body))])
		body = body[:len(body)+m]
		if err != nil {
			return nil, unexpected(err)
		}
	}
	var end [2]byte
	if _, err := io.ReadFull(r.r, end[:]); err != nil {
		return nil, unexpected(err)
	}
	if end != [2]byte{'\r', '\n'} {
		return nil, bad("no line end after %d bytes", n)
	}
	return body, nil
}

// line reads up to \r\n. It is valid until the next read.
func (r *ReplyReader) line() ([]byte, error) {
	line, err := r.r.ReadSlice('\n')
	if err == bufio.ErrBufferFull {
		return nil, bad("line longer than %d bytes", len(line))
	}
	if err != nil {
		return nil, unexpected(err)
	}
	if len(line) < 2 || line[len(line)-2] != '\r' {
		return nil, bad("line without carriage return")
	}
	return line[:len(line)-2], nil
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

func bad(format string, args ...any) error {
	return fmt.Errorf("read reply: %s: %w", fmt.Sprintf(format, args...), ErrReply)
}
