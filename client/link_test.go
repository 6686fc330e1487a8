package client_test

import (
	"context"
	"errors"
	"fmt"
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

// nobody is an address where no test listens: one that was free a moment ago may be another's by now.
const nobody = "127.0.0.1:1"

func TestNobodyThere(t *testing.T) {
	// No time for a second try.
	c := dial(t, client.Config{Endpoints: []string{nobody}, BackoffMin: 1000 * time.Hour, BackoffMax: 1000 * time.Hour})
	if err := c.Put(t.Context(), "a", nil); !errors.Is(err, client.ErrNoLeader) || !errors.Is(err, client.ErrNotApplied) {
		t.Errorf("put: %v", err)
	}
	if _, err := c.Get(t.Context(), "a"); !errors.Is(err, client.ErrNoLeader) || strings.Contains(err.Error(), "applied") {
		t.Errorf("get: %v", err) // a read is never applied
	}
	rows, err := c.Status(t.Context())
	if !errors.Is(err, client.ErrNoLeader) || len(rows) != 1 || rows[0].Error == "" || rows[0].Endpoint != nobody {
		t.Errorf("status: %v %v", rows, err)
	}
}

// All callers share one connection, and none waits for the others (pipelining).
func TestCallersShareOneConnection(t *testing.T) {
	const callers = 20
	m := resptest.NewMemory()
	addr, s := resptest.Start(t, m, server.Config{})
	c := dial(t, client.Config{Endpoints: []string{addr}, Sessions: callers})
	var wait sync.WaitGroup
	for i := range callers {
		wait.Go(func() {
			for range 20 {
				if err := c.Put(t.Context(), fmt.Sprint(i), fmt.Append(nil, i)); err != nil {
					t.Error(err)
				}
				if v, err := c.Get(t.Context(), fmt.Sprint(i)); err != nil || string(v) != fmt.Sprint(i) {
					t.Errorf("%q %v", v, err)
				}
			}
		})
	}
	wait.Wait()
	if n := s.Stats().Accepted; n != 1 {
		t.Errorf("%d connections", n)
	}
}

// A node of another cluster is never talked to: its sessions have the same numbers.
func TestOtherClusterIsRefused(t *testing.T) {
	one, two := resptest.NewMemory(), resptest.NewMemory()
	two.SetStatus(func(s *node.Status) { s.Cluster = "other" })
	addr1, addr2 := start(t, one), start(t, two)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var down atomic.Bool
	var dials atomic.Int32
	c := dial(t, client.Config{Endpoints: []string{addr1, addr2}, Dial: func(ctx context.Context, addr string) (net.Conn, error) {
		switch {
		case addr == addr1 && down.Load():
			return nil, errors.New("down")
		case addr == addr2 && dials.Add(1) > 2:
			cancel() // both endpoints were tried by now
		}
		var d net.Dialer
		return d.DialContext(ctx, "tcp", addr)
	}})
	must[int64](t)(c.Append(ctx, "a", []byte("x")))
	down.Store(true)
	one.Before = func(node.Request) *node.Reply { return &node.Reply{Outcome: node.NotApplied, Err: node.ErrNoLeader} }
	if _, err := c.Append(ctx, "a", []byte("y")); !errors.Is(err, client.ErrNotApplied) || !strings.Contains(err.Error(), "another cluster") {
		t.Errorf("got %v", err)
	}
	if n := two.Status().LastIndex; n != 0 {
		t.Errorf("%d entries in the other cluster", n)
	}
}

// A server that is silent is left, and the write goes on elsewhere.
func TestSilentNodeIsLeft(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0") // accepts and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c := dial(t, client.Config{Endpoints: []string{ln.Addr().String(), start(t, resptest.NewMemory())}, DialTimeout: 20 * time.Millisecond})
	if err := c.Put(t.Context(), "a", nil); err != nil {
		t.Error(err)
	}
}

// Closing ends what is under way, and tells the server that its sessions are not needed.
func TestClose(t *testing.T) {
	m := resptest.NewMemory()
	c := dial(t, client.Config{Endpoints: []string{start(t, m)}})
	must[int64](t)(c.Append(t.Context(), "a", []byte("x")))
	stuck := make(chan struct{})
	var once sync.Once
	m.Before = func(r node.Request) *node.Reply {
		var cmd statemachine.Command
		if cmd.Decode(r.Data) == nil && cmd.Op == statemachine.OpGet {
			once.Do(func() { close(stuck) })
			return &node.Reply{Outcome: node.NotApplied, Err: node.ErrNoLeader}
		}
		return nil
	}
	var closed atomic.Int32
	m.After = func(r node.Request, _ *node.Reply) {
		var cmd statemachine.Command
		if cmd.Decode(r.Data) == nil && cmd.Op == statemachine.OpSessionClose {
			closed.Add(1)
		}
	}
	// One of its own: after a refusal it looks for another node, and has none to close a session at.
	stands := dial(t, client.Config{Endpoints: []string{start(t, m)}})
	ended := make(chan error, 1)
	go func() {
		_, err := stands.Get(context.Background(), "a")
		ended <- err
	}()
	<-stuck
	if err := stands.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, client.ErrClosed) {
		t.Errorf("get: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if closed.Load() != 1 {
		t.Errorf("%d sessions were closed", closed.Load())
	}
	if err := c.Put(t.Context(), "a", nil); !errors.Is(err, client.ErrClosed) || !errors.Is(err, client.ErrNotApplied) {
		t.Errorf("put after close: %v", err)
	}
}

// What can't be reached whatever happens is told at once.
func TestBadEndpoint(t *testing.T) {
	for _, e := range []string{"nonsense", "h:", "h:99999", "h:x y"} {
		if _, err := client.New(client.Config{Endpoints: []string{e}}); err == nil {
			t.Errorf("%q is taken", e)
		}
	}
}

// A call that ended for lack of time says so in words, and for errors.Is.
func TestLateCall(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0") // accepts and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c := dial(t, client.Config{Endpoints: []string{ln.Addr().String()}})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := c.Put(ctx, "a", nil); !errors.Is(err, context.DeadlineExceeded) || err.Error() != `put "a": surely not applied: no answer in time` {
		t.Error(err)
	}
}
