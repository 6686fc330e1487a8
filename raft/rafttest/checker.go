package rafttest

import "github.com/raftkv/raftkv/raft"

// Checker knows everything that ever happened in a cluster and panics at the
// first step that breaks a promise of Raft (figure 3 of the paper, and what
// ARCHITECTURE adds: nothing leaves a node before its disk can back it).
type Checker struct {
	leaders   map[raft.Term]*reign
	entries   map[raft.EntryID]fact
	committed []commitment // [i] is index i+1
	votes     map[ballot]raft.NodeID
	states    map[raft.EntryID]App
	nodes     map[raft.NodeID]*seen
	reads     map[question]answer
}

// reign is one leader's term.
type reign struct {
	id   raft.NodeID
	base raft.EntryID
	log  []raft.EntryID // behind base, as it grew
}

// fact is what an entry is, for ever.
type fact struct {
	sum  uint64
	prev raft.Term // of the entry before it
}

// commitment is one committed entry, and the term whose leader committed it.
type commitment struct {
	raft.EntryID
	sum  uint64
	term raft.Term
}

type ballot struct {
	id   raft.NodeID
	term raft.Term
}

// seen is what was seen of one run of one node.
type seen struct {
	term   raft.Term
	commit raft.Index
	leads  raft.Term
}

type question struct {
	node raft.NodeID
	boot uint64
	id   uint64
}

type answer struct {
	index raft.Index
	floor raft.Index // what was committed when it was asked
}

func newChecker() *Checker {
	return &Checker{
		leaders: map[raft.Term]*reign{},
		entries: map[raft.EntryID]fact{},
		votes:   map[ballot]raft.NodeID{},
		states:  map[raft.EntryID]App{},
		nodes:   map[raft.NodeID]*seen{},
		reads:   map[question]answer{},
	}
}

// Committed is the highest index that was ever committed.
func (k *Checker) Committed() raft.Index { return raft.Index(len(k.committed)) }

// Term is the highest term that ever had a leader.
func (k *Checker) Term() raft.Term {
	var t raft.Term
	for l := range k.leaders {
		t = max(t, l)
	}
	return t
}

// state notes a state of the app: state machine safety means that there is one an index.
func (k *Checker) state(a App) {
	if old, ok := k.states[a.Last]; ok && a.Last.Index > 0 {
		check(old.Hash == a.Hash, "two states at %v: state machine safety", a.Last)
		return
	}
	k.states[a.Last] = a
}

func (k *Checker) stateAt(id raft.EntryID) App {
	a, ok := k.states[id]
	check(ok, "nobody ever had a state at %v", id)
	return a
}

// started forgets what a node had in memory.
func (k *Checker) started(n *Node) {
	k.nodes[n.ID] = &seen{term: n.Disk.Durable.State.Term}
}

// stepped looks at a node after each of its steps.
func (k *Checker) stepped(c *Cluster, n *Node) {
	s, r := k.nodes[n.ID], n.Core
	base, entries := r.Log()
	check(r.Term() >= s.term, "node %v: term goes back from %d to %d", n.ID, s.term, r.Term())
	check(r.Commit() >= s.commit, "node %v: commit goes back from %d to %d", n.ID, s.commit, r.Commit())
	s.term = r.Term()
	prev := base
	if s.commit > base.Index { // what lies below was looked at before
		prev = entries[s.commit-base.Index-1].EntryID
	}
	for _, e := range entries[prev.Index-base.Index:] {
		k.logMatching(n, prev, e)
		prev = e.EntryID
	}
	if r.Role() == raft.Leader {
		k.leads(n, base, entries)
	}
	k.commits(c, n, base, entries)
	s.commit = r.Commit()
}

// logMatching: entries with the same index and term are the same, and so are those before them.
func (k *Checker) logMatching(n *Node, prev raft.EntryID, e raft.Entry) {
	f := fact{sum(e), prev.Term}
	old, ok := k.entries[e.EntryID]
	if !ok {
		k.entries[e.EntryID] = f
		return
	}
	if old == f {
		return
	}
	check(old.sum == f.sum, "node %v: two entries %v: log matching", n.ID, e.EntryID)
	check(false, "node %v: entry %v stands behind term %d here and behind %d elsewhere: log matching", n.ID, e.EntryID, f.prev, old.prev)
}

