package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"time"

	"github.com/raftkv/raftkv/resp"
)

// ExpireAt lets the key live until t, in milliseconds of the cluster's time. One
// that has passed deletes the key.
func ExpireAt(t time.Time) PutOption {
	return func(args [][]byte) [][]byte {
		return append(args, []byte("PXAT"), strconv.AppendInt(nil, t.UnixMilli(), 10))
	}
}

// CompareAndSwap sets a key that holds old, byte by byte; nil stands for a key
// that is not there. Else nothing is changed: ErrCondition.
func (c *Client) CompareAndSwap(ctx context.Context, key string, old, value []byte, opts ...PutOption) error {
	if old == nil {
		return c.Put(ctx, key, value, append(opts[:len(opts):len(opts)], IfMissing())...)
	}
	return c.Put(ctx, key, value, append(opts[:len(opts):len(opts)], func(args [][]byte) [][]byte {
		return append(args, []byte("IFEQ"), old)
	})...)
}

// Versioned returns the value of a key and its version, or ErrNotFound. Every
// change of a key gives it a higher version: the index of its entry in the log.
func (c *Client) Versioned(ctx context.Context, key string) (value []byte, version uint64, err error) {
	v, err := c.read(ctx, "get "+name(key), resp.AppendRequest(nil, "GETV", key))
	switch {
	case err != nil:
		return nil, 0, err
	case v.Kind == resp.KindNull:
		return nil, 0, fmt.Errorf("get %s: %w", name(key), ErrNotFound)
	case len(v.Array) != 2:
		return nil, 0, fmt.Errorf("get %s is answered with %.100q", name(key), v.Text())
	}
	return v.Array[0].Bytes, uint64(v.Array[1].Int), nil
}

// PutVersion sets a key that has this version, 0: that is not there, and returns
// its new version. Else nothing is changed: ErrCondition. Of the options only those on time fit.
func (c *Client) PutVersion(ctx context.Context, key string, version uint64, value []byte, opts ...PutOption) (uint64, error) {
	args := [][]byte{[]byte("SETV"), []byte(key), strconv.AppendUint(nil, version, 10), value}
	for _, o := range opts {
		args = o(args)
	}
	v, err := c.write(ctx, "put "+name(key), args...)
	if err == nil && v.Kind == resp.KindNull {
		return 0, fmt.Errorf("put %s: %w", name(key), ErrCondition)
	}
	n, err := number(v, err)
	return uint64(n), err
}

// TTL returns how long a key will live. false: it lives for ever. ErrNotFound: it is not there.
func (c *Client) TTL(ctx context.Context, key string) (time.Duration, bool, error) {
	n, err := number(c.read(ctx, "ttl "+name(key), resp.AppendRequest(nil, "PTTL", key)))
	return lifetime("ttl", key, n, err)
}

// lifetime reads Redis's -2 (not there) and -1 (for ever).
func lifetime(op, key string, n int64, err error) (time.Duration, bool, error) {
	switch {
	case err != nil:
		return 0, false, err
	case n == -2:
		return 0, false, fmt.Errorf("%s %s: %w", op, name(key), ErrNotFound)
	case n < 0:
		return 0, false, nil
	}
	return time.Duration(n) * time.Millisecond, true, nil
}

// Expire lets a key live for d from now. ErrNotFound: it is not there. A d below a
// millisecond deletes it.
func (c *Client) Expire(ctx context.Context, key string, d time.Duration) error {
	return c.there(ctx, "expire", key, "PEXPIRE", key, strconv.FormatInt(d.Milliseconds(), 10))
}

// Persist lets a key live for ever. ErrNotFound: it is not there, or did so already.
func (c *Client) Persist(ctx context.Context, key string) error {
	return c.there(ctx, "persist", key, "PERSIST", key)
}

// there runs a write that answers 0 for a key that is not there.
func (c *Client) there(ctx context.Context, op, key string, words ...string) error {
	args := make([][]byte, len(words))
	for i, w := range words {
		args[i] = []byte(w)
	}
	n, err := number(c.write(ctx, op+" "+name(key), args...))
	switch {
	case errors.Is(err, ErrForgotten):
		return nil
	case err == nil && n == 0:
		return fmt.Errorf("%s %s: %w", op, name(key), ErrNotFound)
	}
	return err
}

// Item is a key with its value.
type Item struct {
	Key   string
	Value []byte
}

// Items is Scan with values. Keys and values of a page are read one after the
// other: a value may be newer than the page, and a key that went away since is left out.
func (c *Client) Items(ctx context.Context, o ScanOptions) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		var page []string
		flush := func() bool {
			if len(page) == 0 {
				return true
			}
			values, err := c.GetAll(ctx, page...)
			if err != nil {
				yield(Item{}, err)
				return false
			}
			for i, v := range values {
				if v != nil && !yield(Item{page[i], v}, nil) {
					return false
				}
			}
			page = page[:0]
			return true
		}
		for key, err := range c.Scan(ctx, o) {
			if err != nil {
				if flush() {
					yield(Item{}, err)
				}
				return
			}
			if page = append(page, key); len(page) == itemsPage && !flush() {
				return
			}
		}
		flush()
	}
}

// itemsPage is how many values are read at a time: all of them are in memory.
const itemsPage = 32
