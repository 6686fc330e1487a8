package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/raftkv/raftkv/client"
	"github.com/raftkv/raftkv/node"
	server "github.com/raftkv/raftkv/server/resp"
	"github.com/raftkv/raftkv/server/resp/resptest"
	"github.com/raftkv/raftkv/statemachine"
)

// flaky is a listener whose connections break at random: instead of sending
// replies they close, so that the client can't know what was done.
type flaky struct {
	net.Listener
	rnd func(n int) int
	one int // of how many writes breaks
}

func (f *flaky) Accept() (net.Conn, error) {
	nc, err := f.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &flakyConn{nc, f}, nil
}

type flakyConn struct {
	net.Conn
	f *flaky
}

func (c *flakyConn) Write(b []byte) (int, error) {
	if c.f.rnd(c.f.one) == 0 {
		c.Conn.Close()
		return 0, io.ErrClosedPipe
	}
	return c.Conn.Write(b)
}

// Replies are lost, requests are refused, outcomes are unknown, nodes change: each
// append takes effect exactly once (CS-01, CS-03, CS-10).
func TestEachAppendTakesEffectOnce(t *testing.T) {
	const workers, each = 8, 60
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	var mu sync.Mutex
	src := rand.New(rand.NewPCG(seed, 0))
	rnd := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return src.IntN(n)
	}
	m := resptest.NewMemory()
	m.Before = func(node.Request) *node.Reply {
		switch rnd(20) {
		case 0:
			return &node.Reply{Outcome: node.NotApplied, Err: node.ErrBusy}
		case 1:
			return &node.Reply{Outcome: node.NotApplied, Err: node.ErrNoLeader}
		case 2:
			return &node.Reply{Outcome: node.Unknown, Err: node.ErrLostLead}
		}
		return nil
	}
	m.After = func(_ node.Request, rep *node.Reply) {
		if rnd(20) == 0 { // it was done, and nobody knows
			rep.Outcome, rep.Result, rep.Err = node.Unknown, nil, node.ErrLostLead
		}
	}
	var endpoints []string
	for range 3 {
		s := server.New(server.Config{}, m, m)
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		endpoints = append(endpoints, ln.Addr().String())
		served := make(chan error, 1)
		go func() { served <- s.Serve(&flaky{ln, rnd, 15}) }()
		t.Cleanup(func() { s.Shutdown(context.Background()); <-served })
	}
	c := dial(t, client.Config{Endpoints: endpoints, Sessions: 4})
	var wait sync.WaitGroup
	for w := range workers {
		wait.Go(func() {
			for i := range each {
				if _, err := c.Append(t.Context(), "log", fmt.Appendf(nil, "%d-%d,", w, i)); err != nil {
					t.Error(err)
				}
				if _, err := c.Incr(t.Context(), "n", 1); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	m.Before, m.After = nil, nil
	got := strings.Split(strings.TrimSuffix(string(must[[]byte](t)(c.Get(t.Context(), "log"))), ","), ",")
	next := map[string]int{}
	for _, token := range got {
		var w, i int
		fmt.Sscanf(token, "%d-%d", &w, &i)
		if next[fmt.Sprint(w)] != i {
			t.Fatalf("worker %d: %d where %d was due", w, i, next[fmt.Sprint(w)])
		}
		next[fmt.Sprint(w)]++
	}
	if len(got) != workers*each {
		t.Errorf("%d appends took effect, want %d", len(got), workers*each)
	}
	if n := must[[]byte](t)(c.Get(t.Context(), "n")); string(n) != fmt.Sprint(workers*each) {
		t.Errorf("%s increments took effect", n)
	}
}

// isWrite tells whether a request is a write inside a session.
func isOnce(r node.Request) bool {
	var c statemachine.Command
	return c.Decode(r.Data) == nil && c.Op == statemachine.OpOnce
}

// A refusal after an attempt that may have run settles nothing.
func TestRefusalAfterAnUnknownAttemptIsUnknown(t *testing.T) {
	m := resptest.NewMemory()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var n atomic.Int32
	m.Before = func(r node.Request) *node.Reply {
		if !isOnce(r) {
			return nil
		}
		if n.Add(1) == 1 {
			return &node.Reply{Outcome: node.Unknown, Err: node.ErrLostLead}
		}
		if n.Load() == 3 {
			cancel() // it has heard a refusal by now
		}
		return &node.Reply{Outcome: node.NotApplied, Err: node.ErrNoSpace}
	}
	c := dial(t, client.Config{Endpoints: []string{start(t, m)}})
	if err := c.Put(ctx, "a", nil); !errors.Is(err, client.ErrUnknown) || errors.Is(err, client.ErrNotApplied) {
		t.Error(err)
	}
}

// An idle session expires: the first attempt says that it did nothing, so that
// another session may take over.
func TestExpiredSessionIsReplaced(t *testing.T) {
	m := resptest.NewMemory()
	now := time.Now()
	m.Now = func() time.Time { return now }
	c := dial(t, client.Config{Endpoints: []string{start(t, m)}})
	must[int64](t)(c.Append(t.Context(), "a", []byte("x")))
	now = now.Add(24 * time.Hour)
	if n := must[int64](t)(c.Append(t.Context(), "a", []byte("y"))); n != 2 {
		t.Errorf("length %d", n)
	}
}

// After an attempt whose outcome is unknown, another session could run it twice (CS-06).
func TestExpiredSessionAfterUnknownIsUnknown(t *testing.T) {
	m := resptest.NewMemory()
	now := time.Now()
	m.Now = func() time.Time { return now }
	c := dial(t, client.Config{Endpoints: []string{start(t, m)}})
	must[int64](t)(c.Append(t.Context(), "a", []byte("x")))
	var once sync.Once
	m.After = func(r node.Request, rep *node.Reply) {
		once.Do(func() {
			*rep = node.Reply{Slot: r.Slot, Outcome: node.Unknown, Err: node.ErrTimeout}
			now = now.Add(24 * time.Hour)
		})
	}
	if _, err := c.Append(t.Context(), "a", []byte("y")); !errors.Is(err, client.ErrUnknown) {
		t.Errorf("got %v", err)
	}
	if v := must[[]byte](t)(c.Get(t.Context(), "a")); string(v) != "xy" {
		t.Errorf("value %q", v)
	}
}

// Some errors take a number of the session, some don't: the next write is right either way.
func TestErrorsDoNotConfuseTheSession(t *testing.T) {
	m := resptest.NewMemory()
	c := dial(t, client.Config{Endpoints: []string{start(t, m)}, Sessions: 1})
	ctx := t.Context()
	must[int64](t)(c.Append(ctx, "a", []byte("x")))
	if _, err := c.Incr(ctx, "a", 1); err == nil { // ran and failed
		t.Fatal("incr of text")
	}
	must[int64](t)(c.Append(ctx, "a", []byte("y")))
	if err := c.Put(ctx, "a", nil, client.TTL(0)); err == nil { // was refused before the log
		t.Fatal("no time to live")
	}
	if n := must[int64](t)(c.Append(ctx, "a", []byte("z"))); n != 3 {
		t.Error(n)
	}
}

// A call that gives up while its write may be under way must not lend its session
// to the next one: the number could run at any time.
func TestAbandonedSessionIsNotUsedAgain(t *testing.T) {
	m := resptest.NewMemory()
	var sessions sync.Map
	var refuse atomic.Bool
	giveUp := func() {}
	m.Before = func(r node.Request) *node.Reply {
		var c statemachine.Command
		if c.Decode(r.Data) != nil || c.Op != statemachine.OpOnce {
			if c.Op == statemachine.OpSessionClose { // the session stays open
				return &node.Reply{Outcome: node.NotApplied, Err: node.ErrBusy}
			}
			return nil
		}
		sessions.Store(c.Num, true)
		if refuse.Load() {
			giveUp()
			return &node.Reply{Outcome: node.Unknown, Err: node.ErrTimeout}
		}
		return nil
	}
	c := dial(t, client.Config{Endpoints: []string{start(t, m)}, Sessions: 1})
	refuse.Store(true)
	ctx, cancel := context.WithCancel(t.Context())
	tried := make(chan struct{})
	giveUp = sync.OnceFunc(func() { close(tried) })
	go func() { <-tried; cancel() }()
	if err := c.Put(ctx, "a", nil); !errors.Is(err, client.ErrUnknown) {
		t.Fatal(err)
	}
	refuse.Store(false)
	if err := c.Put(t.Context(), "a", nil); err != nil {
		t.Fatal(err)
	}
	n := 0
	sessions.Range(func(any, any) bool { n++; return true })
	if n != 2 {
		t.Errorf("%d sessions were used, want 2", n)
	}
}
