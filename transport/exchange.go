package transport

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Exchange sends one small request to the node at addr and returns its reply. It
// works before Start on both sides. Both bodies have at most 64 KiB; the whole of
// it takes at most two handshake timeouts.
func (t *Transport) Exchange(ctx context.Context, addr string, body []byte) ([]byte, error) {
	if len(body) > maxExchange {
		return nil, fmt.Errorf("exchange with %s: request of %d bytes, limit is %d", addr, len(body), maxExchange)
	}
	ctx, end := t.bound(ctx)
	defer end()
	c, err := t.connect(ctx, intent{purpose: purposeExchange, addr: addr})
	if err != nil {
		return nil, fmt.Errorf("exchange: %w", err)
	}
	defer c.close()
	stop := context.AfterFunc(ctx, c.close)
	defer stop()
	answer, err := t.ask(c, body)
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("exchange with %s: %w", addr, err)
	}
	return answer, nil
}

func (t *Transport) ask(c *candidate, body []byte) ([]byte, error) {
	if err := c.raw.SetDeadline(time.Now().Add(t.limits.HandshakeTimeout)); err != nil {
		return nil, err
	}
	if _, err := c.nc.Write(appendFrame(nil, frameAsk, body)); err != nil {
		return nil, err
	}
	c.fr.max = maxExchange
	return expect(c, frameAnswer)
}

// expect reads a frame of one kind; a refusal is an error.
func expect(c *candidate, want frameKind) ([]byte, error) {
	kind, body, err := c.fr.next()
	if err != nil {
		return nil, err
	}
	switch kind {
	case want:
		return body, nil
	case frameRefusal:
		var w wireRefusal
		if err := newDecoder().value(body, &w); err != nil {
			return nil, err
		}
		return nil, w.error()
	}
	return nil, fmt.Errorf("frame of kind %d in place of kind %d: %w", kind, want, errFrame)
}

// bound returns a context that ends with ctx or with the transport.
func (t *Transport) bound(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(t.ctx, func() { cancel(errClosed) })
	return ctx, func() { stop(); cancel(nil) }
}

var errClosed = errors.New("transport is closed")

// serveExchange answers one request.
func (t *Transport) serveExchange(c *candidate) *RefusedError {
	if t.cfg.Exchange == nil {
		return refuse(RefusedNotReady, "this node answers no exchanges")
	}
	hello, err := t.answer(&c.hello, c.version, 0)
	if err != nil {
		return refuse(RefusedBytes, "%v", err)
	}
	if _, err := c.nc.Write(hello); err != nil {
		c.close()
		return nil // it went away; its own side tells
	}
	c.fr.max = maxExchange
	body, err := expect(c, frameAsk)
	if err != nil {
		c.close()
		if t.ctx.Err() == nil {
			t.log.warn("exchange "+remoteHost(c.raw), "exchange not served", "from", c.raw.RemoteAddr().String(), "error", err)
		}
		return nil
	}
	reply := t.cfg.Exchange(body)
	if len(reply) > maxExchange {
		return refuse(RefusedBusy, "the reply has %d bytes, limit is %d", len(reply), maxExchange)
	}
	defer c.close()
	// The callback had its own time: this is for the write alone.
	if err := c.raw.SetDeadline(time.Now().Add(t.limits.WriteTimeout)); err != nil {
		return nil
	}
	if _, err := c.nc.Write(appendFrame(nil, frameAnswer, reply)); err == nil {
		t.counters.exchanges.Add(1)
	}
	return nil
}
