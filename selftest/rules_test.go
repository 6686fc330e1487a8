package selftest

import (
	"strings"
	"testing"
)

// Each rule goes red, and good runs don't.
func TestRulesOfStatus(t *testing.T) {
	at := func(id, role string, term, commit, applied uint64, hash string) Status {
		return Status{ID: id, Role: role, Term: term, CommitIndex: commit, AppliedIndex: applied, StateHash: hash}
	}
	type look struct {
		name string
		pid  int
		s    Status
	}
	for _, tc := range []struct {
		name  string
		looks []look
		want  string
	}{
		{"a good run", []look{
			{"n1", 1, at("a", "leader", 1, 5, 4, "x")}, {"n2", 2, at("b", "follower", 1, 4, 4, "x")},
			{"n2", 2, at("b", "leader", 2, 5, 5, "y")}, {"n1", 1, at("a", "follower", 2, 5, 5, "y")},
		}, ""},
		{"a process begins anew", []look{{"n1", 1, at("a", "leader", 3, 9, 9, "x")}, {"n1", 2, at("a", "follower", 3, 2, 1, "y")}}, ""},
		{"two leaders", []look{{"n1", 1, at("a", "leader", 3, 0, 0, "")}, {"n2", 2, at("b", "leader", 3, 0, 0, "")}}, "two leaders"},
		{"term", []look{{"n1", 1, at("a", "follower", 3, 0, 0, "")}, {"n1", 1, at("a", "follower", 2, 0, 0, "")}}, "the term went back from 3 to 2"},
		{"commit", []look{{"n1", 1, at("a", "follower", 3, 7, 0, "")}, {"n1", 1, at("a", "follower", 3, 6, 0, "")}}, "the commit index went back"},
		{"applied", []look{{"n1", 1, at("a", "follower", 3, 7, 5, "x")}, {"n1", 1, at("a", "follower", 3, 7, 4, "y")}}, "the applied index went back"},
		{"states", []look{{"n1", 1, at("a", "follower", 3, 7, 5, "x")}, {"n2", 2, at("b", "follower", 3, 7, 5, "y")}}, "at entry 5 the state of n1 was x, that of n2 is y"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := NewRules()
			for _, l := range tc.looks {
				r.status(l.name, l.pid, l.s)
			}
			checkRules(t, r, tc.want)
		})
	}
}

func TestRulesOfLogs(t *testing.T) {
	const (
		start  = `{"msg":"starting","pid":1}` + "\n" + `{"msg":"identity","id":"a"}` + "\n"
		led3   = `{"msg":"role changed","role":"leader","term":3}` + "\n"
		read0  = `{"msg":"read","term":0}` + "\n"
		read2  = `{"msg":"read","term":2}` + "\n"
		read3  = `{"msg":"read","term":3}` + "\n"
		heard2 = `{"msg":"role changed","role":"follower","term":2}` + "\n"
		heard4 = `{"msg":"role changed","role":"follower","term":4}` + "\n"
	)
	for _, tc := range []struct {
		name, log, want string
	}{
		{"a good run", start + read0 + led3 + heard4 + start + read3, ""},
		{"cut off by kill -9, and a dump", start + read0 + led3 + `{"msg":"role ch` + start + "goroutine 1 [running]:\n" + read3, ""},
		{"a wiped node", start + read0 + led3 + strings.Replace(start, `"a"`, `"b"`, 1) + read0, ""},
		{"term", start + read0 + led3 + heard2, "the term went back from 3 to 2"},
		{"term below the one read", start + read3 + heard2, "the term went back from 3 to 2"},
		{"start", start + read0 + led3 + start + read2, "it starts in term 2 and has led term 3"},
		{"two leaders", strings.Replace(start, `"a"`, `"b"`, 1) + led3, "term 3 has two leaders, z and b"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := NewRules()
			if tc.name == "two leaders" {
				r.leads("z", 3, "another log")
			}
			for range 2 { // logs are read again and again
				if err := r.log("n1", strings.NewReader(tc.log)); err != nil {
					t.Fatal(err)
				}
			}
			checkRules(t, r, tc.want)
		})
	}
	if err := NewRules().log("n1", strings.NewReader("nothing\n")); err == nil {
		t.Error("a log that tells nothing was taken")
	}
}

func checkRules(t *testing.T, r *Rules, want string) {
	t.Helper()
	err := r.Err()
	switch {
	case want == "" && err != nil:
		t.Errorf("broken: %v", err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("broken: %v; want %q", err, want)
	}
	if r.Looks() == 0 {
		t.Error("nothing was looked at")
	}
}
