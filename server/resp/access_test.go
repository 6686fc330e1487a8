package resp_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/raftkv/raftkv/server/access"
	"github.com/raftkv/raftkv/server/resp"
	"github.com/raftkv/raftkv/server/resp/resptest"
)

// talker holds one conversation, a line at a time.
type talker struct {
	t  testing.TB
	nc net.Conn
	r  *bufio.Reader
}

func newTalker(t testing.TB, addr string) *talker {
	t.Helper()
	nc := dial(t, addr)
	return &talker{t, nc, bufio.NewReader(nc)}
}

// say sends a request and reads the lines of one reply; a bulk string comes as its text.
func (k *talker) say(request string) string {
	k.t.Helper()
	if _, err := io.WriteString(k.nc, request+"\r\n"); err != nil {
		k.t.Fatalf("%s: %v", request, err)
	}
	return k.hear()
}

func (k *talker) line() string {
	k.t.Helper()
	s, err := k.r.ReadString('\n')
	if err != nil {
		k.t.Fatalf("after %q: %v", s, err)
	}
	return strings.TrimSuffix(s, "\r\n")
}

// hear reads one reply: arrays in brackets.
func (k *talker) hear() string {
	k.t.Helper()
	head := k.line()
	n := 0
	if head != "" && strings.ContainsRune("$=*%~>", rune(head[0])) && head[1] != '-' {
		for _, c := range head[1:] {
			n = 10*n + int(c-'0')
		}
	}
	switch head[0] {
	case '$', '=':
		if head == "$-1" {
			return "nil"
		}
		b := make([]byte, n+2)
		if _, err := io.ReadFull(k.r, b); err != nil {
			k.t.Fatal(err)
		}
		return string(b[:n])
	case '*', '~', '>', '%':
		if head[1] == '-' {
			return "nil"
		}
		if head[0] == '%' {
			n *= 2
		}
		var parts []string
		for range n {
			parts = append(parts, k.hear())
		}
		open := "["
		if head[0] == '>' {
			open = ">["
		}
		return open + strings.Join(parts, " ") + "]"
	}
	return head
}

// ended tells whether the server closes the connection.
func (k *talker) ended() bool {
	k.nc.SetReadDeadline(time.Now().Add(time.Minute))
	_, err := io.Copy(io.Discard, k.r)
	e, timeout := err.(net.Error)
	return !timeout || !e.Timeout()
}

func (k *talker) expect(want, request string) {
	k.t.Helper()
	if got := k.say(request); got != want {
		k.t.Errorf("%s: %q, want %q", request, got, want)
	}
}

func locked(t *testing.T, password string) (addr string, s *resp.Server) {
	t.Helper()
	return resptest.Start(t, resptest.NewMemory(), resp.Config{Access: access.NewStore(resp.Catalog(), password, nil)})
}

// The answers are those of Redis 7.0.15 with requirepass.
func TestNothingBeforeAuth(t *testing.T) {
	addr, _ := locked(t, "secret")
	k := newTalker(t, addr)
	const noAuth = "-NOAUTH Authentication required."
	k.expect(noAuth, "ping")
	k.expect(noAuth, "get k")
	k.expect(noAuth, "session open")
	k.expect(noAuth, "once 1 1 set k v")
	k.expect(noAuth, "raft status")
	k.expect(noAuth, "client id")
	k.expect(noAuth, "acl whoami")
	k.expect("-ERR unknown command 'foo', with args beginning with: ", "foo")
	k.expect("-ERR wrong number of arguments for 'get' command", "get")
	if got := k.say("hello 3"); !strings.HasPrefix(got, "-NOAUTH HELLO must be called with the client already authenticated") {
		t.Error(got)
	}
	k.expect("-WRONGPASS invalid username-password pair or user is disabled.", "auth wrong")
	k.expect("-WRONGPASS invalid username-password pair or user is disabled.", "auth nobody secret")
	k.expect("-WRONGPASS invalid username-password pair or user is disabled.", "hello 3 auth default wrong")
	k.expect(noAuth, "ping")
	k.expect("+RESET", "reset")
	k.expect("+OK", "auth secret")
	k.expect("+PONG", "ping")
	k.expect("default", "acl whoami")
	k.expect("+RESET", "reset")
	k.expect(noAuth, "ping")
	if got := k.say("hello 3 auth default secret setname me"); !strings.Contains(got, "proto :3") {
		t.Error(got)
	}
	k.expect("me", "client getname")
	k.expect("+OK", "quit")
}

