package raft

import (
	"fmt"
	"slices"
)

// lead is what a leader knows in its term.
type lead struct {
	windows     []window // of the other members, ascending by id
	noop        Index    // the first entry of this term
	uncommitted int      // bytes above commit
	appended    uint64   // bytes appended in this term

	round     uint64 // newest read round opened
	confirmed uint64 // newest read round that a majority echoed
	reads     []read // waiting, in order of their rounds; round 0 joins the next
	ready     []ReadReady

	transfer      NodeID // leadership goes to it
	transferTicks int
	transferAsked bool // TimeoutNow was sent since the last heartbeat
	leaving       bool // the committed configuration is without us
	low           bool // too few voters have room on their disks, see countLow
}

// becomeLeader starts to lead. Only ask and onVoteReply call it, behind the gate of the disk.
func (r *Raft) becomeLeader() {
	assert(r.role == Candidate, "%v becomes leader", r.role)
	assert(r.w.durable.term == r.term && r.w.durable.vote == r.cfg.ID, "leads term %d, durable is term %d", r.term, r.w.durable.term)
	r.role, r.leader = Leader, r.cfg.ID
	r.reason = fmt.Sprintf("elected by %v", r.election.votes)
	r.election = election{}
	r.beat, r.behind = 0, 0
	r.lead = lead{uncommitted: r.log.bytesAbove(r.commit)}
	r.fitWindows()
	// Entries of earlier terms commit only under one of ours (raft paper 5.4.2), and
	// reads wait for it.
	r.lead.noop = r.appendOwn(EntryNoop, nil, 0).Index
	r.advanceCommit()
}

// fitWindows keeps one window for each other member of the latest configuration.
func (r *Raft) fitWindows() {
	var fit []window
	for _, m := range r.config().Members {
		if m.ID == r.cfg.ID {
			continue
		}
		if w := r.window(m.ID); w != nil {
			fit = append(fit, *w)
			continue
		}
		fit = append(fit, window{id: m.ID, next: r.log.last().Index + 1, probe: true, beat: true, limit: r.cfg.MaxInflightBytes})
	}
	r.lead.windows = fit
	r.countLow()
}

func (r *Raft) window(id NodeID) *window {
	i, ok := slices.BinarySearchFunc(r.lead.windows, id, func(w window, id NodeID) int { return cmpID(w.id, id) })
	if !ok {
		return nil
	}
	return &r.lead.windows[i]
}

func (r *Raft) leaderTick() {
	l := &r.lead
	if r.beat++; r.beat >= r.cfg.HeartbeatTicks {
		r.beat = 0
		r.heartbeat()
	}
	for i := range l.windows {
		w := &l.windows[i]
		w.silent++
		w.stuck++
		// A commit that no entry followed is news as well.
		w.beat = w.beat || w.told < r.commit
	}
	if l.transfer != None {
		if l.transferTicks++; l.transferTicks >= r.cfg.ElectionTicks {
			l.transfer = None
		}
	}
	switch {
	case !r.reachesQuorum():
		r.becomeFollower(r.term, None, "a majority of the voters is out of reach")
	case r.diskHangs():
		r.hung = r.w.flight[0].seq
		r.becomeFollower(r.term, None, fmt.Sprintf("own disk has been writing for %d ticks while the others go on", r.w.oldest()))
	}
}

// heartbeat makes a message due to everybody, and asks again for what had no answer.
func (r *Raft) heartbeat() {
	r.lead.transferAsked = false
	for i := range r.lead.windows {
		r.lead.windows[i].beat, r.lead.windows[i].asked = true, false
	}
}

// reachesQuorum is check-quorum (thesis 6.2): a leader that no majority answers
// steps down, so that its clients look for another.
func (r *Raft) reachesQuorum() bool {
	voters, reached := 0, 0
	for _, m := range r.config().Members {
		if m.Learner {
			continue
		}
		voters++
		if w := r.window(m.ID); m.ID == r.cfg.ID || w != nil && w.active(&r.cfg) {
			reached++
		}
	}
	return reached >= quorum(voters)
}

// outrun tells that a majority of the voters is ahead of this leader's disk.
func (r *Raft) outrun() bool {
	ahead := 0
	voters := r.config().Voters()
	for _, id := range voters {
		if w := r.window(id); w != nil && w.match > r.w.stable {
			ahead++
		}
	}
	return ahead >= quorum(len(voters))
}

// diskHangs tells that this leader's disk holds the cluster back: its oldest
// write is under way for an election timeout, a majority without it is ahead,
// and that for one more election timeout. If nobody is ahead then all disks are
// slow, and another leader would be no better.
func (r *Raft) diskHangs() bool {
	if r.w.oldest() < r.cfg.ElectionTicks || !r.outrun() {
		r.behind = 0
		return false
	}
	r.behind++
	return r.behind > r.cfg.ElectionTicks
}

