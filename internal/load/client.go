package load

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"time"

	"github.com/raftkv/raftkv/resp"
)

// client is one connection and what it measured. One goroutine owns it.
type client struct {
	cfg      *Config
	endpoint string
	values   []byte
	rand     *rand.Rand
	from, to time.Time // what ends in between is measured

	nc   net.Conn
	held atomic.Pointer[net.Conn] // nc, for whoever breaks the run off
	in   *resp.ReplyReader
	out  []byte

	kinds      []Kind // of the batch
	counts     [kinds]Count
	reconnects uint64
	firstError error
	connected  bool

	okSoFar, errsSoFar atomic.Uint64 // for whoever watches
}

// pause is how long a client waits after an error: a server in trouble must
// not be drowned, nor the count of errors be that of a tight loop.
const pause = 20 * time.Millisecond

func (k *client) run(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() {
		if nc := k.held.Load(); nc != nil {
			_ = (*nc).SetDeadline(time.Unix(1, 0)) // ends the wait for an answer
		}
	})
	defer stop()
	defer k.drop()
	for ctx.Err() == nil && time.Now().Before(k.to) {
		if k.nc == nil && !k.connect(ctx) {
			k.wait(ctx)
			continue
		}
		if !k.batch(ctx) {
			k.wait(ctx)
		}
	}
}

func (k *client) wait(ctx context.Context) {
	select {
	case <-time.After(min(pause, time.Until(k.to))):
	case <-ctx.Done():
	}
}

func (k *client) drop() {
	if k.nc != nil {
		k.held.Store(nil)
		k.nc.Close()
		k.nc = nil
	}
}

// failed notes that the connection is of no more use.
func (k *client) failed(err error) {
	k.drop()
	k.reconnects++
	if k.firstError == nil {
		k.firstError = err
	}
}

func (k *client) connect(ctx context.Context) bool {
	dial, cancel := context.WithTimeout(ctx, k.cfg.Timeout)
	defer cancel()
	nc, err := k.cfg.Dial(dial, k.endpoint)
	if err != nil {
		if ctx.Err() == nil {
			k.failed(err)
		}
		return false
	}
	k.nc, k.in = nc, resp.NewReplyReader(nc, resp.ReplyLimits{Bytes: MaxValue + 1<<10})
	k.held.Store(&nc)
	if k.cfg.Stale {
		k.out = resp.AppendRequest(k.out[:0], "READONLY")
		if v, err := k.ask(); err != nil {
			k.failed(err)
			return false
		} else if v.Kind == resp.KindError {
			k.failed(fmt.Errorf("READONLY: %s", v.Bytes))
			return false
		}
	}
	k.connected = true
	return true
}

func (k *client) ask() (resp.Value, error) {
	_ = k.nc.SetDeadline(time.Now().Add(k.cfg.Timeout)) // an error shows at the next call
	if _, err := k.nc.Write(k.out); err != nil {
		return resp.Value{}, err
	}
	return k.in.Read()
}

// batch sends the next requests and takes their answers. It returns false after an error.
func (k *client) batch(ctx context.Context) bool {
	k.out, k.kinds = k.out[:0], k.kinds[:0]
	for range k.cfg.Pipeline {
		kind := Set
		if k.rand.IntN(100) < k.cfg.Reads {
			kind = Get
		}
		k.kinds = append(k.kinds, kind)
		key := appendKey(make([]byte, 0, 32), k.rand.IntN(k.cfg.Keys))
		if kind == Get {
			k.out = resp.AppendRequest(k.out, []byte("GET"), key)
			continue
		}
		at := k.rand.IntN(valueSpread)
		k.out = resp.AppendRequest(k.out, []byte("SET"), key, k.values[at:at+k.cfg.Value])
	}
	began := time.Now()
	_ = k.nc.SetDeadline(began.Add(k.cfg.Timeout))
	if ctx.Err() != nil {
		return false // nobody would set the deadline back
	}
	if _, err := k.nc.Write(k.out); err != nil {
		k.lost(k.kinds, err, ctx)
		return false
	}
	good := true
	for i, kind := range k.kinds {
		v, err := k.in.Read()
		if err != nil {
			k.lost(k.kinds[i:], err, ctx)
			return false
		}
		good = k.answered(kind, v, began) && good
	}
	return good
}

// answered counts one answer.
func (k *client) answered(kind Kind, v resp.Value, began time.Time) bool {
	now := time.Now()
	measured := !now.Before(k.from) && now.Before(k.to)
	c := &k.counts[kind]
	if v.Kind == resp.KindError {
		if measured {
			word, _, _ := bytes.Cut(v.Bytes, []byte(" "))
			if c.Refused == nil {
				c.Refused = map[string]uint64{}
			}
			c.Refused[string(word)]++
			k.errsSoFar.Add(1)
		}
		return false
	}
	if measured {
		c.OK++
		if v.Kind == resp.KindNull {
			c.Missing++
		}
		c.Latency.Record(now.Sub(began))
		k.okSoFar.Add(1)
	}
	return true
}

// lost counts requests whose answers will not come. When the run is broken off, what
// is under way is nobody's fault.
func (k *client) lost(kinds []Kind, err error, ctx context.Context) {
	if ctx.Err() != nil {
		k.drop()
		return
	}
	k.failed(err)
	if now := time.Now(); now.Before(k.from) {
		return
	}
	for _, kind := range kinds {
		if kind == Set {
			k.counts[kind].Unknown++
		} else {
			k.counts[kind].Unread++
		}
		k.errsSoFar.Add(1)
	}
}

// appendKey appends the name of a key: 16 bytes up to 10^12 keys.
func appendKey(dst []byte, n int) []byte { return fmt.Appendf(dst, "key:%012d", n) }
