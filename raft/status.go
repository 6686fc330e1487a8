package raft

// Status is a copy of what people ask about a core.
type Status struct {
	ID        NodeID
	Role      Role
	Term      Term
	Vote      NodeID
	Leader    NodeID
	Last      EntryID // end of the log in memory
	Stable    Index   // end of the log on disk
	Commit    Index
	Handed    Index   // committed entries handed to the applier
	Base      EntryID // the log starts after it
	LogBytes  int     // of the retained log in memory
	Ready     bool    // a leader that has committed an entry of its term, or a follower that hears one and takes what it lacks
	Fence     Fence
	Refetch   bool   // no usable snapshot: waits for one of the leader's
	Transfer  NodeID // leadership is being handed to it
	Forgotten int    // members that came back with less than they had acknowledged
	Snapshot  EntryID
	Config    Configuration
	Committed Configuration // newest one that is committed
	Followers []FollowerStatus
}

// FollowerStatus is what a leader knows of one member.
type FollowerStatus struct {
	ID      NodeID
	Match   Index
	Next    Index
	Active  bool    // answers, and gets what is sent
	Fetch   EntryID // the snapshot that it is fetching
	Fetched uint64  // bytes of it
	Full    bool
	Low     bool
	Refetch bool // has a log but no state: waits for a snapshot at or above its log's base
}

// Status is the state of the core, for people.
func (r *Raft) Status() Status {
	s := Status{
		ID: r.cfg.ID, Role: r.role, Term: r.term, Vote: r.vote, Leader: r.leader,
		Last: r.log.last(), Stable: r.w.stable, Commit: r.commit, Handed: r.handed, Base: r.log.base, LogBytes: r.log.bytes,
		Fence: r.fence, Refetch: r.refetch, Transfer: r.lead.transfer, Forgotten: r.forgotten, Snapshot: r.snapshot.Last,
		Config: r.config(), Committed: r.committedConfig(),
	}
	t, ok := r.log.term(r.commit)
	s.Ready = r.role == Leader && ok && t == r.term || r.role == Follower && r.leader != None && r.sticky() && (r.mayTake() || r.follow.wanted <= r.follow.matched)
	for i := range r.lead.windows {
		w := &r.lead.windows[i]
		s.Followers = append(s.Followers, FollowerStatus{w.id, w.match, w.next, w.active(&r.cfg), w.fetch, w.fetched, w.full, w.low, w.refetch})
	}
	return s
}

// Role, Term and Leader alone, for callers that ask often.
func (r *Raft) Role() Role { return r.role }

// Term is the current term.
func (r *Raft) Term() Term { return r.term }

// Leader is the node that leads the current term as far as this one knows, or None.
func (r *Raft) Leader() NodeID { return r.leader }

// Commit is the highest index known to be committed.
func (r *Raft) Commit() Index { return r.commit }

// LastTime is the log time of the last entry or snapshot.
func (r *Raft) LastTime() Time { return r.log.lastTime() }
