package sim

import (
	"fmt"
	"slices"

	"github.com/zeebo/xxh3"

	"github.com/raftkv/raftkv/node"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/server/feed"
	"github.com/raftkv/raftkv/statemachine"
)

// rule is one thing that must hold whatever happens. Its functions are called
// as their names say; one that finds it broken calls broken. Those that it does
// not need are nil. A rule keeps what it must remember in the closure that makes it.
type rule struct {
	name   string
	source string // where it is written down

	started   func(*host)                                    // a process started from its disk
	step      func(*host)                                    // after every event of a process; host.view tells what is new
	write     func(*host, *raft.Write)                       // a write is handed to the disk
	stored    func(*host)                                    // the content of the disk changed, or was fixed by a crash
	sent      func(*host, *raft.Message)                     // a message leaves
	received  func(*host, *raft.Message)                     // a message comes in
	handled   func(*host, *raft.Message)                     // and its turn is over, if that was not put off
	gone      func(*host)                                    // it hears that a peer's process is dead
	snapshot  func(*host, raft.SnapshotMeta)                 // a snapshot was reported durable
	committed func(*host, *fact, *raft.Entry)                // a leader committed an entry, the first time
	counted   func(h *host, top *fact, voters []raft.NodeID) // a leader committed up to top by counting; it may have stepped down since, in the same turn
	applied   func(*host, *fact, *raft.Entry, []byte)
	replied   func(*op, *node.Reply)
	watched   func(*watcher, *feed.Event) // a subscriber is shown a change
	end       func()                      // when everything was healed and has come to rest

	checks int
}

// rules holds all rules, and what was last seen of each host.
type rules struct {
	w     *world
	all   []*rule
	first *Broken // what ends the run
}

func newRules(w *world) *rules {
	w.truth = newTruth()
	r := &rules{w: w}
	for _, make := range []func(*world) *rule{
		electionSafety, leaderAppendOnly, logMatching, leaderCompleteness, stateMachineSafety,
		committedStays, promisesOnDisk, promisesBeforeDisk, acknowledgedIsDurable, ownTermByCounting, oneChangeAtATime,
		readsNeverGoBack, sessionsOnce, logCoversAll, equalStates, refusedStaysRefused, timeNeverGoesBack, orderOfConnections, noDisruption,
		everyChange,
	} {
		r.all = append(r.all, make(w))
	}
	return r
}

// broken ends the run.
func (r *rules) broken(name, format string, args ...any) {
	r.first = &Broken{name, r.w.now, fmt.Sprintf(format, args...)}
	panic(r.first)
}

func (r *rule) broken(w *world, format string, args ...any) {
	w.rules.broken(r.name, format+" ("+r.source+")", args...)
}

// view is what was seen of a process: now, and what is new since its last event.
type view struct {
	role   raft.Role
	term   raft.Term
	commit raft.Index
	base   raft.EntryID
	last   raft.EntryID
	log    []raft.Entry // retained

	was struct {
		role   raft.Role
		term   raft.Term
		commit raft.Index
		last   raft.EntryID
	}
	cut   bool         // the log was cut back since
	prev  raft.EntryID // before fresh
	fresh []raft.Entry // appended since
	done  []raft.Entry // committed here since
	seen  bool         // there was an event before

	voters    []raft.NodeID // by the latest configuration in the log
	wasVoters []raft.NodeID // before this event, if that changed them
	age       int
}

// at is the entry of an index that is in the log.
func (v *view) at(i raft.Index) *raft.Entry { return &v.log[i-v.base.Index-1] }

// has tells whether the log holds this entry.
func (v *view) has(id raft.EntryID) bool {
	if id.Index <= v.base.Index || id.Index > v.last.Index {
		return id == v.base
	}
	return v.at(id.Index).EntryID == id
}

