package transport

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// A frame, little-endian:
//
//	0  u32  length of the body
//	4  u8   version of the frame format
//	5  u8   kind
//	6  u16  zero
//	8  u32  crc32c over bytes 0 to 7 and the body
//	12      body
const (
	frameHeader  = 12
	frameVersion = 1
)

type frameKind uint8

// The kinds of frames. The numbers are on the wire.
const (
	frameHello    frameKind = 1  // wireHello
	frameRefusal  frameKind = 2  // wireRefusal; the connection ends after it
	frameGo       frameKind = 3  // wireGo
	frameMessages frameKind = 4  // messages without entries, one after the other
	frameEntries  frameKind = 5  // messages, at least one with entries
	framePacket   frameKind = 6  // bytes of SendPacket as they are
	frameFetch    frameKind = 7  // wireFetch
	frameFile     frameKind = 8  // wireFile
	frameBlock    frameKind = 9  // bytes of a file as they are
	frameEnd      frameKind = 10 // end of a file; no body
	frameAsk      frameKind = 11 // request of an exchange as it is
	frameAnswer   frameKind = 12 // its reply as it is
)

// Bounds on frames outside of the traffic between members.
const (
	maxHandshake = 4 << 10  // hello, refusal, go, fetch
	maxExchange  = 64 << 10 // either body of an exchange
	blockSize    = 128 << 10
)

// errFrame means that bytes are not a frame of this protocol.
var errFrame = errors.New("not a frame of the raftkv peer protocol")

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// beginFrame appends room for a header to buf. The body is appended after it.
func beginFrame(buf []byte) []byte {
	return append(buf, make([]byte, frameHeader)...)
}

// endFrame fills in the header of the frame that starts at start and ends with buf.
func endFrame(buf []byte, start int, kind frameKind) {
	h := buf[start : start+frameHeader]
	binary.LittleEndian.PutUint32(h, uint32(len(buf)-start-frameHeader))
	h[4], h[5], h[6], h[7] = frameVersion, byte(kind), 0, 0
	table := castagnoli()
	sum := crc32.Update(crc32.Checksum(h[:8], table), table, buf[start+frameHeader:])
	binary.LittleEndian.PutUint32(h[8:], sum)
}

func appendFrame(buf []byte, kind frameKind, body []byte) []byte {
	start := len(buf)
	buf = append(beginFrame(buf), body...)
	endFrame(buf, start, kind)
	return buf
}

// frameReader reads frames of one connection. One goroutine owns it.
type frameReader struct {
	r       *bufio.Reader
	max     int // most bytes of a body
	scratch []byte
	header  [frameHeader]byte
}

// eagerBody is how much is allocated on the word of a length field alone.
// Longer bodies grow as their bytes come in.
const eagerBody = 1 << 20

// next returns the next frame. The body of frameEntries, framePacket, frameAsk
// and frameAnswer belongs to the caller; that of other kinds is good until the
// next call. Errors: errFrame if the bytes are no frame, else of the connection;
// io.EOF only between frames.
func (f *frameReader) next() (frameKind, []byte, error) {
	h := f.header[:]
	if _, err := io.ReadFull(f.r, h); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return 0, nil, fmt.Errorf("connection ended inside a frame header: %w", err)
		}
		return 0, nil, err
	}
	size := binary.LittleEndian.Uint32(h)
	switch {
	case h[4] != frameVersion || h[6] != 0 || h[7] != 0:
		return 0, nil, fmt.Errorf("%s: %w", describe(h), errFrame)
	case uint64(size) > uint64(f.max):
		return 0, nil, fmt.Errorf("frame of %d bytes, limit is %d: %w", size, f.max, errFrame)
	}
	kind := frameKind(h[5])
	body, err := f.body(int(size), kind)
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, fmt.Errorf("connection ended inside a frame of %d bytes: %w", size, err)
	}
	table := castagnoli()
	want := binary.LittleEndian.Uint32(h[8:])
	if got := crc32.Update(crc32.Checksum(h[:8], table), table, body); got != want {
		return 0, nil, fmt.Errorf("frame checksum %08x, want %08x: %w", got, want, errFrame)
	}
	return kind, body, nil
}

func (f *frameReader) body(size int, kind frameKind) ([]byte, error) {
	own := kind == frameEntries || kind == framePacket || kind == frameAsk || kind == frameAnswer
	if own && size <= eagerBody {
		b := make([]byte, size)
		_, err := io.ReadFull(f.r, b)
		return b, err
	}
	var b []byte
	if !own {
		b = f.scratch[:0]
	}
	for len(b) < size {
		if len(b) == cap(b) {
			grown := make([]byte, len(b), min(size, max(2*cap(b), min(size, 64<<10))))
			copy(grown, b)
			b = grown
		}
		end := min(size, cap(b))
		n, err := io.ReadFull(f.r, b[len(b):end])
		b = b[:len(b)+n]
		if err != nil {
			return nil, err
		}
	}
	if !own && cap(b) <= 2*blockSize {
		f.scratch = b
	}
	return b, nil
}

// buffered tells whether a whole frame of at most max bytes is already here, so
// that next won't wait for the network.
func (f *frameReader) buffered() bool {
	n := f.r.Buffered()
	if n < frameHeader {
		return false
	}
	h, err := f.r.Peek(4)
	return err == nil && uint64(n) >= frameHeader+uint64(binary.LittleEndian.Uint32(h))
}

// describe says what the first bytes of a stranger look like.
func describe(h []byte) string {
	if len(h) >= 2 && h[0] == 0x16 && h[1] == 3 {
		return "a TLS hello, but TLS is not configured here"
	}
	for _, verb := range []string{"GET ", "POST", "HEAD", "PUT ", "OPTI", "CONN", "DELE", "PRI "} {
		if len(h) >= 4 && string(h[:4]) == verb {
			return "an HTTP request"
		}
	}
	if len(h) > 0 && h[0] == '*' {
		return "a RESP request; clients belong on the client port"
	}
	if len(h) >= 5 && h[4] != frameVersion {
		return fmt.Sprintf("frame version %d, this binary reads %d", h[4], frameVersion)
	}
	return "reserved bytes are not zero"
}
