package node

import (
	"time"

	"github.com/raftkv/raftkv/raft"
)

// Event is something that happened to a node. Replica.Handle takes it.
type Event interface{ event() }

// Tick tells that about one tick of time has passed, however late. Elapsed is
// monotonic time since the Tick before; Wall is the wall clock.
type Tick struct {
	Elapsed time.Duration
	Wall    raft.Time
}

// Received brings messages of other cores.
type Received struct{ Messages []raft.Message }

// Submitted brings requests of one connection, in order. The slice may be used
// again after Handle. It is handled by pointer, to save an allocation.
type Submitted struct {
	Conn     *Conn
	Requests []Request
}

// Closed tells that a connection ended: nobody waits for its replies.
type Closed struct{ Conn *Conn }

// Wrote answers Driver.WriteLog: everything up to Seq is on disk.
type Wrote struct {
	Seq  uint64
	Took time.Duration // of the last write
}

// JobDone answers Driver.Apply.
type JobDone struct{ Job *Job }

// Saved tells how the save ended that Job.Freeze began. Bytes is the size of the content.
type Saved struct {
	Meta  raft.SnapshotMeta
	Bytes uint64
	Err   error
}

// FetchProgress tells how many bytes of the fetched snapshot are here.
type FetchProgress struct {
	Last  raft.EntryID
	Bytes uint64
}

// Fetched answers Driver.Fetch: the snapshot is durable here, or Err says why not.
type Fetched struct {
	Meta raft.SnapshotMeta
	Err  error
}

// Packet brings what another Replica sent with Driver.SendPacket.
type Packet struct {
	From  raft.NodeID
	Conn  uint64
	Bytes []byte
}

// Overflow tells of a packet for which the inbox had no room: it is refused aloud.
type Overflow struct{ Refusal Refusal }

// Unsent tells that a packet surely was not and will not be written.
type Unsent struct {
	To    raft.NodeID
	Token uint64
}

// Connected tells of a new connection with a peer.
type Connected struct {
	Peer raft.NodeID
	Conn uint64
}

// Lost tells that a connection ended; Gone, that the peer's process is dead.
type Lost struct {
	Peer raft.NodeID
	Conn uint64
	Gone bool
}

// Heard tells the highest Seq that a peer ever had from this node.
type Heard struct {
	Peer raft.NodeID
	Seq  uint64
}

// Space tells whether the disk is short of space. Low: leaders hear of it, and
// refuse writes that would need more once too few voters have room. Full: it takes no commands at all, only what elections
// and membership need.
type Space struct{ Low, Full bool }

// ChangeMember adds, changes (Member) or removes (nil) one member. Done is
// called on the caller's goroutine of Handle or Flush, once the change is
// committed or with an error. With DryRun nothing is changed.
type ChangeMember struct {
	ID     raft.NodeID
	Member *raft.Member
	DryRun bool
	Done   func(error)
}

// Transfer hands leadership to a voter; with None, to the one that is nearest
// to the end of the log. Done is called when this node leads no more.
type Transfer struct {
	To   raft.NodeID
	Done func(error)
}

// TakeSnapshot takes a snapshot and tells when it is durable.
type TakeSnapshot struct {
	Done func(raft.SnapshotMeta, error)
}

// StatusQuery asks for the status.
type StatusQuery struct{ Done func(Status) }

// Shutdown hands leadership over, refuses new requests, and calls Done once
// nothing is open any more.
type Shutdown struct{ Done func() }

// Stop ends every open request now, with what is known of it. Nothing may be
// submitted after it.
type Stop struct{ Err error }

func (Tick) event()          {}
func (Received) event()      {}
func (*Submitted) event()    {}
func (Closed) event()        {}
func (Wrote) event()         {}
func (JobDone) event()       {}
func (Saved) event()         {}
func (FetchProgress) event() {}
func (Fetched) event()       {}
func (Packet) event()        {}
func (Overflow) event()      {}
func (Unsent) event()        {}
func (Connected) event()     {}
func (Lost) event()          {}
func (Heard) event()         {}
func (Space) event()         {}
func (ChangeMember) event()  {}
func (Transfer) event()      {}
func (TakeSnapshot) event()  {}
func (StatusQuery) event()   {}
func (Shutdown) event()      {}
func (Stop) event()          {}
