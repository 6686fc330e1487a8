package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
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
	"github.com/raftkv/raftkv/raft"
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

// The whole life: it serves, roles change, the leader is killed and comes back, all stop in order.
func TestDevCluster(t *testing.T) {
	c := newCluster(t, 3)
	c.dev.twice = deadline
	c.lead(t, 1, 7)
	c.start(t)
	at := c.screen.wait(t, 0, "the cluster serves: n2 leads term 7")
	at = c.screen.wait(t, at, "Role changes follow")
	all, _ := c.screen.text()
	host := c.dev.layout.host
	for _, want := range []string{
		"n1   clients " + host + ":5001  http://" + host + ":5201/status",
		"log " + filepath.Join(c.dev.layout.dir, "node3.log"),
		" put --endpoints " + host + ":5001," + host + ":5002," + host + ":5003 greeting hello",
		"redis-cli -h " + host + " -p 5001",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is missing in\n%s", want, all)
		}
	}

	c.lead(t, 0, 8)
	c.screen.wait(t, at, "n1 leads term 8")
	c.screen.wait(t, at, "n2 is follower in term 8, n1 leads")
	c.put(t, 2, "status", `{"role":"candidate","term":9}`)
	at = c.screen.wait(t, at, "n3 is candidate in term 9")
	c.lead(t, 0, 10) // the same leader, but elected again
	at = c.screen.wait(t, at, "n1 leads term 10")

	if err := syscall.Kill(pidAfter(t, all, "kill -9 "), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	at = c.screen.wait(t, at, "n2 ended: killed by signal 9 (killed). Starting it again in 1ms.")
	c.screen.wait(t, at, "n2 serves again, pid ")

	c.lead(t, 1, 11)
	c.screen.wait(t, at, "n1 is follower in term 11, n2 leads")
	at = c.screen.wait(t, at, "n2 leads term 11")
	c.signals <- syscall.SIGINT
	c.signals <- syscall.SIGINT // the same Ctrl-C once more, by a wrapper
	if err := c.wait(t); err != nil {
		t.Errorf("ended with %v", err)
	}
	c.screen.wait(t, at, "n2 stopped: exit code 0")
	c.screen.wait(t, at, "all nodes are stopped")
	stops, err := os.ReadFile(filepath.Join(c.dev.layout.dir, "stops"))
	if got := strings.Fields(string(stops)); err != nil || strings.Join(got, " ") != "n1 n3 n2" {
		t.Errorf("stopped in the order %v, want the leader n2 last (%v)", got, err)
	}
}

// A node that a restart can't help stays down, and the end of its log is shown.
func TestDevLeavesHopelessNodes(t *testing.T) {
	c := newCluster(t, 5)
	codes := []exitCode{exitDamaged, exitIdentity, exitPermission, exitConfig}
	for i, code := range codes {
		c.put(t, i+1, "die", strconv.Itoa(int(code)))
	}
	c.start(t)
	for i, code := range codes {
		c.screen.wait(t, 0, fmt.Sprintf("n%d ended: %v (exit code %d). That needs your hand; it isn't started again. The end of %s:\n    first line\n    sorry, I can't: %d\n",
			i+2, code, int(code), filepath.Join(c.dev.layout.dir, fmt.Sprintf("node%d.log", i+2)), int(code)))
	}
	c.connect(t, 0)
	c.signals <- syscall.SIGTERM
	if err := c.wait(t); err != nil {
		t.Errorf("ended with %v", err)
	}
	if all, _ := c.screen.text(); strings.Contains(all, "Starting it again") {
		t.Errorf("a hopeless node was started again:\n%s", all)
	}
}

// With no node left there is nothing to look after: dev ends as the last one did.
func TestDevEndsWhenNoNodeIsLeft(t *testing.T) {
	c := newCluster(t, 3)
	for i := range 3 {
		c.put(t, i, "die", "78")
	}
	c.start(t)
	if err := c.wait(t); codeOf(err) != exitConfig {
		t.Errorf("ended with %v, code %d", err, codeOf(err))
	}
}

// Other ends are tried again, slower and slower.
func TestDevRetriesWithBackoff(t *testing.T) {
	c := newCluster(t, 1)
	c.lead(t, 0, 1)
	c.put(t, 0, "die", "74")
	c.start(t)
	at := 0
	for _, pause := range []string{"1ms", "2ms", "4ms", "4ms"} {
		at = c.screen.wait(t, at, "n1 ended: disk error (exit code 74). Starting it again in "+pause+". The end of ")
	}
	c.put(t, 0, "die", "")
	c.screen.wait(t, at, "the cluster serves: n1 leads term 1")
	c.signals <- syscall.SIGTERM
	if err := c.wait(t); err != nil {
		t.Errorf("ended with %v", err)
	}
}

