package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/raftkv/raftkv/internal/prefix"
	"github.com/raftkv/raftkv/resp"
)

// PutOption changes what Put does.
type PutOption func(args [][]byte) [][]byte

// IfMissing makes Put fail with ErrCondition if the key is there.
func IfMissing() PutOption { return word("NX") }

// IfExists makes Put fail with ErrCondition if the key is not there.
func IfExists() PutOption { return word("XX") }

// KeepTTL keeps the time to live that the key has.
func KeepTTL() PutOption { return word("KEEPTTL") }

// TTL lets the key live for d, in milliseconds of the cluster's time.
func TTL(d time.Duration) PutOption {
	return func(args [][]byte) [][]byte {
		return append(args, []byte("PX"), strconv.AppendInt(nil, d.Milliseconds(), 10))
	}
}

func word(w string) PutOption {
	return func(args [][]byte) [][]byte { return append(args, []byte(w)) }
}

// Put sets a key.
func (c *Client) Put(ctx context.Context, key string, value []byte, opts ...PutOption) error {
	args := [][]byte{[]byte("SET"), []byte(key), value}
	for _, o := range opts {
		args = o(args)
	}
	v, err := c.write(ctx, "put "+name(key), args...)
	switch {
	case errors.Is(err, ErrForgotten):
		return nil // there is nothing to know but that it was done
	case err == nil && v.Kind == resp.KindNull:
		return fmt.Errorf("put %s: %w", name(key), ErrCondition)
	}
	return err
}

// Append appends to the value of a key, which need not be there, and returns the
// length of the whole value in bytes.
func (c *Client) Append(ctx context.Context, key string, value []byte) (int64, error) {
	return number(c.write(ctx, "append "+name(key), []byte("APPEND"), []byte(key), value))
}

// Incr adds delta to the number at key, 0 if it is not there, and returns the sum.
func (c *Client) Incr(ctx context.Context, key string, delta int64) (int64, error) {
	return number(c.write(ctx, "incr "+name(key), []byte("INCRBY"), []byte(key), strconv.AppendInt(nil, delta, 10)))
}

// Delete deletes keys and returns how many of them were there.
func (c *Client) Delete(ctx context.Context, keys ...string) (int64, error) {
	if len(keys) == 0 {
		return 0, nil
	}
	args := [][]byte{[]byte("DEL")}
	for _, k := range keys {
		args = append(args, []byte(k))
	}
	return number(c.write(ctx, "delete "+name(keys[0]), args...))
}

// Get returns the value of a key, or ErrNotFound.
func (c *Client) Get(ctx context.Context, key string) ([]byte, error) {
	v, err := c.read(ctx, "get "+name(key), resp.AppendRequest(nil, "GET", key))
	switch {
	case err != nil:
		return nil, err
	case v.Kind == resp.KindNull:
		return nil, fmt.Errorf("get %s: %w", name(key), ErrNotFound)
	}
	return v.Bytes, nil
}

// GetAll returns the values of keys as they were at one moment; nil stands for a
// key that is not there.
func (c *Client) GetAll(ctx context.Context, keys ...string) ([][]byte, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	v, err := c.read(ctx, "get "+name(keys[0]), resp.AppendRequest(nil, append([]string{"MGET"}, keys...)...))
	if err != nil {
		return nil, err
	}
	if len(v.Array) != len(keys) {
		return nil, fmt.Errorf("get of %d keys is answered with %d values", len(keys), len(v.Array))
	}
	values := make([][]byte, len(keys))
	for i, e := range v.Array {
		values[i] = e.Bytes
	}
	return values, nil
}

// Exists returns how many of the keys are there; one named twice counts twice.
func (c *Client) Exists(ctx context.Context, keys ...string) (int64, error) {
	if len(keys) == 0 {
		return 0, nil
	}
	return number(c.read(ctx, "exists "+name(keys[0]), resp.AppendRequest(nil, append([]string{"EXISTS"}, keys...)...)))
}

// Len returns the length of the value of a key in bytes, 0 if it is not there.
func (c *Client) Len(ctx context.Context, key string) (int64, error) {
	return number(c.read(ctx, "strlen "+name(key), resp.AppendRequest(nil, "STRLEN", key)))
}

// Count returns the number of keys.
func (c *Client) Count(ctx context.Context) (int64, error) {
	return number(c.read(ctx, "dbsize", resp.AppendRequest(nil, "DBSIZE")))
}

// ScanOptions choose what Scan yields.
type ScanOptions struct {
	Prefix string // keys that begin with it
	Match  string // keys that match Redis's glob; not together with Prefix
	After  string // keys behind it in the order of bytes
	Page   int    // keys looked at in one request; default 1,000
}

// Scan yields keys in the order of their bytes. A key that is there all the time
// comes exactly once; one that comes or goes meanwhile at most once. It may go on
// at another node. After an error, which comes with an empty key, nothing follows.
func (c *Client) Scan(ctx context.Context, o ScanOptions) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		page := o.Page
		if page <= 0 {
			page = 1000
		}
		match := o.Match
		if o.Prefix != "" {
			match = prefix.Pattern(o.Prefix)
		}
		after := max(o.After, prefix.Before(o.Prefix))
		for {
			args := []string{"RAFT", "SCAN", after, "COUNT", strconv.Itoa(page)}
			if match != "" {
				args = append(args, "MATCH", match)
			}
			v, err := c.read(ctx, "scan", resp.AppendRequest(nil, args...))
			if err == nil && len(v.Array) == 0 {
				err = fmt.Errorf("scan is answered with %.100q", v.Text())
			}
			if err != nil {
				yield("", err)
				return
			}
			for _, k := range v.Array[1:] {
				if !yield(string(k.Bytes), nil) {
					return
				}
			}
			next := string(v.Array[0].Bytes)
			if next == "" || next > o.Prefix && !strings.HasPrefix(next, o.Prefix) {
				return
			}
			if next <= after {
				yield("", fmt.Errorf("scan goes back from %s to %s", name(after), name(next)))
				return
			}
			after = next
		}
	}
}

// number is the reply of a command that answers a number.
func number(v resp.Value, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	if v.Kind != resp.KindInt {
		return 0, fmt.Errorf("a number was expected, the answer is %.100q", v.Text())
	}
	return v.Int, nil
}

// name is a key in a message.
func name(key string) string {
	if len(key) > 64 {
		return strconv.Quote(key[:64]) + "..."
	}
	return strconv.Quote(key)
}
