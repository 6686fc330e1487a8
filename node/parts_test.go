package node

import (
	"testing"
	"unsafe"

	"github.com/raftkv/raftkv/raft"
)

// Parts of a snapshot are filled again once they are written, and not before.
func TestPartsAreFilledAgain(t *testing.T) {
	w := &workers{saves: make(chan *save, 1), stepped: make(chan struct{}, 1), quit: make(chan struct{})}
	w.Begin(raft.SnapshotMeta{Last: raft.EntryID{Term: 1, Index: 1}})
	at := func(b []byte) *byte { return unsafe.SliceData(b[:1]) }
	first, second := append(w.Part(8), "first"...), append(w.Part(8), "second"...)
	if at(first) == at(second) {
		t.Fatal("one part is another")
	}
	next := func(want string) {
		t.Helper()
		if b, err := w.nextPart(w.saving); err != nil || string(b) != want {
			t.Fatalf("%q, %v; want %q", b, err, want)
		}
	}
	w.Put(first, false)
	w.Put(second, true)
	next("first")
	if third := w.Part(8); at(third) == at(first) {
		t.Error("a part is filled again while it is written")
	}
	next("second")
	if third := w.Part(8); at(third) != at(first) || len(third) != 0 {
		t.Error("a written part is not filled again")
	}
	if third := w.Part(8); at(third) == at(first) || at(third) == at(second) {
		t.Error("a part is filled twice")
	}
}
