package statemachine

import (
	"bytes"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/raft"
)

// Each case is a conversation; the answers are Redis 7's.
func TestCommands(t *testing.T) {
	type step struct {
		c    Command
		want string
	}
	get := func(key, want string) step { return step{cmd(OpGet, key), want} }
	const maxInt, minInt = "9223372036854775807", "-9223372036854775808"
	for _, tc := range []struct {
		name  string
		steps []step
	}{
		{"set and get", []step{
			get("k", "nil"),
			{cmd(OpSet, "k", "v"), "OK"}, get("k", `"v"`),
			{cmd(OpSet, "k", ""), "OK"}, get("k", `""`), // empty is not missing
			{cmd(OpSet, "", "e"), "OK"}, get("", `"e"`),
			{cmd(OpSet, "\x00\r\n\xff", "\r\n\x00"), "OK"}, get("\x00\r\n\xff", `"\r\n\x00"`),
		}},
		{"set NX XX", []step{
			{cmd(OpSet, "k", "1").with(0, FlagXX), "nil"}, get("k", "nil"),
			{cmd(OpSet, "k", "1").with(0, FlagNX), "OK"},
			{cmd(OpSet, "k", "2").with(0, FlagNX), "nil"}, get("k", `"1"`),
			{cmd(OpSet, "k", "3").with(0, FlagXX), "OK"}, get("k", `"3"`),
			{cmd(OpSet, "k", "4").with(0, FlagNX, FlagXX), "-ERR syntax error"}, get("k", `"3"`),
		}},
		{"set GET", []step{
			{cmd(OpSet, "k", "1").with(0, FlagGet), "nil"},
			{cmd(OpSet, "k", "2").with(0, FlagGet), `"1"`},
			{cmd(OpSet, "k", "3").with(0, FlagGet, FlagNX), `"2"`}, get("k", `"2"`),
			{cmd(OpSet, "n", "3").with(0, FlagGet, FlagNX), "nil"}, get("n", `"3"`),
			{cmd(OpSet, "x", "3").with(0, FlagGet, FlagXX), "nil"}, get("x", "nil"),
		}},
		{"set with bad deadlines", []step{
			{cmd(OpSet, "k", "v").with(0, FlagIn), "-ERR invalid expire time in 'set' command"},
			{cmd(OpSet, "k", "v").with(-1, FlagAt), "-ERR invalid expire time in 'set' command"},
			{cmd(OpSet, "k", "v").with(math.MaxInt64, FlagIn), "-ERR invalid expire time in 'set' command"},
			{cmd(OpSet, "k", "v").with(1, FlagIn, FlagAt), "-ERR syntax error"},
			{cmd(OpSet, "k", "v").with(1, FlagIn, FlagKeepTTL), "-ERR syntax error"},
			get("k", "nil"),
			{cmd(OpSet, "k", "v").with(math.MaxInt64, FlagAt), "OK"}, get("k", `"v"`),
		}},
		{"set with a deadline that has passed removes", []step{
			{cmd(OpSet, "k", "old"), "OK"},
			{cmd(OpSet, "k", "v").with(1000, FlagAt, FlagGet), `"old"`}, get("k", "nil"),
			{cmd(OpSet, "k", "v").with(1, FlagAt), "OK"}, get("k", "nil"),
			{cmd(OpDBSize), "0"},
		}},
		{"append", []step{
			{cmd(OpAppend, "k", "ab"), "2"},
			{cmd(OpAppend, "k", "cde"), "5"}, get("k", `"abcde"`),
			{cmd(OpAppend, "k", ""), "5"},
			{cmd(OpAppend, "e", ""), "0"}, get("e", `""`),
			{cmd(OpStrlen, "k"), "5"}, {cmd(OpStrlen, "none"), "0"},
		}},
		{"del and exists", []step{
			{cmd(OpMSet, "a", "1", "b", "2", "c", "3"), "OK"},
			{cmd(OpExists, "a", "b", "a", "x"), "3"},
			{cmd(OpDel, "a", "a", "x", "b"), "2"},
			{cmd(OpExists, "a", "b", "c"), "1"}, {cmd(OpDBSize), "1"},
		}},
		{"mset and mget", []step{
			{cmd(OpMSet, "a", "1", "a", "2"), "OK"}, get("a", `"2"`), // the last one wins
			{cmd(OpMSet, "a", "1", "b"), "-ERR wrong number of arguments for 'mset' command"},
			{cmd(OpMGet, "a", "x", "a"), `["2" nil "2"]`},
		}},
		{"incrby", []step{
			{cmd(OpIncrBy, "n").with(5), "5"},
			{cmd(OpIncrBy, "n").with(-7), "-2"}, get("n", `"-2"`),
			{cmd(OpSet, "n", maxInt), "OK"},
			{cmd(OpIncrBy, "n").with(1), "-ERR increment or decrement would overflow"},
			{cmd(OpIncrBy, "n").with(0), maxInt},
			{cmd(OpSet, "n", minInt), "OK"},
			{cmd(OpIncrBy, "n").with(-1), "-ERR increment or decrement would overflow"},
			{cmd(OpIncrBy, "n").with(math.MaxInt64), "-1"},
			{cmd(OpIncrBy, "edge").with(-1), "-1"}, {cmd(OpIncrBy, "edge").with(math.MinInt64 + 1), minInt},
			{cmd(OpSet, "edge", "1"), "OK"}, {cmd(OpIncrBy, "edge").with(math.MaxInt64 - 1), maxInt},
			{cmd(OpIncrBy, "n").with(math.MinInt64), "-ERR increment or decrement would overflow"},
			get("n", `"-1"`),
		}},
		{"wrong numbers of arguments", []step{
			{cmd(OpSet, "k"), "-ERR wrong number of arguments for 'set' command"},
			{cmd(OpDel), "-ERR wrong number of arguments for 'del' command"},
			{cmd(OpTick, "x"), "-ERR wrong number of arguments for 'tick' command"},
			{cmd(OpGet), "-ERR wrong number of arguments for 'get' command"},
			{cmd(OpMGet), "-ERR wrong number of arguments for 'mget' command"},
			{cmd(OpScan), "-ERR wrong number of arguments for 'scan' command"},
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t)
			for i, s := range tc.steps {
				if got := r.any(s.c); got != s.want {
					t.Fatalf("step %d, %v %q: got %s, want %s", i, s.c.Op, s.c.Args, got, s.want)
				}
				r.m.st.check(t)
			}
		})
	}
}

