package raft

// writes keeps what the disk has confirmed and what it was given.
//
//	1 ....... stable ....... handed ....... last
//	 confirmed  |  in flight   |  not yet given to the disk
type writes struct {
	seq     uint64  // of the newest write handed out
	done    uint64  // of the newest write confirmed
	stable  Index   // this log's prefix that the disk has confirmed
	handed  Index   // this log's prefix that is in a write handed out
	durable promise // confirmed
	given   promise // in the newest write handed out
	flight  []flight
	base    EntryID // to be told to the disk with the next write; zero if nothing
	reset   bool    // the next write drops the whole log
	slowest [2]int  // ticks of the slowest write that ended in this period, and in the one before
	period  int     // ticks of this period
	ended   int     // writes that ended in this period
}

// promise is what must not be forgotten beside the log.
type promise struct {
	term  Term
	vote  NodeID
	fence Fence
}

// flight is one write that the disk has not confirmed.
type flight struct {
	seq     uint64
	promise promise
	last    Index // the prefix of this log that it proves; cut back by truncations
	age     int   // in ticks
}

// cut takes back what the disk proves or would prove from i on: the log was
// truncated there. Doing it at once, not when the write is confirmed, is what makes terms
// that return harmless.
func (w *writes) cut(i Index) {
	w.stable = min(w.stable, i-1)
	w.handed = min(w.handed, i-1)
	for k := range w.flight {
		w.flight[k].last = min(w.flight[k].last, i-1)
	}
}

// A write is recent while its period or the next one lasts. A period ends when
// so many ticks have passed and so many writes have ended: one that took long
// stops counting when the disk has been quick since, for a while and often, and
// it goes on counting where nothing else was written.
const (
	slowTicks  = 500 // 5 s at the default tick
	slowWrites = 16
)

// slowMost bounds by how many ticks slow writes stretch an election timeout:
// half a minute at the default tick.
const slowMost = 3000

func (w *writes) tick() {
	for k := range w.flight {
		w.flight[k].age++
	}
	if w.period++; w.period >= slowTicks && w.ended >= slowWrites {
		w.period, w.ended = 0, 0
		w.slowest[1], w.slowest[0] = w.slowest[0], 0
	}
}

// oldest is how many ticks the oldest write is under way; 0 with none.
func (w *writes) oldest() int {
	if len(w.flight) == 0 {
		return 0
	}
	return w.flight[0].age
}

// slow is the slowest recent write in ticks; one that is under way counts with
// what it has taken so far.
func (w *writes) slow() int { return max(w.slowest[0], w.slowest[1], w.oldest()) }

// wrote takes the disk's word for every write up to seq.
func (w *writes) wrote(seq uint64) {
	for len(w.flight) > 0 && w.flight[0].seq <= seq {
		f := w.flight[0]
		w.flight = w.flight[1:]
		w.done = f.seq
		w.durable = f.promise
		w.stable = max(w.stable, f.last)
		w.slowest[0] = max(w.slowest[0], f.age)
		w.ended++
	}
}

// Wrote tells that the disk finished every write up to seq.
func (r *Raft) Wrote(seq uint64) {
	if seq > r.w.seq {
		assert(false, "write %d confirmed, newest is %d", seq, r.w.seq)
	}
	r.w.wrote(seq)
	if r.hung != 0 && seq >= r.hung {
		r.hung = 0
	}
	r.ask()
	r.tryCompact()
	r.advanceCommit()
	r.tryLiftFence()
}

// onlyEntries tells that the next write would hold commands and nothing that an
// election, a change of members or a snapshot waits for.
func (r *Raft) onlyEntries() bool {
	w := &r.w
	if w.base != (EntryID{}) || w.reset || (promise{r.term, r.vote, r.fence}) != w.given {
		return false
	}
	for i := w.handed + 1; i <= r.log.last().Index; i++ {
		if r.log.at(i).Type != EntryCommand {
			return false
		}
	}
	return true
}

// write makes the next write, or nil if the disk has, or was given, everything.
func (r *Raft) write() *Write {
	w := &r.w
	now := promise{r.term, r.vote, r.fence}
	last := r.log.last().Index
	if now == w.given && w.handed == last && w.base == (EntryID{}) && !w.reset {
		return nil
	}
	out := &Write{Base: w.base, Reset: w.reset, Fence: r.fence}
	if w.reset {
		w.handed = r.log.base.Index
	}
	out.Entries = r.log.slice(w.handed+1, last, r.cfg.MaxWriteBytes)
	w.handed += Index(len(out.Entries))
	w.seq++
	out.Seq = w.seq
	out.State = HardState{Term: r.term, Vote: r.vote, Commit: min(r.commit, w.handed)}
	w.given, w.base, w.reset = now, EntryID{}, false
	w.flight = append(w.flight, flight{seq: w.seq, promise: now, last: w.handed})
	return out
}
