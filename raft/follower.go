package raft

import "fmt"

// follow is what a node knows as the follower of one leader. It belongs to one term.
type follow struct {
	matched Index   // up to here the log in memory equals the leader's; at least commit
	echo    uint64  // highest read round of the leader
	wanted  Index   // the leader's commit, as far as it was heard
	owed    bool    // a reply is owed
	told    Index   // Match of the last reply
	reject  bool    // the owed reply says that prev is not in the log
	prev    EntryID // with reject
	hint    EntryID // with reject

	offer   *SnapshotMeta // the leader's offer, to be fetched when there is room
	fetch   EntryID       // being fetched
	fetched uint64        // bytes of it that are here
}

// heardFrom notes that a leader of this term is there. It is false if the
// message can't be: only one node leads a term.
func (r *Raft) heardFrom(m Message) bool {
	if r.role == Leader || r.leader != None && r.leader != m.From {
		return false
	}
	if r.role != Follower {
		r.role = Follower
		r.election = election{}
	}
	if r.leader != m.From {
		r.leader, r.reason = m.From, fmt.Sprintf("node %v leads", m.From)
	}
	r.heard, r.fastBid = 0, 0
	r.resetTimer()
	if m.ToBoot == r.cfg.Boot && r.fenceEnd == 0 {
		r.fenceEnd = max(m.Last.Index, 1)
	}
	return true
}

// onAppend takes the leader's entries (raft paper 5.3, receiver implementation in figure 2).
func (r *Raft) onAppend(m Message) {
	if !r.heardFrom(m) {
		return
	}
	f := &r.follow
	owed := f.owed || m.Round > f.echo
	f.owed = true
	f.echo = max(f.echo, m.Round)
	f.wanted = max(f.wanted, m.Commit)

	// Every leader holds what is committed: entries up to there need no look.
	prev, entries := m.Prev, m.Entries
	if prev.Index < r.commit {
		skip := min(r.commit-prev.Index, Index(len(entries)))
		entries = entries[skip:]
		if len(entries) == 0 {
			// All of it is committed here; an empty append below commit says nothing of
			// what lies above.
			r.advanceFollower(r.commit, m.Commit)
			return
		}
		t, _ := r.log.term(r.commit)
		prev = EntryID{t, r.commit}
		if entries[0].Term < t {
			return // no leader holds that behind what is committed
		}
	}
	if !r.log.has(prev) {
		f.reject, f.prev = true, m.Prev
		f.hint = r.log.agreeing(m.Prev)
		return
	}
	f.reject = false
	last := prev.Index
	if !r.mayTake() {
		entries, owed = entries[:takeable(entries)], true
	}
	for i, e := range entries {
		if !r.log.has(e.EntryID) {
			r.replaceFrom(e.Index, entries[i:])
			last = entries[len(entries)-1].Index
			// What is new here is acknowledged once the disk has it: that reply says all
			// that one of now would. If the disk takes long, heartbeats are answered.
			f.owed = owed
			break
		}
		last = e.Index
	}
	r.advanceFollower(last, m.Commit)
}

// mayTake tells whether there is room for commands, on the disk and in memory.
func (r *Raft) mayTake() bool { return !r.full && r.log.bytes < r.cfg.MaxRetainedBytes }

// takeable counts the leading entries that even a full node takes: what
// elections and membership need.
func takeable(entries []Entry) int {
	for i, e := range entries {
		if e.Type == EntryCommand {
			return i
		}
	}
	return len(entries)
}

// replaceFrom cuts the log at i, if it is that long, and appends entries.
func (r *Raft) replaceFrom(i Index, entries []Entry) {
	if i <= r.log.last().Index {
		assert(i > r.commit, "truncation from %d, commit is %d", i, r.commit)
		r.log.truncate(i)
		r.w.cut(i)
		r.dropConfigs(i)
		r.follow.matched = min(r.follow.matched, i-1)
	}
	for _, e := range entries {
		r.log.append(e)
		if err := r.adoptConfig(e); err != nil {
			panic("raft: " + err.Error()) // wellFormed has decoded it
		}
	}
}

// advanceFollower notes that the log equals the leader's up to matched.
func (r *Raft) advanceFollower(matched, leaderCommit Index) {
	f := &r.follow
	f.matched = max(f.matched, matched)
	r.commit = max(r.commit, min(leaderCommit, f.matched))
	r.tryLiftFence()
}