// leads: election safety, leader completeness, leader append-only, one change at a time.
func (k *Checker) leads(n *Node, base raft.EntryID, entries []raft.Entry) {
	r := n.Core
	g, s := k.leaders[r.Term()], k.nodes[n.ID]
	if g == nil {
		g = &reign{id: n.ID, base: base}
		k.leaders[r.Term()] = g
		for i, m := range k.committed {
			if m.term >= r.Term() || m.Index <= base.Index {
				continue
			}
			at := m.Index - base.Index - 1
			check(int(at) < len(entries) && entries[at].EntryID == m.EntryID, "leader %v of term %d lacks entry %v, committed in term %d: leader completeness", n.ID, r.Term(), k.committed[i].EntryID, m.term)
		}
	} else {
		check(g.id == n.ID, "nodes %v and %v lead term %d: election safety", g.id, n.ID, r.Term())
		check(s.leads == r.Term(), "node %v leads term %d again after it had stopped", n.ID, r.Term())
	}
	s.leads = r.Term()
	last := g.base
	if len(g.log) > 0 {
		last = g.log[len(g.log)-1]
	}
	check(base.Index+raft.Index(len(entries)) >= last.Index, "leader %v of term %d: log shrank below %v: leader append-only", n.ID, r.Term(), last)
	if last.Index > base.Index {
		check(entries[last.Index-base.Index-1].EntryID == last, "leader %v of term %d: entry %v changed: leader append-only", n.ID, r.Term(), last)
	}
	for i := last.Index - base.Index; int(i) < len(entries); i++ {
		g.log = append(g.log, entries[i].EntryID)
	}
	changes := 0
	for i := len(entries) - 1; i >= 0 && entries[i].Index > r.Commit(); i-- {
		if entries[i].Type == raft.EntryConfig {
			changes++
		}
	}
	check(changes <= 1, "leader %v of term %d has %d uncommitted configurations", n.ID, r.Term(), changes)
}

// commits: what is committed stays, is the same everywhere, is on the disks of
// a majority, and is first committed under an entry of its leader's term.
func (k *Checker) commits(c *Cluster, n *Node, base raft.EntryID, entries []raft.Entry) {
	r, from := n.Core, max(k.nodes[n.ID].commit, base.Index)
	for i := from + 1; i <= r.Commit(); i++ {
		e := entries[i-base.Index-1]
		if i <= k.Committed() {
			m := k.committed[i-1]
			check(m.EntryID == e.EntryID && m.sum == sum(e), "node %v commits %v, entry %v was committed there: state machine safety", n.ID, e.EntryID, m.EntryID)
			continue
		}
		check(r.Role() == raft.Leader, "%v %v commits %v, which no leader has committed", r.Role(), n.ID, e.EntryID)
		if i == from+1 || i == k.Committed()+1 {
			k.byCounting(c, n, entries[r.Commit()-base.Index-1].EntryID)
		}
		k.committed = append(k.committed, commitment{e.EntryID, sum(e), r.Term()})
	}
	check(r.Commit() <= k.Committed(), "node %v: commit %d, only %d is committed", n.ID, r.Commit(), k.Committed())
	if base.Index > 0 {
		check(base.Index <= k.Committed() && k.committed[base.Index-1].EntryID == base, "node %v: log starts behind %v, which was not committed", n.ID, base)
	}
}

// byCounting: raft paper 5.4.2, and the disks of a majority have it.
func (k *Checker) byCounting(c *Cluster, n *Node, id raft.EntryID) {
	check(id.Term == n.Core.Term(), "leader %v of term %d commits %v by counting", n.ID, n.Core.Term(), id)
	voters, have := n.Core.Status().Config.Voters(), 0
	for _, v := range voters {
		for _, o := range c.Nodes {
			if o.ID == v && (o.Disk.Ghost || o.Disk.Holds(id)) {
				have++
			}
		}
	}
	check(have > len(voters)/2, "leader %v commits %v, which is on %d disks of %d", n.ID, id, have, len(voters))
}

