package resp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// Limits bound what one request may cost. A zero field stands for its default.
type Limits struct {
	// Inline is the longest line in bytes: an inline request or the header of an
	// array or bulk string. Default 64 KiB, as in Redis.
	Inline int
	// Args is the largest number of arguments of one request. More is a protocol
	// error. Default 65,536: Redis takes 1,048,576 and lets one request fill the memory.
	Args int
	// Bulk is the longest argument in bytes that is kept. A request with a longer
	// one is read to its end, thrown away and answered by a *TooBigError.
	// Default 8 MiB.
	Bulk int
	// Total is the most bytes that one request may take, headers included; more is
	// thrown away like a long argument. Default 16 MiB.
	Total int
}

// maxBulk is where Redis itself (proto-max-bulk-len) calls a length an error of
// the protocol and closes the connection.
const maxBulk = 512 << 20

func (l Limits) withDefaults() Limits {
	def := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	def(&l.Inline, 64<<10)
	def(&l.Args, 64<<10)
	def(&l.Bulk, 8<<20)
	def(&l.Total, 16<<20)
	l.Total = min(l.Total, 1<<30) // positions are kept in 32 bits
	l.Bulk = min(l.Bulk, maxBulk)
	return l
}

// ProtocolError means that what comes next on the connection can't be trusted:
// answer it and close. Its text is Redis's, without the prefix ERR.
type ProtocolError struct{ Text string }

func (e *ProtocolError) Error() string { return "Protocol error: " + e.Text }

// TooBigError means that one request was over a limit and was skipped. The
// connection is in order: answer and go on.
type TooBigError struct {
	What  string // "argument" or "request"
	Bytes int    // its size, as far as it is known
	Limit int
}

func (e *TooBigError) Error() string {
	return fmt.Sprintf("%s of %d bytes is above the limit of %d bytes", e.What, e.Bytes, e.Limit)
}

// span is a part of the buffer, from the start of the request under way.
type span struct{ off, len int32 }

// Reader reads requests. One goroutine uses it.
//
//	buf: ....consumed.... start ....parsed.... pos ....to parse.... end ....free....
//
// Arguments alias buf: they are valid until the next Fill. An inline request is
// unquoted in place. What was parsed of an incomplete request is kept, so that
// one that comes byte by byte costs no more than one that comes at once.
type Reader struct {
	// Small takes requests of at most 10 arguments of 16 KiB, as Redis does of a
	// client that hasn't authenticated; more is a protocol error. It holds from the next request on.
	Small bool

	src io.Reader
	lim Limits
	buf []byte

	start, pos, end int
	scan            int  // no line end lies between pos and here
	full            bool // the last read filled the buffer: a larger one saves calls

	args  [][]byte
	spans []span
	left  int // bulk strings still to come of an array; 0 outside of one
	bulk  int // bytes of the bulk string under way, or -1 before its header
	skip  int // bytes to throw away, line end included
	total int // bytes of the request under way that were already thrown away
	big   *TooBigError
	err   error // a ProtocolError, for ever
}

// What Reader.Small takes.
const (
	smallArgs = 10
	smallBulk = 16 << 10
)

const (
	minBuffer = 4 << 10  // of a new connection, and the least room for one read
	maxIdle   = 64 << 10 // a larger buffer is given back once it is empty
)

// NewReader makes a Reader of the requests in src.
func NewReader(src io.Reader, lim Limits) *Reader {
	return &Reader{src: src, lim: lim.withDefaults(), bulk: -1}
}

// Buffered is the number of bytes that were read but not yet handed out.
func (r *Reader) Buffered() int { return r.end - r.start }

