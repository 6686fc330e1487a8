package client

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/raftkv/raftkv/resp"
)

// session is one stream of numbered writes. One call has it at a time.
type session struct {
	id   int64  // 0: not open
	last uint64 // number of the last write that ran, as far as we know
	// doubt: an error came that may or may not have taken a number.
	doubt bool
}

// request is a command about the session itself.
func (s *session) request(words ...string) []byte {
	return resp.AppendRequest(nil, append(words, strconv.FormatInt(s.id, 10))...)
}

// once wraps a write as number seq.
func (s *session) once(seq uint64, args [][]byte) []byte {
	all := append([][]byte{[]byte("ONCE"), strconv.AppendInt(nil, s.id, 10), strconv.AppendUint(nil, seq, 10)}, args...)
	return resp.AppendRequest(nil, all...)
}

// acquire takes a session for one call.
func (c *Client) acquire(ctx context.Context) (*session, error) {
	select {
	case c.places <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		<-c.places
		return nil, ErrClosed
	}
	// The one used last: the others may expire if they are not needed.
	if n := len(c.idle); n > 0 {
		s := c.idle[n-1]
		c.idle = c.idle[:n-1]
		return s, nil
	}
	return &session{}, nil
}

// release gives a session back. One whose last write may still be under way is
// given up: its number could run at any time.
func (c *Client) release(s *session, clean bool) {
	c.mu.Lock()
	if clean && s.id != 0 && !c.closed {
		c.idle = append(c.idle, s)
	}
	c.mu.Unlock()
	<-c.places
}

// write runs a write exactly once.
func (c *Client) write(ctx context.Context, op string, args ...[]byte) (resp.Value, error) {
	return c.writeWith(ctx, op, func(ctx context.Context, s *session, seq uint64) (resp.Value, bool, *link, error) {
		return c.ask(ctx, s.once(seq, args))
	})
}

// writer sends a write once, as a number of a session. An error reply is an
// error. sent: it may have reached a server.
type writer func(ctx context.Context, s *session, seq uint64) (v resp.Value, sent bool, l *link, err error)

// writeWith runs a write exactly once: it is sent with the same session and number
// until an answer settles it. The error is of one of the kinds in errors.go.
func (c *Client) writeWith(ctx context.Context, op string, send writer) (resp.Value, error) {
	ctx, done := c.bound(ctx)
	defer done()
	s, err := c.acquire(ctx)
	if err != nil {
		return resp.Value{}, &callError{op: op, kinds: []error{ErrNotApplied}, cause: err}
	}
	var last error
	maybe := false // an earlier attempt may have run, or may yet
	clean := true
	defer func() { c.release(s, clean) }()
	abandon := func() { // the session: an earlier attempt may take the number at any time
		clean = false
		c.forget(s)
	}
	unknown := func(cause error) error {
		abandon()
		return &callError{op: op, kinds: []error{ErrUnknown}, cause: cause}
	}

	tries := c.retry()
	for {
		v, sent, l, err := c.step(ctx, s, send)
		var e *ReplyError
		switch {
		case err == nil:
			s.last++
			return v, nil
		case errors.As(err, &e):
			switch judge(e) {
			case again:
			case elsewhere:
				c.leave(l)
			case unclear:
				maybe = true
			case expired:
				*s = session{}
				if maybe {
					return v, &callError{op: op, kinds: []error{ErrUnknown}, cause: e}
				}
			case gap:
				*s = session{}
				if maybe {
					return v, &callError{op: op, kinds: []error{ErrUnknown}, cause: e}
				}
			case refused:
				if !maybe {
					return v, &callError{op: op, kinds: []error{ErrNotApplied}, cause: e}
				}
			case denied:
				if maybe { // an earlier attempt was let in
					return v, unknown(err)
				}
				return v, &callError{op: op, kinds: []error{ErrNotApplied}, cause: err}
			case forgotten:
				s.last++
				return v, fmt.Errorf("%s: %w: %w", op, ErrForgotten, e)
			default:
				if maybe && !settles(e) {
					return v, unknown(e)
				}
				// Most such errors are given before the log, some are results.
				s.doubt = true
				return v, fmt.Errorf("%s: %w", op, e)
			}
		case sent:
			maybe = true
		}
		if ctx.Err() == nil {
			last = err
		}
		if ctx.Err() != nil || !tries.again(ctx, !maybe) {
			if maybe {
				abandon()
				return v, ended(ctx, op, ErrUnknown, last, err)
			}
			return v, ended(ctx, op, ErrNotApplied, last, err)
		}
	}
}

// step makes one attempt: it brings the session in order, then sends the write. An
// error reply is an error. sent is about the write alone.
func (c *Client) step(ctx context.Context, s *session, send writer) (v resp.Value, sent bool, l *link, err error) {
	if s.id == 0 {
		if v, _, l, err = c.ask(ctx, resp.AppendRequest(nil, "SESSION", "OPEN")); err != nil {
			return v, false, l, notSent(err)
		}
		if v.Kind != resp.KindInt || v.Int <= 0 {
			return v, false, l, fmt.Errorf("session open is answered with %.100q", v.Text())
		}
		*s = session{id: v.Int}
	}
	if s.doubt {
		if v, _, l, err = c.ask(ctx, s.request("SESSION", "INFO")); err != nil {
			return v, false, l, notSent(err)
		}
		s.last, s.doubt = uint64(v.Int), false
	}
	return send(ctx, s, s.last+1)
}

// notSent keeps what went wrong with the session from being taken for the fate of
// the write.
func notSent(err error) error {
	var e *ReplyError
	if errors.As(err, &e) && judge(e) == unclear {
		return fmt.Errorf("session: %s", e.Text)
	}
	return err
}

// ask is attempt with an error reply as an error.
func (c *Client) ask(ctx context.Context, req []byte) (v resp.Value, sent bool, l *link, err error) {
	v, sent, l, err = c.attempt(ctx, req)
	if err == nil && v.Kind == resp.KindError {
		err = &ReplyError{v.Text()}
	}
	return v, sent, l, err
}

// forget closes a session that can't be used any more, if that costs no waiting.
func (c *Client) forget(s *session) {
	l := c.current()
	if l == nil || s.id == 0 {
		return
	}
	l.post(s.request("SESSION", "CLOSE"))
}
