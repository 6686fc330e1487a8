package statemachine

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
)

func TestDataReads(t *testing.T) {
	r := newRig(t)
	r.do(cmd(OpMSet, "k", "hello", "e", "", "n", "12", "bits", "\xff\xf0\x00", "ones", "\xff\xff", "long", strings.Repeat("x", 45)))
	r.do(cmd(OpSet, "d", "v").with(5000, FlagIn))
	seq := func(c Command, end int64) Command { c.Seq = uint64(end); return c }
	const bit = FlagFrom | FlagBits
	for _, tc := range []struct {
		c    Command
		want string
	}{
		{seq(cmd(OpGetRange, "k").with(1), 3), `"ell"`},
		{seq(cmd(OpGetRange, "k").with(-3), -1), `"llo"`},
		{seq(cmd(OpGetRange, "k").with(-100), 100), `"hello"`},
		{seq(cmd(OpGetRange, "k").with(3), 1), `""`},
		{seq(cmd(OpGetRange, "k").with(-1), -2), `""`},
		{seq(cmd(OpGetRange, "k").with(math.MinInt64), math.MaxInt64), `"hello"`},
		{seq(cmd(OpGetRange, "none").with(0), -1), `""`},
		{cmd(OpGetBit, "bits").with(11), "1"}, {cmd(OpGetBit, "bits").with(12), "0"}, {cmd(OpGetBit, "bits").with(1 << 40), "0"},
		{cmd(OpBitCount, "bits"), "12"},
		{seq(cmd(OpBitCount, "bits").with(1, FlagFrom), 1), "4"},
		{seq(cmd(OpBitCount, "bits").with(-2, FlagFrom), -1), "4"},
		{seq(cmd(OpBitCount, "bits").with(3, bit), 9), "7"},
		{seq(cmd(OpBitCount, "bits").with(5, bit), 6), "2"},
		{seq(cmd(OpBitCount, "bits").with(9, FlagFrom), 1), "0"},
		{cmd(OpBitCount, "none"), "0"},
		{cmd(OpBitPos, "bits"), "12"},
		{cmd(OpBitPos, "bits").with(0, FlagOne), "0"},
		{cmd(OpBitPos, "bits").with(2, FlagOne|FlagFrom), "-1"},
		{cmd(OpBitPos, "ones"), "16"}, // the value goes on with zeros
		{seq(cmd(OpBitPos, "ones").with(0, FlagFrom|FlagTo), -1), "-1"},
		{seq(cmd(OpBitPos, "bits").with(9, bit|FlagTo|FlagOne), 9), "9"},
		{seq(cmd(OpBitPos, "bits").with(1, bit|FlagTo), 11), "-1"},
		{seq(cmd(OpBitPos, "n").with(-3, FlagFrom|FlagTo), -4), "0"}, {seq(cmd(OpBitCount, "n").with(-3, FlagFrom), -4), "0"},
		{cmd(OpBitPos, "e"), "-1"},
		{cmd(OpBitPos, "none"), "0"}, {cmd(OpBitPos, "none").with(0, FlagOne), "-1"},
		{cmd(OpTTL, "k"), "-1"}, {cmd(OpTTL, "none"), "-2"}, {cmd(OpTTL, "d"), "5000"},
		{cmd(OpDeadline, "k"), "-1"}, {cmd(OpDeadline, "none"), "-2"}, {cmd(OpDeadline, "d"), "6000"},
		{cmd(OpKeys, "[kn]"), `["k" "n"]`}, {cmd(OpKeys, "x*"), "[]"},
		{cmd(OpEncoding, "n"), `"int"`}, {cmd(OpEncoding, "e"), `"embstr"`}, {cmd(OpEncoding, "long"), `"raw"`}, {cmd(OpEncoding, "none"), "nil"},
		{cmd(OpMemory, "none"), "nil"},
		{cmd(OpGetV, "d"), `["v" 2]`}, {cmd(OpGetV, "none"), "nil"},
		{field(OpReadField, "bits", Field{Bits: 4, Offset: 4}, Field{Bits: 4, Offset: 8, Signed: true}, Field{Bits: 63, Offset: 90}), "[15 -1 0]"},
		{field(OpReadField, "bits", Field{Op: FieldSet, Bits: 4}), "-ERR malformed field of 'bitfield' command"},
		{field(OpReadField, "bits", Field{Bits: 64}), "-ERR malformed field of 'bitfield' command"},
		{cmd(OpReadField, "bits", "short"), "-ERR malformed field of 'bitfield' command"},
	} {
		if got := r.query(tc.c); got != tc.want {
			t.Errorf("%v %q %d %d: got %s, want %s", tc.c.Op, tc.c.Args, tc.c.Num, int64(tc.c.Seq), got, tc.want)
		}
	}
}

