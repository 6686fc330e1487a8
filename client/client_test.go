package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/raftkv/raftkv/client"
	"github.com/raftkv/raftkv/node"
	server "github.com/raftkv/raftkv/server/resp"
	"github.com/raftkv/raftkv/server/resp/resptest"
	"github.com/raftkv/raftkv/statemachine"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func dial(t testing.TB, cfg client.Config) *client.Client {
	t.Helper()
	if cfg.Timeout == 0 {
		cfg.Timeout = 30 * time.Second
	}
	if cfg.BackoffMin == 0 {
		cfg.BackoffMin, cfg.BackoffMax = time.Microsecond, time.Millisecond
	}
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func start(t testing.TB, m *resptest.Memory) string {
	addr, _ := resptest.Start(t, m, server.Config{})
	return addr
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestVerbs(t *testing.T) {
	c := dial(t, client.Config{Endpoints: []string{start(t, resptest.NewMemory())}})
	ctx := t.Context()
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	for _, v := range [][]byte{every, {}, bytes.Repeat([]byte("x"), 1<<20)} {
		if err := c.Put(ctx, string(every), v); err != nil {
			t.Fatal(err)
		}
		if got := must[[]byte](t)(c.Get(ctx, string(every))); !bytes.Equal(got, v) || got == nil {
			t.Errorf("%d bytes came back as %d", len(v), len(got))
		}
	}
	if _, err := c.Get(ctx, "none"); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("get of nothing: %v", err)
	}
	if n := must[int64](t)(c.Append(ctx, "a", []byte("xy"))); n != 2 {
		t.Error(n)
	}
	if n := must[int64](t)(c.Len(ctx, "a")); n != 2 {
		t.Error(n)
	}
	if n := must[int64](t)(c.Incr(ctx, "n", -5)); n != -5 {
		t.Error(n)
	}
	if _, err := c.Incr(ctx, "a", 1); err == nil || !strings.Contains(err.Error(), "not an integer") || errors.Is(err, client.ErrNotApplied) || errors.Is(err, client.ErrUnknown) {
		t.Errorf("incr of text: %v", err)
	}
	if err := c.Put(ctx, "a", nil, client.IfMissing()); !errors.Is(err, client.ErrCondition) {
		t.Error(err)
	}
	if err := c.Put(ctx, "b", nil, client.IfExists()); !errors.Is(err, client.ErrCondition) {
		t.Error(err)
	}
	if err := c.Put(ctx, "b", []byte("1"), client.IfMissing(), client.TTL(time.Hour)); err != nil {
		t.Error(err)
	}
	if err := c.Put(ctx, "b", []byte("1"), client.TTL(-1)); err == nil || !strings.Contains(err.Error(), "invalid expire time") {
		t.Error(err)
	}
	if err := c.Put(ctx, "b", []byte("2"), client.KeepTTL()); err != nil {
		t.Error(err)
	}
	if vs := must[[][]byte](t)(c.GetAll(ctx, "a", "none", "b")); !reflect.DeepEqual(vs, [][]byte{[]byte("xy"), nil, []byte("2")}) {
		t.Errorf("%q", vs)
	}
	if n := must[int64](t)(c.Exists(ctx, "a", "a", "none")); n != 2 {
		t.Error(n)
	}
	if n := must[int64](t)(c.Count(ctx)); n != 4 {
		t.Error(n)
	}
	if n := must[int64](t)(c.Delete(ctx, "a", "none", "b")); n != 2 {
		t.Error(n)
	}
	if v := must[string](t)(c.Transfer(ctx, "")); v != "transferred to " {
		t.Error(v)
	}
}

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

// The kinds of errors of a write (ARCHITECTURE, Outcomes and forwarding).
func TestKindsOfErrors(t *testing.T) {
	for _, tc := range []struct {
		name string
		rep  node.Reply
		want []error
		not  []error
	}{
		{"no leader", node.Reply{Outcome: node.NotApplied, Err: node.ErrNoLeader}, []error{client.ErrNotApplied, client.ErrNoLeader}, []error{client.ErrUnknown}},
		{"busy", node.Reply{Outcome: node.NotApplied, Err: node.ErrBusy}, []error{client.ErrNotApplied}, []error{client.ErrUnknown, client.ErrNoLeader}},
		{"no space", node.Reply{Outcome: node.NotApplied, Err: node.ErrNoSpace}, []error{client.ErrNotApplied}, []error{client.ErrUnknown, client.ErrNoLeader, context.DeadlineExceeded}},
		{"unknown", node.Reply{Outcome: node.Unknown, Err: node.ErrLostLead}, []error{client.ErrUnknown, context.DeadlineExceeded}, []error{client.ErrNotApplied}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := resptest.NewMemory()
			m.Before = func(r node.Request) *node.Reply {
				if !isOnce(r) {
					return nil
				}
				rep := tc.rep
				return &rep
			}
			cfg := client.Config{Endpoints: []string{start(t, m)}}
			if tc.rep.Outcome == node.NotApplied {
				cfg.BackoffMin, cfg.BackoffMax = 1000*time.Hour, 1000*time.Hour // no time for a second try
			} else {
				cfg.Timeout = 50 * time.Millisecond
			}
			c := dial(t, cfg)
			ctx := t.Context()
			_, err := c.Append(ctx, "a", []byte("x"))
			for _, want := range tc.want {
				if !errors.Is(err, want) {
					t.Errorf("%v is not %v", err, want)
				}
			}
			for _, not := range tc.not {
				if errors.Is(err, not) {
					t.Errorf("%v is %v", err, not)
				}
			}
		})
	}
}

