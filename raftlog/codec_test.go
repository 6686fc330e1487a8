package raftlog

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"testing"

	"github.com/raftkv/raftkv/internal/fuzztest"
	"github.com/raftkv/raftkv/raft"
)

// The bytes on disk, for ever (docs/formats-raftlog.md).
const (
	goldenEntry = "7310ec130102030000000000000004000000000000000500000068656c6c6f"
	goldenState = "cebc7c3d01010100000000000000020000000000000003000000000000000400000000000000050000000000000006000000000000000700000000000000080000000000000009000000000000000a00000000000000"
)

var (
	anEntry = raft.Entry{EntryID: raft.EntryID{Term: 3, Index: 0x0102030405060708}, Type: raft.EntryCommand, Time: 4, Data: []byte("hello")}
	aRecord = record{
		state: raft.HardState{Term: 1, Vote: 2, Commit: 3}, fence: raft.FenceOneBack, seq: 4,
		base: raft.EntryID{Term: 5, Index: 6}, last: raft.EntryID{Term: 7, Index: 8}, from: 9, prev: 10,
	}
)

func TestGoldenBytes(t *testing.T) {
	key := keyOf(anEntry.Index)
	if got := hex.EncodeToString(key[:]); got != "0102030405060708" {
		t.Errorf("key %s", got)
	}
	if got := hex.EncodeToString(appendChunk(nil, saltOf(1), key[:], []raft.Entry{anEntry})); got != goldenEntry {
		t.Errorf("entry %s", got)
	}
	if got := hex.EncodeToString(appendRecord(nil, saltOf(1), &aRecord)); got != goldenState {
		t.Errorf("state %s", got)
	}
}

func TestDecodeIsTheInverse(t *testing.T) {
	key := keyOf(anEntry.Index)
	second := anEntry
	second.Index, second.Term, second.Data = anEntry.Index+1, 4, nil
	es, err := decodeChunk(nil, saltOf(9), key[:], appendChunk(nil, saltOf(9), key[:], []raft.Entry{anEntry, second}))
	if err != nil || len(es) != 2 || es[1].EntryID != second.EntryID || len(es[1].Data) != 0 {
		t.Fatalf("%+v, %v", es, err)
	}
	e := es[0]
	if e.EntryID != anEntry.EntryID || e.Type != anEntry.Type || e.Time != anEntry.Time || !bytes.Equal(e.Data, anEntry.Data) {
		t.Errorf("%+v, %v", e, err)
	}
	r, err := decodeRecord(saltOf(9), appendRecord(nil, saltOf(9), &aRecord))
	if err != nil || r != aRecord {
		t.Errorf("%+v, %v", r, err)
	}
}

// A whole value at another place is damage: another key, another segment.
func TestValueAtAnotherPlace(t *testing.T) {
	key, other := keyOf(7), keyOf(8)
	value := appendChunk(nil, saltOf(1), key[:], []raft.Entry{anEntry})
	if _, err := decodeChunk(nil, saltOf(1), other[:], value); !errors.Is(err, ErrCorrupt) {
		t.Errorf("other key: %v", err)
	}
	if _, err := decodeChunk(nil, saltOf(2), key[:], value); !errors.Is(err, ErrCorrupt) {
		t.Errorf("other segment: %v", err)
	}
	if _, err := decodeChunk(nil, saltOf(1), key[:7], value); !errors.Is(err, ErrCorrupt) {
		t.Errorf("short key: %v", err)
	}
	if _, err := decodeRecord(saltOf(2), appendRecord(nil, saltOf(1), &aRecord)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("state of another segment: %v", err)
	}
	for n := range value {
		if _, err := decodeChunk(nil, saltOf(1), key[:], value[:n]); !errors.Is(err, ErrCorrupt) {
			t.Errorf("first %d bytes: %v", n, err)
		}
	}
}

