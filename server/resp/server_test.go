package resp_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/raftkv/raftkv/internal/testenv"
	"github.com/raftkv/raftkv/node"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/server/resp"
	"github.com/raftkv/raftkv/server/resp/resptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// dial connects; the connection is closed with the test and never waits for ever.
func dial(t testing.TB, addr string) net.Conn {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(5 * time.Minute)) // for all of a long conversation on a busy machine
	return nc
}

// talk sends in, ends its half of the connection and returns all that comes back.
func talk(t testing.TB, addr, in string) string {
	t.Helper()
	nc := dial(t, addr)
	if _, err := io.WriteString(nc, in); err != nil {
		t.Fatal(err)
	}
	nc.(*net.TCPConn).CloseWrite()
	out, err := io.ReadAll(nc)
	if err != nil {
		t.Fatalf("%q: %v after %q", in, err, out)
	}
	return string(out)
}

func crlf(lines ...string) string {
	if len(lines) == 0 {
		return ""
	}
	return strings.Join(lines, "\r\n") + "\r\n"
}

// Most of these conversations were held with a Redis 7.0.15 first (BI-12).
func TestRepliesAreRedisReplies(t *testing.T) {
	for _, tc := range []struct {
		name string
		in   string // lines
		want string
	}{
		{"unknown", "foo a b\nFOO \"x y\" z", "-ERR unknown command 'foo', with args beginning with: 'a' 'b' \n-ERR unknown command 'FOO', with args beginning with: 'x y' 'z' "},
		{"unknown and empty", "\"\" a", "-ERR unknown command '', with args beginning with: 'a' "},
		{"unknown with long arguments", "foo " + strings.Repeat(strings.Repeat("y", 100)+" ", 3),
			"-ERR unknown command 'foo', with args beginning with: '" + strings.Repeat("y", 100) + "' '" + strings.Repeat("y", 25) + "' "},
		{"unknown and long", strings.Repeat("x", 200), "-ERR unknown command '" + strings.Repeat("x", 128) + "', with args beginning with: "},
		{"name of a subcommand alone", "client|id", "-ERR unknown command 'client|id', with args beginning with: "},
		{"arity", "get\nget a b\nset a\nincr\nmset a b c\ndbsize x\nselect 0 1\necho\nmget",
			"-ERR wrong number of arguments for 'get' command\n-ERR wrong number of arguments for 'get' command\n-ERR wrong number of arguments for 'set' command\n" +
				"-ERR wrong number of arguments for 'incr' command\n-ERR wrong number of arguments for 'mset' command\n-ERR wrong number of arguments for 'dbsize' command\n" +
				"-ERR wrong number of arguments for 'select' command\n-ERR wrong number of arguments for 'echo' command\n-ERR wrong number of arguments for 'mget' command"},
		{"ping", "ping\nPING hi\nping \"\"\nping a b c", "+PONG\n$2\nhi\n$0\n\n-ERR wrong number of arguments for 'ping' command"},
		{"echo", "echo a", "$1\na"},
		{"select", "select 0\nselect 1\nselect 99\nselect -1\nselect abc\nselect 00\nselect 9999999999999",
			"+OK\n-ERR DB index is out of range\n-ERR DB index is out of range\n-ERR DB index is out of range\n-ERR value is not an integer or out of range\n" +
				"-ERR value is not an integer or out of range\n-ERR value is out of range, value must between -2147483648 and 2147483647"},
		{"quit", "quit a\nping", "+OK"},
		{"reset", "client setname x\nreset\nclient getname", "+OK\n+RESET\n$-1"},
		{"auth", "auth x\nauth a b\nauth a b c\nauth default b", "-ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?\n" +
			"-WRONGPASS invalid username-password pair or user is disabled.\n-ERR syntax error\n+OK"},
		{"hello refused", "hello 4\nhello abc\nhello 3 auth a b\nhello 3 foo\nhello 2 setname\nhello 2 setname \"a b\"\nhello 3 auth default",
			"-NOPROTO unsupported protocol version\n-ERR Protocol version is not an integer or out of range\n-WRONGPASS invalid username-password pair or user is disabled.\n" +
				"-ERR Syntax error in HELLO option 'foo'\n-ERR Syntax error in HELLO option 'setname'\n-ERR Client names cannot contain spaces, newlines or special characters.\n" +
				"-ERR Syntax error in HELLO option 'auth'"},
		{"hello", "hello 2 setname bob\nclient getname\nhello 2 auth default x setname al", "*14\n$6\nserver\n$5\nredis\n$7\nversion\n$6\n7.0.15\n$5\nproto\n:2\n$2\nid\n:1\n$4\nmode\n$10\nstandalone\n$4\nrole\n$6\nmaster\n$7\nmodules\n*0\n" +
			"$3\nbob\n*14\n$6\nserver\n$5\nredis\n$7\nversion\n$6\n7.0.15\n$5\nproto\n:2\n$2\nid\n:1\n$4\nmode\n$10\nstandalone\n$4\nrole\n$6\nmaster\n$7\nmodules\n*0"},
		{"version 3", "get nokey\nhello 3\nget nokey\nset a 1\nmget a x\nset a b xx get\nset q b xx get\nconfig get save\nclient getname\nreset\nget nokey",
			"$-1\n%7\n$6\nserver\n$5\nredis\n$7\nversion\n$6\n7.0.15\n$5\nproto\n:3\n$2\nid\n:1\n$4\nmode\n$10\nstandalone\n$4\nrole\n$6\nmaster\n$7\nmodules\n*0\n" +
				"_\n+OK\n*2\n$1\n1\n_\n$1\n1\n_\n%1\n$4\nsave\n$0\n\n_\n+RESET\n$-1"},
		{"client", "client foo\nclient\nclient getname x\nclient id\nclient setname \"a b\"\nclient setname \"\"\nclient getname\nclient setname abc\nclient getname",
			"-ERR unknown subcommand 'foo'. Try CLIENT HELP.\n-ERR wrong number of arguments for 'client' command\n-ERR wrong number of arguments for 'client|getname' command\n:1\n" +
				"-ERR Client names cannot contain spaces, newlines or special characters.\n+OK\n$-1\n+OK\n$3\nabc"},
		{"client setinfo", "client setinfo lib-name x\nclient SETINFO LIB-VER 1.2\nclient setinfo foo x\nclient setinfo lib-ver \"a b\"",
			"+OK\n+OK\n-ERR Unrecognized option 'foo'\n-ERR lib-ver cannot contain spaces, newlines or special characters."},
		{"config", "config get save\nconfig get SAVE appendonly\nconfig get nothing\nconfig get\nconfig foo", "*2\n$4\nsave\n$0\n\n*4\n$10\nappendonly\n$3\nyes\n$4\nsave\n$0\n\n*0\n" +
			"-ERR wrong number of arguments for 'config|get' command\n-ERR unknown subcommand 'foo'. Try CONFIG HELP."},
		{"role", "role", "*3\n$6\nmaster\n:0\n*0"},
		{"set and get", "set a 1\nget a\nset a 2 get\nget a\nget b\nset b 1 get", "+OK\n$1\n1\n$1\n1\n$1\n2\n$-1\n$-1"},
		{"set with conditions", "set a 1 xx\nset a 1 nx\nset a 2 nx\nset a 3 xx\nset a 4 nx get\nget a\nset a 1 nx nx get get", "$-1\n+OK\n$-1\n+OK\n$1\n3\n$1\n3\n$1\n3"},
		{"set refused", "set a b foo\nset a b nx xx\nset a b px\nset a b ex 10 keepttl\nset a b keepttl ex 1\nset a 1 px 1 ex 1", strings.Repeat("-ERR syntax error\n", 5) + "-ERR syntax error"},
		{"set with a bad number", "set a b ex abc\nset a b ex 01\nset a b ex 1.5", "-ERR value is not an integer or out of range\n-ERR value is not an integer or out of range\n-ERR value is not an integer or out of range"},
		{"set with a bad time", "set a b ex 0\nset a b ex -1\nset a b ex 9223372036854775807\nset a b exat 0\nset a 1 px 0\nset a 1 px 9223372036854775807\nset a 1 exat 9223372036854775807",
			strings.Repeat("-ERR invalid expire time in 'set' command\n", 6) + "-ERR invalid expire time in 'set' command"},
		{"set with a time", "set a 1 ex 100\nset a 2 keepttl\nget a\nset a 3 px 100000 get\nset a 4 EXAT 33000000000 NX\nget a", "+OK\n+OK\n$1\n2\n$1\n2\n$-1\n$1\n3"},
		{"append", "append a xy\nappend a \"\"\nappend a z\nget a\nstrlen a\nstrlen b", ":2\n:2\n:3\n$3\nxyz\n:3\n:0"},
		{"keys", "mset a 1 a 2 b 3\nmget a b c\nexists a a c\ndbsize\ndel a a c\nunlink b\ndbsize", "+OK\n*3\n$1\n2\n$1\n3\n$-1\n:2\n:2\n:1\n:1\n:0"},
		{"numbers", "incr n\nincrby n 5\ndecr n\ndecrby n 10\nset s abc\nincr s\nincrby n abc\nincrby n 01\nincrby n +1\nset m -0\nincr m\nset e \"\"\nincr e",
			":1\n:6\n:5\n:-5\n+OK\n-ERR value is not an integer or out of range\n-ERR value is not an integer or out of range\n-ERR value is not an integer or out of range\n" +
				"-ERR value is not an integer or out of range\n+OK\n-ERR value is not an integer or out of range\n+OK\n-ERR value is not an integer or out of range"},
		{"overflow", "set n 9223372036854775807\nincr n\ndecrby n -9223372036854775808\ndecrby n -1\nincrby n 9223372036854775808\nget n",
			"+OK\n-ERR increment or decrement would overflow\n-ERR decrement would overflow\n-ERR increment or decrement would overflow\n-ERR value is not an integer or out of range\n$19\n9223372036854775807"},
		{"every byte", "set \"\\x00\\r\\n\\xff\" \"\\x00\\r\\n\"\nget \"\\x00\\r\\n\\xff\"\nset \"\" \"\"\nget \"\"\nexists \"\"", "+OK\n$3\n\x00\r\n\n+OK\n$0\n\n:1"},
		{"scan refused", "scan abc\nscan 0 count 0\nscan 0 count abc\nscan 0 foo bar\nscan 0 match\nscan 99999999999999999999999\nscan -1", "-ERR invalid cursor\n-ERR syntax error\n" +
			"-ERR value is not an integer or out of range\n-ERR syntax error\n-ERR syntax error\n-ERR invalid cursor\n-ERR invalid cursor"},
		{"scan", "mset a 1 b 2 ab 3\nscan 0\nscan 0 match a*\nscan 0 type string\nscan 0 type list\nscan 0 COUNT 100 MATCH ?", "+OK\n*2\n$1\n0\n*3\n$1\na\n$2\nab\n$1\nb\n*2\n$1\n0\n*2\n$1\na\n$2\nab\n" +
			"*2\n$1\n0\n*3\n$1\na\n$2\nab\n$1\nb\n*2\n$1\n0\n*0\n*2\n$1\n0\n*2\n$1\na\n$1\nb"},
		{"scan with a cursor of nobody", "scan 12345", "-ERR invalid cursor: it is another node's or too old, start again with 0"},
		{"command", "command foo\ncommand count x\ncommand docs nope\ncommand info nope\nhello 3\ncommand info nope", "-ERR unknown subcommand 'foo'. Try COMMAND HELP.\n-ERR wrong number of arguments for 'command|count' command\n*0\n*1\n*-1\n" +
			"%7\n$6\nserver\n$5\nredis\n$7\nversion\n$6\n7.0.15\n$5\nproto\n:3\n$2\nid\n:1\n$4\nmode\n$10\nstandalone\n$4\nrole\n$6\nmaster\n$7\nmodules\n*0\n*1\n_"},
		{"command info", "command info get", "*1\n*10\n$3\nget\n:2\n*2\n+readonly\n+fast\n:1\n:1\n:1\n*3\n+@read\n+@string\n+@fast\n*0\n*1\n*6\n$5\nflags\n*2\n+RO\n+access\n$12\nbegin_search\n" +
			"*4\n$4\ntype\n$5\nindex\n$4\nspec\n*2\n$5\nindex\n:1\n$9\nfind_keys\n*4\n$4\ntype\n$5\nrange\n$4\nspec\n*6\n$7\nlastkey\n:0\n$7\nkeystep\n:1\n$5\nlimit\n:0\n*0"},
		{"readonly", "set a 1\nreadonly\nget a\nreadwrite\nget a", "+OK\n+OK\n$1\n1\n+OK\n$1\n1"},
		{"sessions", "session open\nonce 1 1 append a x\nonce 1 1 append a x\nonce 1 2 incr n\nonce 1 4 incr n\nsession info 1\nget a\nsession keepalive 1\nsession close 1\nonce 1 3 incr n",
			":1\n:1\n:1\n:1\n-SEQGAP sequence number 4 after 2; nothing ran\n:2\n$1\nx\n+OK\n+OK\n-SESSIONEXPIRED session 1 is unknown or expired; this attempt did nothing"},
		{"once refused", "once 1 1\nonce x 1 incr n\nonce 1 0 incr n\nonce 1 1 get a\nonce 1 1 incr\nonce 1 1 foo a\nonce 1 1 set a b nx xx\nonce 1 1 session open\nonce 1 1 ping\nsession\nsession foo",
			"-ERR wrong number of arguments for 'once' command\n-ERR value is not an integer or out of range\n-ERR sequence number is not a positive integer\n" +
				"-ERR 'get' can't run inside ONCE, which takes a write of keys\n-ERR wrong number of arguments for 'incr' command\n-ERR unknown command 'foo', with args beginning with: 'a' \n" +
				"-ERR syntax error\n-ERR 'session|open' can't run inside ONCE, which takes a write of keys\n-ERR 'ping' can't run inside ONCE, which takes a write of keys\n" +
				"-ERR wrong number of arguments for 'session' command\n-ERR unknown subcommand 'foo'. Try SESSION HELP."},
		{"raft", "raft id\nraft scan \"\" count 1\nmset a 1 b 2\nraft scan \"\" count 1\nraft scan a\nraft scan \"\" count 0\nraft member add n2\nraft member add n2 h:1\nraft member add n2 h:1 dryrun\nraft member remove n2 DRYRUN\nraft member promote n2\nraft member remove n2\nraft member remove n2\nraft transfer\nraft snapshot",
			"$36\nc0ffee00-0000-4000-8000-000000000001\n*1\n$0\n\n+OK\n*2\n$1\na\n$1\na\n*2\n$0\n\n$1\nb\n-ERR syntax error\n-ERR syntax error\n$8\nadded n2\n-ERR a member n2 is there already\n$10\nchanged n2\n$10\nchanged n2\n$10\nchanged n2\n-ERR no member is called n2\n$15\ntransferred to \n$16\nsnapshot written"},
		{"protocol error behind replies", "ping\n*abc\nping", "+PONG\n-ERR Protocol error: invalid multibulk length"},
		{"nothing", "", ""},
		{"cut off", "ping\n*2\n$3\nget\n$5\nab", "+PONG"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			addr, _ := resptest.Start(t, resptest.NewMemory(), resp.Config{})
			in := strings.ReplaceAll(tc.in, "\n", "\r\n") + "\r\n"
			want := strings.ReplaceAll(strings.ReplaceAll(tc.want, "\r\n", "\x01"), "\n", "\r\n")
			want = strings.ReplaceAll(want, "\x01", "\r\n")
			if want != "" {
				want += "\r\n"
			}
			if got := talk(t, addr, in); got != want {
				t.Errorf("got\n%q\nwant\n%q", got, want)
			}
		})
	}
}