// look brings a view up to date.
func (v *view) look(c *raft.Raft) {
	v.was.role, v.was.term, v.was.commit, v.was.last = v.role, v.term, v.commit, v.last
	v.role, v.term, v.commit = c.Role(), c.Term(), c.Commit()
	base := v.base
	v.base, v.log = c.Log()
	v.last = v.base
	if n := len(v.log); n > 0 {
		v.last = v.log[n-1].EntryID
	}
	from := v.was.last.Index
	v.cut = false
	switch {
	case !v.seen || from <= v.base.Index:
		from = v.base.Index
	case from > v.last.Index || v.at(from).EntryID != v.was.last:
		v.cut = true
		from = max(v.was.commit, v.base.Index)
	}
	v.prev = v.base
	if from > v.base.Index {
		v.prev = v.at(from).EntryID
	}
	v.fresh = v.log[from-v.base.Index:]
	v.done = nil
	if first := max(v.was.commit, v.base.Index); v.commit > first {
		v.done = v.log[first-v.base.Index : v.commit-v.base.Index]
	}
	v.wasVoters = nil
	if !v.seen || v.cut || v.base != base || slices.ContainsFunc(v.fresh, func(e raft.Entry) bool { return e.Type == raft.EntryConfig }) {
		v.wasVoters, v.voters = v.voters, c.Status().Config.Voters()
	}
	v.seen = true
	v.age++
}

// verifyEvery is how many events of a host lie between two looks of the core
// at itself, which walk the whole log. Each change of role has one too.
const verifyEvery = 16

// step looks at a host after one of its events.
func (r *rules) step(h *host) {
	v := &h.view
	v.look(h.core())
	if v.role != v.was.role || v.age%verifyEvery == 0 {
		h.core().Verify()
	}
	r.commit(h)
	for _, k := range r.all {
		if k.step != nil {
			k.checks++
			k.step(h)
		}
	}
	h.mended()
	h.aim()
}

// commit lets the truth grow by what a leader commits. Everything else that a
// node commits must be there.
func (r *rules) commit(h *host) {
	v, t := &h.view, &r.w.truth
	term := v.term
	if v.role != raft.Leader && v.was.role == raft.Leader {
		term = v.was.term // it committed, and stepped down in the same turn
	}
	known := len(t.log)
	for i := range v.done {
		e := &v.done[i]
		sum := sumEntry(e)
		if f := t.at(e.Index); f != nil {
			if f.EntryID != e.EntryID || f.sum != sum {
				r.broken("state machine safety", "node %v commits %v, entry %v was committed there (raft paper figure 3)", h.id, e.EntryID, f.EntryID)
			}
			continue
		}
		if v.role != raft.Leader && v.was.role != raft.Leader {
			r.broken("state machine safety", "%v %v commits %v, which no leader has committed (raft paper figure 3)", v.role, h.id, e.EntryID)
		}
		t.log = append(t.log, fact{EntryID: e.EntryID, sum: sum, term: term, time: e.Time})
	}
	if known == len(t.log) {
		return
	}
	for i := known; i < len(t.log); i++ {
		f, e := &t.log[i], &v.done[t.log[i].Index-v.done[0].Index]
		for _, k := range r.all {
			if k.committed != nil {
				k.checks++
				k.committed(h, f, e)
			}
		}
	}
	top := &t.log[len(t.log)-1]
	voters := v.voters
	if v.wasVoters != nil && r.w.onDisk(voters, top.EntryID) <= len(voters)/2 {
		// It counted before it appended a change in the same turn, or before it stepped down
		// and its log was cut back. No third one can hide in a turn: operators are heard behind messages.
		voters = v.wasVoters
	}
	t.voters = voters
	for _, k := range r.all {
		if k.counted != nil {
			k.checks++
			k.counted(h, top, voters)
		}
	}
}

func (r *rules) started(h *host) {
	for _, k := range r.all {
		if k.started != nil {
			k.checks++
			k.started(h)
		}
	}
}

func (r *rules) write(h *host, x *raft.Write) {
	for _, k := range r.all {
		if k.write != nil {
			k.checks++
			k.write(h, x)
		}
	}
}

func (r *rules) stored(h *host) {
	for _, k := range r.all {
		if k.stored != nil {
			k.checks++
			k.stored(h)
		}
	}
}

