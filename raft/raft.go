package raft

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
)

// Raft is one node's part of the protocol. It is a value without clock,
// goroutine or I/O; its owner calls it from one goroutine. Inputs change its
// fields, Output derives from them what to send, write and apply.
type Raft struct {
	cfg  Config
	rand rand.PCG

	// What a node must not forget. What of it the disk has confirmed stands in w.
	term  Term
	vote  NodeID
	fence Fence
	log   raftLog
	w     writes

	role    Role
	leader  NodeID
	commit  Index // highest index known to be committed
	handed  Index // highest index given to the applier
	applied Index // highest index that it has applied

	configs  []configAt   // ascending; the first one holds at the log's base
	snapshot SnapshotMeta // newest durable one, to offer to others; Last is zero with none
	compact  *compaction  // waits until the disk and the applier are there
	refetch  bool         // no usable snapshot at or above the log's base: apply nothing

	stateFrom Index // with refetch: what a snapshot must reach

	// Timers, in ticks.
	now      uint64
	elapsed  int // since the election timer was reset
	timeout  int // elapsed at which to stand, this time; slow writes stretch it, see timedOut
	heard    int // since this term's leader was heard; stickiness while below an election timeout
	beat     int // since the last heartbeat
	behind   int // how long the own disk has been behind a majority without it
	hung     uint64
	fastBid  int // ticks until a bid because the leader's process is gone, or this one is new; 0 is none
	fenceEnd Index

	election election
	follow   follow
	lead     lead

	voteOwed  owedVote
	answers   []Message // refusals, leaving at once
	outbox    []Message // of the last Output: room for the next
	lost      []uint64
	full      bool
	low       bool
	forgotten int // members that came back with less than they had acknowledged
	softSent  Soft
	reason    string
}

// owedVote is a vote to be told once it is durable.
type owedVote struct {
	to   NodeID
	last EntryID // the end of the candidate's log, as its request said
}

// maxAnswers bounds the refusals between two calls of Output.
const maxAnswers = 2 * maxMembers

// New makes a core from what the disk holds. It refuses a configuration that is
// out of bounds, a log that does not hang together, and a sole voter that is
// fenced (ErrFenced) or has no state (ErrNoState).
func New(cfg Config, d Durable) (*Raft, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	r := &Raft{
		cfg:      cfg,
		rand:     *rand.NewPCG(cfg.Seed, uint64(cfg.ID)),
		term:     d.State.Term,
		vote:     d.State.Vote,
		fence:    d.Fence,
		snapshot: d.Snapshot,
		log:      raftLog{base: d.Base},
		heard:    cfg.ElectionTicks,
		reason:   "start",
	}
	prev := d.Base
	for i := range d.Entries {
		e := &d.Entries[i]
		if e.Index != prev.Index+1 || e.Term < prev.Term {
			return nil, fmt.Errorf("log does not hang together: entry %v behind %v", e.EntryID, prev)
		}
		r.log.bytes += e.size()
		prev = e.EntryID
	}
	r.log.load(d.Entries)
	r.w = writes{seq: d.Seq, done: d.Seq, stable: prev.Index, handed: prev.Index}
	r.w.durable = promise{r.term, r.vote, r.fence}
	r.w.given = r.w.durable
	if err := r.adoptSnapshot(d.Snapshot, d.Refetch); err != nil {
		return nil, err
	}
	if t := max(r.log.last().Term, r.snapshot.Last.Term); t > r.term {
		r.term, r.vote = t, None
	}
	r.commit = max(r.handed, min(d.State.Commit, r.log.last().Index))
	if r.refetch {
		r.commit = max(r.log.base.Index, r.commit)
	}
	// With d.Refetch others are known to be there: it was their majority that found this state wrong.
	alone := r.config().IsVoter(cfg.ID) && len(r.config().Voters()) == 1 && d.Refetch == 0
	if alone && r.fence != FenceNone {
		return nil, ErrFenced
	}
	if alone && r.refetch {
		return nil, fmt.Errorf("the log starts at entry %d and no snapshot reaches %d: %w", r.log.base.Index+1, r.stateFrom, ErrNoState)
	}
	r.follow.matched = r.commit
	r.resetTimer()
	r.fastBid = cfg.StartTicks * (1 + r.rank(None))
	r.softSent = Soft{Role: r.role, Term: r.term, Leader: r.leader}
	return r, nil
}

