package node

import (
	"errors"
	"log/slog"
	"time"

	"github.com/raftkv/raftkv/raft"
)

// Config is what a node needs to know of itself.
type Config struct {
	Raft raft.Config

	Name    string // of the node, for people
	Cluster string // the cluster's UUID, for people
	Version string // of the program, for people

	// Tick is the unit of all timers of the core and of this package.
	Tick time.Duration
	// RequestTicks is how long a request may stay open before it is answered with
	// a timeout.
	RequestTicks int

	// MaxJobs bounds the jobs at the applier, at least 1. One is worked on while
	// the next one waits.
	MaxJobs int
	// ApplyBytes bounds the committed entries of one job, so that reads and
	// snapshots get their turn.
	ApplyBytes int

	// MaxWaiting and MaxWaitingBytes bound what one connection may have waiting
	// for a leader or for its own earlier requests; beyond that it hears ErrBusy.
	MaxWaiting      int
	MaxWaitingBytes int

	// MaxForwards and MaxForwardBytes bound the commands of one connection in one
	// forward to the leader. The answer comes before the next forward goes.
	MaxForwards     int
	MaxForwardBytes int
	// MaxServed bounds the commands of other nodes that are open here; beyond
	// that they are refused aloud.
	MaxServed int

	// Inbox bounds what waits for the loop.
	Inbox InboxLimits

	// A snapshot is taken when this much was applied since the last one, or half as
	// many bytes as that has. Zero switches that trigger off.
	SnapshotEntries int
	SnapshotBytes   int
	// TrailingEntries stay in the log behind a snapshot, so that a follower that
	// lags a little needs no snapshot; fewer, if they have more than a quarter of SnapshotBytes.
	TrailingEntries int
	// MaxTrailingEntries bounds what stays in the log for followers that lag more
	// or are fetching.
	MaxTrailingEntries int
	// SnapshotRetryTicks is the pause after a first failed save or fetch; it
	// doubles with each further one, 64-fold at most.
	SnapshotRetryTicks int
	// FreezeTicks is how long a view for a snapshot may stay frozen.
	FreezeTicks int
	// FetchTicks is how long a fetch may bring no byte before it is broken off.
	FetchTicks int
	// StepBytes is about how much of a snapshot is encoded between two jobs.
	StepBytes int

	// Frees tells whether a command frees space, so that it is taken while space is
	// low. Nil: none does.
	Frees func(cmd []byte) bool

	// Level makes the command that raises the level of commands to n. It is proposed
	// once MaxLevel, which is what this binary knows, and PeerLevel of every other member (0: not
	// known at present) allow it. Nil: never. Needs is the level that a command needs: below it
	// it is refused. It is asked only while the level is below MaxLevel. Nil: none.
	Level     func(n uint32) []byte
	MaxLevel  uint32
	PeerLevel func(raft.NodeID) uint32
	Needs     func(cmd []byte) uint32

	// Check tells whether this binary knows a command. Those of other nodes, which
	// may be newer, are checked before they enter the log: a committed one that a node doesn't
	// know ends it. Nil: no check.
	Check func(cmd []byte) error

	// Verify is the command at which states are compared; it must change nothing.
	// Nil: none are. VerifyTicks is the pause between two of them, 0: this node proposes
	// none as leader, but answers those of others.
	Verify      []byte
	VerifyTicks int

	// Committed, if set, is told the newest committed configuration: at start, and
	// whenever it changes. It is called on the loop, before Network.SetMembers, and must not block.
	Committed func(raft.Configuration)

	// TraceEvents and TraceBytes bound one window of the flight recorder, which
	// keeps two; bytes are about what it holds in memory. Zero events: nothing is recorded.
	TraceEvents int
	TraceBytes  int

	// StopTimeout bounds the wait for workers when Run ends.
	StopTimeout time.Duration

	// Logger gets what people should know; what happens per request is a metric.
	Logger *slog.Logger
	// Fatal, if set, is called by Run when the node must not go on (the store
	// failed). The process should exit in it without closing anything.
	// If it is nil or returns, Run returns the same error.
	Fatal func(error)
}

