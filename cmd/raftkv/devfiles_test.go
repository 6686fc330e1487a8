package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/config"
)

// The files are there, are valid, and later runs leave them alone.
func TestDevInitOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sub", "dev")
	code, out, errOut := raftkv("dev", "--dir", dir, "--init-only", "--nodes", "5")
	if code != exitOK {
		t.Fatalf("%d: %s", code, errOut)
	}
	for i := range 5 {
		file := filepath.Join(dir, fmt.Sprintf("node%d.yaml", i+1))
		if !strings.Contains(out, "serve --config "+file+"\n") {
			t.Errorf("how to start %s is missing in\n%s", file, out)
		}
		l, err := config.Load(config.Options{File: file})
		if err != nil {
			t.Fatal(err)
		}
		want := config.Voter{
			Name: fmt.Sprintf("n%d", i+1), Client: fmt.Sprintf("127.0.0.1:%d", 5001+i),
			Peer: fmt.Sprintf("127.0.0.1:%d", 5101+i), HTTP: fmt.Sprintf("127.0.0.1:%d", 5201+i),
		}
		if len(l.Cluster.Voters) != 5 || l.Cluster.Voters[i] != want || l.Node.Name != want.Name ||
			l.Redis.Listen != want.Client || l.Peer.Listen != want.Peer || l.HTTP.Listen != want.HTTP {
			t.Errorf("%s gives %+v", file, l.Config)
		}
		if l.Node.DataDir != filepath.Join(dir, fmt.Sprintf("node%d", i+1)) {
			t.Errorf("data in %s", l.Node.DataDir)
		}
		if info, err := os.Stat(l.Node.DataDir); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("data directory: %v %v", info, err)
		}
	}

	// What the user changes stays; what is missing is made again; the count is known.
	first, second := filepath.Join(dir, "node1.yaml"), filepath.Join(dir, "node2.yaml")
	b, err := os.ReadFile(first)
	if err != nil {
		t.Fatal(err)
	}
	b = append(b, "log: {level: debug}\n"...)
	if err := os.WriteFile(first, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(second); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{nil, {"--nodes", "5"}, {"--host", "127.0.0.1", "--base-port", "5000"}} {
		if code, _, errOut := raftkv(append([]string{"dev", "--dir", dir, "--init-only"}, args...)...); code != exitOK {
			t.Errorf("again with %v: %d %s", args, code, errOut)
		}
	}
	if now, _ := os.ReadFile(first); !bytes.Equal(now, b) {
		t.Errorf("%s was written over", first)
	}
	if _, err := config.Load(config.Options{File: second}); err != nil {
		t.Errorf("node2.yaml: %v", err)
	}

	// A cluster can't be made another one by a flag.
	for _, tc := range []struct{ args, want string }{
		{"--nodes 3", "holds a cluster of 5 nodes, not of 3"},
		{"--base-port 7000", "clients connect to 127.0.0.1:5001, not 127.0.0.1:7001"},
		{"--host 127.0.0.2", "clients connect to 127.0.0.1:5001, not 127.0.0.2:5001"},
	} {
		code, _, errOut := raftkv(append([]string{"dev", "--dir", dir, "--init-only"}, strings.Fields(tc.args)...)...)
		if code != exitUsage || !strings.Contains(errOut, tc.want) {
			t.Errorf("%s: %d %s", tc.args, code, errOut)
		}
	}

	// A file that was broken by hand is told with its line.
	if err := os.WriteFile(first, append(b, "raft: {tick: 10}\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, errOut := raftkv("dev", "--dir", dir); code != exitConfig || !strings.Contains(errOut, `raft.tick = "10": a duration needs a unit`) {
		t.Errorf("broken file: %d %s", code, errOut)
	}
	if err := os.Remove(first); err != nil {
		t.Fatal(err)
	}
	if code, _, errOut := raftkv("dev", "--dir", dir, "--init-only"); code != exitFail || !strings.Contains(errOut, "node1.yaml is not") {
		t.Errorf("first file gone: %d %s", code, errOut)
	}
}

func TestDevTakenPort(t *testing.T) {
	host := loopbackAddr()
	l, err := net.Listen("tcp", net.JoinHostPort(host, "5102"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	code, _, errOut := raftkv("dev", "--dir", filepath.Join(t.TempDir(), "d"), "--host", host)
	if code != exitTaken || !strings.Contains(errOut, host+":5102 of n2 is taken") {
		t.Errorf("%d %s", code, errOut)
	}
}

func TestDevTwiceInOneDirectory(t *testing.T) {
	c := newCluster(t, 1)
	unlock, err := c.dev.layout.lock()
	if err != nil {
		t.Fatal(err)
	}
	code, _, errOut := raftkv("dev", "--dir", c.dev.layout.dir)
	if code != exitTaken || !strings.Contains(errOut, "another raftkv dev runs in "+c.dev.layout.dir) {
		t.Errorf("%d %s", code, errOut)
	}
	unlock()
	again, err := c.dev.layout.lock()
	if err != nil {
		t.Fatal(err)
	}
	again()
}

func TestWriteNewIsWholeOrNotThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := writeNew(path, []byte("one")); err != nil {
		t.Fatal(err)
	}
	if err := writeNew(path, []byte("two")); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(path); string(b) != "one" {
		t.Errorf("file holds %q", b)
	}
	if _, err := os.Stat(path + ".tmp"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a temporary file is left: %v", err)
	}
}
