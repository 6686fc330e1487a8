package statemachine

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// expect runs the command and compares the start of the answer.
func (r *rig) expect(want string, c Command) {
	r.t.Helper()
	if got := r.any(c); got != want && (!strings.HasSuffix(want, " ") || !strings.HasPrefix(got, want)) {
		r.t.Fatalf("%v seq %d: got %s, want %s", c.Op, c.Seq, got, want)
	}
	r.m.st.check(r.t)
}

// moved is the rig after its state went through a snapshot.
func (r *rig) moved() {
	r.t.Helper()
	m := New(DefaultLimits())
	if err := m.Restore(meta(r.m), bytes.NewReader(encode(r.t, r.m))); err != nil {
		r.t.Fatal(err)
	}
	r.m = m
}

// each runs the test as it is, and with a snapshot and restore wherever it says move.
func each(t *testing.T, l Limits, test func(t *testing.T, r *rig, move func())) {
	t.Run("in place", func(t *testing.T) { test(t, newRigWith(t, l), func() {}) })
	t.Run("over restores", func(t *testing.T) {
		r := newRigWith(t, l)
		test(t, r, r.moved)
	})
}

func TestOnceRunsEachNumberOnce(t *testing.T) {
	each(t, DefaultLimits(), func(t *testing.T, r *rig, move func()) {
		r.do(cmd(OpTick))
		r.expect("2", cmd(OpSessionOpen)) // the log index of its opening
		r.expect("0", cmd(OpSession).with(2))
		move()
		r.expect("3", once(2, 1, cmd(OpAppend, "k", "one")))
		move()
		r.expect("3", once(2, 1, cmd(OpAppend, "k", "one"))) // CS-01, CS-02
		r.expect("6", once(2, 2, cmd(OpAppend, "k", "two")))
		move()
		r.expect("3", once(2, 1, cmd(OpAppend, "k", "one")))
		r.expect("6", once(2, 2, cmd(OpAppend, "k", "two")))
		r.expect(`"onetwo"`, cmd(OpGet, "k"))
		r.expect("2", cmd(OpSession).with(2))
	})
}

func TestGapRunsNothing(t *testing.T) {
	each(t, DefaultLimits(), func(t *testing.T, r *rig, move func()) {
		r.expect("1", cmd(OpSessionOpen))
		move()
		for _, seq := range []uint64{2, 3, 1 << 63, 1<<64 - 1} {
			r.expect(fmt.Sprintf("-SEQGAP sequence number %d after 0; nothing ran", seq), once(1, seq, cmd(OpSet, "k", "v")))
		}
		r.expect("-ERR sequence numbers start at 1", once(1, 0, cmd(OpSet, "k", "v")))
		r.expect("nil", cmd(OpGet, "k"))
		r.expect("0", cmd(OpSession).with(1))
		r.expect("OK", once(1, 1, cmd(OpSet, "k", "v")))
	})
}

func TestNumberOfAnotherRequestIsRefused(t *testing.T) {
	each(t, DefaultLimits(), func(t *testing.T, r *rig, move func()) {
		r.expect("1", cmd(OpSessionOpen))
		r.expect("OK", once(1, 1, cmd(OpSet, "k", "v")))
		move()
		r.expect("-SEQREUSED ", once(1, 1, cmd(OpSet, "k", "w")))
		r.expect(`"v"`, cmd(OpGet, "k"))
		r.expect("OK", once(1, 1, cmd(OpSet, "k", "v")))
	})
}

// An error is a result like any other: the number is used, and repeated it answers the same.
func TestErrorUsesTheNumber(t *testing.T) {
	each(t, DefaultLimits(), func(t *testing.T, r *rig, move func()) {
		r.expect("1", cmd(OpSessionOpen))
		r.expect("OK", cmd(OpSet, "k", "x"))
		r.expect("-ERR value is not an integer ", once(1, 1, cmd(OpIncrBy, "k").with(1)))
		r.expect("OK", cmd(OpSet, "k", "1"))
		move()
		r.expect("-ERR value is not an integer ", once(1, 1, cmd(OpIncrBy, "k").with(1)))
		r.expect("2", once(1, 2, cmd(OpIncrBy, "k").with(1)))
	})
}

