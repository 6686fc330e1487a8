package transport

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/hashicorp/go-msgpack/v2/codec"

	"github.com/raftkv/raftkv/raft"
)

// wireMessage is a raft.Message as a msgpack array. From and To aren't in it:
// they are the two ends of the connection, so nobody can speak for another.
// Fields are only ever added at the end; a decoder skips what it does not know.
type wireMessage struct {
	//lint:ignore U1000 the codec reads its tag by reflection
	_struct bool `codec:",toarray"`

	Kind      uint8
	Flags     uint32
	Term      uint64
	Boot      uint64
	Seq       uint64
	PrevTerm  uint64
	PrevIndex uint64
	Commit    uint64
	Round     uint64
	LastTerm  uint64
	LastIndex uint64
	ToBoot    uint64
	Match     uint64
	Have      uint64
	HintTerm  uint64
	HintIndex uint64
	SnapTerm  uint64 // Message.Fetch
	SnapIndex uint64
	Fetched   uint64
	Snapshot  blob // raft.AppendSnapshotMeta, or nil
	Entries   blob // appendEntries, or nil
}

const (
	flagReject uint32 = 1 << iota
	flagFull
	flagRefetch
	flagGranted
	flagTransfer
	flagLow
)

// blob is bytes that msgpack passes through as an extension: written from where
// they are, and read as a view of the frame without a copy.
type blob []byte

const blobTag = 1

type blobExt struct{}

func (blobExt) WriteExt(v any) []byte {
	switch b := v.(type) {
	case blob:
		return b
	case *blob:
		return *b
	}
	panic(fmt.Sprintf("blob extension given a %T", v))
}

func (blobExt) ReadExt(dst any, src []byte) { *dst.(*blob) = src }

// maxDepth is the nesting that our own bodies have, and some to skip.
const maxDepth = 8

func newHandle() *codec.MsgpackHandle {
	h := new(codec.MsgpackHandle)
	h.WriteExt = true
	h.MaxDepth = maxDepth
	h.MaxInitLen = 64
	if err := h.SetBytesExt(reflect.TypeFor[blob](), blobTag, blobExt{}); err != nil {
		panic(err) // the tag is a constant: a wrong program
	}
	return h
}

// encoder turns values into msgpack. One goroutine owns it.
type encoder struct {
	enc     *codec.Encoder
	wire    wireMessage
	entries []byte
	snap    []byte
}

func newEncoder() *encoder {
	return &encoder{enc: codec.NewEncoderBytes(new([]byte), newHandle())}
}

// append appends v, of which size is about the encoded length, to dst.
func (e *encoder) append(dst []byte, v any, size int) ([]byte, error) {
	dst = reserve(dst, size)
	// The codec overwrites its buffer from the start, so it gets the free end of ours.
	tail := dst[len(dst):]
	e.enc.ResetBytes(&tail)
	if err := e.enc.Encode(v); err != nil {
		return nil, fmt.Errorf("encode %T: %w", v, err)
	}
	if len(dst)+len(tail) <= cap(dst) && &tail[0] == &dst[:len(dst)+1][len(dst)] {
		return dst[:len(dst)+len(tail)], nil
	}
	return append(dst, tail...), nil
}

// reserve makes room for n more bytes, at least one.
func reserve(b []byte, n int) []byte {
	n = max(n, 1)
	if cap(b)-len(b) >= n {
		return b
	}
	grown := make([]byte, len(b), max(2*cap(b), len(b)+n))
	copy(grown, b)
	return grown
}

// messageSize is the most that a message without its blobs takes.
const messageSize = 256

func (e *encoder) appendMessage(dst []byte, m *raft.Message) ([]byte, error) {
	w := &e.wire
	*w = wireMessage{
		Kind: uint8(m.Kind), Term: uint64(m.Term), Boot: m.Boot, Seq: m.Seq,
		PrevTerm: uint64(m.Prev.Term), PrevIndex: uint64(m.Prev.Index),
		Commit: uint64(m.Commit), Round: m.Round,
		LastTerm: uint64(m.Last.Term), LastIndex: uint64(m.Last.Index), ToBoot: m.ToBoot,
		Match: uint64(m.Match), Have: uint64(m.Have),
		HintTerm: uint64(m.Hint.Term), HintIndex: uint64(m.Hint.Index),
		SnapTerm: uint64(m.Fetch.Term), SnapIndex: uint64(m.Fetch.Index), Fetched: m.Fetched,
	}
	for _, f := range [...]struct {
		set bool
		bit uint32
	}{{m.Reject, flagReject}, {m.Full, flagFull}, {m.Refetch, flagRefetch}, {m.Granted, flagGranted}, {m.Transfer, flagTransfer}, {m.Low, flagLow}} {
		if f.set {
			w.Flags |= f.bit
		}
	}
	if m.Snapshot != nil {
		e.snap = raft.AppendSnapshotMeta(e.snap[:0], *m.Snapshot)
		w.Snapshot = e.snap
	}
	if len(m.Entries) > 0 {
		block, err := appendEntries(reserve(e.entries[:0], entriesSize(m.Entries)), m.Entries)
		if err != nil {
			return nil, err
		}
		w.Entries = block
		if cap(block) <= keepBuffer {
			e.entries = block
		} else {
			e.entries = nil
		}
	}
	return e.append(dst, w, messageSize+len(w.Snapshot)+len(w.Entries))
}