// ErrFenced means that the disk of the only voter may have forgotten a write:
// nobody can tell what. Restore it from a backup.
var ErrFenced = errors.New("the disk of the only voter may have forgotten a write")

// ErrNoState means that a node has a log without the state that it starts from, and
// as far as it can tell it is the only voter, with nobody to fetch it from. What it can tell may
// be old: the lost snapshot may have named others.
var ErrNoState = errors.New("the only voter, as far as this node can tell, has lost its state")

// adoptSnapshot fits the newest complete snapshot and the log of a starting
// node together. The log is dropped only if it ends before the snapshot or
// holds another term at its place.
func (r *Raft) adoptSnapshot(s SnapshotMeta, refetch Index) error {
	base := r.log.base
	r.log.baseTime = s.Time
	switch {
	case refetch > 0, s.Last.Index < base.Index:
		// Compaction waits for a durable snapshot, so this one is gone or damaged.
		// Or it was set aside, and what the log makes of the birth is wrong as well.
		// The log and the vote still count; the state must come from others.
		r.refetch, r.stateFrom = true, max(refetch, base.Index)
		r.handed, r.applied = base.Index, base.Index
	case r.log.has(s.Last):
		r.handed, r.applied = s.Last.Index, s.Last.Index
	default:
		r.log = raftLog{base: s.Last, baseTime: s.Time}
		r.handed, r.applied = s.Last.Index, s.Last.Index
		r.w.cut(1)
		r.w.base, r.w.reset = s.Last, true
	}
	r.configs = []configAt{{s.Last.Index, s.Config}}
	for i := max(s.Last.Index, r.log.base.Index) + 1; i <= r.log.last().Index; i++ {
		if err := r.adoptConfig(*r.log.at(i)); err != nil {
			return err
		}
	}
	return nil
}

// Tick tells that one tick of time has passed.
func (r *Raft) Tick() {
	r.now++
	r.w.tick()
	r.heard = min(r.heard+1, r.cfg.ElectionTicks)
	if r.role == Leader {
		r.leaderTick()
		return
	}
	r.electionTick()
}

// Receive takes a message of another core. Any message may come, at any time,
// in any order, more than once; one that makes no sense changes nothing.
func (r *Raft) Receive(m Message) {
	if m.To != r.cfg.ID || m.From == None || m.From == r.cfg.ID || !wellFormed(m) || r.AbsurdTerm(m.Term) {
		return
	}
	switch m.Kind {
	case MsgPreVote: // carries a term that nobody has yet
		r.onPreVote(m)
		return
	case MsgPreVoteReply:
		if m.Granted {
			r.onPreVoteGranted(m)
			return
		}
	case MsgVote:
		if m.Term > r.term && r.sticky() && !m.Transfer {
			return // a leader is there: no disruption (thesis 4.2.3)
		}
	}
	if m.Term > r.term {
		r.becomeFollower(m.Term, None, fmt.Sprintf("node %v is at term %d", m.From, m.Term))
	}
	if m.Term < r.term {
		r.onOldTerm(m)
		return
	}
	switch m.Kind {
	case MsgAppend:
		r.onAppend(m)
	case MsgOffer:
		r.onOffer(m)
	case MsgAppendReply:
		r.onAppendReply(m)
	case MsgVote:
		r.onVote(m)
	case MsgVoteReply:
		r.onVoteReply(m)
	case MsgTimeoutNow:
		r.onTimeoutNow(m)
	}
}

// absurd is far beyond every term and index that a cluster reaches, and far
// enough from the end of the numbers for sums.
const absurd = 1 << 62

// termJump is how far another node may be ahead of this one. A cluster makes some tens of
// terms a second at worst: that many take years. Who claims more lies, or its memory does; to
// believe it twice, or once the right number, would bring all nodes to the last term, and none could stand any more.
const termJump = 1 << 32

