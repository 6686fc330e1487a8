package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/internal/tcpproxy"
	"github.com/raftkv/raftkv/selftest"
)

// The exit codes of the commands, through the real binary against real nodes.
func TestCommandExitCodes(t *testing.T) {
	parallel(t)
	c := start(t, selftest.Options{YAML: "limits: {request_timeout: 1s}\n"})
	at := "--endpoints=" + strings.Join(c.Endpoints(), ",")
	binaryValue := filepath.Join(t.TempDir(), "value")
	if err := os.WriteFile(binaryValue, []byte("a\x00\r\n\xff"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		args string
		code int
		out  string
	}{
		{"put k v", 0, ""},
		{"get k", 0, "v"},
		{"append k w", 0, "2"},
		{"get k", 0, "vw"},
		{"put k x --nx", 6, ""},
		{"put none x --xx", 6, ""},
		{"get k", 0, "vw"},
		{"get none", 5, ""},
		{"del k", 0, "1"},
		{"get k", 5, ""},
		{"get", 2, "--help"},
		{"put k", 2, "--help"},
		{"get k --no-such-flag", 2, "--help"},
		{"get k -o nonsense", 2, "nonsense"},
		{"status", 0, "leader"},
		{"member list", 0, "n3"},
		{"member remove nobody", 1, "nobody"},
	} {
		out, code := command(t, append(strings.Fields(tc.args), at)...)
		if code != tc.code || !strings.Contains(out, tc.out) {
			t.Errorf("raftkv %s: code %d, want %d; it said: %s", tc.args, code, tc.code, out)
		}
	}

	// A member change that would be unsafe: a condition that isn't met.
	l, f := leader(t, c), follower(t, c)
	f.Kill()
	other := c.Nodes[0]
	for _, n := range c.Nodes {
		if n != l && n != f {
			other = n
		}
	}
	until(t, "the leader to miss the dead node", func() (bool, error) {
		s, err := l.Status(t.Context())
		for _, m := range s.Members {
			if m.Name == f.Name && !m.Active {
				return true, nil
			}
		}
		return false, err
	})
	if out, code := command(t, "member", "remove", other.Name, at); code != 6 {
		t.Errorf("removing a live voter beside a dead one: code %d, want 6; it said: %s", code, out)
	}

	// Every reply is lost once the write took effect: the command can't know.
	p, err := tcpproxy.New(c.Host+":0", l.Client)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	conn, err := selftest.Dial(deadline(t), l.Client)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	p.Bite(func() bool {
		v, outcome, _ := conn.Do(attempt, "EXISTS", "unheard")
		return outcome != selftest.OK || v.Int == 1
	})
	if out, code := command(t, "put", "unheard", "v", "--timeout", "2s", "--endpoints="+p.Addr()); code != 7 || p.Bitten() == 0 {
		t.Errorf("a write without an answer: code %d, want 7; it said: %s", code, out)
	}
	if got := do(t, l, "GET", "unheard"); got != "v" {
		t.Errorf("the write whose outcome was unknown left %q", got)
	}

	// Without a quorum there is no leader soon, and a write does surely nothing.
	other.Pause()
	notLeading(t, l)
	if out, code := command(t, "put", "k", "v", "--timeout", "2s", "--endpoints="+l.Client); code != 4 {
		t.Errorf("a write without a leader: code %d, want 4; it said: %s", code, out)
	}
	other.Resume()
	c.Close()
	for _, args := range []string{"get k", "status", "put k v"} {
		if out, code := command(t, append(strings.Fields(args), "--timeout", "1s", at)...); code != 4 {
			t.Errorf("raftkv %s without any node: code %d, want 4; it said: %s", args, code, out)
		}
	}
}
