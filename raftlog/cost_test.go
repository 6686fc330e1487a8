package raftlog

import (
	"path/filepath"
	"testing"

	"github.com/raftkv/raftkv/raft"
)

// What a Write of 64 entries costs: one transaction, and few allocations.
func TestCostOfAWrite(t *testing.T) {
	const batch = 64
	b, _ := open(t, filepath.Join(t.TempDir(), "log"), Options{})
	defer b.Close()
	w := &raft.Write{State: raft.HardState{Term: 1}, Entries: make([]raft.Entry, batch)}
	data := make([]byte, 280)
	var last raft.Index
	round := func() {
		for i := range w.Entries {
			last++
			w.Entries[i] = raft.Entry{EntryID: raft.EntryID{Term: 1, Index: last}, Type: raft.EntryCommand, Data: data}
		}
		w.Seq++
		write(t, b, w)
	}
	round()
	before, writes := b.Transactions(), w.Seq
	allocs := testing.AllocsPerRun(20, round)
	if got, want := b.Transactions()-before, w.Seq-writes; got != want {
		t.Errorf("%d transactions for %d writes", got, want)
	}
	if per := allocs / batch; per > 2.2 {
		t.Errorf("%.2f allocations an entry, want at most 2.2", per)
	}
	t.Logf("%.2f allocations an entry", allocs/batch)
}
