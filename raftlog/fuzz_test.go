package raftlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/fnv"
	"os"
	"path/filepath"
	"testing"

	"github.com/raftkv/raftkv/internal/fuzztest"
	"github.com/raftkv/raftkv/raft"
)

// patch writes over a segment file: 2 bytes say at which fourth byte, 1 how many
// bytes follow.
func patch(file, patches []byte) {
	for len(patches) >= 3 {
		at, n := 4*int(binary.LittleEndian.Uint16(patches)), min(int(patches[2]), len(patches)-3)
		if at < len(file) {
			copy(file[at:], patches[3:3+n])
		}
		patches = patches[3+n:]
	}
}

// sealMeta makes the checksum of a meta page right.
func sealMeta(page []byte) {
	h := fnv.New64a()
	h.Write(page[pageHeader : pageHeader+56])
	binary.LittleEndian.PutUint64(page[pageHeader+56:], h.Sum64())
}

// Whatever a segment file holds, reading it ends with an answer, at a cost that goes by
// the file's size and not by what it claims. With sealed the meta pages are believed,
// however they are patched.
func FuzzReadSegment(f *testing.F) {
	dir, _ := sample(f)
	whole, err := os.ReadFile(segmentPath(dir, 1))
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{}, false)
	at := func(offset int, bytes ...byte) []byte {
		return append(append(binary.LittleEndian.AppendUint16(nil, uint16(offset/4)), byte(len(bytes))), bytes...)
	}
	f.Add(at(3*pageSize+8, 0xff), false)
	f.Add(at(pageHeader+16, 4), true)                                            // the root
	f.Add(append(at(pageHeader+40, 0xff, 0xff), at(4*pageSize+12, 1)...), true)  // the count of pages, an overflow
	f.Add(at(5*pageSize+pageHeader+4, 0x20, 0, 0, 0, 7, 0, 0, 0, 0, 1, 0), true) // an element
	f.Fuzz(func(t *testing.T, patches []byte, sealed bool) {
		b := bytes.Clone(whole)
		patch(b, patches)
		if sealed {
			sealMeta(b)
			sealMeta(b[pageSize:])
		}
		path := filepath.Join(t.TempDir(), segmentName(1))
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		fuzztest.Bounded(t, len(b), 256<<10, 32, func() {
			if _, err := readChain(filepath.Dir(path), false); err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
				t.Error(err)
			}
		})
	})
}

// Whatever stands in the second copy of term and vote, below its checksum: a ballot that is
// written again as the same, or damage.
func FuzzDecodeBallot(f *testing.F) {
	for _, v := range []ballot{{}, {term: 3, vote: 7, seq: 9, fence: raft.FenceOneBack}} {
		f.Add(appendBallot(nil, v))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var v ballot
		var err error
		fuzztest.Bounded(t, len(b), 64<<10, 1, func() { v, err = decodeBallot(b) })
		switch {
		case err == nil:
			if again := appendBallot(nil, v); !bytes.Equal(again, b) {
				t.Errorf("%x became %x", b, again)
			}
		case !errors.Is(err, ErrCorrupt):
			t.Error(err)
		}
	})
}
