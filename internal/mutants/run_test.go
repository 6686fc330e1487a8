package mutants

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"hash/fnv"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

var (
	sample = flag.Bool("sample", false, "some mutants, others for each commit, by the first bench that is listed for each")
	finds  = flag.Int("finds", 0, "how many of so many seeds of the simulator find each mutant that -run selects of its list")
	all    = flag.Bool("all", false, "every mutant that -run selects, by each bench that is listed for it")
)

// mutant is one plausible mistake.
type mutant struct {
	name    string
	breaks  string // the rule, or the paragraph of ARCHITECTURE, that no longer holds
	file    string
	edits   []edit
	benches []string // "PACKAGE TEST", or "PACKAGE TEST full" in tier 2: each is known to find it; the quickest comes first
}

// edit replaces text that stands in the file exactly once.
type edit struct{ old, new string }

// rooms are the lists, one a package.
var rooms = []struct {
	name    string
	mutants []mutant
}{
	{"raft", raftMutants},
	{"raftlog", raftlogMutants},
	{"smallfile", smallfileMutants},
	{"snapshot", snapshotMutants},
	{"statemachine", stateMutants},
	{"node", nodeMutants},
	{"transport", transportMutants},
	{"identity", identityMutants},
	{"resp", respMutants},
	{"sim", simMutants},
}

const root = "../.."

// sampleSize is how many mutants a sample has: a minute of both cores.
const sampleSize = 20

// benchLimit is far above what a bench takes on a busy machine.
const benchLimit = 5 * time.Minute

// The text that a mutant replaces stands in the source exactly once. Whoever
// changes that line carries the mutant along; if what it breaks is gone, so is the mutant.
func TestMutantsFit(t *testing.T) {
	names := map[string]bool{}
	for _, r := range rooms {
		for _, m := range r.mutants {
			if names[r.name+"/"+m.name] {
				t.Errorf("%s: two mutants %q", r.name, m.name)
			}
			names[r.name+"/"+m.name] = true
			if _, err := m.source(); err != nil {
				t.Errorf("%s: %q: %v", r.name, m.name, err)
			}
			if len(m.benches) == 0 || m.breaks == "" {
				t.Errorf("%s: %q has no bench, or breaks nothing", r.name, m.name)
			}
		}
	}
}

// source is the mutated file.
func (m mutant) source() (string, error) {
	b, err := os.ReadFile(filepath.Join(root, m.file))
	if err != nil {
		return "", err
	}
	src := string(b)
	for _, e := range m.edits {
		if n := strings.Count(src, e.old); n != 1 {
			return "", fmt.Errorf("%s has %d places like %q: bring the mutant up to date", m.file, n, e.old)
		}
		src = strings.Replace(src, e.old, e.new, 1)
	}
	return src, nil
}

// Every mutant is found by the benches that are listed for it.
func TestKilled(t *testing.T) {
	if !*all && !*sample {
		t.Skip("needs -sample, which .ci/run says, or -all")
	}
	type one struct {
		room string
		mutant
	}
	var list []one
	for _, r := range rooms {
		for _, m := range r.mutants {
			list = append(list, one{r.name, m})
		}
	}
	if !*all {
		commit, at := rotation(t, len(list))
		// Neighbours in the list are alike: stride through it, with a step that is prime to its length.
		var mixed []one
		for i, step := at, stride(len(list)); len(mixed) < len(list); i += step {
			mixed = append(mixed, list[i%len(list)])
		}
		list = mixed
		t.Logf("%d mutants are listed; the sample of commit %s begins with %q", len(list), commit, list[0].name)
		list = list[:min(len(list), sampleSize)]
	}
	start := time.Now()
	var tried atomic.Int64
	t.Cleanup(func() {
		t.Logf("%d mutants tried in %v", tried.Load(), time.Since(start).Round(time.Second))
		if tried.Load() == 0 {
			t.Error("no mutant was tried")
		}
	})
	for _, m := range list {
		t.Run(m.room+"/"+m.name, func(t *testing.T) {
			t.Parallel() // building one goes beside the tests of another
			tried.Add(1)
			m.kill(t)
		})
	}
}

// rotation is where the sample of this commit begins.
func rotation(t *testing.T, n int) (commit string, at int) {
	out, err := exec.Command("git", "-C", root, "rev-parse", "--short=12", "HEAD").Output()
	if err != nil {
		t.Fatalf("git rev-parse: %v: the sample goes by the commit", err)
	}
	commit = strings.TrimSpace(string(out))
	h := fnv.New32a()
	h.Write([]byte(commit))
	return commit, int(h.Sum32() % uint32(n))
}

// stride is about two fifths of n and has no factor in common with it.
func stride(n int) int {
	s := max(1, n*2/5)
	for gcd(s, n) != 1 {
		s++
	}
	return s
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// kill runs the benches on the mutated source: the first one, or with -all each.
func (m mutant) kill(t *testing.T) {
	src, err := m.source()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	overlay := m.overlay(t, dir, src)
	for i, b := range m.benches {
		if i > 0 && !*all {
			break
		}
		begin := time.Now()
		v := run(t, overlay, b)
		took := time.Since(begin).Round(100 * time.Millisecond)
		if v.killed == "" {
			t.Errorf("survives %s (%v): %s breaks %q\n%s", b, took, m.file, m.breaks, v.out)
			continue
		}
		t.Logf("killed by %s in %v: %s", v.killed, took, v.why)
	}
}

// overlay writes the mutated file and what tells the go command of it.
func (m mutant) overlay(t *testing.T, dir, src string) string {
	abs, err := filepath.Abs(filepath.Join(root, m.file))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "mutant.go")
	text, err := json.Marshal(map[string]map[string]string{"Replace": {abs: file}})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "overlay.json")
	for name, text := range map[string]string{file: src, path: string(text)} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// verdict is how a bench ended. killed is the test that failed, "" if none did.
