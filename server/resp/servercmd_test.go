package resp_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/raftkv/raftkv/node"
	"github.com/raftkv/raftkv/server/access"
	"github.com/raftkv/raftkv/server/resp"
	"github.com/raftkv/raftkv/server/resp/resptest"
)

// The answers are those of Redis 7.0.15.
func TestCommandKeys(t *testing.T) {
	addr, _ := resptest.Start(t, resptest.NewMemory(), resp.Config{})
	k := newTalker(t, addr)
	for request, want := range map[string]string{
		"get a": "[[a [+RO +access]]]", "set a b": "[[a [+OW +update]]]", "set a b get": "[[a [+RW +access +update]]]", "mset a 1 b 2": "[[a [+OW +update]] [b [+OW +update]]]",
		"append a b": "[[a [+RW +insert]]]", "del a": "[[a [+RM +delete]]]", "exists a": "[[a [+RO]]]", "incr a": "[[a [+RW +access +update]]]", "strlen a": "[[a [+RO]]]",
	} {
		k.expect(want, "command getkeysandflags "+request)
	}
	k.expect("[a b]", "command getkeys mset a 1 b 2")
	k.expect("-ERR Invalid command specified", "command getkeys foo a")
	k.expect("-ERR The command has no key arguments", "command getkeys echo a")
	k.expect("-ERR Invalid number of arguments specified for command", "command getkeys get a b")
	k.expect("[punsubscribe unsubscribe]", "command list filterby pattern *un[sw]ubscribe")
	k.expect("[]", "command list filterby module x")
	k.expect("[]", "command list filterby aclcat nosuch")
	if got := k.say("command list filterby aclcat pubsub"); !strings.HasPrefix(got, "[psubscribe publish pubsub|channels ") {
		t.Error(got)
	}
	k.expect("-ERR syntax error", "command list filterby foo x")
}

func TestServerCommands(t *testing.T) {
	stopped := make(chan struct{}, 1)
	m := resptest.NewMemory()
	m.SetStatus(func(s *node.Status) { s.SnapshotTime = 1234 })
	addr, _ := resptest.Start(t, m, resp.Config{Stop: func() { stopped <- struct{}{} }})
	k := newTalker(t, addr)
	before := time.Now().Unix()
	var sec, micro int64
	if _, err := fmt.Sscanf(k.say("time"), "[%d %d]", &sec, &micro); err != nil || sec < before || micro < 0 || micro > 999_999 {
		t.Errorf("time %d.%06d, %v", sec, micro, err)
	}
	k.expect(":1234", "lastsave")
	k.expect("+OK", "save")
	k.expect("-ERR syntax error", "bgsave x")
	k.expect("+Background saving started", "bgsave")
	k.expect("+OK", "function flush async")
	k.expect("-ERR FUNCTION FLUSH only supports SYNC|ASYNC option", "function flush x")
	k.expect(":0", "wait 0 0")
	k.expect("-ERR value is not an integer or out of range", "wait a 0")
	k.expect("-ERR timeout is negative", "wait 1 -1")
	k.expect("-ERR No shutdown in progress.", "shutdown abort")
	k.expect("-ERR syntax error", "shutdown foo")
	k.expect("+OK", "shutdown nosave")
	<-stopped
	none, _ := resptest.Start(t, resptest.NewMemory(), resp.Config{})
	newTalker(t, none).expect("-ERR this server can't be shut down by a client", "shutdown")
	for _, line := range []string{"used_cpu_user:", "cluster_enabled:0", "rdb_last_save_time:1234", "rdb_bgsave_in_progress:"} {
		if got := k.say("info"); !strings.Contains(got, line) {
			t.Errorf("no %s in INFO", line)
		}
	}
}

// What a majority has on disk is at least the quorum without this node; the leader knows more.
func TestWaitTellsWhoHasIt(t *testing.T) {
	m := resptest.NewMemory()
	addr, _ := resptest.Start(t, m, resp.Config{})
	k := newTalker(t, addr)
	k.expect("+OK", "set a 1")
	members := func(role string, match ...uint64) {
		m.SetStatus(func(s *node.Status) {
			s.Role, s.Members = role, s.Members[:1]
			for i, n := range match {
				s.Members = append(s.Members, node.MemberStatus{ID: fmt.Sprint(i + 2), Match: n})
			}
		})
	}
	members("leader", 0, 0)
	k.expect(":1", "wait 2 0")
	members("leader", 1, 1)
	k.expect(":2", "wait 2 0")
	members("follower", 0, 0, 0, 0)
	k.expect(":2", "wait 5 0")
}

func TestMonitor(t *testing.T) {
	addr, _ := resptest.Start(t, resptest.NewMemory(), resp.Config{})
	mon, k := newTalker(t, addr), newTalker(t, addr)
	mon.expect("+OK", "monitor")
	k.say("auth al secret")
	k.say("acl setuser al >secret")
	k.say("config set timeout 5")
	k.say(`set "a\r\nb" "\x00\"x"`)
	got := mon.hear()
	if !strings.HasSuffix(got, ` [0 `+k.nc.LocalAddr().String()+`] "set" "a\r\nb" "\x00\"x"`) {
		t.Errorf("%q", got)
	}
	mon.expect("+RESET", "reset")
	k.say("get a")
	mon.expect("+PONG", "ping")
}

