package node

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/raftkv/raftkv/raft"
)

// Packets are what replicas say to each other about their clients' requests.
// They are no Raft messages: each is written once, to one connection, and
// never resent. See docs/formats.md:
//
//	packet   = version kind boot(8, big endian) item...
//	forward  : term, item = id count (length bytes)...
//	replies  :       item = id count (outcome reason index length bytes)...
//	readAsk  :       item = id
//	readTell :       item = id reason index
//	report   :       item = index level hash(16), see compare.go; boot is the sender's
//
// Numbers are uvarints. boot is the asking node's boot, in both directions: an
// answer to an earlier boot means nothing to the present one.
const packetVersion = 1

type packetKind byte

const (
	packetForward  packetKind = 1
	packetReplies  packetKind = 2
	packetReadAsk  packetKind = 3
	packetReadTell packetKind = 4
	packetReport   packetKind = 5
)

// Bounds of decoding. They are constants of the format.
const (
	packetHeader    = 10
	maxForwardItems = 1 << 16 // commands in one forward
)

// ErrMalformed means that bytes are not a packet that this package made.
var ErrMalformed = errors.New("malformed packet")

// reasonOther is an error that has no number.
const reasonOther = 255

// errOther stands for a reason of a newer version.
var errOther = errors.New("the leader refused for a reason that this version does not know")

// reasonOf is the number of an error on the wire. The numbers are the format's.
func reasonOf(err error) byte {
	if err == nil {
		return 0
	}
	for n := byte(1); n < reasonOther; n++ {
		e := errorOf(n)
		if e == errOther {
			break
		}
		if _, other := e.(*raft.NotLeaderError); other {
			if errors.As(err, new(*raft.NotLeaderError)) {
				return n
			}
		} else if errors.Is(err, e) {
			return n
		}
	}
	return reasonOther
}

func errorOf(reason byte) error {
	switch reason {
	case 0:
		return nil
	case 1:
		return &raft.NotLeaderError{}
	case 2:
		return raft.ErrBusy
	case 3:
		return raft.ErrTransfer
	case 4:
		return ErrNoSpace
	case 5:
		return ErrTimeout
	case 6:
		return ErrShutdown
	case 7:
		return ErrLostLead
	case 8:
		return ErrEarlier
	case 9:
		return ErrBusy
	case 10:
		return ErrNotReady
	case 11:
		return ErrLevel
	}
	return errOther
}

func appendPacket(dst []byte, k packetKind, boot uint64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, packetVersion, byte(k)), boot)
}

// appendForward appends one forward's head; appendCommand follows count times.
func appendForward(dst []byte, id uint64, count int) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(dst, id), uint64(count))
}

func appendCommand(dst, cmd []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(cmd))), cmd...)
}

func appendReply(dst []byte, p Reply) []byte {
	dst = append(dst, byte(p.Outcome), reasonOf(p.Err))
	dst = binary.AppendUvarint(dst, uint64(p.Index))
	return appendCommand(dst, p.Result)
}

func appendReadTell(dst []byte, id uint64, index raft.Index, err error) []byte {
	dst = binary.AppendUvarint(dst, id)
	dst = append(dst, reasonOf(err))
	return binary.AppendUvarint(dst, uint64(index))
}

// packetReader reads a packet. After a fault it stays at the end with err set.
// What it returns aliases the packet.
type packetReader struct {
	b   []byte
	err error
}

func (d *packetReader) fault(what string) {
	if d.err == nil {
		d.err = fmt.Errorf("packet: %s: %w", what, ErrMalformed)
	}
	d.b = nil
}

func (d *packetReader) more() bool { return d.err == nil && len(d.b) > 0 }

func (d *packetReader) header() (packetKind, uint64) {
	if len(d.b) < packetHeader {
		d.fault("shorter than its header")
		return 0, 0
	}
	if d.b[0] != packetVersion {
		d.fault(fmt.Sprintf("version %d, want %d", d.b[0], packetVersion))
		return 0, 0
	}
	k, boot := packetKind(d.b[1]), binary.BigEndian.Uint64(d.b[2:])
	d.b = d.b[packetHeader:]
	if k < packetForward || k > packetReport {
		d.fault("unknown kind")
	}
	return k, boot
}

func (d *packetReader) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fault("number")
		return 0
	}
	d.b = d.b[n:]
	return v
}

// count reads a number of elements, of at least size bytes each.
func (d *packetReader) count(size int) int {
	v := d.uvarint()
	if v == 0 || v > maxForwardItems || v > uint64(len(d.b)/size) {
		d.fault("count")
		return 0
	}
	return int(v)
}

func (d *packetReader) byte() byte {
	if len(d.b) == 0 {
		d.fault("ends early")
		return 0
	}
	v := d.b[0]
	d.b = d.b[1:]
	return v
}

func (d *packetReader) bytes() []byte {
	v := d.uvarint()
	if v > uint64(len(d.b)) {
		d.fault("length")
		return nil
	}
	p := d.b[:v:v]
	d.b = d.b[v:]
	return p
}

func (d *packetReader) reply() Reply {
	p := Reply{Outcome: Outcome(d.byte()), Err: errorOf(d.byte()), Index: raft.Index(d.uvarint()), Result: d.bytes()}
	switch {
	case d.err != nil:
	case p.Outcome < Applied || p.Outcome > Unknown:
		d.fault("outcome")
	case (p.Outcome == Applied) != (p.Err == nil):
		d.fault("outcome and reason contradict each other")
	}
	return p
}

// Refusal is what the inbox keeps of a packet for which it has no room.
type Refusal struct {
	To   raft.NodeID
	kind packetKind
	boot uint64
	ids  []uint64
	n    []int // commands of each forward
}

// refusalOf reads from a packet who must be told that it was not taken. ok is
// false if nobody waits for an answer.
func refusalOf(from raft.NodeID, b []byte) (f Refusal, ok bool) {
	d := packetReader{b: b}
	f.To = from
	f.kind, f.boot = d.header()
	switch f.kind {
	case packetForward:
		d.uvarint() // term
		for d.more() {
			id, n := d.uvarint(), d.count(1)
			for range n {
				d.bytes()
			}
			if d.err == nil {
				f.ids, f.n = append(f.ids, id), append(f.n, n)
			}
		}
	case packetReadAsk:
		for d.more() {
			if id := d.uvarint(); d.err == nil {
				f.ids = append(f.ids, id)
			}
		}
	}
	return f, d.err == nil && len(f.ids) > 0
}