// The examples are of Redis's own documentation of LCS.
func TestLCS(t *testing.T) {
	r := newRig(t)
	r.do(cmd(OpMSet, "a", "ohmytext", "b", "mynewtext"))
	for _, tc := range []struct {
		flags Flags
		least int64
		want  string
	}{
		{0, 0, `"mytext"`},
		{FlagLen, 0, "6"},
		{FlagIdx, 0, "[[[[4 7] [5 8]] [[2 3] [0 1]]] 6]"},
		{FlagIdx, 4, "[[[[4 7] [5 8]]] 6]"},
		{FlagIdx | FlagWithLen, 4, "[[[[4 7] [5 8] 4]] 6]"},
		{FlagIdx | FlagLen, 0, "-ERR If you want both the length and indexes, please just use IDX."},
	} {
		if got := r.query(cmd(OpLCS, "a", "b").with(tc.least, tc.flags)); got != tc.want {
			t.Errorf("flags %d, at least %d: %s, want %s", tc.flags, tc.least, got, tc.want)
		}
	}
	if got := r.query(cmd(OpLCS, "a", "none")); got != `""` {
		t.Errorf("with a missing key: %s", got)
	}
	r.do(cmd(OpMSet, "a", strings.Repeat("a", 5000), "b", strings.Repeat("b", 5000)))
	if got := r.query(cmd(OpLCS, "a", "b")); !strings.HasPrefix(got, "-ERR Insufficient memory") {
		t.Errorf("25 million cells: %.60s", got)
	}
}

func TestRandomKeyAnswersWhatCanBeSeen(t *testing.T) {
	r := newRig(t)
	if got := r.query(cmd(OpRandomKey).with(7)); got != "nil" {
		t.Errorf("of nothing: %s", got)
	}
	for i := range 300 {
		r.do(cmd(OpSet, fmt.Sprintf("%03d", i), "v").with(10, FlagIn))
	}
	r.do(cmd(OpSet, "live", "v"))
	r.now += 20 * millisecond
	r.m.Apply(r.entry(AppendCommand(nil, cmd(OpSet, "other", "v"))), nil) // removes 64, the others are due
	seen := map[string]int{}
	for seed := range int64(200) {
		seen[r.query(cmd(OpRandomKey).with(seed*-977))]++
	}
	if len(seen) != 2 || seen[`"live"`] < 20 || seen[`"other"`] < 20 {
		t.Errorf("answers %v", seen)
	}
	r.do(cmd(OpDel, "live", "other"))
	if got := r.query(cmd(OpRandomKey).with(7)); got != "nil" && r.query(cmd(OpDBSize)) == "0" {
		t.Errorf("of keys that are due: %s", got)
	}
}

// Two keys with the same bytes must not get into each other's room.
func TestCopyAndAppendKeepApart(t *testing.T) {
	r := newRig(t)
	r.do(cmd(OpSet, "a", "0123456789"))
	r.do(cmd(OpAppend, "a", "x")) // room behind it
	if it := r.m.st.keys.get([]byte("a")); it.keyLen&valueRoom == 0 || roomFor(int(it.valueLen)) == int(it.valueLen) {
		t.Fatal("no room: the test says nothing")
	}
	r.do(cmd(OpCopy, "a", "b"))
	r.do(cmd(OpAppend, "b", "B"))
	r.do(cmd(OpAppend, "a", "A"))
	r.do(cmd(OpSetRange, "b", "!").with(0))
	r.m.st.check(t)
	if got := r.query(cmd(OpMGet, "a", "b")); got != `["0123456789xA" "!123456789xB"]` {
		t.Error(got)
	}
}

