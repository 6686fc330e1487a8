package statemachine

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
)

// watched shows every change as one line.
func watched(r *rig) *[]string {
	var got []string
	r.m.Observe(func(c Change) {
		switch c.Kind {
		case ChangeKey, ChangeNote:
			line := fmt.Sprintf("%d %c %s %q", c.Index, c.Class, c.Event, c.Key)
			if c.Deleted {
				line += " gone"
			} else {
				line += fmt.Sprintf("=%q@%d", c.Value, c.Version)
			}
			if c.Deadline != 0 {
				line += fmt.Sprintf(" until %d", c.Deadline)
			}
			if c.Kind == ChangeNote {
				line = "(" + line + ")"
			}
			got = append(got, line)
		default:
			got = append(got, fmt.Sprintf("%d kind %d %q %q", c.Index, c.Kind, c.Key, c.Value))
		}
	})
	return &got
}

func TestObserverIsToldEveryChange(t *testing.T) {
	r := newRig(t)
	got := watched(r)
	for _, step := range []struct {
		c    Command
		want []string
	}{
		{cmd(OpSet, "k", "v"), []string{`(1 n new "k"="v"@1)`, `1 $ set "k"="v"@1`}},
		{cmd(OpSet, "k", "w").with(0, FlagNX), nil},
		{cmd(OpSet, "k", "w").with(50, FlagIn), []string{`3 $ set "k"="w"@3 until 1050`, `(3 g expire "k"="w"@3 until 1050)`}},
		{cmd(OpAppend, "k", "x"), []string{`4 $ append "k"="wx"@4 until 1050`}},
		{cmd(OpAppend, "a", "x"), []string{`(5 n new "a"="x"@5)`, `5 $ append "a"="x"@5`}},
		{cmd(OpIncrBy, "a").with(1), nil}, // refused
		{cmd(OpMSet, "a", "1", "k", "2"), []string{`7 $ set "a"="1"@7`, `7 $ set "k"="2"@7`}},
		{cmd(OpIncrBy, "a").with(1), []string{`8 $ incrby "a"="2"@8`}},
		{cmd(OpDel, "a", "none", "k"), []string{`9 g del "a" gone`, `9 g del "k" gone`}},
		{cmd(OpSet, "p", "v").with(1, FlagAt), nil}, // never to be seen
		{cmd(OpSet, "p", "v").with(10, FlagIn), []string{`(11 n new "p"="v"@11 until 1010)`, `11 $ set "p"="v"@11 until 1010`, `(11 g expire "p"="v"@11 until 1010)`}},
		{cmd(OpSet, "p", "v").with(1, FlagAt), []string{`12 g del "p" gone`}},
		{cmd(OpPublish, "channel", "hello"), []string{`13 kind 3 "channel" "hello"`}},
	} {
		*got = nil
		r.do(step.c)
		if !slices.Equal(*got, step.want) {
			t.Errorf("%v: told\n%q, want\n%q", step.c.Op, *got, step.want)
		}
	}
}

// What expires is told by the entry that removes it, before that entry's own change.
func TestObserverIsToldOfExpiry(t *testing.T) {
	r := newRig(t)
	for i := range removePerEntry + 2 {
		r.do(cmd(OpSet, fmt.Sprintf("k%03d", i), "v").with(10, FlagIn))
	}
	got := watched(r)
	r.now += 10 * millisecond
	last := fmt.Sprintf("k%03d", removePerEntry+1)
	r.do(cmd(OpSet, last, "new")) // due, but not yet among those that this entry removes
	want := []string{fmt.Sprintf(`67 x expired %q gone`, last), fmt.Sprintf(`(67 n new %q="new"@67)`, last), fmt.Sprintf(`67 $ set %q="new"@67`, last)}
	if n := len(*got); n != removePerEntry+3 || (*got)[0] != `67 x expired "k000" gone` || !slices.Equal((*got)[n-3:], want) {
		t.Errorf("told %q", *got)
	}
	*got = nil
	r.do(cmd(OpTick))
	if want := []string{fmt.Sprintf(`68 x expired "k%03d" gone`, removePerEntry)}; !slices.Equal(*got, want) {
		t.Errorf("told %q, want %q", *got, want)
	}
	r.m.st.check(t)
}

// A value that an observer kept never changes, and what it appends is not seen by the state.
func TestObserverMayKeepValues(t *testing.T) {
	r := newRig(t)
	var kept [][]byte
	r.m.Observe(func(c Change) { kept = append(kept, c.Value) })
	r.do(cmd(OpSet, "k", "0123456789"))
	for range 3 {
		r.do(cmd(OpAppend, "k", "a"))
	}
	for i, v := range kept[1:] {
		if want := "0123456789aaa"[:10+i]; string(v) != want || cap(v) != len(v) {
			t.Errorf("kept %q with room for %d, want %q", v, cap(v), want)
		}
	}
	r.m.Observe(nil)
	r.do(cmd(OpSet, "k", "v"))
	if len(kept) != 5 {
		t.Errorf("told %d times after the end", len(kept)-5)
	}
}

func TestObserverIsToldOfRestore(t *testing.T) {
	from := newRig(t)
	from.do(cmd(OpSet, "k", "v"))
	from.do(cmd(OpSet, "k", "w"))
	r := newRig(t)
	got := watched(r)
	if err := r.m.Restore(meta(from.m), bytes.NewReader(encode(t, from.m))); err != nil {
		t.Fatal(err)
	}
	r.do(cmd(OpDel, "k"))
	if want := []string{`2 kind 5 "" ""`, `3 g del "k" gone`}; !slices.Equal(*got, want) {
		t.Errorf("told %q, want %q", *got, want)
	}
	bad := meta(from.m)
	bad.Hash[0]++
	if err := r.m.Restore(bad, bytes.NewReader(encode(t, from.m))); err == nil || len(*got) != 2 {
		t.Errorf("a restore that failed: %v, told %q", err, *got)
	}
}