// onAppendReply takes a member's word for what it has.
func (r *Raft) onAppendReply(m Message) {
	if r.role != Leader {
		return
	}
	w, last := r.window(m.From), r.log.last().Index
	if w == nil || m.Match > m.Have || m.Have > last {
		return // not a member any more, or not what a core of ours says
	}
	if m.Boot < w.boot {
		return // late, of a process that is gone: the new one may have less, and be at another place
	}
	w.silent = 0
	r.noteBoot(w, m)
	if m.Have > w.have || m.Have >= w.tried || m.Full || m.Fetch != w.fetch || m.Fetched > w.fetched {
		w.stuck = 0
	}
	w.have = max(w.have, m.Have)
	space := w.low != m.Low || w.full != m.Full
	w.fetch, w.fetched, w.full, w.low, w.refetch = m.Fetch, m.Fetched, m.Full, m.Low, m.Refetch
	if space {
		r.countLow()
	}
	if m.Round <= r.lead.round {
		w.round = max(w.round, m.Round)
	}
	w.matched(m.Match, r.now, &r.cfg)
	switch {
	case m.Reject:
		r.onReject(w, m)
	case w.probe && m.Have+1 >= w.next:
		// Below our base it goes on asking, at the pace of heartbeats: an offer that each
		// reply answered with another would never rest.
		w.next = m.Have + 1
		w.probe = w.next <= r.log.base.Index
	}
	r.advanceCommit()
	r.confirmReads()
}

// onReject finds an earlier place where the logs may agree. Only a reject of what
// was asked last counts; an older one may come late.
func (r *Raft) onReject(w *window, m Message) {
	if m.Prev.Index <= w.match || w.probe && m.Prev.Index != w.next-1 {
		return
	}
	hint := m.Hint
	hint.Index = min(hint.Index, m.Prev.Index-1)
	if hint.Index < r.log.base.Index {
		// Nothing that we still have can agree: next falls below base, which makes an offer due.
		w.restart(hint.Index + 1)
		return
	}
	w.restart(r.log.agreeing(hint).Index + 1)
}

// noteBoot looks whether the member restarted since its last reply. What was
// under way to it is gone then; and if its log now ends below what it
// acknowledged, its disk has forgotten.
func (r *Raft) noteBoot(w *window, m Message) {
	if w.boot == m.Boot {
		return
	}
	if w.boot != 0 {
		if m.Last.Index < w.match {
			r.forgotten++
			w.match, w.have = m.Match, m.Have
			w.next = m.Have + 1
		}
		w.restart(w.next)
	}
	w.boot = m.Boot
}

// advanceCommit counts who has what. Only an entry of the own term is committed
// by counting; what lies below comes with it (raft paper 5.4.2, figure 8).
func (r *Raft) advanceCommit() {
	if r.role != Leader {
		return
	}
	var few [8]Index // on the stack: this runs with every reply
	match := few[:0]
	for _, m := range r.config().Members {
		if m.Learner {
			continue
		}
		if m.ID == r.cfg.ID {
			match = append(match, r.w.stable)
		} else if w := r.window(m.ID); w != nil {
			match = append(match, w.match)
		}
	}
	c := committed(match)
	if t, ok := r.log.term(c); !ok || c <= r.commit || t != r.term {
		return
	}
	for i := r.commit + 1; i <= c; i++ {
		r.lead.uncommitted -= r.log.at(i).size()
	}
	r.commit = c
	if !r.config().IsVoter(r.cfg.ID) && r.configs[len(r.configs)-1].index <= c {
		r.lead.leaving = true
	}
}

// countLow notes whether a majority of the voters has room on its disk. It runs when
// something of that changes: with every proposal it would be dear.
func (r *Raft) countLow() {
	voters, can := 0, 0
	for _, m := range r.config().Members {
		if m.Learner {
			continue
		}
		voters++
		if w := r.window(m.ID); w == nil && !(m.ID == r.cfg.ID && r.low) || w != nil && !w.low && !w.full {
			can++
		}
	}
	r.lead.low = can < quorum(voters)
}

// LowSpace tells whether so many voters are short of space that the cluster
// should not grow: those that have room are no majority. Only a leader knows.
func (r *Raft) LowSpace() bool { return r.role == Leader && r.lead.low }

// shortOfSpace tells that too few voters could write a command.
func (r *Raft) shortOfSpace() bool {
	if r.full {
		return true
	}
	voters, can := 0, 0 // runs with every proposal, so without Voters, which allocates
	for _, m := range r.config().Members {
		if m.Learner {
			continue
		}
		voters++
		if w := r.window(m.ID); w == nil || !w.full {
			can++
		}
	}
	return can < quorum(voters)
}

// leaderMessages derives what each member is due. Entries leave before the own
// disk has them (thesis 10.2.1). disk tells that it takes a write now, hold that
// the driver wants new entries to wait.
func (r *Raft) leaderMessages(out []Message, disk, hold bool) []Message {
	r.openRound()
	for i := range r.lead.windows {
		w := &r.lead.windows[i]
		out = r.windowMessages(w, out, !hold && (disk || r.worthSending(w)))
	}
	out = r.transferMessage(out)
	if r.lead.leaving {
		out = r.leave(out)
	}
	return out
}

