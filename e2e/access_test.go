package e2e

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/client"
	"github.com/raftkv/raftkv/internal/testcert"
	"github.com/raftkv/raftkv/resp"
	"github.com/raftkv/raftkv/selftest"
	"github.com/raftkv/raftkv/server/access"
)

// SE-02: with a password and TLS nobody gets in without both; users that are made at
// one node hold at all of them, and over the death of the leader. No log line has a password.
func TestUsersOfACluster(t *testing.T) {
	bothTiers(t)
	dir, ca := t.TempDir(), testcert.New(t, "ca")
	c := prepare(t, selftest.Options{})
	files := ca.Issue(t, dir, "node", 2, c.Host)
	password := filepath.Join(dir, "password")
	if err := os.WriteFile(password, []byte("door-secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, n := range c.Nodes {
		b, err := os.ReadFile(n.Config)
		if err != nil {
			t.Fatal(err)
		}
		more := fmt.Sprintf("\nredis: {password_file: %s}\ntls: {client: {cert: %s, key: %s}}\n", password, files.Cert, files.Key)
		if err := os.WriteFile(n.Config, append(b, more...), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := n.Start(); err != nil {
			t.Fatal(err)
		}
	}
	at := "--endpoints=" + strings.Join(c.Endpoints(), ",")
	secure := []string{at, "--cacert", ca.File, "--password-file", password}
	until(t, "a write with the password", func() (bool, error) {
		_, code := command(t, append([]string{"put", "k", "v", "--timeout", "2s"}, secure...)...)
		return code == 0, nil
	})
	for _, args := range [][]string{{"get", "k", at, "--timeout", "300ms"}, {"get", "k", at, "--timeout", "300ms", "--cacert", ca.File}} {
		if out, code := command(t, args...); code == 0 {
			t.Errorf("raftkv %v got in: %s", args, out)
		}
	}
	pool, err := access.ReadCA(ca.File)
	if err != nil {
		t.Fatal(err)
	}
	dial := func(endpoint, user, password string) *client.Client {
		c, err := client.New(client.Config{Endpoints: []string{endpoint}, User: user, Password: password, TLS: &tls.Config{RootCAs: pool}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	ctx := context.Background()
	root := dial(c.Nodes[1].Client, "", "door-secret")
	until(t, "al to be made", func() (bool, error) {
		v, err := root.Do(ctx, "ACL", "SETUSER", "al", "on", ">al-secret", "~k", "+get", "+raft|id")
		return err == nil && v.Kind != resp.KindError, fmt.Errorf("%s %w", v.Text(), err)
	})
	knows := func(n *selftest.Node) {
		t.Helper()
		al := dial(n.Client, "al", "al-secret")
		until(t, n.Name+" to let al in", func() (bool, error) {
			v, err := al.Get(ctx, "k")
			return err == nil && string(v) == "v", nil
		})
		if err := al.Put(ctx, "k", nil); !errors.Is(err, client.ErrNotApplied) {
			t.Errorf("%s: al writes: %v", n.Name, err)
		}
	}
	for _, n := range c.Nodes {
		knows(n)
	}
	overHTTPS(t, c, pool, func(user, password string) *client.Client { return dial(c.Nodes[2].Client, user, password) })
	for _, n := range c.Nodes {
		n.Kill()
	}
	for _, n := range c.Nodes {
		if err := n.Start(); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range c.Nodes {
		knows(n)
		if log := n.Tail(100_000); strings.Contains(log, "secret") || !strings.Contains(log, password) {
			t.Errorf("%s: its log must name the file and never the password", n.Name)
		}
	}
	if out, code := command(t, "config", "print", "--config", c.Nodes[0].Config); code != 0 || strings.Contains(out, "secret") || !strings.Contains(out, password) {
		t.Errorf("config print: %d, %s", code, out)
	}
}
