package raftlog

import (
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/raftkv/raftkv/raft"
)

// A log that is cut anywhere inside a chunk, again and again, is the one that a
// simple list would be, whenever it is read back.
func TestTruncationInsideChunks(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	r := rand.New(rand.NewPCG(7, 7))
	b, _ := open(t, dir, small)
	var want []raft.Entry
	seq, term, base := uint64(0), raft.Term(0), raft.EntryID{}
	for step := range 120 {
		seq++
		w := &raft.Write{Seq: seq}
		if step%7 == 3 && len(want) > 5 {
			w.Base = want[len(want)/3].EntryID
			base, want = w.Base, want[len(want)/3+1:]
		}
		from := base.Index + 1
		if n := len(want); n > 0 {
			from = want[n-1].Index + 1
			if r.IntN(2) == 0 {
				from -= raft.Index(r.IntN(min(40, int(from-base.Index))))
			}
		}
		term++
		w.State.Term = term
		w.Entries = entriesOf(term, from, from+raft.Index(r.IntN(30)), 20+r.IntN(200))
		write(t, b, w)
		keep := want[:0:0]
		for _, e := range want {
			if e.Index < from {
				keep = append(keep, e)
			}
		}
		want = append(keep, w.Entries...)
		if step%10 != 9 {
			continue
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		var d raft.Durable
		b, d = open(t, dir, small)
		expect := raft.Durable{State: d.State, Base: base, Seq: seq, Fence: d.Fence, Entries: want}
		if !same(d, expect) {
			t.Fatalf("step %d: %d entries up to %v behind %v, want %d", step, len(d.Entries), d.Entries[len(d.Entries)-1].EntryID, d.Base, len(expect.Entries))
		}
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
}
