package raft_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/raftkv/raftkv/internal/fuzztest"
	"github.com/raftkv/raftkv/raft"
)

// choices is a source of chance that the input decides, one byte a draw. What
// comes behind its end goes on by itself, so that a draw that rejects numbers ends.
type choices struct {
	b    []byte
	rest rand.PCG
}

func (c *choices) Uint64() uint64 {
	if len(c.b) == 0 {
		return c.rest.Uint64()
	}
	v := uint64(c.b[0]) * 0x0101010101010101
	c.b = c.b[1:]
	return v
}

// The messages of TestHostileMessagesDoNoHarm, looked for by coverage instead of chance.
func FuzzReceive(f *testing.F) {
	for seed := range uint64(4) {
		rnd := rand.NewPCG(seed, 9)
		b := make([]byte, 0, 2000)
		for len(b) < cap(b) {
			b = binary.LittleEndian.AppendUint64(b, rnd.Uint64())
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		// A message takes some 20 draws: about as many steps as the input has bytes for.
		steps := min(len(b)/16, 400)
		fuzztest.Bounded(t, len(b), 8<<20, 4<<10, func() { hostile(t, 0, steps, rand.New(&choices{b: b})) })
	})
}

// Bytes of peers and disks become a description that means the same when it is
// written again, or an error that says so.
func FuzzDecode(f *testing.F) {
	c := raft.Configuration{Members: []raft.Member{{ID: 1, Name: "a", Peer: "h:1", Client: "h:2", HTTP: "h:3"}, {ID: 7, Learner: true}}, Removed: []raft.NodeID{2, 3}}
	f.Add(raft.AppendConfiguration(nil, c))
	f.Add(raft.AppendSnapshotMeta(nil, raft.SnapshotMeta{Last: raft.EntryID{Term: 2, Index: 9}, Config: c, Time: 5, Level: 1}))
	f.Add([]byte{1, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, b []byte) {
		fuzztest.Bounded(t, len(b), 64<<10, 256, func() {
			c, err := raft.DecodeConfiguration(b)
			if err == nil {
				again, err := raft.DecodeConfiguration(raft.AppendConfiguration(nil, c))
				if err != nil || !bytes.Equal(raft.AppendConfiguration(nil, again), raft.AppendConfiguration(nil, c)) {
					t.Errorf("%v became %v, %v", c, again, err)
				}
			} else if !errors.Is(err, raft.ErrMalformed) {
				t.Error(err)
			}
			m, err := raft.DecodeSnapshotMeta(b)
			if err == nil {
				if again := raft.AppendSnapshotMeta(nil, m); len(again) > len(b) {
					t.Errorf("%d bytes became %d", len(b), len(again))
				}
			} else if !errors.Is(err, raft.ErrMalformed) {
				t.Error(err)
			}
		})
	})
}
