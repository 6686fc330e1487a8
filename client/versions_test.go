package client_test

import (
	"errors"
	"testing"
	"time"

	"github.com/raftkv/raftkv/client"
	"github.com/raftkv/raftkv/server/resp/resptest"
)

func TestVersionsAndConditions(t *testing.T) {
	c := dial(t, client.Config{Endpoints: []string{start(t, resptest.NewMemory())}})
	ctx := t.Context()
	wantCondition := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, client.ErrCondition) || errors.Is(err, client.ErrUnknown) {
			t.Errorf("%s: %v, want a condition that isn't met", what, err)
		}
	}
	if err := c.CompareAndSwap(ctx, "k", nil, []byte("1")); err != nil {
		t.Fatal(err)
	}
	wantCondition("missing", c.CompareAndSwap(ctx, "k", nil, []byte("2")))
	wantCondition("other", c.CompareAndSwap(ctx, "k", []byte("x"), []byte("2")))
	wantCondition("empty is not missing", c.CompareAndSwap(ctx, "none", []byte{}, []byte("2")))
	if err := c.CompareAndSwap(ctx, "k", []byte("1"), []byte("\xff")); err != nil {
		t.Error(err)
	}
	value, version, err := c.Versioned(ctx, "k")
	if err != nil || string(value) != "\xff" || version == 0 {
		t.Fatalf("%q, version %d, %v", value, version, err)
	}
	if _, _, err := c.Versioned(ctx, "none"); !errors.Is(err, client.ErrNotFound) {
		t.Error(err)
	}
	now, err := c.PutVersion(ctx, "k", version, []byte("3"), client.TTL(time.Hour))
	if err != nil || now <= version {
		t.Fatalf("version %d behind %d, %v", now, version, err)
	}
	_, err = c.PutVersion(ctx, "k", version, []byte("4"))
	wantCondition("old version", err)
	if _, v, err := c.Versioned(ctx, "k"); err != nil || v != now {
		t.Errorf("version %d, want %d (%v)", v, now, err)
	}
	if _, err := c.PutVersion(ctx, "new", 0, nil); err != nil {
		t.Error(err)
	}
	_, err = c.PutVersion(ctx, "new", 0, nil)
	wantCondition("version 0", err)
}

func TestLifetimes(t *testing.T) {
	m := resptest.NewMemory()
	c := dial(t, client.Config{Endpoints: []string{start(t, m)}})
	ctx := t.Context()
	if err := c.Put(ctx, "k", nil); err != nil {
		t.Fatal(err)
	}
	if _, expires, err := c.TTL(ctx, "k"); expires || err != nil {
		t.Error(expires, err)
	}
	if err := c.Expire(ctx, "k", time.Hour); err != nil {
		t.Error(err)
	}
	if d, expires, err := c.TTL(ctx, "k"); !expires || err != nil || d > time.Hour+time.Second || d < 50*time.Minute {
		t.Error(d, expires, err)
	}
	if err := c.Persist(ctx, "k"); err != nil {
		t.Error(err)
	}
	if err := c.Persist(ctx, "k"); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("for ever already: %v", err)
	}
	if err := c.Put(ctx, "k", nil, client.ExpireAt(time.Now().Add(time.Hour))); err != nil {
		t.Error(err)
	}
	if d, expires, err := c.TTL(ctx, "k"); !expires || err != nil || d > time.Hour+time.Second || d < 50*time.Minute {
		t.Error(d, expires, err)
	}
	for _, err := range []error{c.Expire(ctx, "none", time.Hour), c.Persist(ctx, "none"), second(c.TTL(ctx, "none"))} {
		if !errors.Is(err, client.ErrNotFound) {
			t.Error(err)
		}
	}
	if err := c.Expire(ctx, "k", 0); err != nil {
		t.Error(err)
	}
	if _, err := c.Get(ctx, "k"); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("a life of no time: %v", err)
	}
}

func second(_ time.Duration, _ bool, err error) error { return err }

// Items are Scan's keys with their values, over several pages.
func TestItems(t *testing.T) {
	c := dial(t, client.Config{Endpoints: []string{start(t, resptest.NewMemory())}})
	ctx := t.Context()
	const n = 100
	for i := range n {
		if err := c.Put(ctx, "k"+string(rune('A'+i)), []byte{byte(i)}); err != nil {
			t.Fatal(err)
		}
	}
	i := 0
	for it, err := range c.Items(ctx, client.ScanOptions{Prefix: "k", Page: 7}) {
		if err != nil {
			t.Fatal(err)
		}
		if it.Key != "k"+string(rune('A'+i)) || it.Value[0] != byte(i) {
			t.Fatalf("item %d is %q = %v", i, it.Key, it.Value)
		}
		i++
	}
	if i != n {
		t.Errorf("%d items, want %d", i, n)
	}
	for range c.Items(ctx, client.ScanOptions{}) {
		break // nothing is left behind
	}
}
