package node

import (
	"context"
	"io"

	"github.com/raftkv/raftkv/raft"
)

// The ports: what a node needs of the rooms around it. Each is met by one type
// of its room (raftlog.Bolt, statemachine.Machine, snapshot.Dir,
// transport.Transport) without either package knowing the other, and by a fake
// in the simulator. The signatures therefore use raft's types and the standard
// library's only.

// Store keeps the log. Only the disk goroutine calls it. An error is final:
// the outcome of that write is unknown and the process must end.
type Store interface {
	Write(w *raft.Write) error
}

// Machine is the replicated state. Only the applier goroutine calls it.
type Machine interface {
	// Apply applies a committed entry of any type, in order, and appends the result to dst.
	// It may keep the entry's data, which never changes, as the log does.
	Apply(e raft.Entry, dst []byte) []byte
	// Query evaluates a command that changes nothing and appends the result to dst.
	Query(cmd, dst []byte) []byte
	// Applied is the last entry applied or restored.
	Applied() raft.EntryID
	// Now is the log time at Applied.
	Now() raft.Time
	// Deadline is the earliest time at which the state changes by itself (a key
	// or a session expires); false if there is none.
	Deadline() (raft.Time, bool)
	// TickCommand appends the command that only lets time pass.
	TickCommand(dst []byte) []byte
	// Hash is the multiset hash of the state, and Level the level of commands in force.
	Hash() [16]byte
	Level() uint32
	// Freeze fixes a view of the state at Applied. Step appends the next part of
	// its encoding, about max bytes, and says whether that was the last; Apply and
	// Query go on in between. Thaw ends the view, finished or not. Step returns an
	// error if the view grew too dear and was given up.
	Freeze() error
	Step(dst []byte, max int) (out []byte, done bool, err error)
	Thaw()
	// Restore replaces the state by what Step had encoded. On an error the old state stays.
	Restore(meta raft.SnapshotMeta, r io.Reader) error
}

// Snapshots keeps snapshot files. Save and Receive are called by one goroutine
// each, at the same time at times, and Open by a third one beside them.
type Snapshots interface {
	// Save makes a snapshot durable. It calls next until io.EOF; any other error
	// gives the file up, leaves nothing behind and is returned. What next returned is good until the call after it. On success older
	// snapshots are removed.
	Save(meta raft.SnapshotMeta, next func() ([]byte, error)) error
	// Receive makes another node's snapshot durable. It calls open with the
	// number of bytes of the file that are already here, reads to the end, and
	// verifies all of it before it is visible. It calls progress now and then with
	// the bytes that are here. After an error what came stays for the next try.
	Receive(ctx context.Context, meta raft.SnapshotMeta,
		open func(ctx context.Context, offset uint64) (io.ReadCloser, error), progress func(bytes uint64)) error
	// Open reads the content (what Save was given) of one snapshot, verified while it is read.
	Open(last raft.EntryID) (raft.SnapshotMeta, io.ReadCloser, error)
}

// Network carries messages to other nodes. Its methods never block.
type Network interface {
	// Send queues messages; one that finds no room or no connection is dropped.
	Send(ms []raft.Message)
	// SendPacket queues bytes for the node of the same place on another machine
	// (forwarded requests and their replies). An error means that no byte of it
	// was or will be written. Else it is written once to the connection conn, or,
	// if that is lost first, Handler.Unsent tells so by token.
	SendPacket(to raft.NodeID, token uint64, b []byte) (conn uint64, err error)
	// SetMembers tells whom to keep connections with.
	SetMembers(c raft.Configuration)
	// Fetch opens the file of a snapshot on another node from offset.
	Fetch(ctx context.Context, from raft.NodeID, last raft.EntryID, offset uint64) (io.ReadCloser, error)
}

// Handler is what Network calls, on its own goroutines. *Node meets it. The
// calls may block only briefly: they put an event into a bounded inbox.
type Handler interface {
	// Received hands over messages of one peer; they may be dropped.
	Received(ms []raft.Message)
	// Packet hands over what a peer's SendPacket sent over the connection conn.
	// The bytes belong to the handler.
	Packet(from raft.NodeID, conn uint64, b []byte)
	// Unsent tells that a queued packet was not written at all.
	Unsent(to raft.NodeID, token uint64)
	// Connected tells of a new connection with a peer, in both directions.
	Connected(peer raft.NodeID, conn uint64)
	// Heard tells the highest Message.Seq that a peer ever had from this node, as
	// its handshake says. More than this node's disk knows means that the disk is an older copy.
	Heard(peer raft.NodeID, seq uint64)
	// Lost tells that a connection ended. gone: it was reset and dialling again
	// was refused, so the peer's process is dead.
	Lost(peer raft.NodeID, conn uint64, gone bool)
}
