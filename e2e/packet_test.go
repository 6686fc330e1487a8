package e2e

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/internal/testenv"
	"github.com/raftkv/raftkv/selftest"
)

// wire is what the kernel does to the packets between the nodes of one cluster.
// Clients are not touched.
type wire struct{ table, host string }

// newWire makes a table of packet rules for a cluster. It is gone at the end of the test.
func newWire(t *testing.T, c *selftest.Cluster) *wire {
	t.Helper()
	testenv.FullOnly(t)
	testenv.NeedRoot(t)
	testenv.Need(t, "nft")
	w := &wire{table: "raftkv_" + strings.ReplaceAll(c.Host, ".", "_"), host: c.Host}
	t.Cleanup(func() { _ = exec.Command("nft", "delete", "table", "inet", w.table).Run() }) // mostly there is one
	return w
}

// rule lets the packets of peers that match be dropped; earlier rules are gone.
func (w *wire) rule(t *testing.T, match string) {
	t.Helper()
	rules := fmt.Sprintf("table inet %[1]s\ndelete table inet %[1]s\ntable inet %[1]s {\n chain in {\n  type filter hook input priority 0;\n", w.table)
	if match != "" {
		for _, port := range []string{"ip daddr %s tcp dport 5101-5109", "ip saddr %s tcp sport 5101-5109"} {
			rules += fmt.Sprintf("  "+port+" %s counter drop\n", w.host, match)
		}
	}
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(rules + " }\n}\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("nft: %v: %s\n%s", err, out, rules)
	}
}

// dropped is how many packets the rules have dropped since they were set.
func (w *wire) dropped(t *testing.T) (sum int) {
	t.Helper()
	out, err := exec.Command("nft", "list", "table", "inet", w.table).CombinedOutput()
	if err != nil {
		t.Fatalf("nft: %v: %s", err, out)
	}
	for _, part := range strings.Split(string(out), "counter packets ")[1:] {
		n := 0
		if _, err := fmt.Sscan(part, &n); err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	return sum
}

// NP-09: packets between nodes are lost, up to a third of them. It becomes slow; nothing becomes wrong.
func TestPacketsAreLost(t *testing.T) {
	testenv.FullOnly(t)
	parallel(t)
	c := start(t, selftest.Options{})
	wire := newWire(t, c)
	torment(t, c, func(w *selftest.Workload) {
		for _, percent := range []int{1, 5, 30} {
			wire.rule(t, fmt.Sprintf("numgen random mod 100 < %d", percent))
			progress(t, w)
			progress(t, w)
			until(t, "packets to be lost", func() (bool, error) { return wire.dropped(t) > 3, nil })
			t.Logf("%d %%: %d packets lost", percent, wire.dropped(t))
		}
		wire.rule(t, "")
	})
}

// NP-13: all packets between nodes vanish, without a word, as when a cable is
// pulled. The leader steps down; when the cable is back, so is the cluster.
func TestCablePulled(t *testing.T) {
	testenv.FullOnly(t)
	parallel(t)
	c := start(t, selftest.Options{})
	wire := newWire(t, c)
	torment(t, c, func(w *selftest.Workload) {
		for range 2 {
			old := leader(t, c)
			wire.rule(t, "ip protocol tcp")
			notLeading(t, old)
			until(t, "packets to be dropped", func() (bool, error) { return wire.dropped(t) > 0, nil })
			wire.rule(t, "")
			progress(t, w)
		}
	})
}

// NP-12: small packets pass and big ones vanish, as where path MTU discovery is
// broken. A leader that can't replicate steps down, whatever its heartbeats say.
func TestBigPacketsVanish(t *testing.T) {
	testenv.FullOnly(t)
	parallel(t)
	c := start(t, selftest.Options{})
	wire := newWire(t, c)
	torment(t, c, func(w *selftest.Workload) {
		old := leader(t, c)
		conn, err := selftest.Dial(deadline(t), old.Client)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		wire.rule(t, "ip length > 4000")
		if err := conn.Send("SET", "big", strings.Repeat("x", 20_000)); err != nil {
			t.Fatal(err)
		}
		notLeading(t, old)
		until(t, "packets to be dropped", func() (bool, error) { return wire.dropped(t) > 0, nil })
		wire.rule(t, "")
		progress(t, w)
	})
}

// NP-15: connections that stand go on, new ones are not made. Nothing is
// noticed, until a node comes back that needs new ones; it waits for them.
func TestNewConnectionsAreBlocked(t *testing.T) {
	testenv.FullOnly(t)
	parallel(t)
	c := start(t, selftest.Options{YAML: calm})
	wire := newWire(t, c)
	torment(t, c, func(w *selftest.Workload) {
		steady(t, c, "no new connections", func() {
			wire.rule(t, "tcp flags & (syn | ack) == syn")
			progress(t, w)
			n := follower(t, c)
			n.Kill()
			if err := n.Start(); err != nil {
				t.Fatal(err)
			}
			progress(t, w)
			until(t, "connections to be refused", func() (bool, error) { return wire.dropped(t) > 0, nil })
			if s, err := n.Status(t.Context()); err == nil && s.Ready {
				t.Error("a node that nobody reaches calls itself ready")
			}
			wire.rule(t, "")
			ready(t, c)
		})
	})
}