func TestIncrTakesOnlyCanonicalIntegers(t *testing.T) {
	for _, bad := range []string{"", " 1", "1 ", "+1", "01", "-0", "-", "1.0", "0x1", "9223372036854775808", "1e3", "１"} {
		r := newRig(t)
		r.do(cmd(OpSet, "n", bad))
		if got := r.do(cmd(OpIncrBy, "n").with(1)); got != "-ERR value is not an integer or out of range" {
			t.Errorf("%q + 1 = %s", bad, got)
		}
		if got := r.query(cmd(OpGet, "n")); got != strconv.Quote(bad) {
			t.Errorf("%q became %s", bad, got)
		}
	}
}

// A cap that is hit changes nothing, whatever part of the command hit it.
func TestCapsChangeNothing(t *testing.T) {
	big, long := strings.Repeat("v", 21), strings.Repeat("k", 9)
	const value = "-ERR string exceeds maximum allowed size (value-bytes 20)"
	const key = "-ERR key exceeds maximum allowed size (key-bytes 8)"
	for _, tc := range []struct {
		c    Command
		want string
	}{
		{cmd(OpSet, "k", big), value},
		{cmd(OpSet, "k", big).with(0, FlagGet), value},
		{cmd(OpSet, long, "v"), key},
		{cmd(OpAppend, "k", strings.Repeat("v", 18)), value},
		{cmd(OpAppend, "new", big), value},
		{cmd(OpAppend, long, "v"), key},
		{cmd(OpMSet, "a", "1", "b", big), value},
		{cmd(OpMSet, "a", "1", long, "2"), key},
		{cmd(OpIncrBy, long).with(1), key},
	} {
		r := newRigWith(t, tinyLimits())
		r.do(cmd(OpSet, "k", "old"))
		sum := r.m.st.running
		if got := r.do(tc.c); got != tc.want {
			t.Errorf("%v %.20q: got %s", tc.c.Op, tc.c.Args, got)
		}
		if r.m.st.running != sum || r.query(cmd(OpDBSize)) != "1" {
			t.Errorf("%v %.20q: something changed", tc.c.Op, tc.c.Args)
		}
	}
	r := newRigWith(t, tinyLimits())
	if got := r.do(cmd(OpSet, long[:8], big[:20])); got != "OK" {
		t.Errorf("at the cap: %s", got)
	}
}

