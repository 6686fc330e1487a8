package raft

// Kind is the kind of a message. The numbers are on the wire.
type Kind uint8

// The kinds of messages between nodes.
const (
	// MsgAppend carries entries after Prev, or none as a heartbeat (AppendEntries,
	// raft paper 5.3).
	MsgAppend Kind = 1
	// MsgAppendReply answers MsgAppend and MsgOffer.
	MsgAppendReply Kind = 2
	// MsgOffer tells a follower whose next entry is compacted which snapshot to
	// fetch. It stands in for InstallSnapshot: the follower pulls.
	MsgOffer Kind = 3
	// MsgVote is RequestVote (raft paper 5.2).
	MsgVote Kind = 4
	// MsgVoteReply answers MsgVote.
	MsgVoteReply Kind = 5
	// MsgPreVote asks whether a vote in Term would be granted (thesis 9.6).
	MsgPreVote Kind = 6
	// MsgPreVoteReply answers MsgPreVote. Granted, it carries the term asked for.
	MsgPreVoteReply Kind = 7
	// MsgTimeoutNow makes a voter campaign at once (leadership transfer, thesis 3.10).
	MsgTimeoutNow Kind = 8
)

// Message is what one core says to another. A message may be lost, repeated
// and reordered. Which fields count depends on Kind; the others are zero.
type Message struct {
	Kind Kind
	From NodeID
	To   NodeID
	Term Term
	Boot uint64 // the sender's boot: new at each start, and ascending
	Seq  uint64 // the last write that the sender's disk has confirmed

	// MsgAppend, MsgOffer.
	Prev     EntryID // the entry before Entries
	Entries  []Entry
	Commit   Index         // the leader's commit
	Round    uint64        // newest read round of the leader in this term
	Last     EntryID       // last entry of the leader's log; also: of a candidate's log
	ToBoot   uint64        // the receiver's boot as far as the leader knows it
	Snapshot *SnapshotMeta // MsgOffer

	// MsgAppendReply.
	Match   Index   // on the follower's disk and equal to the leader's log
	Have    Index   // the same in memory
	Reject  bool    // Prev is not in the follower's log
	Hint    EntryID // with Reject: where the logs may agree, at most the follower's last
	Fetch   EntryID // the snapshot that the follower is fetching, zero if none
	Fetched uint64  // bytes of it
	Full    bool    // the follower takes no entries at present: space or memory
	Low     bool    // its disk is short of space, though it takes entries
	Refetch bool    // the follower lacks a snapshot at or above its log's base

	// MsgVote, MsgPreVote and their replies. Last is the end of the candidate's log.
	Granted  bool
	Transfer bool // the leader asked for this election: stickiness does not hold (thesis 4.2.3)
}