// SE-02: whoever hasn't said who he is costs little.
func TestSmallLimitsBeforeAuth(t *testing.T) {
	addr, _ := locked(t, "secret")
	for in, want := range map[string]string{
		"*11\r\n":          "-ERR Protocol error: unauthenticated multibulk length\r\n",
		"*2\r\n$16385\r\n": "-ERR Protocol error: unauthenticated bulk length\r\n",
		"auth secret\r\n*11\r\n" + strings.Repeat("$1\r\na\r\n", 11): "+OK\r\n-ERR unknown command 'a', with args beginning with: 'a' 'a' 'a' 'a' 'a' 'a' 'a' 'a' 'a' 'a' \r\n",
	} {
		if got := talk(t, addr, in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	open, _ := locked(t, "")
	if got, want := talk(t, open, "*11\r\n"+strings.Repeat("$1\r\na\r\n", 11)), "-ERR unknown command"; !strings.HasPrefix(got, want) {
		t.Errorf("%q without a password", got)
	}
}

// Connections are few, and a stranger must not hold them.
func TestStrangersAreSentAway(t *testing.T) {
	addr, _ := resptest.Start(t, resptest.NewMemory(), resp.Config{AuthTimeout: 2 * time.Second, Access: access.NewStore(resp.Catalog(), "secret", nil)})
	k := newTalker(t, addr)
	k.expect("+OK", "auth secret")
	if s := newTalker(t, addr); !s.ended() {
		t.Error("a connection that says nothing stays")
	}
	k.expect("+PONG", "ping") // its time would have ended before the stranger's
}

func TestUsersOverTheWire(t *testing.T) {
	addr, _ := locked(t, "")
	admin, al := newTalker(t, addr), newTalker(t, addr)
	admin.expect("[default]", "acl users")
	admin.expect("[user default on nopass ~* &* +@all]", "acl list")
	admin.expect("+OK", "acl setuser al on >pw ~a* %R~r* +@all -@dangerous -append")
	admin.expect("+OK", "acl setuser al +acl|whoami")
	al.expect("-WRONGPASS invalid username-password pair or user is disabled.", "auth al no")
	al.expect("+OK", "auth al pw")
	al.expect("al", "acl whoami")
	const noKey = "-NOPERM this user has no permissions to access one of the keys used as arguments"
	al.expect("+OK", "set a1 x")
	al.expect(noKey, "set b1 x")
	al.expect("nil", "get r1")
	al.expect(noKey, "set r1 x")
	al.expect(noKey, "mset a1 1 a2 2 b 3")
	al.expect("+OK", "mset a1 1 a2 2")
	al.expect(noKey, "del a1 b")
	al.expect(":1", "exists a1")
	al.expect("-NOPERM this user has no permissions to run the 'append' command", "append a1 x")
	al.expect("-NOPERM this user has no permissions to run the 'acl|setuser' command", "acl setuser al allkeys")
	al.expect("-NOPERM this user has no permissions to run the 'raft|transfer' command", "raft transfer")
	id := strings.TrimPrefix(al.say("session open"), ":")
	al.expect("-NOPERM this user has no permissions to run the 'append' command", "once "+id+" 1 append a1 x")
	al.expect(noKey, "once "+id+" 1 set b1 x")
	al.expect("+OK", "once "+id+" 1 set a1 x")

	// Rights change under an open connection, in a pipeline, too.
	admin.expect("+OK", "acl setuser al +append")
	al.expect(":2", "append a1 x")
	admin.expect("+OK", "acl setuser al resetkeys")
	al.expect(noKey, "get a1")
	admin.expect("[flags [+on] passwords [30c952fab122c3f9759f02a6d95c3758b246b4fee239957b2d4fee46e26170c4] commands +@all -@dangerous +acl|whoami +append keys  channels  selectors []]", "acl getuser al")
	admin.expect("nil", "acl getuser nobody")
	admin.expect("[flags [+on +nopass] passwords [] commands +@all keys ~* channels &* selectors []]", "acl getuser default")
	admin.expect("-ERR The 'default' user cannot be removed", "acl deluser al default")
	admin.expect(":1", "acl deluser al nobody")
	if !al.ended() {
		t.Error("the connection of a removed user stays")
	}
	k := newTalker(t, addr)
	k.expect("-WRONGPASS invalid username-password pair or user is disabled.", "auth al pw")

	// A password for default closes the door for newcomers, not for who is inside.
	admin.expect("+OK", "acl setuser default >door")
	newTalker(t, addr).expect("-NOAUTH Authentication required.", "ping")
	admin.expect("+PONG", "ping")
	admin.expect("+OK", "acl setuser default nopass")
	newTalker(t, addr).expect("+PONG", "ping")
}

func TestSetUserRefused(t *testing.T) {
	addr, _ := locked(t, "")
	k := newTalker(t, addr)
	for request, want := range map[string]string{
		`acl setuser "a b" on`:      "-ERR Usernames can't contain spaces or null characters",
		"acl setuser al foo":        "-ERR Error in ACL SETUSER modifier 'foo': Syntax error",
		"acl setuser al +nosuch":    "-ERR Error in ACL SETUSER modifier '+nosuch': Unknown command or category name in ACL",
		"acl setuser al on <secret": "-ERR Error in ACL SETUSER modifier '<***': The password you are trying to remove from the user does not exist",
		"acl cat nosuch":            "-ERR Unknown category 'nosuch'",
		"acl genpass 0":             "-ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to 4096",
		"acl dryrun nobody get a":   "-ERR User 'nobody' not found",
		"acl dryrun default foo":    "-ERR Command 'foo' not found",
		"acl dryrun default get":    "-ERR wrong number of arguments for 'get' command",
		"acl dryrun default get a":  "+OK",
		"acl save":                  "-ERR This node has no file of users: they live in the log, which is durable",
		"acl nosuch":                "-ERR unknown subcommand 'nosuch'. Try ACL HELP.",
	} {
		k.expect(want, request)
	}
	if got := k.say("acl genpass 5"); len(got) != 2 {
		t.Error(got)
	}
	if got := k.say("acl genpass"); len(got) != 64 {
		t.Error(got)
	}
	k.expect("+OK", "acl setuser al on +get ~a")
	k.expect("This user has no permissions to run the 'set' command", "acl dryrun al set a 1")
	k.expect("This user has no permissions to access the 'b' key", "acl dryrun al get b")
	k.expect("[user al on ~a resetchannels -@all +get user default on nopass ~* &* +@all]", "acl list")
}

// A block takes a number of a session for those alone who may use numbers of sessions.
func TestExecOnceTakesTheRightToOnce(t *testing.T) {
	addr, _ := locked(t, "")
	k, al := newTalker(t, addr), newTalker(t, addr)
	k.expect("+OK", "acl setuser al on nopass +@all -once ~*")
	al.say("auth al x")
	al.expect(":2", "session open")
	al.expect("+OK", "multi")
	al.expect("+QUEUED", "set k v")
	al.expect("-EXECABORT Transaction discarded because of: NOPERM this user has no permissions to run the 'once' command", "exec once 2 1")
	al.expect("nil", "get k")
	if got := k.say("acl log"); !strings.Contains(got, "reason command context toplevel object once username al") {
		t.Error(got)
	}
	k.expect("+OK", "acl setuser al +once")
	al.expect("+OK", "multi")
	al.expect("+QUEUED", "set k v")
	al.expect("[+OK]", "exec once 2 1")
}

func TestDeniedAreLogged(t *testing.T) {
	addr, _ := locked(t, "")
	k, al := newTalker(t, addr), newTalker(t, addr)
	k.expect("[]", "acl log")
	k.expect("+OK", "acl setuser al on >pw +get ~a")
	al.say("auth al bad")
	al.say("auth al pw")
	al.say("get b")
	al.say("get b")
	al.say("set a 1")
	got := k.say("acl log")
	for _, want := range []string{"reason command context toplevel object set username al", "count :2 reason key context toplevel object b username al", "reason auth context toplevel object AUTH username al", "cmd=NULL user=default"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %s", want, got)
		}
	}
	if got := k.say("acl log 1"); strings.Count(got, "reason") != 1 {
		t.Error(got)
	}
	k.expect("+OK", "acl log reset")
	k.expect("[]", "acl log")
}

func TestClientCommands(t *testing.T) {
	addr, _ := locked(t, "")
	k, other, third := newTalker(t, addr), newTalker(t, addr), newTalker(t, addr)
	other.expect("+OK", "client setname other")
	other.expect("+OK", "client setinfo lib-name lib")
	other.expect("+PONG", "ping")
	third.expect("+OK", "readonly")
	list := k.say("client list")
	lines := strings.Split(strings.TrimSpace(list), "\n")
	if len(lines) != 3 || !strings.Contains(lines[0], "id=1 addr="+k.nc.LocalAddr().String()+" laddr="+addr) || !strings.Contains(lines[0], "cmd=client|list user=default") ||
		!strings.Contains(lines[1], "name=other ") || !strings.Contains(lines[1], "cmd=ping ") || !strings.Contains(lines[1], "lib-name=lib ") || !strings.Contains(lines[2], "flags=r ") {
		t.Errorf("%s", list)
	}
	if got := k.say("client list id 2 77"); !strings.HasPrefix(got, "id=2 ") || strings.Count(got, "\n") != 1 {
		t.Error(got)
	}
	if got := k.say("client info"); !strings.HasPrefix(got, "id=1 ") || !strings.Contains(got, "cmd=client|info") {
		t.Error(got)
	}
	k.expect("-ERR Unknown client type 'foo'", "client list type foo")
	k.expect("-ERR Invalid client ID", "client list id x")
	k.expect("", "client list type master")
	k.expect("-ERR No such client", "client kill 1.2.3.4:5")
	k.expect("-ERR No such user 'x'", "client kill user x")
	k.expect("-ERR client-id should be greater than 0", "client kill id 0")
	k.expect("-ERR syntax error", "client kill id 1 skipme")
	k.expect(":0", "client kill id 1")
	k.expect(":0", "client kill id 99")
	// Who was killed is gone for the next command, whatever its connection has still to do.
	fmt.Fprintf(k.nc, "client kill %s\r\nclient list\r\n", other.nc.LocalAddr())
	if got := k.hear(); got != "+OK" {
		t.Error(got)
	}
	if got := k.hear(); strings.Contains(got, "name=other ") {
		t.Errorf("a killed client is listed: %s", got)
	}
	if !other.ended() {
		t.Error("a killed client stays")
	}
	k.expect(":1", "client kill type normal laddr "+addr)
	if !third.ended() {
		t.Error("a killed client stays")
	}
	k.expect("+OK", "client no-evict on")
	k.expect("-ERR syntax error", "client no-touch maybe")
	k.expect(":-1", "client getredir")
	k.expect(":1", "client kill id 1 skipme no")
	if !k.ended() {
		t.Error("a client that killed itself stays")
	}
}

func TestClientReply(t *testing.T) {
	addr, _ := locked(t, "")
	k := newTalker(t, addr)
	io.WriteString(k.nc, "client reply skip\r\nset a 1\r\nping 1\r\nclient reply off\r\nping 2\r\nset a 2\r\nget a\r\nnosuch\r\nclient reply skip\r\nping 3\r\nclient reply on\r\nget a\r\nclient reply skip\r\nclient reply off\r\nping\r\n")
	for _, want := range []string{"1", "+OK", "2"} {
		if got := k.hear(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	k.expect("+RESET", "reset")
}
