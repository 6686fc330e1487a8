package raft

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrMalformed means that bytes are not an encoding that this package made.
var ErrMalformed = errors.New("malformed bytes")

// Bounds of decoding. They are constants of the format, not settings: bytes that
// one node accepted must be readable on every other.
const (
	maxMembers = 64
	maxRemoved = 1 << 16
	maxName    = 1 << 10
)

const configurationVersion = 1

// AppendConfiguration appends the encoding of c to dst. It is the data of an
// EntryConfig and part of snapshot headers; see docs/formats.md.
func AppendConfiguration(dst []byte, c Configuration) []byte {
	dst = append(dst, configurationVersion)
	dst = binary.AppendUvarint(dst, uint64(len(c.Members)))
	for _, m := range c.Members {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(m.ID))
		dst = appendString(dst, m.Name)
		dst = appendString(dst, m.Peer)
		dst = appendString(dst, m.Client)
		dst = appendString(dst, m.HTTP)
		dst = append(dst, boolByte(m.Learner))
	}
	dst = binary.AppendUvarint(dst, uint64(len(c.Removed)))
	for _, id := range c.Removed {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(id))
	}
	return dst
}

// DecodeConfiguration is the inverse of AppendConfiguration. The error wraps ErrMalformed.
func DecodeConfiguration(b []byte) (Configuration, error) {
	d := decoder{b: b}
	c := d.configuration()
	if err := d.end("configuration"); err != nil {
		return Configuration{}, err
	}
	return c, nil
}

const snapshotMetaVersion = 1

// AppendSnapshotMeta appends the encoding of s to dst: for snapshot headers and offers.
func AppendSnapshotMeta(dst []byte, s SnapshotMeta) []byte {
	dst = append(dst, snapshotMetaVersion)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(s.Last.Term))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(s.Last.Index))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(s.Time))
	dst = binary.LittleEndian.AppendUint32(dst, s.Level)
	dst = append(dst, s.Hash[:]...)
	return AppendConfiguration(dst, s.Config)
}

// DecodeSnapshotMeta is the inverse of AppendSnapshotMeta. The error wraps ErrMalformed.
func DecodeSnapshotMeta(b []byte) (SnapshotMeta, error) {
	d := decoder{b: b}
	var s SnapshotMeta
	d.version(snapshotMetaVersion)
	s.Last.Term = Term(d.u64())
	s.Last.Index = Index(d.u64())
	s.Time = Time(d.u64())
	s.Level = uint32(d.fixed(4))
	copy(s.Hash[:], d.take(len(s.Hash)))
	s.Config = d.configuration()
	if err := d.end("snapshot meta"); err != nil {
		return SnapshotMeta{}, err
	}
	return s, nil
}

func boolByte(b bool) byte {
	if b {
		return 1
	}
	return 0
}

func appendString(dst []byte, s string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

// decoder reads fields until the first fault and remembers that one.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) fault(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf(format, args...)
	}
}

// take returns the next n bytes, or n zeros after a fault; n is small and never from the input unchecked.
func (d *decoder) take(n int) []byte {
	if d.err == nil && n > len(d.b) {
		d.fault("%d bytes left, want %d", len(d.b), n)
	}
	if d.err != nil {
		return nil
	}
	out := d.b[:n]
	d.b = d.b[n:]
	return out
}

func (d *decoder) fixed(n int) uint64 {
	var buf [8]byte
	copy(buf[:], d.take(n))
	return binary.LittleEndian.Uint64(buf[:])
}

func (d *decoder) u64() uint64 { return d.fixed(8) }

func (d *decoder) version(want byte) {
	if got := byte(d.fixed(1)); d.err == nil && got != want {
		d.fault("version %d, this binary reads %d", got, want)
	}
}

// count reads a number of elements and refuses one above limit.
func (d *decoder) count(limit int) int {
	if d.err != nil {
		return 0
	}
	v, n := binary.Uvarint(d.b)
	if n <= 0 || v > uint64(limit) {
		d.fault("count above %d or cut off", limit)
		return 0
	}
	d.b = d.b[n:]
	return int(v)
}

func (d *decoder) str() string { return string(d.take(d.count(maxName))) }

func (d *decoder) configuration() Configuration {
	var c Configuration
	d.version(configurationVersion)
	for range d.count(maxMembers) {
		m := Member{ID: NodeID(d.u64()), Name: d.str(), Peer: d.str(), Client: d.str(), HTTP: d.str()}
		switch flag := byte(d.fixed(1)); flag {
		case 0, 1:
			m.Learner = flag == 1
		default:
			d.fault("learner flag %d", flag)
		}
		if n := len(c.Members); m.ID == None || n > 0 && c.Members[n-1].ID >= m.ID {
			d.fault("member %v out of order", m.ID)
		}
		if d.err != nil {
			return Configuration{}
		}
		c.Members = append(c.Members, m)
	}
	for range d.count(maxRemoved) {
		id := NodeID(d.u64())
		if n := len(c.Removed); id == None || n > 0 && c.Removed[n-1] >= id {
			d.fault("removed %v out of order", id)
		}
		if d.err != nil {
			return Configuration{}
		}
		c.Removed = append(c.Removed, id)
	}
	return c
}

// end tells the first fault; bytes left over are one.
func (d *decoder) end(what string) error {
	if len(d.b) > 0 {
		d.fault("%d bytes too many", len(d.b))
	}
	if d.err != nil {
		return fmt.Errorf("decode %s: %w: %w", what, d.err, ErrMalformed)
	}
	return nil
}
