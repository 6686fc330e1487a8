package client_test

import (
	"bytes"
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/raftkv/raftkv/client"
	"github.com/raftkv/raftkv/node"
	server "github.com/raftkv/raftkv/server/resp"
	"github.com/raftkv/raftkv/server/resp/resptest"
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

// patiently calls f with ever more time, until f says that it was enough for what
// comes before the end of that time: a busy machine needs more.
func patiently(t testing.TB, f func(timeout time.Duration) bool) {
	t.Helper()
	for timeout := 20 * time.Millisecond; timeout < 2*time.Minute; timeout *= 4 {
		if f(timeout) {
			return
		}
	}
	t.Error("no time was enough")
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
			var asked atomic.Bool
			m.Before = func(r node.Request) *node.Reply {
				if !isOnce(r) {
					return nil
				}
				asked.Store(true)
				rep := tc.rep
				return &rep
			}
			var err error
			call := func(cfg client.Config) bool {
				cfg.Endpoints = []string{start(t, m)}
				_, err = dial(t, cfg).Append(t.Context(), "a", []byte("x"))
				return asked.Load()
			}
			if tc.rep.Outcome == node.NotApplied {
				call(client.Config{BackoffMin: 1000 * time.Hour, BackoffMax: 1000 * time.Hour}) // no time for a second try
			} else {
				patiently(t, func(timeout time.Duration) bool { return call(client.Config{Timeout: timeout}) })
			}
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
