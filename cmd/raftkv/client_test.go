package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/raftkv/raftkv/client"
	"github.com/raftkv/raftkv/node"
	"github.com/raftkv/raftkv/server/access"
	"github.com/raftkv/raftkv/server/resp"
	"github.com/raftkv/raftkv/server/resp/resptest"
)

// with runs a command line with standard input against endpoints.
func with(in, endpoints string, args ...string) (code exitCode, out, errOut string) {
	var o, e bytes.Buffer
	code = run(append(args, "--endpoints", endpoints), strings.NewReader(in), &o, &e)
	return code, o.String(), e.String()
}

// Verbs, exit codes and output of the commands around keys.
func TestKeyCommands(t *testing.T) {
	addr, _ := resptest.Start(t, resptest.NewMemory(), resp.Config{})
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	for _, tc := range []struct {
		in, args string
		code     exitCode
		out      string
	}{
		{"", "get k", exitNotFound, ""},
		{"", "put k hello", exitOK, "OK\n"},
		{"", "get k", exitOK, "hello"}, // not a terminal: byte-exact
		{"", "get k -o table", exitOK, "hello\n"},
		{"", "get k -o json", exitOK, "{\n  \"key\": \"k\",\n  \"value\": \"hello\"\n}\n"},
		{"", "append k !", exitOK, "6\n"},
		{" more\n", "append k -", exitOK, "12\n"},
		{"", "get k", exitOK, "hello! more\n"},
		{string(every), "put b -", exitOK, "OK\n"},
		{"", "get b", exitOK, string(every)},
		{"", "get b -o json", exitOK, "{\n  \"key\": \"b\",\n  \"value_base64\": \"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+P0BBQkNERUZHSElKS0xNTk9QUVJTVFVWV1hZWltcXV5fYGFiY2RlZmdoaWprbG1ub3BxcnN0dXZ3eHl6e3x9fn+AgYKDhIWGh4iJiouMjY6PkJGSk5SVlpeYmZqbnJ2en6ChoqOkpaanqKmqq6ytrq+wsbKztLW2t7i5uru8vb6/wMHCw8TFxsfIycrLzM3Oz9DR0tPU1dbX2Nna29zd3t/g4eLj5OXm5+jp6uvs7e7v8PHy8/T19vf4+fr7/P3+/w==\"\n}\n"},
		{"", "put k x --nx", exitCondition, ""},
		{"", "put none x --xx", exitCondition, ""},
		{"", "put k y --xx --ttl 1h", exitOK, "OK\n"},
		{"", "put k z --keep-ttl -o json", exitOK, "{\n  \"applied\": true,\n  \"key\": \"k\"\n}\n"},
		{"", "put k x --nx --xx", exitUsage, ""},
		{"", "put k x --ttl 0s", exitUsage, ""},
		{"", "put k", exitUsage, ""},
		{"", "get k -o xml", exitUsage, ""},
		{"", "get k --timeout 0s", exitUsage, ""},
		{"", "del k none", exitOK, "1\n"},
		{"", "del k -o json", exitOK, "{\n  \"deleted\": 0\n}\n"},
		{"", "append b", exitUsage, ""},
	} {
		code, out, errOut := with(tc.in, addr, strings.Fields(tc.args)...)
		if code != tc.code || out != tc.out {
			t.Errorf("%s: code %d, %q, want %d, %q (%s)", tc.args, code, out, tc.code, tc.out, errOut)
		}
		if (code == exitOK) != (errOut == "") {
			t.Errorf("%s: code %d and says %q", tc.args, code, errOut)
		}
	}
}

// inTime runs a command that tries until its time is over, and then tells what it has
// learned. A busy machine gets more time to learn it.
func inTime(t *testing.T, want exitCode, text, endpoints string, args ...string) {
	t.Helper()
	var code exitCode
	var errOut string
	for _, timeout := range []string{"100ms", "2s", "30s"} {
		code, _, errOut = with("", endpoints, append(args, "--timeout", timeout)...)
		if code == want && strings.Contains(errOut, text) {
			return
		}
	}
	t.Errorf("%v: code %d, want %d and %q; it says: %s", args, code, want, text, errOut)
}

