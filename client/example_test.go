package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/raftkv/raftkv/client"
	"github.com/raftkv/raftkv/server/feed"
	"github.com/raftkv/raftkv/server/httpapi/apitest"
	"github.com/raftkv/raftkv/server/resp/resptest"
)

// example makes a client of a node in memory. With a cluster it is
//
//	c, err := client.New(client.Config{Endpoints: []string{"n1:6479", "n2:6479", "n3:6479"}})
func example() (c *client.Client, end func()) {
	addr, _, stop, err := apitest.Start(resptest.NewMemory(), feed.Config{}, nil)
	if err != nil {
		log.Fatal(err)
	}
	if c, err = client.New(client.Config{Endpoints: []string{addr}}); err != nil {
		log.Fatal(err)
	}
	return c, func() { c.Close(); stop() }
}

func Example() {
	c, end := example()
	defer end()
	ctx := context.Background()
	if err := c.Put(ctx, "greeting", []byte("hello")); err != nil {
		log.Fatal(err) // errors.Is(err, client.ErrUnknown): it may have taken effect
	}
	length, err := c.Append(ctx, "greeting", []byte(", you")) // exactly once, whatever happens on the way
	if err != nil {
		log.Fatal(err)
	}
	value, err := c.Get(ctx, "greeting")
	fmt.Println(length, string(value), err)
	_, err = c.Get(ctx, "none")
	fmt.Println(errors.Is(err, client.ErrNotFound))
	// Output:
	// 10 hello, you <nil>
	// true
}

// A lock that frees itself, and is freed by its owner alone.
func ExampleClient_CompareAndSwap() {
	c, end := example()
	defer end()
	ctx := context.Background()
	fmt.Println(c.CompareAndSwap(ctx, "lock", nil, []byte("me"), client.TTL(30*time.Second)))
	err := c.CompareAndSwap(ctx, "lock", []byte("somebody else"), []byte("me"))
	fmt.Println(errors.Is(err, client.ErrCondition))
	// Output:
	// <nil>
	// true
}

func ExampleClient_Scan() {
	c, end := example()
	defer end()
	ctx := context.Background()
	for _, k := range []string{"user/2", "user/1", "users"} {
		c.Put(ctx, k, nil)
	}
	for key, err := range c.Scan(ctx, client.ScanOptions{Prefix: "user/"}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(key)
	}
	// Output:
	// user/1
	// user/2
}

// Money moves from one key to another, or does not move at all.
func ExampleClient_Txn() {
	c, end := example()
	defer end()
	ctx := context.Background()
	c.Put(ctx, "from", []byte("10"))
	_, version, err := c.Versioned(ctx, "from")
	if err != nil {
		log.Fatal(err)
	}
	results, err := c.Txn().IfVersion("from", version).Incr("from", -7).Incr("to", 7).Commit(ctx)
	fmt.Println(results[0].Number, results[1].Number, err)
	_, err = c.Txn().IfVersion("from", version).Incr("from", -7).Incr("to", 7).Commit(ctx)
	fmt.Println(errors.Is(err, client.ErrCondition))
	// Output:
	// 3 7 <nil>
	// true
}

func ExampleClient_Watch() {
	c, end := example()
	defer end()
	ctx := context.Background()
	c.Put(ctx, "user/1", []byte("ann"))
	c.Put(ctx, "other", nil)
	c.Delete(ctx, "user/1")
	n := 0
	for ch, err := range c.Watch(ctx, client.WatchOptions{Prefix: "user/", From: 1}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(ch.Kind, ch.Key, string(ch.Value))
		if n++; n == 2 {
			break // else it goes on for ever
		}
	}
	// Output:
	// changed user/1 ann
	// deleted user/1
}
