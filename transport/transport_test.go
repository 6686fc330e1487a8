package transport

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/raftkv/raftkv/raft"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// event is one call of a Handler as text, so that tests can wait for it.
type recorder struct {
	mu       sync.Mutex
	changed  chan struct{} // closed and replaced at each event
	events   []string
	messages []raft.Message
	packets  [][]byte
	conn     uint64 // of the newest Connected
	log      *syncBuffer
	block    chan struct{}
}

func newRecorder() *recorder { return &recorder{changed: make(chan struct{})} }

func (r *recorder) add(f func()) {
	r.mu.Lock()
	f()
	close(r.changed)
	r.changed = make(chan struct{})
	r.mu.Unlock()
}

func (r *recorder) event(format string, args ...any) {
	r.add(func() { r.events = append(r.events, fmt.Sprintf(format, args...)) })
}

func (r *recorder) Received(ms []raft.Message) {
	if r.block != nil {
		<-r.block
	}
	r.add(func() { r.messages = append(r.messages, ms...) })
}

func (r *recorder) Packet(from raft.NodeID, conn uint64, b []byte) {
	r.add(func() {
		r.packets = append(r.packets, b)
		r.events = append(r.events, fmt.Sprintf("packet %v conn=%d %.20q", from, conn, b))
	})
}
func (r *recorder) Unsent(to raft.NodeID, token uint64) { r.event("unsent %v %d", to, token) }
func (r *recorder) Connected(peer raft.NodeID, conn uint64) {
	r.add(func() {
		r.conn = conn
		r.events = append(r.events, fmt.Sprintf("connected %v conn=%d", peer, conn))
	})
}
func (r *recorder) Heard(peer raft.NodeID, seq uint64) { r.event("heard %v %d", peer, seq) }
func (r *recorder) Lost(peer raft.NodeID, conn uint64, gone bool) {
	r.event("lost %v conn=%d gone=%v", peer, conn, gone)
}

// patience is how long a test waits for what must come. It is no measure of anything.
const patience = 90 * time.Second

// until waits for a condition on the recorder, which is locked while it is asked.
func (r *recorder) until(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.After(patience)
	for {
		r.mu.Lock()
		ok, changed := cond(), r.changed
		r.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			r.mu.Lock()
			defer r.mu.Unlock()
			t.Fatalf("waited in vain for %s; events:\n%s\nlog:\n%v", what, strings.Join(r.events, "\n"), r.log)
		}
	}
}

// expect waits until n events with this prefix have come.
func (r *recorder) expect(t testing.TB, prefix string, n int) {
	t.Helper()
	r.until(t, fmt.Sprintf("%d of %q", n, prefix), func() bool { return r.count(prefix) >= n })
}

// count runs under mu.
func (r *recorder) count(prefix string) (n int) {
	for _, e := range r.events {
		if strings.HasPrefix(e, prefix) {
			n++
		}
	}
	return n
}

func (r *recorder) list(prefixes ...string) (out []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		for _, p := range prefixes {
			if strings.HasPrefix(e, p) {
				out = append(out, e)
			}
		}
	}
	return out
}

// syncBuffer is a log that many goroutines write.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func (s *syncBuffer) lines(with string) (n int) {
	for line := range strings.Lines(s.String()) {
		if strings.Contains(line, with) {
			n++
		}
	}
	return n
}

// hosts gives each test address a host of its own, and each process others, so
// that a port that a test frees isn't taken before it binds it again.
var hosts atomic.Uint32

func ownHost() string {
	pid := os.Getpid()
	return fmt.Sprintf("127.%d.%d.%d", 64+pid>>8&127, pid&0xff, 1+hosts.Add(1)%250)
}

type testNode struct {
	*Transport
	self Hello
	rec  *recorder
	log  *syncBuffer
}

func helloOf(id raft.NodeID) Hello {
	return Hello{
		Cluster: [16]byte{1}, Node: [16]byte{2, byte(id)}, ID: id,
		Name: fmt.Sprintf("n%v", id), Boot: 1000 + uint64(id), MinLevel: 1, MaxLevel: 3,
	}
}