func (r *Raft) windowMessages(w *window, out []Message, entries bool) []Message {
	l := &r.lead
	// A round or a heartbeat is due whether or not there is room for entries.
	due := w.beat || w.sentRound < l.round
	m := Message{
		To: w.id, Term: r.term, Kind: MsgAppend, Commit: r.commit, Round: l.round, Last: r.log.last(), ToBoot: w.boot,
	}
	n := len(out)
	if w.next <= r.log.base.Index {
		if !w.probe {
			w.restart(w.next)
		}
		if due || !w.asked {
			out = append(out, r.offer(m))
			w.asked = true
		}
	} else {
		// Who has a log but no state still takes entries and counts for commits.
		if w.refetch && w.beat && r.snapshot.Last.Index > 0 {
			out = append(out, r.offer(m))
			n = len(out)
		}
		for w.next <= r.log.last().Index && (w.probe && !w.asked || !w.probe && w.room(&r.cfg) && entries) {
			m.Prev = r.id(w.next - 1)
			m.Entries = r.log.slice(w.next, r.log.last().Index, r.cfg.MaxAppendBytes)
			if w.full {
				m.Entries = m.Entries[:takeable(m.Entries)]
			}
			if len(m.Entries) == 0 {
				break
			}
			out = append(out, m)
			w.tried = max(w.tried, m.Entries[len(m.Entries)-1].Index)
			if w.probe {
				w.asked = true
				break
			}
			bytes := 0
			for _, e := range m.Entries {
				bytes += e.size()
			}
			w.push(m.Entries[len(m.Entries)-1].Index, bytes, r.now)
		}
		if w.next > r.log.last().Index {
			w.sentAppended = l.appended
		}
		if len(out) == n && (due || w.probe && !w.asked) {
			m.Prev, m.Entries = r.id(w.next-1), nil
			out = append(out, m)
			w.asked = true
		}
	}
	if len(out) > n {
		w.beat, w.told, w.sentRound = false, r.commit, l.round
	}
	return out
}

// worthSending tells whether entries go to a member though the own disk is busy:
// to one that has nothing under way, and whole messages. The rest waits for
// either disk. Both of them are busy with what came before, so that it would
// only wait at the other end, in one small message an entry.
func (r *Raft) worthSending(w *window) bool {
	return len(w.sent) == 0 || r.lead.appended-w.sentAppended >= uint64(r.cfg.MaxAppendBytes)
}

// offer makes m name the newest snapshot, which reaches at least to base.
func (r *Raft) offer(m Message) Message {
	meta := r.snapshot
	m.Kind, m.Snapshot = MsgOffer, &meta
	return m
}

// id names the entry at i, which is in the log or its base.
func (r *Raft) id(i Index) EntryID {
	t, ok := r.log.term(i)
	if !ok { // behind an if: the arguments would be allocated for each message
		assert(false, "no entry %d in a log from %v to %v", i, r.log.base, r.log.last())
	}
	return EntryID{t, i}
}

// Transfer hands leadership to a voter: proposals pause, it gets what it lacks,
// then it is told to stand at once (thesis 3.10). After an election timeout
// without success this leader goes on. Errors: *NotLeaderError, *ChangeError.
func (r *Raft) Transfer(to NodeID) error {
	if r.role != Leader {
		return &NotLeaderError{r.leader}
	}
	w := r.window(to)
	switch {
	case to == r.cfg.ID:
		return &ChangeError{to, "it leads already"}
	case !r.config().IsVoter(to) || w == nil:
		return &ChangeError{to, "not a voter"}
	case !w.active(&r.cfg):
		return &ChangeError{to, "it has not answered lately"}
	case r.lead.transfer != None && r.lead.transfer != to:
		return &ChangeError{to, fmt.Sprintf("leadership is already going to node %v", r.lead.transfer)}
	}
	if r.lead.transfer == None { // asking again must not stretch the pause of proposals
		r.lead.transfer, r.lead.transferTicks, r.lead.transferAsked = to, 0, false
	}
	return nil
}

// transferMessage tells the heir to stand, once it has the whole log on its disk.
func (r *Raft) transferMessage(out []Message) []Message {
	l := &r.lead
	if l.transfer == None || l.transferAsked {
		return out
	}
	if w := r.window(l.transfer); w != nil && w.match == r.log.last().Index {
		l.transferAsked = true
		out = append(out, Message{Kind: MsgTimeoutNow, To: l.transfer, Term: r.term})
	}
	return out
}

// leave ends the leadership of a node that was removed: everybody learns of the
// commit, the best voter is told to stand, then this node steps down.
func (r *Raft) leave(out []Message) []Message {
	heir := None
	var best Index
	for i := range r.lead.windows {
		w := &r.lead.windows[i]
		if w.told < r.commit {
			w.beat = true
			out = r.windowMessages(w, out, true)
		}
		if r.config().IsVoter(w.id) && w.active(&r.cfg) && w.match >= best {
			heir, best = w.id, w.match
		}
	}
	if heir != None {
		out = append(out, Message{Kind: MsgTimeoutNow, To: heir, Term: r.term})
	}
	r.becomeFollower(r.term, None, "removed from the cluster")
	return out
}