type verdict struct{ killed, why, out string }

// run runs one bench.
func run(t *testing.T, overlay, bench string) verdict {
	f := strings.Fields(bench)
	if len(f) < 2 || len(f) > 3 || len(f) == 3 && f[2] != "full" {
		t.Fatalf("bench %q is not PACKAGE TEST, nor PACKAGE TEST full", bench)
	}
	tier := strings.Join(f[2:], "")
	ctx, cancel := context.WithTimeout(context.Background(), benchLimit+time.Minute)
	defer cancel()
	args := []string{"test", "-overlay", overlay, "-count=1", "-failfast", "-vet=off", "-timeout", benchLimit.String(), "-run", "^" + f[1], "./" + f[0]}
	if f[0] == "statemachine" {
		args = append(args, "-rapid.nofailfile") // it would lie in the tree
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "RAFTKV_TEST="+tier)
	var b bytes.Buffer
	cmd.Stdout, cmd.Stderr = &b, &b
	err := cmd.Run()
	out := b.String()
	switch {
	case ctx.Err() != nil || strings.Contains(out, "panic: test timed out"):
		return verdict{out: "ran into its time limit, which says nothing\n" + tail(out)}
	case strings.Contains(out, "[build failed]") || strings.Contains(out, "[setup failed]"):
		t.Fatalf("the mutant does not compile:\n%s", out)
	case strings.Contains(out, "no tests to run"):
		t.Fatalf("bench %q runs no test", bench)
	case err == nil:
		return verdict{out: tail(out)}
	}
	v := judge(out)
	v.out = tail(out)
	return v
}

var (
	failed = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`)
	panics = regexp.MustCompile(`(?m)^panic: (.*)`)
	says   = regexp.MustCompile(`(?m)^\s+\w+_test\.go:\d+: (.*)`)
)

// judge reads from the output of a failed test which test or assertion it was.
func judge(out string) verdict {
	var v verdict
	for _, f := range failed.FindAllStringSubmatch(out, -1) {
		if len(f[1]) > len(v.killed) { // the innermost
			v.killed = f[1]
		}
	}
	if p := panics.FindStringSubmatch(out); p != nil {
		v.why = p[1]
		switch {
		case strings.HasPrefix(p[1], "runtime error"):
			v.killed = "" // chance, no assertion
		case v.killed == "":
			v.killed = "an assertion"
		}
	} else if s := says.FindStringSubmatch(out); s != nil {
		v.why = s[1]
	}
	return v
}

func tail(out string) string {
	if lines := strings.Split(out, "\n"); len(lines) > 25 {
		out = strings.Join(lines[len(lines)-25:], "\n")
	}
	return out
}

// The judge tells an assertion from what kills nothing.
func TestJudge(t *testing.T) {
	for _, tc := range []struct{ name, out, killed, why string }{
		{"a test's own words", "--- FAIL: TestA (0.00s)\n    --- FAIL: TestA/b (0.00s)\n        a_test.go:3: got 1, want 2\nFAIL\n", "TestA/b", "got 1, want 2"},
		{"an assertion in the code", "--- FAIL: TestA (0.00s)\npanic: raft: term goes back from 2 to 1\n\ngoroutine 1\n", "TestA", "raft: term goes back from 2 to 1"},
		{"an assertion on another goroutine", "panic: node: a write ended twice\n\ngoroutine 7\n", "an assertion", "node: a write ended twice"},
		{"a fault of the mutant", "--- FAIL: TestA (0.00s)\npanic: runtime error: index out of range [3]\n", "", "runtime error: index out of range [3]"},
		{"nothing failed", "ok  \tx\t0.1s\n", "", ""},
	} {
		if v := judge(tc.out); v.killed != tc.killed || v.why != tc.why {
			t.Errorf("%s: killed by %q: %q", tc.name, v.killed, v.why)
		}
	}
	for n := 1; n < 300; n++ {
		s := stride(n)
		if gcd(s, n) != 1 || s < 1 {
			t.Errorf("stride %d of %d does not reach all", s, n)
		}
	}
}

// TestFinds tells how many seeds of the simulator find each mutant that it is a bench of.
func TestFinds(t *testing.T) {
	if *finds == 0 {
		t.Skip("needs -finds")
	}
	for _, r := range rooms {
		for _, m := range r.mutants {
			if !slices.Contains(m.benches, replicas) {
				continue
			}
			t.Run(r.name+"/"+m.name, func(t *testing.T) {
				src, err := m.source()
				if err != nil {
					t.Fatal(err)
				}
				cmd := exec.Command("go", "test", "-overlay", m.overlay(t, t.TempDir(), src), "-count=1", "-vet=off", "-v",
					"-timeout", benchLimit.String(), "-run", "^TestFinds$", "./sim", "-finds", fmt.Sprint(*finds))
				cmd.Dir = root
				out, err := cmd.CombinedOutput()
				found := says.FindSubmatch(out)
				if err != nil || found == nil {
					t.Fatalf("%v\n%s", err, tail(string(out)))
				}
				t.Logf("%s", found[1])
			})
		}
	}
}
