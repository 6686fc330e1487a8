package node

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/raft"
)

// applierWith makes an applier that has applied so many commands of term 1.
func applierWith(t *testing.T, n int) (*Applier, *host) {
	h := &host{t: t, m: &machine{}, metrics: &Metrics{}, disk: &disk{files: map[raft.EntryID]file{}}}
	h.a = NewApplier(h.m, birth(1), h, h.metrics, h.disk.Open)
	h.a.Do(&Job{entries: commands(1, n)})
	return h.a, h
}

func commands(from, n int) []raft.Entry {
	var es []raft.Entry
	for i := range n {
		es = append(es, raft.Entry{
			EntryID: raft.EntryID{Term: 1, Index: raft.Index(from + i)}, Type: raft.EntryCommand,
			Data: []byte{byte('a' + from + i - 1)},
		})
	}
	return es
}

func TestReadIsEvaluatedAtItsIndexAndHeld(t *testing.T) {
	a, h := applierWith(t, 2)
	k := h.client()
	k.next = 3
	at := func(slot uint64, index raft.Index) read {
		return read{conn: k.conn, slot: slot, index: index, group: 1, deadline: 9}
	}
	a.Do(&Job{reads: []read{at(1, 4), at(2, 3), at(3, 2)}, entries: commands(3, 3)})
	k.want("-|-|-")
	a.Do(&Job{entries: commands(6, 1)})
	j := &Job{release: []uint64{1}}
	a.Do(j)
	k.want("a,b,c,d|a,b,c|a,b")
	if len(j.done) != 3 || len(a.sets) != 0 || len(a.parked) != 0 {
		t.Errorf("%d done, %d sets, %d parked", len(j.done), len(a.sets), len(a.parked))
	}
}

// What was evaluated for a lost confirmation is thrown away, without a word.
func TestDroppedReadsAreForgotten(t *testing.T) {
	a, h := applierWith(t, 2)
	k := h.client()
	k.next = 2
	a.Do(&Job{reads: []read{
		{conn: k.conn, slot: 1, index: 1, group: 1},
		{conn: k.conn, slot: 2, index: 3, group: 1},
	}})
	a.Do(&Job{drop: []uint64{1}})
	a.Do(&Job{release: []uint64{1}, entries: commands(3, 1)})
	k.want("-|-")
	if len(a.sets) != 0 || len(a.parked) != 0 {
		t.Errorf("%d sets, %d parked", len(a.sets), len(a.parked))
	}
}

// A released read whose index never comes ends at its deadline; one that is not
// released is the loop's.
func TestApplierExpiresReleasedReads(t *testing.T) {
	a, h := applierWith(t, 2)
	k := h.client()
	k.next = 3
	j := &Job{reads: []read{
		{conn: k.conn, slot: 1, index: 9, group: 1, deadline: 5},
		{conn: k.conn, slot: 2, index: 9, group: 2, deadline: 5},
		{conn: k.conn, slot: 3, index: 9, deadline: 6},
	}, release: []uint64{1}, now: 5}
	a.Do(j)
	k.want("not applied|-|-")
	if !errors.Is(k.err(1), ErrTimeout) || len(j.done) != 1 {
		t.Errorf("error %v, %d done", k.err(1), len(j.done))
	}
	a.Do(&Job{entries: commands(3, 7)})
	k.want("not applied|-|a,b,c,d,e,f,g,h,i")
	a.Stop()
	k.want("not applied|not applied|a,b,c,d,e,f,g,h,i")
}

// A snapshot jumps over the index of a parked read: the state behind it may
// hold later writes of the same connection. Reads that came after it see it.
func TestRestoreEndsParkedReads(t *testing.T) {
	a, h := applierWith(t, 2)
	k := h.client()
	k.next = 5
	meta := raft.SnapshotMeta{Last: raft.EntryID{Term: 1, Index: 20}, Config: birth(1).Config}
	h.disk.keep(meta, []byte("x,y"))
	a.Do(&Job{reads: []read{{conn: k.conn, slot: 1, index: 10, group: 1}}})
	j := &Job{
		reads: []read{
			{conn: k.conn, slot: 2, index: 11, group: 2},
			{conn: k.conn, slot: 3, index: 2, group: 2},
			{conn: k.conn, slot: 4, index: 12, group: 3},
			{conn: k.conn, slot: 5, index: 25, group: 3},
		},
		restore: &meta, before: 2,
		release: []uint64{1, 2, 3},
	}
	a.Do(j)
	if j.restoreErr != nil {
		t.Fatal(j.restoreErr)
	}
	k.want("not applied|not applied|a,b|x,y|-")
	if !errors.Is(k.err(1), ErrInstalled) {
		t.Errorf("error %v", k.err(1))
	}
	if a.applied != meta.Last || j.last != meta.Last {
		t.Errorf("applied %v", a.applied)
	}
}