func TestLimitChangesSettings(t *testing.T) {
	r := newRig(t)
	before := r.m.Hash()
	for _, tc := range []struct {
		name string
		v    int64
		want string
	}{
		{"value-bytes", 3, "OK"},
		{"key-bytes", 0, "-ERR setting key-bytes: 0 is not between 1 and 16777216 bytes"},
		{"no-such", 1, `-ERR unknown setting "no-such"`},
	} {
		if got := r.do(cmd(OpLimit, tc.name).with(tc.v)); got != tc.want {
			t.Errorf("limit %s %d: %s", tc.name, tc.v, got)
		}
	}
	if got := r.do(cmd(OpSet, "k", "four")); got != "-ERR string exceeds maximum allowed size (value-bytes 3)" {
		t.Errorf("set under the new cap: %s", got)
	}
	want := DefaultLimits()
	want.ValueBytes = 3
	if r.m.Limits() != want {
		t.Errorf("limits %+v", r.m.Limits())
	}
	if r.m.Hash() == before {
		t.Error("settings are not part of the hash")
	}
	r.m.st.check(t)
}

func TestLimitsNameEverySettingOnce(t *testing.T) {
	if err := DefaultLimits().Validate(); err != nil {
		t.Error(err)
	}
	if err := tinyLimits().Validate(); err != nil {
		t.Error(err)
	}
	var l Limits
	seen := map[*int64]bool{}
	for _, s := range l.table() {
		if seen[s.at] || s.Why == "" || s.Unit == "" {
			t.Errorf("setting %s", s.Name)
		}
		seen[s.at] = true
	}
	if err := (Limits{}).Validate(); err == nil || strings.Count(err.Error(), "\n") != limitCount-1 {
		t.Errorf("not every fault is reported: %v", err)
	}
}

func TestScanPages(t *testing.T) {
	r := newRig(t)
	for _, k := range []string{"", "a", "b1", "b2", "c"} {
		r.do(cmd(OpSet, k, "v"))
	}
	for _, tc := range []struct {
		after   string
		pattern string
		count   int64
		want    string
	}{
		{"", "*", 100, `["" "" "a" "b1" "b2" "c"]`},
		{"", "", 5, `["" "" "a" "b1" "b2" "c"]`},
		{"", "*", 1, `["a" "" "a"]`}, // no page ends at the empty key
		{"a", "*", 2, `["b2" "b1" "b2"]`},
		{"b2", "*", 1, `["" "c"]`},
		{"b2", "*", 0, `["" "c"]`},
		{"", "b*", 3, `["b1" "b1"]`},
		{"c", "*", 9, `[""]`},
		{"bx", "*", 9, `["" "c"]`},
		{"", "*", -1, "-ERR syntax error"},
	} {
		if got := r.query(cmd(OpScan, tc.after, tc.pattern).with(tc.count)); got != tc.want {
			t.Errorf("scan %q %q %d: got %s, want %s", tc.after, tc.pattern, tc.count, got, tc.want)
		}
	}
	if got := r.query(cmd(OpScan, "").with(100)); got != `["" "" "a" "b1" "b2" "c"]` {
		t.Errorf("without a pattern: %s", got)
	}
}