// No leader is 4, an unknown outcome 7; nobody there is 4, too.
func TestExitCodesOfOutcomes(t *testing.T) {
	m := resptest.NewMemory()
	addr, _ := resptest.Start(t, m, resp.Config{})
	m.Before = func(node.Request) *node.Reply { return &node.Reply{Outcome: node.NotApplied, Err: node.ErrNoLeader} }
	inTime(t, exitNoLeader, "no leader", addr, "get", "k")
	inTime(t, exitNoLeader, "refused", "127.0.0.1:1", "get", "k")
	m.Before = nil
	m.After = func(r node.Request, rep *node.Reply) {
		if len(r.Data) > 0 && r.Data[0] == 10 { // ONCE
			*rep = node.Reply{Slot: r.Slot, Outcome: node.Unknown, Err: node.ErrLostLead}
		}
	}
	inTime(t, exitUnknown, "outcome unknown", addr, "put", "k", "v")
	for err, want := range map[error]exitCode{
		nil: exitOK, client.ErrUnknown: exitUnknown, client.ErrNotApplied: exitFail, client.ErrNoLeader: exitNoLeader,
		client.ErrNotFound: exitNotFound, client.ErrCondition: exitCondition, errors.New("x"): exitFail, usageError(client.ErrNotFound): exitUsage,
	} {
		if got := codeOf(withCode(err)); got != want {
			t.Errorf("%v: %d, want %d", err, got, want)
		}
	}
}

func TestEndpointsFromTheEnvironment(t *testing.T) {
	addr, _ := resptest.Start(t, resptest.NewMemory(), resp.Config{})
	t.Setenv("RAFTKV_ENDPOINTS", "127.0.0.1:1, "+addr)
	if code, out, errOut := raftkv("put", "k", "v"); code != exitOK || out != "OK\n" {
		t.Errorf("%d %s %s", code, out, errOut)
	}
	t.Setenv("RAFTKV_ENDPOINTS", "nonsense")
	if code, _, errOut := raftkv("put", "k", "v"); code != exitUsage || !strings.Contains(errOut, "RAFTKV_ENDPOINTS") {
		t.Errorf("%d %s", code, errOut)
	}
}

func TestStatusCommand(t *testing.T) {
	m := resptest.NewMemory()
	addr, _ := resptest.Start(t, m, resp.Config{})
	m.SetStatus(func(s *node.Status) {
		s.Members[0].Client = addr
		s.Members = append(s.Members, node.MemberStatus{ID: "2", Name: "n2", Client: "127.0.0.1:1", Peer: "127.0.0.1:2", Learner: true})
		s.LogBytes, s.SnapshotBytes, s.Version = 2048, 3<<20, "raftkv v1.2.3 go1.26.8 linux/amd64"
	})
	code, out, errOut := with("", addr, "status")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if code != exitOK || len(lines) != 3 {
		t.Fatalf("%d %q %s", code, out, errOut)
	}
	if got, want := strings.Fields(lines[1]), []string{"n1", "leader", "n1", "1", "0", "0", "0", "0", "2.0KiB", "3.0MiB", "v1.2.3", addr, "-"}; !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	if got := strings.Fields(lines[2]); got[0] != "n2" || got[1] != "unreachable" || !strings.Contains(lines[2], "refused") {
		t.Errorf("got %q", got)
	}
	var rows []client.NodeStatus
	if code, out, _ := with("", addr, "status", "-o", "json"); code != exitOK || json.Unmarshal([]byte(out), &rows) != nil || len(rows) != 2 || rows[1].Error == "" {
		t.Errorf("%d %s", code, out)
	}
	m.SetStatus(func(s *node.Status) { s.Role, s.Leader, s.LeaderName = "candidate", "", "" })
	if code, out, _ := with("", addr, "status", "-o", "plain"); code != exitNoLeader || !strings.HasPrefix(out, "n1\tcandidate\t-\t") {
		t.Errorf("without a leader: %d %q", code, out)
	}
	if code, out, _ := with("", "127.0.0.1:1", "status"); code != exitNoLeader || !strings.Contains(out, "unreachable") {
		t.Errorf("nobody there: %d %q", code, out)
	}
}

func TestMemberCommands(t *testing.T) {
	addr, _ := resptest.Start(t, resptest.NewMemory(), resp.Config{})
	for _, tc := range []struct {
		args string
		code exitCode
		out  string
	}{
		{"member add n2 h:1 --dry-run", exitOK, "added n2\n"},
		{"member list -o plain", exitOK, "n1\tvoter\t1\t127.0.0.1:6480\t127.0.0.1:6479\t127.0.0.1:6481\n"},
		{"member add n2 h:1", exitOK, "added n2\n"},
		{"member list -o plain", exitOK, "n1\tvoter\t1\t127.0.0.1:6480\t127.0.0.1:6479\t127.0.0.1:6481\nn2\tlearner\tn2\th:1\t-\t-\n"},
		{"member add m h:2", exitOK, "added m\n"}, // by name, not in the order of their ids
		{"member list -o plain", exitOK, "m\tlearner\tm\th:2\t-\t-\nn1\tvoter\t1\t127.0.0.1:6480\t127.0.0.1:6479\t127.0.0.1:6481\nn2\tlearner\tn2\th:1\t-\t-\n"},
		{"member remove m", exitOK, "changed m\n"},
		{"member add n2 h:1", exitFail, ""},
		{"member promote n2 -o json", exitOK, "{\n  \"dry_run\": false,\n  \"message\": \"changed n2\"\n}\n"},
		{"member remove n2", exitOK, "changed n2\n"},
		{"member remove n2", exitFail, ""},
		{"member add n2", exitUsage, ""},
		{"transfer n1", exitOK, "transferred to n1\n"},
		{"transfer", exitOK, "transferred to \n"},
		{"transfer a b", exitUsage, ""},
	} {
		if code, out, errOut := with("", addr, strings.Fields(tc.args)...); code != tc.code || out != tc.out {
			t.Errorf("%s: code %d, %q, want %d, %q (%s)", tc.args, code, out, tc.code, tc.out, errOut)
		}
	}
}

