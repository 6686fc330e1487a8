package raft

// Room says how much the driver can take from Output now. What finds no room
// stays in the core: Output derives it again.
type Room struct {
	Write   bool // the disk is idle, or takes one more write
	Apply   int  // bytes of committed entries that the applier takes; at least one entry comes when above 0
	Install bool // nothing is being fetched
	// Hold keeps a leader's new commands back, from its own disk and from the other
	// members, so that more of them go together. Nothing else waits for it.
	Hold bool
}

// Output is everything that the driver has to do now.
type Output struct {
	Messages  []Message   // may be sent at once, lost, repeated, reordered; the slice is used again by the next Output
	Write     *Write      // at most one; do writes in Seq order, then call Wrote
	Committed []Entry     // the next ones to apply, in order
	Reads     []ReadReady // leadership confirmed; serve once Index is applied
	Install   *Install    // fetch this snapshot from that node, then call Installed
	Lost      []uint64    // reads that must be asked again: leadership went
	Soft      *Soft       // role, term or leader changed
}

// Write must reach the disk together, or not at all.
type Write struct {
	Seq     uint64
	State   HardState // Commit never lies beyond what the disk holds of this log after this write
	Entries []Entry   // contiguous; they replace everything from Entries[0].Index on
	Base    EntryID   // nonzero: entries up to here are no longer needed
	Reset   bool      // an installed snapshot: drop the whole log, start after Base
	Fence   Fence     // as it stands now: the store keeps it beside term and vote
}

// ReadReady answers Read: serve the read with this id once Index is applied.
type ReadReady struct {
	ID    uint64
	Index Index
}

// Install asks the driver to fetch a snapshot, make it durable and call Installed.
type Install struct {
	From NodeID
	Meta SnapshotMeta
}

// Soft is what changes without a promise to the disk. Reason says why, for the log.
type Soft struct {
	Role   Role
	Term   Term
	Leader NodeID
	Reason string
}

// Output derives what to do now. Call it after a batch of inputs; what it
// returns is not returned again, but for messages, which the protocol repeats.
func (r *Raft) Output(room Room) Output {
	var out Output
	disk := room.Write && len(r.w.flight) < r.cfg.MaxWrites
	hold := room.Hold && r.role == Leader
	clear(r.outbox) // what the last one said may hold on to entries
	ms := append(r.outbox[:0], r.answers...)
	r.answers = nil
	ms = r.electionMessages(ms)
	switch r.role {
	case Leader:
		ms = r.leaderMessages(ms, disk, hold)
	case Follower:
		ms = r.followerReply(ms)
	}
	for i := range ms {
		m := &ms[i]
		m.From, m.Boot, m.Seq = r.cfg.ID, r.cfg.Boot, r.w.done
	}
	out.Messages, r.outbox = ms, ms
	out.Reads, r.lead.ready = r.lead.ready, nil
	out.Lost, r.lost = r.lost, nil
	if room.Install {
		out.Install = r.install()
	}
	if disk && !(hold && r.onlyEntries()) {
		out.Write = r.write()
	}
	if room.Apply > 0 && r.handed < r.commit && !r.refetch {
		out.Committed = r.log.slice(r.handed+1, r.commit, room.Apply)
		r.handed += Index(len(out.Committed))
	}
	if soft := (Soft{Role: r.role, Term: r.term, Leader: r.leader}); soft != r.softSent {
		r.softSent = soft
		out.Soft = &Soft{soft.Role, soft.Term, soft.Leader, r.reason} // a copy: soft itself would be allocated each time
	}
	return out
}
