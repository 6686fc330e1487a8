// Package apitest serves a node of one, in memory, over both protocols, for tests of
// whatever speaks them: the real servers, the real feed and the real state machine.
package apitest

import (
	"context"
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
	hub = feed.New(c, 0)
	m.Observe(hub.Observe)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m.SetStatus(func(s *node.Status) { s.Members[0].HTTP = ln.Addr().String() })
	if wrap != nil {
		ln = wrap(ln)
	}
	s := httpapi.New(ln, httpapi.Config{
		Live: func() error { return nil }, Ready: func() error { return nil }, Status: func(context.Context) (any, error) { return nil, nil },
		Metrics: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler),
	})
	s.Attach(httpapi.API{Backend: way{m}, Feed: hub, Heartbeat: 10 * time.Millisecond})
	done := make(chan error, 1)
	go func() { done <- s.Serve() }() // ends with Shutdown below, which waits for it
	t.Cleanup(func() {
		hub.Close()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("shut down HTTP: %v", err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	addr, _ = resptest.Start(t, m, resp.Config{Feed: hub})
	return addr, hub
}
