package resp_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/node"
	"github.com/raftkv/raftkv/server/resp"
	"github.com/raftkv/raftkv/server/resp/resptest"
)

// say shows what a fresh server answers to the lines, in one line.
func say(t *testing.T, m *resptest.Memory, lines string) string {
	t.Helper()
	addr, _ := resptest.Start(t, m, resp.Config{})
	in := ""
	for _, l := range strings.Split(lines, ";") {
		in += strings.TrimSpace(l) + "\r\n"
	}
	return strings.TrimSpace(strings.ReplaceAll(talk(t, addr, in), "\r\n", " "))
}

// Held with a Redis 7.0.15 first, but for what is ours.
func TestDataCommands(t *testing.T) {
	for _, tc := range []struct{ name, in, want string }{
		{"options may stand twice, others of their kind not", "SET k v EX 10 EX 20; TTL k; SET k v EX 10 PX 20; GETEX k EX 5 EX 6; GETEX k EX 5 PERSIST; SET k v KEEPTTL KEEPTTL",
			"+OK :20 -ERR syntax error $1 v -ERR syntax error +OK"},
		{"some arguments count only if the key is there", "GETEX no EX 0; BITCOUNT no x y; BITPOS no 1 x; SET k v; GETEX k EX 0; BITCOUNT k x y; BITPOS k 1 x; BITCOUNT k -1 -2 x",
			"$-1 :0 :-1 +OK -ERR invalid expire time in 'getex' command -ERR value is not an integer or out of range -ERR value is not an integer or out of range :0"},
		{"errors name the command", "SETEX k 0 v; PSETEX k x v; SET k v; PEXPIRE k 9223372036854775807; EXPIRE k 9223372036854775807; SET k v PX 9223372036854775807; EXPIRE k 1 NX GT; EXPIRE k 1 GT LT; EXPIRE k 1 ZZ",
			"-ERR invalid expire time in 'setex' command -ERR value is not an integer or out of range +OK -ERR invalid expire time in 'pexpire' command -ERR invalid expire time in 'expire' command" +
				" -ERR invalid expire time in 'set' command -ERR NX and XX, GT or LT options at the same time are not compatible -ERR GT and LT options at the same time are not compatible -ERR Unsupported option ZZ"},
		{"times", "SET k v; TTL k; TTL no; PTTL k; EXPIREAT k 4000000000; EXPIRETIME k; PEXPIRETIME k; PERSIST k; PERSIST k; EXPIRE k -1; EXISTS k",
			"+OK :-1 :-2 :-1 :1 :4000000000 :4000000000000 :1 :0 :1 :0"},
		{"strings", "SETNX k v; SETNX k w; GETSET k 10.5; INCRBYFLOAT k 0.1; SETRANGE k 6 xx; GETRANGE k -2 -1; GETDEL k; MSETNX a 1 b 2; MSETNX b 1 c 2; SUBSTR a 0 -1",
			":1 :0 $1 v $4 10.6 :8 $2 xx $8 10.6\x00\x00xx :1 :0 $1 1"},
		{"bits", "SETBIT k 7 1; SETBIT k 7 0; BITFIELD k INCRBY u2 100 1 OVERFLOW SAT INCRBY u2 102 9 OVERFLOW FAIL INCRBY u2 102 1; BITFIELD_RO k GET u4 100; BITCOUNT k; BITOP NOT d k; BITFIELD k SET u64 0 1; BITFIELD_RO k SET u8 0 1",
			":0 :1 *3 :1 :3 $-1 *1 :7 :3 :13 -ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is. -ERR BITFIELD_RO only supports the GET subcommand"},
		{"lcs", "MSET a ohmytext b mynewtext; LCS a b LEN; LCS a b IDX MINMATCHLEN 4 WITHMATCHLEN; HELLO 9; LCS a b LEN IDX",
			"+OK :6 *4 $7 matches *1 *3 *2 :4 :7 *2 :5 :8 :4 $3 len :6 -NOPROTO unsupported protocol version -ERR If you want both the length and indexes, please just use IDX."},
		{"keys", "RENAME no x; MSET a 1 b 2; RENAME a b; RENAMENX b b; COPY b c; COPY b c; COPY b c REPLACE; COPY b b; COPY b c DB 1; TYPE b; TYPE no; KEYS *; TOUCH b c no; FLUSHALL ASYNC; DBSIZE; RANDOMKEY; FLUSHALL NOW",
			"-ERR no such key +OK +OK :0 :1 :0 :1 -ERR source and destination objects are the same -ERR DB index is out of range +string +none *2 $1 b $1 c :2 +OK :0 $-1 -ERR syntax error"},
		{"objects", "SET k 12; OBJECT ENCODING k; OBJECT REFCOUNT k; OBJECT ENCODING no; OBJECT FREQ no; OBJECT IDLETIME k; MEMORY USAGE no; MEMORY USAGE k SAMPLES x",
			"+OK $3 int :1 $-1 $-1 -ERR idle time is not tracked: reads of any node would have to be written down $-1 -ERR value is not an integer or out of range"},
		{"versions", "GETV k; SETV k 1 v; SETV k 0 v; SETV k 0 w; GETV k; SETV k 2 w EX 100; TTL k; DELV k 3; DELV k 4; SETV k x v; SETV k 0 v PERSIST",
			"$-1 $-1 :2 $-1 *2 $1 v :2 :4 :100 :0 :1 -ERR version is not an integer or out of range -ERR syntax error"},
		{"if equal", "SET k new IFEQ old; SET k old; SET k new IFEQ old GET; SET k newer IFEQ old GET; SET k x IFEQ new NX; DELIFEQ k old; DELIFEQ k new",
			"$-1 +OK $3 old $3 new -ERR syntax error :0 :1"},
		{"once is told as the command", "SESSION OPEN; ONCE 1 1 SETNX k v; ONCE 1 1 SETNX k v; ONCE 1 2 EXPIRE k 9223372036854775807; ONCE 1 2 PEXPIRE k 9223372036854775807; ONCE 1 3 BITFIELD k GET u8 0",
			":1 :1 :1 -ERR invalid expire time in 'expire' command -ERR invalid expire time in 'pexpire' command -ERR 'bitfield' without a write can't run inside ONCE"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := say(t, resptest.NewMemory(), tc.in); got != tc.want {
				t.Errorf("%s\n got %q\nwant %q", tc.in, got, tc.want)
			}
		})
	}
}