// Fill reads once from the connection. It ends the life of all arguments handed
// out. It returns the error of the connection; io.EOF inside a request is
// io.ErrUnexpectedEOF.
func (r *Reader) Fill() error {
	r.makeRoom()
	n, err := r.src.Read(r.buf[r.end:])
	r.end += n
	r.full = r.end == len(r.buf)
	if n > 0 {
		return nil // an error comes again with the next Read
	}
	if err == io.EOF && (r.end > r.start || r.left > 0) {
		return io.ErrUnexpectedEOF
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// makeRoom gets room for one read: it moves what is left to the front, or doubles
// the buffer. It never allocates ahead of a length that the client only claims.
func (r *Reader) makeRoom() {
	if r.start == r.end && len(r.buf) > maxIdle {
		r.buf = nil
	}
	if r.buf == nil {
		r.buf = make([]byte, minBuffer)
		r.pos -= r.start
		r.scan -= r.start
		r.start, r.end = 0, 0
		return
	}
	if r.start > 0 && (r.start == r.end || len(r.buf)-r.end < minBuffer/2) {
		copy(r.buf, r.buf[r.start:r.end])
		r.pos -= r.start
		r.scan -= r.start
		r.end -= r.start
		r.start = 0
	}
	if len(r.buf)-r.end < minBuffer/2 || r.full && len(r.buf) < maxIdle {
		grown := make([]byte, 2*len(r.buf))
		copy(grown, r.buf[:r.end])
		r.buf = grown
	}
}

// Next hands out the next request that is complete in the buffer; ok is false if
// there is none and Fill must be called. The slice args is reused by the next call. A *TooBigError comes instead of one
// request; a *ProtocolError is the last that comes. Empty lines and empty arrays
// are passed over as in Redis, so there is always at least one argument.
func (r *Reader) Next() (args [][]byte, ok bool, err error) {
	for {
		if r.err != nil {
			return nil, false, r.err
		}
		if r.left == 0 {
			ok, err = r.begin()
		} else {
			ok, err = r.more()
		}
		if err != nil {
			var p *ProtocolError
			if errors.As(err, &p) {
				r.err = err
			}
			return nil, false, err
		}
		if !ok {
			return nil, false, nil
		}
		if r.left == 0 && len(r.args) > 0 {
			return r.args, true, nil
		}
	}
}

// begin reads the line that a request starts with. ok false: it is not complete.
func (r *Reader) begin() (ok bool, err error) {
	r.args, r.spans = r.args[:0], r.spans[:0]
	if r.pos == r.end {
		return false, nil
	}
	if r.buf[r.pos] != '*' {
		return r.inline()
	}
	line, ok, err := r.header("too big mbulk count string", "invalid multibulk length")
	if !ok || err != nil {
		return false, err
	}
	n, ok := parseInt(line[1:])
	if !ok || n > int64(r.lim.Args) {
		return false, &ProtocolError{"invalid multibulk length"}
	}
	if r.Small && n > smallArgs {
		return false, &ProtocolError{"unauthenticated multibulk length"}
	}
	if n <= 0 {
		r.start = r.pos
		return true, nil
	}
	r.left, r.bulk, r.total, r.big = int(n), -1, 0, nil
	return true, nil
}

// more reads the bulk strings of an array. ok false: more bytes are needed.
func (r *Reader) more() (ok bool, err error) {
	for r.left > 0 {
		if r.skip > 0 {
			if r.discard(); r.skip > 0 {
				return false, nil
			}
			r.left--
			continue
		}
		if r.bulk < 0 {
			if r.pos == r.end {
				return false, nil
			}
			if c := r.buf[r.pos]; c != '$' {
				return false, &ProtocolError{fmt.Sprintf("expected '$', got '%c'", printable(c))}
			}
			line, ok, err := r.header("too big bulk count string", "invalid bulk length")
			if !ok || err != nil {
				return false, err
			}
			n, ok := parseInt(line[1:])
			if !ok || n < 0 || n > maxBulk {
				return false, &ProtocolError{"invalid bulk length"}
			}
			if r.Small && n > smallBulk {
				return false, &ProtocolError{"unauthenticated bulk length"}
			}
			r.bulk = int(n)
			r.judge(r.bulk)
			if r.big != nil {
				r.skip, r.bulk = r.bulk+2, -1
				continue
			}
		}
		if r.end-r.pos < r.bulk+2 {
			return false, nil
		}
		// Redis skips these two bytes unseen. A client that is out of step is
		// better noticed here than by running what it never meant.
		if r.buf[r.pos+r.bulk] != '\r' || r.buf[r.pos+r.bulk+1] != '\n' {
			return false, &ProtocolError{"expected line end after bulk string"}
		}
		r.spans = append(r.spans, span{int32(r.pos - r.start), int32(r.bulk)})
		r.pos += r.bulk + 2
		r.scan = r.pos
		r.bulk = -1
		r.left--
	}
	if big := r.big; big != nil {
		r.big, r.start, r.total = nil, r.pos, 0
		return false, big
	}
	for _, s := range r.spans {
		from := r.start + int(s.off)
		r.args = append(r.args, r.buf[from:from+int(s.len):from+int(s.len)])
	}
	r.start = r.pos
	if cap(r.spans) > 1024 {
		r.spans = nil // one large request must not cost its room for ever
	}
	return true, nil
}

// judge finds out whether the request with one more bulk string of n bytes is
// above a limit. What came of such a request is forgotten at once.
func (r *Reader) judge(n int) {
	size := r.total + r.pos - r.start + n + 2
	switch {
	case r.big != nil:
		if r.big.What == "request" {
			r.big.Bytes = size
		}
	case n > r.lim.Bulk:
		r.big = &TooBigError{"argument", n, r.lim.Bulk}
	case size > r.lim.Total:
		r.big = &TooBigError{"request", size, r.lim.Total}
	}
	if r.big != nil {
		r.spans = r.spans[:0]
		r.total += r.pos - r.start
		r.start = r.pos
	}
}

// discard throws bytes of the request away as they come.
func (r *Reader) discard() {
	n := min(r.skip, r.end-r.pos)
	r.skip -= n
	r.pos += n
	r.total += r.pos - r.start
	r.start, r.scan = r.pos, r.pos
}

// header reads the line of a count up to \r\n.
func (r *Reader) header(long, bad string) (line []byte, ok bool, err error) {
	r.scan = max(r.scan, r.pos)
	i := bytes.IndexByte(r.buf[r.scan:r.end], '\r')
	if i < 0 || r.scan+i+1 >= r.end {
		if r.end-r.pos > r.lim.Inline {
			return nil, false, &ProtocolError{long}
		}
		if i < 0 {
			r.scan = r.end
		}
		return nil, false, nil
	}
	at := r.scan + i
	if r.buf[at+1] != '\n' {
		return nil, false, &ProtocolError{bad}
	}
	line = r.buf[r.pos:at]
	r.pos, r.scan = at+2, at+2
	return line, true, nil
}

// inline reads a request that is a line of words.
func (r *Reader) inline() (ok bool, err error) {
	r.scan = max(r.scan, r.pos)
	i := bytes.IndexByte(r.buf[r.scan:r.end], '\n')
	if i < 0 {
		r.scan = r.end
		if r.end-r.pos > r.lim.Inline {
			return false, &ProtocolError{"too big inline request"}
		}
		return false, nil
	}
	at := r.scan + i
	line := r.buf[r.pos:at]
	if len(line) > r.lim.Inline {
		return false, &ProtocolError{"too big inline request"}
	}
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	r.pos, r.scan, r.start = at+1, at+1, at+1
	if r.args, ok = splitArgs(r.args, line); !ok {
		return false, &ProtocolError{"unbalanced quotes in request"}
	}
	return true, nil
}

// printable keeps a byte of a stranger from changing our own line.
func printable(c byte) rune {
	if c < ' ' || c > '~' {
		return '?'
	}
	return rune(c)
}
