package transport

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/raftkv/raftkv/raft"
)

// A block of entries. Their indexes are contiguous and their terms never
// descend, as in every log:
//
//	u8       version
//	uvarint  number of entries, at least 1
//	uvarint  index of the first
//	each: uvarint term less the term before (the first: less 0)
//	      u8 type
//	      varint time less the time before (the first: less 0), nanoseconds
//	      u32 length of the data, little-endian
//	      data
const blockVersion = 1

// minEntry is the least that an entry takes in a block. It bounds what a count
// can make the decoder allocate to eight times the bytes that came.
const minEntry = 1 + 1 + 1 + 4

var errBlock = errors.New("malformed entries")

// entriesSize is about what appendEntries appends, never less.
func entriesSize(es []raft.Entry) int {
	n := 1 + 2*binary.MaxVarintLen64
	for i := range es {
		n += 2*binary.MaxVarintLen64 + 5 + len(es[i].Data)
	}
	return n
}

// appendEntries appends the block of es, which is not empty.
func appendEntries(dst []byte, es []raft.Entry) ([]byte, error) {
	dst = append(dst, blockVersion)
	dst = binary.AppendUvarint(dst, uint64(len(es)))
	dst = binary.AppendUvarint(dst, uint64(es[0].Index))
	var term raft.Term
	var time raft.Time
	for i := range es {
		e := &es[i]
		if e.Index != es[0].Index+raft.Index(i) || e.Term < term {
			return nil, fmt.Errorf("entry %v does not follow term %d at index %d: %w", e.EntryID, term, es[0].Index+raft.Index(i)-1, errBlock)
		}
		if uint64(len(e.Data)) > 1<<32-1 {
			return nil, fmt.Errorf("entry %v has %d bytes: %w", e.EntryID, len(e.Data), errBlock)
		}
		dst = binary.AppendUvarint(dst, uint64(e.Term-term))
		dst = append(dst, byte(e.Type))
		dst = binary.AppendVarint(dst, int64(e.Time-time)) // may wrap; the decoder wraps back
		dst = binary.LittleEndian.AppendUint32(dst, uint32(len(e.Data)))
		dst = append(dst, e.Data...)
		term, time = e.Term, e.Time
	}
	return dst, nil
}

// decodeEntries is the inverse of appendEntries. The data of the entries alias b.
func decodeEntries(b []byte) ([]raft.Entry, error) {
	if len(b) == 0 || b[0] != blockVersion {
		return nil, fmt.Errorf("block version is not %d: %w", blockVersion, errBlock)
	}
	b = b[1:]
	count, n := binary.Uvarint(b)
	if n <= 0 {
		return nil, fmt.Errorf("count cut off: %w", errBlock)
	}
	b = b[n:]
	first, n := binary.Uvarint(b)
	if n <= 0 {
		return nil, fmt.Errorf("first index cut off: %w", errBlock)
	}
	b = b[n:]
	if count == 0 || count > uint64(len(b)/minEntry) {
		return nil, fmt.Errorf("%d entries in %d bytes: %w", count, len(b), errBlock)
	}
	if first == 0 || first+count < first {
		return nil, fmt.Errorf("%d entries from index %d: %w", count, first, errBlock)
	}
	es := make([]raft.Entry, count)
	var term, time uint64
	for i := range es {
		delta, n := binary.Uvarint(b)
		if n <= 0 || term+delta < term || len(b) < n+1 {
			return nil, fmt.Errorf("entry %d: bad term: %w", first+uint64(i), errBlock)
		}
		term += delta
		typ := raft.EntryType(b[n])
		b = b[n+1:]
		passed, n := binary.Varint(b)
		if n <= 0 || len(b) < n+4 {
			return nil, fmt.Errorf("entry %d: bad time: %w", first+uint64(i), errBlock)
		}
		time += uint64(passed)
		size := uint64(binary.LittleEndian.Uint32(b[n:]))
		b = b[n+4:]
		if size > uint64(len(b)) {
			return nil, fmt.Errorf("entry %d: %d bytes of data, %d are here: %w", first+uint64(i), size, len(b), errBlock)
		}
		es[i] = raft.Entry{
			EntryID: raft.EntryID{Term: raft.Term(term), Index: raft.Index(first + uint64(i))},
			Type:    typ,
			Time:    raft.Time(time),
		}
		if size > 0 {
			es[i].Data = b[:size:size]
		}
		b = b[size:]
	}
	if len(b) > 0 {
		return nil, fmt.Errorf("%d bytes after the last entry: %w", len(b), errBlock)
	}
	return es, nil
}
