package statemachine

import (
	"strings"
	"testing"
)

// The sums are those that Redis 7.0.15 answered, on a machine with x87.
func TestFloatsAddAsInRedis(t *testing.T) {
	const overflow, bad = "-ERR increment would produce NaN or Infinity", "-ERR value is not a valid float"
	for _, tc := range []struct{ a, b, want string }{
		{"1000", "0.1", "1000.09999999999999998"},
		{"217", "0.1", "217.10000000000000001"},
		{"0.1", "0.2", "0.3"},
		{"3.0", "1e-20", "3"},
		{"0", "0x10", "16"},
		{"0x1p3", "1", "9"},
		{"5", "-5", "0"},
		{"-0", "0", "0"},
		{"1e17", "0.5", "100000000000000000.5"},
		{"1e20", "1", "100000000000000000000"},
		{"1.", ".5", "1.5"},
		{"+5", "+3", "8"},
		{"00012", "1", "13"},
		{"0", "1e40", "9999999999999999999783686092270256259072"},
		{"inf", "1", overflow},
		{"1", "-infinity", overflow},
		{"1.1e4932", "1.1e4932", overflow},
		{"1", "1e5000", bad},
		{"1", "1e-4960", bad},
		{"1", "1e99999999999999999999", bad},
		{"1", "1e", bad},
		{"", "1", bad},
		{"1", " 1", bad},
		{"1", "1 ", bad},
		{"1", "--1", bad},
		{"1", "1_0", bad},
		{"1", "nan", bad},
		{"1", "0x", bad},
		{"1", strings.Repeat("1", floatText+1), bad},
	} {
		r := newRig(t)
		r.do(cmd(OpSet, "k", tc.a))
		got := r.do(cmd(OpIncrByFloat, "k", tc.b))
		if want := tc.want; got != `"`+want+`"` && got != want {
			t.Errorf("%.40s + %.40s = %s, want %s", tc.a, tc.b, got, want)
		}
	}
}
