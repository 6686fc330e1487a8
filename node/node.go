package node

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/raftkv/raftkv/raft"
)

// Ports are the rooms around a node.
type Ports struct {
	Store     Store
	Machine   Machine // with the state of the newest snapshot
	Snapshots Snapshots
	Network   Network
}

// Node is a Replica with its goroutines: the public face of this package. The
// Handler that the network calls is its loop's.
type Node struct {
	Handler
	cfg     Config
	ports   Ports
	metrics *Metrics
	turns   *Loop    // the loop goroutine's
	in      *inbox   // of turns: anybody's
	replica *Replica // of turns
	applier *Applier
	w       *workers

	life    atomic.Int32
	ended   chan struct{} // closed when Run returns
	stop    chan struct{} // receives one: Run shall end
	fatal   chan error    // receives the first fatal error
	status  atomic.Pointer[Status]
	started atomic.Int64 // nanoseconds since the epoch of the monotonic clock below
	epoch   time.Time

	loopAt    atomic.Int64 // last turn of the loop, nanoseconds since epoch
	diskAt    atomic.Int64 // last write that ended
	diskSince atomic.Int64 // start of the write that is under way, 0 if none
}

// What a Node's life has come to.
const (
	lifeNew  int32 = iota
	lifeRun        // Run was called
	lifeShut       // Shutdown was called before that
)

var (
	errConnClosed = errors.New("the connection is closed")
	errRanAlready = errors.New("the node ran already; make a new one")
)

// New makes a node of what its disk holds. The machine has restored
// durable.Snapshot already. Nothing runs before Run.
func New(cfg Config, durable raft.Durable, ports Ports) (*Node, error) {
	n := &Node{
		cfg: cfg, ports: ports,
		metrics: &Metrics{},
		ended:   make(chan struct{}),
		stop:    make(chan struct{}, 1),
		fatal:   make(chan error, 1),
		epoch:   time.Now(),
	}
	if err := cfg.Validate(); err != nil {
		return nil, err // before anything is sized by it
	}
	n.w = newWorkers(n)
	var err error
	n.turns, n.applier, err = Assemble(cfg, durable, ports.Machine, n.w, n.w, n.metrics, ports.Snapshots.Open)
	if err != nil {
		return nil, err
	}
	n.Handler, n.in, n.replica = n.turns, n.turns.in, n.turns.replica
	n.publish()
	return n, nil
}

// Connect begins a client connection whose replies go to s.
func (n *Node) Connect(s Sink) *Conn { return &Conn{sink: s, node: n} }

// Submit takes all of the requests, in order, or none and an error: then they
// surely did nothing. It waits while the node has no room. The slice may be
// used again afterwards, the data may not. One goroutine calls it.
func (c *Conn) Submit(ctx context.Context, requests []Request) error {
	if len(requests) == 0 {
		return nil
	}
	return c.node.in.submit(ctx, c, requests)
}

// Close ends the connection. Replies of what is open may still come, for a while.
func (c *Conn) Close() { c.node.in.gone(c) }

// Metrics returns the counters.
func (n *Node) Metrics() *Metrics { return n.metrics }

// Trace is Replica.Trace: anybody may ask, at any time.
func (n *Node) Trace(reason string, now raft.Time) ([]byte, error) {
	return n.replica.Trace(reason, now)
}

// Ready tells whether linearizable reads can be served now.
func (n *Node) Ready() bool { return n.replica.Ready() }

// Status is the state of the node some ticks ago at most, or when it ended. It
// doesn't block.
func (n *Node) Status() Status {
	s := *n.status.Load()
	if at := n.started.Load(); at > 0 {
		s.UptimeSeconds = (n.since() - time.Duration(at)).Seconds()
	}
	s.Ready = s.Ready && n.Ready()
	return s
}

// publish is called by the loop, or before there is one.
func (n *Node) publish() {
	s := n.replica.Status()
	n.status.Store(&s)
}