// sent checks a message against what the disk of its sender can back. Refusals promise nothing.
func (k *Checker) sent(c *Cluster, n *Node, m raft.Message) {
	d := n.Disk.Durable.State
	check(m.From == n.ID && m.To != n.ID && m.Seq <= n.Disk.Durable.Seq, "bad header: %v", m)
	switch m.Kind {
	case raft.MsgVoteReply:
		if m.Granted {
			k.vote(n.ID, m.Term, m.To, d, m)
		}
	case raft.MsgVote:
		k.vote(n.ID, m.Term, n.ID, d, m)
		check(n.Disk.Holds(m.Last), "vote asked for a log that the disk does not hold up to %v: %v", n.Disk.Last(), m)
	case raft.MsgAppend, raft.MsgOffer, raft.MsgTimeoutNow:
		check(d.Term == m.Term && d.Vote == n.ID, "leads on a disk with term %d, vote %v: %v", d.Term, d.Vote, m)
	case raft.MsgAppendReply:
		if m.Reject && m.Match == 0 && m.Have == 0 && m.Round == 0 {
			return
		}
		check(d.Term == m.Term, "reply on a disk with term %d: %v", d.Term, m)
		g := k.leaders[m.Term]
		check(g != nil && g.id == m.To, "reply to %v, which does not lead: %v", m.To, m)
		k.acknowledges(n, g, m)
	}
}

func (k *Checker) vote(id raft.NodeID, t raft.Term, to raft.NodeID, d raft.HardState, m raft.Message) {
	check(d.Term == t && d.Vote == to, "vote with a disk at term %d, vote %v: %v", d.Term, d.Vote, m)
	old, ok := k.votes[ballot{id, t}]
	check(!ok || old == to, "second vote in a term, the first was for %v: %v", old, m)
	k.votes[ballot{id, t}] = to
}

// acknowledges: Match is on the sender's disk, Have in its memory, and both are the leader's log.
func (k *Checker) acknowledges(n *Node, g *reign, m raft.Message) {
	base, entries := n.Core.Log()
	at := func(i raft.Index) (raft.EntryID, bool) {
		if i <= g.base.Index {
			return raft.EntryID{}, false // committed
		}
		check(int(i-g.base.Index) <= len(g.log), "acknowledges %d, the leader's log ends before: %v", i, m)
		return g.log[i-g.base.Index-1], true
	}
	if id, ok := at(m.Match); ok {
		check(n.Disk.Holds(id), "acknowledges %v, the disk ends in %v: %v", id, n.Disk.Last(), m)
	}
	if id, ok := at(m.Have); ok && id.Index > base.Index {
		check(int(id.Index-base.Index) <= len(entries) && entries[id.Index-base.Index-1].EntryID == id, "claims to have %v: %v", id, m)
	}
}

func (k *Checker) readAsked(n *Node, id uint64, index raft.Index) {
	k.reads[question{n.ID, n.Boot, id}] = answer{index, k.Committed()}
}

// readReady: a read sees everything that was committed anywhere before it was asked.
func (k *Checker) readReady(n *Node, d raft.ReadReady) {
	q := question{n.ID, n.Boot, d.ID}
	a, ok := k.reads[q]
	check(ok, "node %v answers read %d, which nobody waits for", n.ID, d.ID)
	check(d.Index == a.index, "node %v answers read %d at %d, it was fixed at %d", n.ID, d.ID, d.Index, a.index)
	check(d.Index >= a.floor, "node %v answers read %d at %d, when it was asked %d was committed: reads go back", n.ID, d.ID, d.Index, a.floor)
	delete(k.reads, q)
}

// quiet: who does not lead has told of each of its reads that it is lost.
func (k *Checker) quiet(n *Node) {
	if n.Core.Role() == raft.Leader {
		return
	}
	for q := range k.reads {
		check(q.node != n.ID || q.boot != n.Boot, "node %v does not lead, and says nothing of read %d", n.ID, q.id)
	}
}

func (k *Checker) readLost(n *Node, id uint64) {
	q := question{n.ID, n.Boot, id}
	_, ok := k.reads[q]
	check(ok, "node %v loses read %d, which nobody waits for", n.ID, id)
	delete(k.reads, q)
}
