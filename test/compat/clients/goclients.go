package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/valkey-io/valkey-go"
)

// nodeClients are run by clients.mjs.
var nodeClients = []string{"ioredis", "node-redis"}

func clients(dir string) []client {
	list := []client{
		{"redis-cli", redisCLI},
		{"redis-benchmark", redisBenchmark},
		{"go-redis v9", goRedis},
		{"valkey-go", valkeyGo},
	}
	for _, name := range nodeClients {
		list = append(list, client{name, func(t task) error {
			return process(t, "node", "clients/clients.mjs", name, t.check, strings.Join(t.addrs, ","))
		}})
	}
	return list
}

// quiet keeps go-redis from telling of each dial that fails while a node is dead.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

func init() { redis.SetLogger(quiet{}) }

// tries makes keys of different runs differ.
var tries atomic.Int64

func prefix(client, check string) string {
	return fmt.Sprintf("%s:%s:%d:", client, check, tries.Add(1))
}

// torture writes until it is stopped, and then looks for what was acknowledged.
func torture(t task, name string, set func(ctx context.Context, k, v string) error, get func(ctx context.Context, k string) (string, error)) error {
	p := prefix(name, t.check)
	var acknowledged []string
	for i := 0; ; i++ {
		select {
		case <-t.stop:
			for _, k := range acknowledged {
				if v, err := get(t.ctx, p+k); err != nil || v != k {
					return fmt.Errorf("acknowledged write %s is read as %q, %v", k, v, err)
				}
			}
			return nil
		case <-t.ctx.Done():
			return t.ctx.Err()
		default:
		}
		ctx, cancel := context.WithTimeout(t.ctx, 3*time.Second)
		err := set(ctx, p+strconv.Itoa(i), strconv.Itoa(i))
		cancel()
		if err != nil {
			t.refused(err)
			time.Sleep(20 * time.Millisecond) // a pause between tries, as an application would make
			continue
		}
		acknowledged = append(acknowledged, strconv.Itoa(i))
		t.wrote()
	}
}

func goRedis(t task) error {
	var c redis.UniversalClient
	what, inCluster := strings.CutPrefix(t.check, "cluster-")
	if inCluster {
		// By default it looks for another leader only every 60 s unless a node answers
		// MOVED, which a dead one doesn't: longer than this check may take.
		c = redis.NewClusterClient(&redis.ClusterOptions{Addrs: t.addrs, ClusterStateReloadInterval: time.Second})
	} else {
		c = redis.NewClient(&redis.Options{Addr: t.addrs[0]})
	}
	defer c.Close()
	p := prefix("go-redis", t.check)
	switch what {
	case "connect":
		if err := c.Set(t.ctx, p+"k", "välue", 0).Err(); err != nil {
			return err
		}
		if v, err := c.Get(t.ctx, p+"k").Result(); err != nil || v != "välue" {
			return fmt.Errorf("get answers %q, %w", v, err)
		}
		if err := c.Get(t.ctx, p+"none").Err(); !errors.Is(err, redis.Nil) {
			return fmt.Errorf("a missing key answers %v", err)
		}
		return nil
	case "pipeline":
		cmds, err := c.Pipelined(t.ctx, func(pipe redis.Pipeliner) error {
			for range 500 {
				pipe.Incr(t.ctx, p+"n")
			}
			return nil
		})
		if err != nil {
			return err
		}
		for i, cmd := range cmds {
			if n := cmd.(*redis.IntCmd).Val(); n != int64(i+1) {
				return fmt.Errorf("reply %d is %d", i, n)
			}
		}
		return nil
	case "transaction":
		single := c.(*redis.Client)
		return single.Watch(t.ctx, func(tx *redis.Tx) error {
			cmds, err := tx.TxPipelined(t.ctx, func(pipe redis.Pipeliner) error {
				pipe.Set(t.ctx, p+"a", 1, 0)
				pipe.Incr(t.ctx, p+"a")
				pipe.Get(t.ctx, p+"a")
				return nil
			})
			if err != nil {
				return err
			}
			if v := cmds[2].(*redis.StringCmd).Val(); v != "2" {
				return fmt.Errorf("a block answers %q", v)
			}
			return nil
		}, p+"a")
	case "pubsub":
		s := c.Subscribe(t.ctx, p+"channel")
		defer s.Close()
		if _, err := s.Receive(t.ctx); err != nil {
			return err
		}
		for i := range 50 {
			if err := c.Publish(t.ctx, p+"channel", i).Err(); err != nil {
				return err
			}
		}
		for i := range 50 {
			m, err := s.ReceiveMessage(t.ctx)
			if err != nil || m.Payload != strconv.Itoa(i) {
				return fmt.Errorf("message %d: %v, %w", i, m, err)
			}
		}
		return nil
	default:
		return torture(t, "go-redis", func(ctx context.Context, k, v string) error { return c.Set(ctx, k, v, 0).Err() },
			func(ctx context.Context, k string) (string, error) { return c.Get(ctx, k).Result() })
	}
}

