package sim

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/raftkv/raftkv/internal/linear"
)

// Options say how a seed is played.
type Options struct {
	Seed  uint64
	Nodes int // first voters, 3 to 7; 0: drawn
	// Steps ends the faults after so many events; 0: after a time that is drawn.
	Steps int
	// Faults are the kinds of faults that may come up, by name (FaultNames); nil:
	// those that the seed draws.
	Faults []string
	// Trace, if not nil, is told in one line what happens.
	Trace func(line string)
	// Picture is the file for a picture of a history that is not linearizable; empty: none.
	Picture string
}

// Result is how a run ended.
type Result struct {
	Err   error  // nil if nothing was wrong
	Hash  uint64 // of everything that happened: the same for the same seed
	Plan  string // what the seed drew
	Count Counts
}

// Counts is what came up in one run, or in many.
type Counts struct {
	Seeds     int
	Simulated time.Duration
	Events    int
	Committed int            // entries
	Writes    int            // acknowledged to clients
	Reads     int            // checked: linearizable ones
	Stale     int            // checked: of a node's own state
	Unknown   int            // writes whose outcome no client knows
	Refused   int            // requests that surely did nothing
	Terms     int            // that had a leader
	History   int            // operations that porcupine checked
	Held      int            // times that a leader kept commands back until what it wrote was answered, or longer
	Awaited   int            // and times that it then waited for clients to come again
	Faults    map[string]int // by FaultNames
	Seen      map[string]int // what came of them, and what they were aimed at
	Checks    map[string]int // of each rule
	Answers   map[string]int // requests that were answered with a result, by their kind
}

// Add sums up.
func (c *Counts) Add(o Counts) {
	c.Seeds += o.Seeds
	c.Simulated += o.Simulated
	c.Events += o.Events
	c.Committed += o.Committed
	c.Writes += o.Writes
	c.Reads += o.Reads
	c.Stale += o.Stale
	c.Unknown += o.Unknown
	c.Refused += o.Refused
	c.Terms += o.Terms
	c.History += o.History
	c.Held += o.Held
	c.Awaited += o.Awaited
	if c.Faults == nil {
		c.Faults, c.Seen, c.Checks, c.Answers = map[string]int{}, map[string]int{}, map[string]int{}, map[string]int{}
	}
	for k, n := range o.Seen {
		c.Seen[k] += n
	}
	for k, n := range o.Faults {
		c.Faults[k] += n
	}
	for k, n := range o.Checks {
		c.Checks[k] += n
	}
	for k, n := range o.Answers {
		c.Answers[k] += n
	}
}

// Injected is the number of faults that were injected one at a time: neither what
// came of them (Counts.Seen) nor messages and disk writes that fared badly, which
// are far more.
func (c *Counts) Injected() int {
	n := 0
	for name, k := range c.Faults {
		switch name {
		case "lost-message", "repeated-message", "late-message", "clock-drift", "disk-spike", "mend", "take-snapshot":
		default:
			n += k
		}
	}
	return n
}

// What a simulated cluster-hour must have to count as one.
const (
	hourWrites = 100_000
	hourFaults = 60
)

// Hours is the cluster-hours that count: each with at least 100,000 writes that
// were committed and acknowledged, and 60 faults.
func (c *Counts) Hours() float64 {
	return min(c.Simulated.Hours(), float64(c.Writes)/hourWrites, float64(c.Injected())/hourFaults)
}

// checkTime is how long porcupine may take over one run. Histories are short:
// one that takes longer is a finding.
const checkTime = time.Minute

// Run plays one seed.
func Run(opt Options) (res Result) {
	w := newWorld(opt)
	defer func() {
		if p := recover(); p != nil {
			res.Err = w.explain(p)
		}
		w.count.Simulated, w.count.Events = w.now, w.events
		w.count.Committed, w.count.Terms = len(w.truth.log), w.truth.terms
		w.rules.counted()
		res.Count, res.Hash = w.count, w.hash
		res.Plan = w.plan.String()
	}()
	w.birth()
	w.runUntil(w.plan.faultsFor, func() bool { return opt.Steps > 0 && w.events >= opt.Steps })
	w.heal()
	w.demandProgress()
	w.checkEnd()
	err := w.history.check(checkTime, opt.Picture)
	if errors.Is(err, linear.ErrNothing) && w.count.Writes < fewWrites {
		err = nil // a cluster that was hardly ever whole: the sum over all runs must not be 0
	}
	if err != nil {
		w.rules.broken("linearizability", "%v", err)
	}
	w.count.History = len(w.history.ops)
	return res
}

// newWorld draws the plan of a seed.
func newWorld(opt Options) *world {
	w := &world{
		opt:  opt,
		rand: rand.New(rand.NewPCG(opt.Seed, 0x5eed)),
		hash: 0xcbf29ce484222325,
		log:  slog.New(slog.DiscardHandler),
	}
	w.count = Counts{Seeds: 1, Faults: map[string]int{}, Seen: map[string]int{}, Checks: map[string]int{}, Answers: map[string]int{}}
	w.rules = newRules(w)
	w.plan = w.draw()
	w.truth.limits = w.plan.limits()
	w.say("seed %d: %v", opt.Seed, w.plan)
	return w
}

// fewWrites is how many writes may be acknowledged of which none concerns a key whose history is checked.
const fewWrites = 20

// Broken is the error of a run in which a rule does not hold.
type Broken struct {
	Rule string
	At   time.Duration
	What string
}

func (b *Broken) Error() string { return fmt.Sprintf("at %v: %s: %s", b.At, b.Rule, b.What) }

// explain turns what a run panicked with into an error.
func (w *world) explain(p any) error {
	if b := w.rules.first; b != nil { // it may have come through code that wraps panics
		return b
	}
	// An assertion of the shipped code, or a fault of the simulator.
	var lines []string
	for _, line := range strings.Split(string(debug.Stack()), "\n") {
		if strings.HasPrefix(line, "\t") && strings.Contains(line, ".go:") && !strings.Contains(line, "runtime/") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return &Broken{"assertion", w.now, fmt.Sprintf("%v\n\t%s", p, strings.Join(lines, "\n\t"))}
}

// history is what clients saw of the keys that are checked.
type history struct{ ops []linear.Op }

// everyKey is the key of an operation that removes all there are.
const everyKey = "*"

// check takes what removes all keys for so many operations, one for each key that
// was looked at later: together they say less than the one, and nothing wrong.
func (h *history) check(timeout time.Duration, picture string) error {
	removes := func(o linear.Op) bool { return o.Key == everyKey }
	if !slices.ContainsFunc(h.ops, removes) {
		return linear.Check(h.ops, timeout, picture)
	}
	var ops, all []linear.Op
	last := map[string]int64{} // when the last answer about a key came
	var keys []string
	for _, o := range h.ops {
		if removes(o) {
			all = append(all, o)
			continue
		}
		ops = append(ops, o)
		if _, known := last[o.Key]; !known {
			keys = append(keys, o.Key)
		}
		if !o.Unknown {
			last[o.Key] = max(last[o.Key], o.Return)
		}
	}
	for _, o := range all {
		for _, key := range keys {
			if last[key] >= o.Call {
				o.Key = key
				ops = append(ops, o)
			}
		}
	}
	return linear.Check(ops, timeout, picture)
}