// Held with a Redis 7.0.15 first, but for what is ours.
func TestTransactions(t *testing.T) {
	for _, tc := range []struct{ name, in, want string }{
		{"a block", "MULTI; SET k 1; INCR k; GET k; EXEC; GET k", "+OK +QUEUED +QUEUED +QUEUED *3 +OK :2 $1 2 $1 2"},
		{"empty", "MULTI; EXEC", "+OK *0"},
		{"reads alone", "SET k v; MULTI; GET k; TTL k; TYPE k; EXEC", "+OK +OK +QUEUED +QUEUED +QUEUED *3 $1 v :-1 +string"},
		{"errors of one undo nothing", "MULTI; SET k v; INCR k; EXPIRE k x; SET k w; EXEC; GET k",
			"+OK +QUEUED +QUEUED +QUEUED +QUEUED *4 +OK -ERR value is not an integer or out of range -ERR value is not an integer or out of range +OK $1 w"},
		{"an unknown command", "MULTI; NOSUCH; SET k v; EXEC; GET k", "+OK -ERR unknown command 'NOSUCH', with args beginning with:  +QUEUED -EXECABORT Transaction discarded because of previous errors. $-1"},
		{"a wrong number of arguments", "MULTI; SET k; EXEC; EXEC", "+OK -ERR wrong number of arguments for 'set' command -EXECABORT Transaction discarded because of previous errors. -ERR EXEC without MULTI"},
		{"exec with arguments", "MULTI; SET k v; EXEC now; GET k", "+OK +QUEUED -EXECABORT Transaction discarded because of: ERR wrong number of arguments for 'exec' command $-1"},
		{"nested", "MULTI; MULTI; WATCH k; SET k v; EXEC", "+OK -ERR MULTI calls can not be nested -ERR WATCH inside MULTI is not allowed +QUEUED *1 +OK"},
		{"discard", "DISCARD; MULTI; SET k v; DISCARD; GET k; EXEC", "-ERR DISCARD without MULTI +OK +QUEUED +OK $-1 -ERR EXEC without MULTI"},
		{"reset ends it", "MULTI; SET k v; RESET; GET k; EXEC", "+OK +QUEUED +RESET $-1 -ERR EXEC without MULTI"},
		{"watched and changed by itself", "SET k 1; WATCH k; SET k 2; MULTI; GET k; EXEC; MULTI; GET k; EXEC", "+OK +OK +OK +OK +QUEUED *-1 +OK +QUEUED *1 $1 2"},
		{"watched and not changed", "WATCH k; GET k; MULTI; SET k v; EXEC; MULTI; SET k w; EXEC", "+OK $-1 +OK +QUEUED *1 +OK +OK +QUEUED *1 +OK"},
		{"unwatched", "WATCH k; SET k v; UNWATCH; MULTI; GET k; EXEC", "+OK +OK +OK +OK +QUEUED *1 $1 v"},
		{"discard unwatches", "WATCH k; SET k v; MULTI; DISCARD; MULTI; GET k; EXEC", "+OK +OK +OK +OK +OK +QUEUED *1 $1 v"},
		{"exec without multi keeps watching", "WATCH k; SET k v; EXEC; MULTI; GET k; EXEC", "+OK +OK -ERR EXEC without MULTI +OK +QUEUED *-1"},
		{"watched, and nothing but the condition", "WATCH k; SET k v; MULTI; EXEC; WATCH k; MULTI; EXEC", "+OK +OK +OK *-1 +OK +OK *0"},
		{"what this node answers takes part", "MULTI; SET k v; PING; GET k; ECHO x; EXEC", "+OK +QUEUED +QUEUED +QUEUED +QUEUED *4 +OK +PONG $1 v $1 x"},
		{"and not if a key has changed", "WATCH k; SET k v; MULTI; CLIENT SETNAME no; GET k; EXEC; CLIENT GETNAME", "+OK +OK +OK +QUEUED +QUEUED *-1 $-1"},
		{"nothing but what this node answers", "MULTI; PING; SELECT 9; EXEC", "+OK +QUEUED +QUEUED *2 +PONG -ERR DB index is out of range"},
		{"once", "SESSION OPEN; MULTI; APPEND k x; EXEC ONCE 1 1; MULTI; APPEND k x; EXEC ONCE 1 1; MULTI; GET k; EXEC ONCE 1 2; MULTI; GET k; EXEC ONCE 1 x; MULTI; GET k; EXEC ONCE 1 9",
			":1 +OK +QUEUED *1 :1 +OK +QUEUED *1 :1 +OK +QUEUED *1 $1 x +OK +QUEUED -EXECABORT Transaction discarded because of: ERR sequence number is not a positive integer +OK +QUEUED -SEQGAP sequence number 9 after 2; nothing ran"},
		{"what has no place there", "MULTI; SESSION OPEN; ONCE 1 1 SET k v; SET k w; EXEC", "+OK -ERR Command not allowed inside a transaction -ERR Command not allowed inside a transaction +QUEUED -EXECABORT Transaction discarded because of previous errors."},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := say(t, resptest.NewMemory(), tc.in); got != tc.want {
				t.Errorf("%s\n got %q\nwant %q", tc.in, got, tc.want)
			}
		})
	}
}