// onOffer takes note of a snapshot that the leader offers because it no longer
// has the entries that this node needs (raft paper 7; the node pulls it).
func (r *Raft) onOffer(m Message) {
	if !r.heardFrom(m) {
		return
	}
	f := &r.follow
	f.owed = true
	f.echo = max(f.echo, m.Round)
	s := m.Snapshot
	switch {
	case r.refetch:
		if r.wants(*s) {
			f.offer = s
		}
	case s.Last.Index <= r.commit:
		r.advanceFollower(r.commit, m.Commit)
	case r.log.has(s.Last):
		// What a snapshot contains is committed, so the log agrees with the leader's up to there.
		r.advanceFollower(s.Last.Index, max(m.Commit, s.Last.Index))
	default:
		f.offer = s
	}
}

// install hands an offer to the driver, if it is still wanted.
func (r *Raft) install() *Install {
	s := r.follow.offer
	if s == nil || r.role != Follower || r.leader == None {
		return nil
	}
	r.follow.offer = nil
	if !r.wants(*s) {
		return nil
	}
	r.follow.fetch, r.follow.fetched = s.Last, 0
	return &Install{From: r.leader, Meta: *s}
}

// wants tells whether a snapshot would bring this node forward.
func (r *Raft) wants(s SnapshotMeta) bool {
	if r.refetch {
		return s.Last.Index >= r.stateFrom
	}
	return s.Last.Index > r.commit
}

// Fetching tells how many bytes of an offered snapshot are here.
func (r *Raft) Fetching(s EntryID, bytes uint64) {
	if bytes > r.follow.fetched || s != r.follow.fetch {
		r.follow.fetch, r.follow.fetched = s, bytes
		r.follow.owed = true
	}
}

// Installed tells that a fetched snapshot is durable. It returns true if the
// state machine must be replaced by it, before anything of a later Output.Committed is applied.
func (r *Raft) Installed(s SnapshotMeta) (replace bool) {
	r.follow.fetch, r.follow.fetched = EntryID{}, 0
	if r.role == Leader || r.role == Candidate || !r.wants(s) {
		return false
	}
	if r.role == PreCandidate {
		// Its bid counts by a configuration that may be another one in a moment.
		r.role, r.reason = Follower, fmt.Sprintf("took the snapshot up to %v", s.Last)
		r.election = election{}
	}
	r.follow.owed = true
	if r.log.has(s.Last) {
		return r.installedBelow(s)
	}
	r.log = raftLog{base: s.Last, baseTime: s.Time}
	// A truncation from the first index: writes in flight prove nothing any more,
	// the Reset write proves the snapshot's index.
	r.w.cut(1)
	r.w.base, r.w.reset = s.Last, true
	r.configs = []configAt{{s.Last.Index, s.Config}}
	r.snapshot, r.compact, r.refetch, r.stateFrom = s, nil, false, 0
	r.commit, r.handed = max(r.commit, s.Last.Index), s.Last.Index
	r.follow.matched = r.commit
	return true
}

// installedBelow takes a snapshot that the log reaches beyond: the suffix stays.
func (r *Raft) installedBelow(s SnapshotMeta) (replace bool) {
	if r.refetch {
		r.refetch, r.stateFrom = false, 0
		r.handed, r.applied = s.Last.Index, s.Last.Index
		r.commit = max(r.commit, s.Last.Index)
		r.rebaseConfigs(s)
		if s.Last == r.log.base {
			r.log.baseTime = s.Time // unknown as long as the snapshot was lost
		}
		replace = true
	}
	r.commit = max(r.commit, s.Last.Index)
	r.follow.matched = max(r.follow.matched, s.Last.Index)
	r.Compact(s, s.Last.Index+1)
	return replace
}

// followerReply tells the leader what is on this disk, what in memory, and
// echoes its round. All three are promises: they wait until the term is durable.
func (r *Raft) followerReply(out []Message) []Message {
	f := &r.follow
	match := min(f.matched, r.w.stable)
	if r.role != Follower || r.leader == None || r.w.durable.term != r.term || !f.owed && match <= f.told {
		return out
	}
	m := Message{
		Kind: MsgAppendReply, To: r.leader, Term: r.term, Match: match, Have: f.matched, Round: f.echo,
		Last: r.log.last(), Fetch: f.fetch, Fetched: f.fetched, Full: !r.mayTake(), Low: r.low, Refetch: r.refetch,
	}
	if f.reject && !r.log.has(f.prev) {
		m.Reject, m.Prev, m.Hint = true, f.prev, f.hint
	}
	f.owed, f.reject, f.told = false, false, match
	return append(out, m)
}
