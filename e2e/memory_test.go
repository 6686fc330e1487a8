package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/raftkv/raftkv/internal/testenv"
	"github.com/raftkv/raftkv/selftest"
)

var highWater = regexp.MustCompile(`VmHWM:\s+(\d+) kB`)

// peak is the most memory that a node had at any time, in bytes.
func peak(t *testing.T, n *selftest.Node) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.Pid()))
	if err != nil {
		t.Fatal(err)
	}
	m := highWater.FindSubmatch(b)
	if m == nil {
		t.Fatalf("no VmHWM in %s", b)
	}
	kb, err := strconv.Atoi(string(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	return kb << 10
}

// OL-01: a client asks for 6 GiB and takes nothing of it. The node stops to read what it asks,
// and closes it; other clients notice nothing.
func TestAnswersThatNobodyTakesAreBounded(t *testing.T) {
	parallel(t)
	c := start(t, selftest.Options{Voters: 1, YAML: "redis: {output_bytes: 8MiB, write_timeout: 500ms}\n"})
	n := leader(t, c)
	do(t, n, "SET", "k", strings.Repeat("x", 64<<10))
	before := peak(t, n)
	conn, err := net.Dial("tcp", n.Client)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = conn.Write(bytes.Repeat([]byte("GET k\r\n"), 100_000)) // it may be closed before all is sent
	until(t, "the client to be thrown out", func() (bool, error) {
		if got := do(t, n, "PING"); got != "PONG" {
			t.Errorf("PING answered %q", got)
		}
		return strings.Contains(string(logOf(t, n)), "client takes no replies"), nil
	})
	const most = 256 << 20
	if grew := peak(t, n) - before; grew > most {
		t.Errorf("it took %d MiB, want at most %d", grew>>20, most>>20)
	} else {
		t.Logf("it took %d MiB", grew>>20)
	}
}

// OL-04: clients go on to write 1 GiB while the majority is away. All of it is refused or
// unknown, and waits nowhere.
func TestWritesWithoutAQuorumAreBounded(t *testing.T) {
	testenv.FullOnly(t)
	parallel(t)
	c := start(t, selftest.Options{YAML: "raft: {election_ticks: 250, uncommitted_bytes: 16MiB}\nlimits: {request_timeout: 2s}\n"})
	l := leader(t, c)
	before := peak(t, l)
	for _, n := range others(c, l) {
		n.Pause()
	}
	const clients, writes = 16, 64
	var all sync.WaitGroup
	for i := range clients {
		conn, err := net.Dial("tcp", l.Client)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		all.Go(func() { // sends; ends with the last write
			set := fmt.Appendf(nil, "*3\r\n$3\r\nSET\r\n$2\r\n%02d\r\n$%d\r\n%s\r\n", i, 1<<20, bytes.Repeat([]byte("x"), 1<<20))
			for range writes {
				if _, err := conn.Write(set); err != nil {
					t.Errorf("client %d: %v", i, err)
					return
				}
			}
		})
		all.Go(func() { // hears; ends with the last answer
			answers := bufio.NewReader(conn)
			for k := range writes {
				line, err := answers.ReadString('\n')
				if err != nil || !strings.HasPrefix(line, "-") {
					t.Errorf("client %d, write %d: %q, %v", i, k, line, err)
					return
				}
			}
		})
	}
	all.Wait()
	for _, n := range others(c, l) {
		n.Resume()
	}
	const most = 768 << 20
	if grew := peak(t, l) - before; grew > most {
		t.Errorf("it took %d MiB, want at most %d", grew>>20, most>>20)
	} else {
		t.Logf("it took %d MiB", grew>>20)
	}
	do(t, l, "SET", "after", "x")
}
