package fuzztest

import (
	"testing"
)

// recorder notes whether a test was failed.
type recorder struct {
	testing.TB
	failed bool
}

func (r *recorder) Helper()               {}
func (r *recorder) Errorf(string, ...any) { r.failed = true }

var sink []byte

// What is allocated on the word of a length field is found, and what comes in proportion is not.
func TestBounded(t *testing.T) {
	for _, tc := range []struct {
		name  string
		alloc int
		want  bool
	}{
		{"in proportion", 3 * 1000, false},
		{"as a length field says", 1 << 20, true},
	} {
		r := &recorder{TB: t}
		Bounded(r, 1000, 64<<10, 4, func() { sink = make([]byte, tc.alloc) })
		if r.failed != tc.want {
			t.Errorf("%s: failed is %v", tc.name, r.failed)
		}
	}
}
