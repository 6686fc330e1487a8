package selftest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Options describe a cluster of real daemons.
type Options struct {
	Bin    string // the raftkv program
	Dir    string // where configurations, data and logs go
	Host   string // an address of 127.0.0.0/8 that nobody else uses
	Voters int    // how many nodes the cluster starts with
	// YAML is appended to every node's configuration: top-level sections that
	// are not node, cluster.
	YAML string
	// Wrap, if set, changes the command line of a node before it starts (strace, for instance).
	Wrap func(node int, argv []string) []string
	// DataDir, if set, names the data directory of a node.
	DataDir func(node int) string
	Env     []string
}

// Cluster is a set of real daemons. Its methods may be called from several goroutines.
type Cluster struct {
	Options
	Nodes []*Node
}

// Node is one daemon, running or not.
type Node struct {
	Name   string
	Config string // path of the YAML file
	Data   string // data directory
	Log    string // path of the log, appended over restarts
	Client string // host:port
	Peer   string
	HTTP   string

	cluster *Cluster
	index   int
	peers   map[string]string // where this node dials others, by name, if not at their own addresses
	http    *http.Client

	mu     sync.Mutex
	proc   *process
	deaths []error // runs that ended without being asked to, and were followed by another
}

// process is one run of a daemon.
type process struct {
	cmd   *exec.Cmd
	asked bool          // to end: it got SIGKILL or SIGTERM from here, or its end is known to the test
	done  chan struct{} // closed when err is set
	err   error
}

// New writes the configuration of every node and starts nothing.
func New(o Options) (*Cluster, error) {
	c := &Cluster{Options: o}
	for i := 1; i <= o.Voters; i++ {
		c.Nodes = append(c.Nodes, c.node(i))
	}
	for _, n := range c.Nodes {
		if err := n.configure(false); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *Cluster) node(i int) *Node {
	name := fmt.Sprintf("n%d", i)
	data := filepath.Join(c.Dir, name)
	if c.Options.DataDir != nil {
		data = c.Options.DataDir(i)
	}
	return &Node{
		Name: name, cluster: c, index: i,
		Config: filepath.Join(c.Dir, name+".yaml"), Data: data, Log: filepath.Join(c.Dir, name+".log"),
		Client: fmt.Sprintf("%s:%d", c.Host, 5000+i), Peer: fmt.Sprintf("%s:%d", c.Host, 5100+i), HTTP: fmt.Sprintf("%s:%d", c.Host, 5200+i),
		// Connections stay: a test that waits looks every few milliseconds, and a new one each time costs more than the answer.
		http: &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 4}},
	}
}

// configure writes the node's YAML file. The voters are the first Options.Voters nodes.
func (n *Node) configure(join bool) error {
	var b strings.Builder
	fmt.Fprintf(&b, "node:\n  name: %s\n  data_dir: %s\ncluster:\n", n.Name, n.Data)
	if join {
		b.WriteString("  join: true\n")
	}
	b.WriteString("  voters:\n")
	for _, v := range n.cluster.Nodes[:n.cluster.Voters] {
		fmt.Fprintf(&b, "    - {name: %s, peer: \"%s\", client: \"%s\", http: \"%s\"}\n", v.Name, cmp.Or(n.peers[v.Name], v.Peer), v.Client, v.HTTP)
	}
	if join {
		fmt.Fprintf(&b, "redis: {listen: \"%s\"}\npeer: {listen: \"%s\"}\nhttp: {listen: \"%s\"}\n", n.Client, n.Peer, n.HTTP)
	}
	b.WriteString(n.cluster.YAML)
	return os.WriteFile(n.Config, []byte(b.String()), 0o600)
}

// Add makes one more node, which joins the cluster once it was added there.
func (c *Cluster) Add() (*Node, error) {
	n := c.node(len(c.Nodes) + 1)
	c.Nodes = append(c.Nodes, n)
	return n, n.configure(true)
}

// Start starts every node that does not run.
func (c *Cluster) Start() error {
	for _, n := range c.Nodes {
		if err := n.Start(); err != nil {
			return err
		}
	}
	return nil
}

// Close kills what still runs and waits for it.
func (c *Cluster) Close() {
	for _, n := range c.Nodes {
		n.Kill()
	}
}