// AbsurdTerm tells whether t is a term that this node does not believe from anybody:
// Receive does nothing with a message of it. A node that knows no term yet has none to
// compare with, and takes any below the end of the numbers.
func (r *Raft) AbsurdTerm(t Term) bool { return t >= absurd || r.term > 0 && t > r.term+termJump }

// wellFormed refuses messages that no core of ours sends.
func wellFormed(m Message) bool {
	if max(m.Prev.Index, m.Commit, m.Last.Index, m.Match, m.Have, m.Hint.Index) >= absurd {
		return false
	}
	prev := m.Prev
	for _, e := range m.Entries {
		if e.Term == 0 || e.Index != prev.Index+1 || e.Term < prev.Term || e.Term > m.Term || e.Type < EntryNoop || e.Type > EntryConfig {
			return false
		}
		if e.Type == EntryConfig {
			if _, err := DecodeConfiguration(e.Data); err != nil {
				return false
			}
		}
		prev = e.EntryID
	}
	if m.Kind == MsgOffer {
		return m.Snapshot != nil && m.Snapshot.Last.Index > 0 && m.Snapshot.Last.Index < absurd && m.Snapshot.Last.Term > 0 && m.Snapshot.Last.Term <= m.Term
	}
	return m.Term > 0 && prev.Term <= m.Term
}

// onOldTerm answers a message of a lower term with the own one, so that its
// sender steps down. Replies are not answered.
func (r *Raft) onOldTerm(m Message) {
	switch m.Kind {
	case MsgAppend, MsgOffer:
		r.answer(Message{Kind: MsgAppendReply, To: m.From, Term: r.term, Reject: true, Prev: m.Prev})
	case MsgVote:
		r.answer(Message{Kind: MsgVoteReply, To: m.From, Term: r.term})
	}
}

// answer queues a refusal. It makes no promise and so leaves at once.
func (r *Raft) answer(m Message) {
	if len(r.answers) < maxAnswers {
		r.answers = append(r.answers, m)
	}
}

// becomeFollower enters a term, or stays in it, without leading or standing.
func (r *Raft) becomeFollower(term Term, leader NodeID, reason string) {
	assert(term >= r.term, "term goes back from %d to %d", r.term, term)
	if term > r.term {
		r.term, r.vote = term, None
		r.voteOwed = owedVote{}
		r.heard = r.cfg.ElectionTicks // the leader of another term does not count
		r.fenceEnd = 0
	}
	if r.role == Leader {
		r.dropReads()
		r.resetTimer()
	}
	r.role, r.leader, r.reason = Follower, leader, reason
	r.election, r.lead = election{}, lead{}
	// What was matched and echoed belongs to one term. Every leader holds what is
	// committed, so that much matches.
	r.follow = follow{matched: r.commit}
	r.fastBid = 0
}

// sticky tells whether a leader was heard within an election timeout. A leader hears itself.
func (r *Raft) sticky() bool {
	return r.role == Leader || r.leader != None && r.heard < r.cfg.ElectionTicks
}

// resetTimer starts the election timer anew, with fresh jitter.
func (r *Raft) resetTimer() {
	r.elapsed = 0
	r.timeout = r.cfg.ElectionTicks + int(r.rand.Uint64()%uint64(r.cfg.ElectionTicks))
}

// timedOut tells whether it is time to stand. Slow disks make everybody slower to
// stand, because a vote needs a write.
func (r *Raft) timedOut() bool { return r.elapsed >= r.timeout+min(4*r.w.slow(), slowMost) }

// Unreachable tells that a node's connection was reset and redialling refused:
// its process is gone. A follower of it stops being loyal and makes a bid, in
// the order of the voters' ids so that they don't split the vote.
func (r *Raft) Unreachable(id NodeID) {
	if r.role != Follower || id != r.leader || !r.mayCampaign() {
		return
	}
	r.heard = r.cfg.ElectionTicks
	rank := r.rank(id)
	r.reason = fmt.Sprintf("the process of leader %v is gone", id)
	if rank == 0 {
		r.preCampaign()
		return
	}
	r.fastBid = 3 * rank
}

