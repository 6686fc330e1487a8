package transporttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"reflect"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/raftkv/raftkv/raft"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// script writes down the calls. synctest.Wait orders its reads after its writes,
// the mutex the writes after them.
type script struct {
	mu    sync.Mutex
	lines []string
}

func (s *script) say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, fmt.Sprintf(format, args...))
}
func (s *script) Received(ms []raft.Message) {
	for _, m := range ms {
		s.say("message %v term=%d", m.From, m.Term)
	}
}
func (s *script) Packet(from raft.NodeID, conn uint64, b []byte) {
	s.say("packet %v conn=%d %s", from, conn, b)
}
func (s *script) Unsent(to raft.NodeID, token uint64)     { s.say("unsent %v %d", to, token) }
func (s *script) Connected(peer raft.NodeID, conn uint64) { s.say("connected %v conn=%d", peer, conn) }
func (s *script) Heard(peer raft.NodeID, seq uint64)      { s.say("heard %v %d", peer, seq) }
func (s *script) Lost(peer raft.NodeID, c uint64, gone bool) {
	s.say("lost %v conn=%d gone=%v", peer, c, gone)
}

// took returns what was said since the last time, when everybody rests.
func (s *script) took() []string {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lines
	s.lines = nil
	return l
}

func same(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("calls are\n%q, want\n%q", got, want)
	}
}

type pair struct {
	n    *Network
	a, b *Endpoint
	sa   *script
	sb   *script
}

func newPair(t *testing.T) *pair {
	p := &pair{n: New(), sa: new(script), sb: new(script)}
	p.a, p.b = p.n.Join(1, p.sa), p.n.Join(2, p.sb)
	t.Cleanup(func() { p.a.Close(); p.b.Close() })
	p.a.SetMembers(raft.Configuration{Members: []raft.Member{{ID: 1}, {ID: 2}}})
	same(t, p.sa.took(), "heard 2 0", "connected 2 conn=1")
	same(t, p.sb.took(), "heard 1 0", "connected 1 conn=1")
	return p
}

func vote(term raft.Term, seq uint64) []raft.Message {
	return []raft.Message{{Kind: raft.MsgVote, To: 2, Term: term, Seq: seq}}
}

// A cut loses what is held, reports each loss once, and a healed link greets anew.
func TestCutAndHeal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		p.a.Send(vote(1, 7))
		if conn, err := p.a.SendPacket(2, 5, []byte("x")); conn != 1 || err != nil {
			t.Errorf("SendPacket gave %d, %v", conn, err)
		}
		same(t, p.sb.took(), "message 1 term=1", "packet 1 conn=1 x")
		p.n.Hold(1, 2)
		p.a.Send(vote(2, 8))
		p.a.SendPacket(2, 6, []byte("y"))
		if n := p.n.Held(1, 2); n != 2 {
			t.Errorf("%d held, want 2", n)
		}
		p.n.Cut(1, 2)
		same(t, p.sa.took(), "lost 2 conn=1 gone=false")
		same(t, p.sb.took(), "lost 1 conn=1 gone=false")
		if _, err := p.a.SendPacket(2, 7, nil); !errors.Is(err, ErrNotConnected) {
			t.Errorf("SendPacket over a cut gave %v", err)
		}
		p.n.Release(1, 2)
		p.n.Heal(1, 2)
		same(t, p.sa.took(), "heard 2 7", "connected 2 conn=2")
		same(t, p.sb.took(), "heard 1 0", "connected 1 conn=2")
	})
}

// A severed link tells of the packets that it kept, before the loss.
func TestSever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		p.n.Hold(1, 2)
		p.a.SendPacket(2, 6, []byte("y"))
		p.n.Sever(1, 2)
		same(t, p.sa.took(), "unsent 2 6", "lost 2 conn=1 gone=false")
	})
}

// Delay keeps the order of a link, and dropped messages vanish.
func TestDelayAndDrop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		p.n.Delay(1, 2, time.Second)
		p.a.Send(vote(1, 1))
		p.n.Delay(1, 2, 0)
		p.a.Send(vote(2, 1))
		same(t, p.sb.took())
		<-time.After(time.Second)
		same(t, p.sb.took(), "message 1 term=1", "message 1 term=2")
		p.n.Drop(func(m *raft.Message) bool { return m.Term == 3 })
		p.a.Send(append(vote(3, 1), vote(4, 1)...))
		same(t, p.sb.took(), "message 1 term=4")
	})
}

// A closed endpoint is gone for the others, and a new one may take its place.
func TestCloseIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		p.a.Send(vote(1, 9))
		synctest.Wait()
		p.b.Close()
		same(t, p.sa.took(), "lost 2 conn=1 gone=true")
		p.sb = new(script)
		p.b = p.n.Join(2, p.sb)
		same(t, p.sa.took(), "heard 2 0", "connected 2 conn=2")
		same(t, p.sb.took(), "heard 1 0", "connected 1 conn=2")
	})
}

func TestFetchFromEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		last := raft.EntryID{Term: 1, Index: 5}
		if _, err := p.a.Fetch(t.Context(), 2, last, 0); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("error is %v", err)
		}
		p.b.Serve(func(id raft.EntryID, offset uint64) (io.ReadCloser, uint64, error) {
			return io.NopCloser(bytes.NewReader([]byte("snapshot")[offset:])), 8, nil
		})
		r, err := p.a.Fetch(context.Background(), 2, last, 4)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(r); err != nil || string(b) != "shot" {
			t.Errorf("read %q, %v", b, err)
		}
		r, _ = p.a.Fetch(context.Background(), 2, last, 0)
		p.n.Cut(1, 2)
		if _, err := io.ReadAll(r); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("reading over a cut gave %v", err)
		}
	})
}
