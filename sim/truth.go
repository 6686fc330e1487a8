package sim

import (
	"sort"

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
	values map[string][]version
	tries  map[string]*tally
	ran    map[ticket]string // result of each session write
	last   map[int64]uint64  // newest number of each session
	acked  map[string]string // token: key
	tokens int
}

// fact is one committed entry.
type fact struct {
	raft.EntryID
	sum     uint64
	term    raft.Term // of the leader that committed it
	time    raft.Time
	hash    [16]byte // of the state behind it
	result  uint64   // sum
	applied bool     // hash and result count
}

// version is the value of a key from an index on.
type version struct {
	index raft.Index
	value string
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
		values: map[string][]version{}, tries: map[string]*tally{}, ran: map[ticket]string{},
		last: map[int64]uint64{}, acked: map[string]string{},
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

// value is what a key holds at an index.
func (t *truth) value(key string, at raft.Index) string {
	vs := t.values[key]
	n := sort.Search(len(vs), func(n int) bool { return vs[n].index > at })
	if n == 0 {
		return ""
	}
	return vs[n-1].value
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
	if c.Decode(e.Data) != nil || c.Op != statemachine.OpOnce {
		return t.write(e.Index, &c, result)
	}
	k := ticket{c.Num, c.Seq}
	res, err := statemachine.DecodeResult(result)
	if err != nil {
		return err.Error()
	}
	was, ran := t.ran[k]
	switch {
	case res.Kind == statemachine.ResultError && sessionError(res.Bytes):
		return ""
	case ran && was != string(result):
		return "a write of a session that comes again has another result"
	case ran:
		return ""
	case c.Seq != t.last[c.Num]+1:
		return "a write of a session ran out of its order"
	}
	t.ran[k], t.last[c.Num] = string(result), c.Seq
	var inner statemachine.Command
	if err := inner.Decode(c.Args[0]); err != nil {
		return err.Error()
	}
	return t.write(e.Index, &inner, result)
}

func (t *truth) write(i raft.Index, c *statemachine.Command, result []byte) string {
	if len(c.Args) == 0 || !checked(c.Args[0]) {
		return ""
	}
	res, err := statemachine.DecodeResult(result)
	if err != nil {
		return err.Error()
	}
	key := string(c.Args[0])
	old := t.value(key, i)
	next := ""
	switch c.Op {
	case statemachine.OpSet:
		next = string(c.Args[1])
	case statemachine.OpAppend:
		next = old + string(c.Args[1])
		if res.Kind != statemachine.ResultInt || int(res.Int) != len(next) {
			return "append answers another length"
		}
	case statemachine.OpDel:
	default:
		return ""
	}
	if res.Kind == statemachine.ResultError {
		return "a write was refused: " + string(res.Bytes)
	}
	t.values[key] = append(t.values[key], version{i, next})
	return ""
}

// checked tells whether a key is one whose values the observer follows.
func checked(key []byte) bool {
	return len(key) > 3 && (string(key[:3]) == "reg" || string(key[:3]) == "tok")
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