// Whatever happened to a key between WATCH and EXEC is seen, and nothing else.
func TestConditionsSeeEveryChange(t *testing.T) {
	set, del := cmd(OpSet, "k", "v"), cmd(OpDel, "k")
	for _, tc := range []struct {
		name    string
		before  []Command
		between []Command
		runs    bool
	}{
		{"nothing", []Command{set}, nil, true},
		{"nothing, missing", nil, nil, true},
		{"the same value", []Command{set}, []Command{set}, false},
		{"removed", []Command{set}, []Command{del}, false},
		{"removed and made again", []Command{set}, []Command{del, set}, false},
		{"made", nil, []Command{set}, false},
		{"made and removed again", nil, []Command{set, del}, false},
		{"made and flushed", nil, []Command{set, cmd(OpFlush)}, false},
		{"flushed, missing", []Command{cmd(OpSet, "other", "v")}, []Command{cmd(OpFlush)}, true},
		{"flushed", []Command{set}, []Command{cmd(OpFlush)}, false},
		{"deadline", []Command{set}, []Command{cmd(OpExpire, "k").with(100_000, FlagIn)}, false},
		{"renamed away and back", []Command{set}, []Command{cmd(OpRename, "k", "x"), cmd(OpRename, "x", "k")}, false},
		{"written in a block", []Command{set}, []Command{block(OpBlock, nil, cmd(OpAppend, "k", ""))}, false},
		{"deadline passed", []Command{cmd(OpSet, "k", "v").with(1000, FlagIn)}, []Command{cmd(OpTick).with(0)}, false},
		{"another key", []Command{set}, []Command{cmd(OpSet, "other", "v")}, true},
		{"refused", []Command{set}, []Command{cmd(OpIncrBy, "k").with(1), cmd(OpSet, "k", "w").with(0, FlagNX)}, true},
		{"was due already", []Command{cmd(OpSet, "k", "v").with(1, FlagIn), cmd(OpTick)}, []Command{cmd(OpTick)}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			each(t, DefaultLimits(), func(t *testing.T, r *rig, move func()) {
				for _, c := range tc.before {
					r.do(c)
					if tc.name == "was due already" {
						r.now += 500 * millisecond
					}
				}
				move()
				token := r.m.st.watchToken([]byte("k"))
				if got := r.query(cmd(OpWatch, "k")); got != fmt.Sprintf("[%d]", token) {
					t.Errorf("watch answers %s, want %d", got, token)
				}
				for _, c := range tc.between {
					if c.Op == OpTick {
						r.now += 2000 * millisecond
					}
					r.do(c)
				}
				move()
				read := r.query(block(OpReadBlock, []condition{{"k", token}}))
				got := r.do(block(OpBlock, []condition{{"k", token}}, cmd(OpAppend, "ran", "x")))
				want, wantRead := "nil", "nil"
				if tc.runs {
					want, wantRead = "[1]", "[]"
				}
				if got != want || read != wantRead {
					t.Errorf("block %s, with reads alone %s; want %s and %s", got, read, want, wantRead)
				}
			})
		})
	}
}

func TestTokenZeroMeansMissing(t *testing.T) {
	r := newRig(t)
	once := block(OpBlock, []condition{{"k", 0}}, cmd(OpSet, "k", "v"))
	r.expect("[OK]", once)
	r.expect("nil", once)
	r.do(cmd(OpDel, "k"))
	r.expect("[OK]", once)
}

func TestBlocks(t *testing.T) {
	r := newRig(t)
	r.expect(`[OK ["v" 1] -ERR value is not an integer or out of range 2]`, block(OpBlock, nil,
		cmd(OpSet, "k", "v"), cmd(OpGetV, "k"), cmd(OpIncrBy, "k").with(1), cmd(OpAppend, "k", "w")))
}

