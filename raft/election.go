package raft

import (
	"fmt"
	"slices"
)

// election is what a pre-candidate or candidate knows of its bid.
//
// A bid goes through three gates: a majority would vote (pre-vote, thesis 9.6),
// the own term and vote are durable, and the log that the request names is on
// the disk. Only then are votes asked for.
type election struct {
	votes    []NodeID // granted so far
	asked    bool     // candidate: the gates are passed and the request was made
	last     EntryID  // end of the log as the request says
	due      bool     // ask those who have not granted, now
	transfer bool     // the leader asked for it
	beat     int      // ticks since asked last
}

// mayCampaign tells whether this node may stand: it votes by its latest
// configuration or by the last committed one (thesis 4.2.2), and nothing says
// that its disk can't carry a promise.
func (r *Raft) mayCampaign() bool {
	return r.fence == FenceNone && !r.refetch && r.hung == 0 &&
		(r.config().IsVoter(r.cfg.ID) || r.committedConfig().IsVoter(r.cfg.ID))
}

func (r *Raft) electionTick() {
	if !r.mayCampaign() {
		r.elapsed = 0
		if r.role == PreCandidate {
			r.role, r.reason = Follower, "may not stand at present"
			r.election = election{}
		}
		return
	}
	if r.fastBid > 0 {
		if r.fastBid--; r.fastBid == 0 && r.role == Follower {
			r.preCampaign()
			return
		}
	}
	if r.role == Candidate && !r.election.asked {
		return // its own disk is what it waits for
	}
	if r.elapsed++; r.timedOut() {
		if r.role == Follower {
			r.reason = fmt.Sprintf("no leader heard for %d ticks", r.elapsed)
		}
		r.preCampaign()
		return
	}
	if e := &r.election; r.role != Follower {
		if e.beat++; e.beat >= r.cfg.HeartbeatTicks {
			e.beat, e.due = 0, true
		}
	}
}

// preCampaign asks whether a majority would vote for this node. Nothing that
// must be remembered changes.
func (r *Raft) preCampaign() {
	r.role, r.leader = PreCandidate, None
	r.election = election{due: true}
	r.fastBid = 0
	r.resetTimer()
	r.countSelf()
	if r.elected() {
		r.campaign(false)
	}
}

// campaign enters the next term and votes for itself. The request leaves later:
// ask waits for the disk.
func (r *Raft) campaign(transfer bool) {
	r.term++
	r.vote = r.cfg.ID
	r.voteOwed = owedVote{}
	r.role, r.leader = Candidate, None
	r.election = election{transfer: transfer}
	r.follow = follow{matched: r.commit}
	r.fenceEnd, r.fastBid = 0, 0
	r.resetTimer()
}

// ask makes the vote request once the disk knows this term, this vote and the whole log. Quorum
// or not, nobody leads a term that its disk does not know: it could crash, win
// the same term again, and write a second log in it.
func (r *Raft) ask() {
	d := r.w.durable
	if r.role != Candidate || r.election.asked || d.term != r.term || d.vote != r.cfg.ID || r.w.stable != r.log.last().Index {
		return
	}
	r.election.asked, r.election.due = true, true
	r.election.last = r.log.last()
	r.resetTimer()
	r.countSelf()
	if r.elected() {
		r.becomeLeader()
	}
}

// countSelf adds the own vote, if the latest configuration has one for us.
func (r *Raft) countSelf() {
	if r.config().IsVoter(r.cfg.ID) {
		r.election.votes = append(r.election.votes, r.cfg.ID)
	}
}

// grantedBy counts the vote of a voter, once.
func (r *Raft) grantedBy(id NodeID) {
	if r.config().IsVoter(id) && !slices.Contains(r.election.votes, id) {
		r.election.votes = append(r.election.votes, id)
		slices.Sort(r.election.votes)
	}
}

func (r *Raft) elected() bool {
	return len(r.election.votes) >= quorum(r.config().voters())
}

// onPreVote says whether a vote would be granted. It changes nothing here.
func (r *Raft) onPreVote(m Message) {
	granted := m.Term > r.term && !r.sticky() && r.fence == FenceNone && !m.Last.olderThan(r.log.last())
	term := r.term
	if granted {
		term = m.Term // of the vote that it stands for
	}
	r.answer(Message{Kind: MsgPreVoteReply, To: m.From, Term: term, Granted: granted})
}

func (r *Raft) onPreVoteGranted(m Message) {
	if r.role != PreCandidate || m.Term != r.term+1 {
		return
	}
	r.grantedBy(m.From)
	if r.elected() {
		r.campaign(false)
	}
}

// onVote answers a candidate of our own term (raft paper 5.2 and 5.4.1).
// Receive has already dealt with older and newer terms.
func (r *Raft) onVote(m Message) {
	granted := (r.vote == None || r.vote == m.From) && r.fence == FenceNone && !m.Last.olderThan(r.log.last())
	if !granted {
		r.answer(Message{Kind: MsgVoteReply, To: m.From, Term: r.term})
		return
	}
	if r.role == PreCandidate {
		r.role, r.reason = Follower, fmt.Sprintf("voted for node %v", m.From)
		r.election = election{}
	}
	r.vote = m.From
	r.fastBid = 0
	r.resetTimer()
	// No reply yet. A vote is a promise that must outlive a crash, or this node
	// could vote twice in one term: Output answers once durable.vote is the candidate.
	r.voteOwed = owedVote{m.From, m.Last}
}

func (r *Raft) onVoteReply(m Message) {
	if r.role != Candidate || !r.election.asked || !m.Granted {
		return
	}
	r.grantedBy(m.From)
	if r.elected() {
		r.becomeLeader()
	}
}

// onTimeoutNow makes this node stand at once, because its leader wants to hand
// over (thesis 3.10). Pre-vote is skipped; the gate of the disk is not.
func (r *Raft) onTimeoutNow(m Message) {
	if r.role != Follower || !r.mayCampaign() || r.leader != m.From && r.leader != None {
		return
	}
	r.reason = fmt.Sprintf("leader %v hands over", m.From)
	r.campaign(true)
}

// electionMessages asks those voters that have not granted yet.
func (r *Raft) electionMessages(out []Message) []Message {
	if o := r.voteOwed; o.to != None && r.w.durable.term == r.term && r.w.durable.vote == o.to {
		if !o.last.olderThan(r.log.last()) && r.fence == FenceNone {
			out = append(out, Message{Kind: MsgVoteReply, To: o.to, Term: r.term, Granted: true})
		}
		r.voteOwed = owedVote{}
	}
	e := &r.election
	if !e.due || r.role != PreCandidate && r.role != Candidate {
		return out
	}
	e.due = false
	m := Message{Kind: MsgPreVote, Term: r.term + 1, Last: r.log.last()}
	if r.role == Candidate {
		m = Message{Kind: MsgVote, Term: r.term, Last: e.last, Transfer: e.transfer}
	}
	for _, id := range r.config().Voters() {
		if id != r.cfg.ID && !slices.Contains(e.votes, id) {
			m.To = id
			out = append(out, m)
		}
	}
	return out
}
