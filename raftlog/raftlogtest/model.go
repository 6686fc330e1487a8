// Package raftlogtest is the conformance suite of raftlog.Store, and a generator
// of writes as a core makes them.
//
// Read Run first; Model is the specification that it compares with.
package raftlogtest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/raftkv/raftkv/raft"
)

// Model says what a Store must give back: it is Write's documentation as code,
// simple and slow.
type Model struct{ D raft.Durable }

// Apply does w.
func (m *Model) Apply(w *raft.Write) {
	d := &m.D
	d.State, d.Seq, d.Fence = w.State, w.Seq, w.Fence
	if w.Reset {
		d.Base, d.Entries = w.Base, nil
	}
	if len(w.Entries) > 0 {
		kept := int(w.Entries[0].Index - d.Base.Index - 1)
		d.Entries = append(slices.Clone(d.Entries[:kept]), w.Entries...)
	}
	if w.Base.Index > d.Base.Index {
		d.Entries = slices.Clone(d.Entries[w.Base.Index-d.Base.Index:])
		d.Base = w.Base
	}
}

// Clone returns an independent copy.
func (m *Model) Clone() *Model {
	c := *m
	c.D.Entries = slices.Clone(m.D.Entries)
	return &c
}

// Last is the end of the log.
func (m *Model) Last() raft.EntryID {
	if n := len(m.D.Entries); n > 0 {
		return m.D.Entries[n-1].EntryID
	}
	return m.D.Base
}

// Diff says where two logs differ; "" if nowhere.
func Diff(got, want raft.Durable) string {
	if got.State != want.State || got.Base != want.Base || got.Seq != want.Seq || got.Fence != want.Fence {
		return fmt.Sprintf("state %+v base %v seq %d fence %d, want %+v base %v seq %d fence %d",
			got.State, got.Base, got.Seq, got.Fence, want.State, want.Base, want.Seq, want.Fence)
	}
	if len(got.Entries) != len(want.Entries) {
		return fmt.Sprintf("%d entries after %v, want %d", len(got.Entries), got.Base, len(want.Entries))
	}
	for i := range want.Entries {
		g, w := got.Entries[i], want.Entries[i]
		if g.EntryID != w.EntryID || g.Type != w.Type || g.Time != w.Time || !bytes.Equal(g.Data, w.Data) {
			return fmt.Sprintf("entry %v (type %d, time %d, %d bytes), want %v (type %d, time %d, %d bytes)",
				g.EntryID, g.Type, g.Time, len(g.Data), w.EntryID, w.Type, w.Time, len(w.Data))
		}
	}
	return ""
}

// Gen makes writes as a core does, from a seed. Two with the same seed make the same.
type Gen struct {
	Model
	rng *rand.Rand
	// MaxData bounds the data of one entry, in bytes. Default 600.
	MaxData int
}

// NewGen returns a generator that starts from an empty log.
func NewGen(seed uint64) *Gen {
	return &Gen{rng: rand.New(rand.NewPCG(seed, 7)), MaxData: 600}
}

// Next makes the next write and applies it to the model.
func (g *Gen) Next() *raft.Write {
	d, rng := &g.D, g.rng
	w := &raft.Write{Seq: d.Seq + 1 + uint64(rng.IntN(3)), State: d.State, Fence: d.Fence}
	last := g.Last()
	switch what := rng.IntN(100); {
	case d.State.Term == 0 || what < 12: // an election
		w.State.Term += raft.Term(1 + rng.IntN(3))
		w.State.Vote = raft.NodeID(rng.IntN(4))
		if rng.IntN(4) > 0 {
			break
		}
		fallthrough
	case what < 75: // appends
		w.Entries = g.entries(last, w.State.Term, 1+rng.IntN(8))
	case what < 82 && len(d.Entries) > 0: // truncation and appends
		from := d.Entries[max(0, len(d.Entries)-1-rng.IntN(30))]
		w.State.Term++
		w.State.Vote = raft.None
		prev := g.id(from.Index - 1)
		w.Entries = g.entries(prev, w.State.Term, 1+rng.IntN(12))
	case what < 95: // compaction
		if n := len(d.Entries); n > 0 {
			w.Base = d.Entries[rng.IntN(n)].EntryID
		}
		if rng.IntN(3) > 0 {
			w.Entries = g.entries(last, w.State.Term, rng.IntN(4))
		}
	case what < 96: // an installed snapshot
		w.Reset = true
		w.Base = raft.EntryID{Term: w.State.Term, Index: last.Index + raft.Index(rng.IntN(50))}
		if rng.IntN(2) > 0 {
			w.Entries = g.entries(w.Base, w.State.Term, 1+rng.IntN(3))
		}
	case what < 97:
		w.Fence = raft.Fence(rng.IntN(3))
	}
	c := g.Model.Clone()
	c.Apply(w)
	w.State.Commit = c.D.Base.Index + raft.Index(rng.IntN(len(c.D.Entries)+1))
	g.Apply(w)
	return w
}

func (g *Gen) id(i raft.Index) raft.EntryID {
	if i == g.D.Base.Index {
		return g.D.Base
	}
	return g.D.Entries[i-g.D.Base.Index-1].EntryID
}

func (g *Gen) entries(prev raft.EntryID, term raft.Term, n int) []raft.Entry {
	var out []raft.Entry
	for range n {
		var data []byte
		size := g.rng.IntN(g.MaxData)
		if g.rng.IntN(40) == 0 {
			size *= 20
		}
		if size > 0 {
			data = make([]byte, size)
			for i := range data {
				data[i] = byte(g.rng.Uint32())
			}
		}
		prev = raft.EntryID{Term: term, Index: prev.Index + 1}
		out = append(out, raft.Entry{
			EntryID: prev, Type: raft.EntryType(1 + g.rng.IntN(3)), Time: raft.Time(g.rng.Int64()), Data: data,
		})
	}
	return out
}