func TestBlocksRefuseWhatDoesNotBelong(t *testing.T) {
	get := AppendCommand(nil, cmd(OpGet, "k"))
	for _, tc := range []struct {
		c    Command
		want string
	}{
		{block(OpBlock, nil, cmd(OpSessionOpen)), "-ERR 'session-open' can't stand inside 'exec'"},
		{block(OpBlock, nil, cmd(OpTick)), "-ERR 'tick' can't stand inside 'exec'"},
		{block(OpBlock, nil, once(1, 1, cmd(OpDel, "k"))), "-ERR 'once' can't stand inside 'exec'"},
		{block(OpBlock, nil, block(OpBlock, nil)), "-ERR 'exec' can't stand inside 'exec'"},
		{block(OpBlock, nil, block(OpReadBlock, nil)), "-ERR 'exec' can't stand inside 'exec'"},
		{block(OpBlock, nil, cmd(OpSet, "k")), "-ERR wrong number of arguments for 'set' command"},
		{Command{Op: OpBlock, Num: 1, Args: [][]byte{get}}, "-ERR block with 1 conditions in 1 arguments"},
		{Command{Op: OpBlock, Num: -1}, "-ERR block with -1 conditions in 0 arguments"},
		{Command{Op: OpBlock, Num: math.MaxInt64}, "-ERR block with 9223372036854775807 conditions in 0 arguments"},
		{Command{Op: OpBlock, Num: 1, Args: [][]byte{get, get}}, "-ERR condition 0 of a block has no token"},
		{once(1, 1, block(OpBlock, nil, cmd(OpTick))), "-ERR 'tick' can't stand inside 'exec'"},
		{once(1, 1, cmd(OpGet, "k")), "-ERR 'get' can't stand inside 'once'"},
		{block(OpReadBlock, nil, cmd(OpGet, "k")), "-ERR 'exec' is a read and doesn't belong in the log"},
	} {
		r := newRig(t)
		if got := r.do(tc.c); got != tc.want {
			t.Errorf("got %s, want %s", got, tc.want)
		}
		if Check(AppendCommand(nil, tc.c)) == nil {
			t.Errorf("%v may be proposed", tc.c)
		}
	}
	r := newRig(t)
	if got := r.query(block(OpReadBlock, nil, cmd(OpSet, "k", "v"))); got != "-ERR 'set' can't stand inside 'exec'" {
		t.Errorf("a write among reads: %s", got)
	}
	if _, stop := apply(r.m, r.entry(AppendCommand(nil, Command{Op: OpBlock, Args: [][]byte{{61}}}))); stop == nil {
		t.Error("an operation that is unknown inside a block did not stop the machine")
	}
}

// A block in a session runs once, an aborted one too.
func TestBlockInASession(t *testing.T) {
	each(t, DefaultLimits(), func(t *testing.T, r *rig, move func()) {
		r.expect("1", cmd(OpSessionOpen))
		add := block(OpBlock, nil, cmd(OpAppend, "k", "x"), cmd(OpGet, "k"))
		r.expect(`[1 "x"]`, once(1, 1, add))
		move()
		r.expect(`[1 "x"]`, once(1, 1, add))
		aborted := block(OpBlock, []condition{{"k", 1}}, cmd(OpAppend, "k", "y"))
		r.expect("nil", once(1, 2, aborted))
		move()
		r.expect("nil", once(1, 2, aborted))
		r.expect(`"x"`, cmd(OpGet, "k"))
	})
}

// Small requests can't ask for replies without end.
func TestRepliesAreBounded(t *testing.T) {
	r := newRig(t)
	r.do(cmd(OpSet, "k", strings.Repeat("v", 8<<20)))
	b := block(OpReadBlock, nil)
	for range 20 {
		b.Args = append(b.Args, AppendCommand(nil, cmd(OpGet, "k")))
	}
	res, err := DecodeResult(r.m.Query(AppendCommand(nil, b), nil))
	if err != nil || len(res.Array) != 20 || res.Array[7].Kind != ResultBytes || !strings.HasPrefix(string(res.Array[19].Bytes), "ERR 'get' did not run") {
		t.Fatalf("%d replies, %v", len(res.Array), err)
	}
	all := make([]string, 40)
	for i := range all {
		all[i] = "k"
	}
	if got := r.query(cmd(OpMGet, all...)); !strings.HasPrefix(got, "-ERR the values of these keys are 335544320 bytes") {
		t.Errorf("mget: %.100s", got)
	}
}

// FLUSHALL leaves the keys to a frozen view, whatever part of it was encoded.
func TestFlushUnderAFrozenView(t *testing.T) {
	for cut := range 12 {
		r := newRig(t)
		for i := range 20 {
			r.do(cmd(OpSet, fmt.Sprintf("k%02d", i), strings.Repeat("v", 30)).with(int64(10_000+i), FlagIn))
		}
		want := encode(t, r.m)
		if err := r.m.Freeze(); err != nil {
			t.Fatal(err)
		}
		var got []byte
		done := false
		var err error
		for n := 0; !done; n++ {
			if got, done, err = r.m.Step(got, 100); err != nil {
				t.Fatal(err)
			}
			switch n {
			case cut:
				r.do(cmd(OpSet, "k07", "changed"))
				r.do(cmd(OpDel, "k19"))
				r.do(cmd(OpFlush))
				r.do(cmd(OpSet, "k03", "new"))
				r.m.st.check(t)
			case cut + 2:
				r.do(cmd(OpSet, "k04", "new"))
				r.do(cmd(OpFlush))
			}
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("flushed after %d steps: the view changed", cut)
		}
		if n := r.m.Stats().ViewBytes; n != 0 {
			t.Errorf("%d bytes held back at the end", n)
		}
		r.m.Thaw()
	}
}

