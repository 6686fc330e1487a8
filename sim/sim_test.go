package sim

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/raftkv/raftkv/internal/testenv"
)

var (
	seedFlag  = flag.Uint64("seed", 0, "the one seed that TestSeed plays")
	seedsFlag = flag.Uint64("seeds", 0, "how many seeds TestReplicas plays; 0 goes by the tier")
	fromFlag  = flag.Uint64("from", 1, "the first seed of TestReplicas")
	traceFlag = flag.Bool("trace", false, "TestSeed tells every step")
)

// TestSeed plays the seed that a failure has named.
func TestSeed(t *testing.T) {
	if *seedFlag == 0 {
		t.Skip("needs -seed")
	}
	o := Options{Seed: *seedFlag, Picture: filepath.Join(os.TempDir(), fmt.Sprintf("raftkv-sim-%d.html", *seedFlag))}
	if *traceFlag {
		o.Trace = func(line string) { fmt.Println(line) }
	}
	res := Run(o)
	t.Logf("hash %016x, %+v\n%s", res.Hash, res.Count, res.Plan)
	if res.Err != nil {
		t.Fatal(res.Err)
	}
}

// No seed may break a rule, and every one must come back to life.
func TestReplicas(t *testing.T) {
	seeds := uint64(16)
	if testenv.Full() {
		seeds = 300
	}
	if *seedsFlag > 0 {
		seeds = *seedsFlag
	}
	began := time.Now()
	sum, failures := RunMany(*fromFlag, seeds, 2, Options{Picture: os.TempDir()}, nil)
	for _, f := range failures {
		t.Errorf("%v", f)
	}
	t.Logf("%v", sum.Report(time.Since(began)))
}