// Endpoints are the client addresses of all nodes.
func (c *Cluster) Endpoints() []string {
	var out []string
	for _, n := range c.Nodes {
		out = append(out, n.Client)
	}
	return out
}

// Start starts the daemon; it is no fault if it runs already.
func (n *Node) Start() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.proc != nil && !n.proc.ended() {
		return nil
	}
	if err := n.death(); err != nil {
		n.deaths = append(n.deaths, err)
	}
	log, err := os.OpenFile(n.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() // the child has its own copy
	argv := []string{n.cluster.Bin, "serve", "--config", n.Config}
	if n.cluster.Wrap != nil {
		argv = n.cluster.Wrap(n.index, argv)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), n.cluster.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", n.Name, err)
	}
	p := &process{cmd: cmd, done: make(chan struct{})}
	n.proc = p
	go func() { // waits for the child; ends when it ends; ended and Wait look at done
		p.err = cmd.Wait()
		close(p.done)
	}()
	return nil
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// signal sends a signal to the node's process group.
func (n *Node) signal(s syscall.Signal) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.proc != nil && !n.proc.ended() {
		n.proc.asked = n.proc.asked || s == syscall.SIGKILL || s == syscall.SIGTERM
		_ = syscall.Kill(-n.proc.cmd.Process.Pid, s) // it may have ended just now
	}
}

// Kill is kill -9, and waits until the process is gone.
func (n *Node) Kill() {
	n.signal(syscall.SIGKILL)
	_, _ = n.Wait(context.Background())
}

// Pause and Resume are SIGSTOP and SIGCONT.
func (n *Node) Pause() { n.signal(syscall.SIGSTOP) }

// Resume ends a Pause.
func (n *Node) Resume() { n.signal(syscall.SIGCONT) }

// Terminate is SIGTERM; it does not wait.
func (n *Node) Terminate() { n.signal(syscall.SIGTERM) }

// Pid is the process id, 0 if the node does not run.
func (n *Node) Pid() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.proc == nil || n.proc.ended() {
		return 0
	}
	return n.proc.cmd.Process.Pid
}

// Wait waits for the end of the running process and returns its exit code, -1
// if a signal ended it or it never ran.
func (n *Node) Wait(ctx context.Context) (int, error) {
	n.mu.Lock()
	p := n.proc
	n.mu.Unlock()
	if p == nil {
		return -1, nil
	}
	select {
	case <-p.done:
		var exit *exec.ExitError
		if p.err != nil && !errors.As(p.err, &exit) {
			return -1, p.err
		}
		return p.cmd.ProcessState.ExitCode(), nil
	case <-ctx.Done():
		return -1, fmt.Errorf("%s still runs: %w", n.Name, ctx.Err())
	}
}

