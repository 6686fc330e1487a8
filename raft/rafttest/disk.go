package rafttest

import (
	"fmt"
	"slices"

	"github.com/raftkv/raftkv/raft"
)

// Disk is the fake disk of one node. A write handed to it is in flight until
// Land makes it durable or Crash decides its fate.
type Disk struct {
	Durable raft.Durable // what a start would find now
	Flight  []raft.Write // handed over, not durable, in order
	Ghost   bool         // it has forgotten a write that it had confirmed; holds until the fence is down

	before []before // what stood here before the newest writes, for Forget
}

// before is what one write changed.
type before struct {
	base    raft.EntryID
	entries []raft.Entry
	seq     uint64
}

// Submit takes a write that the core handed out.
func (d *Disk) Submit(w raft.Write) {
	want := d.Durable.Seq + uint64(len(d.Flight)) + 1
	check(w.Seq == want, "write %d handed out, %d is next", w.Seq, want)
	w.Entries = slices.Clone(w.Entries) // what the core hands out must never change; Land compares nothing, it keeps this
	d.Flight = append(d.Flight, w)
}

// Land makes the oldest write durable and returns its Seq. The owner then calls
// Wrote on the core, at once or later.
func (d *Disk) Land() uint64 {
	w := d.Flight[0]
	d.Flight = d.Flight[1:]
	d.apply(w)
	return w.Seq
}

// Crash ends the writes in flight: the first landed of them are durable, the rest is lost.
func (d *Disk) Crash(landed int) {
	for range min(landed, len(d.Flight)) {
		d.Land()
	}
	d.Flight = nil
}

// Forget opens the disk one write back, as bbolt does after damage to one of its
// meta pages. Term and vote come from their second copy; the fence is up.
func (d *Disk) Forget() {
	if len(d.before) == 0 {
		return
	}
	b := d.before[len(d.before)-1]
	d.before = nil
	d.Durable.Base, d.Durable.Entries, d.Durable.Seq = b.base, b.entries, b.seq
	d.Durable.State.Commit = min(d.Durable.State.Commit, d.Last().Index)
	d.Durable.Fence = max(d.Durable.Fence, raft.FenceOneBack)
	d.Ghost = true
}

// Load is what a start finds: a copy.
func (d *Disk) Load() raft.Durable {
	l := d.Durable
	l.Entries = slices.Clone(l.Entries)
	return l
}

// Last is the end of the durable log.
func (d *Disk) Last() raft.EntryID {
	if n := len(d.Durable.Entries); n > 0 {
		return d.Durable.Entries[n-1].EntryID
	}
	return d.Durable.Base
}

// Holds tells whether the durable log holds this entry, or the durable snapshot contains it.
func (d *Disk) Holds(id raft.EntryID) bool {
	if id.Index <= d.Durable.Snapshot.Last.Index || id.Index <= d.Durable.Base.Index {
		return true // committed: the checker compares those
	}
	if id.Index > d.Last().Index {
		return false
	}
	return d.Durable.Entries[id.Index-d.Durable.Base.Index-1].EntryID == id
}

// apply does what a store does with a write, and checks that it is one that can be done.
func (d *Disk) apply(w raft.Write) {
	s, old := w.State, d.Durable.State
	check(w.Seq == d.Durable.Seq+1, "write %d on a disk at %d", w.Seq, d.Durable.Seq)
	check(s.Term >= old.Term, "term on disk goes back from %d to %d", old.Term, s.Term)
	check(s.Term > old.Term || old.Vote == raft.None || s.Vote == old.Vote,
		"vote of term %d on disk changes from %v to %v", s.Term, old.Vote, s.Vote)
	d.before = append(d.before, before{d.Durable.Base, slices.Clone(d.Durable.Entries), d.Durable.Seq})
	if len(d.before) > 2 {
		d.before = d.before[1:]
	}
	switch {
	case w.Reset:
		check(w.Base == d.Durable.Snapshot.Last || w.Base.Index <= d.Durable.Snapshot.Last.Index, "reset to %v, newest snapshot %v", w.Base, d.Durable.Snapshot.Last)
		d.Durable.Base, d.Durable.Entries = w.Base, nil
		d.before = nil // the snapshot behind a reset is durable on its own; one write back would be a puzzle for Load, not for the core
	case w.Base != (raft.EntryID{}) && w.Base.Index > d.Durable.Base.Index:
		check(w.Base.Index <= d.Durable.Snapshot.Last.Index, "log dropped up to %v, newest snapshot %v", w.Base, d.Durable.Snapshot.Last)
		check(d.Holds(w.Base) && w.Base.Index <= d.Last().Index, "log dropped up to %v, it ends in %v", w.Base, d.Last())
		d.Durable.Entries = slices.Clone(d.Durable.Entries[w.Base.Index-d.Durable.Base.Index:])
		d.Durable.Base = w.Base
	}
	for i, e := range w.Entries {
		if i == 0 {
			check(e.Index > d.Durable.Base.Index && e.Index <= d.Last().Index+1, "write of %v to a log from %v to %v", e.EntryID, d.Durable.Base, d.Last())
			d.Durable.Entries = slices.Clone(d.Durable.Entries[:e.Index-d.Durable.Base.Index-1])
		}
		check(e.Index == d.Last().Index+1 && e.Term >= d.Last().Term, "write of %v behind %v", e.EntryID, d.Last())
		check(e.Term <= s.Term, "write of %v in term %d", e.EntryID, s.Term)
		d.Durable.Entries = append(d.Durable.Entries, e)
	}
	check(s.Commit <= d.Last().Index, "commit hint %d, log on disk ends in %v", s.Commit, d.Last())
	d.Durable.State, d.Durable.Seq, d.Durable.Fence = s, w.Seq, w.Fence
	if w.Fence == raft.FenceNone {
		d.Ghost = false
	}
}

// check panics when a promise between the core and its driver is broken.
func check(ok bool, format string, args ...any) {
	if !ok {
		panic("rafttest: " + fmt.Sprintf(format, args...))
	}
}
