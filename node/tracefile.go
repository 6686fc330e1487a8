package node

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/raftkv/raftkv/raft"
)

// ErrTrace means that bytes are not a trace file that this program reads.
var ErrTrace = errors.New("not a trace of this program")

var errNoTrace = errors.New("this node records nothing")

// The form of a trace file; see docs/formats.md.
const (
	traceMagic   = "RKVTRACE"
	traceVersion = 1
	traceText    = 1 << 20 // most bytes of a text
	traceWindows = 2
)

var traceSum = crc32.MakeTable(crc32.Castagnoli)

// TraceFile is what a flight recorder knew when it was asked.
type TraceFile struct {
	Reason  string // why it was written
	Name    string // of the node
	Version string // of the program that wrote it
	Time    raft.Time
	windows []*window // older first
	images  raft.ImageReader
}

// Trace returns what the flight recorder knows, as a trace file. Anybody may
// ask, at any time: also while the loop stands still. now is the wall clock.
func (r *Replica) Trace(reason string, now raft.Time) ([]byte, error) {
	rec := r.core.rec
	if rec == nil {
		return nil, errNoTrace
	}
	t := TraceFile{Reason: reason, Name: r.cfg.Name, Version: r.cfg.Version, Time: now, windows: rec.windows()}
	return t.encode(), nil
}

// windows is what was recorded up to now. The loop waits for a copy of the events
// only; a core at a window's start, with its log, is what nobody changes any more.
func (r *recorder) windows() []*window {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []*window
	for _, w := range []*window{r.older, r.now} {
		if w.start != nil {
			out = append(out, &window{
				start: w.start, events: slices.Clone(w.events), messages: slices.Clone(w.messages),
				metas: slices.Clone(w.metas), members: slices.Clone(w.members), bytes: w.bytes,
			})
		}
	}
	return out
}

func (t *TraceFile) encode() []byte {
	b := append([]byte(traceMagic), traceVersion)
	for _, s := range []string{t.Reason, t.Name, t.Version} {
		b = appendTraceBytes(b, []byte(s[:min(len(s), traceText)]))
	}
	b = binary.AppendUvarint(b, uint64(t.Time))
	b = append(b, byte(len(t.windows)))
	for _, w := range t.windows {
		b = appendTraceBytes(b, w.start.AppendImage(nil))
		b = w.appendEvents(b)
	}
	return seal(b)
}

// seal appends the checksum of everything before it.
func seal(b []byte) []byte { return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, traceSum)) }

func appendTraceBytes(dst, s []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func (w *window) appendEvents(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(w.events)))
	messages, metas, members := w.messages, w.metas, w.members
	var buf []byte
	for i := range w.events {
		h := &w.events[i]
		b = append(b, byte(h.kind), byte(bit(h.flag)|bit(h.install)<<1))
		b = binary.AppendUvarint(b, h.a)
		b = binary.AppendUvarint(b, h.b)
		b = binary.AppendUvarint(b, h.c)
		switch {
		case h.kind == evReceive:
			buf = raft.AppendTraceMessage(buf[:0], &messages[0])
			messages = messages[1:]
		case h.kind == evCompact || h.kind == evInstalled:
			buf = raft.AppendSnapshotMeta(buf[:0], metas[0])
			metas = metas[1:]
		case h.kind == evChangeMember && h.flag:
			buf = raft.AppendConfiguration(buf[:0], raft.Configuration{Members: members[:1]})
			members = members[1:]
		default:
			continue
		}
		b = appendTraceBytes(b, buf)
	}
	return b
}

// ReadTrace reads a trace file. The error wraps ErrTrace.
func ReadTrace(b []byte) (*TraceFile, error) {
	t, err := readTrace(b)
	if err != nil {
		return nil, fmt.Errorf("read trace: %w: %w", err, ErrTrace)
	}
	return t, nil
}

func readTrace(b []byte) (*TraceFile, error) {
	const sum = 4
	switch {
	case len(b) < len(traceMagic)+1+sum || string(b[:len(traceMagic)]) != traceMagic:
		return nil, errors.New("it does not begin like one")
	case b[len(traceMagic)] != traceVersion:
		return nil, fmt.Errorf("version %d, this program reads %d", b[len(traceMagic)], traceVersion)
	}
	body, want := b[:len(b)-sum], binary.LittleEndian.Uint32(b[len(b)-sum:])
	if got := crc32.Checksum(body, traceSum); got != want {
		return nil, fmt.Errorf("checksum %08x, want %08x: it is cut off or damaged", got, want)
	}
	d := packetReader{b: body[len(traceMagic)+1:]}
	t := &TraceFile{Reason: string(d.bytes()), Name: string(d.bytes()), Version: string(d.bytes()), Time: raft.Time(d.uvarint())}
	n := int(d.byte())
	if d.err == nil && (n < 1 || n > traceWindows) {
		return nil, fmt.Errorf("%d windows", n)
	}
	for range n {
		start, err := t.images.Core(d.bytes())
		if d.err != nil {
			break
		}
		w := &window{start: start}
		if err == nil {
			err = w.readEvents(&d, &t.images)
		}
		if err != nil {
			return nil, fmt.Errorf("%w; it was written by %q, which reads it if this program doesn't", err, t.Version)
		}
		t.windows = append(t.windows, w)
	}
	if d.more() {
		d.fault("bytes too many")
	}
	return t, d.err
}

// leastEvent is how many bytes an event takes at least.
const leastEvent = 5

func (w *window) readEvents(d *packetReader, images *raft.ImageReader) error {
	count := d.uvarint()
	if count > uint64(len(d.b)/leastEvent) {
		d.fault("count")
		count = 0
	}
	for range count {
		h := happening{kind: happeningKind(d.byte())}
		flags := d.byte()
		h.flag, h.install = flags&1 != 0, flags&2 != 0
		h.a, h.b, h.c = d.uvarint(), d.uvarint(), d.uvarint()
		var err error
		switch {
		case d.err != nil:
			return d.err
		case h.kind < evTick || h.kind > evLow || flags > 3:
			return fmt.Errorf("event of kind %d, flags %d", h.kind, flags)
		case h.kind == evReceive:
			var m raft.Message
			m, err = images.Message(d.bytes())
			w.messages = append(w.messages, m)
		case h.kind == evCompact || h.kind == evInstalled:
			var s raft.SnapshotMeta
			s, err = raft.DecodeSnapshotMeta(d.bytes())
			w.metas = append(w.metas, s)
		case h.kind == evChangeMember && h.flag:
			var c raft.Configuration
			if c, err = raft.DecodeConfiguration(d.bytes()); err == nil && len(c.Members) != 1 {
				err = fmt.Errorf("change of %d members", len(c.Members))
			}
			w.members = append(w.members, c.Members...)
		case h.kind == evPropose && h.a > maxTracedProposal:
			err = fmt.Errorf("proposal of %d bytes", h.a)
		}
		if d.err != nil {
			return d.err
		}
		if err != nil {
			return err
		}
		w.events = append(w.events, h)
	}
	return d.err
}

// maxTracedProposal is above every limit on commands, in bytes.
const maxTracedProposal = 1 << 28
