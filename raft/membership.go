package raft

import (
	"fmt"
	"slices"
)

// configAt is the configuration that holds from the entry at index on.
type configAt struct {
	index Index
	Configuration
}

// compaction waits until the disk and the applier have reached its snapshot.
type compaction struct {
	meta     SnapshotMeta
	keepFrom Index
}

// config is the latest configuration in the log, committed or not: a node uses
// it from the moment that it is appended (thesis 4.1).
func (r *Raft) config() Configuration { return r.configs[len(r.configs)-1].Configuration }

// committedConfig is the newest configuration that is known to be committed.
func (r *Raft) committedConfig() Configuration {
	for i := len(r.configs) - 1; i > 0; i-- {
		if r.configs[i].index <= r.commit {
			return r.configs[i].Configuration
		}
	}
	return r.configs[0].Configuration
}

// adoptConfig takes note of an appended entry, if it is a configuration.
func (r *Raft) adoptConfig(e Entry) error {
	if e.Type != EntryConfig {
		return nil
	}
	c, err := DecodeConfiguration(e.Data)
	if err != nil {
		return fmt.Errorf("entry %v: %w", e.EntryID, err)
	}
	r.configs = append(slices.Clip(r.configs), configAt{e.Index, c})
	return nil
}

// dropConfigs rolls back what the truncation from i took away.
func (r *Raft) dropConfigs(i Index) {
	for len(r.configs) > 1 && r.configs[len(r.configs)-1].index >= i {
		r.configs = slices.Clip(r.configs[:len(r.configs)-1])
	}
}

// rebaseConfigs puts the configuration of a snapshot below those of the log behind it.
func (r *Raft) rebaseConfigs(s SnapshotMeta) {
	fit := []configAt{{s.Last.Index, s.Config}}
	for _, c := range r.configs {
		if c.index > s.Last.Index {
			fit = append(fit, c)
		}
	}
	r.configs = fit
}

// Compact tells of a durable snapshot of this node; entries below keepFrom may
// go, at most those that the snapshot contains. The log keeps them until the
// disk and the applier are there themselves.
func (r *Raft) Compact(s SnapshotMeta, keepFrom Index) {
	if s.Last.Index > r.snapshot.Last.Index {
		r.snapshot = s
	}
	r.compact = &compaction{s, keepFrom}
	r.tryCompact()
}

// Within is the first of the newest entries up to last that have no more than so many
// bytes together, as MaxRetainedBytes counts them; last+1 if not even that one has. What the log does
// not hold counts for nothing. To choose keepFrom of Compact.
func (r *Raft) Within(last Index, bytes int) Index {
	i := min(last, r.log.last().Index)
	for ; i > r.log.base.Index; i-- {
		if bytes -= r.log.at(i).size(); bytes < 0 {
			break
		}
	}
	return i + 1
}

func (r *Raft) tryCompact() {
	c := r.compact
	if c == nil || r.w.stable < c.meta.Last.Index || r.applied < c.meta.Last.Index {
		return
	}
	r.compact = nil
	base := min(c.keepFrom, c.meta.Last.Index+1)
	if base == 0 || base-1 <= r.log.base.Index {
		return
	}
	id := r.id(base - 1)
	r.log.compact(id)
	r.w.base = id
	for len(r.configs) > 1 && r.configs[1].index <= id.Index {
		r.configs = slices.Clone(r.configs[1:])
	}
}

// ChangeMember adds or changes (m) or removes (nil) one member, and returns the
// entry that does it. One change at a time, and only after an entry of the own
// term is committed (thesis 4.1 with the correction of 2015). A new member
// comes as a learner and is promoted when it has nearly all of the log. Errors:
// *NotLeaderError, ErrNotReady, ErrPending, ErrTransfer, *ChangeError.
func (r *Raft) ChangeMember(id NodeID, m *Member) (EntryID, error) {
	if err := r.CheckChange(id, m); err != nil {
		return EntryID{}, err
	}
	e := r.appendOwn(EntryConfig, AppendConfiguration(nil, changed(r.config(), id, m)), 0)
	if err := r.adoptConfig(*r.log.at(e.Index)); err != nil {
		panic("raft: " + err.Error()) // we have just encoded it
	}
	r.fitWindows()
	r.advanceCommit()
	r.confirmReads()
	return e, nil
}

