package selftest

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"time"

	"github.com/raftkv/raftkv/resp"
)

// Outcome is what a client knows of one attempt.
type Outcome uint8

// The outcomes. A read that brought no value is NotApplied.
const (
	OK         Outcome = iota + 1 // there is a reply
	NotApplied                    // it surely had no effect
	Unknown                       // it may have had one, or may yet have
)

// Conn is one client connection over the Redis protocol, without retries and
// without any knowledge of the cluster, so that what it saw is what happened.
type Conn struct {
	nc net.Conn
	r  *resp.ReplyReader
	b  []byte
}

// Dial connects to a node.
func Dial(ctx context.Context, addr string) (*Conn, error) {
	var d net.Dialer
	nc, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return &Conn{nc: nc, r: resp.NewReplyReader(nc, resp.ReplyLimits{})}, nil
}

// Close ends the connection.
func (c *Conn) Close() { c.nc.Close() }

// ErrorReply is an error that a server answered.
type ErrorReply struct{ Text string }

func (e *ErrorReply) Error() string { return e.Text }

// Prefix is the first word, which says what kind of error it is.
func (e *ErrorReply) Prefix() string {
	p, _, _ := bytes.Cut([]byte(e.Text), []byte(" "))
	return string(p)
}

// Send sends one command and waits for nothing.
func (c *Conn) Send(args ...string) error {
	c.b = resp.AppendRequest(c.b[:0], args...)
	if _, err := c.nc.Write(c.b); err != nil {
		return fmt.Errorf("send %s: %w", args[0], err)
	}
	return nil
}

// Do sends one command and waits for its reply, at most for timeout. An error
// reply comes as *ErrorReply with what it says of the effect; any other error
// leaves the outcome unknown, and the connection is of no more use.
func (c *Conn) Do(timeout time.Duration, args ...string) (resp.Value, Outcome, error) {
	if err := c.nc.SetDeadline(time.Now().Add(timeout)); err != nil {
		return resp.Value{}, Unknown, err
	}
	if err := c.Send(args...); err != nil {
		return resp.Value{}, Unknown, err
	}
	v, err := c.r.Read()
	if err != nil {
		return resp.Value{}, Unknown, fmt.Errorf("reply of %s: %w", args[0], err)
	}
	if v.Kind == resp.KindError {
		e := &ErrorReply{v.Text()}
		if e.Prefix() == "UNKNOWNOUTCOME" {
			return v, Unknown, e
		}
		return v, NotApplied, e
	}
	return v, OK, nil
}
