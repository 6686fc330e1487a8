package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/raftkv/raftkv/raft"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lan connects Nodes; a packet or message arrives at once.
type lan struct {
	mu    sync.Mutex
	nodes map[raft.NodeID]*Node
	disks map[raft.NodeID]*lockedDisk
}

type lanPort struct {
	l  *lan
	id raft.NodeID
}

func (l *lan) node(id raft.NodeID) *Node {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.nodes[id]
}

func (p lanPort) Send(ms []raft.Message) {
	for _, m := range ms {
		if n := p.l.node(m.To); n != nil {
			n.Received([]raft.Message{m})
		}
	}
}

func (p lanPort) SendPacket(to raft.NodeID, _ uint64, b []byte) (uint64, error) {
	n := p.l.node(to)
	if n == nil {
		return 0, errors.New("no connection")
	}
	n.Packet(p.id, connOf(p.id, to), b)
	return connOf(p.id, to), nil
}

func (p lanPort) SetMembers(raft.Configuration) {}

func (p lanPort) Fetch(_ context.Context, from raft.NodeID, last raft.EntryID, _ uint64) (io.ReadCloser, error) {
	_, r, err := p.l.disks[from].Open(last)
	return r, err
}

// lockedDisk is a disk that several goroutines use. While gate is not nil its
// writes wait until that is closed.
type lockedDisk struct {
	mu   sync.Mutex
	d    disk
	fail error
	gate chan struct{}
}

