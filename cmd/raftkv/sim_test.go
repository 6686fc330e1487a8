package main

import (
	"strings"
	"testing"
)

// A seed is a run: its hash is the same each time, and another one's is another.
func TestSimPrintsTheHashOfARun(t *testing.T) {
	hash := func(args ...string) string {
		t.Helper()
		code, out, errOut := raftkv(append([]string{"sim", "--steps", "5000"}, args...)...)
		_, h, found := strings.Cut(out, "trace hash ")
		if code != exitOK || !found || len(strings.TrimSpace(h)) != 16 {
			t.Fatalf("%v: code %d, %q, %q", args, code, out, errOut)
		}
		return h
	}
	one := hash("--seed", "7")
	if again := hash("--seed", "7"); again != one {
		t.Errorf("seed 7 is %s, then %s", one, again)
	}
	for _, other := range [][]string{{"--seed", "8"}, {"--seed", "7", "--nodes", "4"}, {"--seed", "7", "--faults", "none"}} {
		if hash(other...) == one {
			t.Errorf("%v is the same run as seed 7", other)
		}
	}
}

func TestSimPlaysManySeeds(t *testing.T) {
	code, out, errOut := raftkv("sim", "--seed", "1", "--seeds", "3", "--steps", "3000", "--faults", "kill-leader,lost-message")
	if code != exitOK || !strings.Contains(out, "PASS: no rule was broken in 3 seeds") || strings.Contains(out, "cut-leader=") {
		t.Errorf("code %d\n%s%s", code, out, errOut)
	}
}

func TestSimRefusesWhatItCannotPlay(t *testing.T) {
	for _, args := range []string{"--seeds 0", "--nodes 2", "--nodes 8", "--steps -1", "--faults kill,sun", "--trace --seeds 2"} {
		if code, _, errOut := raftkv(append([]string{"sim"}, strings.Fields(args)...)...); code != exitUsage {
			t.Errorf("%s: code %d, %q", args, code, errOut)
		}
	}
}