func (n *Node) since() time.Duration { return time.Since(n.epoch) }

// Progress tells a watchdog whether the node is alive.
type Progress struct {
	Loop      time.Duration // since the last turn of the loop; it turns at each tick
	Disk      time.Duration // since the last write ended, or since the start
	DiskWrite time.Duration // that the write under way has taken, zero if none is

	// Turn and Write change with each turn of the loop and with each write. Who looks
	// now and then learns from them that nothing got on, whatever the clock says: it
	// jumps, and a process that was stopped for a while is not stuck.
	Turn, Write int64
}

// Progress tells when loop and disk last got on.
func (n *Node) Progress() Progress {
	now := n.since()
	p := Progress{
		Loop: now - time.Duration(n.loopAt.Load()),
		Disk: now - time.Duration(n.diskAt.Load()),
	}
	p.Turn, p.Write = n.loopAt.Load(), n.diskSince.Load()
	if p.Write > 0 {
		p.DiskWrite = now - time.Duration(p.Write)
	}
	return p
}

// SetSpace tells whether the disk is short of space: see Space.
func (n *Node) SetSpace(low, full bool) { n.in.slow(Space{Low: low, Full: full}) }

// ChangeMember adds or changes (m) or removes (nil) one member, and waits until
// that is committed. With dryRun it only tells what would stand in the way.
// Errors: raft's, ErrTimeout, ErrLostLead, ErrBusy, ErrShutdown, and of ctx. After
// one of ErrTimeout and ctx the change may be made or not: look at the status.
func (n *Node) ChangeMember(ctx context.Context, id raft.NodeID, m *raft.Member, dryRun bool) error {
	_, err := question(ctx, n, func(done func(struct{}, error)) Event {
		return ChangeMember{ID: id, Member: m, DryRun: dryRun, Done: func(err error) { done(struct{}{}, err) }}
	})
	return err
}

// Transfer hands leadership to a voter, or with raft.None to the one that is
// nearest to the end of the log, and waits until this node leads no more.
func (n *Node) Transfer(ctx context.Context, to raft.NodeID) error {
	_, err := question(ctx, n, func(done func(struct{}, error)) Event {
		return Transfer{To: to, Done: func(err error) { done(struct{}{}, err) }}
	})
	return err
}

// Snapshot takes a snapshot and waits until it is durable.
func (n *Node) Snapshot(ctx context.Context) (raft.SnapshotMeta, error) {
	return question(ctx, n, func(done func(raft.SnapshotMeta, error)) Event { return TakeSnapshot{Done: done} })
}

// Shutdown hands leadership over, refuses new requests, waits for the open ones
// and ends Run. When ctx ends first, what is open is answered as unknown. A Run that
// is called later ends at once.
func (n *Node) Shutdown(ctx context.Context) error {
	if n.life.CompareAndSwap(lifeNew, lifeShut) || n.life.Load() == lifeShut {
		return nil // Run, on its way perhaps, does nothing
	}
	_, err := question(ctx, n, func(done func(struct{}, error)) Event {
		return Shutdown{Done: func() { done(struct{}{}, nil) }}
	})
	if errors.Is(err, ErrShutdown) {
		err = nil // it was on its way down already
	}
	select {
	case n.stop <- struct{}{}:
	default:
	}
	<-n.ended
	return err
}

// question puts an operator's event into the inbox and waits for its answer.
func question[T any](ctx context.Context, n *Node, ev func(done func(T, error)) Event) (T, error) {
	type answer struct {
		v   T
		err error
	}
	answers := make(chan answer, 1) // the loop never waits for the asker
	var none T
	if err := n.in.ask(ev(func(v T, err error) { answers <- answer{v, err} })); err != nil {
		return none, err
	}
	select {
	case a := <-answers:
		return a.v, a.err
	case <-ctx.Done():
		return none, ctx.Err()
	case <-n.ended:
		select {
		case a := <-answers:
			return a.v, a.err
		default:
			return none, ErrShutdown
		}
	}
}
