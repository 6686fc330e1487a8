package raftlog

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/raftkv/raftkv/raft"
)

// The values in a segment, little-endian. Every value begins with crc32c over
// the number of the segment, the key and the rest of the value, so that a value
// at another place, or left over from the file's earlier life, is damage too.
//
//	chunk of consecutive entries of one Write, key = index of the first (8 bytes, big-endian):
//	  0 sum 4 | 4 version 1 | then each entry:
//	    0 type 1 | 1 term 8 | 9 time 8 | 17 length 4 | 21 data
//	state, key = "state":
//	  0 sum 4 | 4 version 1 | 5 fence 1 | 6 term 8 | 14 vote 8 | 22 commit 8 | 30 seq 8 |
//	  38 base term 8 | 46 base index 8 | 54 last term 8 | 62 last index 8 |
//	  70 from 8 | 78 term of the entry before from 8
const (
	chunkVersion = 1
	chunkHeader  = 5
	entryHeader  = 21

	// chunkBytes is how long a chunk of several entries is at most: two of them fit a page,
	// and bbolt puts no fewer than two values on one. An entry that is longer is a
	// chunk alone. A key and a place in the tree for each entry cost more than the entry.
	chunkBytes   = 2000
	stateVersion = 1
	stateSize    = 86
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// record is the state as one segment has it: after the last transaction in it.
type record struct {
	state raft.HardState
	fence raft.Fence
	seq   uint64
	base  raft.EntryID
	last  raft.EntryID // the end of the whole log
	from  raft.Index   // from here on this segment, not an older one, has the log
	prev  raft.Term    // of the entry before from
}

func keyOf(i raft.Index) (key [8]byte) {
	binary.BigEndian.PutUint64(key[:], uint64(i))
	return key
}

// salt is the checksum of a segment's number: where the sum of its values begins.
type salt uint32

func saltOf(segment uint64) salt {
	return salt(crc32.Checksum(binary.LittleEndian.AppendUint64(nil, segment), castagnoli))
}

// sum is the checksum of a value that begins with room for it.
func (s salt) sum(key, value []byte) uint32 {
	return crc32.Update(crc32.Update(uint32(s), castagnoli, key), castagnoli, value[4:])
}

// chunkLen is how many of the entries the next chunk takes, at least one.
func chunkLen(es []raft.Entry) int {
	n, size := 1, chunkHeader+entryHeader+len(es[0].Data)
	for n < len(es) {
		if size += entryHeader + len(es[n].Data); size > chunkBytes {
			break
		}
		n++
	}
	return n
}

// appendChunk appends the value of es, which are consecutive and begin at key's index, to dst.
func appendChunk(dst []byte, s salt, key []byte, es []raft.Entry) []byte {
	at := len(dst)
	dst = append(dst, 0, 0, 0, 0, chunkVersion)
	for i := range es {
		e := &es[i]
		dst = append(dst, byte(e.Type))
		dst = binary.LittleEndian.AppendUint64(dst, uint64(e.Term))
		dst = binary.LittleEndian.AppendUint64(dst, uint64(e.Time))
		dst = binary.LittleEndian.AppendUint32(dst, uint32(len(e.Data)))
		dst = append(dst, e.Data...)
	}
	binary.LittleEndian.PutUint32(dst[at:], s.sum(key, dst[at:]))
	return dst
}

// decodeChunk is the inverse of appendChunk. It appends the entries to dst; their data lies in value.
func decodeChunk(dst []raft.Entry, s salt, key, value []byte) ([]raft.Entry, error) {
	if len(key) != 8 {
		return nil, fmt.Errorf("entry key of %d bytes, want 8: %w", len(key), ErrCorrupt)
	}
	index := binary.BigEndian.Uint64(key)
	if len(value) < chunkHeader+entryHeader {
		return nil, fmt.Errorf("entry %d: %d bytes, an empty one has %d: %w", index, len(value), chunkHeader+entryHeader, ErrCorrupt)
	}
	if want, got := binary.LittleEndian.Uint32(value), s.sum(key, value); got != want {
		return nil, fmt.Errorf("entry %d: checksum %08x, want %08x: %w", index, got, want, ErrCorrupt)
	}
	if v := value[4]; v != chunkVersion {
		return nil, fmt.Errorf("entry %d: version %d, this binary reads %d: %w", index, v, chunkVersion, ErrVersion)
	}
	for b := value[chunkHeader:]; len(b) > 0; index++ {
		if len(b) < entryHeader {
			return nil, fmt.Errorf("entry %d: %d bytes, the header alone has %d: %w", index, len(b), entryHeader, ErrCorrupt)
		}
		size := uint64(binary.LittleEndian.Uint32(b[17:]))
		if size > uint64(len(b)-entryHeader) {
			return nil, fmt.Errorf("entry %d: %d bytes of data, %d are there: %w", index, size, len(b)-entryHeader, ErrCorrupt)
		}
		end := entryHeader + int(size)
		dst = append(dst, raft.Entry{
			EntryID: raft.EntryID{Term: raft.Term(binary.LittleEndian.Uint64(b[1:])), Index: raft.Index(index)},
			Type:    raft.EntryType(b[0]),
			Time:    raft.Time(binary.LittleEndian.Uint64(b[9:])),
			Data:    b[entryHeader:end:end],
		})
		b = b[end:]
	}
	return dst, nil
}

// appendRecord appends the value of r to dst.
func appendRecord(dst []byte, s salt, r *record) []byte {
	at := len(dst)
	dst = append(dst, 0, 0, 0, 0, stateVersion, byte(r.fence))
	for _, v := range [...]uint64{
		uint64(r.state.Term), uint64(r.state.Vote), uint64(r.state.Commit), r.seq,
		uint64(r.base.Term), uint64(r.base.Index), uint64(r.last.Term), uint64(r.last.Index),
		uint64(r.from), uint64(r.prev),
	} {
		dst = binary.LittleEndian.AppendUint64(dst, v)
	}
	binary.LittleEndian.PutUint32(dst[at:], s.sum(stateKey, dst[at:]))
	return dst
}

// decodeRecord is the inverse of appendRecord.
func decodeRecord(s salt, value []byte) (record, error) {
	if len(value) != stateSize {
		return record{}, fmt.Errorf("state: %d bytes, want %d: %w", len(value), stateSize, ErrCorrupt)
	}
	if want, got := binary.LittleEndian.Uint32(value), s.sum(stateKey, value); got != want {
		return record{}, fmt.Errorf("state: checksum %08x, want %08x: %w", got, want, ErrCorrupt)
	}
	if v := value[4]; v != stateVersion {
		return record{}, fmt.Errorf("state: version %d, this binary reads %d: %w", v, stateVersion, ErrVersion)
	}
	u64 := func(at int) uint64 { return binary.LittleEndian.Uint64(value[at:]) }
	r := record{
		fence: raft.Fence(value[5]),
		state: raft.HardState{Term: raft.Term(u64(6)), Vote: raft.NodeID(u64(14)), Commit: raft.Index(u64(22))},
		seq:   u64(30),
		base:  raft.EntryID{Term: raft.Term(u64(38)), Index: raft.Index(u64(46))},
		last:  raft.EntryID{Term: raft.Term(u64(54)), Index: raft.Index(u64(62))},
		from:  raft.Index(u64(70)),
		prev:  raft.Term(u64(78)),
	}
	if r.fence > raft.FenceForever || r.base.Index > r.last.Index || r.from == 0 || r.from > r.last.Index+1 {
		return record{}, fmt.Errorf("state: fence %d, base %v, last %v, from %d: %w", r.fence, r.base, r.last, r.from, ErrCorrupt)
	}
	return r, nil
}

// indexOf is the inverse of keyOf; a key of another length is no index.
func indexOf(key []byte) raft.Index {
	if len(key) != 8 {
		return 0
	}
	return raft.Index(binary.BigEndian.Uint64(key))
}

// arena gives entries copies of their data in few allocations. Neighbours leave
// the log together, so that little is kept alive by one that stays.
type arena struct{ free []byte }

const arenaBytes = 64 << 10

func (a *arena) copy(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	if len(b) > arenaBytes/4 {
		return append([]byte(nil), b...)
	}
	if len(a.free) < len(b) {
		a.free = make([]byte, arenaBytes)
	}
	out := a.free[:len(b):len(b)]
	copy(out, b)
	a.free = a.free[len(b):]
	return out
}