func (l *lockedDisk) Write(w *raft.Write) error {
	l.mu.Lock()
	gate := l.gate
	l.mu.Unlock()
	if gate != nil {
		<-gate
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil {
		return l.fail
	}
	return l.d.Write(w)
}

func (l *lockedDisk) Open(last raft.EntryID) (raft.SnapshotMeta, io.ReadCloser, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.d.Open(last)
}

func (l *lockedDisk) Save(meta raft.SnapshotMeta, next func() ([]byte, error)) error {
	var all []byte
	for {
		b, err := next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		all = append(all, b...)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.d.keep(meta, all)
	return nil
}

func (l *lockedDisk) Receive(ctx context.Context, meta raft.SnapshotMeta,
	open func(ctx context.Context, offset uint64) (io.ReadCloser, error), progress func(uint64)) error {
	r, err := open(ctx, 0)
	if err != nil {
		return err
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	progress(uint64(len(b)))
	l.mu.Lock()
	defer l.mu.Unlock()
	l.d.keep(meta, b)
	return nil
}

// party is Nodes that run.
type party struct {
	t     *testing.T
	lan   *lan
	ended map[raft.NodeID]chan error
	m     map[raft.NodeID]*machine
	boot  uint64
	cfg   func(*Config)
}

func newParty(t *testing.T, n int, change func(*Config)) *party {
	p := &party{
		t: t, cfg: change,
		lan:   &lan{nodes: map[raft.NodeID]*Node{}, disks: map[raft.NodeID]*lockedDisk{}},
		ended: map[raft.NodeID]chan error{}, m: map[raft.NodeID]*machine{},
	}
	for i := range n {
		id := raft.NodeID(i + 1)
		d := &lockedDisk{d: disk{files: map[raft.EntryID]file{}}}
		d.d.Snapshot = birth(n)
		p.lan.disks[id] = d
		p.start(id)
	}
	return p
}

func (p *party) start(id raft.NodeID) *Node {
	n := p.build(id)
	p.lan.mu.Lock()
	p.lan.nodes[id] = n
	p.lan.mu.Unlock()
	ended := make(chan error, 1)
	p.ended[id] = ended
	go func() { ended <- n.Run(context.Background()) }()
	return n
}

// build makes a Node that does not run yet.
func (p *party) build(id raft.NodeID) *Node {
	cfg := testConfig(id)
	p.boot++
	cfg.Raft.Boot += p.boot << 32
	if p.cfg != nil {
		p.cfg(&cfg)
	}
	d, m := p.lan.disks[id], &machine{}
	d.mu.Lock()
	durable := d.d.Durable
	d.mu.Unlock()
	n, err := New(cfg, durable, Ports{Store: d, Machine: m, Snapshots: d, Network: lanPort{p.lan, id}})
	if err != nil {
		p.t.Fatal(err)
	}
	p.m[id] = m
	return n
}

func (p *party) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	for id := range p.ended {
		if n := p.lan.node(id); n != nil {
			p.lan.mu.Lock()
			delete(p.lan.nodes, id)
			p.lan.mu.Unlock()
			_ = n.Shutdown(ctx)
			if err := <-p.ended[id]; err != nil {
				p.t.Errorf("node %v: %v", id, err)
			}
		}
	}
}

// leader waits for one.
func (p *party) leader() *Node {
	p.t.Helper()
	for range 1000 {
		for id := range raft.NodeID(len(p.lan.disks)) {
			if n := p.lan.node(id + 1); n != nil && n.Ready() && n.Status().Role == "leader" {
				return n
			}
		}
		pass(10 * time.Millisecond)
	}
	p.t.Fatal("no leader")
	return nil
}

// pass lets the bubble's time pass.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// caller is a Sink whose replies can be waited for.
type caller struct {
	conn    *Conn
	replies chan Reply
}

func (n *Node) caller() *caller {
	k := &caller{replies: make(chan Reply, 1000)}
	k.conn = n.Connect(k)
	return k
}

func (k *caller) Deliver(replies []Reply) {
	for _, p := range replies {
		k.replies <- p
	}
}

func (k *caller) do(t *testing.T, kind Kind, cmd string) Reply {
	t.Helper()
	if err := k.conn.Submit(context.Background(), []Request{{Kind: kind, Data: []byte(cmd)}}); err != nil {
		t.Fatal(err)
	}
	return <-k.replies
}

// Three nodes with all their goroutines: writes, reads, followers, a snapshot
// that a late node fetches, and an orderly end.
func TestThreeNodesRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newParty(t, 3, func(cfg *Config) { cfg.SnapshotEntries = 30 })
		lead := p.leader()
		k := lead.caller()
		if r := k.do(t, Write, "a"); string(r.Result) != "ok a" {
			t.Fatalf("reply %+v", r)
		}
		for id := range raft.NodeID(3) {
			o := p.lan.node(id + 1).caller()
			if r := o.do(t, Read, "r"); string(r.Result) != "a" {
				t.Errorf("node %v: reply %+v", id+1, r)
			}
		}
		late := raft.NodeID(1)
		if lead.cfg.Raft.ID == late {
			late = 2
		}
		p.kill(late)
		pass(time.Second) // it counts as inactive
		for i := range 80 {
			if r := k.do(t, Write, fmt.Sprintf("x%d", i)); r.Outcome != Applied {
				t.Fatalf("reply %+v", r)
			}
		}
		pass(time.Second)
		if s := lead.Status(); s.SnapshotIndex == 0 || s.LogFirstIndex == 1 {
			t.Errorf("status %+v", s)
		}
		n := p.start(late)
		for range 500 {
			if n.Ready() && n.Status().AppliedIndex == lead.Status().AppliedIndex {
				break
			}
			pass(10 * time.Millisecond)
		}
		if n.Metrics().Fetches.Load() != 1 {
			t.Errorf("%d fetches, want 1", n.Metrics().Fetches.Load())
		}
		if r := n.caller().do(t, Read, "r"); !strings.HasSuffix(string(r.Result), "x79") {
			t.Errorf("reply %+v", r)
		}
		if pr := lead.Progress(); pr.Loop > 20*time.Millisecond || pr.DiskWrite != 0 {
			t.Errorf("progress %+v", pr)
		}
		p.stop()
	})
}

