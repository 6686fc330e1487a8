package node

import (
	"errors"

	"github.com/raftkv/raftkv/raft"
)

// Kind says what a request needs.
type Kind uint8

// The kinds of requests.
const (
	Write     Kind = iota // a command for the log
	Read                  // a linearizable read
	StaleRead             // a read of this node's state as it is
)

// Request is one command of a connection. Data is what package statemachine
// encoded; it is immutable from now on.
type Request struct {
	Kind Kind
	Data []byte
	Slot uint64 // the caller's number for the reply
}

// Outcome says what became of one attempt. The three are never merged.
type Outcome uint8

// The outcomes.
const (
	Applied    Outcome = iota + 1 // it took effect; Reply.Result tells
	NotApplied                    // it surely did not and never will
	Unknown                       // it may have taken effect, or may yet
)

func (o Outcome) String() string {
	return [...]string{"?", "applied", "not applied", "unknown"}[o]
}

// Reply ends a request.
type Reply struct {
	Slot    uint64
	Outcome Outcome
	Result  []byte     // with Applied: what the state machine answered; immutable
	Index   raft.Index // with Applied: of the entry, or the read's applied index
	Err     error      // with NotApplied and Unknown: why
}

// Why a request was not applied, or why that is unknown. *raft.NotLeaderError,
// raft.ErrBusy and raft.ErrTransfer come as well.
var (
	ErrNoLeader = errors.New("no leader at present; try again")
	ErrNotReady = errors.New("node is still starting; try again")
	ErrBusy     = errors.New("node is busy; try again later")
	ErrTimeout  = errors.New("no answer in time")
	ErrShutdown = errors.New("node is shutting down")
	ErrLostLead = errors.New("leadership was lost before the write was confirmed")
	ErrLostLink = errors.New("the connection to the leader was lost before it answered")
	ErrEarlier  = errors.New("an earlier write of this connection was not applied")
	ErrNoSpace  = errors.New("disk space is low on a majority of the nodes; free some (raftkv status says where)")
	// ErrInstalled ends a read only.
	ErrInstalled = errors.New("the state was replaced by a leader's snapshot; try again")
)

// Sink takes the replies of one connection, in any order of slots. It is called
// on the node's goroutines, two at once at times, and must not block: it fills
// reply slots and wakes a writer. It must not keep the slice; it may keep the
// results. Replies may come for a while after Conn.Close.
type Sink interface {
	Deliver(replies []Reply)
}