// A cluster of three as a cluster-aware client sees it.
func three(t *testing.T, cfg resp.Config, role string) (*talker, *resptest.Memory) {
	t.Helper()
	m := resptest.NewMemory()
	m.SetStatus(func(s *node.Status) {
		s.Role, s.Leader, s.ID = role, "a2", "a1"
		if role == "leader" {
			s.Leader = "a1"
		}
		s.Members = []node.MemberStatus{{ID: "a1", Name: "n1", Client: "127.0.0.1:5001", Peer: "127.0.0.1:5101"}, {ID: "a2", Name: "n2", Client: "127.0.0.1:5002", Peer: "127.0.0.1:5102"}}
	})
	addr, _ := resptest.Start(t, m, cfg)
	return newTalker(t, addr), m
}

func TestCluster(t *testing.T) {
	k, m := three(t, resp.Config{}, "follower")
	a1, a2 := strings.Repeat("0", 38)+"a1", strings.Repeat("0", 38)+"a2"
	k.expect("[[:0 :16383 [127.0.0.1 :5002 "+a2+" []] [127.0.0.1 :5001 "+a1+" []]]]", "cluster slots")
	if got := k.say("cluster shards"); !strings.HasPrefix(got, "[[slots [:0 :16383] nodes [[id "+a2+" port :5002 ip 127.0.0.1 endpoint 127.0.0.1 role master ") || !strings.Contains(got, "[id "+a1+" port :5001 ip 127.0.0.1 endpoint 127.0.0.1 role replica ") {
		t.Error(got)
	}
	k.expect(a2+" 127.0.0.1:5002@5102 master - 0 0 1 connected 0-16383\n"+a1+" 127.0.0.1:5001@5101 myself,slave "+a2+" 0 0 1 connected\n", "cluster nodes")
	k.expect(a1, "cluster myid")
	if got := k.say("cluster info"); !strings.Contains(got, "cluster_state:ok\r\n") || !strings.Contains(got, "cluster_slots_ok:16384\r\n") {
		t.Error(got)
	}
	// From the specification of Redis Cluster.
	for key, slot := range map[string]string{"123456789": ":12739", "{user1000}.following": ":3443", "{user1000}.followers": ":3443", "foo{}{bar}": ":8363", "foo{{bar}}zap": ":4015", "foo{bar}{zap}": ":5061"} {
		k.expect(slot, "cluster keyslot "+key)
	}
	k.expect("+OK", "set a 1") // forwarded
	k.expect(":1", "cluster countkeysinslot 0")
	k.expect(":0", "cluster countkeysinslot 1")
	k.expect("-ERR Invalid or out of range slot", "cluster countkeysinslot 16384")
	m.SetStatus(func(s *node.Status) { s.Leader = "" })
	k.expect("[]", "cluster slots")
	if got := k.say("cluster info"); !strings.Contains(got, "cluster_state:fail\r\n") {
		t.Error(got)
	}
}

func TestMoved(t *testing.T) {
	k, m := three(t, resp.Config{Moved: true}, "follower")
	k.expect("-MOVED 12182 127.0.0.1:5002", "set foo 1")
	k.expect("-MOVED 12182 127.0.0.1:5002", "get foo")
	k.expect("-MOVED 0 127.0.0.1:5002", "dbsize")
	k.expect("-MOVED 0 127.0.0.1:5002", "session open")
	k.expect("+PONG", "ping")
	if got := k.say("info cluster"); !strings.Contains(got, "cluster_enabled:1") {
		t.Error(got)
	}
	k.expect("+OK", "readonly")
	k.expect("nil", "get foo")
	k.expect("-MOVED 12182 127.0.0.1:5002", "set foo 1")
	k.expect("+OK", "readwrite")
	k.expect("-MOVED 12182 127.0.0.1:5002", "get foo")
	m.SetStatus(func(s *node.Status) { s.Leader = "a1" })
	k.expect("+OK", "set foo 1")
	m.SetStatus(func(s *node.Status) { s.Leader = "" })
	m.Before = func(node.Request) *node.Reply { return &node.Reply{Outcome: node.NotApplied, Err: node.ErrNoLeader} }
	if got := k.say("set foo 1"); !strings.HasPrefix(got, "-CLUSTERDOWN ") {
		t.Error(got)
	}
}

// A command that belongs elsewhere is missing from the block: the rest must not run without it.
func TestMovedEndsTheBlock(t *testing.T) {
	k, m := three(t, resp.Config{Moved: true}, "follower")
	k.expect("+OK", "multi")
	k.expect("-MOVED 12182 127.0.0.1:5002", "set foo 1")
	m.SetStatus(func(s *node.Status) { s.Leader = "a1" })
	k.expect("+QUEUED", "set bar 1")
	k.expect("-EXECABORT Transaction discarded because of previous errors.", "exec")
	k.expect("nil", "get bar")
}

// Where the leader is, is for those who may send the command.
func TestMovedIsForThosePermitted(t *testing.T) {
	k, _ := three(t, resp.Config{Moved: true, Access: access.NewStore(resp.Catalog(), "secret", nil)}, "follower")
	k.expect("-NOAUTH Authentication required.", "set foo 1")
	k.expect("-NOAUTH Authentication required.", "get foo")
	k.expect("+OK", "auth secret")
	k.expect("-MOVED 12182 127.0.0.1:5002", "set foo 1")
}

// SAVE says why there is none.
func TestSaveFails(t *testing.T) {
	m := resptest.NewMemory()
	s := resp.New(resp.Config{}, m, noSnapshots{m})
	newTalker(t, resptest.Serve(t, s)).expect("-ERR no room", "save")
}

type noSnapshots struct{ *resptest.Memory }

func (noSnapshots) Snapshot(context.Context) (string, error) { return "", errors.New("no room") }
