package e2e

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/raftkv/raftkv/selftest"
)

// ends starts a node that must end by itself, with a code and a sentence.
func ends(t *testing.T, n *selftest.Node, code int, sentence string) {
	t.Helper()
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	got, err := n.Wait(deadline(t))
	if err != nil {
		t.Fatal(err)
	}
	if got != code {
		t.Errorf("%s ended with %d, want %d", n.Name, got, code)
	}
	if last := n.Tail(12); !strings.Contains(last, sentence) {
		t.Errorf("log of %s does not say %q:\n%s", n.Name, sentence, last)
	}
}

// PC-17: two daemons on one directory. The second one says so; the first one goes on.
func TestSecondDaemonOnOneDirectory(t *testing.T) {
	bothTiers(t)
	c := start(t, selftest.Options{Voters: 1})
	twin := prepare(t, selftest.Options{Voters: 1, DataDir: func(int) string { return c.Nodes[0].Data }})
	ends(t, twin.Nodes[0], 75, "in use by another process")
	if got := do(t, c.Nodes[0], "SET", "k", "v"); got != "OK" {
		t.Errorf("first daemon: SET answered %q", got)
	}
}

// PC-18: a port that somebody else has.
func TestPortInUse(t *testing.T) {
	parallel(t)
	for _, which := range []string{"client", "peer", "http"} {
		t.Run(which, func(t *testing.T) {
			bothTiers(t)
			c := prepare(t, selftest.Options{Voters: 1})
			n := c.Nodes[0]
			addr := map[string]string{"client": n.Client, "peer": n.Peer, "http": n.HTTP}[which]
			ln, err := net.Listen("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			ends(t, n, 75, addr)
		})
	}
}

func TestDataDirectoryOfAnotherNode(t *testing.T) {
	bothTiers(t)
	c := start(t, selftest.Options{})
	for _, n := range c.Nodes {
		n.Kill()
	}
	n1, n2 := c.Nodes[0], c.Nodes[1]
	if err := os.Rename(n1.Data, n1.Data+".old"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(n2.Data, n1.Data); err != nil {
		t.Fatal(err)
	}
	ends(t, n1, 69, "n2")
}

func TestDamagedLogIsRefused(t *testing.T) {
	bothTiers(t)
	c := start(t, selftest.Options{})
	fill(t, leader(t, c), "k", 50)
	victim := follower(t, c)
	victim.Kill()
	// Every value of the log carries a checksum.
	files, err := filepath.Glob(filepath.Join(victim.Data, "log", "*.db"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no log files: %v", err)
	}
	// A page that bbolt has freed may hold an older copy of an entry: damage all of them.
	flipped := 0
	value := []byte(strings.Repeat("v", 100))
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for {
			at := bytes.Index(b, value)
			if at < 0 {
				break
			}
			b[at+50] ^= 1
			flipped++
		}
		if err := os.WriteFile(f, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if flipped == 0 {
		t.Fatal("found no value to damage")
	}
	ends(t, victim, 65, "entry")
	if log := victim.Tail(3); !strings.Contains(log, "replace this one: raftkv member remove "+victim.Name) {
		t.Errorf("the log does not say what to do:\n%s", log)
	}
}

// BI-03, BI-15: an HTTP request on the client port is closed and called an attack, garbage on
// the peer port is closed too; the node goes on.
func TestGarbageOnThePorts(t *testing.T) {
	bothTiers(t)
	c := start(t, selftest.Options{Voters: 1})
	n := c.Nodes[0]
	for _, addr := range []string{n.Client, n.Peer} {
		for _, bytes := range []string{"POST / HTTP/1.1\r\nHost: x\r\n\r\n", "\x16\x03\x01\x02\x00", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "*2147483647\r\n"} {
			nc, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := nc.Write([]byte(bytes)); err != nil {
				t.Fatal(err)
			}
			// It may have been thrown out already: then the socket is no longer connected.
			if err := nc.(*net.TCPConn).CloseWrite(); err != nil && !errors.Is(err, syscall.ENOTCONN) {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, nc); err != nil && !strings.Contains(err.Error(), "reset") {
				t.Errorf("%q at %s: %v", bytes, addr, err)
			}
			nc.Close()
		}
	}
	if log := n.Tail(50); !strings.Contains(log, "possible attack: an HTTP request came to the port of clients") {
		t.Errorf("the log says nothing of the HTTP request:\n%s", log)
	}
	if got := do(t, n, "PING"); got != "PONG" {
		t.Errorf("PING answered %q", got)
	}
}

// PC-11: SIGTERM hands leadership over, answers what is open, and ends with 0, all of it in time.
func TestTerminateIsOrderly(t *testing.T) {
	parallel(t)
	c := start(t, selftest.Options{YAML: calm})
	torment(t, c, func(w *selftest.Workload) {
		for range rounds(2, 10) {
			n := leader(t, c)
			before := len(logOf(t, n))
			n.Terminate()
			if err := n.Ends(deadline(t), 0); err != nil {
				t.Fatal(err)
			}
			log := string(logOf(t, n)[before:])
			if !regexp.MustCompile(`"handed leadership over",.*"error":null`).MatchString(log) {
				t.Errorf("%s handed leadership to nobody:\n%s", n.Name, log)
			}
			stoppedInTime(t, n, log)
			progress(t, w)
			startOne(t, c, n)
		}
	})
}

// stoppedInTime looks at the log of a node that was told to stop.
func stoppedInTime(t *testing.T, n *selftest.Node, log string) {
	t.Helper()
	if strings.Contains(log, "not everything was finished in time") || strings.Contains(log, "clients were cut off") {
		t.Errorf("%s did not stop in time:\n%s", n.Name, n.Tail(5))
	}
}