// A repeated block is the same request though it draws keys, but not if its watches saw another state.
func TestBlocksCanBeRepeated(t *testing.T) {
	for _, tc := range []struct{ name, in, want string }{
		{"drawn keys", "SESSION OPEN; MSET a 1 b 2 c 3; MULTI; RANDOMKEY; RANDOMKEY; APPEND n x; EXEC ONCE 1 1; MULTI; RANDOMKEY; RANDOMKEY; APPEND n x; EXEC ONCE 1 1; GET n",
			":1 +OK +OK +QUEUED +QUEUED +QUEUED *3 $1 DRAWN $1 DRAWN :1 +OK +QUEUED +QUEUED +QUEUED *3 $1 DRAWN $1 DRAWN :1 $1 x"},
		{"watched keys as they were", "SESSION OPEN; WATCH w; MULTI; APPEND n x; EXEC ONCE 1 1; WATCH w; MULTI; APPEND n x; EXEC ONCE 1 1; GET n",
			":1 +OK +OK +QUEUED *1 :1 +OK +OK +QUEUED *1 :1 $1 x"},
		{"watched keys that the block changed", "SESSION OPEN; WATCH n; MULTI; APPEND n x; EXEC ONCE 1 1; WATCH n; MULTI; APPEND n x; EXEC ONCE 1 1; GET n",
			":1 +OK +OK +QUEUED *1 :1 +OK +OK +QUEUED -SEQREUSED sequence number 1 ran another request $1 x"},
	} {
		got := strings.Fields(say(t, resptest.NewMemory(), tc.in))
		want := strings.Fields(tc.want)
		var drawn, again []string
		for i := range min(len(got), len(want)) {
			if want[i] == "DRAWN" {
				want[i] = got[i]
				if drawn = append(drawn, got[i]); len(drawn) > 2 {
					again = drawn[2:]
				}
			}
		}
		if !slices.Equal(got, want) || len(again) > 0 && !slices.Equal(again, drawn[:2]) {
			t.Errorf("%s\n got %q\nwant %q", tc.name, got, want)
		}
	}
}