// valkeyGo finds out by itself whether it talks to a cluster: by default it is in
// cluster mode here, and keeps a cache on its side.
func valkeyGo(t task) error {
	what, inCluster := strings.CutPrefix(t.check, "cluster-")
	option := valkey.ClientOption{InitAddress: t.addrs[:1]}
	if inCluster {
		option.InitAddress = t.addrs
	}
	c, err := valkey.NewClient(option)
	if err != nil {
		return err
	}
	defer c.Close()
	p := prefix("valkey-go", t.check)
	switch what {
	case "connect":
		if err := c.Do(t.ctx, c.B().Set().Key(p+"k").Value("välue").Build()).Error(); err != nil {
			return err
		}
		for range 2 { // the second time from its cache
			if v, err := c.DoCache(t.ctx, c.B().Get().Key(p+"k").Cache(), time.Minute).ToString(); err != nil || v != "välue" {
				return fmt.Errorf("get answers %q, %w", v, err)
			}
		}
		if err := c.Do(t.ctx, c.B().Set().Key(p+"k").Value("new").Build()).Error(); err != nil {
			return err
		}
		for { // the cache must be told, soon
			v, err := c.DoCache(t.ctx, c.B().Get().Key(p+"k").Cache(), time.Minute).ToString()
			if err != nil {
				return fmt.Errorf("the cache was never told of a change: %q, %w", v, err)
			}
			if v == "new" {
				break
			}
			time.Sleep(time.Millisecond)
		}
		if err := c.Do(t.ctx, c.B().Get().Key(p+"none").Build()).Error(); !valkey.IsValkeyNil(err) {
			return fmt.Errorf("a missing key answers %v", err)
		}
		return nil
	case "pipeline":
		var cmds valkey.Commands
		for range 500 {
			cmds = append(cmds, c.B().Incr().Key(p+"n").Build())
		}
		for i, r := range c.DoMulti(t.ctx, cmds...) {
			if n, err := r.AsInt64(); err != nil || n != int64(i+1) {
				return fmt.Errorf("reply %d is %d, %w", i, n, err)
			}
		}
		return nil
	case "transaction":
		return c.Dedicated(func(d valkey.DedicatedClient) error {
			replies := d.DoMulti(t.ctx, d.B().Multi().Build(), d.B().Set().Key(p+"a").Value("1").Build(), d.B().Incr().Key(p+"a").Build(), d.B().Get().Key(p+"a").Build(), d.B().Exec().Build())
			list, err := replies[4].ToArray()
			if err != nil {
				return err
			}
			if v, err := list[2].ToString(); err != nil || v != "2" {
				return fmt.Errorf("a block answers %q, %w", v, err)
			}
			return nil
		})
	case "pubsub":
		got := make(chan string, 100)
		ctx, cancel := context.WithCancel(t.ctx)
		defer cancel()
		s, done := c.Dedicate()
		defer done()
		wait := s.SetPubSubHooks(valkey.PubSubHooks{OnMessage: func(m valkey.PubSubMessage) { got <- m.Message }})
		if err := s.Do(ctx, s.B().Subscribe().Channel(p+"channel").Build()).Error(); err != nil {
			return err
		}
		for i := range 50 {
			if err := c.Do(ctx, c.B().Publish().Channel(p+"channel").Message(strconv.Itoa(i)).Build()).Error(); err != nil {
				return err
			}
		}
		for i := range 50 {
			select {
			case m := <-got:
				if m != strconv.Itoa(i) {
					return fmt.Errorf("message %d is %q", i, m)
				}
			case err := <-wait:
				return err
			case <-ctx.Done():
				return fmt.Errorf("message %d doesn't come", i)
			}
		}
		return nil
	default:
		return torture(t, "valkey-go", func(ctx context.Context, k, v string) error {
			return c.Do(ctx, c.B().Set().Key(k).Value(v).Build()).Error()
		},
			func(ctx context.Context, k string) (string, error) {
				return c.Do(ctx, c.B().Get().Key(k).Build()).ToString()
			})
	}
}