// A follower says so, and where the leader is.
func TestRoleOfAFollower(t *testing.T) {
	m := resptest.NewMemory()
	m.SetStatus(func(s *node.Status) {
		s.Role, s.Leader, s.LeaderName = "follower", "2", "n2"
		s.Members = append(s.Members, node.MemberStatus{ID: "2", Name: "n2", Client: "127.0.0.1:5002"})
	})
	addr, _ := resptest.Start(t, m, resp.Config{})
	want := crlf("*5", "$5", "slave", "$9", "127.0.0.1", ":5002", "$9", "connected", ":0")
	if got := talk(t, addr, "role\r\n"); got != want {
		t.Errorf("got %q", got)
	}
	info := talk(t, addr, "info replication\r\n")
	for _, line := range []string{"role:slave", "master_host:127.0.0.1", "master_port:5002", "master_link_status:up"} {
		if !strings.Contains(info, line+"\r\n") {
			t.Errorf("no %q in %q", line, info)
		}
	}
	m.SetStatus(func(s *node.Status) { s.Leader, s.LeaderName = "", "" })
	if got, want := talk(t, addr, "role\r\n"), crlf("*5", "$5", "slave", "$0", "", ":0", "$7", "connect", ":0"); got != want {
		t.Errorf("without a leader: %q", got)
	}
}