// kill ends a node without ceremony.
func (p *party) kill(id raft.NodeID) {
	p.lan.mu.Lock()
	n := p.lan.nodes[id]
	delete(p.lan.nodes, id)
	p.lan.mu.Unlock()
	n.stop <- struct{}{}
	<-p.ended[id]
	delete(p.ended, id)
}

// A failed write to the store ends Run with an error that says so, and nothing
// is acknowledged after it (DE-01).
func TestFailedWriteIsFatal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newParty(t, 1, nil)
		n := p.leader()
		k := n.caller()
		k.do(t, Write, "a")
		boom := errors.New("input/output error")
		d := p.lan.disks[1]
		d.mu.Lock()
		d.fail = boom
		d.mu.Unlock()
		if err := k.conn.Submit(context.Background(), []Request{{Data: []byte("b")}}); err != nil {
			t.Fatal(err)
		}
		err := <-p.ended[1]
		if !errors.Is(err, ErrStore) || !errors.Is(err, boom) {
			t.Errorf("Run returned %v", err)
		}
		select {
		case r := <-k.replies:
			t.Errorf("reply %+v after a failed write", r)
		default:
		}
		if err := k.conn.Submit(context.Background(), []Request{{Data: []byte("c")}}); !errors.Is(err, ErrShutdown) {
			t.Errorf("submit after the end: %v", err)
		}
		if err := n.Transfer(context.Background(), 1); !errors.Is(err, ErrShutdown) {
			t.Errorf("transfer after the end: %v", err)
		}
	})
}

// A panic of the machine ends Run with an error that names the entry (PC-15):
// the process can say so and choose its exit code.
func TestPanicIsFatal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newParty(t, 1, nil)
		k := p.leader().caller()
		k.do(t, Write, "a")
		p.m[1].poison = "bad"
		if err := k.conn.Submit(context.Background(), []Request{{Data: []byte("bad")}}); err != nil {
			t.Fatal(err)
		}
		err := <-p.ended[1]
		if err == nil || errors.Is(err, ErrStore) || !strings.Contains(err.Error(), "the applier panicked: apply entry 1/3: poison") {
			t.Errorf("Run returned %.200v", err)
		}
	})
}

// While a disk hangs the loop goes on, a watchdog sees it, and Run doesn't wait
// for it for ever.
func TestHungDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newParty(t, 1, nil)
		n := p.leader()
		gate := make(chan struct{})
		d := p.lan.disks[1]
		d.mu.Lock()
		d.gate = gate
		d.mu.Unlock()
		k := n.caller()
		if err := k.conn.Submit(context.Background(), []Request{{Data: []byte("a")}}); err != nil {
			t.Fatal(err)
		}
		pass(500 * time.Millisecond)
		if pr := n.Progress(); pr.Loop > 20*time.Millisecond || pr.DiskWrite < 400*time.Millisecond {
			t.Errorf("progress %+v", pr)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		if err := n.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("shutdown: %v", err)
		}
		if r := <-k.replies; r.Outcome != Unknown {
			t.Errorf("reply %+v, want unknown", r)
		}
		if err := <-p.ended[1]; err == nil || !strings.Contains(err.Error(), "hangs") {
			t.Errorf("Run returned %v", err)
		}
		close(gate)
		synctest.Wait()
	})
}

// A process that is told to end while it starts calls Run and Shutdown at the same
// time. Whichever comes first, Run ends.
func TestShutdownBeforeRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newParty(t, 1, nil)
		p.stop()
		n := p.build(1)
		k := n.caller()
		for range 2 {
			if err := n.Shutdown(context.Background()); err != nil {
				t.Errorf("shutdown: %v", err)
			}
		}
		if err := n.Run(context.Background()); err != nil {
			t.Errorf("Run returned %v", err)
		}
		if err := k.conn.Submit(context.Background(), []Request{{Data: []byte("a")}}); !errors.Is(err, ErrShutdown) {
			t.Errorf("submit: %v, want %v", err, ErrShutdown)
		}
		if err := n.Run(context.Background()); !errors.Is(err, errRanAlready) {
			t.Errorf("a second Run: %v", err)
		}
	})
}