// A newer version is no damage: the binary is too old (UP-03).
func TestNewerVersionIsRefusedAsSuch(t *testing.T) {
	key := keyOf(7)
	value := appendChunk(nil, saltOf(1), key[:], []raft.Entry{anEntry})
	value[4]++
	binary.LittleEndian.PutUint32(value, saltOf(1).sum(key[:], value))
	if _, err := decodeChunk(nil, saltOf(1), key[:], value); !errors.Is(err, ErrVersion) || errors.Is(err, ErrCorrupt) {
		t.Errorf("entry: %v", err)
	}
	value = appendRecord(nil, saltOf(1), &aRecord)
	value[4]++
	binary.LittleEndian.PutUint32(value, saltOf(1).sum(stateKey, value))
	if _, err := decodeRecord(saltOf(1), value); !errors.Is(err, ErrVersion) || errors.Is(err, ErrCorrupt) {
		t.Errorf("state: %v", err)
	}
}

// Chunks hold as many entries as fit, and one that is larger alone.
func TestChunkLen(t *testing.T) {
	of := func(sizes ...int) (es []raft.Entry) {
		for _, n := range sizes {
			es = append(es, raft.Entry{Data: make([]byte, n)})
		}
		return es
	}
	full := chunkBytes - chunkHeader - entryHeader
	for _, tc := range []struct {
		sizes []int
		want  int
	}{
		{[]int{0}, 1},
		{[]int{full}, 1},
		{[]int{full, 0}, 1},
		{[]int{full - entryHeader, 0, 0}, 2},
		{[]int{full + 1, 0}, 1},
		{[]int{10 * chunkBytes, 10}, 1},
		{[]int{0, 10 * chunkBytes}, 1},
		{[]int{280, 280, 280, 280, 280, 280, 280, 280}, 6},
	} {
		es := of(tc.sizes...)
		n := chunkLen(es)
		if n != tc.want {
			t.Errorf("sizes %v: %d, want %d", tc.sizes, n, tc.want)
		}
		if size := len(appendChunk(nil, 0, nil, es[:n])); n > 1 && size > chunkBytes {
			t.Errorf("sizes %v: a chunk of %d bytes", tc.sizes, size)
		}
	}
}

// A chunk that ends early or goes on too long is damage, whatever its checksum says.
func TestChunkOfOtherLengthThanItsEntries(t *testing.T) {
	key := keyOf(7)
	good := appendChunk(nil, saltOf(1), key[:], []raft.Entry{anEntry, anEntry})
	for n := chunkHeader; n <= len(good)+1; n++ {
		b := append(bytes.Clone(good), 0)[:n]
		binary.LittleEndian.PutUint32(b, saltOf(1).sum(key[:], b))
		es, err := decodeChunk(nil, saltOf(1), key[:], b)
		whole := n == len(good) || n == chunkHeader+(len(good)-chunkHeader)/2
		if whole != (err == nil) || !whole && !errors.Is(err, ErrCorrupt) {
			t.Errorf("%d of %d bytes: %d entries, %v", n, len(good), len(es), err)
		}
	}
}

// Values with a right checksum and any content are read as what they are, or not at all.
func FuzzDecodeValue(f *testing.F) {
	key := keyOf(7)
	f.Add(uint64(7), appendChunk(nil, saltOf(1), key[:], []raft.Entry{anEntry, anEntry}))
	f.Add(uint64(0), appendRecord(nil, saltOf(1), &aRecord))
	f.Add(uint64(1), []byte{1, 2, 3})
	f.Fuzz(func(t *testing.T, index uint64, value []byte) {
		fuzztest.Bounded(t, len(value), 64<<10, 256, func() {
			s, key := saltOf(1), keyOf(raft.Index(index))
			if len(value) >= 4 { // else nearly every input ends at its checksum
				binary.LittleEndian.PutUint32(value, s.sum(key[:], value))
			}
			es, err := decodeChunk(nil, s, key[:], value)
			switch {
			case err == nil:
				if again := appendChunk(nil, s, key[:], es); !bytes.Equal(again, value) {
					t.Errorf("%x became %x", value, again)
				}
			case !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion):
				t.Error(err)
			}
			if len(value) >= 4 {
				binary.LittleEndian.PutUint32(value, s.sum(stateKey, value))
			}
			r, err := decodeRecord(s, value)
			switch {
			case err == nil:
				if again := appendRecord(nil, s, &r); !bytes.Equal(again, value) {
					t.Errorf("%x became %x", value, again)
				}
			case !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion):
				t.Error(err)
			}
		})
	})
}