// A refusal after an attempt that may have run settles nothing.
func TestRefusalAfterAnUnknownAttemptIsUnknown(t *testing.T) {
	m := resptest.NewMemory()
	var n atomic.Int32
	m.Before = func(r node.Request) *node.Reply {
		if !isOnce(r) {
			return nil
		}
		if n.Add(1) == 1 {
			return &node.Reply{Outcome: node.Unknown, Err: node.ErrLostLead}
		}
		return &node.Reply{Outcome: node.NotApplied, Err: node.ErrNoSpace}
	}
	c := dial(t, client.Config{Endpoints: []string{start(t, m)}})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := c.Put(ctx, "a", nil); !errors.Is(err, client.ErrUnknown) || errors.Is(err, client.ErrNotApplied) {
		t.Error(err)
	}
}

func TestNobodyThere(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	c := dial(t, client.Config{Endpoints: []string{ln.Addr().String()}})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := c.Put(ctx, "a", nil); !errors.Is(err, client.ErrNoLeader) || !errors.Is(err, client.ErrNotApplied) {
		t.Errorf("put: %v", err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := c.Get(ctx, "a"); !errors.Is(err, client.ErrNoLeader) || strings.Contains(err.Error(), "applied") {
		t.Errorf("get: %v", err) // a read is never applied
	}
	rows, err := c.Status(t.Context())
	if !errors.Is(err, client.ErrNoLeader) || len(rows) != 1 || rows[0].Error == "" || rows[0].Endpoint != ln.Addr().String() {
		t.Errorf("status: %v %v", rows, err)
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
	ended := make(chan error, 1)
	go func() {
		_, err := c.Get(context.Background(), "a")
		ended <- err
	}()
	<-stuck
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, client.ErrClosed) {
		t.Errorf("get: %v", err)
	}
	if closed.Load() != 1 {
		t.Errorf("%d sessions were closed", closed.Load())
	}
	if err := c.Put(t.Context(), "a", nil); !errors.Is(err, client.ErrClosed) || !errors.Is(err, client.ErrNotApplied) {
		t.Errorf("put after close: %v", err)
	}
}

// Scan yields what a sorted list would, whatever the page and the bytes.
func TestScan(t *testing.T) {
	m := resptest.NewMemory()
	c := dial(t, client.Config{Endpoints: []string{start(t, m)}})
	rapid.Check(t, func(rt *rapid.T) {
		key := rapid.StringOfN(rapid.RuneFrom([]rune("ab*?[]\\^-\x00\u00ff")), 0, 4, -1)
		keys := rapid.SliceOfN(key, 1, 12).Draw(rt, "keys")
		for _, k := range keys {
			if err := c.Put(t.Context(), k, nil); err != nil {
				rt.Fatal(err)
			}
		}
		o := client.ScanOptions{Prefix: key.Draw(rt, "prefix"), After: key.Draw(rt, "after"), Page: rapid.IntRange(1, 5).Draw(rt, "page")}
		slices.Sort(keys)
		var want []string
		for _, k := range slices.Compact(slices.Clone(keys)) {
			if strings.HasPrefix(k, o.Prefix) && (o.After == "" || k > o.After) {
				want = append(want, k)
			}
		}
		var got []string
		for k, err := range c.Scan(t.Context(), o) {
			if err != nil {
				rt.Fatal(err)
			}
			got = append(got, k)
		}
		if !slices.Equal(got, want) {
			rt.Fatalf("%+v: got %q, want %q", o, got, want)
		}
		if _, err := c.Delete(t.Context(), keys...); err != nil {
			rt.Fatal(err)
		}
	})
}

// A row for each member, and an unreachable one says so.
func TestStatus(t *testing.T) {
	m1, m2 := resptest.NewMemory(), resptest.NewMemory()
	a1, a2 := start(t, m1), start(t, m2)
	members := []node.MemberStatus{{ID: "1", Name: "n1", Client: a1, Active: true}, {ID: "2", Name: "n2", Client: a2}, {ID: "3", Name: "n3", Client: "127.0.0.1:1"}}
	m1.SetStatus(func(s *node.Status) { s.Members, s.StateHash = members, "00ff" })
	m2.SetStatus(func(s *node.Status) { s.Members, s.ID, s.Name, s.Role = members, "2", "n2", "follower" })
	c := dial(t, client.Config{Endpoints: []string{a2}})
	rows, err := c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range rows {
		got = append(got, fmt.Sprint(r.Name, " ", r.Role, " ", r.Error == ""))
	}
	if want := []string{"n1 leader true", "n2 follower true", "n3  false"}; !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	if rows[0].StateHash != "00ff" {
		t.Errorf("state hash %q", rows[0].StateHash)
	}
	if ms, err := c.Members(t.Context()); err != nil || len(ms) != 3 || ms[2].Name != "n3" {
		t.Errorf("members: %v %v", ms, err)
	}
}

// One node that hangs must not hold up what the others say.
func TestStatusDoesNotWaitForAFrozenNode(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0") // accepts and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	m := resptest.NewMemory()
	at := start(t, m)
	m.SetStatus(func(s *node.Status) { s.Members[0].Client = at })
	c := dial(t, client.Config{Endpoints: []string{at, ln.Addr().String()}, Timeout: 5 * time.Second, StatusTimeout: 20 * time.Millisecond})
	rows, err := c.Status(t.Context())
	if err != nil || len(rows) != 2 || rows[0].Error != "" || rows[1].Error != "no answer within 20ms" {
		t.Errorf("%+v %v", rows, err)
	}
}

// A change goes to the leader, wherever the client is connected, and its answers are told apart.
func TestChangesGoToTheLeader(t *testing.T) {
	leader := resptest.NewMemory()
	at := start(t, leader)
	follower := script(t, func(words []string) string {
		if words[1] == "ID" {
			return fmt.Sprintf("$%d\r\n%s\r\n", len(leader.Status().Cluster), leader.Status().Cluster)
		}
		return "-NOTLEADER " + at + " this node doesn't lead\r\n"
	})
	c := dial(t, client.Config{Endpoints: []string{follower}})
	if said, err := c.AddMember(t.Context(), "n9", "h:1", false); err != nil || said != "added n9" {
		t.Errorf("%q %v", said, err)
	}
	if ms := leader.Status().Members; ms[len(ms)-1].Name != "n9" {
		t.Errorf("members %v", ms)
	}
	for text, want := range map[string]error{
		"REFUSED it is behind":        client.ErrCondition,
		"UNKNOWNOUTCOME no answer":    client.ErrUnknown,
		"CLUSTERDOWN no leader":       client.ErrNoLeader,
		"TRYAGAIN another is pending": client.ErrNotApplied,
	} {
		addr := script(t, func(words []string) string {
			if words[1] == "ID" {
				return "$1\r\nc\r\n"
			}
			return "-" + text + "\r\n"
		})
		c := dial(t, client.Config{Endpoints: []string{addr}, BackoffMin: 1000 * time.Hour, BackoffMax: 1000 * time.Hour})
		if _, err := c.Remove(t.Context(), "n1", true); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", text, err, want)
		}
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
