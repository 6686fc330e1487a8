package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

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
