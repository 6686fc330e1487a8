package client

import (
	"errors"
	"fmt"
	"strings"
)

// What a call may end with, for errors.Is. Every error of a write is one of
// ErrNotApplied, ErrUnknown, ErrCondition or a *ReplyError.
var (
	// ErrNotApplied means that the request surely did nothing and never will.
	ErrNotApplied = errors.New("surely not applied")
	// ErrUnknown means that a write may have taken effect or may yet do so.
	ErrUnknown = errors.New("outcome unknown")
	// ErrNoLeader comes with ErrNotApplied: no node that could be reached knows a leader.
	ErrNoLeader = errors.New("no leader")
	// ErrNotFound means that the key is not there.
	ErrNotFound = errors.New("key not found")
	// ErrCondition means that a condition was not met, and nothing was changed.
	ErrCondition = errors.New("condition not met")
	// ErrForgotten means that the write was applied, once, but its result is no
	// longer known.
	ErrForgotten = errors.New("applied, but its result is forgotten")
	// ErrClosed means that the Client was closed. It comes with ErrNotApplied or ErrUnknown.
	ErrClosed = errors.New("client is closed")
)

// ReplyError is an error reply of the server: a word in capitals, then text.
type ReplyError struct{ Text string }

func (e *ReplyError) Error() string { return e.Text }

// Code is the word in capitals, such as ERR or CLUSTERDOWN.
func (e *ReplyError) Code() string {
	code, _, _ := strings.Cut(e.Text, " ")
	return code
}

// callError is how a call ended without a result: in which of the ways, and why.
type callError struct {
	op    string
	kinds []error // ErrNotApplied or ErrUnknown, perhaps ErrNoLeader
	cause error
	read  bool // it could do nothing anyway: the text doesn't say so
}

func (e *callError) ofRead() *callError {
	e.read = true
	return e
}

// Error names the first kind only: the others say the same less exactly.
func (e *callError) Error() string {
	switch {
	case e.cause == nil:
		return fmt.Sprintf("%s: %v", e.op, e.kinds[0])
	case e.read:
		return fmt.Sprintf("%s: %v", e.op, e.cause)
	}
	return fmt.Sprintf("%s: %v: %v", e.op, e.kinds[0], e.cause)
}

func (e *callError) Unwrap() []error { return append(e.kinds[:len(e.kinds):len(e.kinds)], e.cause) }

// lateError is context.DeadlineExceeded in words.
type lateError struct{ err error }

func (e *lateError) Error() string { return "no answer in time" }
func (e *lateError) Unwrap() error { return e.err }

// verdict is what one attempt tells about going on.
type verdict uint8

const (
	final     verdict = iota // the reply is the answer
	again                    // surely did nothing: the same node may take it later
	elsewhere                // surely did nothing: another node may take it
	unclear                  // a write may have been applied
	expired                  // this attempt did nothing: its session is gone
	forgotten                // it was applied earlier
	gap                      // nothing ran: the session is not where we think
	refused                  // surely did nothing, and is not worth asking again at once
	denied                   // surely did nothing: the user may not, or isn't who he says
)

// judge reads an error reply.
func judge(e *ReplyError) verdict {
	switch e.Code() {
	case "CLUSTERDOWN", "LOADING", movedCode:
		return elsewhere
	case "TRYAGAIN", "BUSY":
		return again
	case "UNKNOWNOUTCOME":
		return unclear
	case "SESSIONEXPIRED":
		return expired
	case "SEQOLD":
		return forgotten
	case "SEQGAP":
		return gap
	case "NOSPACE":
		return refused
	case "WRONGPASS", "NOAUTH", "NOPERM":
		return denied
	}
	if strings.HasPrefix(e.Text, "ERR max number of clients") {
		return elsewhere
	}
	return final
}

// movedCode is of a follower under redis.follower: moved, which names the leader.
const movedCode = "MOVED"

// settles tells whether a final reply to a numbered write is what its number did,
// whichever attempt that was. The state machine's errors are ERR; other words, and
// those of a server that doesn't know the command, come before the session is looked at.
func settles(e *ReplyError) bool {
	switch e.Code() {
	case "CONDITION":
		return true
	case "ERR":
		return !strings.HasPrefix(e.Text, "ERR unknown ") && !strings.HasPrefix(e.Text, statusText)
	}
	return false
}

// isDenied tells whether a node doesn't let this client in.
func isDenied(err error) bool {
	var e *ReplyError
	return errors.As(err, &e) && judge(e) == denied
}