func TestDevKillsWhatDoesNotStop(t *testing.T) {
	c := newCluster(t, 1)
	c.dev.grace = 0
	f, err := os.OpenFile(c.dev.layout.file(0), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(f, "service: {stop_timeout: 100ms}")
	f.Close()
	c.lead(t, 0, 1)
	c.put(t, 0, "stay", "yes")
	c.start(t)
	at := c.screen.wait(t, 0, "the cluster serves")
	c.signals <- syscall.SIGTERM
	if err := c.wait(t); err != nil {
		t.Errorf("ended with %v", err)
	}
	at = c.screen.wait(t, at, "n1 did not stop within 100ms: killing it")
	c.screen.wait(t, at, "n1 stopped: killed by signal 9")
}

func TestDevSecondSignalKills(t *testing.T) {
	c := newCluster(t, 3)
	c.lead(t, 0, 1)
	c.put(t, 1, "stay", "yes")
	c.start(t)
	at := c.screen.wait(t, 0, "the cluster serves")
	c.connect(t, 1)
	c.signals <- syscall.SIGTERM
	c.screen.wait(t, at, "stopping the nodes")
	c.signals <- syscall.SIGINT
	if err := c.wait(t); err != nil {
		t.Errorf("ended with %v", err)
	}
	c.screen.wait(t, at, "killing all nodes")
	for _, n := range c.dev.nodes {
		if n.child != nil {
			t.Errorf("%s still has a child", n.name)
		}
	}
}

func TestStopOrder(t *testing.T) {
	node := func(name, role string, term uint64) *devNode {
		return &devNode{name: name, status: devStatus{Role: role, Term: term}}
	}
	var got []string
	for _, n := range stopOrder([]*devNode{
		node("new", "leader", 9), node("old", "leader", 8), node("a", "follower", 9), node("silent", "", 0), node("b", "candidate", 10),
	}) {
		got = append(got, n.name)
	}
	if want := "a silent b old new"; strings.Join(got, " ") != want {
		t.Errorf("order %v, want %s", got, want)
	}
}

func TestBackoff(t *testing.T) {
	b := backoff{500 * time.Millisecond, 15 * time.Second}
	for failures, want := range map[int]time.Duration{0: b.first, 1: time.Second, 4: 8 * time.Second, 5: b.max, 1 << 40: b.max} {
		if got := b.pause(failures); got != want {
			t.Errorf("pause(%d) = %v, want %v", failures, got, want)
		}
	}
}

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

// Ctrl-C reaches the whole foreground process group. The nodes aren't in it: dev stops them, in order.
func TestCtrlCIsForDevAlone(t *testing.T) {
	c, cmd, _ := startDev(t)
	for i := range 3 {
		c.connect(t, i)
	}
	if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("ended with %v", err)
	}
	stops, err := os.ReadFile(filepath.Join(c.dev.layout.dir, "stops"))
	if got := strings.Fields(string(stops)); err != nil || strings.Join(got, " ") != "n2 n3 n1" {
		t.Errorf("stopped in the order %v (%v)", got, err)
	}
}

// kill -9 of dev itself leaves no nodes behind, which would hold ports and data.
func TestNodesDieWithDev(t *testing.T) {
	c, cmd, _ := startDev(t)
	var conns []net.Conn
	for i := range 3 {
		conn := c.connect(t, i)
		_ = conn.SetReadDeadline(time.Now().Add(deadline))
		conns = append(conns, conn)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	for i, conn := range conns {
		// The kernel ends the connection with the process.
		if _, err := io.ReadAll(conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("n%d still runs", i+1)
		}
	}
}

// A status that is no status, or too long, is no answer.
func TestLook(t *testing.T) {
	c := newCluster(t, 1)
	c.start(t)
	c.connect(t, 0)
	client := &http.Client{Timeout: deadline}
	url := "http://" + c.dev.layout.voter(0).HTTP
	for _, tc := range []struct {
		text string
		want devStatus
	}{
		{`{"role":"leader","term":3,"leader_name":"n1","other":[1]}`, devStatus{"leader", "n1", 3}},
		{`{"role":5}`, devStatus{}},
		{`[`, devStatus{}},
		{strings.Repeat(" ", 1<<20) + `{"role":"leader"}`, devStatus{}},
	} {
		c.put(t, 0, "status", tc.text)
		got, ready := look(t.Context(), client, url)
		if ready != (got.Role != "") {
			t.Errorf("%.20q: ready %v", tc.text, ready)
		}
		if got != tc.want {
			t.Errorf("%.20q: %+v, want %+v", tc.text, got, tc.want)
		}
	}
}

func TestRoleNameIsRafts(t *testing.T) {
	if roleLeader != raft.Leader.String() {
		t.Errorf("%q is not %q", roleLeader, raft.Leader)
	}
	if b, err := json.Marshal(devStatus{Role: roleLeader}); err != nil || !strings.Contains(string(b), `"role":"leader"`) {
		t.Errorf("%s %v", b, err)
	}
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