// listen makes a node that is not started.
func listen(t testing.TB, cfg Config) *testNode {
	t.Helper()
	n := &testNode{rec: newRecorder(), log: new(syncBuffer)}
	n.rec.log = n.log
	if cfg.Listen == "" {
		cfg.Listen = ownHost() + ":0"
	}
	cfg.Logger = slog.New(slog.NewTextHandler(n.log, nil))
	tr, err := Listen(cfg)
	if err != nil {
		t.Fatal(err)
	}
	n.Transport = tr
	t.Cleanup(func() { tr.Close() })
	return n
}

// run makes a started node.
func run(t testing.TB, cfg Config, self Hello) *testNode {
	t.Helper()
	n := listen(t, cfg)
	n.self = self
	if err := n.Start(self, n.rec); err != nil {
		t.Fatal(err)
	}
	return n
}

func (n *testNode) member() raft.Member {
	return raft.Member{ID: n.self.ID, Name: n.self.Name, Peer: n.Addr().String()}
}

func configuration(ms ...raft.Member) raft.Configuration { return raft.Configuration{Members: ms} }

// pair makes two nodes with ids 1 and 2 that are connected.
func pair(t testing.TB, cfg Config) (a, b *testNode) {
	t.Helper()
	a, b = run(t, cfg, helloOf(1)), run(t, cfg, helloOf(2))
	join(t, a, b)
	return a, b
}

func join(t testing.TB, a, b *testNode) {
	t.Helper()
	c := configuration(a.member(), b.member())
	a.SetMembers(c)
	b.SetMembers(c)
	a.rec.expect(t, "connected 2", 1)
	b.rec.expect(t, "connected 1", 1)
}

func command(term raft.Term, index raft.Index, data string) raft.Entry {
	return raft.Entry{EntryID: raft.EntryID{Term: term, Index: index}, Type: raft.EntryCommand, Time: raft.Time(1000 + index), Data: []byte(data)}
}

// Messages arrive as they were, from whoever the connection belongs to.
func TestMessagesArrive(t *testing.T) {
	a, b := pair(t, Config{})
	sent := []raft.Message{
		{Kind: raft.MsgAppend, To: 2, Term: 3, Boot: 9, Seq: 7, Prev: raft.EntryID{Term: 2, Index: 4},
			Entries: []raft.Entry{command(2, 5, "x"), command(3, 6, "yy")}, Commit: 4, Round: 8, Last: raft.EntryID{Term: 3, Index: 6}, ToBoot: 5},
		{Kind: raft.MsgVoteReply, To: 2, Term: 3, Granted: true, Transfer: true},
	}
	a.Send(sent)
	b.rec.until(t, "two messages", func() bool { return len(b.rec.messages) == 2 })
	got := b.rec.messages
	if got[0].Kind != raft.MsgAppend { // the reply may overtake
		got[0], got[1] = got[1], got[0]
	}
	for i := range sent {
		sent[i].From = 1
		equalMessage(t, got[i], sent[i])
	}
}

// Both directions use one connection, whoever dials.
func TestOneConnectionPerPair(t *testing.T) {
	for _, tc := range []struct {
		name         string
		aDial, bDial bool
	}{{"low dials", true, false}, {"high dials", false, true}, {"both dial", true, true}} {
		t.Run(tc.name, func(t *testing.T) {
			a, b := run(t, Config{}, helloOf(1)), run(t, Config{}, helloOf(2))
			if tc.aDial {
				a.SetMembers(configuration(b.member()))
			}
			if tc.bDial {
				b.SetMembers(configuration(a.member()))
			}
			a.rec.expect(t, "connected 2", 1)
			b.rec.expect(t, "connected 1", 1)
			a.Send([]raft.Message{{Kind: raft.MsgVote, To: 2, Term: 1}})
			b.rec.until(t, "a vote", func() bool { return len(b.rec.messages) > 0 })
			b.Send([]raft.Message{{Kind: raft.MsgVoteReply, To: 1, Term: 1}})
			a.rec.until(t, "its reply", func() bool { return len(a.rec.messages) > 0 })
			if lost := append(a.rec.list("lost"), b.rec.list("lost")...); len(lost) > 0 {
				t.Errorf("connections were lost on the way: %v", lost)
			}
		})
	}
}

var _ io.Writer = (*syncBuffer)(nil)
