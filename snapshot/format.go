package snapshot

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/zeebo/xxh3"

	"github.com/raftkv/raftkv/raft"
)

// Constants of the format, see docs/formats-snapshot.md. The limits are not
// settings: a file that one node wrote must be readable on every other.
const (
	headMagic     = "RKVSNAP\n"
	footMagic     = "\nRKVEND\n"
	formatVersion = 1

	crcSize   = 4
	headFixed = len(headMagic) + 4 + 4 + crcSize          // magic, version, length of the description, crc
	metaMax   = 1 << 20                                   // bytes of an encoded raft.SnapshotMeta
	blockHead = 4 + crcSize                               // length, checksum
	blockMax  = 256 << 10                                 // bytes of content in one block
	footSize  = 4 + 8 + 8 + 16 + len(footMagic) + crcSize // mark, content, blocks, sum, magic, crc
)

var (
	// ErrDamaged means that a file fails its checksums or is cut off. The node
	// takes another snapshot, or fetches one from another node.
	ErrDamaged = errors.New("snapshot is damaged")
	// ErrNotFound means that there is no such snapshot.
	ErrNotFound = errors.New("no such snapshot")
	// ErrVersion means that a file was written by a newer release. It is left alone.
	ErrVersion = errors.New("snapshot is of a newer format")
	// ErrMismatch means that a file describes another snapshot than the one asked for.
	ErrMismatch = errors.New("not the snapshot that was asked for")
	// ErrTooLarge means that a file passes Options.MaxBytes.
	ErrTooLarge = errors.New("snapshot is too large")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// chain is what writer and scanner carry from frame to frame (header, block,
// block, ..., footer). Each frame's crc goes on from the one before: a frame of
// another file, or in another place, doesn't fit. That is how a transfer
// notices that it was continued from another file.
type chain struct {
	crc     uint32       // over all frames so far, their checksums left out
	sum     *xxh3.Hasher // over all bytes so far
	size    uint64       // bytes so far
	content uint64       // of these, content
	blocks  uint64
}

func newChain() chain { return chain{sum: xxh3.New()} }

// extend is the crc that the next frame must carry, if it consists of parts.
func (c *chain) extend(parts ...[]byte) uint32 {
	crc := c.crc
	for _, p := range parts {
		crc = crc32.Update(crc, castagnoli, p)
	}
	return crc
}

// take moves on behind a frame: its raw bytes, and the crc that it carries.
func (c *chain) take(raw []byte, crc uint32) {
	c.crc = crc
	c.size += uint64(len(raw))
	c.sum.Write(raw)
}

// appendHeader appends the first frame to dst.
func (c *chain) appendHeader(dst []byte, meta raft.SnapshotMeta) ([]byte, error) {
	if meta.Last.Index == 0 {
		return dst, errors.New("encode snapshot header: no last entry")
	}
	m := raft.AppendSnapshotMeta(nil, meta)
	if len(m) > metaMax {
		return dst, fmt.Errorf("encode snapshot header: description of %d bytes, at most %d: %w", len(m), metaMax, ErrTooLarge)
	}
	start := len(dst)
	dst = append(dst, headMagic...)
	dst = binary.LittleEndian.AppendUint32(dst, formatVersion)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(m)))
	dst = binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
	dst = append(dst, m...)
	crc := c.extend(dst[start:])
	dst = binary.LittleEndian.AppendUint32(dst, crc)
	c.take(dst[start:], crc)
	return dst, nil
}

// appendBlock appends one block with 1 to blockMax bytes of content to dst.
func (c *chain) appendBlock(dst, data []byte) []byte {
	if len(data) == 0 || len(data) > blockMax {
		panic(fmt.Sprintf("snapshot block of %d bytes, want 1 to %d", len(data), blockMax))
	}
	start := len(dst)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(data)))
	crc := c.extend(dst[start:], data)
	dst = binary.LittleEndian.AppendUint32(dst, crc)
	dst = append(dst, data...)
	c.take(dst[start:], crc)
	c.content += uint64(len(data))
	c.blocks++
	return dst
}

// appendFooter appends the last frame to dst. Its mark stands where a block has its length.
func (c *chain) appendFooter(dst []byte) []byte {
	start := len(dst)
	dst = c.footer(dst)
	crc := c.extend(dst[start:])
	dst = binary.LittleEndian.AppendUint32(dst, crc)
	c.take(dst[start:], crc)
	return dst
}

// footer appends the last frame without its crc: it says all that was counted.
func (c *chain) footer(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, 0)
	dst = binary.LittleEndian.AppendUint64(dst, c.content)
	dst = binary.LittleEndian.AppendUint64(dst, c.blocks)
	sum := c.sum.Sum128().Bytes()
	dst = append(dst, sum[:]...)
	return append(dst, footMagic...)
}
