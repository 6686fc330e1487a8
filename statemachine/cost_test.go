package statemachine

import (
	"testing"

	"github.com/raftkv/raftkv/raft"
)

// A SET of a key that is there allocates nothing: its value is the log's for now.
func TestCostOfASet(t *testing.T) {
	r := newRig(t)
	c := cmd(OpSet, "0123456789abcdef", string(make([]byte, 256)))
	r.do(c)
	data := AppendCommand(nil, c)
	dst := make([]byte, 0, 64)
	at := r.m.Applied()
	allocs := testing.AllocsPerRun(200, func() {
		at.Index++
		r.m.Apply(raft.Entry{EntryID: at, Type: raft.EntryCommand, Time: r.m.Now(), Data: data}, dst[:0])
	})
	if allocs > 0 {
		t.Errorf("%v allocations a SET, want none", allocs)
	}
}