// BI-13: ioredis waits until INFO says that nothing is loading.
func TestInfo(t *testing.T) {
	m := resptest.NewMemory()
	addr, _ := resptest.Start(t, m, resp.Config{Version: "1.2.3"})
	all := talk(t, addr, "mset a 1 b 2\r\ninfo\r\n")
	for _, line := range []string{"# Server", "redis_version:7.0.15", "raftkv_version:1.2.3", "redis_mode:standalone", "# Clients", "connected_clients:1", "# Memory",
		"# Persistence", "loading:0", "# Stats", "# Replication", "role:master", "# Raft", "raft_role:leader", "# Keyspace", "db0:keys=2,expires=0,avg_ttl=0"} {
		if !strings.Contains(all, line+"\r\n") {
			t.Errorf("no %q in %q", line, all)
		}
	}
	if got := talk(t, addr, "info foo\r\n"); got != "$0\r\n\r\n" {
		t.Errorf("unknown section: %q", got)
	}
	if got := talk(t, addr, "info keyspace\r\n"); got != "$44\r\n# Keyspace\r\ndb0:keys=2,expires=0,avg_ttl=0\r\n\r\n" {
		t.Errorf("one section: %q", got)
	}
	// A node that can't read still answers.
	m.Before = func(node.Request) *node.Reply { return &node.Reply{Outcome: node.NotApplied, Err: node.ErrNotReady} }
	if got := talk(t, addr, "info keyspace\r\n"); got != "$12\r\n# Keyspace\r\n\r\n" {
		t.Errorf("not ready: %q", got)
	}
}