// Shutdown of a leader loses no request that it took: each is answered.
func TestShutdownUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newParty(t, 3, nil)
		lead := p.leader()
		k := lead.caller()
		taken := 0
		for i := range 50 {
			if err := k.conn.Submit(context.Background(), []Request{{Data: fmt.Append(nil, "x", i), Slot: uint64(i)}}); err == nil {
				taken++
			}
		}
		if err := lead.Shutdown(context.Background()); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if err := <-p.ended[lead.cfg.Raft.ID]; err != nil {
			t.Errorf("Run returned %v", err)
		}
		delete(p.ended, lead.cfg.Raft.ID)
		p.lan.mu.Lock()
		delete(p.lan.nodes, lead.cfg.Raft.ID)
		p.lan.mu.Unlock()
		applied := 0
		for range taken {
			select {
			case r := <-k.replies:
				if r.Outcome == Applied {
					applied++
				} else if r.Outcome != NotApplied {
					t.Errorf("reply %+v", r)
				}
			default:
				t.Fatalf("only %d of %d were answered", len(k.replies), taken)
			}
		}
		next := p.leader() // the others have one at once
		r := next.caller().do(t, Read, "r")
		if got := len(strings.FieldsFunc(string(r.Result), func(r rune) bool { return r == ',' })); got != applied {
			t.Errorf("%d writes are there, %d were acknowledged", got, applied)
		}
		p.stop()
	})
}

func TestSnapshotAndChangeByHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newParty(t, 3, nil)
		lead := p.leader()
		k := lead.caller()
		k.do(t, Write, "a")
		ctx := context.Background()
		meta, err := lead.Snapshot(ctx)
		if err != nil || meta.Last.Index == 0 {
			t.Errorf("snapshot %v, %v", meta.Last, err)
		}
		if again, err := lead.Snapshot(ctx); err != nil || again.Last != meta.Last {
			t.Errorf("snapshot of the same state %v, %v", again.Last, err)
		}
		victim := lead.cfg.Raft.ID%3 + 1
		if err := lead.ChangeMember(ctx, victim, nil, true); err != nil {
			t.Errorf("dry run: %v", err)
		}
		if err := lead.ChangeMember(ctx, victim, nil, false); err != nil {
			t.Errorf("change: %v", err)
		}
		pass(200 * time.Millisecond)
		if s := lead.Status(); len(s.Members) != 2 {
			t.Errorf("%d members, want 2", len(s.Members))
		}
		if err := lead.Transfer(ctx, raft.None); err != nil {
			t.Errorf("transfer: %v", err)
		}
		pass(200 * time.Millisecond)
		if lead.Status().Role == "leader" {
			t.Error("still leads")
		}
		p.stop()
	})
}

// A panic of the machine names the entry.
func TestPoisonNamesItsEntry(t *testing.T) {
	c := newCluster(t, 1, nil)
	h := c.elect(1)
	h.m.poison = "bad"
	defer func() {
		if p := fmt.Sprint(recover()); !strings.HasPrefix(p, "apply entry 1/2: poison") {
			t.Errorf("panic %.60q", p)
		}
	}()
	h.client().submit("bad")
	c.settle()
}

func TestNewRefusesBadConfig(t *testing.T) {
	cfg := testConfig(1)
	cfg.Tick, cfg.MaxJobs = 0, 0
	_, err := New(cfg, raft.Durable{Snapshot: birth(1)}, Ports{Machine: &machine{}})
	if err == nil || !strings.Contains(err.Error(), "Tick") || !strings.Contains(err.Error(), "MaxJobs") {
		t.Errorf("error %v, want every fault", err)
	}
}
