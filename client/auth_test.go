package client_test

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/raftkv/raftkv/client"
	"github.com/raftkv/raftkv/internal/testcert"
	"github.com/raftkv/raftkv/server/access"
	server "github.com/raftkv/raftkv/server/resp"
	"github.com/raftkv/raftkv/server/resp/resptest"
)

func TestUserAndPassword(t *testing.T) {
	addr, _ := resptest.Start(t, resptest.NewMemory(), server.Config{Access: access.NewStore(server.Catalog(), "secret", nil)})
	ctx := context.Background()
	admin := dial(t, client.Config{Endpoints: []string{addr}, Password: "secret"})
	if err := admin.Put(ctx, "k", []byte("v")); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.Status(ctx); err != nil {
		t.Error(err)
	}
	if _, err := admin.Do(ctx, "ACL", "SETUSER", "al", "on", ">pw", "%R~k", "+get", "+raft|id"); err != nil {
		t.Fatal(err)
	}
	al := dial(t, client.Config{Endpoints: []string{addr}, User: "al", Password: "pw"})
	if v, err := al.Get(ctx, "k"); err != nil || string(v) != "v" {
		t.Errorf("%q, %v", v, err)
	}
	// Refused at once: it would be refused again, and tries with a wrong password are counted.
	for name, c := range map[string]*client.Client{
		"may not":        al,
		"wrong password": dial(t, client.Config{Endpoints: []string{addr, addr}, Password: "wrong", Timeout: time.Hour}),
		"no password":    dial(t, client.Config{Endpoints: []string{addr, addr}, Timeout: time.Hour}),
	} {
		err := c.Put(ctx, "k", []byte("x"))
		if !errors.Is(err, client.ErrNotApplied) || errors.Is(err, client.ErrNoLeader) {
			t.Errorf("%s: put: %v", name, err)
		}
		if _, err := c.Get(ctx, "other"); err == nil || errors.Is(err, client.ErrNotFound) {
			t.Errorf("%s: get: %v", name, err)
		}
	}
	if v, err := admin.Get(ctx, "k"); err != nil || string(v) != "v" {
		t.Errorf("a refused write changed the key: %q, %v", v, err)
	}
}

// A write whose reply was lost may have run; that the password is wrong by now doesn't tell.
func TestDeniedLaterIsUnknown(t *testing.T) {
	calls := 0
	addr := script(t, func(words []string) string {
		switch strings.ToUpper(words[0]) {
		case "AUTH":
			if calls > 0 {
				return "-WRONGPASS invalid username-password pair or user is disabled.\r\n"
			}
			return "+OK\r\n"
		case "RAFT":
			return "$1\r\nc\r\n"
		case "SESSION":
			return ":1\r\n"
		}
		calls++
		return "!\r\n" // no reply at all: the connection is given up
	})
	c := dial(t, client.Config{Endpoints: []string{addr}, Password: "pw"})
	if err := c.Put(context.Background(), "k", nil); !errors.Is(err, client.ErrUnknown) {
		t.Error(err)
	}
}

func TestTLS(t *testing.T) {
	ca, other := testcert.New(t, "ca"), testcert.New(t, "other")
	files := ca.Issue(t, t.TempDir(), "n1", 2)
	cfg, err := access.ServerTLS(access.TLSFiles{Cert: files.Cert, Key: files.Key}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	m := resptest.NewMemory()
	s := server.New(server.Config{}, m, m)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	// Ends with Shutdown.
	go func() { done <- s.Serve(tls.NewListener(ln, cfg)) }()
	t.Cleanup(func() {
		s.Shutdown(context.Background())
		<-done
	})
	ctx := context.Background()
	for name, tc := range map[string]struct {
		ca *testcert.Authority
		ok bool
	}{"trusted": {ca, true}, "a stranger": {other, false}} {
		pool, err := access.ReadCA(tc.ca.File)
		if err != nil {
			t.Fatal(err)
		}
		timeout := 20 * time.Second
		if !tc.ok {
			timeout = 100 * time.Millisecond
		}
		c := dial(t, client.Config{Endpoints: []string{ln.Addr().String()}, TLS: &tls.Config{RootCAs: pool}, Timeout: timeout})
		if err := c.Put(ctx, "k", []byte("v")); (err == nil) != tc.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	plain := dial(t, client.Config{Endpoints: []string{ln.Addr().String()}, Timeout: 100 * time.Millisecond})
	if err := plain.Put(ctx, "k", []byte("v")); err == nil {
		t.Error("clear text was taken")
	}
}
