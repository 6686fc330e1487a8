package client

import (
	"context"
	"errors"
	"strings"

	"github.com/raftkv/raftkv/resp"
)

// Do sends one request as it is, once, and returns the reply, which may be an
// error reply. An error means that there was none: then it is of the kind
// ErrNotApplied or ErrUnknown. There is no session and no retry. Commands that
// change what a connection is, such as MULTI or SUBSCRIBE, are refused: the
// connection is shared by all calls.
func (c *Client) Do(ctx context.Context, args ...string) (resp.Value, error) {
	ctx, done := c.bound(ctx)
	defer done()
	op := "do"
	if len(args) > 0 {
		op = strings.ToLower(args[0])
	}
	if ofConnection(args) {
		return resp.Value{}, &callError{op: op, kinds: []error{ErrNotApplied}, cause: errShared}
	}
	v, sent, _, err := c.attempt(ctx, resp.AppendRequest(nil, args...))
	if err == nil {
		return v, nil
	}
	kinds := []error{ErrNotApplied}
	var u *unreachableError
	switch {
	case sent:
		kinds[0] = ErrUnknown
	case errors.As(err, &u):
		kinds = append(kinds, ErrNoLeader)
	}
	return v, &callError{op: op, kinds: kinds, cause: err}
}

var errShared = errors.New("it changes the connection, which all calls share: use Txn, Watch or Config (in the shell txn and watch), or another client of the Redis protocol")

// ofConnection tells whether a command is about the connection that it comes on:
// what follows would be queued, answered otherwise, not at all, or by an old state.
func ofConnection(args []string) bool {
	if len(args) == 0 {
		return false
	}
	switch strings.ToLower(args[0]) {
	case "multi", "exec", "discard", "watch", "unwatch", "subscribe", "unsubscribe", "psubscribe", "punsubscribe",
		"monitor", "reset", "quit", "hello", "auth", "readonly", "readwrite":
		return true
	case "client":
		return len(args) > 1 && (strings.EqualFold(args[1], "reply") || strings.EqualFold(args[1], "tracking") || strings.EqualFold(args[1], "caching"))
	}
	return false
}