// A block is one request of the node: all of it in one entry of the log, and
// reads alone in none.
func TestBlockIsOneRequest(t *testing.T) {
	m := resptest.NewMemory()
	var kinds []node.Kind
	m.After = func(r node.Request, _ *node.Reply) { kinds = append(kinds, r.Kind) }
	say(t, m, "MULTI; SET a 1; SET b 2; GET a; EXEC; MULTI; GET a; GET b; EXEC; READONLY; MULTI; GET a; EXEC; WATCH a; MULTI; GET a; EXEC")
	want := []node.Kind{node.Write, node.Read, node.StaleRead, node.Read, node.Read}
	if len(kinds) != len(want) {
		t.Fatalf("requests %v, want %v", kinds, want)
	}
	for i := range want {
		if kinds[i] != want[i] {
			t.Errorf("requests %v, want %v", kinds, want)
		}
	}
}

// Whatever the node says instead of a result, the client hears as one error, and
// the connection goes on.
func TestBlockWithoutAResult(t *testing.T) {
	for _, tc := range []struct{ name, in, want string }{
		{"block", "MULTI; SET k v; EXEC; PING", "+OK +QUEUED -CLUSTERDOWN " + node.ErrNoLeader.Error() + " +PONG"},
		{"block that waits", "MULTI; SET k v; PING; EXEC; PING", "+OK +QUEUED +QUEUED -CLUSTERDOWN " + node.ErrNoLeader.Error() + " +PONG"},
		{"watch", "WATCH k; MULTI; EXEC; PING", "-CLUSTERDOWN " + node.ErrNoLeader.Error() + " +OK *0 +PONG"},
	} {
		m := resptest.NewMemory()
		m.Before = func(node.Request) *node.Reply {
			return &node.Reply{Outcome: node.NotApplied, Err: node.ErrNoLeader}
		}
		if got := say(t, m, tc.in); got != tc.want {
			t.Errorf("%s:\n got %q\nwant %q", tc.name, got, tc.want)
		}
	}
}

// What a connection keeps for later is bounded.
func TestBlocksAreBounded(t *testing.T) {
	addr, _ := resptest.Start(t, resptest.NewMemory(), resp.Config{CommandBytes: 4096})
	got := talk(t, addr, "MULTI\r\n"+strings.Repeat("SET k "+strings.Repeat("v", 900)+"\r\n", 5)+"EXEC\r\nGET k\r\n")
	if !strings.Contains(got, "-ERR the block has more than 65536 commands or 4096 bytes (limits.command_bytes)\r\n-EXECABORT") || !strings.HasSuffix(got, "$-1\r\n") {
		t.Errorf("%q", got)
	}
}

// Redis's own suite expects it: who silenced the replies still hears of subscriptions.
func TestSubscriptionsAreToldToTheSilent(t *testing.T) {
	const sub = "*3 $9 subscribe $1 c :1 "
	for in, want := range map[string]string{
		"CLIENT REPLY OFF; PING; SUBSCRIBE c": sub,
		"CLIENT REPLY SKIP; SUBSCRIBE c":      sub,
	} {
		if got := say(t, resptest.NewMemory(), in) + " "; got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}