func (r *rules) sent(h *host, m *raft.Message) {
	for _, k := range r.all {
		if k.sent != nil {
			k.checks++
			k.sent(h, m)
		}
	}
}

func (r *rules) received(h *host, m *raft.Message) {
	for _, k := range r.all {
		if k.received != nil {
			k.checks++
			k.received(h, m)
		}
	}
}

func (r *rules) handled(h *host, m *raft.Message) {
	for _, k := range r.all {
		if k.handled != nil {
			k.handled(h, m)
		}
	}
}

func (r *rules) gone(h *host) {
	for _, k := range r.all {
		if k.gone != nil {
			k.gone(h)
		}
	}
}

func (r *rules) snapshot(h *host, meta raft.SnapshotMeta) {
	for _, k := range r.all {
		if k.snapshot != nil {
			k.checks++
			k.snapshot(h, meta)
		}
	}
}

// unchanged: what was handed out is immutable.
func (r *rules) unchanged(m *raft.Message, sums uint64) {
	if entrySums(m.Entries) != sums {
		r.broken("immutable entries", "entries of a message changed after it was sent: %v", *m)
	}
}

// applied is told by the state machine.
func (r *rules) applied(h *host, e *raft.Entry, result []byte) {
	t := &r.w.truth
	f := t.at(e.Index)
	if f == nil || f.EntryID != e.EntryID || f.sum != sumEntry(e) {
		r.broken("state machine safety", "node %v applies %v, which is not what was committed there: %v (raft paper figure 3)", h.id, e.EntryID, f)
	}
	if !f.applied {
		f.result, f.applied = xxh3.Hash(result), true
		if wrong := t.run(e, result); wrong != "" {
			rule := "results"
			if len(e.Data) > 0 && statemachine.Op(e.Data[0]) == statemachine.OpOnce {
				rule = "session results exactly once"
			}
			r.broken(rule, "entry %v of %q: %s: %q", e.EntryID, e.Data, wrong, result)
		}
		r.w.note(uint64(e.Index) ^ f.result)
	}
	right := f.hashed && h.machine.Hash() == f.hash
	switch {
	case h.drive.rotten && !right:
		h.wrongAt = e.Index
	case right && !h.drive.wrong && (h.saving == nil || h.saving.ended):
		h.drive.rotten = false // a snapshot has replaced its state, or what was wrong has been removed
	}
	if !f.hashed && !h.drive.rotten {
		f.hash, f.hashed = h.machine.Hash(), true
		r.w.note(uint64(f.hash[0]))
	}
	for _, k := range r.all {
		if k.applied != nil {
			k.checks++
			k.applied(h, f, e, result)
		}
	}
}

func (r *rules) replied(o *op, p *node.Reply) {
	r.w.note(uint64(o.n)<<8 ^ uint64(p.Outcome) ^ uint64(p.Index)<<32)
	for _, k := range r.all {
		if k.replied != nil {
			k.checks++
			k.replied(o, p)
		}
	}
}

func (r *rules) watched(x *watcher, e *feed.Event) {
	for _, k := range r.all {
		if k.watched != nil {
			k.checks++
			k.watched(x, e)
		}
	}
}

func (r *rules) atEnd() {
	for _, k := range r.all {
		if k.end != nil {
			k.checks++
			k.end()
		}
	}
}

// counted puts into the counts how often each rule was asked.
func (r *rules) counted() {
	for _, k := range r.all {
		r.w.count.Checks[k.name] += k.checks
	}
}

// onDisk counts the voters whose disk holds an entry. One that was made to
// forget counts as if it had not: it may not vote until it knows again.
func (w *world) onDisk(voters []raft.NodeID, id raft.EntryID) int {
	n := 0
	for _, v := range voters {
		if h := w.host(v); h != nil && (h.drive.ghost || h.holds(id)) {
			n++
		}
	}
	return n
}

// holds tells whether a crash would leave this entry, in the log or in a snapshot.
func (h *host) holds(id raft.EntryID) bool {
	return id.Index <= h.durable.Last.Index || h.disk.Holds(id)
}
