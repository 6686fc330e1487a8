package mutants

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite docs/mutants.md")

const tableFile = "docs/mutants.md"

// The list of mutants in the documents is the one that is planted.
func TestTable(t *testing.T) {
	path := filepath.Join(root, tableFile)
	want := table()
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not what the lists say: go test ./internal/mutants -run TestTable -update", tableFile)
	}
}

func table() string {
	var b strings.Builder
	total := 0
	count := map[string]int{}
	for _, r := range rooms {
		total += len(r.mutants)
		for _, m := range r.mutants {
			for _, bench := range m.benches {
				count[strings.TrimSuffix(bench, " full")]++
			}
		}
	}
	fmt.Fprintf(&b, "# Mutants\n\nMade by `go test ./internal/mutants -run TestTable -update`: change the lists there, not this page.\n\n")
	fmt.Fprintf(&b, "%d mistakes are planted, one at a time. Each breaks a promise, and each is found by all of the tests that stand behind it.\n", total)
	fmt.Fprintf(&b, "\n## By bench\n\n| Bench | Mutants that it is listed for |\n|---|---|\n")
	for _, bench := range slices.Sorted(maps.Keys(count)) {
		fmt.Fprintf(&b, "| %s | %d |\n", bench, count[bench])
	}
	for _, r := range rooms {
		fmt.Fprintf(&b, "\n## %s: %d\n\n| Mutant | in | breaks | found by |\n|---|---|---|---|\n", r.name, len(r.mutants))
		for _, m := range r.mutants {
			fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", m.name, m.file, m.breaks, strings.Join(m.benches, ", "))
		}
	}
	return b.String()
}