var errMessage = errors.New("malformed message")

// decoder turns msgpack into values. One goroutine owns it.
type decoder struct {
	dec  *codec.Decoder
	wire wireMessage
}

func newDecoder() *decoder {
	return &decoder{dec: codec.NewDecoderBytes([]byte{}, newHandle())}
}

// value decodes b, which must hold exactly one value, into v.
func (d *decoder) value(b []byte, v any) error {
	if len(b) == 0 {
		return fmt.Errorf("decode %T: empty body: %w", v, errMessage)
	}
	d.dec.ResetBytes(b)
	if err := d.dec.Decode(v); err != nil {
		return fmt.Errorf("decode %T: %w: %w", v, err, errMessage)
	}
	if n := d.dec.NumBytesRead(); n != len(b) {
		return fmt.Errorf("decode %T: %d bytes too many: %w", v, len(b)-n, errMessage)
	}
	return nil
}

// messages decodes the messages in b and appends them to dst. If entries is
// false, b will be used again: nothing that is returned aliases it. Kinds that
// this binary does not know are left out.
func (d *decoder) messages(dst []raft.Message, b []byte, entries bool, from, to raft.NodeID) ([]raft.Message, error) {
	for len(b) > 0 {
		d.wire = wireMessage{}
		d.dec.ResetBytes(b)
		if err := d.dec.Decode(&d.wire); err != nil {
			return nil, fmt.Errorf("decode message: %w: %w", err, errMessage)
		}
		n := d.dec.NumBytesRead()
		if n <= 0 || n > len(b) {
			return nil, fmt.Errorf("decode message: %d of %d bytes read: %w", n, len(b), errMessage)
		}
		b = b[n:]
		if d.wire.Kind < uint8(raft.MsgAppend) || d.wire.Kind > uint8(raft.MsgTimeoutNow) {
			continue
		}
		// Appended first and filled in place: a Message is too big to copy about.
		dst = append(dst, raft.Message{Kind: raft.Kind(d.wire.Kind), From: from, To: to})
		if err := d.wire.fill(&dst[len(dst)-1], entries); err != nil {
			return nil, err
		}
	}
	return dst, nil
}

func (w *wireMessage) fill(m *raft.Message, entries bool) error {
	m.Term, m.Boot, m.Seq = raft.Term(w.Term), w.Boot, w.Seq
	m.Prev = raft.EntryID{Term: raft.Term(w.PrevTerm), Index: raft.Index(w.PrevIndex)}
	m.Commit, m.Round = raft.Index(w.Commit), w.Round
	m.Last = raft.EntryID{Term: raft.Term(w.LastTerm), Index: raft.Index(w.LastIndex)}
	m.ToBoot = w.ToBoot
	m.Match, m.Have = raft.Index(w.Match), raft.Index(w.Have)
	m.Hint = raft.EntryID{Term: raft.Term(w.HintTerm), Index: raft.Index(w.HintIndex)}
	m.Fetch = raft.EntryID{Term: raft.Term(w.SnapTerm), Index: raft.Index(w.SnapIndex)}
	m.Fetched = w.Fetched
	m.Reject, m.Full, m.Refetch = w.Flags&flagReject != 0, w.Flags&flagFull != 0, w.Flags&flagRefetch != 0
	m.Granted, m.Transfer, m.Low = w.Flags&flagGranted != 0, w.Flags&flagTransfer != 0, w.Flags&flagLow != 0
	if len(w.Snapshot) > 0 {
		s, err := raft.DecodeSnapshotMeta(w.Snapshot)
		if err != nil {
			return fmt.Errorf("decode message: %w: %w", err, errMessage)
		}
		m.Snapshot = &s
	}
	if len(w.Entries) > 0 {
		if !entries {
			return fmt.Errorf("entries in a frame for messages without: %w", errMessage)
		}
		es, err := decodeEntries(w.Entries)
		if err != nil {
			return fmt.Errorf("decode message: %w: %w", err, errMessage)
		}
		m.Entries = es
	}
	return nil
}
