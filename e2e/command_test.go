package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/internal/tcpproxy"
	"github.com/raftkv/raftkv/selftest"
)

// inTime runs a command that ends when its time is over, with a code that tells what
// it had learned by then. A busy machine gets more time to learn it.
func inTime(t *testing.T, want int, args ...string) {
	t.Helper()
	for _, timeout := range []string{"2s", "8s", "25s"} {
		out, code := command(t, append(args, "--timeout", timeout)...)
		if code == want {
			return
		}
		t.Logf("raftkv %v: code %d after %s, want %d; it said: %s", args, code, timeout, want, out)
	}
	t.Errorf("raftkv %v: never code %d", args, want)
}

// The exit codes of the commands, through the real binary against real nodes.
func TestCommandExitCodes(t *testing.T) {
	bothTiers(t)
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
		if code == 4 { // nothing was done: a busy machine has no leader just now
			leader(t, c)
			out, code = command(t, append(strings.Fields(tc.args), at)...)
		}
		if code != tc.code || !strings.Contains(out, tc.out) {
			t.Errorf("raftkv %s: code %d, want %d; it said: %s", tc.args, code, tc.code, out)
		}
	}

	// A member change that would be unsafe: a condition that isn't met.
	f := follower(t, c)
	f.Kill()
	l := missing(t, c, f)
	other := others(c, l, f)[0]
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
	inTime(t, 7, "put", "unheard", "v", "--endpoints="+p.Addr())
	if p.Bitten() == 0 {
		t.Error("no answer was lost")
	}
	if got := do(t, l, "GET", "unheard"); got != "v" {
		t.Errorf("the write whose outcome was unknown left %q", got)
	}

	// Without a quorum there is no leader soon, and a write does surely nothing.
	other.Pause()
	notLeading(t, l)
	inTime(t, 4, "put", "k", "v", "--endpoints="+l.Client)
	other.Resume()
	c.Close()
	for _, args := range []string{"get k", "status", "put k v"} {
		if out, code := command(t, append(strings.Fields(args), "--timeout", "1s", at)...); code != 4 {
			t.Errorf("raftkv %s without any node: code %d, want 4; it said: %s", args, code, out)
		}
	}
}
