package client_test

import (
	"net"
	"sync"
	"testing"

	"github.com/raftkv/raftkv/resp"
)

// script is a server that answers each request with the bytes that say makes of it.
func script(t testing.TB, say func(words []string) string) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup // of goroutines that end with their connection
	wait.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { nc.Close() })
			wait.Go(func() {
				defer nc.Close()
				r := resp.NewReader(nc, resp.Limits{})
				for {
					args, ok, err := r.Next()
					if err != nil || !ok && r.Fill() != nil {
						return
					}
					if !ok {
						continue
					}
					var words []string
					for _, a := range args {
						words = append(words, string(a))
					}
					if _, err := nc.Write([]byte(say(words))); err != nil {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() { ln.Close() })
	return ln.Addr().String()
}