// changed is c with id set to m, or removed with nil.
func changed(c Configuration, id NodeID, m *Member) Configuration {
	out := Configuration{Removed: c.Removed}
	for _, o := range c.Members {
		if o.ID != id {
			out.Members = append(out.Members, o)
		}
	}
	if m == nil {
		out.Removed = append(slices.Clone(c.Removed), id)
		slices.Sort(out.Removed)
		return out
	}
	out.Members = append(out.Members, *m)
	slices.SortFunc(out.Members, func(a, b Member) int { return cmpID(a.ID, b.ID) })
	return out
}

// CheckChange says what ChangeMember would answer, and changes nothing.
func (r *Raft) CheckChange(id NodeID, m *Member) error {
	if r.role != Leader {
		return &NotLeaderError{r.leader}
	}
	refuse := func(format string, args ...any) error { return &ChangeError{id, fmt.Sprintf(format, args...)} }
	c := r.config()
	old, member := c.Find(id)
	switch {
	case id == None || m != nil && m.ID != id:
		return refuse("the id is missing or not the member's own")
	case m == nil && !member:
		return refuse("not a member")
	case m != nil && c.WasRemoved(id):
		return refuse("it was removed and never comes back; wipe its data directory and let it join as a new node")
	case m != nil && !member && !m.Learner:
		return refuse("a new member starts as a learner; promote it when it has caught up")
	case m != nil && !member && len(c.Members) >= maxMembers:
		return refuse("%d members are the most", maxMembers)
	case m == nil && len(c.Removed) >= maxRemoved:
		return refuse("%d removed nodes are the most", maxRemoved)
	case m != nil && max(len(m.Name), len(m.Peer), len(m.Client), len(m.HTTP)) > maxName:
		return refuse("names and addresses have at most %d bytes", maxName)
	}
	if m != nil {
		for _, o := range c.Members {
			if o.ID != id && o.Name == m.Name {
				return refuse("the name %q is taken by node %v", m.Name, o.ID)
			}
		}
	}
	if t, _ := r.log.term(r.commit); t != r.term {
		return ErrNotReady
	}
	if r.configs[len(r.configs)-1].index > r.commit {
		return ErrPending
	}
	if r.lead.transfer != None {
		return ErrTransfer
	}
	if member && m != nil && old.Learner && !m.Learner {
		if err := r.caughtUp(id); err != nil {
			return err
		}
	}
	return r.staysAvailable(id, changed(c, id, m))
}

// caughtUp tells why a learner can't be promoted yet: it must be within one
// window of the end of the log, or the cluster could wait long for it.
func (r *Raft) caughtUp(id NodeID) error {
	w := r.window(id)
	switch {
	case w == nil || !w.active(&r.cfg):
		return &ChangeError{id, "it has not answered lately"}
	case w.refetch || w.fetch != (EntryID{}) || w.match < r.log.base.Index:
		return &ChangeError{id, "it is still fetching a snapshot"}
	case r.log.bytesAbove(w.match) > r.cfg.MaxInflightBytes:
		return &ChangeError{id, fmt.Sprintf("it is %d entries behind", r.log.last().Index-w.match)}
	}
	return nil
}

// staysAvailable refuses a change after which no majority of the voters would
// be reachable, or none be left.
func (r *Raft) staysAvailable(id NodeID, next Configuration) error {
	voters := next.Voters()
	if len(voters) == 0 {
		return &ChangeError{id, "it is the last voter"}
	}
	if slices.Equal(voters, r.config().Voters()) {
		return nil
	}
	reached := 0
	for _, v := range voters {
		if w := r.window(v); v == r.cfg.ID || w != nil && w.active(&r.cfg) {
			reached++
		}
	}
	if need := quorum(len(voters)); reached < need {
		return &ChangeError{id, fmt.Sprintf("of %d voters after it only %d would be reachable, %d are needed", len(voters), reached, need)}
	}
	return nil
}
