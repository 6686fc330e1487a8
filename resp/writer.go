package resp

import (
	"math"
	"strconv"
)

// Writer builds replies in memory, in the version that Proto says. The zero
// Writer writes version 2. It never fails; the caller sends Bytes and calls Reset.
type Writer struct {
	Proto int // 2 or 3; 0 is 2
	b     []byte
}

// Bytes is what was written since Reset. It is valid until the next call.
func (w *Writer) Bytes() []byte { return w.b }

// Len is the number of bytes written since Reset.
func (w *Writer) Len() int { return len(w.b) }

// Reset forgets what was written and keeps the room, unless that is above keep bytes.
func (w *Writer) Reset(keep int) {
	if cap(w.b) > keep {
		w.b = nil
	}
	w.b = w.b[:0]
}

// Raw appends bytes that are already a reply.
func (w *Writer) Raw(b []byte) { w.b = append(w.b, b...) }

func (w *Writer) head(kind byte, n int64) {
	w.b = append(w.b, kind)
	w.b = strconv.AppendInt(w.b, n, 10)
	w.b = append(w.b, '\r', '\n')
}

// line writes text on one line: a line end inside would be read as the next reply.
func (w *Writer) line(kind byte, s string) {
	w.b = append(w.b, kind)
	for i := range len(s) {
		c := s[i]
		if c == '\r' || c == '\n' {
			c = ' '
		}
		w.b = append(w.b, c)
	}
	w.b = append(w.b, '\r', '\n')
}

// Status writes a simple string.
func (w *Writer) Status(s string) { w.line('+', s) }

// Error writes an error; s begins with its prefix (ERR, WRONGTYPE ...), without the minus.
func (w *Writer) Error(s string) { w.line('-', s) }

// Int writes an integer.
func (w *Writer) Int(n int64) { w.head(':', n) }

// Bulk writes a bulk string.
func (w *Writer) Bulk(b []byte) {
	w.head('$', int64(len(b)))
	w.b = append(w.b, b...)
	w.b = append(w.b, '\r', '\n')
}

// BulkString writes a bulk string.
func (w *Writer) BulkString(s string) {
	w.head('$', int64(len(s)))
	w.b = append(w.b, s...)
	w.b = append(w.b, '\r', '\n')
}

// BulkHead writes the header of a bulk string of n bytes. The caller sends those
// bytes itself, then BulkEnd.
func (w *Writer) BulkHead(n int) { w.head('$', int64(n)) }

// BulkEnd ends what BulkHead began.
func (w *Writer) BulkEnd() { w.b = append(w.b, '\r', '\n') }

// Null writes that there is no value.
func (w *Writer) Null() {
	if w.Proto == 3 {
		w.b = append(w.b, "_\r\n"...)
		return
	}
	w.b = append(w.b, "$-1\r\n"...)
}

// NullArray writes that there is no array.
func (w *Writer) NullArray() {
	if w.Proto == 3 {
		w.b = append(w.b, "_\r\n"...)
		return
	}
	w.b = append(w.b, "*-1\r\n"...)
}

// Array announces n elements, which the caller writes next.
func (w *Writer) Array(n int) { w.head('*', int64(n)) }

// Map announces n pairs of key and value: an array of 2n in version 2.
func (w *Writer) Map(n int) {
	if w.Proto == 3 {
		w.head('%', int64(n))
		return
	}
	w.head('*', 2*int64(n))
}

// Set announces n elements without order: an array in version 2.
func (w *Writer) Set(n int) {
	if w.Proto == 3 {
		w.head('~', int64(n))
		return
	}
	w.head('*', int64(n))
}

// Push announces n elements that answer no request: an array in version 2.
func (w *Writer) Push(n int) {
	if w.Proto == 3 {
		w.head('>', int64(n))
		return
	}
	w.head('*', int64(n))
}

// Bool writes a boolean: 1 or 0 in version 2.
func (w *Writer) Bool(v bool) {
	switch {
	case w.Proto != 3 && v:
		w.b = append(w.b, ":1\r\n"...)
	case w.Proto != 3:
		w.b = append(w.b, ":0\r\n"...)
	case v:
		w.b = append(w.b, "#t\r\n"...)
	default:
		w.b = append(w.b, "#f\r\n"...)
	}
}

// Double writes a number with a fraction: a bulk string in version 2.
func (w *Writer) Double(v float64) {
	var s string
	switch {
	case math.IsInf(v, 1):
		s = "inf"
	case math.IsInf(v, -1):
		s = "-inf"
	case math.IsNaN(v):
		s = "nan"
	default:
		s = strconv.FormatFloat(v, 'g', 17, 64)
	}
	if w.Proto != 3 {
		w.BulkString(s)
		return
	}
	w.line(',', s)
}

// Verbatim writes text for people: a bulk string in version 2.
func (w *Writer) Verbatim(s string) {
	if w.Proto != 3 {
		w.BulkString(s)
		return
	}
	w.head('=', int64(len(s))+4)
	w.b = append(w.b, "txt:"...)
	w.b = append(w.b, s...)
	w.b = append(w.b, '\r', '\n')
}

// AppendRequest appends a request, an array of bulk strings, to dst.
func AppendRequest[T string | []byte](dst []byte, args ...T) []byte {
	dst = append(dst, '*')
	dst = strconv.AppendInt(dst, int64(len(args)), 10)
	dst = append(dst, '\r', '\n')
	for _, a := range args {
		dst = append(dst, '$')
		dst = strconv.AppendInt(dst, int64(len(a)), 10)
		dst = append(dst, '\r', '\n')
		dst = append(dst, a...)
		dst = append(dst, '\r', '\n')
	}
	return dst
}