// Ends waits for the end of the process and makes sure of its exit code.
func (n *Node) Ends(ctx context.Context, want int) error {
	code, err := n.Wait(ctx)
	if err == nil && code != want {
		err = fmt.Errorf("%s ended with %d, want %d\n%s", n.Name, code, want, n.Tail(5))
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if err == nil && n.proc != nil {
		n.proc.asked = true
	}
	return err
}

// death is an error if the process has ended and nobody asked it to. The caller holds mu.
func (n *Node) death() error {
	if n.proc == nil || !n.proc.ended() || n.proc.asked {
		return nil
	}
	return fmt.Errorf("%s ended by itself: %v\n%s", n.Name, n.proc.cmd.ProcessState, n.Tail(5))
}

// Deaths tells of every process that ended though nobody asked it to.
func (c *Cluster) Deaths() error {
	var errs []error
	for _, n := range c.Nodes {
		n.mu.Lock()
		errs = append(errs, n.deaths...)
		errs = append(errs, n.death())
		n.mu.Unlock()
	}
	return errors.Join(errs...)
}

// Tail is the end of the node's log, for messages of failed tests.
func (n *Node) Tail(lines int) string {
	b, err := os.ReadFile(n.Log)
	if err != nil {
		return err.Error()
	}
	all := bytes.Split(bytes.TrimRight(b, "\n"), []byte("\n"))
	return string(bytes.Join(all[max(0, len(all)-lines):], []byte("\n")))
}

// Status is what /status says, as far as tests look at it.
type Status struct {
	Name          string  `json:"name"`
	ID            string  `json:"id"`
	Role          string  `json:"role"`
	Leader        string  `json:"leader"`
	LeaderName    string  `json:"leader_name"`
	Term          uint64  `json:"term"`
	LastIndex     uint64  `json:"last_index"`
	CommitIndex   uint64  `json:"commit_index"`
	AppliedIndex  uint64  `json:"applied_index"`
	LogFirstIndex uint64  `json:"log_first_index"`
	SnapshotIndex uint64  `json:"snapshot_index"`
	Ready         bool    `json:"ready"`
	LowSpace      bool    `json:"low_space"`
	UptimeSeconds float64 `json:"uptime_seconds"` // counted in ticks: it stands still while the node does
	StateHash     string  `json:"state_hash"`

	Level       uint32   `json:"level"`
	Fence       string   `json:"fence"`
	AgreedIndex uint64   `json:"agreed_index"`
	Differ      []string `json:"differ"`
	Members     []struct {
		ID      string `json:"id"`
		Name    string `json:"name"`
		Learner bool   `json:"learner"`
		Match   uint64 `json:"match"`
		Active  bool   `json:"active"`
	} `json:"members"`
}

// Status asks the node.
func (n *Node) Status(ctx context.Context) (Status, error) {
	var s Status
	code, body, err := n.Get(ctx, "/status")
	switch {
	case err != nil:
		return s, err
	case code != http.StatusOK:
		return s, fmt.Errorf("status of %s: %d %s", n.Name, code, body)
	}
	return s, json.Unmarshal(body, &s)
}

// Get asks the node's HTTP side.
func (n *Node) Get(ctx context.Context, path string) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.HTTP+path, nil)
	if err != nil {
		return 0, nil, err
	}
	resp, err := n.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return resp.StatusCode, body, err
}

// pause between two looks at something that is waited for.
const pause = 10 * time.Millisecond

// Until looks until ok is true or ctx ends, and then says what was missing.
func Until(ctx context.Context, what string, ok func() (bool, error)) error {
	var last error
	for {
		done, err := ok()
		if done {
			return nil
		}
		last = err
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w (last look: %v)", what, ctx.Err(), last)
		case <-time.After(pause):
		}
	}
}

// Leader waits for the node that leads and is ready to serve.
func (c *Cluster) Leader(ctx context.Context) (*Node, error) {
	var leader *Node
	err := Until(ctx, "a leader", func() (bool, error) {
		var errs []error
		var term uint64
		leader = nil
		for _, n := range c.Nodes {
			if n.Pid() == 0 {
				continue
			}
			s, err := n.Status(ctx)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			if s.Role == "leader" && s.Ready && s.Term > term {
				leader, term = n, s.Term
			}
		}
		return leader != nil, errors.Join(errs...)
	})
	return leader, err
}

// Ready waits until every running node can serve linearizable reads.
func (c *Cluster) Ready(ctx context.Context) error {
	for _, n := range c.Nodes {
		if n.Pid() == 0 {
			continue
		}
		err := Until(ctx, n.Name+" to be ready", func() (bool, error) {
			code, body, err := n.Get(ctx, "/readyz")
			if err == nil && code != http.StatusOK {
				err = fmt.Errorf("%d %s", code, body)
			}
			return err == nil, err
		})
		if err != nil {
			return fmt.Errorf("%w\n%s", err, n.Tail(5))
		}
	}
	return nil
}

// SameState waits until all nodes have applied the same, and compares their states.
func (c *Cluster) SameState(ctx context.Context) error {
	var differ error
	err := Until(ctx, "all nodes to stand at one index", func() (bool, error) {
		var first Status
		for i, n := range c.Nodes {
			s, err := n.Status(ctx)
			if err != nil {
				return false, err
			}
			if i == 0 {
				first = s
			}
			if s.AppliedIndex != first.AppliedIndex || s.AppliedIndex == 0 {
				return false, fmt.Errorf("%s has applied %d, %s %d", first.Name, first.AppliedIndex, n.Name, s.AppliedIndex)
			}
			if s.StateHash != first.StateHash || s.StateHash == "" {
				differ = fmt.Errorf("at entry %d the state of %s is %s, that of %s is %s", s.AppliedIndex, n.Name, s.StateHash, first.Name, first.StateHash)
				return true, nil
			}
		}
		return true, nil
	})
	return errors.Join(err, differ)
}
