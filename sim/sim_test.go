package sim

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/raftkv/raftkv/internal/testenv"
)

var (
	seedFlag  = flag.Uint64("seed", 0, "the one seed that TestSeed plays")
	seedsFlag = flag.Uint64("seeds", 0, "how many seeds TestReplicas plays; 0 goes by the tier")
	fromFlag  = flag.Uint64("from", 1, "the first seed of TestReplicas")
	findsFlag = flag.Uint64("finds", 0, "TestFinds counts in how many of so many seeds something is found")
	traceFlag = flag.Bool("trace", false, "TestSeed tells every step")
)

// enough is from how many seeds on every fault must have come up.
const enough = 200

// No seed may break a rule, and every one must come back to life.
func TestReplicas(t *testing.T) {
	seeds := uint64(48)
	if testenv.Full() {
		seeds = enough
	}
	if *seedsFlag > 0 {
		seeds = *seedsFlag
	}
	sum := play(t, *fromFlag, seeds)
	// A simulator in which nothing happens finds nothing.
	if min(sum.Committed, sum.Writes, sum.Reads, sum.Stale, sum.Unknown, sum.Refused, sum.Terms, sum.History, sum.Injected(), sum.Held, sum.Awaited) == 0 {
		t.Errorf("something never came up: %+v", sum)
	}
	for _, r := range newRules(&world{}).all {
		if sum.Checks[r.name] == 0 {
			t.Errorf("rule %q was never asked", r.name)
		}
	}
	for _, kind := range kinds {
		if sum.Answers[kind] == 0 {
			t.Errorf("no request was answered that is a %q", kind)
		}
	}
	if seeds < enough {
		return
	}
	for _, name := range FaultNames() {
		if sum.Faults[name] == 0 {
			t.Errorf("fault %q never came up", name)
		}
	}
	for _, name := range effects {
		if sum.Seen[name] == 0 {
			t.Errorf("%q never came of a fault", name)
		}
	}
}

// effects are what comes of faults, and what they are aimed at.
var effects = []string{"unsent-packet", "lost-write", "unheard-write", "disk-error", "power-in-file", "install", "snapshot", "rotten", "rot-noticed"}

// kinds are requests that must have come up, as op.what calls them.
var kinds = []string{
	"get", "stale get", "set", "set in vain", "append", "del", "delifeq", "delv", "getdel", "getv", "setv", "setv in vain",
	"incrby", "mget", "mset", "msetnx", "exists", "strlen", "scan", "dbsize", "rename", "copy",
	"setbit", "getbit", "bitcount", "expire", "persist", "pttl", "pexpiretime",
	"exec", "exec in vain", "stale exec", "once exec", "once exec in vain", "once append", "once setv", "session-open", "session-keep", "session-close",
	"getex", "setrange", "incrbyfloat", "bitop", "bitfield", "bitpos", "getrange", "lcs", "flushall",
	"publish", "user-set", "user-set in vain", "user-del", "users", "verify", "verify agreed",
	"feed event", "feed gap", "feed cut off",
	"read behind one of another level",
}

// Fresh seeds at each commit: those that always run find what they found.
func TestFreshSeeds(t *testing.T) {
	testenv.FullOnly(t)
	play(t, testenv.FreshSeed(t), 300)
}

func play(t *testing.T, from, seeds uint64) Counts {
	began := time.Now()
	sum, failures := RunMany(from, seeds, 2, Options{Picture: os.TempDir()}, nil)
	for _, f := range failures {
		t.Errorf("%v\nor: go test ./sim -run TestSeed -seed %d -trace", f, f.Opt.Seed)
	}
	t.Logf("from seed %d: %s", from, sum.Report(time.Since(began)))
	return sum
}

// A fault that was under way at the healing, and cuts a way off later, would be a cluster that
// never comes to rest though its code is right.
func TestNothingIsCutOffOnceHealed(t *testing.T) {
	w := newWorld(Options{Seed: 1})
	w.birth()
	a, b := w.hosts[0], w.hosts[1]
	w.runUntil(time.Minute, func() bool { return a.to(b).sends() })
	if !a.to(b).sends() {
		t.Fatal("no way to cut off")
	}
	w.heal()
	w.stall(a, b)
	w.cut([]*host{a}, []*host{b}, true)
	if a.to(b).cut || b.to(a).cut {
		t.Error("a way was cut off after all was healed")
	}
}

// A state that was wrong and became right again (FLUSHALL) has left a snapshot that is wrong; a start from it
// is no fault of the code. Where this seed plays something else, look for one that starts from such a snapshot.
func TestAWrongSnapshotOutlivesAWrongState(t *testing.T) {
	r := Run(Options{Seed: 235112488267094060})
	if r.Err != nil {
		t.Error(r.Err)
	}
	if r.Count.Seen["rotten-start"] == 0 {
		t.Error("no node started from a wrong snapshot")
	}
}

// TestSeed plays the seed that a failure has named.
func TestSeed(t *testing.T) {
	if *seedFlag == 0 {
		t.Skip("needs -seed")
	}
	o := Options{Seed: *seedFlag, Picture: PictureIn(os.TempDir(), *seedFlag)}
	if *traceFlag {
		o.Trace = func(line string) { fmt.Println(line) }
	}
	res := Run(o)
	t.Logf("hash %016x, %+v\n%s", res.Hash, res.Count, res.Plan)
	if res.Err != nil {
		t.Fatal(res.Err)
	}
}

// TestFinds counts, with a mistake planted, how many seeds find it and by which rule.
func TestFinds(t *testing.T) {
	if *findsFlag == 0 {
		t.Skip("needs -finds")
	}
	found, by := 0, map[string]int{}
	for seed := *fromFlag; seed < *fromFlag+*findsFlag; seed++ {
		if err := Run(Options{Seed: seed}).Err; err != nil {
			found++
			rule := "?"
			if b, ok := errors.AsType[*Broken](err); ok {
				rule = b.Rule
			}
			by[rule]++
		}
	}
	t.Logf("found in %d of %d seeds: %v", found, *findsFlag, by)
}

// The same seed is the same run, to the last event, whoever looks on and on
// however many processors: else no failure could be replayed.
func TestSameSeedSameRun(t *testing.T) {
	procs := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(procs)
	hashes := map[uint64]bool{}
	for seed := uint64(1); seed <= 4; seed++ {
		first := Run(Options{Seed: seed})
		lines := 0
		for _, n := range []int{1, 3} {
			runtime.GOMAXPROCS(n)
			again := Run(Options{Seed: seed, Trace: func(string) { lines++ }})
			if first.Hash != again.Hash || first.Count.Events != again.Count.Events || first.Count.Committed != again.Count.Committed {
				t.Errorf("seed %d: %016x with %d events, then on %d processors %016x with %d", seed, first.Hash, first.Count.Events, n, again.Hash, again.Count.Events)
			}
		}
		if lines == 0 {
			t.Errorf("seed %d tells nothing", seed)
		}
		if hashes[first.Hash] {
			t.Errorf("seed %d is the same run as another one", seed)
		}
		hashes[first.Hash] = true
	}
}
