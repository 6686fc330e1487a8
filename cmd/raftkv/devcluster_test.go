package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/raftkv/raftkv/config"
)

// fakeNode is a node whose role is what a file says:
//
//	<data_dir>/status   the body of /status, and /readyz is 200; without it 503
//	<data_dir>/die      at the start: log a line and exit with this code
//	<data_dir>/stay     ignore SIGTERM
//	<dir>/stops         gets a line when a node stops
func fakeNode(file string) int {
	c, err := config.Load(config.Options{File: file})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return int(exitConfig)
	}
	in := func(name string) ([]byte, error) { return os.ReadFile(filepath.Join(c.Node.DataDir, name)) }
	if b, err := in("die"); err == nil {
		code, _ := strconv.Atoi(strings.TrimSpace(string(b)))
		fmt.Fprintf(os.Stderr, "first line\nsorry, I can't: %d\n", code)
		return code
	}
	terms := make(chan os.Signal, 1)
	signal.Notify(terms, syscall.SIGTERM)
	l, err := net.Listen("tcp", c.HTTP.Listen)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return int(exitTaken)
	}
	serve := func(w http.ResponseWriter, r *http.Request) {
		b, err := in("status")
		switch {
		case err != nil:
			w.WriteHeader(http.StatusServiceUnavailable)
		case r.URL.Path == "/status":
			_, _ = w.Write(b)
		}
	}
	// Serves until the process ends.
	go func() { _ = http.Serve(l, http.HandlerFunc(serve)) }()
	for range terms {
		if _, err := in("stay"); err != nil {
			break
		}
	}
	f, err := os.OpenFile(filepath.Join(filepath.Dir(file), "stops"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		fmt.Fprintln(f, c.Node.Name)
		f.Close()
	}
	return 0
}

// screen is where dev prints; a test waits for what it says.
type screen struct {
	mu      sync.Mutex
	b       bytes.Buffer
	changed chan struct{}
}

func newScreen() *screen { return &screen{changed: make(chan struct{})} }

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.changed)
	s.changed = make(chan struct{})
	return s.b.Write(p)
}

func (s *screen) text() (string, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String(), s.changed
}

// wait returns what was printed once text stands after position from.
func (s *screen) wait(t *testing.T, from int, text string) int {
	t.Helper()
	late := time.After(deadline)
	for {
		all, changed := s.text()
		if i := strings.Index(all[from:], text); i >= 0 {
			return from + i + len(text)
		}
		select {
		case <-changed:
		case <-late:
			t.Fatalf("%q was never printed; this was:\n%s", text, all)
		}
	}
}

// cluster is a dev cluster of fake nodes that runs in this process.
type cluster struct {
	dev     *dev
	screen  *screen
	signals chan os.Signal
	ended   chan error
}

// loopback is an address that no other test uses.
func loopbackAddr() string {
	return fmt.Sprintf("127.%d.%d.%d", 64+rand.IntN(128), rand.IntN(256), 1+rand.IntN(254))
}

func newCluster(t *testing.T, nodes int) *cluster {
	t.Helper()
	c := &cluster{screen: newScreen(), signals: make(chan os.Signal, 2), ended: make(chan error, 1)}
	c.dev = &dev{
		layout: devLayout{dir: filepath.Join(t.TempDir(), "dev"), count: nodes, host: loopbackAddr(), basePort: 5000,
			given: func(string) bool { return false }},
		exe: os.Args[0], env: []string{"TEST_AS=node"}, out: c.screen,
		poll: 5 * time.Millisecond, backoff: backoff{time.Millisecond, 4 * time.Millisecond}, grace: deadline,
	}
	if err := c.dev.layout.prepare(); err != nil {
		t.Fatal(err)
	}
	return c
}

// start runs the cluster; the test's end kills it.
func (c *cluster) start(t *testing.T) {
	t.Helper()
	ended := make(chan struct{})
	// Runs until the test sends a signal; the cleanup sends two and waits.
	go func() {
		defer close(ended)
		c.ended <- c.dev.run(context.Background(), c.signals)
	}()
	t.Cleanup(func() {
		for range 2 {
			select {
			case c.signals <- syscall.SIGTERM:
			case <-ended:
			}
		}
		<-ended
	})
}

func (c *cluster) wait(t *testing.T) error {
	t.Helper()
	select {
	case err := <-c.ended:
		return err
	case <-time.After(deadline):
		all, _ := c.screen.text()
		t.Fatalf("dev did not end; it printed:\n%s", all)
		return nil
	}
}

// connect waits until node i listens: from then on it hears signals too.
func (c *cluster) connect(t *testing.T, i int) net.Conn {
	t.Helper()
	for start := time.Now(); ; {
		conn, err := net.Dial("tcp", c.dev.layout.voter(i).HTTP)
		if err == nil {
			t.Cleanup(func() { conn.Close() })
			return conn
		}
		if time.Since(start) > deadline {
			t.Fatal(err)
		}
	}
}

// put writes a file of node i that the fake node looks at; an empty text removes it.
func (c *cluster) put(t *testing.T, i int, name, text string) {
	t.Helper()
	path := filepath.Join(c.dev.layout.data(i), name)
	if text == "" {
		_ = os.Remove(path)
		return
	}
	if err := os.WriteFile(path+".tmp", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		t.Fatal(err)
	}
}

// lead makes node i the leader of a term, in the eyes of all.
func (c *cluster) lead(t *testing.T, i, term int) {
	t.Helper()
	for n := range c.dev.layout.count {
		role := "follower"
		if n == i {
			role = "leader"
		}
		c.put(t, n, "status", fmt.Sprintf(`{"name":"n%d","role":%q,"leader_name":"n%d","term":%d,"ready":true}`, n+1, role, i+1, term))
	}
}

// pidIn reads the number after text.
func pidAfter(t *testing.T, s, text string) int {
	t.Helper()
	_, rest, ok := strings.Cut(s, text)
	if !ok {
		t.Fatalf("no %q in\n%s", text, s)
	}
	pid, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// startDev runs raftkv dev as a process of its own, with fake nodes, until it serves.
func startDev(t *testing.T) (c *cluster, cmd *exec.Cmd, out *screen) {
	t.Helper()
	c = newCluster(t, 3)
	c.lead(t, 0, 1)
	cmd = process(t, "node", "dev", "--dir", c.dev.layout.dir)
	out = newScreen()
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out.wait(t, 0, "Role changes follow")
	return c, cmd, out
}
