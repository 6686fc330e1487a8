package e2e

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/raftkv/raftkv/internal/testenv"
	"github.com/raftkv/raftkv/selftest"
)

// crowd connects many times and tells who was served and who was sent away, and how.
func crowd(t *testing.T, addr string, many int) (served []net.Conn, refusals map[string]int) {
	t.Helper()
	refusals = map[string]int{}
	var mu sync.Mutex
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			for range many / 50 {
				nc, err := net.Dial("tcp", addr)
				if err != nil {
					t.Error(err)
					continue
				}
				t.Cleanup(func() { nc.Close() })
				_ = nc.SetDeadline(time.Now().Add(attempt))
				_, _ = nc.Write([]byte("PING\r\n")) // it may be closed already
				b := make([]byte, 100)
				n, err := nc.Read(b)
				answer := strings.TrimSpace(string(b[:n]))
				switch {
				case errors.Is(err, os.ErrDeadlineExceeded):
					answer = "nothing"
				case err != nil:
					answer = "closed" // what we wrote may overtake the refusal: then it is a reset
				}
				mu.Lock()
				if answer == "+PONG" {
					served = append(served, nc)
				} else {
					refusals[answer]++
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return served, refusals
}

// OL-02: more clients than open files. Those that are too many are sent away with a
// sentence, and enough files are left for what the node needs itself: its log, a
// snapshot, another node that comes back, the HTTP side.
func TestMoreClientsThanFiles(t *testing.T) {
	testenv.FullOnly(t)
	parallel(t)
	c := start(t, selftest.Options{
		YAML: small,
		Wrap: func(_ int, argv []string) []string {
			return append([]string{"sh", "-c", `ulimit -n 256; exec "$@"`, "sh"}, argv...)
		},
	})
	before := pids(c)
	lead, other := leader(t, c), follower(t, c)
	served, refusals := crowd(t, lead.Client, 500)
	t.Logf("%d clients are served; the others hear %v", len(served), refusals)
	if len(served) < 50 || refusals["-ERR max number of clients reached"] == 0 || refusals["nothing"] > 0 {
		t.Errorf("%d clients are served, the others hear %v", len(served), refusals)
	}
	var http []net.Conn
	for range 500 {
		nc, err := net.Dial("tcp", lead.HTTP)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		http = append(http, nc)
	}
	// Writes go on, over a follower, and need new files of the log and of snapshots.
	fill(t, other, "k", 500)
	first := served[0]
	if err := first.SetDeadline(time.Now().Add(attempt)); err != nil { // that of the crowd is over on a slow machine
		t.Fatal(err)
	}
	if _, err := first.Write([]byte("SAVE\r\n")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 100)
	if n, err := first.Read(b); err != nil || string(b[:n]) != "+OK\r\n" {
		t.Errorf("SAVE answered %q, %v", b[:n], err)
	}
	for i, n := range c.Nodes {
		if n == other {
			n.Kill()
			if err := n.Start(); err != nil {
				t.Fatal(err)
			}
			before[i] = n.Pid()
		}
	}
	until(t, other.Name+" to be let in", func() (bool, error) {
		s, err := other.Status(t.Context())
		return s.Ready, err
	})
	// When they are gone there is room again.
	for _, nc := range append(served, http...) {
		nc.Close()
	}
	until(t, "a client to be served", func() (bool, error) {
		nc, err := net.Dial("tcp", lead.Client)
		if err != nil {
			return false, err
		}
		defer nc.Close()
		if _, err := nc.Write([]byte("GET k499\r\n")); err != nil {
			return false, err
		}
		b, err := io.ReadAll(io.LimitReader(nc, 6))
		return string(b) == "$100\r\n", err
	})
	samePids(t, c, before)
	sameState(t, c)
}

// OL-14: a node with a thousand clients is restarted, and all of them come back at once. They
// are served, and nobody takes the node for dead.
func TestEveryoneReconnectsAtOnce(t *testing.T) {
	testenv.FullOnly(t)
	parallel(t)
	c := start(t, selftest.Options{})
	n := follower(t, c)
	served, _ := crowd(t, n.Client, 1000)
	n.Kill()
	for _, nc := range served {
		nc.Close()
	}
	startOne(t, c, n)
	steady(t, c, "a thousand clients come back", func() {
		again, refusals := crowd(t, n.Client, 1000)
		if len(served) != 1000 || len(again) != 1000 || len(refusals) > 0 {
			t.Errorf("%d were served before, %d after, %v", len(served), len(again), refusals)
		}
		for _, nc := range again {
			nc.Close()
		}
		do(t, n, "SET", "k", "v")
	})
}
