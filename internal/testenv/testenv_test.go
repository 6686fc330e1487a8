package testenv

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// recorder is a testing.TB that remembers how the test under it ended.
type recorder struct {
	testing.TB
	ended, text string
}

func (r *recorder) Helper()      {}
func (r *recorder) Name() string { return "TestX" }
func (r *recorder) end(how, text string) {
	r.ended, r.text = how, text
	runtime.Goexit()
}
func (r *recorder) Skip(args ...any)               { r.end("skip", fmt.Sprint(args...)) }
func (r *recorder) Skipf(format string, a ...any)  { r.end("skip", fmt.Sprintf(format, a...)) }
func (r *recorder) Fatal(args ...any)              { r.end("fatal", fmt.Sprint(args...)) }
func (r *recorder) Fatalf(format string, a ...any) { r.end("fatal", fmt.Sprintf(format, a...)) }

func run(f func(testing.TB)) *recorder {
	r := &recorder{}
	done := make(chan struct{})
	// Ends with f, which Goexit may cut short; waited for right below.
	go func() {
		defer close(done)
		f(r)
	}()
	<-done
	return r
}

func TestTiers(t *testing.T) {
	missing := func(t testing.TB) { Need(t, "sh", "no-such-tool-at-all") }
	t.Setenv("RAFTKV_TEST", "")
	if r := run(missing); r.ended != "skip" || !strings.Contains(r.text, "no-such-tool-at-all") {
		t.Errorf("tier 1 without a tool: %q %q", r.ended, r.text)
	}
	if r := run(FullOnly); r.ended != "skip" || !strings.Contains(r.text, "RAFTKV_TEST=full") {
		t.Errorf("tier 1: %q %q", r.ended, r.text)
	}
	t.Setenv("RAFTKV_TEST", "full")
	if r := run(missing); r.ended != "fatal" || !strings.Contains(r.text, "apt-get install") {
		t.Errorf("tier 2 without a tool: %q %q", r.ended, r.text)
	}
	if r := run(FullOnly); r.ended != "" {
		t.Errorf("tier 2: %q %q", r.ended, r.text)
	}
	if r := run(func(t testing.TB) { Need(t, "sh") }); r.ended != "" {
		t.Errorf("tool that is there: %q %q", r.ended, r.text)
	}
}

// A test that both tiers have in common runs once in .ci/run, and always where tier 1 alone, or tier 2 alone, is run.
func TestSameInBothRunsOnce(t *testing.T) {
	for _, tc := range []struct{ tier, before, ended string }{
		{"", "", ""}, {"", "done", ""}, {"full", "", ""}, {"full", "done", "skip"},
	} {
		t.Setenv("RAFTKV_TEST", tc.tier)
		t.Setenv("RAFTKV_TIER1", tc.before)
		if r := run(SameInBoth); r.ended != tc.ended {
			t.Errorf("tier %q after %q: %q, want %q", tc.tier, tc.before, r.ended, tc.ended)
		}
	}
}

// Each commit sweeps one half, some commits the other one, and whoever names none both.
func TestHalvesMakeAWhole(t *testing.T) {
	t.Setenv("RAFTKV_COMMIT", "")
	if Half() || !Mine(4) || !Mine(5) {
		t.Error("without a commit something is left out")
	}
	even := 0
	for i := range 64 {
		t.Setenv("RAFTKV_COMMIT", fmt.Sprint("commit", i))
		if !Half() || Mine(4) == Mine(5) || Mine(4) != Mine(6) {
			t.Fatalf("commit %d takes no half", i)
		}
		if Mine(4) {
			even++
		}
	}
	if even < 16 || even > 48 {
		t.Errorf("%d of 64 commits take the even half", even)
	}
}

// Each part of a sweep has its turn: of 64 commits every one is taken by some.
func TestEachPartHasItsTurn(t *testing.T) {
	t.Setenv("RAFTKV_COMMIT", "")
	if k, n := Turn(5); k != 0 || n != 1 {
		t.Errorf("without a commit part %d of %d is taken, not all", k, n)
	}
	var taken [5]int
	for i := range 64 {
		t.Setenv("RAFTKV_COMMIT", fmt.Sprint("commit", i))
		k, n := Turn(5)
		if n != 5 {
			t.Fatalf("%d parts, want 5", n)
		}
		taken[k]++
	}
	for k, times := range taken {
		if times < 4 {
			t.Errorf("part %d is taken by %d of 64 commits", k, times)
		}
	}
}
