package raft_test

import (
	"testing"

	"github.com/raftkv/raftkv/raft"
)

// What a write costs a leader of three in messages, disk writes and allocations.
// These don't depend on the machine, so they are held here and not by a clock.
func TestCostOfAWrite(t *testing.T) {
	const batch = 64
	r := leaderOfThree(t)
	room := raft.Room{Write: true, Apply: 1 << 30}
	data := make([]byte, 256)
	messages, writes := 0, 0
	take := func(o raft.Output) raft.Output {
		messages += len(o.Messages)
		if o.Write != nil {
			writes++
		}
		return o
	}
	// One request after the other comes while the disks are busy with the first.
	round := func() {
		var first raft.Output
		for i := range batch {
			if _, err := r.Propose(data, 1); err != nil {
				t.Fatal(err)
			}
			if o := take(r.Output(room)); i == 0 {
				first = o
			}
		}
		answer(r, first)
		last := answer(r, take(r.Output(room)))
		take(r.Output(room))
		r.Applied(last.Index)
	}
	round()
	messages, writes = 0, 0
	rounds := 0
	allocs := testing.AllocsPerRun(100, func() { round(); rounds++ })
	n := float64(rounds * batch)
	if per := float64(messages) / n; per > 4.0/batch {
		t.Errorf("%.3f messages a write, want at most %.3f: two to each follower in a batch of %d", per, 4.0/batch, batch)
	}
	if per := float64(writes) / n; per > 2.0/batch {
		t.Errorf("%.3f disk writes a write, want at most %.3f", per, 2.0/batch)
	}
	if per := allocs / batch; per > 0.1 {
		t.Errorf("%.2f allocations a write, want at most 0.1", per)
	}
	t.Logf("%.3f messages, %.3f disk writes, %.2f allocations", float64(messages)/n, float64(writes)/n, allocs/batch)
}
