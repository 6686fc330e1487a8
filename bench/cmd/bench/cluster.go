package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"text/template"
	"time"

	"github.com/raftkv/raftkv/bench/load"
)

//go:embed systems.json
var builtin []byte

type build struct {
	Dir    string   `json:"dir"` // from -src
	Cmd    []string `json:"cmd"`
	Always bool     `json:"always"` // also when its output is there
}

type system struct {
	Name     string            `json:"name"`
	Proto    string            `json:"proto"`
	Nodes    int               `json:"nodes"`
	Build    *build            `json:"build"`
	Files    map[string]string `json:"files"`
	Start    []string          `json:"start"`
	Fast     []string          `json:"fast"`       // arguments added for the tuned-timeout failover
	StaleCmd string            `json:"stale_cmd"`  // RESP command of a stale read, "" where there is none
	MaxConns int               `json:"max_conns"`  // clients above this share connections (etcd)
	DelayMS  int               `json:"delay_ms"`   // wait after starting the first node
	Env      []string          `json:"env"`        // NAME=VALUE
	Skip     bool              `json:"skip"`       // only run when named
	NoLinGet bool              `json:"no_lin_get"` // has no linearizable read
}

type node struct {
	ID, ClientPort, PeerPort, HTTPPort int
	Dir                                string
	cmd                                *exec.Cmd
}

type tdata struct {
	Bin, Dir                           string
	ID, ClientPort, PeerPort, HTTPPort int
	First                              bool
	Nodes                              []*node
}

func expand(s string, d any) string {
	var b bytes.Buffer
	t, err := template.New("").Parse(s)
	check(err)
	check(t.Execute(&b, d))
	return b.String()
}

type cluster struct {
	s     *system
	dir   string
	nodes []*node
	fast  bool
}

func freePorts(n int) []int {
	var ls []net.Listener
	var ps []int
	for i := 0; i < n; i++ {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		check(err)
		ls = append(ls, l)
		ps = append(ps, l.Addr().(*net.TCPAddr).Port)
	}
	for _, l := range ls {
		l.Close()
	}
	return ps
}

func newCluster(s *system, fast bool) *cluster {
	d, err := os.MkdirTemp(*dataDir, s.Name+"-")
	check(err)
	c := &cluster{s: s, dir: d, fast: fast}
	ps := freePorts(3 * s.Nodes)
	for i := 0; i < s.Nodes; i++ {
		n := &node{ID: i + 1, ClientPort: ps[3*i], PeerPort: ps[3*i+1], HTTPPort: ps[3*i+2], Dir: filepath.Join(d, fmt.Sprintf("n%d", i+1))}
		check(os.MkdirAll(n.Dir, 0o755))
		c.nodes = append(c.nodes, n)
	}
	for _, n := range c.nodes {
		for f, t := range s.Files {
			check(os.WriteFile(filepath.Join(n.Dir, f), []byte(expand(t, c.tdata(n))), 0o644))
		}
	}
	allMu.Lock()
	all = append(all, c)
	allMu.Unlock()
	return c
}

func (c *cluster) tdata(n *node) tdata {
	return tdata{Bin: *binDir, Dir: n.Dir, ID: n.ID, ClientPort: n.ClientPort, PeerPort: n.PeerPort, HTTPPort: n.HTTPPort, First: n.ID == 1, Nodes: c.nodes}
}

func (c *cluster) startNode(n *node) {
	var a []string
	for _, s := range c.s.Start {
		if x := expand(s, c.tdata(n)); x != "" {
			a = append(a, x)
		}
	}
	if c.fast {
		for _, s := range c.s.Fast {
			a = append(a, expand(s, c.tdata(n)))
		}
	}
	cmd := exec.Command(a[0], a[1:]...)
	lf, err := os.OpenFile(filepath.Join(n.Dir, "out.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	check(err)
	cmd.Stdout, cmd.Stderr = lf, lf
	cmd.Dir = n.Dir
	cmd.Env = append(os.Environ(), c.s.Env...)
	check(cmd.Start())
	lf.Close()
	n.cmd = cmd
}

func (c *cluster) startAll() {
	for i, n := range c.nodes {
		c.startNode(n)
		if i == 0 && c.s.DelayMS > 0 {
			time.Sleep(time.Duration(c.s.DelayMS) * time.Millisecond)
		}
	}
}

func (n *node) kill() {
	if n.cmd != nil {
		n.cmd.Process.Kill()
		n.cmd.Wait()
		n.cmd = nil
	}
}

func (c *cluster) stop() {
	for _, n := range c.nodes {
		n.kill()
	}
	if !*keep {
		os.RemoveAll(c.dir)
	}
}

func (c *cluster) pids() []int {
	var p []int
	for _, n := range c.nodes {
		if n.cmd != nil {
			p = append(p, n.cmd.Process.Pid)
		}
	}
	return p
}

// written is what each node has written to disk so far; a dead node ends the run.
func (c *cluster) written() []int64 {
	var w []int64
	for _, n := range c.nodes {
		if n.cmd == nil || load.RSS([]int{n.cmd.Process.Pid}) == 0 {
			b, _ := os.ReadFile(filepath.Join(n.Dir, "out.log"))
			check(fmt.Errorf("%s: node %d is gone: %s", c.s.Name, n.ID, tail(b, 1000)))
		}
		w = append(w, load.WrittenBytes([]int{n.cmd.Process.Pid}))
	}
	return w
}

func (c *cluster) addrs() []string {
	var a []string
	for _, n := range c.nodes {
		a = append(a, fmt.Sprintf("127.0.0.1:%d", n.ClientPort))
	}
	return a
}

// leaderFirst waits for a leader and returns the addresses with it in front.
func (c *cluster) leaderFirst() ([]string, int) {
	a := c.addrs()
	i := load.Leader(c.s.Proto, a, 30*time.Second)
	if i < 0 {
		b, _ := os.ReadFile(filepath.Join(c.nodes[0].Dir, "out.log"))
		check(fmt.Errorf("%s: no leader in 30 s; node 1 says: %s", c.s.Name, tail(b, 1500)))
	}
	a[0], a[i] = a[i], a[0]
	return a, i
}

func tail(b []byte, n int) []byte {
	if len(b) > n {
		return b[len(b)-n:]
	}
	return b
}
