package raft

import (
	"errors"
	"fmt"
)

// ErrBusy means that a bound on bytes is reached: the proposal was not taken
// and surely has no effect. Try again when earlier ones are committed.
var ErrBusy = errors.New("too many writes under way")

// ErrTransfer means that leadership is being handed over: nothing was taken.
var ErrTransfer = errors.New("leadership is being transferred")

// ErrNotReady means that the leader has not yet committed an entry of its own
// term, which membership changes must wait for (thesis chapter 4, 2015 correction).
var ErrNotReady = errors.New("leader has not committed an entry of its term yet")

// ErrPending means that an earlier membership change is not committed yet.
var ErrPending = errors.New("another membership change is pending")

// NotLeaderError tells the caller where to go instead. Leader is None while there is no leader.
type NotLeaderError struct{ Leader NodeID }

func (e *NotLeaderError) Error() string {
	if e.Leader == None {
		return "no leader at present"
	}
	return fmt.Sprintf("not the leader, node %v is", e.Leader)
}

// ChangeError says why a membership change is refused.
type ChangeError struct {
	ID     NodeID
	Reason string
}

func (e *ChangeError) Error() string {
	return fmt.Sprintf("membership change of node %v: %s", e.ID, e.Reason)
}

// ErrNoSpace means that too few voters have disk space to take a write: nothing was taken.
var ErrNoSpace = errors.New("too few nodes have disk space left")
