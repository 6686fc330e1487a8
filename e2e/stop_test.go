package e2e

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/raftkv/raftkv/selftest"
)

// PC-11: a second SIGTERM ends a node at once, here one whose orderly stop waits
// for a write that can't come to an end.
func TestSecondTerminateEndsAtOnce(t *testing.T) {
	parallel(t)
	c := start(t, selftest.Options{YAML: calm + "limits: {request_timeout: 10m}\nservice: {stop_timeout: 10m}\n"})
	l := leader(t, c)
	for _, n := range c.Nodes {
		if n != l {
			n.Pause()
			defer n.Resume()
		}
	}
	conn, err := selftest.Dial(deadline(t), l.Client)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.Send("SET", "k", "v"); err != nil {
		t.Fatal(err)
	}
	until(t, "the write to be in the log", func() (bool, error) {
		s, err := l.Status(t.Context())
		return s.LastIndex > s.CommitIndex, err
	})
	l.Terminate()
	until(t, "the leader to begin to stop", func() (bool, error) { return strings.Contains(l.Tail(20), `"stopping"`), nil })
	l.Terminate()
	if code, err := l.Wait(deadline(t)); err != nil || code != 128+15 {
		t.Errorf("ended with %d, %v; want %d", code, err, 128+15)
	}
}

// PC-21: whoever is connected to a node that is killed is told at once, and
// requests that wait at other nodes are answered.
func TestKilledNodeLeavesNobodyWaiting(t *testing.T) {
	parallel(t)
	c := start(t, selftest.Options{})
	l, f := leader(t, c), follower(t, c)
	const clients = 50
	var conns []net.Conn
	for i := range 2 * clients {
		nc, err := net.Dial("tcp", []string{l.Client, l.HTTP}[i%2])
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		conns = append(conns, nc)
	}
	// Every connection is served before the kill, so that none waits in a backlog.
	for i, nc := range conns {
		ask := []string{"PING\r\n", "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"}[i%2]
		if _, err := io.WriteString(nc, ask); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAtLeast(nc, make([]byte, 4096), 5); err != nil {
			t.Fatal(err)
		}
	}
	// Writes under way through a follower, again and again until the leader is gone.
	var all sync.WaitGroup
	results := make(chan selftest.Outcome, clients)
	for range clients {
		conn, err := selftest.Dial(deadline(t), f.Client)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		all.Add(1)
		go func() { // owns conn; ends at the first answer that is no success, or after the kill
			defer all.Done()
			for range 100000 {
				_, outcome, err := conn.Do(attempt, "SET", "k", "v")
				var reply *selftest.ErrorReply
				if err != nil && !errors.As(err, &reply) {
					t.Errorf("a request at the follower got no answer: %v", err)
				}
				if outcome != selftest.OK || l.Pid() == 0 {
					results <- outcome
					return
				}
			}
		}()
	}
	l.Kill()
	ctx := deadline(t)
	for i, nc := range conns {
		when, _ := ctx.Deadline()
		if err := nc.SetReadDeadline(when); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, nc); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("connection %d: not told that the node is gone", i)
		}
	}
	all.Wait()
	close(results)
	seen := map[selftest.Outcome]int{}
	for o := range results {
		seen[o]++
	}
	t.Logf("%d connections ended; of %d writes under way at a follower %d were applied, %d not, %d unknown",
		len(conns), clients, seen[selftest.OK], seen[selftest.NotApplied], seen[selftest.Unknown])
}