// InboxLimits bounds the lanes of the inbox.
type InboxLimits struct {
	Requests     int // of clients, until Submit waits
	RequestBytes int
	Messages     int // of peers' cores, until they are dropped
	MessageBytes int
	Packets      int // forwarded requests, until they are refused
	PacketBytes  int
	Admin        int // changes, transfers, status questions, until they hear ErrBusy
}

// DefaultConfig has every field but those of identity, for a tick of 10 ms.
func DefaultConfig() Config {
	return Config{
		Raft:            raft.DefaultConfig(),
		Tick:            10 * time.Millisecond,
		RequestTicks:    500,
		MaxJobs:         2,
		ApplyBytes:      1 << 20,
		MaxWaiting:      4096,
		MaxWaitingBytes: 32 << 20,
		MaxForwards:     1024,
		MaxForwardBytes: 1 << 20,
		MaxServed:       64 << 10,
		Inbox: InboxLimits{
			Requests:     64 << 10,
			RequestBytes: 64 << 20,
			Messages:     4096,
			MessageBytes: 64 << 20,
			Packets:      4096,
			PacketBytes:  64 << 20,
			Admin:        64,
		},
		SnapshotEntries:    1 << 20,
		SnapshotBytes:      256 << 20,
		TrailingEntries:    10_000,
		MaxTrailingEntries: 1 << 20,
		SnapshotRetryTicks: 100,
		FreezeTicks:        60_000,
		FetchTicks:         3000,
		StepBytes:          256 << 10,
		VerifyTicks:        3000,
		StopTimeout:        10 * time.Second,
		Logger:             slog.New(slog.DiscardHandler),
	}
}

// Validate reports every field that is out of bounds.
func (c Config) Validate() error {
	errs := []error{c.Raft.Validate()}
	check := func(ok bool, what string) {
		if !ok {
			errs = append(errs, errors.New("node config: "+what))
		}
	}
	check(c.Tick > 0, "Tick below 1ns")
	check(c.RequestTicks >= 1, "RequestTicks below 1")
	check(c.MaxJobs >= 1, "MaxJobs below 1")
	check(c.ApplyBytes >= 1, "ApplyBytes below 1")
	check(c.MaxWaiting >= 1, "MaxWaiting below 1")
	check(c.MaxWaitingBytes >= 1, "MaxWaitingBytes below 1")
	check(c.MaxForwards >= 1 && c.MaxForwards <= maxForwardItems, "MaxForwards not in 1..65536")
	check(c.MaxForwardBytes >= 1, "MaxForwardBytes below 1")
	check(c.MaxServed >= 1, "MaxServed below 1")
	check(c.Inbox.Requests >= 1 && c.Inbox.RequestBytes >= 1, "Inbox.Requests or RequestBytes below 1")
	check(c.Inbox.Messages >= 1 && c.Inbox.MessageBytes >= 1, "Inbox.Messages or MessageBytes below 1")
	check(c.Inbox.Packets >= 1 && c.Inbox.PacketBytes >= 1, "Inbox.Packets or PacketBytes below 1")
	check(c.Inbox.Admin >= 1, "Inbox.Admin below 1")
	check(c.SnapshotEntries >= 0 && c.SnapshotBytes >= 0, "SnapshotEntries or SnapshotBytes below 0")
	check(c.TrailingEntries >= 0, "TrailingEntries below 0")
	check(c.MaxTrailingEntries >= c.TrailingEntries, "MaxTrailingEntries below TrailingEntries")
	check(c.SnapshotRetryTicks >= 1, "SnapshotRetryTicks below 1")
	check(c.FreezeTicks >= 1, "FreezeTicks below 1")
	check(c.FetchTicks >= 1, "FetchTicks below 1")
	check(c.StepBytes >= 1, "StepBytes below 1")
	check(c.VerifyTicks >= 0, "VerifyTicks below 0")
	check(c.TraceEvents >= 0 && c.TraceBytes >= 0, "TraceEvents or TraceBytes below 0")
	check(c.StopTimeout > 0, "StopTimeout below 1ns")
	check(c.Logger != nil, "no Logger")
	return errors.Join(errs...)
}
