package search

import (
	"fmt"
	"slices"
	"strings"
)

// Result is how a search ended.
type Result struct {
	Budget    string
	Exhausted bool // every interleaving within the budget was tried
	States    int  // distinct ones
	Steps     int  // events tried
	Depth     int  // events on the longest way; if cut, everything up to one less was tried
	Err       error
	Trace     string // with Err: a scenario that shows it
}

// String is one line.
func (r Result) String() string {
	how := "exhausted"
	switch {
	case r.Err != nil:
		how = "broken"
	case !r.Exhausted:
		how = fmt.Sprintf("cut (complete to depth %d)", r.Depth-1)
	}
	return fmt.Sprintf("%s: %s, %d states, %d steps, depth %d", r.Budget, how, r.States, r.Steps, r.Depth)
}

// back is how a state was first come to.
type back struct {
	from uint32
	e    event
}

// Run tries everything that b allows, and stops at the first broken rule.
func Run(b Budget) (res Result) {
	res.Budget = b.Name
	start, err := prepare(b)
	if err != nil {
		res.Err = fmt.Errorf("prefix: %w", err)
		return res
	}
	seen := map[uint64][]key{}
	first := start.key()
	seen[first.cluster] = []key{first}
	trail := []back{{}}
	type found struct {
		s  *state
		at uint32
	}
	now, next := []found{{start, 0}}, []found(nil)
	res.States = 1
	var events []event
	for len(now) > 0 {
		for i, f := range now {
			now[i].s = nil
			events = f.s.events(&b, events[:0])
			for _, e := range events {
				t, broken := f.s.after(&b, e)
				if t == nil && broken == nil {
					continue
				}
				res.Steps++
				if broken != nil {
					res.Err = broken
					res.Depth++
					res.Trace = write(b, start, append(way(trail, f.at), e), broken)
					return res
				}
				k := t.key()
				if slices.ContainsFunc(seen[k.cluster], func(o key) bool { return o.covers(&k) }) {
					continue
				}
				seen[k.cluster] = append(seen[k.cluster], k)
				res.States++
				trail = append(trail, back{f.at, e})
				next = append(next, found{t, uint32(len(trail) - 1)})
			}
			if res.States > b.States {
				res.Depth++
				return res
			}
		}
		now, next = next, now[:0]
		res.Depth++
	}
	res.Depth-- // the last round found nothing
	res.Exhausted = true
	return res
}

// way is the events that lead to a state.
func way(trail []back, at uint32) (es []event) {
	for ; at != 0; at = trail[at].from {
		es = append(es, trail[at].e)
	}
	for i, j := 0, len(es)-1; i < j; i, j = i+1, j-1 {
		es[i], es[j] = es[j], es[i]
	}
	return es
}

// write is a scenario for raft/testdata that plays the prefix and the events.
func write(b Budget, s *state, es []event, broken error) string {
	var out strings.Builder
	fmt.Fprintf(&out, "# %s: %v\n%s%s", b.Name, broken, b.head(), b.hold(s.c))
	for _, e := range es {
		fmt.Fprintln(&out, s.text(&b, e))
		t, err := s.after(&b, e)
		if err != nil {
			break
		}
		s = t
	}
	return out.String()
}
