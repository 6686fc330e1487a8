package statemachine

import (
	"fmt"
	"testing"

	"github.com/raftkv/raftkv/raft"
)

func TestDueKeyIsInvisibleAtOnce(t *testing.T) {
	for _, tc := range []struct {
		name string
		c    Command
		want string
		left string // GET afterwards
	}{
		{"set NX", cmd(OpSet, "k", "n").with(0, FlagNX), "OK", `"n"`},
		{"set XX", cmd(OpSet, "k", "n").with(0, FlagXX), "nil", "nil"},
		{"set GET", cmd(OpSet, "k", "n").with(0, FlagGet), "nil", `"n"`},
		{"set KEEPTTL", cmd(OpSet, "k", "n").with(0, FlagKeepTTL), "OK", `"n"`},
		{"append", cmd(OpAppend, "k", "n"), "1", `"n"`},
		{"incrby", cmd(OpIncrBy, "k").with(2), "2", `"2"`},
		{"del", cmd(OpDel, "k"), "0", "nil"},
		{"mset", cmd(OpMSet, "k", "n"), "OK", `"n"`},
		{"tick", cmd(OpTick), "OK", "nil"},
	} {
		// More keys are due than one entry removes, so k is still there when the command comes.
		for _, others := range []int{0, 3 * removePerTick} {
			t.Run(fmt.Sprintf("%s beside %d", tc.name, others), func(t *testing.T) {
				r := newRig(t)
				for i := range others {
					r.do(cmd(OpSet, fmt.Sprint("other", i), "").with(1, FlagIn))
				}
				r.do(cmd(OpSet, "k", "1").with(1500, FlagAt))
				r.now = 1500*millisecond - 1
				if r.do(cmd(OpTick)); r.query(cmd(OpGet, "k")) != `"1"` {
					t.Fatal("gone too early")
				}
				r.now = 1500 * millisecond
				if got := r.do(tc.c); got != tc.want {
					t.Errorf("got %s, want %s", got, tc.want)
				}
				if got := r.query(cmd(OpGet, "k")); got != tc.left {
					t.Errorf("left %s, want %s", got, tc.left)
				}
				want, page := "1", `["" "k"]`
				if tc.left == "nil" {
					want, page = "0", `[""]`
				}
				if got := r.query(cmd(OpScan, "").with(scanMax)); got != page {
					t.Errorf("scan %.100s", got)
				}
				if got := r.query(cmd(OpDBSize)); got != want {
					t.Errorf("dbsize %s", got)
				}
				if got := r.query(cmd(OpExists, "k", "other1")); got != want {
					t.Errorf("exists %s", got)
				}
				r.m.st.check(t)
			})
		}
	}
}

// What would never be seen is not stored either.
func TestSetThatIsDueAlreadyStoresNothing(t *testing.T) {
	r := newRig(t)
	r.do(cmd(OpSet, "old", "1"))
	r.do(cmd(OpSet, "old", "2").with(1000, FlagAt))
	r.do(cmd(OpSet, "new", "2").with(1, FlagAt))
	if got := r.m.Stats(); got.Keys != 0 {
		t.Errorf("%+v", got)
	}
}

func TestKeepTTLAndDeadlinesThatStay(t *testing.T) {
	r := newRig(t)
	deadline := func() int64 { return r.m.st.keys.get([]byte("k")).deadline }
	r.now = 1_000*millisecond + 1 // not a whole millisecond: rounded up
	r.do(cmd(OpSet, "k", "1").with(500, FlagIn))
	if deadline() != 1501 {
		t.Fatalf("deadline %d", deadline())
	}
	for _, c := range []Command{cmd(OpAppend, "k", "2"), cmd(OpIncrBy, "k").with(1), cmd(OpSet, "k", "5").with(0, FlagKeepTTL)} {
		if r.do(c); deadline() != 1501 {
			t.Errorf("%v: deadline %d", c.Op, deadline())
		}
	}
	if r.do(cmd(OpSet, "k", "1")); deadline() != 0 {
		t.Error("a plain set keeps the deadline")
	}
	r.do(cmd(OpSet, "k", "1").with(500, FlagIn))
	if r.do(cmd(OpMSet, "k", "1")); deadline() != 0 || r.m.st.timers.Len() != 0 {
		t.Error("mset keeps the deadline")
	}
}

func TestRemovalIsBoundedAndInOrder(t *testing.T) {
	r := newRig(t)
	const n = removePerEntry*2 + 1
	for i := range n {
		r.do(cmd(OpSet, fmt.Sprintf("k%03d", i), "").with(int64(5000-i), FlagAt))
	}
	r.now = 10_000 * millisecond
	for left := n; left > 0; left = max(0, left-removePerEntry) {
		if got := r.m.Stats().Keys; got != left {
			t.Fatalf("%d keys stored, want %d", got, left)
		}
		first := r.m.st.keys.get([]byte("k000"))
		if first == nil || first.deadline != 5000 {
			t.Fatal("the latest deadline went first")
		}
		e := r.entry(nil)
		e.Type = raft.EntryNoop // no command at all: removal goes with every entry
		r.m.Apply(e, nil)
		r.m.st.check(t)
	}
	if got := r.m.Stats(); got.Keys != 0 || got.Deadlines != 0 || got.Bytes != 0 {
		t.Errorf("left %+v", got)
	}
}

func TestTickRemovesMore(t *testing.T) {
	r := newRig(t)
	for i := range removePerTick + 5 {
		r.do(cmd(OpSet, fmt.Sprint(i), "").with(2000, FlagAt))
	}
	r.now = 2000 * millisecond
	out := r.m.TickCommand(nil)
	if got := r.raw(out); got != "OK" || r.m.Stats().Keys != 5 {
		t.Errorf("%s, %d keys left", got, r.m.Stats().Keys)
	}
	if d, ok := r.m.Deadline(); !ok || d != 2000*millisecond {
		t.Errorf("more is due, but deadline is %d %v", d, ok)
	}
}

func TestDeadlineIsTheEarliest(t *testing.T) {
	r := newRig(t)
	want := func(at raft.Time, ok bool) {
		t.Helper()
		if got, has := r.m.Deadline(); has != ok || got != at && ok {
			t.Errorf("deadline %d %v, want %d %v", got, has, at, ok)
		}
	}
	want(0, false)
	r.do(cmd(OpSet, "far", "").with(1<<62, FlagAt)) // log time can't reach it
	want(0, false)
	r.do(cmd(OpSet, "a", "").with(9000, FlagAt))
	want(9000*millisecond, true)
	r.do(cmd(OpSessionOpen))
	want(9000*millisecond, true)
	r.do(cmd(OpLimit, "session-idle").with(2000))
	want(3000*millisecond, true)
	r.do(cmd(OpSet, "b", "").with(2500, FlagAt))
	want(2500*millisecond, true)
	r.do(cmd(OpDel, "b"))
	r.now = 3000 * millisecond
	r.do(cmd(OpTick))
	want(9000*millisecond, true)
	r.m.Apply(raft.Entry{EntryID: raft.EntryID{Term: 1, Index: r.m.Applied().Index + 1}, Type: raft.EntryNoop, Time: 1<<63 - 1}, nil)
	want(0, false)
	if got := r.query(cmd(OpGet, "far")); got != `""` {
		t.Errorf("far: %s", got)
	}
}
