package resp

import (
	"context"
	"errors"
	"fmt"

	"github.com/raftkv/raftkv/node"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/statemachine"
)

// outcome is one row of what a client may be told instead of a result.
type outcome struct {
	prefix string
	err    error // what the node says; nil is any other error
	means  string
}

// notApplied lists the errors of requests that surely did nothing.
func notApplied() []outcome {
	return []outcome{
		{"CLUSTERDOWN", node.ErrNoLeader, "no leader at present, or the leader can't be reached"},
		{"LOADING", node.ErrNotReady, "the node is still starting"},
		{"BUSY", node.ErrBusy, "too many requests are waiting"},
		{"BUSY", raft.ErrBusy, "too many writes are under way"},
		{"NOSPACE", node.ErrNoSpace, "disk space is low; reads and deletes go on"},
		{"TRYAGAIN", raft.ErrTransfer, "leadership is being handed over"},
		{"TRYAGAIN", node.ErrEarlier, "an earlier write of this connection was not applied"},
		{"TRYAGAIN", node.ErrInstalled, "a read met a snapshot of the leader's; ask again"},
		{"TRYAGAIN", node.ErrShutdown, "the node is shutting down"},
		{"TRYAGAIN", nil, "any other reason"},
	}
}

// prefix is what the first word of an error reply tells about the request's fate.
type prefix struct {
	prefix, outcome, means string
}

// What happened to a request. One that is repeated in a session may meet the marks of its own earlier attempt.
const (
	surelyNot = "surely not applied"
	notNow    = "this attempt did nothing"
)

// prefixes lists the first words of all error replies. A word that is new needs a row
// here: a test looks for it.
func prefixes() []prefix {
	var list []prefix
	for _, o := range notApplied() {
		list = append(list, prefix{o.prefix, surelyNot, o.means})
	}
	return append(list, []prefix{
		{unknownPrefix, "unknown", "the write may have taken effect or may yet do so; inside a session send it again with the same number"},
		{statemachine.PrefixSessionExpired, notNow, "the session is unknown or expired: open another; an earlier attempt may have run"},
		{statemachine.PrefixSeqOld, "applied before", "the number ran, and its result is forgotten"},
		{statemachine.PrefixSeqGap, surelyNot, "an earlier number of the session is missing"},
		{statemachine.PrefixSeqReused, notNow, "the number ran another request, which may be an earlier attempt at this one"},
		{refusedPrefix, surelyNot, "a change of the cluster that would be unsafe; DRYRUN says the same"},
		{notLeaderPrefix, surelyNot, "a change of the cluster: ask the leader, at the address that is the next word"},
		{"MOVED", surelyNot, "`redis.follower: moved`: ask the leader, at the address behind the slot"},
		{"NOAUTH", surelyNot, "AUTH first"},
		{"WRONGPASS", surelyNot, "no such user, another password, or the user is off"},
		{"NOPERM", surelyNot, "the user may not run this, or not with these keys or channels"},
		{"NOPROTO", surelyNot, "HELLO asks for a version of the protocol that there isn't"},
		{"EXECABORT", surelyNot, "a command of the block was refused: nothing of it ran"},
		{"ERR", surelyNot, "the request is wrong, in Redis's words"},
	}...)
}

// The prefix of an outcome that is unknown, and the text behind its reason.
const (
	unknownPrefix = "UNKNOWNOUTCOME"
	unknownText   = "; the write may have taken effect or may yet do so"
)

// outcomeText is the error reply for a request without a result. A read has no
// effect, so that its outcome is never unknown: it may be asked again.
func outcomeText(o node.Outcome, err error, read bool) string {
	if err == nil {
		err = errors.New("no reason given")
	}
	if o == node.Unknown && !read {
		return unknownPrefix + " " + err.Error() + unknownText
	}
	if e, ok := errors.AsType[*raft.NotLeaderError](err); ok {
		if e.Leader == raft.None {
			return "CLUSTERDOWN " + err.Error()
		}
		return "TRYAGAIN " + err.Error()
	}
	for _, row := range notApplied() {
		if row.err == nil || errors.Is(err, row.err) {
			return row.prefix + " " + err.Error()
		}
	}
	return "TRYAGAIN " + err.Error()
}

// Prefixes of answers to changes of the cluster.
const (
	refusedPrefix   = "REFUSED"   // the change would be unsafe, or makes no sense; nothing was changed
	notLeaderPrefix = "NOTLEADER" // the next word is where the leader serves clients; nothing was changed
)

// adminText is the error reply for a change of the cluster.
func adminText(err error, st node.Status) string {
	for _, unknown := range []error{node.ErrTimeout, node.ErrLostLead, node.ErrLostLink, context.DeadlineExceeded, context.Canceled} {
		if errors.Is(err, unknown) {
			return fmt.Sprintf("%s %v; look at the members before trying again", unknownPrefix, err)
		}
	}
	if e, ok := errors.AsType[*raft.ChangeError](err); ok {
		// People know a node by its name. The same error refuses transfers.
		who, id := fmt.Sprintf("node %v", e.ID), e.ID.String()
		for _, m := range st.Members {
			if m.ID == id {
				who = m.Name
			}
		}
		return fmt.Sprintf("%s %s: %s", refusedPrefix, who, e.Reason)
	}
	if _, ok := errors.AsType[*raft.NotLeaderError](err); ok {
		if m, ok := leaderOf(&st); ok {
			return notLeaderPrefix + " " + m.Client + " this node doesn't lead, " + m.Name + " does"
		}
		return outcomeText(node.NotApplied, err, true)
	}
	if errors.Is(err, raft.ErrPending) || errors.Is(err, raft.ErrNotReady) {
		return "TRYAGAIN " + err.Error()
	}
	for _, row := range notApplied() {
		if row.err != nil && errors.Is(err, row.err) {
			return row.prefix + " " + err.Error()
		}
	}
	return "ERR " + err.Error()
}
