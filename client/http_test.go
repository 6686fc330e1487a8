package client_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/raftkv/raftkv/client"
	"github.com/raftkv/raftkv/internal/testenv"
	"github.com/raftkv/raftkv/node"
	"github.com/raftkv/raftkv/server/feed"
	"github.com/raftkv/raftkv/server/httpapi/apitest"
	"github.com/raftkv/raftkv/server/resp/resptest"
	"github.com/raftkv/raftkv/statemachine"
)

func TestTxn(t *testing.T) {
	m := resptest.NewMemory()
	addr, _ := apitest.Serve(t, m, feed.Config{}, nil)
	c := dial(t, client.Config{Endpoints: []string{addr}})
	ctx := t.Context()
	bin := "k\xff"
	res, err := c.Txn().IfMissing(bin).Put(bin, []byte{0xff, 0}, time.Hour).Get(bin).Incr("n", -7).Append("s", []byte("ab")).Delete("none").Incr("s", 1).Get("none").Commit(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(res[1].Value, []byte{0xff, 0}) || res[1].Version == 0 || res[2].Number != -7 || res[3].Number != 2 || res[4].Number != 0 || res[6].Value != nil {
		t.Errorf("%+v", res)
	}
	if e, ok := errors.AsType[*client.ReplyError](res[5].Err); !ok || e.Code() != "ERR" {
		t.Errorf("increment of a text: %v", res[5].Err)
	}
	if _, err := c.Txn().IfMissing(bin).Delete(bin).Commit(ctx); !errors.Is(err, client.ErrCondition) {
		t.Errorf("a condition that is not met: %v", err)
	}
	// The number of the refused one was used up: the session goes on behind it.
	if _, err := c.Txn().IfVersion(bin, res[1].Version).Delete(bin).Commit(ctx); err != nil {
		t.Error(err)
	}
	if res, err := c.Txn().Get(bin).Get("n").Commit(ctx); err != nil || res[0].Value != nil || string(res[1].Value) != "-7" {
		t.Errorf("%+v, %v", res, err)
	}
	if _, err := c.Txn().Commit(ctx); err == nil || errors.Is(err, client.ErrUnknown) {
		t.Errorf("a transaction of nothing: %v", err)
	}
	m.Before = func(node.Request) *node.Reply { return &node.Reply{Outcome: node.NotApplied, Err: node.ErrNoSpace} }
	if _, err := c.Txn().Incr("n", 1).Commit(ctx); !errors.Is(err, client.ErrNotApplied) || errors.Is(err, client.ErrUnknown) {
		t.Errorf("no space: %v", err)
	}
}

// CS-01, CS-02: answers are lost, outcomes unknown, requests refused: each transaction takes effect once.
func TestEachTxnTakesEffectOnce(t *testing.T) {
	m := resptest.NewMemory()
	var mu sync.Mutex
	rnd := rand.New(rand.NewPCG(1, 2))
	roll := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return rnd.IntN(n)
	}
	var breaks atomic.Int64
	addr, _ := apitest.Serve(t, m, feed.Config{}, func(ln net.Listener) net.Listener {
		return &flaky{ln, func(n int) int {
			r := roll(n)
			if r == 0 {
				breaks.Add(1)
			}
			return r
		}, 5}
	})
	m.Before = func(r node.Request) *node.Reply {
		if isOnce(r) && roll(8) == 0 {
			return &node.Reply{Outcome: node.NotApplied, Err: node.ErrNoLeader}
		}
		return nil
	}
	m.After = func(r node.Request, rep *node.Reply) {
		if isOnce(r) && roll(8) == 0 {
			*rep = node.Reply{Slot: rep.Slot, Outcome: node.Unknown, Err: node.ErrLostLead}
		}
	}
	c := dial(t, client.Config{Endpoints: []string{addr}})
	var all sync.WaitGroup
	const callers, each = 4, 40
	for i := range callers {
		all.Go(func() {
			for j := range each {
				token := fmt.Sprintf("<%d.%d>", i, j)
				if _, err := c.Txn().Append("log", []byte(token)).Incr("count", 1).Commit(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	m.Before, m.After = nil, nil
	value := must[[]byte](t)(c.Get(t.Context(), "log"))
	for i := range callers {
		for j := range each {
			if n := strings.Count(string(value), fmt.Sprintf("<%d.%d>", i, j)); n != 1 {
				t.Errorf("token %d.%d is there %d times", i, j, n)
			}
		}
	}
	if n := must[int64](t)(c.Incr(t.Context(), "count", 0)); n != callers*each {
		t.Errorf("%d counted, want %d", n, callers*each)
	}
	if breaks.Load() == 0 {
		t.Error("no answer was lost: nothing was tested")
	}
}

// A transaction whose answers are all lost is unknown; one that reached nobody surely did nothing.
func TestLostTxnIsUnknown(t *testing.T) {
	m := resptest.NewMemory()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var lost atomic.Int32
	addr, _ := apitest.Serve(t, m, feed.Config{}, func(ln net.Listener) net.Listener {
		return &flaky{ln, func(int) int {
			if lost.Add(1) == 3 {
				cancel() // the client gives up
			}
			return 0
		}, 1}
	})
	c := dial(t, client.Config{Endpoints: []string{addr}})
	if _, err := c.Txn().Incr("n", 1).Commit(ctx); !errors.Is(err, client.ErrUnknown) || errors.Is(err, client.ErrNotApplied) {
		t.Errorf("answers are lost: %v", err)
	}
	if n := must[int64](t)(c.Incr(t.Context(), "n", 0)); n != 1 {
		t.Errorf("it took effect %d times", n)
	}
	m.SetStatus(func(s *node.Status) { s.Members[0].HTTP = nobody })
	other := dial(t, client.Config{Endpoints: []string{addr}, Timeout: 100 * time.Millisecond})
	if _, err := other.Txn().Incr("n", 1).Commit(t.Context()); !errors.Is(err, client.ErrNotApplied) || errors.Is(err, client.ErrUnknown) {
		t.Errorf("nobody is there: %v", err)
	}
}

// A call that ends while it connects has sent nothing.
func TestTxnThatOnlyDialedIsNotApplied(t *testing.T) {
	m := resptest.NewMemory()
	addr, _ := apitest.Serve(t, m, feed.Config{}, nil)
	const away = "192.0.2.1:1"
	m.SetStatus(func(s *node.Status) { s.Members[0].HTTP = away })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := dial(t, client.Config{Endpoints: []string{addr}, Dial: func(dialing context.Context, to string) (net.Conn, error) {
		if to == away {
			cancel()
			<-dialing.Done()
			return nil, dialing.Err()
		}
		var d net.Dialer
		return d.DialContext(dialing, "tcp", to)
	}})
	if _, err := c.Txn().Incr("n", 1).Commit(ctx); !errors.Is(err, client.ErrNotApplied) || errors.Is(err, client.ErrUnknown) {
		t.Error(err)
	}
}

func apply(m *resptest.Memory, cmds ...statemachine.Command) {
	way := m.Connect(discard{})
	for _, c := range cmds {
		way.Submit(context.Background(), []node.Request{{Data: statemachine.AppendCommand(nil, c)}})
	}
}

type discard struct{}

func (discard) Deliver([]node.Reply) {}

func setCommand(key, value string) statemachine.Command {
	return statemachine.Command{Op: statemachine.OpSet, Args: [][]byte{[]byte(key), []byte(value)}}
}

// Changes come once each and in order, however often the connection breaks.
func TestWatchGoesOnOverLostConnections(t *testing.T) {
	m := resptest.NewMemory()
	var n, breaks atomic.Int64
	addr, hub := apitest.Serve(t, m, feed.Config{}, func(ln net.Listener) net.Listener {
		return &flaky{ln, func(int) int {
			if n.Add(1)%7 == 0 {
				breaks.Add(1)
				return 0
			}
			return 1
		}, 1}
	})
	c := dial(t, client.Config{Endpoints: []string{addr}})
	const events = 300
	apply(m, setCommand("a/first", "x"))
	go func() { // ends by itself; the loop below sees all of it
		for i := range events {
			apply(m, setCommand("other", "x"), statemachine.Command{Op: statemachine.OpMSet, Args: [][]byte{fmt.Appendf(nil, "a/%d", i), []byte("\xff"), fmt.Appendf(nil, "a/%d+", i), nil}})
		}
	}()
	var got []string
	for ch, err := range c.Watch(t.Context(), client.WatchOptions{Prefix: "a/", From: 1}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, ch.Key)
		if ch.Kind != client.Changed || ch.Value == nil || ch.Version != ch.Index {
			t.Fatalf("%+v", ch)
		}
		if len(got) == 2*events+1 {
			break
		}
	}
	want := []string{"a/first"}
	for i := range events {
		want = append(want, fmt.Sprintf("a/%d", i), fmt.Sprintf("a/%d+", i))
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%d changes, want %d: %q", len(got), len(want), got[:min(20, len(got))])
	}
	if breaks.Load() == 0 {
		t.Error("no connection was lost: nothing was tested")
	}
	testenv.Eventually(t, "the server to notice that the client is gone", func() bool { return hub.Stats().Subscribers == 0 })
}

func TestWatchTellsWhatHappened(t *testing.T) {
	m := resptest.NewMemory()
	addr, _ := apitest.Serve(t, m, feed.Config{}, nil)
	c := dial(t, client.Config{Endpoints: []string{addr}})
	apply(m,
		statemachine.Command{Op: statemachine.OpSet, Flags: statemachine.FlagAt, Num: 4_000_000_000_000, Args: [][]byte{[]byte("k\xff"), nil}},
		statemachine.Command{Op: statemachine.OpDel, Args: [][]byte{[]byte("k\xff")}},
		setCommand("y", "1"), statemachine.Command{Op: statemachine.OpFlush}, setCommand("z", "1"))
	var got []client.Change
	for ch, err := range c.Watch(t.Context(), client.WatchOptions{From: 1}) {
		if err != nil {
			t.Fatal(err)
		}
		ch.Place = ""
		if got = append(got, ch); len(got) == 5 {
			break
		}
	}
	want := []client.Change{
		{Kind: client.Changed, Key: "k\xff", Value: []byte{}, Version: 1, Index: 1, Command: "set", Expires: time.UnixMilli(4_000_000_000_000)},
		{Kind: client.Deleted, Key: "k\xff", Version: 2, Index: 2, Command: "del"},
		{Kind: client.Changed, Key: "y", Value: []byte("1"), Version: 3, Index: 3, Command: "set"},
		{Kind: client.Flushed, Index: 4, Command: "flushall"},
		{Kind: client.Changed, Key: "z", Value: []byte("1"), Version: 5, Index: 5, Command: "set"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	for ch, err := range c.Watch(t.Context(), client.WatchOptions{From: 5, Keys: true}) {
		if err != nil || ch.Key != "z" || len(ch.Value) > 0 {
			t.Errorf("keys alone: %+v, %v", ch, err)
		}
		break
	}
}

// A watch ends with the reason: changes that are gone, the context, the client, no permission.
func TestWatchEnds(t *testing.T) {
	m := resptest.NewMemory()
	addr, _ := apitest.Serve(t, m, feed.Config{Events: 4}, nil)
	c := dial(t, client.Config{Endpoints: []string{addr}})
	for range 9 {
		apply(m, setCommand("a", "x"))
	}
	last := func(ctx context.Context, c *client.Client, o client.WatchOptions) (err error) {
		for _, e := range c.Watch(ctx, o) {
			err = e
		}
		return err
	}
	if e, ok := errors.AsType[*client.CompactedError](last(t.Context(), c, client.WatchOptions{From: 1})); !ok || e.Oldest < 5 {
		t.Errorf("%+v", e)
	}
	if e, ok := errors.AsType[*client.ReplyError](last(t.Context(), c, client.WatchOptions{After: "nonsense"})); !ok || e.Code() != "ERR" {
		t.Errorf("%v", e)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := last(ctx, c, client.WatchOptions{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	other := dial(t, client.Config{Endpoints: []string{addr}})
	ended := make(chan error, 1)
	go func() { ended <- last(t.Context(), other, client.WatchOptions{From: 9}) }()
	other.Close()
	if err := <-ended; !errors.Is(err, client.ErrClosed) {
		t.Error(err)
	}
}

// Changes that one node no longer keeps come from another that does; only when no
// node has them the watch ends, and tells how far back the best of them reaches.
func TestWatchLooksForChangesAtAllNodes(t *testing.T) {
	serve := func(kept int) (*resptest.Memory, string) {
		m := resptest.NewMemory()
		addr, _ := apitest.Serve(t, m, feed.Config{Events: kept}, nil)
		for i := range 20 {
			apply(m, setCommand("k", strconv.Itoa(i)))
		}
		return m, addr
	}
	restarted, addr := serve(4)
	knows := func(others ...string) { // the members' HTTP addresses behind its own
		restarted.SetStatus(func(s *node.Status) {
			s.Members = s.Members[:1]
			for i, o := range others {
				id := strconv.Itoa(i + 2)
				s.Members = append(s.Members, node.MemberStatus{ID: id, Name: "n" + id, Peer: "127.0.0.1:1", HTTP: o, Active: true})
			}
		})
	}
	web := func(m *resptest.Memory) string { return m.Status().Members[0].HTTP }
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody.Close()
	shorter, _ := serve(8)
	lasting, _ := serve(100)

	knows(nobody.Addr().String(), web(shorter), web(lasting))
	var got []string
	for ch, err := range dial(t, client.Config{Endpoints: []string{addr}}).Watch(t.Context(), client.WatchOptions{From: 1}) {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, string(ch.Value)); len(got) == 20 {
			break
		}
	}
	if got[0] != "0" || got[19] != "19" {
		t.Errorf("%q", got)
	}

	knows(nobody.Addr().String(), web(shorter))
	patiently(t, func(timeout time.Duration) (reached bool) {
		impatient := dial(t, client.Config{Endpoints: []string{addr}, Timeout: timeout})
		for ch, err := range impatient.Watch(t.Context(), client.WatchOptions{From: 1}) {
			e, ok := errors.AsType[*client.CompactedError](err)
			if reached = ok && e.Oldest >= 10 && e.Oldest <= 14; !reached {
				t.Logf("after %v: %+v, %v: the one that keeps eight reaches back to 13", timeout, ch, err)
			}
		}
		return reached
	})
}

// Who ends a watch while it looks for a node that keeps more need not wait until that is given up.
func TestWatchEndsWhileItLooksElsewhere(t *testing.T) {
	m := resptest.NewMemory()
	addr, _ := apitest.Serve(t, m, feed.Config{Events: 4}, nil)
	for range 9 {
		apply(m, setCommand("a", "x"))
	}
	web := m.Status().Members[0].HTTP
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var gone atomic.Bool // all nodes
	var mu sync.Mutex
	var open []net.Conn
	c := dial(t, client.Config{Endpoints: []string{addr}, Timeout: 24 * time.Hour, Dial: func(ctx context.Context, to string) (net.Conn, error) {
		if gone.Load() {
			cancel()
			return nil, errors.New("nobody is there")
		}
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", to)
		mu.Lock()
		defer mu.Unlock()
		if err == nil && to != web {
			open = append(open, conn)
		} else if err == nil {
			conn = &answered{conn, func() { // with: compacted
				gone.Store(true)
				mu.Lock()
				defer mu.Unlock()
				for _, o := range open {
					o.Close()
				}
			}}
		}
		return conn, err
	}})
	ended := make(chan error, 1)
	go func() {
		for _, err := range c.Watch(ctx, client.WatchOptions{From: 1}) {
			ended <- err
		}
	}()
	var err error
	testenv.Eventually(t, "the watch to end", func() bool {
		select {
		case err = <-ended:
			return true
		default:
			return false
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// answered is a connection that tells of the first bytes that come.
type answered struct {
	net.Conn
	tell func()
}

func (a *answered) Read(p []byte) (int, error) {
	n, err := a.Conn.Read(p)
	if n > 0 && a.tell != nil {
		a.tell()
		a.tell = nil
	}
	return n, err
}
