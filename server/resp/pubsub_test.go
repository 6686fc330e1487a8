package resp_test

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/raftkv/raftkv/internal/testenv"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/server/feed"
	"github.com/raftkv/raftkv/server/resp"
	"github.com/raftkv/raftkv/server/resp/resptest"
	"github.com/raftkv/raftkv/statemachine"
)

// The answers are those of Redis 7.0.15.
func TestPubSub(t *testing.T) {
	addr, _ := resptest.Start(t, resptest.NewMemory(), resp.Config{})
	s, p := newTalker(t, addr), newTalker(t, addr)
	p.expect(":0", "publish c nobody")
	s.expect("[subscribe c :1]", "subscribe c d")
	if got := s.hear(); got != "[subscribe d :2]" {
		t.Error(got)
	}
	s.expect("[psubscribe c* :3]", "psubscribe c*")
	s.expect("[subscribe c :3]", "subscribe c")
	s.expect("[pong ]", "ping")
	s.expect("[pong x]", "ping x")
	s.expect("-ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context", "get k")
	p.expect(":2", "publish c hello")
	p.expect(":1", "publish cc \"\"")
	p.expect(":1", "publish d \"a\\r\\nb\"")
	for _, want := range []string{"[message c hello]", "[pmessage c* c hello]", "[pmessage c* cc ]", "[message d a\r\nb]"} {
		if got := s.hear(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	p.expect("[c d]", "pubsub channels")
	p.expect("[d]", "pubsub channels [^c]")
	p.expect("[c :1 x :0]", "pubsub numsub c x")
	p.expect(":1", "pubsub numpat")
	if got := p.say("client list type pubsub"); !strings.Contains(got, "flags=P db=0 sub=2 psub=1 ") || strings.Count(got, "\n") != 1 {
		t.Error(got)
	}
	s.expect("[unsubscribe c :2]", "unsubscribe c")
	s.expect("[unsubscribe x :2]", "unsubscribe x")
	p.expect(":1", "publish c again")
	if got := s.hear(); got != "[pmessage c* c again]" {
		t.Error(got)
	}
	s.expect("[punsubscribe c* :1]", "punsubscribe")
	s.expect("[unsubscribe d :0]", "unsubscribe")
	s.expect("[unsubscribe nil :0]", "unsubscribe")
	s.expect("nil", "get k")
	s.expect("[subscribe c :1]", "subscribe c")
	s.expect("+RESET", "reset")
	p.expect(":0", "publish c x")
	s.expect("nil", "get k")
	p.expect("[]", "pubsub channels")
}

// In version 3 messages come in between, and are told from replies.
func TestPushes(t *testing.T) {
	addr, _ := resptest.Start(t, resptest.NewMemory(), resp.Config{})
	s := newTalker(t, addr)
	s.say("hello 3")
	s.expect(">[subscribe c :1]", "subscribe c")
	s.expect("+OK", "set k v")
	io.WriteString(s.nc, "publish c m\r\nget k\r\n")
	var got []string
	for range 3 {
		got = append(got, s.hear())
	}
	all := strings.Join(got, " ")
	if !strings.Contains(all, ">[message c m]") || !strings.Contains(all, ":1 ") || !strings.Contains(all, "v") {
		t.Error(all)
	}
	s.expect(">[unsubscribe c :0]", "unsubscribe c")
}

func TestKeyspaceNotifications(t *testing.T) {
	addr, _ := resptest.Start(t, resptest.NewMemory(), resp.Config{Events: "KEA"})
	s, p := newTalker(t, addr), newTalker(t, addr)
	s.expect("[psubscribe __key* :1]", "psubscribe __key*")
	p.expect("+OK", "config set notify-keyspace-events KEA")
	p.expect("+OK", "set a 1")
	p.expect(":2", "incr a")
	p.expect(":1", "del a")
	for _, want := range []string{"keyspace@0__:a set", "keyevent@0__:set a", "keyspace@0__:a incrby", "keyevent@0__:incrby a", "keyspace@0__:a del", "keyevent@0__:del a"} {
		if got := s.hear(); got != "[pmessage __key* __"+want+"]" {
			t.Errorf("%q, want %q", got, want)
		}
	}
	p.expect("+OK", "config set notify-keyspace-events Eg")
	p.expect("[notify-keyspace-events gE]", "config get notify-keyspace-events")
	p.expect("+OK", "set a 1")
	p.expect(":1", "del a")
	if got := s.hear(); got != "[pmessage __key* __keyevent@0__:del a]" {
		t.Error(got)
	}
	p.expect("-ERR CONFIG SET failed (possibly related to argument 'notify-keyspace-events') - Invalid event class character. Use 'Ag$lshzxeKEtmdn'.", "config set notify-keyspace-events q")
}

// Every subscriber sees every message once, in one order, from its confirmation on:
// not one of before, though it waits in the feed, and none behind the end.
func TestMessagesInOneOrder(t *testing.T) {
	addr, _ := resptest.Start(t, resptest.NewMemory(), resp.Config{})
	const publishers, each = 4, 200
	subscribers := make([]*talker, 3)
	for i := range subscribers {
		subscribers[i] = newTalker(t, addr)
		subscribers[i].expect("[subscribe c :1]", "subscribe c")
	}
	var all sync.WaitGroup
	for p := range publishers {
		k := newTalker(t, addr)
		all.Go(func() {
			for i := range each {
				fmt.Fprintf(k.nc, "publish c %d-%d\r\n", p, i)
			}
			for range each {
				if got := k.hear(); got != ":3" {
					t.Errorf("publish answers %s", got)
				}
			}
		})
	}
	var first []string
	for n, s := range subscribers {
		next := make([]int, publishers)
		for i := range publishers * each {
			got := s.hear()
			var p, k int
			if _, err := fmt.Sscanf(got, "[message c %d-%d]", &p, &k); err != nil || k != next[p] {
				t.Fatalf("subscriber %d: %q as message %d, want number %v of each", n, got, i, next)
			}
			next[p]++
			if n == 0 {
				first = append(first, got)
			} else if first[i] != got {
				t.Fatalf("message %d: %q and %q", i, first[i], got)
			}
		}
	}
	all.Wait()
	late := newTalker(t, addr)
	late.expect(":3", "publish c before")
	late.expect("[subscribe c :1]", "subscribe c")
	newTalker(t, addr).expect(":4", "publish c after")
	if got := late.hear(); got != "[message c after]" {
		t.Errorf("from before the subscription: %q", got)
	}
}

// A subscriber that takes nothing costs bounded memory, and others don't wait for it.
func TestSlowSubscriberIsCutOff(t *testing.T) {
	addr, srv := resptest.Start(t, resptest.NewMemory(), resp.Config{OutputBytes: 1 << 20, ValueBytes: 64 << 10})
	slow, p := newTalker(t, addr), newTalker(t, addr)
	slow.expect("[subscribe c :1]", "subscribe c")
	text := strings.Repeat("x", 50<<10)
	testenv.Eventually(t, "the subscriber is gone", func() bool {
		p.say("publish c " + text)
		return srv.Stats().Connections == 1
	})
	if n := srv.Stats().Slow; n != 1 {
		t.Errorf("%d slow clients", n)
	}
}

// Messages that a snapshot jumped over are lost. A connection that ends says so.
func TestLostMessagesEndTheConnection(t *testing.T) {
	hub := feed.New(feed.Config{}, 0)
	addr, _ := resptest.Start(t, resptest.NewMemory(), resp.Config{Feed: hub})
	s := newTalker(t, addr)
	s.expect("[subscribe c :1]", "subscribe c")
	publish := func(i raft.Index, text string) {
		hub.Observe(statemachine.Change{Kind: statemachine.ChangeMessage, Index: i, Key: []byte("c"), Value: []byte(text)})
	}
	publish(1, "one")
	if got := s.hear(); got != "[message c one]" {
		t.Error(got)
	}
	hub.Observe(statemachine.Change{Kind: statemachine.ChangeRestore, Index: 50})
	if !s.ended() {
		t.Error("a gap is not told")
	}
	s = newTalker(t, addr)
	s.expect("[subscribe c :1]", "subscribe c")
	publish(51, "two")
	if got := s.hear(); got != "[message c two]" {
		t.Error(got)
	}
	// Somebody who comes before the last one has left, too.
	for i := raft.Index(60); i < 100; i += 10 {
		hub.Observe(statemachine.Change{Kind: statemachine.ChangeRestore, Index: i})
		if !s.ended() {
			t.Error("a gap is not told")
		}
		s = newTalker(t, addr)
		s.expect("[subscribe c :1]", "subscribe c")
		publish(i+1, "more")
		if got := s.hear(); got != "[message c more]" {
			t.Error(got)
		}
	}
}

func TestChannelsOfUsers(t *testing.T) {
	addr, _ := locked(t, "")
	admin, al := newTalker(t, addr), newTalker(t, addr)
	admin.expect("+OK", "acl setuser al on nopass &c* +@pubsub +ping")
	al.expect("+OK", "auth al x")
	const noChannel = "-NOPERM this user has no permissions to access one of the channels used as arguments"
	al.expect(noChannel, "subscribe c d")
	al.expect(noChannel, "psubscribe cd*")
	al.expect(noChannel, "publish d x")
	al.expect(":0", "publish c x")
	admin.expect("This user has no permissions to access the 'd' channel", "acl dryrun al publish d x")
	al.expect("[psubscribe c* :1]", "psubscribe c*")
	admin.expect("+OK", "acl setuser al +echo")
	al.expect("[pong ]", "ping")
	admin.expect("+OK", "acl setuser al resetchannels &d")
	if !al.ended() {
		t.Error("a subscriber keeps what its user may no longer have")
	}
}

func TestSubscriptionsAreBounded(t *testing.T) {
	addr, _ := resptest.Start(t, resptest.NewMemory(), resp.Config{})
	s := newTalker(t, addr)
	go func() { // ends when all is written
		for i := range 101 {
			var b strings.Builder
			b.WriteString("subscribe")
			for k := range 100 {
				fmt.Fprintf(&b, " %d-%d", i, k)
			}
			io.WriteString(s.nc, b.String()+"\r\n")
		}
	}()
	for range 10_000 {
		s.hear()
	}
	if got := s.hear(); got != "-ERR this connection has 10000 subscriptions, the most it can have" {
		t.Error(got)
	}
}

// Long names cost as much as many, and a name is no longer than a key.
func TestSubscribedBytesAreBounded(t *testing.T) {
	addr, _ := resptest.Start(t, resptest.NewMemory(), resp.Config{KeyBytes: 1 << 14})
	s := newTalker(t, addr)
	long := strings.Repeat("c", 1<<14)
	for _, request := range []string{"subscribe ", "psubscribe "} {
		s.expect("-ERR key of 16385 bytes is above the limit of 16384 bytes (limits.key_bytes)", request+long+"c")
	}
	name := func(i int) string { return fmt.Sprintf("%s%04d", long[4:], i) }
	for i := range 1024 {
		request := []string{"subscribe", "psubscribe"}[i%2]
		s.expect(fmt.Sprintf("[%s %s :%d]", request, name(i), i+1), request+" "+name(i))
	}
	const full = "-ERR this connection has subscriptions to names of 16777216 bytes, and can't have more than 16777216"
	s.expect(full, "subscribe c")
	s.expect(full, "psubscribe c")
	s.expect("[subscribe "+name(0)+" :1024]", "subscribe "+name(0)) // it has that
	s.expect("[unsubscribe "+name(0)+" :1023]", "unsubscribe "+name(0))
	s.expect("[subscribe c :1024]", "subscribe c")
	s.expect("+RESET", "reset")
	s.expect("[psubscribe "+name(1)+" :1]", "psubscribe "+name(1))
}

// A message of a block is sent with it.
func TestPublishInABlock(t *testing.T) {
	addr, _ := resptest.Start(t, resptest.NewMemory(), resp.Config{})
	s, p := newTalker(t, addr), newTalker(t, addr)
	s.expect("[subscribe c :1]", "subscribe c")
	p.expect("+OK", "multi")
	p.expect("+QUEUED", "set k v")
	p.expect("+QUEUED", "publish c m")
	p.expect("[+OK :1]", "exec")
	if got := s.hear(); got != "[message c m]" {
		t.Error(got)
	}
	s.say("reset")
	s.say("hello 3")
	s.expect("+OK", "multi")
	s.expect("+QUEUED", "subscribe d")
	s.expect("+QUEUED", "set k w")
	s.expect("[>[subscribe d :1] +OK]", "exec")
	p.expect(":1", "publish d m")
	if got := s.hear(); got != ">[message d m]" {
		t.Error(got)
	}
}
