package raft_test

import (
	"bytes"
	"context"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/raftkv/raftkv/internal/testenv"
)

var benches = flag.String("benches", "spr", "the benches that TestMutants uses: s scenarios, p paper, r random runs")

// mutant is one plausible mistake: old becomes new in one file of the core. The
// benches that see it are listed: s scenarios, p the paper's rules, r random runs.
type mutant struct {
	name, file, old, new string
	seen                 string
}

// Each of them was a bug in somebody's Raft, or is one line away from it. seen
// lists the benches that are known to catch it: one that no longer does has lost its edge.
var mutants = []mutant{
	{"vote before it is durable", "election.go", "o.to != None && r.w.durable.term == r.term && r.w.durable.vote == o.to", "o.to != None", "sr"},
	{"vote request before it is durable", "election.go", "d.term != r.term || d.vote != r.cfg.ID || r.w.stable != r.log.last().Index", "d.term > r.term || r.w.stable != r.log.last().Index", "sr"},
	{"vote request for a log that is not on the disk", "election.go", " || r.w.stable != r.log.last().Index", "", "s"},
	{"acknowledgement of what is only in memory", "follower.go", "match := min(f.matched, r.w.stable)", "match := f.matched", "sr"},
	{"acknowledgement before the term is durable", "follower.go", " || r.w.durable.term != r.term || !f.owed", " || !f.owed", "sr"},
	{"the leader counts what it has not written", "leader.go", "match = append(match, r.w.stable)", "match = append(match, r.log.last().Index)", "sr"},
	{"an old term's entry is committed by counting", "leader.go", "!ok || c <= r.commit || t != r.term", "!ok || c <= r.commit || t > r.term", "spr"},
	{"minority commits", "quorum.go", "match[len(match)-quorum(len(match))]", "match[len(match)-quorum(len(match))+len(match)/2]", "spr"},
	{"read index without the no-op", "reads.go", "max(r.commit, r.lead.noop)", "r.commit", "spr"},
	{"a read joins a round that was opened before it came", "reads.go", "read{id: id, index: index}", "read{id: id, index: index, round: r.lead.round}", "sr"},
	{"a read is answered without a round", "reads.go", "l.reads[n].round != 0 && l.reads[n].round <= l.confirmed", "l.reads[n].round <= l.confirmed+1", "sp"},
	{"truncation does not cut back writes in flight", "writes.go", "w.flight[k].last = min(w.flight[k].last, i-1)", "_ = k", "sr"},
	{"truncation does not cut back stable", "writes.go", "w.stable = min(w.stable, i-1)", "", "spr"},
	{"truncation does not cut back what was handed to the disk", "writes.go", "w.handed = min(w.handed, i-1)", "", "spr"},
	{"configuration is not rolled back", "follower.go", "r.dropConfigs(i)", "", "sr"},
	{"vote for an older log", "election.go", "granted := (r.vote == None || r.vote == m.From) && r.fence == FenceNone && !m.Last.olderThan(r.log.last())", "granted := (r.vote == None || r.vote == m.From) && r.fence == FenceNone", "p"},
	{"second vote in a term", "election.go", "granted := (r.vote == None || r.vote == m.From) &&", "granted := true &&", "spr"},
	{"vote survives a new term", "raft.go", "r.term, r.vote = term, None", "r.term = term", "spr"},
	{"log compared by length only", "types.go", "	if e.Term != o.Term {\n		return e.Term < o.Term\n	}\n", "", "p"},
	{"matched survives a new term", "raft.go", "r.follow = follow{matched: r.commit}\n	r.fastBid = 0", "r.fastBid = 0", "sr"},
	{"follower commits beyond what it matched", "follower.go", "r.commit = max(r.commit, min(leaderCommit, f.matched))", "r.commit = max(r.commit, min(leaderCommit, r.log.last().Index))", "pr"},
	{"entries are appended without a look at prev", "follower.go", "	if !r.log.has(prev) {", "	if prev.Index > r.log.last().Index {", "spr"},
	{"append cuts the log though nothing conflicts", "follower.go", "		if !r.log.has(e.EntryID) {\n			r.replaceFrom", "		if true {\n			r.replaceFrom", "spr"},
	{"pre-vote without stickiness", "election.go", "m.Term > r.term && !r.sticky() &&", "m.Term > r.term &&", "sp"},
	{"vote request disturbs who hears a leader", "raft.go", "m.Term > r.term && r.sticky() && !m.Transfer", "false", "sp"},
	{"no check-quorum", "leader.go", "case !r.reachesQuorum():", "case false:", "s"},
	{"two changes at a time", "membership.go", "r.configs[len(r.configs)-1].index > r.commit {", "false {", "sr"},
	{"change before the own term commits", "membership.go", "t, _ := r.log.term(r.commit); t != r.term {", "t, _ := r.log.term(r.commit); t > r.term {", "s"},
	{"a leader outside the configuration counts itself", "leader.go", "	match := few[:0]\n", "	match := few[:0]\n	if !r.config().IsVoter(r.cfg.ID) {\n		match = append(match, r.w.stable)\n	}\n", "sr"},
	{"echo of an old leader's round counts", "leader.go", "	if m.Round <= r.lead.round {\n		w.round = max(w.round, m.Round)\n	}", "	w.round = max(w.round, r.lead.round)", "sp"},
	{"a fenced node votes", "election.go", "(r.vote == None || r.vote == m.From) && r.fence == FenceNone &&", "(r.vote == None || r.vote == m.From) &&", "s"},
	{"the fence lifts at the own last index", "raft.go", "r.fenceEnd > 0 && min(r.follow.matched, r.w.stable) >= r.fenceEnd", "r.fenceEnd > 0 && r.w.stable >= r.log.last().Index", "s"},
	{"an offer below what is committed is installed", "follower.go", "	return s.Last.Index > r.commit\n", "	return true\n", "s"},
	{"a reset keeps what writes in flight prove", "follower.go", "	r.w.cut(1)\n	r.w.base, r.w.reset = s.Last, true\n	r.configs", "	r.w.base, r.w.reset = s.Last, true\n	r.configs", "s"},
	{"compaction before the disk is there", "membership.go", "r.w.stable < c.meta.Last.Index || r.applied", "r.applied", "s"},
	{"a lost batch is not looked for", "leader.go", "if len(out) == n && (due || w.probe && !w.asked) {", "if len(out) == n && w.sentRound < l.round {", "s"},
	{"a rejected guess is repeated", "leader.go", "	w.restart(r.log.agreeing(hint).Index + 1)", "	w.restart(m.Prev.Index + 1)", "sp"},
	{"who needs a snapshot is never offered one", "leader.go", "	if hint.Index < r.log.base.Index {", "	if false {", "s"},
	{"an offer answers each reply", "leader.go", "w.probe = w.next <= r.log.base.Index", "w.probe = false", "s"},
	{"no appends for who lacks its snapshot", "leader.go", "	if w.next <= r.log.base.Index {\n		if !w.probe {", "	if w.next <= r.log.base.Index || w.refetch {\n		if !w.probe {", "s"},
	{"a hung disk keeps the lead", "leader.go", "case r.diskHangs():", "case false:", "s"},
	{"a hung disk stands again", "election.go", "!r.refetch && r.hung == 0 &&", "!r.refetch &&", "s"},
	{"TimeoutNow before the heir has all", "leader.go", "w != nil && w.match == r.log.last().Index {", "w != nil {", "s"},
	{"a learner's vote counts", "election.go", "	if r.config().IsVoter(id) && !slices", "	if !slices", "p"},
	{"leadership from answers of an older request", "election.go", "r.role != Candidate || !r.election.asked || !m.Granted", "r.role != Candidate || !r.election.asked", "p"},
}

