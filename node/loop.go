package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/raftkv/raftkv/raft"
)

// Loop is what the loop goroutine of a Node owns: the inbox and, behind it, the
// Replica. It has no goroutine itself. A Node turns its Loop whenever something
// comes in; the simulator turns it from an event heap, so that the order in
// which the inbox hands events over is simulated too.
//
//	Received, Packet, Wrote, Post ... ──> inbox ──Turn──> Replica ──> Driver
type Loop struct {
	in      *inbox
	replica *Replica
	empty   *batch
}

// ErrNoRoom means that the inbox has no room for requests at present: none was taken.
var ErrNoRoom = errors.New("no room for requests")

// Assemble makes Loop and Applier of a node that starts from what its disk
// holds. The machine holds the state of durable.Snapshot. open is Snapshots.Open.
func Assemble(cfg Config, durable raft.Durable, m Machine, d Driver, s Saver, metrics *Metrics,
	open func(raft.EntryID) (raft.SnapshotMeta, io.ReadCloser, error)) (*Loop, *Applier, error) {
	if err := cfg.Validate(); err != nil {
		return nil, nil, err
	}
	if at := m.Applied(); at != durable.Snapshot.Last {
		return nil, nil, fmt.Errorf("start the node: the machine is at entry %v, the snapshot at %v; restore it first", at, durable.Snapshot.Last)
	}
	r, err := NewReplica(cfg, durable, d, metrics, m.TickCommand(nil))
	if err != nil {
		return nil, nil, fmt.Errorf("start the core: %w", err)
	}
	l := &Loop{in: newInbox(cfg.Inbox, metrics), replica: r, empty: &batch{}}
	return l, NewApplier(m, durable.Snapshot, s, metrics, open), nil
}

// Turn handles what waits and does everything that it calls for. now is the
// time by any clock that only goes forward.
func (l *Loop) Turn(now time.Duration) {
	l.replica.now = now
	b := l.in.take(l.empty)
	b.handle(l.replica)
	l.replica.Flush()
	b.reset()
	l.empty = b
}

// busy tells whether so many requests are open that more are about to come.
// With a few, each turn of the scheduler would be felt and gathers nothing.
func (l *Loop) busy() bool { return l.replica.writes+l.replica.reads+l.replica.waiting >= 8 }

// Leave answers everything that is open and takes nothing more. The owner then
// calls Applier.Stop, once the jobs that it has are done.
func (l *Loop) Leave(err error) {
	l.in.close(err)
	b := l.in.take(&batch{})
	b.handle(l.replica) // what came before is not lost without an answer
	l.replica.Handle(Stop{Err: err})
}

// Replica is the mind behind the inbox. Only the owner of the Loop may use it.
func (l *Loop) Replica() *Replica { return l.replica }

// Core is the protocol inside, for checks: whoever changes it breaks the node.
func (r *Replica) Core() *raft.Raft { return r.core.Raft }

// Submit takes all of the requests of one connection, or none and an error,
// ErrNoRoom among others. Unlike Conn.Submit it does not wait.
func (l *Loop) Submit(c *Conn, requests []Request) error {
	err := l.in.submit(noWait, c, requests)
	if errors.Is(err, context.Canceled) {
		return ErrNoRoom
	}
	return err
}

// noWait is a context that has ended.
var noWait = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// Close ends a connection.
func (l *Loop) Close(c *Conn) { l.in.gone(c) }

// Ask queues an operator's event: ChangeMember, Transfer, TakeSnapshot, StatusQuery or Shutdown.
func (l *Loop) Ask(ev Event) error { return l.in.ask(ev) }

// Tick lets time pass.
func (l *Loop) Tick(t Tick) { l.in.tick(t) }

// Wrote answers Driver.WriteLog.
func (l *Loop) Wrote(seq uint64, took time.Duration) { l.in.wrote(seq, took) }

// Done answers Driver.Apply.
func (l *Loop) Done(j *Job) { l.in.applied(j) }

// Progress tells how much of a fetched snapshot is here.
func (l *Loop) Progress(p FetchProgress) { l.in.fetching(p) }

// Post brings one of the rare answers of ports: Saved, Fetched or Space.
func (l *Loop) Post(ev Event) { l.in.slow(ev) }

// Loop meets Handler: what the network calls.
var _ Handler = (*Loop)(nil)

// Received implements Handler.
func (l *Loop) Received(ms []raft.Message) { l.in.received(ms) }

// Packet implements Handler.
func (l *Loop) Packet(from raft.NodeID, conn uint64, b []byte) {
	l.in.packet(Packet{From: from, Conn: conn, Bytes: b})
}

// Unsent implements Handler.
func (l *Loop) Unsent(to raft.NodeID, token uint64) { l.in.link(Unsent{To: to, Token: token}) }

// Connected implements Handler.
func (l *Loop) Connected(peer raft.NodeID, conn uint64) {
	l.in.link(Connected{Peer: peer, Conn: conn})
}

// Heard implements Handler.
func (l *Loop) Heard(peer raft.NodeID, seq uint64) { l.in.link(Heard{Peer: peer, Seq: seq}) }

// Lost implements Handler.
func (l *Loop) Lost(peer raft.NodeID, conn uint64, gone bool) {
	l.in.link(Lost{Peer: peer, Conn: conn, Gone: gone})
}