// The three outcomes reach the client as three (ARCHITECTURE, Outcomes and forwarding).
func TestOutcomes(t *testing.T) {
	const unknown = "; the write may have taken effect or may yet do so"
	for _, tc := range []struct {
		outcome     node.Outcome
		err         error
		write, read string
	}{
		{node.NotApplied, node.ErrNoLeader, "CLUSTERDOWN no leader at present; try again", "CLUSTERDOWN no leader at present; try again"},
		{node.NotApplied, &raft.NotLeaderError{}, "CLUSTERDOWN no leader at present", "CLUSTERDOWN no leader at present"},
		{node.NotApplied, &raft.NotLeaderError{Leader: 2}, "TRYAGAIN not the leader, node 2 is", "TRYAGAIN not the leader, node 2 is"},
		{node.NotApplied, node.ErrNotReady, "LOADING node is still starting; try again", "LOADING node is still starting; try again"},
		{node.NotApplied, node.ErrBusy, "BUSY node is busy; try again later", "BUSY node is busy; try again later"},
		{node.NotApplied, fmt.Errorf("propose: %w", raft.ErrBusy), "BUSY propose: too many writes under way", "BUSY propose: too many writes under way"},
		{node.NotApplied, node.ErrNoSpace, "NOSPACE disk space is low on a majority of the nodes; free some (raftkv status says where)", "NOSPACE disk space is low on a majority of the nodes; free some (raftkv status says where)"},
		{node.NotApplied, raft.ErrTransfer, "TRYAGAIN leadership is being transferred", "TRYAGAIN leadership is being transferred"},
		{node.NotApplied, node.ErrEarlier, "TRYAGAIN an earlier write of this connection was not applied", "TRYAGAIN an earlier write of this connection was not applied"},
		{node.NotApplied, node.ErrTimeout, "TRYAGAIN no answer in time", "TRYAGAIN no answer in time"},
		{node.NotApplied, errors.New("a\r\n+OK"), "TRYAGAIN a  +OK", "TRYAGAIN a  +OK"},
		{node.Unknown, node.ErrTimeout, "UNKNOWNOUTCOME no answer in time" + unknown, "TRYAGAIN no answer in time"},
		{node.Unknown, node.ErrLostLead, "UNKNOWNOUTCOME leadership was lost before the write was confirmed" + unknown, "TRYAGAIN leadership was lost before the write was confirmed"},
		{node.Unknown, node.ErrNoLeader, "UNKNOWNOUTCOME no leader at present; try again" + unknown, "CLUSTERDOWN no leader at present; try again"},
		{node.Unknown, nil, "UNKNOWNOUTCOME no reason given" + unknown, "TRYAGAIN no reason given"},
	} {
		m := resptest.NewMemory()
		m.Before = func(node.Request) *node.Reply { return &node.Reply{Outcome: tc.outcome, Err: tc.err} }
		addr, _ := resptest.Start(t, m, resp.Config{})
		want := crlf("-"+tc.write, "-"+tc.read)
		if got := talk(t, addr, "set a 1\r\nget a\r\n"); got != want {
			t.Errorf("%v %v: got %q, want %q", tc.outcome, tc.err, got, want)
		}
	}
}