// Every mutant must be caught by the benches that are listed for it, in a copy of
// the source. It takes some minutes, so it runs in tier 2 only.
func TestMutants(t *testing.T) {
	testenv.FullOnly(t)
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	copyTree(t, root, dir, "raft", "sim/cores", "internal/testenv")
	for _, f := range []string{"go.mod", "go.sum"} {
		copyFile(t, filepath.Join(root, f), filepath.Join(dir, f))
	}
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			path := filepath.Join(dir, "raft", m.file)
			src, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(string(src), m.old); n != 1 {
				t.Fatalf("%s has %d places like %q: bring the mutant up to date", m.file, n, m.old)
			}
			write(t, path, strings.Replace(string(src), m.old, m.new, 1))
			defer write(t, path, string(src))
			var seen string
			for _, b := range []struct{ letter, pkg, run string }{
				{"s", "./raft", "TestScenarios"}, {"p", "./raft", "TestPaper"}, {"r", "./sim/cores", "TestCores"},
			} {
				if !strings.Contains(*benches, b.letter) || b.letter == "r" && seen != "" && !strings.Contains(m.seen, "r") {
					continue
				}
				if out, caught := bench(t, dir, b.pkg, b.run); caught {
					seen += b.letter
				} else if strings.Contains(out, "build failed") {
					t.Fatalf("the mutant does not compile:\n%s", out)
				}
			}
			t.Logf("seen by %q", seen)
			if seen == "" {
				t.Fatal("survives every bench")
			}
			for _, letter := range m.seen {
				if strings.ContainsRune(*benches, letter) && !strings.ContainsRune(seen, letter) {
					t.Errorf("was seen by %q once, now by %q", m.seen, seen)
					break
				}
			}
		})
	}
}

// bench runs tests in the copy and tells whether they failed for a reason other than the compiler.
func bench(t *testing.T, dir, pkg, run string) (out string, caught bool) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "test", "-count=1", "-failfast", "-timeout", "2m", "-run", run, pkg)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "RAFTKV_TEST=")
	var b bytes.Buffer
	cmd.Stdout, cmd.Stderr = &b, &b
	err := cmd.Run()
	out = b.String()
	return out, err != nil && !strings.Contains(out, "build failed")
}

func copyTree(t *testing.T, from, to string, dirs ...string) {
	for _, d := range dirs {
		if err := os.CopyFS(filepath.Join(to, d), os.DirFS(filepath.Join(from, d))); err != nil {
			t.Fatal(err)
		}
	}
}

func copyFile(t *testing.T, from, to string) {
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	write(t, to, string(b))
}

func write(t *testing.T, path, text string) {
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
