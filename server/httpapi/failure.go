package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/raftkv/raftkv/node"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/statemachine"
)

// failure is an answer that is an error.
type failure struct {
	status  int
	code    string // one word, for programs
	text    string // for people
	outcome node.Outcome
	retry   bool       // the same request may succeed soon
	oldest  raft.Index // of a watch that came too late
}

// errorDoc is the body of every error.
type errorDoc struct {
	Error   string `json:"error"`
	Code    string `json:"code"`
	Outcome string `json:"outcome,omitempty"`
	Oldest  uint64 `json:"oldest,omitempty"`
}

// The outcomes of a write, in the header and in errors.
const (
	outcomeApplied    = "applied"
	outcomeNotApplied = "not-applied"
	outcomeUnknown    = "unknown"
)

var outcomeNames = [...]string{node.Applied: outcomeApplied, node.NotApplied: outcomeNotApplied, node.Unknown: outcomeUnknown}

func refuse(status int, code, format string, args ...any) *failure {
	return &failure{status: status, code: code, text: fmt.Sprintf(format, args...), outcome: node.NotApplied}
}

func badRequest(format string, args ...any) *failure {
	return refuse(http.StatusBadRequest, "bad_request", format, args...)
}

func notFound(format string, args ...any) *failure {
	return refuse(http.StatusNotFound, "not_found", format, args...)
}

func busy(format string, args ...any) *failure {
	f := refuse(http.StatusTooManyRequests, "busy", format, args...)
	f.retry = true
	return f
}

// outcomeFailure is the answer for a command without a result. A read has no
// effect, so that its outcome is never unknown.
func outcomeFailure(r node.Reply, read bool) *failure {
	err := r.Err
	if err == nil {
		err = errors.New("no reason given")
	}
	if r.Outcome == node.Unknown && !read {
		return &failure{
			status: http.StatusGatewayTimeout, code: "unknown_outcome", outcome: node.Unknown,
			text: err.Error() + "; the write may have taken effect or may yet do so",
		}
	}
	for _, row := range []struct {
		err    error
		status int
		code   string
	}{
		{node.ErrTimeout, http.StatusGatewayTimeout, "timeout"},
		{context.DeadlineExceeded, http.StatusGatewayTimeout, "timeout"},
		{node.ErrBusy, http.StatusTooManyRequests, "busy"},
		{raft.ErrBusy, http.StatusTooManyRequests, "busy"},
		{node.ErrNoSpace, http.StatusInsufficientStorage, "no_space"},
		{node.ErrNoLeader, http.StatusServiceUnavailable, "no_leader"},
		{node.ErrNotReady, http.StatusServiceUnavailable, "not_ready"},
		{node.ErrShutdown, http.StatusServiceUnavailable, "shutting_down"},
		{nil, http.StatusServiceUnavailable, "try_again"},
	} {
		if row.err == nil || errors.Is(err, row.err) {
			return &failure{status: row.status, code: row.code, text: err.Error(), outcome: node.NotApplied, retry: true}
		}
	}
	panic("unreachable: the last row fits everything")
}

// replyFailure is the answer for an error that the state machine gave: a prefix in
// capitals, then text. The command was applied and did nothing, unless it says that it
// ran earlier, or that nobody knows any more whether it did.
func replyFailure(text string) *failure {
	prefix, rest, _ := strings.Cut(text, " ")
	f := &failure{status: http.StatusUnprocessableEntity, code: "refused", text: rest, outcome: node.NotApplied}
	switch prefix {
	case statemachine.PrefixSessionExpired:
		f.status, f.code, f.outcome = http.StatusConflict, "session_expired", node.Unknown // a first attempt may have run while it lived
	case statemachine.PrefixSeqOld:
		f.status, f.code, f.outcome = http.StatusConflict, "seq_old", node.Applied
	case statemachine.PrefixSeqGap:
		f.status, f.code = http.StatusConflict, "seq_gap"
	case statemachine.PrefixSeqReused:
		f.status, f.code, f.outcome = http.StatusConflict, "seq_reused", node.Unknown // the first attempt may have been this one in other bytes
	case "ERR":
		if strings.Contains(rest, "exceeds maximum allowed size") {
			f.status, f.code = http.StatusRequestEntityTooLarge, "too_large"
		}
	default:
		f.text = text
	}
	return f
}
