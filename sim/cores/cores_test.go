package cores

import (
	"flag"
	"fmt"
	"sync"
	"testing"

	"github.com/raftkv/raftkv/internal/testenv"
)

var (
	seedFlag  = flag.Uint64("seed", 0, "the one seed that TestSeed plays")
	seedsFlag = flag.Uint64("seeds", 0, "how many seeds TestCores plays; 0 goes by the tier")
	fromFlag  = flag.Uint64("from", 1, "the first seed of TestCores")
	traceFlag = flag.Bool("trace", false, "TestSeed tells every step")
)

// No seed may break a promise of Raft, and every one must come back to life.
func TestCores(t *testing.T) {
	from, seeds := *fromFlag, uint64(100)
	switch {
	case *seedsFlag > 0:
		seeds = *seedsFlag
	case testenv.Half():
		from, seeds = testenv.FreshSeed(t), 400 // the hundred of tier 1 stay, these are others for each commit
	case testenv.Full():
		seeds = 1000
	}
	var (
		mu  sync.Mutex
		sum Result
	)
	t.Cleanup(func() { // of the test: all lanes have ended
		t.Logf("from seed %d: %d seeds, %+v", from, seeds, sum)
		// A simulator in which nothing happens finds nothing.
		if seeds >= 100 && min(int(sum.Committed), int(sum.Terms), sum.Reads, sum.Changes, sum.Installs, sum.Forgets, sum.Crashes) == 0 {
			t.Errorf("some fault never came up: %+v", sum)
		}
	})
	const lanes = 4
	for lane := range uint64(lanes) {
		t.Run(fmt.Sprint(lane), func(t *testing.T) {
			t.Parallel()
			failed := 0
			for seed := from + lane; seed < from+seeds && failed < 3; seed += lanes {
				res := Run(seed, nil)
				if res.Err != nil {
					failed++
					t.Errorf("seed %d: %v\nreplay: go test ./sim/cores -run TestSeed -seed %d -trace", seed, res.Err, seed)
				}
				mu.Lock()
				sum.Steps += res.Steps
				sum.Committed += res.Committed
				sum.Terms += res.Terms
				sum.Reads += res.Reads
				sum.Changes += res.Changes
				sum.Installs += res.Installs
				sum.Forgets += res.Forgets
				sum.Crashes += res.Crashes
				mu.Unlock()
			}
		})
	}
}

// TestSeed plays the seed that a failure has named.
func TestSeed(t *testing.T) {
	if *seedFlag == 0 {
		t.Skip("needs -seed")
	}
	var trace func(string)
	if *traceFlag {
		trace = func(line string) { fmt.Println(line) }
	}
	res := Run(*seedFlag, trace)
	t.Logf("%+v", res)
	if res.Err != nil {
		t.Fatal(res.Err)
	}
}

// The same seed is the same run, to the last step: else no failure could be replayed.
func TestSameSeedSameRun(t *testing.T) {
	for seed := uint64(1); seed <= 5; seed++ {
		a, b := Run(seed, nil), Run(seed, func(string) {})
		if a.Hash != b.Hash || a.Steps != b.Steps {
			t.Errorf("seed %d: %+v, then %+v", seed, a, b)
		}
	}
	if a, b := Run(1, nil), Run(2, nil); a.Hash == b.Hash {
		t.Error("two seeds, one run")
	}
}