func TestResultsAreForgottenByCount(t *testing.T) {
	each(t, tinyLimits(), func(t *testing.T, r *rig, move func()) {
		r.expect("1", cmd(OpSessionOpen))
		for i := range 6 {
			r.expect(fmt.Sprint(i+1), once(1, uint64(i+1), cmd(OpIncrBy, "n").with(1)))
		}
		move()
		r.expect("-SEQOLD ", once(1, 1, cmd(OpIncrBy, "n").with(1)))
		r.expect("-SEQOLD ", once(1, 2, cmd(OpIncrBy, "n").with(1)))
		r.expect("3", once(1, 3, cmd(OpIncrBy, "n").with(1)))
		r.expect("6", once(1, 6, cmd(OpIncrBy, "n").with(1)))
		r.expect(`"6"`, cmd(OpGet, "n"))
		move()
		r.expect("7", once(1, 7, cmd(OpIncrBy, "n").with(1)))
		r.expect("-SEQOLD ", once(1, 3, cmd(OpIncrBy, "n").with(1)))
	})
}

func TestResultsAreForgottenByBytes(t *testing.T) {
	l := tinyLimits()
	l.ValueBytes = 1000
	each(t, l, func(t *testing.T, r *rig, move func()) {
		r.expect("1", cmd(OpSessionOpen))
		get := func(v string) Command { return cmd(OpSet, "k", v).with(0, FlagGet) }
		v30, v500 := strings.Repeat("v", 30), strings.Repeat("v", 500)
		r.expect("nil", once(1, 1, get(v30)))
		r.expect(fmt.Sprintf("%q", v30), once(1, 2, get(v30)))
		r.expect(fmt.Sprintf("%q", v30), once(1, 3, get(v500))) // 33 + 2 * 64 is above 150
		move()
		r.expect("-SEQOLD ", once(1, 1, get(v30)))
		r.expect(fmt.Sprintf("%q", v30), once(1, 2, get(v30)))
		r.expect(fmt.Sprintf("%q", v500), once(1, 4, get(""))) // too large alone: nothing is left
		move()
		r.expect("-SEQOLD ", once(1, 3, get(v500)))
		r.expect("-SEQOLD ", once(1, 4, get("")))
		r.expect(`""`, once(1, 5, get("x")))
		move()
		r.expect(`""`, once(1, 5, get("x")))
		r.expect(`"x"`, cmd(OpGet, "k"))
	})
}

func TestUnknownAndClosedSessions(t *testing.T) {
	each(t, DefaultLimits(), func(t *testing.T, r *rig, move func()) {
		for _, c := range []Command{once(7, 1, cmd(OpSet, "k", "v")), cmd(OpSessionKeep).with(7), cmd(OpSessionClose).with(-1), cmd(OpSession).with(7)} {
			r.expect("-SESSIONEXPIRED ", c)
		}
		id := int64(r.m.Applied().Index) + 1
		r.expect(fmt.Sprint(id), cmd(OpSessionOpen))
		r.expect("OK", once(id, 1, cmd(OpSet, "k", "v")))
		r.expect("OK", cmd(OpSessionKeep).with(id))
		r.expect("OK", cmd(OpSessionClose).with(id))
		move()
		r.expect("-SESSIONEXPIRED ", once(id, 1, cmd(OpSet, "k", "w")))
		r.expect("-SESSIONEXPIRED ", cmd(OpSessionClose).with(id))
		r.expect(`"v"`, cmd(OpGet, "k"))
	})
}

