package prefix

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/raftkv/raftkv/statemachine"
)

// Whatever the bytes: every key with the prefix lies behind Before and matches
// Pattern; no other key matches.
func TestPrefix(t *testing.T) {
	bytes := rapid.StringOf(rapid.SampledFrom([]rune{0, 1, 'a', '*', '?', '[', ']', '\\', '^', '-', 'ÿ'}))
	rapid.Check(t, func(t *rapid.T) {
		p, key := bytes.Draw(t, "prefix"), bytes.Draw(t, "key")
		if rapid.Bool().Draw(t, "has it") {
			key = p + key
		}
		has := strings.HasPrefix(key, p)
		if got := statemachine.MatchGlob([]byte(Pattern(p)), key); got != has {
			t.Fatalf("%q matches %q: %v, want %v", key, Pattern(p), got, has)
		}
		if low := Before(p); has && low != "" && key <= low {
			t.Fatalf("%q with prefix %q is not behind %q", key, p, low)
		}
	})
}