// rank is this node's place among the voters in the order of their ids, from 0 on, one left out.
func (r *Raft) rank(without NodeID) int {
	n := 0
	for _, v := range r.config().Voters() {
		if v < r.cfg.ID && v != without {
			n++
		}
	}
	return n
}

// Propose appends data to the leader's log; now is the log time to stamp on it.
// Errors: *NotLeaderError, ErrBusy, ErrTransfer, ErrNoSpace; with each of them
// nothing was taken.
func (r *Raft) Propose(data []byte, now Time) (EntryID, error) {
	if err := r.mayPropose(len(data) + entryOverhead); err != nil {
		return EntryID{}, err
	}
	return r.appendOwn(EntryCommand, data, now), nil
}

func (r *Raft) mayPropose(size int) error {
	switch {
	case r.role != Leader:
		return &NotLeaderError{r.leader}
	case r.lead.transfer != None:
		return ErrTransfer
	case r.shortOfSpace():
		return ErrNoSpace
	case r.lead.uncommitted > 0 && r.lead.uncommitted+size > r.cfg.MaxUncommittedBytes:
		return ErrBusy
	case r.log.bytes > 0 && r.log.bytes+size > r.cfg.MaxRetainedBytes:
		return ErrBusy
	}
	return nil
}

// appendOwn appends an entry of the leader's term to its log.
func (r *Raft) appendOwn(t EntryType, data []byte, now Time) EntryID {
	e := Entry{EntryID: EntryID{r.term, r.log.last().Index + 1}, Type: t, Time: max(now, r.log.lastTime()), Data: data}
	r.log.append(e)
	r.lead.uncommitted += e.size()
	r.lead.appended += uint64(e.size())
	return e.EntryID
}

// SetFull tells whether this node's disk is short of space: it takes no
// commands then, only what elections and membership need.
func (r *Raft) SetFull(full bool) { r.full = full }

// SetLow tells whether this node's disk is short of space, before it is full. It
// goes on as before; leaders learn of it, see LowSpace.
func (r *Raft) SetLow(low bool) {
	r.low = low
	r.countLow()
}

// SetFence raises the fence, for instance when a peer has heard more of this
// node than its disk knows. The next Write stores it. A leader steps down.
func (r *Raft) SetFence(f Fence) {
	if f <= r.fence {
		return
	}
	r.fence = f
	if r.role != Follower {
		r.becomeFollower(r.term, None, "fenced: the disk may have forgotten a promise")
	}
}

// tryLiftFence ends a fence of one write: everything that a leader had when it
// heard of this boot is on the disk, so what was forgotten is known again.
func (r *Raft) tryLiftFence() {
	if r.fence == FenceOneBack && r.fenceEnd > 0 && min(r.follow.matched, r.w.stable) >= r.fenceEnd {
		r.fence, r.fenceEnd = FenceNone, 0
	}
}

// Applied tells that entries up to i are applied, i at most what Output handed out.
func (r *Raft) Applied(i Index) {
	if i > r.handed {
		assert(false, "applied %d, handed %d", i, r.handed)
	}
	r.applied = max(r.applied, i)
	r.tryCompact()
}

// Clone copies the core, so that a model checker can go on from here twice.
func (r *Raft) Clone() *Raft {
	c := *r
	c.log = r.log.clone()
	c.w.flight = slices.Clone(r.w.flight)
	c.configs = slices.Clone(r.configs)
	if r.compact != nil {
		k := *r.compact
		c.compact = &k
	}
	c.election.votes = slices.Clone(r.election.votes)
	if r.follow.offer != nil {
		o := *r.follow.offer
		c.follow.offer = &o
	}
	c.lead.windows = slices.Clone(r.lead.windows)
	for i := range c.lead.windows {
		c.lead.windows[i].sent = slices.Clone(r.lead.windows[i].sent)
	}
	c.lead.reads = slices.Clone(r.lead.reads)
	c.lead.ready = slices.Clone(r.lead.ready)
	c.answers = slices.Clone(r.answers)
	c.lost = slices.Clone(r.lost)
	c.outbox = nil
	return &c
}