// CS-06: idle time is log time, and a session that is due is gone at once.
func TestSessionExpiresByLogTime(t *testing.T) {
	each(t, tinyLimits(), func(t *testing.T, r *rig, move func()) {
		r.expect("1", cmd(OpSessionOpen))
		r.expect("2", cmd(OpSessionOpen))
		r.now += 4000 * millisecond
		r.expect("OK", cmd(OpSessionKeep).with(1))
		move()
		r.now += 1000*millisecond - 1
		r.expect("OK", cmd(OpTick))
		r.expect("0", cmd(OpSession).with(2))
		r.now++
		r.expect("-SESSIONEXPIRED ", once(2, 1, cmd(OpSet, "k", "v")))
		r.expect("nil", cmd(OpGet, "k"))
		r.now += 3000*millisecond - 1
		// A refused or repeated write is a use as well.
		r.expect("-SEQGAP ", once(1, 5, cmd(OpSet, "k", "v")))
		move()
		r.now += 4999 * millisecond
		r.expect("OK", once(1, 1, cmd(OpSet, "k", "v")))
		r.now += 4999 * millisecond
		r.expect("OK", once(1, 1, cmd(OpSet, "k", "v")))
		r.now += 5000 * millisecond
		r.expect("OK", cmd(OpTick))
		r.expect("-SESSIONEXPIRED ", cmd(OpSession).with(1))
		if n := r.m.Stats().Sessions; n != 0 {
			t.Errorf("%d sessions left", n)
		}
	})
}

// OL-13: the least recently used one goes, by log index.
func TestSessionEvictionOrder(t *testing.T) {
	each(t, tinyLimits(), func(t *testing.T, r *rig, move func()) {
		for id := range 3 {
			r.expect(fmt.Sprint(id+1), cmd(OpSessionOpen))
		}
		r.expect("OK", cmd(OpSessionKeep).with(1))
		r.expect("OK", once(2, 1, cmd(OpSet, "k", "v")))
		r.expect("0", cmd(OpSession).with(3)) // a read is no use
		move()
		r.expect("6", cmd(OpSessionOpen))
		r.expect("-SESSIONEXPIRED ", cmd(OpSession).with(3))
		r.expect("7", cmd(OpSessionOpen))
		r.expect("-SESSIONEXPIRED ", cmd(OpSession).with(1))
		r.expect("1", cmd(OpSession).with(2))
		move()
		r.expect("OK", cmd(OpLimit, "sessions").with(1))
		r.expect("OK", cmd(OpTick))
		if n := r.m.Stats().Sessions; n != 1 {
			t.Errorf("%d sessions left", n)
		}
		r.expect("0", cmd(OpSession).with(7))
	})
}

func TestSessionRemovalIsBounded(t *testing.T) {
	r := newRig(t)
	const newest = removePerEntry*2 + 3
	for range newest {
		r.do(cmd(OpSessionOpen))
	}
	r.now += 3_600_000 * millisecond
	for _, want := range []int{removePerEntry + 3, 3, 0} {
		// Still stored at first, but not to be used.
		r.expect("-SESSIONEXPIRED ", cmd(OpSessionKeep).with(newest))
		r.expect("-SESSIONEXPIRED ", cmd(OpSession).with(newest))
		if n := r.m.Stats().Sessions; n != want {
			t.Fatalf("%d sessions left, want %d", n, want)
		}
		r.m.st.check(t)
	}
}

// How a value came to a node is not part of the state: one that grew there and one that was restored
// are answered alike, in a block whose answers a session keeps, too.
func TestAnswersAreThoseOfARestoredMachine(t *testing.T) {
	r := newRig(t)
	r.do(cmd(OpSessionOpen))
	for i := range 100 {
		r.do(cmd(OpAppend, "grown", strings.Repeat("x", i)))
	}
	other := New(DefaultLimits())
	content := encode(t, r.m)
	if err := other.Restore(meta(r.m), bytes.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	var reads []Command
	for n := range 256 {
		op := Op(n)
		if !op.known() || !op.ReadOnly() {
			continue
		}
		for args := range 4 {
			c := cmd(op, []string{"grown", "grown", "1"}[:args]...)
			if inspectBlock(new(block(OpReadBlock, nil, c)), new(Command)) == nil {
				reads = append(reads, c)
			}
		}
	}
	if len(reads) < 10 {
		t.Fatalf("%d reads can stand in a block", len(reads))
	}
	for i, c := range reads {
		e := r.entry(AppendCommand(nil, once(1, uint64(i+1), block(OpBlock, nil, c))))
		if a, b := show(t, r.m.Apply(e, nil)), show(t, other.Apply(e, nil)); a != b {
			t.Errorf("%v: %s, restored %s", c.Op, a, b)
		}
		if r.m.Hash() != other.Hash() {
			t.Fatalf("%v: states differ", c.Op)
		}
	}
}
