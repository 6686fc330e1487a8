package search

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/raftkv/raftkv/internal/testenv"
	"github.com/raftkv/raftkv/raft/rafttest"
)

var (
	large  = flag.Bool("large", false, "run TestLarge")
	states = flag.Int("states", 0, "cut each search of TestLarge at so many states, not at its budget's")
)

// Nothing that can happen within the small budgets breaks a rule.
func TestSmall(t *testing.T) {
	for _, b := range Small() {
		t.Run(b.Name, func(t *testing.T) { try(t, b) })
	}
}

// Nor within the larger ones of tier 2, of which each commit takes half.
func TestMiddle(t *testing.T) {
	testenv.FullOnly(t)
	for i, b := range Middle() {
		if !testenv.Mine(i) {
			continue
		}
		t.Run(b.Name, func(t *testing.T) {
			t.Parallel()
			try(t, b)
		})
	}
}

// What is too long for every run: .ci/long says -large.
func TestLarge(t *testing.T) {
	if !*large {
		t.Skip("needs -large and hours")
	}
	for _, b := range Large() {
		if *states > 0 {
			b.States = *states
		}
		t.Run(b.Name, func(t *testing.T) {
			t.Parallel()
			try(t, b)
		})
	}
}

func try(t *testing.T, b Budget) Result {
	t.Helper()
	start := time.Now()
	r := Run(b)
	if r.Err != nil {
		t.Fatalf("%v\n%v\n%s", r.Err, r, r.Trace)
	}
	t.Logf("%v, %v", r, time.Since(start).Round(time.Millisecond))
	if r.States < 100 {
		t.Fatalf("only %d states: the budget does not get anywhere", r.States)
	}
	return r
}

// What a search prints can be played as a scenario: the cluster comes to the same state.
func TestTraceIsAScenario(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	kinds := map[Kind]int{}
	for _, b := range Small() {
		for range 15 {
			first, err := prepare(b)
			if err != nil {
				t.Fatal(err)
			}
			s, way := first, []event(nil)
			for range 25 {
				es := s.events(&b, nil)
				if len(es) == 0 {
					break
				}
				e := es[rnd.IntN(len(es))]
				next, broken := s.after(&b, e)
				if broken != nil {
					t.Fatal(broken)
				}
				if next != nil {
					s, way = next, append(way, e)
					kinds[e.kind]++
				}
			}
			text := write(b, first, way, fmt.Errorf("nothing"))
			var script rafttest.Script
			for line := range strings.SplitSeq(text, "\n") {
				script.Play(line)
			}
			for i, n := range script.C.Nodes {
				got, want := n.AppendState(nil, script.C.Check, sameNames, true), s.c.Nodes[i].AppendState(nil, s.c.Check, sameNames, true)
				if !bytes.Equal(got, want) {
					t.Fatalf("%s: node %v is in another state after\n%s", b.Name, n.ID, text)
				}
			}
		}
	}
	for _, k := range []Kind{Deliver, Land, Again, Crash, Bid, Timeout, Beat, Deaf, Hang, Gone, Full, Propose, Read, Fetched} {
		if kinds[k] == 0 {
			t.Errorf("%v was never played", k)
		}
	}
}

// The names of nodes say nothing: a search that tells them apart finds the same,
// in about six times as many states.
func TestSymmetryOnlySaves(t *testing.T) {
	b := Budget{Name: "alike", Nodes: 3, Writes: 1, Limit: limits{Bid: 1, Crash: 1}, States: 1e5}
	alike := Run(b)
	b.Limit[Change] = 1 // of which there are none
	apart := Run(b)
	if alike.Err != nil || apart.Err != nil || !alike.Exhausted || !apart.Exhausted {
		t.Fatalf("%v %v\n%v %v", alike, alike.Err, apart, apart.Err)
	}
	if alike.Depth != apart.Depth || apart.States < 3*alike.States || apart.States > 6*alike.States {
		t.Errorf("alike: %v, apart: %v", alike, apart)
	}
}

// A state covers another one only if it allows all that the other does.
func TestCovers(t *testing.T) {
	k := func(crashes uint8, net ...uint64) *key {
		c := key{net: net}
		c.left[Crash] = crashes
		return &c
	}
	for _, tc := range []struct {
		name string
		a, b *key
		want bool
	}{
		{"the same", k(1, 5, 7), k(1, 5, 7), true},
		{"more messages", k(1, 5, 6, 7), k(1, 5, 7), true},
		{"fewer messages", k(1, 5), k(1, 5, 7), false},
		{"another message", k(1, 5, 8), k(1, 5, 7), false},
		{"more events", k(2, 5), k(1, 5), true},
		{"fewer events", k(0, 5, 7), k(1, 5), false},
	} {
		if got := tc.a.covers(tc.b); got != tc.want {
			t.Errorf("%s: %v", tc.name, got)
		}
	}
}

// Budgets are told apart by name, in traces and in documents.
func TestNamesAreUnique(t *testing.T) {
	var names []string
	for _, b := range slices.Concat(Small(), Middle(), Large()) {
		names = append(names, b.Name)
	}
	slices.Sort(names)
	if n := len(names); len(slices.Compact(names)) != n {
		t.Errorf("a name stands twice among %q", names)
	}
}
