package e2e

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/raftkv/raftkv/internal/testenv"
	"github.com/raftkv/raftkv/selftest"
)

// PC-11: a second SIGTERM ends a node at once, here one whose orderly stop waits
// for a write that can't come to an end.
func TestSecondTerminateEndsAtOnce(t *testing.T) {
	bothTiers(t)
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

// A stop that waits for a client who takes no byte is slow, and no loop that stands still:
// the watchdog ends with the node, and not the process.
func TestSlowStopIsNoHang(t *testing.T) {
	parallel(t)
	c := start(t, selftest.Options{Voters: 1, YAML: "service: {watchdog_timeout: 1s, stop_timeout: 4s}\n"})
	n := leader(t, c)
	do(t, n, "SET", "k", strings.Repeat("x", 1<<20))
	conn, err := net.Dial("tcp", n.Client)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, strings.Repeat("GET k\r\n", 60)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil { // the first of sixty answers
		t.Fatal(err)
	}
	n.Terminate()
	if err := n.Ends(deadline(t), 0); err != nil {
		t.Error(err)
	}
	if !strings.Contains(string(logOf(t, n)), "clients were cut off") {
		t.Errorf("the stop waited for nobody: nothing was tested\n%s", n.Tail(5))
	}
}

// PC-21: whoever is connected to a node that is killed is told at once, and
// requests that wait at other nodes are answered.
func TestKilledNodeLeavesNobodyWaiting(t *testing.T) {
	bothTiers(t)
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

// PC-11: a node is told to stop while there is no leader, and while it writes a snapshot. It
// ends with 0, within its stop timeout by the ticks of its own clock, and comes back with everything.
func TestTerminateInAnElectionAndInASnapshot(t *testing.T) {
	testenv.FullOnly(t)
	parallel(t)
	c := start(t, selftest.Options{YAML: "snapshot: {log_entries: 20, log_bytes: 64MiB, keep_entries: 1}\nservice: {stop_timeout: 20s}\n"})
	big := strings.Repeat("x", 1<<20)
	l := leader(t, c)
	for _, key := range strings.Split("abcdefghijklmnopqrstuvwxyz", "") {
		do(t, l, "SET", key, key+big)
	}
	stop := func(n *selftest.Node) {
		t.Helper()
		n.Terminate()
		if err := n.Ends(deadline(t), 0); err != nil {
			t.Fatal(err)
		}
		stoppedInTime(t, n, string(logOf(t, n)))
	}

	// In a snapshot: a file is being written.
	f := follower(t, c)
	conn, err := selftest.Dial(deadline(t), f.Client)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	writing := func() bool {
		files, err := filepath.Glob(filepath.Join(f.Data, "snapshots", "*.tmp"))
		if err != nil {
			t.Fatal(err)
		}
		return len(files) > 0
	}
	until(t, f.Name+" to write a snapshot", func() (bool, error) {
		do(t, l, "SET", "again", "x") // else it has one already
		if err := conn.Send("RAFT", "SNAPSHOT"); err != nil {
			return false, err
		}
		for range 5000 {
			if writing() {
				return true, nil
			}
		}
		return false, nil
	})
	stop(f)

	// In an election: one voter of three is left, then told to stop while it stands.
	l.Kill()
	alone := third(c, l, f)
	until(t, alone.Name+" to stand", func() (bool, error) {
		s, err := alone.Status(t.Context())
		return err == nil && strings.Contains(s.Role, "candidate"), err
	})
	stop(alone)
	startAll(t, c)
	if got := do(t, f, "GET", "z"); got != "z"+big {
		t.Errorf("z has %d bytes", len(got))
	}
	sameState(t, c)
}
