package selftest

import (
	"errors"
	"fmt"
	"sync"
)

// Rules are what no run of a cluster may break, as far as it shows from outside:
//
//	a term has one leader (raft paper 5.2, election safety)
//	in one process the term, the commit index and the applied index never go back
//	a process starts in a term that is at least the newest one in which its node led
//	nodes that have applied the same index have the same state (state machine safety)
//
// Watch feeds it with /status, CheckLogs with what the daemons log. Its methods
// may be called from several goroutines.
type Rules struct {
	mu      sync.Mutex
	leaders map[uint64]string // term: id of the node that led
	runs    map[string]*life  // name and pid
	states  map[uint64]state  // applied index: state
	oldest  []uint64          // the indexes in states, in the order in which they came
	looks   int
	broken  []error
}

// life is what one process was last seen at.
type life struct{ term, commit, applied uint64 }

// state is what a node's state was at some index.
type state struct{ name, hash string }

// How many states and how many faults are kept. Nodes are seldom further apart
// than the first; more than a few faults tell nothing new.
const (
	maxStates = 1 << 16
	maxBroken = 20
)

// NewRules knows of nothing yet.
func NewRules() *Rules {
	return &Rules{leaders: map[uint64]string{}, runs: map[string]*life{}, states: map[uint64]state{}}
}

// Looks is how often something was looked at.
func (r *Rules) Looks() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.looks
}

// Terms is the newest term that had a leader.
func (r *Rules) Terms() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	var newest uint64
	for t := range r.leaders {
		newest = max(newest, t)
	}
	return newest
}

// Err is every rule that was broken.
func (r *Rules) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return errors.Join(r.broken...)
}

func (r *Rules) fail(format string, args ...any) {
	if len(r.broken) < maxBroken {
		r.broken = append(r.broken, fmt.Errorf(format, args...))
	}
}

// leads notes that a node leads a term. The caller holds mu.
func (r *Rules) leads(id string, term uint64, where string) {
	switch old, known := r.leaders[term]; {
	case !known:
		r.leaders[term] = id
	case old != id:
		r.fail("%s: term %d has two leaders, %s and %s", where, term, old, id)
	}
}

// status takes a node's answer. pid is the process that gave it.
func (r *Rules) status(name string, pid int, s Status) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.looks++
	if s.Role == "leader" {
		r.leads(s.ID, s.Term, "status of "+name)
	}
	run := fmt.Sprintf("%s, process %d", name, pid)
	l := r.runs[run]
	if l == nil {
		l = &life{}
		r.runs[run] = l
	}
	for _, f := range []struct {
		what string
		old  *uint64
		now  uint64
	}{{"term", &l.term, s.Term}, {"commit index", &l.commit, s.CommitIndex}, {"applied index", &l.applied, s.AppliedIndex}} {
		if f.now < *f.old {
			r.fail("status of %s: the %s went back from %d to %d", run, f.what, *f.old, f.now)
		}
		*f.old = f.now
	}
	r.sameState(name, s)
}

func (r *Rules) sameState(name string, s Status) {
	if s.StateHash == "" || s.AppliedIndex == 0 {
		return
	}
	have, known := r.states[s.AppliedIndex]
	if !known {
		if len(r.oldest) == maxStates {
			delete(r.states, r.oldest[0])
			r.oldest = r.oldest[1:]
		}
		r.states[s.AppliedIndex] = state{name, s.StateHash}
		r.oldest = append(r.oldest, s.AppliedIndex)
		return
	}
	if have.hash != s.StateHash {
		r.fail("at entry %d the state of %s was %s, that of %s is %s", s.AppliedIndex, have.name, have.hash, name, s.StateHash)
	}
}