func TestScanEndsAPageAfterManyBytes(t *testing.T) {
	r := newRig(t)
	for i := range 5 {
		r.do(cmd(OpSet, strings.Repeat(string(rune('a'+i)), 600<<10), ""))
	}
	res, err := DecodeResult(r.m.Query(AppendCommand(nil, cmd(OpScan, "").with(1000)), nil))
	if err != nil || len(res.Array) != 3 || res.Array[0].Bytes[0] != 'b' {
		t.Fatalf("%d elements, %v", len(res.Array), err)
	}
}

func TestVerifyAnswersTheHashAtItsEntry(t *testing.T) {
	r := newRig(t)
	r.do(cmd(OpSet, "k", "v").with(10, FlagIn))
	r.now += 10 * millisecond
	got, err := DecodeResult(r.m.Apply(r.entry(AppendCommand(nil, cmd(OpVerify))), nil))
	h := r.m.Hash()
	if err != nil || !bytes.Equal(got.Bytes, h[:]) || h != r.m.Recompute() {
		t.Errorf("answered %x, hash %x, recomputed %x", got.Bytes, h, r.m.Recompute())
	}
}

// UP-04: what is committed and unknown is never skipped.
func TestUnknownCommandStops(t *testing.T) {
	set := AppendCommand(nil, cmd(OpSet, "k", "v"))
	for _, tc := range []struct {
		name string
		e    func(r *rig) raft.Entry
		want string
	}{
		{"operation", func(r *rig) raft.Entry { return r.entry([]byte{11 + 50, 0xff}) }, "operation 61 is unknown"},
		{"operation zero", func(r *rig) raft.Entry { return r.entry([]byte{0}) }, "operation 0 is unknown"},
		{"flag", func(r *rig) raft.Entry { return r.entry(AppendCommand(nil, cmd(OpSet, "k", "v").with(0, 1<<9))) }, "flag 0x200 of 'set' is unknown"},
		{"flag of another", func(r *rig) raft.Entry { return r.entry(AppendCommand(nil, cmd(OpDel, "k").with(0, FlagNX))) }, "flag 0x1 of 'del' is unknown"},
		{"inner operation", func(r *rig) raft.Entry {
			return r.entry(AppendCommand(nil, Command{Op: OpOnce, Num: 9, Seq: 1, Args: [][]byte{{99}}}))
		}, "operation 99 is unknown"},
		{"entry type", func(r *rig) raft.Entry { e := r.entry(set); e.Type = 9; return e }, "entry type 9 is unknown"},
		{"a gap", func(r *rig) raft.Entry { e := r.entry(set); e.Index++; return e }, "entry 1/3 does not follow 1/1"},
		{"a repeat", func(r *rig) raft.Entry { e := r.entry(set); e.Index--; return e }, "entry 1/1 does not follow 1/1"},
		{"an older term", func(r *rig) raft.Entry { e := r.entry(set); e.Term = 0; return e }, "entry 0/2 does not follow 1/1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t)
			r.do(cmd(OpSet, "a", "1"))
			before, applied := r.m.Hash(), r.m.Applied()
			e := tc.e(r)
			out, stop := apply(r.m, e)
			if stop == nil || out != nil || stop.Index != e.Index || !strings.Contains(stop.Error(), tc.want) {
				t.Fatalf("answered %x, stop %v, want %q", out, stop, tc.want)
			}
			if _, again := apply(r.m, r.entry(set)); again != stop || r.m.Err() != error(stop) {
				t.Errorf("stops with %v, then with %v, then says %v", stop, again, r.m.Err())
			}
			if r.m.Hash() != before || r.m.Applied() != applied {
				t.Error("an entry was applied after the stop")
			}
			if err := r.m.Freeze(); err == nil {
				t.Error("a stopped machine was frozen")
			}
		})
	}
}