// OL-05: at the limit is fine, over it is an error that names it, and the connection goes on.
func TestLimitsAreNamed(t *testing.T) {
	addr, _ := resptest.Start(t, resptest.NewMemory(), resp.Config{KeyBytes: 10, ValueBytes: 20, CommandBytes: 100})
	bulk := func(n int) string { return fmt.Sprintf("$%d\r\n%s\r\n", n, strings.Repeat("v", n)) }
	many := "*5\r\n$4\r\nmget\r\n" + bulk(20) + bulk(20) + bulk(20) + bulk(20)
	in := "*3\r\n$3\r\nset\r\n$1\r\nk\r\n" + bulk(20) +
		"*3\r\n$3\r\nset\r\n$1\r\nk\r\n" + bulk(21) +
		"*3\r\n$3\r\nset\r\n" + bulk(10) + "$1\r\nv\r\n" +
		"*3\r\n$3\r\nset\r\n" + bulk(11) + "$1\r\nv\r\n" +
		many + "dbsize\r\n"
	want := crlf("+OK",
		"-ERR argument of 21 bytes is above the limit of 20 bytes (limits.value_bytes)",
		"+OK",
		"-ERR key of 11 bytes is above the limit of 10 bytes (limits.key_bytes)",
		fmt.Sprintf("-ERR request of %d bytes is above the limit of 100 bytes (limits.command_bytes)", len(many)),
		":2")
	if got := talk(t, addr, in); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// A pattern is compared with every key, over and over behind its stars. A literal start costs no more than the key.
func TestPatternsAreBounded(t *testing.T) {
	prefix, rest := strings.Repeat(`\*ab`, 1000), strings.Repeat("*a", 512)
	for _, request := range []string{"keys %s", "scan 0 match %s", "raft scan a match %s", "psubscribe %s", "pubsub channels %s"} {
		addr, _ := resptest.Start(t, resptest.NewMemory(), resp.Config{})
		k := newTalker(t, addr)
		k.expect("-ERR pattern of 1025 bytes from its first *, ? or [ on is above the limit of 1024 bytes", fmt.Sprintf(request, prefix+rest+"a"))
		if got := k.say(fmt.Sprintf(request, prefix+rest)); strings.HasPrefix(got, "-") {
			t.Errorf("%s with 1,024 bytes behind the prefix: %s", request, got)
		}
	}
}

// BI-15
func TestHTTPRequestIsClosed(t *testing.T) {
	for _, in := range []string{"POST / HTTP/1.1\r\nHost: x\r\n\r\nset a 1\r\n", "GET / HTTP/1.1\r\nhost: x\r\n\r\nset a 1\r\n"} {
		m := resptest.NewMemory()
		m.Before = func(r node.Request) *node.Reply { t.Errorf("request %v ran", r); return nil }
		addr, s := resptest.Start(t, m, resp.Config{})
		nc := dial(t, addr)
		io.WriteString(nc, in)
		io.Copy(io.Discard, nc)
		testenv.Eventually(t, "connection closed", func() bool { return s.Connections() == 0 })
		if n := s.Stats().ProtocolErrors; n != 1 {
			t.Errorf("%d protocol errors counted", n)
		}
	}
}

// Whoever can reach the port can't fill the log: one line a minute tells of HTTP requests.
func TestHTTPRequestsAreToldSeldom(t *testing.T) {
	var lines atomic.Int64
	addr, s := resptest.Start(t, resptest.NewMemory(), resp.Config{Log: slog.New(&counting{slog.DiscardHandler, &lines})})
	const many = 200
	for range many {
		nc := dial(t, addr)
		io.WriteString(nc, "POST / HTTP/1.1\r\n\r\n")
		io.Copy(io.Discard, nc)
		nc.Close()
	}
	testenv.Eventually(t, "all of them to be noticed", func() bool { return s.Stats().ProtocolErrors == many && s.Connections() == 0 })
	if n := lines.Load(); n < 1 || n > many/10 {
		t.Errorf("%d lines for %d requests", n, many)
	}
}

// counting is a log that counts its lines.
type counting struct {
	slog.Handler
	lines *atomic.Int64
}

func (c *counting) Enabled(context.Context, slog.Level) bool  { return true }
func (c *counting) Handle(context.Context, slog.Record) error { c.lines.Add(1); return nil }

func TestTooManyClients(t *testing.T) {
	addr, s := resptest.Start(t, resptest.NewMemory(), resp.Config{Clients: 1})
	first := dial(t, addr)
	io.WriteString(first, "ping\r\n")
	if line, err := bufio.NewReader(first).ReadString('\n'); line != "+PONG\r\n" {
		t.Fatal(line, err)
	}
	second := dial(t, addr)
	if out, _ := io.ReadAll(second); string(out) != "-ERR max number of clients reached\r\n" {
		t.Errorf("second client hears %q", out)
	}
	first.Close()
	testenv.Eventually(t, "place free again", func() bool { return s.Connections() == 0 })
	if got := talk(t, addr, "ping\r\n"); got != "+PONG\r\n" {
		t.Errorf("third client hears %q", got)
	}
}

// Shutdown answers what was taken and takes nothing more.
func TestShutdownAnswersWhatIsOpen(t *testing.T) {
	h := &held{Memory: resptest.NewMemory()}
	s := resp.New(resp.Config{}, h, h)
	addr := resptest.Serve(t, s)
	nc := dial(t, addr)
	io.WriteString(nc, "set a 1\r\n")
	testenv.Eventually(t, "submitted", func() bool { return h.count() == 1 })
	done := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		done <- s.Shutdown(ctx)
	}()
	testenv.Eventually(t, "listener closed", func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	h.release(0)
	if out, err := io.ReadAll(nc); string(out) != ":0\r\n" {
		t.Errorf("got %q, %v", out, err)
	}
	nc.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A shutdown that can't wait closes what is left.
func TestShutdownGivesUp(t *testing.T) {
	h := &held{Memory: resptest.NewMemory()}
	s := resp.New(resp.Config{}, h, h)
	addr := resptest.Serve(t, s)
	nc := dial(t, addr)
	io.WriteString(nc, "set a 1\r\n")
	testenv.Eventually(t, "submitted", func() bool { return h.count() == 1 })
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, err := io.ReadAll(nc); err == nil && s.Connections() != 0 {
		t.Error("connection is still there")
	}
}

func TestIdleConnectionIsClosed(t *testing.T) {
	addr, s := resptest.Start(t, resptest.NewMemory(), resp.Config{IdleTimeout: time.Millisecond})
	nc := dial(t, addr)
	io.ReadAll(nc)
	testenv.Eventually(t, "connection closed", func() bool { return s.Connections() == 0 })
}

// What a change of the cluster may be answered with.
func TestAnswersToChanges(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want string
	}{
		{&raft.ChangeError{ID: 7, Reason: "it is behind"}, "REFUSED node 7: it is behind"},
		{fmt.Errorf("change: %w", &raft.ChangeError{ID: 2, Reason: "it leads already"}), "REFUSED n2: it leads already"},
		{&raft.NotLeaderError{Leader: 2}, "NOTLEADER 127.0.0.1:5002 this node doesn't lead, n2 does"},
		{node.ErrNoLeader, "CLUSTERDOWN no leader at present; try again"},
		{raft.ErrPending, "TRYAGAIN another membership change is pending"},
		{fmt.Errorf("wait: %w", node.ErrTimeout), "UNKNOWNOUTCOME wait: no answer in time; look at the members before trying again"},
		{context.DeadlineExceeded, "UNKNOWNOUTCOME context deadline exceeded; look at the members before trying again"},
		{errors.New("no member x"), "ERR no member x"},
	} {
		m := resptest.NewMemory()
		m.SetStatus(func(s *node.Status) {
			s.Leader = "2"
			s.Members = append(s.Members, node.MemberStatus{ID: "2", Name: "n2", Client: "127.0.0.1:5002"})
		})
		addr := resptest.Serve(t, resp.New(resp.Config{}, m, failing{m, tc.err}))
		if got := talk(t, addr, "raft transfer\r\n"); got != "-"+tc.want+"\r\n" {
			t.Errorf("%v: got %q, want %q", tc.err, got, tc.want)
		}
	}
	addr := resptest.Serve(t, resp.New(resp.Config{}, resptest.NewMemory(), nil))
	if got := talk(t, addr, "raft snapshot\r\n"); got != "-ERR this server can't change the cluster\r\n" {
		t.Errorf("without Admin: %q", got)
	}
}

type failing struct {
	*resptest.Memory
	err error
}

func (f failing) Transfer(context.Context, string) (string, error) { return "", f.err }
