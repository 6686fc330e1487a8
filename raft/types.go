package raft

import (
	"fmt"
	"slices"
)

// Term numbers the elections; at most one node leads a term (raft paper 5.1).
type Term uint64

// Index numbers the entries of the log from 1. Zero stands before the first.
type Index uint64

// NodeID is one incarnation of one node: it is drawn from the node's UUID,
// never reused, and a node that lost its disk comes back under another.
type NodeID uint64

// None is nobody: no vote, no leader.
const None NodeID = 0

// String is the id in hexadecimal, as it stands in logs and scenario files.
func (id NodeID) String() string { return fmt.Sprintf("%x", uint64(id)) }

// Time is log time in nanoseconds since the Unix epoch. It is set by the
// leader, never goes back along the log, and is the only time that applying an
// entry may look at.
type Time int64

// EntryID names an entry for ever: two entries with the same term and index
// are the same entry (log matching, raft paper 5.3).
type EntryID struct {
	Term  Term
	Index Index
}

// String is term/index.
func (e EntryID) String() string { return fmt.Sprintf("%d/%d", e.Term, e.Index) }

// olderThan tells whether a log that ends in e is less up to date than one
// that ends in o (raft paper 5.4.1).
func (e EntryID) olderThan(o EntryID) bool {
	if e.Term != o.Term {
		return e.Term < o.Term
	}
	return e.Index < o.Index
}

// EntryType says who reads the data of an entry.
type EntryType uint8

// The types of entries. Their numbers are on disk and on the wire.
const (
	EntryNoop    EntryType = 1 // the first entry of a term; no data
	EntryCommand EntryType = 2 // for the state machine
	EntryConfig  EntryType = 3 // a Configuration, see AppendConfiguration
)

// Entry is one element of the log. It is immutable once made, its Data too.
type Entry struct {
	EntryID
	Type EntryType
	Time Time
	Data []byte
}

// entryOverhead is what an entry costs beside its data when bytes are counted
// against a limit: the struct itself and its header on disk.
const entryOverhead = 64

// size is what the entry counts for against limits on bytes.
func (e Entry) size() int { return len(e.Data) + entryOverhead }

// Member is one node in a Configuration.
type Member struct {
	ID      NodeID
	Name    string // for people: unique in a configuration, not an identity
	Peer    string // host:port where other nodes reach it
	Client  string // host:port where clients reach it; a hint
	HTTP    string // host:port of its HTTP side; a hint
	Learner bool   // receives the log, doesn't vote (thesis 4.2.1)
}

// Configuration is the membership of the cluster. Members ascend by ID. Removed
// lists the incarnations that left, ascending: they are never let in again.
type Configuration struct {
	Members []Member
	Removed []NodeID
}

// Find returns the member with this id.
func (c Configuration) Find(id NodeID) (Member, bool) {
	i, ok := slices.BinarySearchFunc(c.Members, id, func(m Member, id NodeID) int {
		return cmpID(m.ID, id)
	})
	if !ok {
		return Member{}, false
	}
	return c.Members[i], true
}

// IsVoter tells whether id is a member that votes.
func (c Configuration) IsVoter(id NodeID) bool {
	m, ok := c.Find(id)
	return ok && !m.Learner
}

// WasRemoved tells whether id once was a member and left.
func (c Configuration) WasRemoved(id NodeID) bool {
	_, ok := slices.BinarySearch(c.Removed, id)
	return ok
}

// Voters returns the ids of the members that vote, ascending.
func (c Configuration) Voters() []NodeID {
	var ids []NodeID
	for _, m := range c.Members {
		if !m.Learner {
			ids = append(ids, m.ID)
		}
	}
	return ids
}

// voters is how many members vote.
func (c Configuration) voters() int {
	n := 0
	for i := range c.Members {
		if !c.Members[i].Learner {
			n++
		}
	}
	return n
}

func cmpID(a, b NodeID) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// SnapshotMeta describes the state up to and with one entry.
type SnapshotMeta struct {
	Last   EntryID       // the last entry that the state contains (lastIncludedIndex, lastIncludedTerm)
	Config Configuration // the membership at that index, learners included
	Time   Time          // log time at that index
	Level  uint32        // level of commands and meanings at that index
	Hash   [16]byte      // multiset hash of the state
}

// HardState is what a node must not forget (raft paper figure 2, "persistent
// state"). Commit is a hint that shortens the replay after a restart; it never
// lies beyond what the disk holds.
type HardState struct {
	Term   Term
	Vote   NodeID
	Commit Index
}

// Durable is what a node finds on its disk at start.
type Durable struct {
	State    HardState
	Base     EntryID      // the log starts after it
	Entries  []Entry      // contiguous from Base.Index+1
	Snapshot SnapshotMeta // newest complete one; with Last zero it is Birth: the first configuration
	Seq      uint64       // of the last write that is on disk
	Fence    Fence        // not zero: this disk may have forgotten a promise
	Refetch  Index        // not zero: the state that this disk leads to is wrong; only another node's snapshot at or above it will do. Snapshot.Last is zero then
}

// Fence says why a node may not vote: its disk may have forgotten a promise
// that it gave (ARCHITECTURE, Durability). It is stored and survives restarts.
type Fence uint8

// The fences.
const (
	FenceNone    Fence = 0
	FenceOneBack Fence = 1 // one write may be forgotten: lifts when the log has caught up with a leader's
	FenceForever Fence = 2 // an older copy of the disk: remove the node and let it rejoin
)

// Role is what a node is in its term.
type Role uint8

// The roles (raft paper figure 4; pre-candidate from thesis 9.6).
const (
	Follower Role = iota
	PreCandidate
	Candidate
	Leader
)

func (r Role) String() string {
	return [...]string{"follower", "pre-candidate", "candidate", "leader"}[r]
}