func TestMalformedCommandAnswersAnError(t *testing.T) {
	for _, data := range [][]byte{nil, {2}, {2, 0, 0, 0, 5}, append(AppendCommand(nil, cmd(OpTick)), 0),
		AppendCommand(nil, cmd(OpOnce, "")), AppendCommand(nil, cmd(OpOnce, "\x02")),
		AppendCommand(nil, cmd(OpGet, "k")), AppendCommand(nil, once(1, 1, cmd(OpSessionOpen))),
		AppendCommand(nil, once(1, 1, once(1, 1, cmd(OpSet, "a", "b")))), AppendCommand(nil, once(1, 1, cmd(OpGet, "a")))} {
		r := newRig(t)
		if err := Check(data); err == nil {
			t.Errorf("%x: may be proposed", data)
		}
		sum := r.m.st.running
		if got := r.raw(data); !strings.HasPrefix(got, "-ERR ") || r.m.Err() != nil {
			t.Errorf("%x: %s, %v", data, got, r.m.Err())
		}
		if r.m.st.running != sum || r.m.Applied().Index != 1 || r.m.Now() != r.now {
			t.Errorf("%x: changed more than index and time", data)
		}
	}
	if err := Check(AppendCommand(nil, once(1, 1, cmd(OpSet, "a", "b")))); err != nil {
		t.Error(err)
	}
	if err := Check([]byte{77}); err == nil {
		t.Error("an unknown operation may be proposed")
	}
}

func TestQueryRefusesWrites(t *testing.T) {
	r := newRig(t)
	for _, q := range [][]byte{nil, {200}, {64}, AppendCommand(nil, cmd(OpSet, "k", "v")), AppendCommand(nil, cmd(OpGet, "k").with(0, FlagNX))} {
		if got := show(t, r.m.Query(q, nil)); !strings.HasPrefix(got, "-ERR ") {
			t.Errorf("query %x: %s", q, got)
		}
	}
	if r.query(cmd(OpDBSize)) != "0" {
		t.Error("a query wrote")
	}
}

func TestOtherEntriesMoveIndexAndTime(t *testing.T) {
	r := newRig(t)
	for i, typ := range []raft.EntryType{raft.EntryNoop, raft.EntryConfig} {
		e := r.entry([]byte("not a command"))
		e.Type, e.Term = typ, raft.Term(i+4)
		if got := show(t, r.m.Apply(e, nil)); got != "OK" {
			t.Errorf("type %d: %s", typ, got)
		}
		if r.m.Applied() != e.EntryID || r.m.Now() != r.now {
			t.Errorf("applied %v at %d", r.m.Applied(), r.m.Now())
		}
	}
	r.now -= 5
	r.do(cmd(OpTick))
	if r.m.Now() != r.now+5 {
		t.Error("time went back")
	}
}

func TestGlob(t *testing.T) {
	for _, tc := range []struct {
		pattern, key string
		want         bool
	}{
		{"*", "", true}, {"*", "abc", true}, {"", "", true}, {"", "a", false},
		{"a*c", "abbc", true}, {"a*c", "abcd", false}, {"a*b*c", "aXbYbZc", true}, {"a**", "a", true},
		{"h?llo", "hello", true}, {"h?llo", "hllo", false}, {"?", "", false},
		{"h[ae]llo", "hallo", true}, {"h[ae]llo", "hillo", false},
		{"h[^e]llo", "hallo", true}, {"h[^e]llo", "hello", false},
		{"[a-c]", "b", true}, {"[c-a]", "b", true}, {"[a-c]", "d", false},
		{`\*`, "*", true}, {`\*`, "a", false}, {`a\`, `a\`, true},
		{`[\]]`, "]", true}, {`[\a-]`, "-", true}, {"[abc", "b", true}, {"[abc", "d", false}, {"[", "a", false}, {"[^", "a", true},
		{"[]", "a", false}, {"[^]x", "ax", true}, {"[\x80-\xff]", "\x90", true},
		{"*[0-9]", "key7", true}, {"*a*a*a*b", strings.Repeat("a", 200), false},
	} {
		if got := MatchGlob([]byte(tc.pattern), tc.key); got != tc.want {
			t.Errorf("%q on %q: %v", tc.pattern, tc.key, got)
		}
	}
}
