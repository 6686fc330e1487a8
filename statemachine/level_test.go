package statemachine

import (
	"bytes"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/raft"
)

// delifeqIsNew makes an operation one of level 2: no release has any yet.
func delifeqIsNew(o Op) uint32 {
	if o == OpDelIfEq {
		return 2
	}
	return 1
}

// levelRig is a machine of a binary that knows a level, where delifeq needs level 2.
func levelRig(t *testing.T, known uint32) *rig {
	r := newRig(t)
	r.m.known, r.m.since = known, delifeqIsNew
	return r
}

// What needs a level does nothing below it, wherever it stands, and the same on
// every node: the log decides, not the binary (UP-05).
func TestLevelIsInTheLog(t *testing.T) {
	r := levelRig(t, 2)
	r.do(cmd(OpSet, "k", "v"))
	want := "-ERR 'delifeq' needs level 2, the cluster is at level 1; upgrade all nodes"
	del := cmd(OpDelIfEq, "k", "v")
	if got := r.do(del); got != want {
		t.Errorf("below its level: %s", got)
	}
	if got := r.do(block(OpBlock, nil, del)); !strings.Contains(got, "needs level 2") {
		t.Errorf("below its level, in a block: %s", got)
	}
	if got := r.query(cmd(OpExists, "k")); got != "1" {
		t.Error("it took effect")
	}
	before := r.m.Hash()
	if got := r.do(Command{Op: OpLevel, Num: 2}); got != "OK" || r.m.Level() != 2 || r.m.Hash() == before {
		t.Errorf("raise: %s, level %d", got, r.m.Level())
	}
	if got := r.m.Recompute(); got != r.m.Hash() {
		t.Error("the recomputed hash is another one")
	}
	for _, n := range []int64{1, 0, -3} {
		r.do(Command{Op: OpLevel, Num: n})
		if r.m.Level() != 2 {
			t.Errorf("level %d after it was set to %d: it never falls", r.m.Level(), n)
		}
	}
	if got := r.do(del); got != "1" {
		t.Errorf("at its level: %s", got)
	}

	content, at := encode(t, r.m), meta(r.m)
	if at.Level != 2 {
		t.Errorf("the snapshot is of level %d", at.Level)
	}
	same := levelRig(t, 2)
	if err := same.m.Restore(at, bytes.NewReader(content)); err != nil || same.m.Level() != 2 || same.m.Hash() != r.m.Hash() {
		t.Errorf("restored: level %d, %v", same.m.Level(), err)
	}
	older := levelRig(t, 1)
	if err := older.m.Restore(at, bytes.NewReader(content)); err == nil || !strings.Contains(err.Error(), "level 2, this binary knows level 1") {
		t.Errorf("an older binary restores it: %v", err)
	}
}

// A binary that doesn't know the level stops before the entry that raises to it (UP-04).
func TestUnknownLevelStops(t *testing.T) {
	r := levelRig(t, 1)
	r.do(cmd(OpSet, "k", "v"))
	before := r.m.Applied()
	_, stop := apply(r.m, r.entry(LevelCommand(nil, 2)))
	if stop == nil || stop.Index != before.Index+1 || !strings.Contains(stop.Error(), "raises the level to 2, this binary knows level 1") {
		t.Fatalf("it goes on: %v", stop)
	}
	if r.m.Applied() != before || r.m.Level() != 1 {
		t.Errorf("it is at %v, level %d", r.m.Applied(), r.m.Level())
	}
}

func TestNeeds(t *testing.T) {
	del := cmd(OpDelIfEq, "k", "v")
	for _, tc := range []struct {
		name string
		c    Command
		want uint32
	}{
		{"old", cmd(OpSet, "k", "v"), 1},
		{"new", del, 2},
		{"in a session", once(1, 1, del), 2},
		{"in a block", block(OpBlock, nil, cmd(OpSet, "k", "v"), del), 2},
		{"in a block in a session", once(1, 1, block(OpBlock, []condition{{"k", 1}}, del)), 2},
		{"old in a block", block(OpBlock, []condition{{"k", 1}}, cmd(OpSet, "k", "v")), 1},
		{"a read", cmd(OpGet, "k"), 0},
	} {
		if got := needs(AppendCommand(nil, tc.c), delifeqIsNew); got != tc.want {
			t.Errorf("%s: needs level %d, want %d", tc.name, got, tc.want)
		}
	}
	for data, want := range map[string]uint32{
		string(LevelCommand(nil, 7)): 7, string(AppendCommand(nil, cmd(OpSet, "k", "v"))): 0, string(LevelCommand(nil, 7)[:1]): 0, "": 0,
	} {
		if got := LevelOf(raft.Entry{Type: raft.EntryCommand, Data: []byte(data)}); got != want {
			t.Errorf("%x raises to %d, want %d", data, got, want)
		}
	}
}
