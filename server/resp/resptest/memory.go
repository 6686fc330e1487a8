// Package resptest is a node of one, in memory, for tests of whatever speaks the
// Redis protocol: the real server and the real state machine, without log, disk
// or peers.
package resptest

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/raftkv/raftkv/node"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/server/access"
	"github.com/raftkv/raftkv/server/feed"
	"github.com/raftkv/raftkv/server/resp"
	"github.com/raftkv/raftkv/statemachine"
)

// Memory is a resp.Backend and a resp.Admin. Its methods may be called from any goroutine.
type Memory struct {
	// Before, if set, is asked before a request is run. A reply that it returns ends
	// the request instead, and it isn't run. It is called with the lock held.
	Before func(r node.Request) *node.Reply
	// After, if set, may change the reply of a request that was run.
	After func(r node.Request, rep *node.Reply)
	// Now is the clock; time.Now by default.
	Now func() time.Time

	mu      sync.Mutex
	machine *statemachine.Machine
	index   raft.Index
	status  node.Status
}

// NewMemory makes an empty node that leads a cluster of one.
func NewMemory() *Memory {
	return &Memory{
		Now:     time.Now,
		machine: statemachine.New(statemachine.DefaultLimits()),
		status: node.Status{
			Name: "n1", ID: "1", Cluster: "c0ffee00-0000-4000-8000-000000000001", Version: "test", Role: "leader", Leader: "1", LeaderName: "n1", Term: 1, Ready: true,
			Members: []node.MemberStatus{{ID: "1", Name: "n1", Peer: "127.0.0.1:6480", Client: "127.0.0.1:6479", HTTP: "127.0.0.1:6481", Active: true}},
		},
	}
}

// SetStatus changes what Status tells.
func (m *Memory) SetStatus(change func(*node.Status)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change(&m.status)
}

// Observe makes tell hear of every change, as the state machine's Observe does.
func (m *Memory) Observe(tell func(statemachine.Change)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.machine.Observe(tell)
}

// Status is the node as it is now.
func (m *Memory) Status() node.Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.status
	s.LastIndex, s.CommitIndex, s.AppliedIndex = uint64(m.index), uint64(m.index), uint64(m.index)
	return s
}

// Connect opens the way of one connection.
func (m *Memory) Connect(s node.Sink) resp.Submitter { return &way{m: m, sink: s} }

type way struct {
	m       *Memory
	sink    node.Sink
	replies []node.Reply
}

func (w *way) Close() {}

// Submit runs the requests and delivers the replies before it returns.
func (w *way) Submit(_ context.Context, reqs []node.Request) error {
	w.replies = w.replies[:0]
	w.m.mu.Lock()
	for _, r := range reqs {
		w.replies = append(w.replies, w.m.run(r))
	}
	w.m.mu.Unlock()
	w.sink.Deliver(w.replies)
	clear(w.replies)
	return nil
}

func (m *Memory) run(r node.Request) node.Reply {
	if m.Before != nil {
		if rep := m.Before(r); rep != nil {
			rep.Slot = r.Slot
			return *rep
		}
	}
	rep := node.Reply{Slot: r.Slot, Outcome: node.Applied}
	if r.Kind == node.Write {
		m.index++
		rep.Result = m.machine.Apply(raft.Entry{
			EntryID: raft.EntryID{Term: 1, Index: m.index}, Type: raft.EntryCommand,
			Time: max(raft.Time(m.Now().UnixNano()), m.machine.Now()), Data: r.Data,
		}, nil)
	} else {
		rep.Result = m.machine.Query(r.Data, nil)
	}
	rep.Index = m.index
	if m.After != nil {
		m.After(r, &rep)
	}
	return rep
}

// AddMember adds a learner to the status, or says that it would.
func (m *Memory) AddMember(_ context.Context, name, peer string, dryRun bool) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, o := range m.status.Members {
		if o.Name == name {
			return "", fmt.Errorf("a member %s is there already", name)
		}
	}
	if !dryRun {
		m.status.Members = append(m.status.Members, node.MemberStatus{ID: name, Name: name, Peer: peer, Learner: true})
	}
	return "added " + name, nil
}

// Promote makes a learner a voter.
func (m *Memory) Promote(_ context.Context, name string, dryRun bool) (string, error) {
	return m.change(name, dryRun, func(i int) { m.status.Members[i].Learner = false })
}

// Remove removes a member.
func (m *Memory) Remove(_ context.Context, name string, dryRun bool) (string, error) {
	return m.change(name, dryRun, func(i int) {
		m.status.Members = append(m.status.Members[:i:i], m.status.Members[i+1:]...)
	})
}

func (m *Memory) change(name string, dryRun bool, do func(i int)) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.status.Members {
		if m.status.Members[i].Name != name {
			continue
		}
		if !dryRun {
			do(i)
		}
		return "changed " + name, nil
	}
	return "", fmt.Errorf("no member is called %s", name)
}

// Transfer does nothing: this node leads whatever happens.
func (m *Memory) Transfer(_ context.Context, name string) (string, error) {
	return "transferred to " + name, nil
}

// Snapshot does nothing.
func (m *Memory) Snapshot(context.Context) (string, error) { return "snapshot written", nil }

// Start serves m on a free port of the loopback until the test ends.
func Start(t testing.TB, m *Memory, cfg resp.Config) (addr string, s *resp.Server) {
	t.Helper()
	if cfg.Access == nil {
		cfg.Access = access.NewStore(resp.Catalog(), "", nil)
	}
	m.mu.Lock()
	m.machine.OnUsers(cfg.Access.Replace)
	if cfg.Feed == nil {
		cfg.Feed = feed.New(feed.Config{}, m.machine.Applied().Index)
		m.machine.Observe(cfg.Feed.Observe)
	}
	m.mu.Unlock()
	s = resp.New(cfg, m, m)
	return Serve(t, s), s
}

// Serve runs s on a free port of the loopback until the test ends.
func Serve(t testing.TB, s *resp.Server) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	// Ends with Shutdown below, which waits for it.
	go func() { done <- s.Serve(ln) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("shut down the server: %v", err)
		}
		if err := <-done; err != resp.ErrClosed {
			t.Errorf("serve ended with %v", err)
		}
	})
	return ln.Addr().String()
}