// A script runs to its end, and its code is that of the first failure.
func TestShellScript(t *testing.T) {
	addr, _ := resptest.Start(t, resptest.NewMemory(), resp.Config{})
	in := `put k "a\x41 b"
get k
GET none
append k '!'
incr n

foo "
put k x NX
put l x nx ex 100
put k x FOO
incr k
put k
mget k none n
del k none
scan 0
member list
exit
get k
`
	want := "OK\naA b\n\n5\n1\nOK\naA b!\n\n1\n1\n0\nl\nn\nn1\tvoter\t1\t127.0.0.1:6480\t127.0.0.1:6479\t127.0.0.1:6481\n"
	code, out, errOut := with(in, addr, "shell", "-o", "plain")
	if code != exitUsage || out != want {
		t.Errorf("code %d, %q, want %q", code, out, want)
	}
	for _, text := range []string{"line 7: a quote", "line 8: put \"k\": condition not met", "line 10: put doesn't know", "line 11: incr \"k\": ERR value is not an integer", "line 12: put takes: KEY VALUE"} {
		if !strings.Contains(errOut, text) {
			t.Errorf("no %q in %q", text, errOut)
		}
	}
	if strings.Count(errOut, "\n") > 7 {
		t.Errorf("says %q", errOut)
	}
	code, out, _ = with("get none\nmget none n\nscan 5\nincr n", addr, "shell", "-o", "table")
	if want := "(nil)\n1) (nil)\n2) \"1\"\n(integer) 2\n"; out != want || code != exitFail {
		t.Errorf("for people: %d %q, want %q", code, out, want)
	}
}

func TestCompletion(t *testing.T) {
	addr, _ := resptest.Start(t, resptest.NewMemory(), resp.Config{})
	c, err := client.New(client.Config{Endpoints: []string{addr}, Timeout: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	complete := completer((&shell{c: c}).words(t.Context()))
	if got := complete("MEM"); !slices.Equal(got, []string{"member add ", "member list", "member promote ", "member remove ", "memory ", "memory help ", "memory usage "}) {
		t.Errorf("got %q", got)
	}
	if got := complete("incr"); !slices.Equal(got, []string{"incr ", "incrby ", "incrbyfloat "}) {
		t.Errorf("got %q", got)
	}
}

func TestPasswordsOfCommands(t *testing.T) {
	addr, _ := resptest.Start(t, resptest.NewMemory(), resp.Config{Access: access.NewStore(resp.Catalog(), "secret", nil)})
	if code, _, errOut := with("", addr, "put", "k", "v"); code != exitFail || !strings.Contains(errOut, "NOAUTH") {
		t.Errorf("without: %d %s", code, errOut)
	}
	file := filepath.Join(t.TempDir(), "password")
	for content, want := range map[string]exitCode{"secret\nmore\n": exitOK, "secret\r\n": exitOK, "wrong": exitFail, "\nsecret": exitUsage, strings.Repeat("x", 5000): exitUsage} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if code, _, errOut := with("", addr, "put", "k", "v", "--password-file", file); code != want || strings.Contains(errOut, "secret") {
			t.Errorf("file %.20q: %d %s", content, code, errOut)
		}
	}
	t.Setenv("RAFTKV_PASSWORD", "secret")
	if code, _, errOut := with("", addr, "put", "k", "v"); code != exitOK {
		t.Errorf("from the environment: %d %s", code, errOut)
	}
	t.Setenv("RAFTKV_USER", "nobody")
	if code, _, errOut := with("", addr, "put", "k", "v"); code != exitFail || !strings.Contains(errOut, "WRONGPASS") {
		t.Errorf("another user: %d %s", code, errOut)
	}
	for _, flag := range [][]string{{"--cacert", "/no/such/file"}, {"--cert", "/no/such/file"}, {"--password-file", "/no/such/file"}} {
		if code, _, errOut := with("", addr, append([]string{"get", "k"}, flag...)...); code != exitUsage || !strings.Contains(errOut, flag[0]) {
			t.Errorf("%v: %d %s", flag, code, errOut)
		}
	}
}