// A view that would hold back too much of a flushed state is given up.
func TestFlushGivesADearViewUp(t *testing.T) {
	r := newRig(t)
	r.m.LimitView(1000)
	r.do(cmd(OpSet, "k", strings.Repeat("v", 2000)))
	if err := r.m.Freeze(); err != nil {
		t.Fatal(err)
	}
	defer r.m.Thaw()
	r.do(cmd(OpFlush))
	if _, _, err := r.m.Step(nil, 10); !errors.Is(err, ErrViewTooDear) {
		t.Errorf("step: %v", err)
	}
}

func TestObserverIsToldOfDataCommands(t *testing.T) {
	r := newRig(t)
	got := watched(r)
	for _, step := range []struct {
		c    Command
		want string
	}{
		{cmd(OpMSetNX, "a", "1", "b", "2"), `(1 n new "a"="1"@1) 1 $ set "a"="1"@1 (1 n new "b"="2"@1) 1 $ set "b"="2"@1`},
		{cmd(OpGetDel, "b"), `2 g del "b" gone`},
		{cmd(OpGetEx, "a"), ``},
		{cmd(OpGetEx, "a").with(5000, FlagIn), `4 g expire "a"="1"@4 until 6000`},
		{cmd(OpGetEx, "a").with(0, FlagPersist), `5 g persist "a"="1"@5`},
		{cmd(OpPersist, "a"), ``},
		{cmd(OpSetRange, "a", "2").with(1), `7 $ setrange "a"="12"@7`},
		{cmd(OpIncrByFloat, "a", "0.5"), `8 $ incrbyfloat "a"="12.5"@8`},
		{cmd(OpSetBit, "a").with(7), `9 $ setbit "a"="02.5"@9`},
		{cmd(OpBitOp, "a", "none").with(BitAnd), `10 g del "a" gone`},
		{field(OpBitField, "f", Field{Op: FieldSet, Bits: 8, Value: 65}), `(11 n new "f"="A"@11) 11 $ setbit "f"="A"@11`},
		{cmd(OpBitOp, "a", "f").with(BitNot), `(12 n new "a"="\xbe"@12) 12 $ set "a"="\xbe"@12`},
		{cmd(OpRename, "f", "a"), `13 g rename_from "f" gone 13 g rename_to "a"="A"@13`},
		{cmd(OpCopy, "a", "f"), `(14 n new "f"="A"@14) 14 g copy_to "f"="A"@14`},
		{cmd(OpExpire, "f").with(1, FlagIn), `15 g expire "f"="A"@15 until 1001`},
		{cmd(OpExpire, "f").with(-1, FlagIn), `16 g del "f" gone`},
		{cmd(OpDelIfEq, "a", "B"), ``},
		{cmd(OpSetV, "n", "v"), `(18 n new "n"="v"@18) 18 $ set "n"="v"@18`},
		{block(OpBlock, nil, cmd(OpGet, "n"), cmd(OpDelIfEq, "a", "A")), `19 g del "a" gone`},
		{cmd(OpFlush), `20 kind 4 "" ""`},
		{cmd(OpFlush), ``},
	} {
		*got = nil
		r.do(step.c)
		if all := strings.Join(*got, " "); all != step.want {
			t.Errorf("%v: told\n%s, want\n%s", step.c.Op, all, step.want)
		}
	}
}

// A time to live never exceeds what was asked for, though log time is finer than a millisecond.
func TestTimeToLiveIsAtMostWhatWasAskedFor(t *testing.T) {
	r := newRig(t)
	r.now += 1
	r.do(cmd(OpSet, "k", "v").with(1000, FlagIn))
	r.expect("1000", cmd(OpTTL, "k"))
	r.now += 999 * millisecond
	r.do(cmd(OpTick))
	r.expect("1", cmd(OpTTL, "k"))
	r.now += millisecond - 1
	r.do(cmd(OpTick))
	r.expect("1", cmd(OpTTL, "k"))
	r.now += 1
	r.do(cmd(OpTick))
	r.expect("0", cmd(OpTTL, "k"))
	r.now += millisecond
	r.do(cmd(OpTick))
	r.expect("-2", cmd(OpTTL, "k"))
}
