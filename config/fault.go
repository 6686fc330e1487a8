package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Fault is one thing that is wrong with a configuration.
type Fault struct {
	Where string // n1.yaml:12, environment RAFTKV_RAFT_TICK, flag --log-level; empty: nowhere in particular
	Line  int    // in the file; 0: none
	Key   string // raft.tick; empty: the file as a whole
	Value string // as it was given; empty: there is none
	What  string // what is wrong
	Want  string // what is allowed; may be empty
}

// maxShown is how much of a value is repeated in a message, in bytes.
const maxShown = 64

// Error is one line: where: key = "value": what; allowed: want.
func (f Fault) Error() string {
	var b strings.Builder
	if f.Where != "" {
		b.WriteString(f.Where + ": ")
	}
	if f.Key != "" {
		b.WriteString(f.Key)
		if f.Value != "" {
			b.WriteString(" = " + quote(f.Value))
		}
		b.WriteString(": ")
	}
	b.WriteString(f.What)
	if f.Want != "" {
		b.WriteString("; allowed: " + f.Want)
	}
	return b.String()
}

// quote shortens and quotes what a user wrote, so that it stays on one line.
func quote(s string) string {
	if len(s) > maxShown {
		return strconv.Quote(strings.ToValidUTF8(s[:maxShown], "?")) + "..."
	}
	return strconv.Quote(s)
}

// Faults are all faults of one configuration. It is never empty as an error.
type Faults []Fault

// Error is one line a fault.
func (fs Faults) Error() string {
	lines := make([]string, len(fs))
	for i, f := range fs {
		lines[i] = f.Error()
	}
	return strings.Join(lines, "\n")
}

// sort puts faults in the order of the file, the others behind, as they were found.
func (fs Faults) sort() {
	slices.SortStableFunc(fs, func(a, b Fault) int {
		switch {
		case (a.Line == 0) != (b.Line == 0):
			return b.Line - a.Line
		}
		return a.Line - b.Line
	})
}

// maxFaults bounds a report; a file of another kind has a fault on each line.
const maxFaults = 100

// err is nil without faults. The report is bounded.
func (fs Faults) err() error {
	if len(fs) == 0 {
		return nil
	}
	fs.sort()
	if n := len(fs) - maxFaults; n > 0 {
		fs = append(fs[:maxFaults:maxFaults], Fault{What: fmt.Sprintf("and at least %d faults more", n)})
	}
	return fs
}

// nearest is the candidate that s was probably meant to be, or nothing.
func nearest(s string, candidates []string) string {
	best, least := "", 3
	for _, c := range candidates {
		if d := distance(strings.ToLower(s), c); d < least && d < min(len(s), len(c)) {
			best, least = c, d
		}
	}
	return best
}

// distance counts the insertions, deletions and replacements from a to b
// (Levenshtein). It answers a large number for very different lengths.
func distance(a, b string) int {
	if len(a) > len(b)+3 || len(b) > len(a)+3 {
		return 99
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			d := diagonal
			if a[i] != b[j] {
				d = min(diagonal, row[j], row[j+1]) + 1
			}
			diagonal, row[j+1] = row[j+1], d
		}
	}
	return row[len(b)]
}
