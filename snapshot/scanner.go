package snapshot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"github.com/raftkv/raftkv/raft"
)

// fillStep bounds how far memory runs ahead of the bytes that really came.
const fillStep = 64 << 10

// readAhead is for what is small: heads of blocks, and blocks of a small state.
// What is larger is read past it.
const readAhead = 4 << 10

// errSums means that each frame fits and the whole does not: no byte can be trusted.
var errSums = errors.New("sum of the whole file differs")

// scanner reads a snapshot file and verifies it frame by frame. A frame that
// fails leaves the chain as it was: reading can go on from there with another
// reader. That is all there is to resuming a transfer.
//
// Errors: ErrDamaged (with io.ErrUnexpectedEOF where the input ends too early),
// ErrVersion, and whatever the reader returns.
type scanner struct {
	chain
	r    io.Reader
	raw  []byte // the frame read last, whole; valid until the next one
	meta raft.SnapshotMeta
	head bool // the header is read
	done bool // the footer is read and all sums are right
}

func newScanner(r io.Reader) *scanner { return &scanner{chain: newChain(), r: r} }

// next reads one frame: first the header, then blocks, whose content it
// returns, then the footer. It returns io.EOF when all is read and verified and nothing follows.
func (s *scanner) next() (data []byte, err error) {
	if s.done {
		return nil, s.end()
	}
	s.raw = s.raw[:0]
	if !s.head {
		return nil, s.header()
	}
	if err := s.fill(4, "block"); err != nil {
		return nil, err
	}
	length := binary.LittleEndian.Uint32(s.raw)
	if length == 0 {
		return nil, s.foot()
	}
	if length > blockMax {
		return nil, s.damaged("block of %d bytes, at most %d", length, blockMax)
	}
	if err := s.fill(crcSize+int(length), "block"); err != nil {
		return nil, err
	}
	data = s.raw[blockHead:]
	crc := binary.LittleEndian.Uint32(s.raw[4:])
	if want := s.extend(s.raw[:4], data); crc != want {
		return nil, s.damaged("block has checksum %08x, want %08x", crc, want)
	}
	s.take(s.raw, crc)
	s.content += uint64(length)
	s.blocks++
	return data, nil
}

func (s *scanner) header() error {
	if err := s.fill(headFixed, "header"); err != nil {
		return err
	}
	fixed, sum := s.raw[len(headMagic):], binary.LittleEndian.Uint32(s.raw[headFixed-crcSize:])
	if string(s.raw[:len(headMagic)]) != headMagic {
		return s.damaged("not a snapshot file: starts with %q", s.raw[:len(headMagic)])
	}
	// These bytes have a sum of their own, so that a flipped bit doesn't look like another version.
	if want := crc32.Checksum(s.raw[:headFixed-crcSize], castagnoli); sum != want {
		return s.damaged("first bytes have checksum %08x, want %08x", sum, want)
	}
	if v := binary.LittleEndian.Uint32(fixed); v != formatVersion {
		return fmt.Errorf("snapshot file: version %d, this binary reads %d: %w", v, formatVersion, ErrVersion)
	}
	length := binary.LittleEndian.Uint32(fixed[4:])
	if length > metaMax {
		return s.damaged("description of %d bytes, at most %d", length, metaMax)
	}
	if err := s.fill(int(length)+crcSize, "header"); err != nil {
		return err
	}
	body := s.raw[:len(s.raw)-crcSize]
	crc := binary.LittleEndian.Uint32(s.raw[len(body):])
	if want := s.extend(body); crc != want {
		return s.damaged("header has checksum %08x, want %08x", crc, want)
	}
	meta, err := raft.DecodeSnapshotMeta(body[headFixed:])
	if err != nil {
		return s.damaged("%v", err)
	}
	if meta.Last.Index == 0 {
		return s.damaged("header names no last entry")
	}
	s.meta, s.head = meta, true
	s.take(s.raw, crc)
	return nil
}

func (s *scanner) foot() error {
	if err := s.fill(footSize-4, "footer"); err != nil {
		return err
	}
	body := s.raw[:footSize-crcSize]
	crc := binary.LittleEndian.Uint32(s.raw[len(body):])
	if want := s.extend(body); crc != want {
		return s.damaged("footer has checksum %08x, want %08x", crc, want)
	}
	if want := s.footer(nil); !bytes.Equal(body, want) {
		return fmt.Errorf("%w: %w", errSums, s.damaged("footer says %x, the blocks give %x", body, want))
	}
	s.take(s.raw, crc)
	s.done = true
	return nil
}

// end looks for bytes behind the footer.
func (s *scanner) end() error {
	var one [1]byte
	switch _, err := readFull(s.r, one[:]); {
	case err == nil:
		return s.damaged("bytes after the footer")
	case err == io.EOF:
		return io.EOF
	default:
		return fmt.Errorf("read snapshot at %d: %w", s.size, err)
	}
}

// fill reads n more bytes of the frame into raw.
func (s *scanner) fill(n int, what string) error {
	for n > 0 {
		step := min(n, fillStep)
		start := len(s.raw)
		s.raw = slices.Grow(s.raw, step)[:start+step]
		got, err := readFull(s.r, s.raw[start:])
		s.raw = s.raw[:start+got]
		switch {
		case err == io.EOF:
			return fmt.Errorf("snapshot file: ends in a %s at byte %d: %w: %w",
				what, s.size+uint64(len(s.raw)), io.ErrUnexpectedEOF, ErrDamaged)
		case err != nil:
			return fmt.Errorf("read snapshot at %d: %w", s.size, err)
		}
		n -= step
	}
	return nil
}

// readFull fills b. io.EOF means that the input is at its end, however much came
// before. io.ReadFull would not tell that from a reader that says
// io.ErrUnexpectedEOF for a lost connection: the one is damage, the other is not.
func readFull(r io.Reader, b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var got int
		got, err = r.Read(b[n:])
		n += got
	}
	if n == len(b) {
		return n, nil
	}
	return n, err
}

func (s *scanner) damaged(format string, args ...any) error {
	return fmt.Errorf("snapshot file: %s, at byte %d: %w", fmt.Sprintf(format, args...), s.size, ErrDamaged)
}

// Info describes a complete snapshot file.
type Info struct {
	Meta    raft.SnapshotMeta
	Bytes   uint64 // of the file
	Content uint64 // of these, content
	Blocks  uint64
}

// Verify reads a snapshot file to its end. The error wraps ErrDamaged,
// ErrVersion, or is the reader's. For offline tools; Dir does it by itself.
func Verify(r io.Reader) (Info, error) {
	s := newScanner(r)
	for {
		_, err := s.next()
		if err == io.EOF {
			return Info{Meta: s.meta, Bytes: s.size, Content: s.content, Blocks: s.blocks}, nil
		}
		if err != nil {
			return Info{}, err
		}
	}
}