// A view that was frozen before a restore is given up, and a failed restore
// leaves the old state.
func TestRestoreAndFreeze(t *testing.T) {
	a, h := applierWith(t, 5)
	meta := raft.SnapshotMeta{Last: raft.EntryID{Term: 1, Index: 20}}
	j := &Job{freeze: true}
	a.Do(j)
	a.Step(1)
	if !a.Freezing() || h.saving == nil || h.saving.Last.Index != 5 {
		t.Fatalf("freezing %v, %+v", a.Freezing(), h.saving)
	}
	j = &Job{restore: &meta}
	a.Do(j)
	if j.restoreErr == nil || j.last.Index != 5 || strings.Join(h.m.list, "") != "abcde" {
		t.Errorf("restore of a missing file: %v, at %v", j.restoreErr, j.last)
	}
	if a.Freezing() || len(h.events) != 1 {
		t.Errorf("freezing %v, %d ends of the save", a.Freezing(), len(h.events))
	}
}

// The heap gives what was put in, least index first.
func TestParkedIsOrdered(t *testing.T) {
	var p parked
	in := []raft.Index{5, 3, 9, 1, 7, 3, 2, 8}
	for _, i := range in {
		p.push(spot{index: i})
	}
	p = slices.DeleteFunc(p, func(s spot) bool { return s.index == 7 })
	p.order()
	var out []raft.Index
	for len(p) > 0 {
		out = append(out, p.pop().index)
	}
	if !slices.Equal(out, []raft.Index{1, 2, 3, 3, 5, 8, 9}) {
		t.Errorf("%v", out)
	}
}

// A committed entry of a later term decides every ticket of an earlier one from
// its index on.
func TestJudge(t *testing.T) {
	id := func(term raft.Term, i raft.Index) raft.EntryID { return raft.EntryID{Term: term, Index: i} }
	var batch []raft.Entry
	for _, e := range []raft.EntryID{id(2, 10), id(2, 11), id(4, 12)} {
		batch = append(batch, raft.Entry{EntryID: e})
	}
	for _, tc := range []struct {
		ticket raft.EntryID
		want   verdict
	}{
		{id(2, 9), isJumped},
		{id(2, 10), isApplied},
		{id(3, 10), isReplaced},
		{id(1, 11), isReplaced},
		{id(4, 12), isApplied},
		{id(2, 12), isReplaced},
		{id(3, 15), isReplaced},
		{id(4, 13), undecided},
		{id(5, 13), undecided},
		{id(5, 11), isReplaced},
	} {
		if got := judge(tc.ticket, batch); got != tc.want {
			t.Errorf("judge(%v) = %d, want %d", tc.ticket, got, tc.want)
		}
	}
}

// A large result has room of its own: in the arena it would take all the small ones before it along,
// and be taken along by the next large one.
func TestLargeResultsLieApart(t *testing.T) {
	var a Applier
	add := func(n int, c byte) []byte {
		return a.result(func(dst []byte) []byte { return append(append(dst, c), bytes.Repeat([]byte{c}, n-1)...) })
	}
	small := add(10, 's')
	var large [][]byte
	for _, c := range []byte("abc") {
		large = append(large, add(3*arenaBytes, c))
	}
	again := add(10, 't')
	if cap(a.arena) != arenaBytes || len(a.arena) != 20 {
		t.Errorf("the arena has %d of %d bytes, want 20 of %d", len(a.arena), cap(a.arena), arenaBytes)
	}
	if string(small) != "ssssssssss" || string(again) != "tttttttttt" {
		t.Errorf("small results %q and %q", small, again)
	}
	for i, l := range large {
		if want := bytes.Repeat([]byte{"abc"[i]}, 3*arenaBytes); !bytes.Equal(l, want) || cap(l) != len(l) {
			t.Errorf("large result %d is not what was appended", i)
		}
	}
}
