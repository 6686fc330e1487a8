package raft_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/raft/rafttest"
)

var update = flag.Bool("update", false, "rewrite what stands under the rules in testdata/*.txt")

// Each file in testdata is a conversation: commands, a rule, and what they made
// the cluster do. See rafttest.Script for the commands.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			got := playFile(t, string(want))
			if *update {
				if err := os.WriteFile(f, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(want) {
				t.Errorf("%s differs; if that is right: go test ./raft -update\n%s", f, diff(string(want), got))
			}
		})
	}
}

// playFile plays the blocks of a file and returns it with what really came out.
func playFile(t *testing.T, text string) string {
	t.Helper()
	defer func() {
		if p := recover(); p != nil {
			t.Fatal(p)
		}
	}()
	s := &rafttest.Script{}
	var out bytes.Buffer
	for block := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n\n") {
		if out.Len() > 0 {
			out.WriteString("\n")
		}
		commands, _, _ := strings.Cut(block+"\n", "----\n")
		out.WriteString(commands)
		s.Output()
		played := false
		for line := range strings.SplitSeq(commands, "\n") {
			if f := strings.Fields(line); len(f) > 0 && !strings.HasPrefix(line, "#") {
				played = true
				s.Play(line)
			}
		}
		if played {
			s.Commits()
			out.WriteString("----\n")
			out.Write(s.Output())
		}
	}
	return out.String()
}

// diff is the first place where two texts part, with what stands around it.
func diff(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	i := 0
	for i < len(w) && i < len(g) && w[i] == g[i] {
		i++
	}
	from := max(0, i-3)
	return fmt.Sprintf("line %d, want:\n%s\ngot:\n%s", i+1,
		strings.Join(w[from:min(i+6, len(w))], "\n"), strings.Join(g[from:min(i+6, len(g))], "\n"))
}
