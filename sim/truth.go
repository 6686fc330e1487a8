package sim

import (
	"fmt"
	"maps"
	"slices"

	"github.com/zeebo/xxh3"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/statemachine"
)

// truth is what an observer who sees everything knows of the cluster: what is
// committed, and what the state machine must make of it.
type truth struct {
	log    []fact // [i] is index i+1
	voters []raft.NodeID
	terms  int // that had a leader
	floor  raft.Index
	model  model
	tries  map[string]*tally
	ran    map[ticket]string // result of each session write
	open   map[int64]*sitting
	limits statemachine.Limits
	acked  map[string]string // token: key

	compared int // entries at which states were compared
}

// fact is one committed entry.
type fact struct {
	raft.EntryID
	sum     uint64
	term    raft.Term // of the leader that committed it
	time    raft.Time
	hash    [16]byte // of the state behind it
	hashed  bool     // hash counts
	result  uint64   // sum
	applied bool     // result counts
	changes []uint64 // sums of what observers are told, in order
	told    bool     // changes count
}

// tally counts the attempts of one command. A command is told from all others
// by its token, or by its session and number.
type tally struct{ sent, refused, applied int }

// ticket names one write of a session.
type ticket struct {
	session int64
	seq     uint64
}

func newTruth() truth {
	return truth{
		model: newModel(), tries: map[string]*tally{}, ran: map[ticket]string{},
		open: map[int64]*sitting{}, acked: map[string]string{},
	}
}

// at is the committed entry of an index, nil if there is none.
func (t *truth) at(i raft.Index) *fact {
	if i == 0 || int(i) > len(t.log) {
		return nil
	}
	return &t.log[i-1]
}

func (t *truth) committed() raft.Index { return raft.Index(len(t.log)) }

// moment is a committed entry and its log time.
func (t *truth) moment(i raft.Index) moment {
	m := moment{index: i}
	if f := t.at(i); f != nil {
		m.now = f.time
	}
	return m
}

// run is what the first application of an entry does to the observer's own,
// simple state. It returns what is wrong with the result, if anything is.
func (t *truth) run(e *raft.Entry, result []byte) string {
	if e.Type != raft.EntryCommand {
		return ""
	}
	if k := t.tries[string(e.Data)]; k != nil {
		k.applied++
	}
	var c statemachine.Command
	if err := c.Decode(e.Data); err != nil {
		return err.Error()
	}
	switch c.Op {
	case statemachine.OpOnce, statemachine.OpSessionOpen, statemachine.OpSessionKeep, statemachine.OpSessionClose:
		return t.runSession(t.moment(e.Index), &c, result)
	case statemachine.OpVerify:
		t.compared++
		return "" // see equalStates
	}
	return t.model.judge(t.moment(e.Index), &c, result)
}

// sumEntry is a hash of all of an entry.
func sumEntry(e *raft.Entry) uint64 {
	h := xxh3.Hash(e.Data)
	for _, v := range [4]uint64{uint64(e.Term), uint64(e.Index), uint64(e.Type), uint64(e.Time)} {
		h = (h ^ v) * 0x9E3779B97F4A7C15
		h ^= h >> 29
	}
	return h
}

func entrySums(es []raft.Entry) uint64 {
	h := uint64(0)
	for i := range es {
		h = h*31 + sumEntry(&es[i])
	}
	return h
}

// differs tells how the state of a machine differs from the observer's at the same
// entry: in a key, a version, a deadline, a user or a session.
func (t *truth) differs(m *statemachine.Machine, at moment) string {
	var queries []statemachine.Command
	for _, key := range slices.Sorted(maps.Keys(t.model.keys)) {
		queries = append(queries, command(statemachine.OpGetV, key), command(statemachine.OpDeadline, key))
	}
	// No other keys, and no other users.
	queries = append(queries, command(statemachine.OpDBSize), command(statemachine.OpUsers))
	for i := range queries {
		c := &queries[i]
		if wrong := t.model.judge(at, c, m.Query(statemachine.AppendCommand(nil, *c), nil)); wrong != "" {
			return wrong
		}
	}
	for _, id := range slices.Sorted(maps.Keys(t.open)) {
		s := t.session(id, at)
		if s == nil {
			continue
		}
		c := statemachine.Command{Op: statemachine.OpSession, Num: id}
		if wrong := same(resInt(int64(s.last)), m.Query(statemachine.AppendCommand(nil, c), nil)); wrong != "" {
			return fmt.Sprintf("session %d: %s", id, wrong)
		}
	}
	return ""
}
