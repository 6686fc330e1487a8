// Package apitest serves a node of one, in memory, over both protocols, for tests of
// whatever speaks them: the real servers, the real feed and the real state machine.
package apitest

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/raftkv/raftkv/node"
	"github.com/raftkv/raftkv/server/feed"
	"github.com/raftkv/raftkv/server/httpapi"
	"github.com/raftkv/raftkv/server/resp"
	"github.com/raftkv/raftkv/server/resp/resptest"
)

// way is the node in memory as the HTTP side sees it.
type way struct{ *resptest.Memory }

func (w way) Connect(s node.Sink) httpapi.Submitter { return w.Memory.Connect(s) }

// Serve serves m on free ports of the loopback until the test ends. addr is that of
// the Redis protocol; m tells that of HTTP as its member's. wrap may change the
// listener of HTTP; nil: it stays.
func Serve(t testing.TB, m *resptest.Memory, c feed.Config, wrap func(net.Listener) net.Listener) (addr string, hub *feed.Hub) {
	t.Helper()
	addr, hub, stop, err := Start(m, c, wrap)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	return addr, hub
}

// Start is Serve for who has no test: an example. stop ends it, and waits.
func Start(m *resptest.Memory, c feed.Config, wrap func(net.Listener) net.Listener) (addr string, hub *feed.Hub, stop func() error, err error) {
	clients, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, nil, err
	}
	web, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		clients.Close()
		return "", nil, nil, err
	}
	hub = feed.New(c, 0)
	m.Observe(hub.Observe)
	m.SetStatus(func(s *node.Status) { s.Members[0].HTTP = web.Addr().String() })
	if wrap != nil {
		web = wrap(web)
	}
	h := httpapi.New(web, httpapi.Config{
		Live: func() error { return nil }, Ready: func() error { return nil }, Status: func(context.Context) (any, error) { return nil, nil },
		Metrics: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler),
	})
	h.Attach(httpapi.API{Backend: way{m}, Feed: hub, Heartbeat: 10 * time.Millisecond})
	r := resp.New(resp.Config{Feed: hub}, m, m)
	done := make(chan error, 2)
	// Both end with Shutdown in stop, which waits for them.
	go func() { done <- h.Serve() }()
	go func() { done <- r.Serve(clients) }()
	return clients.Addr().String(), hub, func() error {
		hub.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		err := errors.Join(r.Shutdown(ctx), h.Shutdown(ctx))
		for range 2 {
			if e := <-done; e != nil && !errors.Is(e, resp.ErrClosed) {
				err = errors.Join(err, e)
			}
		}
		return err
	}, nil
}
