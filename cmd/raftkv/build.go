package main

import (
	"context"
	crand "crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/raftkv/raftkv/config"
	"github.com/raftkv/raftkv/internal/identity"
	"github.com/raftkv/raftkv/node"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raftlog"
	"github.com/raftkv/raftkv/server/access"
	"github.com/raftkv/raftkv/server/feed"
	"github.com/raftkv/raftkv/server/httpapi"
	"github.com/raftkv/raftkv/server/resp"
	"github.com/raftkv/raftkv/snapshot"
	"github.com/raftkv/raftkv/statemachine"
	"github.com/raftkv/raftkv/transport"
)

// What lies in a data directory beside the identity file.
const (
	logDir      = "log"
	snapshotDir = "snapshots"
)

// daemon is one node with everything around it. This file is the one place that
// knows every room; runNode reads from top to bottom as the node starts.
type daemon struct {
	cfg config.Config
	log *slog.Logger
	// flush waits a moment for the log to be written: before os.Exit.
	flush func()

	id        *identity.Identity
	transport *transport.Transport
	store     *raftlog.Bolt
	snapshots *snapshot.Dir
	node      *node.Node
	feed      *feed.Hub // what happened to the keys, as they are applied
	access    *access.Store
	clientTLS *tls.Config // nil: clients come in clear text
	clients   *resp.Server
	http      *httpapi.Server

	phase   atomic.Pointer[string] // what the start waits for; nil once the node runs
	running atomic.Bool
	// loop and write are watch's: what it waits for. stuck is how long the loop
	// has not turned, in nanoseconds, for whoever asks.
	loop, write patience
	stuck       atomic.Int64
	// refetching: the own state was wrong. Only the start and then watch use it.
	refetching bool
	// committed is the newest committed configuration; never nil.
	committed atomic.Pointer[raft.Configuration]
	strangers claims         // nodes of another cluster, at the addresses of members
	removals  claims         // members that say that this node was removed
	failed    chan error     // the first fault of a listener or of the fatal path
	all       sync.WaitGroup // what serve started
}

// runNode builds a node of its parts and runs it until ctx ends, or until
// something ends it: then the error says why, with an exit code (exitWith). flush
// writes out the log, for ends that do not return.
func runNode(ctx context.Context, cfg config.Config, log *slog.Logger, flush func()) error {
	d := &daemon{cfg: cfg, log: log, flush: flush, failed: make(chan error, 1)}
	d.committed.Store(&raft.Configuration{})
	// Early, because /metrics is served from now on. It knows of nothing yet.
	d.feed = feed.New(feed.Config{Events: cfg.Feed.Events, Bytes: int64(cfg.Feed.Bytes), Lag: cfg.Feed.Lag, Subscribers: cfg.Feed.Watchers}, 0)
	d.say("opening the data directory")
	if err := d.openIdentity(); err != nil {
		return err
	}
	if err := d.openAccess(); err != nil {
		return err
	}
	if err := d.listenPeers(); err != nil {
		return err
	}
	d.limitClients()
	if err := d.serveHTTP(); err != nil {
		return err
	}
	if err := d.waitForSpace(ctx); err != nil {
		return nil // asked to stop before there was a node
	}
	d.say("waiting for the other nodes")
	if err := d.bootstrap(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // asked to stop before there was a node
		}
		return err
	}
	d.say("reading log and snapshot")
	var pages largePages
	endStart := startCollector(d.heapToRead(), &pages)
	err := d.openNode()
	endStart()
	if err != nil {
		return err
	}
	background, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	d.serve("tune the collector", func() error { tuneCollector(background, &pages); return nil })
	clients, err := d.listenClients()
	if err != nil {
		return err
	}
	return d.run(ctx, background, end, clients)
}

// say tells what the start is doing: on /readyz and in the log.
func (d *daemon) say(phase string) {
	d.phase.Store(&phase)
	d.log.Debug("start", "phase", phase)
	notifyStatus(phase)
}

// openIdentity takes the data directory for this process.
func (d *daemon) openIdentity() error {
	dir := d.cfg.Node.DataDir
	if err := makeDataDir(dir); err != nil {
		return err
	}
	place := func(v config.Voter) identity.Place {
		return identity.Place{Name: v.Name, Peer: v.Peer, Client: v.Client, HTTP: v.HTTP}
	}
	c := identity.Config{
		Self: identity.Place{Name: d.cfg.Node.Name, Peer: d.cfg.Peer.Advertise, Client: d.cfg.Redis.Advertise, HTTP: d.cfg.HTTP.Advertise},
		Join: d.cfg.Cluster.Join,
	}
	for _, v := range d.cfg.Cluster.Voters {
		c.Voters = append(c.Voters, place(v))
	}
	id, err := identity.Open(dir, c)
	if err != nil {
		return exitWith(identityCode(err), err)
	}
	d.id = id
	return nil
}

// makeDataDir makes the data directory, unless it is there.
func makeDataDir(dir string) error {
	err := os.MkdirAll(dir, 0o700)
	for _, wrong := range []error{syscall.ENOTDIR, syscall.EEXIST, syscall.ELOOP, syscall.ENAMETOOLONG} {
		if errors.Is(err, wrong) { // a file, a link to nothing: it will be the same after a restart
			return exitWith(exitConfig, fmt.Errorf("make node.data_dir %s: %w; it must be a directory, or a place where one can be made", dir, err))
		}
	}
	if err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	return nil
}

func identityCode(err error) exitCode {
	switch {
	case errors.Is(err, identity.ErrDamaged):
		return exitDamaged
	case errors.Is(err, identity.ErrRefused):
		return exitIdentity
	case errors.Is(err, identity.ErrPermission), errors.Is(err, fs.ErrPermission):
		return exitPermission
	case errors.Is(err, identity.ErrInUse):
		return exitTaken
	}
	return daemonCode(err)
}

// listenPeers binds the peer port. Until the node runs it only answers other
// starting nodes.
func (d *daemon) listenPeers() error {
	c := transport.Config{
		Listen:    d.cfg.Peer.Listen,
		Advertise: d.cfg.Peer.Advertise,
		Limits: transport.Limits{
			MaxFrame:         int(d.cfg.Peer.FrameBytes),
			QueueBytes:       int(d.cfg.Peer.QueueBytes),
			HandshakeTimeout: d.cfg.Peer.HandshakeTimeout,
			RetryMax:         d.cfg.Peer.BackoffMax,
			RetryMin:         min(10*time.Millisecond, d.cfg.Peer.BackoffMax),
		},
		Logger:          d.log,
		ElectionTimeout: d.cfg.Raft.ElectionTimeout(),
		Addr:            d.peerAddr,
		Exchange:        d.id.Answer,
		Source:          d.snapshotSource,
		Removed:         func(id raft.NodeID) bool { return d.committed.Load().WasRemoved(id) },
		OnRefused:       d.onRefused,
	}
	if t := d.cfg.TLS.Peer; t.Cert != "" {
		c.TLS = &transport.TLS{Cert: t.Cert, Key: t.Key, CA: t.CA}
	}
	t, err := transport.Listen(c)
	if err != nil {
		return err
	}
	d.transport = t
	return nil
}

// peerAddr is where a member is dialled. For the first members an address in the
// own YAML wins; one that was added later, perhaps under the name of one that is
// gone, is where the log says.
func (d *daemon) peerAddr(m raft.Member) string {
	v, listed := d.cfg.Voter(m.Name)
	if !listed {
		return m.Peer
	}
	for _, b := range d.id.Birth().Voters {
		if identity.NodeIDOf(b.Node) == m.ID {
			return v.Peer
		}
	}
	return m.Peer
}

// bootstrap waits until this node belongs to a cluster.
func (d *daemon) bootstrap(ctx context.Context) error {
	err := d.id.Bootstrap(ctx, d.transport.Exchange, func(state string) {
		d.say(state)
		d.log.Info("not part of a cluster yet", "state", state)
	})
	if err != nil {
		return exitWith(identityCode(err), err)
	}
	d.log.Info("identity", "id", d.id.ID().String(), "cluster", d.id.Cluster().String())
	return nil
}

// heapToRead is about what log and snapshot will take in memory: somewhat more than on the disk.
func (d *daemon) heapToRead() int {
	var n int64
	for _, dir := range []string{logDir, snapshotDir} {
		files, _ := os.ReadDir(filepath.Join(d.cfg.Node.DataDir, dir)) // openNode tells what is wrong
		for _, f := range files {
			if info, err := f.Info(); err == nil {
				n += info.Size()
			}
		}
	}
	return int(n + n/2)
}

// openNode reads what the disk holds and makes the node of it.
func (d *daemon) openNode() error {
	dir := d.cfg.Node.DataDir
	store, err := raftlog.Open(filepath.Join(dir, logDir), raftlog.Options{
		LockTimeout: d.cfg.Disk.OpenTimeout, Spares: raftlog.SparesFor(int64(d.cfg.Snapshot.LogBytes)), Logger: d.log,
	})
	if err != nil {
		return d.logFault(err)
	}
	d.store = store
	durable, err := store.Load()
	if err != nil {
		return d.logFault(err)
	}
	if durable.Refetch, err = d.divergedAt(); err != nil {
		return err
	}
	machine := statemachine.New(statemachine.DefaultLimits())
	machine.LimitView(int64(d.cfg.Snapshot.OverlayBytes))
	machine.OnUsers(d.access.Replace)
	machine.Observe(d.feed.Observe)
	boot, err := identity.NextBoot(dir, time.Now())
	if err != nil {
		return err
	}
	nc := d.nodeConfig(boot)
	stated := faulty(&nc, machine)
	load := func(meta raft.SnapshotMeta, r io.Reader) error {
		if err := checkLevel(raft.Durable{Snapshot: meta}, machine.MaxLevel()); err != nil {
			return exitWith(exitDamaged, err)
		}
		return stated.Restore(meta, r)
	}
	if durable.Snapshot, err = d.openSnapshots(filepath.Join(dir, snapshotDir), durable.Refetch > 0, load); err != nil {
		return err
	}
	if err := checkLevel(durable, machine.MaxLevel()); err != nil {
		return exitWith(exitDamaged, err)
	}
	nc.MaxLevel = machine.MaxLevel()
	d.node, err = node.New(nc, durable, node.Ports{
		Store: store, Machine: stated, Snapshots: d.snapshots, Network: d.transport,
	})
	if errors.Is(err, raft.ErrFenced) {
		return exitWith(exitDamaged, fmt.Errorf("%w: restore the data directory from a backup, or go on with what is there: raftkv data lift-fence --dir %s", err, dir))
	} else if errors.Is(err, raft.ErrNoState) {
		return exitWith(exitDamaged, fmt.Errorf("%w: its snapshot is missing or damaged in %s. If the cluster has other members: raftkv member remove this one, empty its data directory, and add it anew. "+
			"If it is alone: start a new cluster and raftkv load a dump", err, filepath.Join(dir, snapshotDir)))
	} else if err != nil {
		return err
	}
	d.log.Info("read", "log_from", uint64(durable.Base.Index)+1, "entries", len(durable.Entries), "snapshot", durable.Snapshot.Last.String(),
		"term", uint64(durable.State.Term), "fence", int(durable.Fence))
	return d.transport.Start(transport.Hello{
		Cluster: d.id.Cluster(), Node: d.id.Node(), ID: d.id.ID(), Name: d.cfg.Node.Name,
		Boot: nc.Raft.Boot, MinLevel: 1, MaxLevel: machine.MaxLevel(),
	}, d.node)
}

// checkLevel refuses data that a newer binary has brought to a level that this one
// doesn't know, before anything is changed.
func checkLevel(durable raft.Durable, known uint32) error {
	found := durable.Snapshot.Level
	for _, e := range durable.Entries {
		if e.Index <= durable.State.Commit {
			found = max(found, statemachine.LevelOf(e))
		}
	}
	if found > known {
		return fmt.Errorf("the data here is of level %d, this binary knows level %d: start the newer binary again; nothing was changed", found, known)
	}
	return nil
}

// logFault gives an error of the log its code, and says what to do about damage.
func (d *daemon) logFault(err error) error {
	code := logCode(err)
	if errors.Is(err, raftlog.ErrCorrupt) {
		err = fmt.Errorf("%w: nothing was changed; where most other nodes are well, replace this one: raftkv member remove %s on one of them, empty %s, start this node, "+
			"raftkv member add and promote it; if it is alone, restore a backup (raftkv data check %s tells more)", err, d.cfg.Node.Name, d.cfg.Node.DataDir, d.cfg.Node.DataDir)
	}
	return exitWith(code, err)
}

func logCode(err error) exitCode {
	switch {
	case errors.Is(err, raftlog.ErrCorrupt), errors.Is(err, raftlog.ErrVersion):
		return exitDamaged
	case errors.Is(err, raftlog.ErrLocked), errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return exitTaken
	case errors.Is(err, fs.ErrPermission):
		return exitPermission
	case errors.Is(err, raftlog.ErrDisk):
		return exitDisk
	}
	return daemonCode(err)
}

// openSnapshots loads the newest snapshot that verifies; without one the state
// starts at the cluster's birth. aside: none of those that are there may be used.
func (d *daemon) openSnapshots(dir string, aside bool, load func(raft.SnapshotMeta, io.Reader) error) (raft.SnapshotMeta, error) {
	s, err := snapshot.OpenDir(snapshot.OS(), dir, snapshot.Options{})
	if err != nil {
		return raft.SnapshotMeta{}, err
	}
	d.snapshots = s
	if aside {
		if err := setAside(s); err != nil {
			return raft.SnapshotMeta{}, exitWith(exitDisk, err)
		}
	}
	meta, err := s.RestoreOr(d.id.Birth().Configuration(), load)
	for _, f := range s.Faults() {
		d.log.Error("snapshot", "fault", f)
	}
	return meta, err
}

// snapshotSource serves the files to followers, from the moment that there are any.
func (d *daemon) snapshotSource(last raft.EntryID, offset uint64) (file readCloser, size uint64, err error) {
	if !d.running.Load() {
		return nil, 0, fmt.Errorf("snapshot %v: this node is still starting: %w", last, fs.ErrNotExist)
	}
	return d.snapshots.Source(last, offset)
}

// nodeConfig turns the YAML's words into the node's.
func (d *daemon) nodeConfig(boot uint64) node.Config {
	c, nc := d.cfg, node.DefaultConfig()
	nc.Name, nc.Cluster, nc.Version = c.Node.Name, d.id.Cluster().String(), readVersion().String()
	nc.Logger = d.log
	nc.Tick = c.Raft.Tick
	nc.RequestTicks = max(1, int(c.Limits.RequestTimeout/c.Raft.Tick))
	nc.Inbox.Requests = c.Limits.InboxRequests
	nc.Inbox.Messages = c.Limits.InboxMessages
	nc.ApplyBytes = int(c.Limits.ApplyBytes)
	nc.SnapshotEntries, nc.SnapshotBytes = c.Snapshot.LogEntries, int(c.Snapshot.LogBytes)
	nc.TrailingEntries = c.Snapshot.KeepEntries
	nc.MaxTrailingEntries = max(nc.MaxTrailingEntries, nc.TrailingEntries)
	nc.FreezeTicks = max(1, int(c.Snapshot.FreezeTimeout/c.Raft.Tick))
	nc.StepBytes = int(c.Snapshot.StepBytes)
	nc.Fatal = d.fatal
	nc.TraceEvents, nc.TraceBytes = traceEvents, traceBytes
	nc.Committed = d.onCommitted
	nc.Frees, nc.Check = statemachine.Frees, statemachine.Check
	nc.Needs, nc.PeerLevel = statemachine.Needs, d.transport.PeerLevel
	nc.Level = func(n uint32) []byte { return statemachine.LevelCommand(nil, n) }
	nc.Verify = statemachine.AppendCommand(nil, statemachine.Command{Op: statemachine.OpVerify})
	nc.VerifyTicks = int((c.Service.VerifyInterval + c.Raft.Tick - 1) / c.Raft.Tick)
	nc.Raft = raft.Config{
		ID: d.id.ID(), Boot: boot, Seed: random(),
		ElectionTicks: c.Raft.ElectionTicks, HeartbeatTicks: c.Raft.HeartbeatTicks, StartTicks: startBeats * c.Raft.HeartbeatTicks,
		MaxAppendBytes: int(c.Raft.AppendBytes), MaxInflight: c.Raft.InflightMessages, MaxInflightBytes: int(c.Raft.InflightBytes),
		MaxWriteBytes: int(c.Raft.WriteBytes), MaxWrites: 1,
		MaxUncommittedBytes: int(c.Raft.UncommittedBytes), MaxRetainedBytes: int(c.Raft.RetainedBytes),
	}
	return nc
}

// startBeats is how many heartbeats a starting node waits for a leader, times its
// place among the voters. A cluster that was started as a whole then need not wait for an
// election timeout. One beat could be over before the connections stand.
const startBeats = 2

// random is any number.
func random() uint64 {
	var b [8]byte
	_, _ = crand.Read(b[:]) // never fails: crypto/rand ends the program instead
	return binary.LittleEndian.Uint64(b[:])
}

// fatal is called when the node must not go on. When the store failed, what the
// disk holds is unknown, and only a new process that reads it again may tell. Nothing is closed.
func (d *daemon) fatal(err error) {
	code, what := exitInternal, "ending at once: "
	if errors.Is(err, node.ErrStore) {
		code, what = exitDisk, "the disk failed; ending at once, a restart finds out what it holds: "
	} else if diverged, ok := errors.AsType[*node.DivergedError](err); ok {
		what = d.noteDiverged(diverged)
	} else {
		d.writeTrace(err.Error())
	}
	d.log.Error(what+err.Error(), "code", int(code), "meaning", code.String())
	d.flush()
	os.Exit(int(code))
}

// onCommitted notes who belongs to the cluster for good. It runs on the node's loop.
func (d *daemon) onCommitted(c raft.Configuration) {
	d.committed.Store(&c)
	d.id.SetMembers(func(id raft.NodeID) bool { _, ok := d.committed.Load().Find(id); return ok })
	if c.WasRemoved(d.id.ID()) {
		d.fail(exitWith(exitIdentity, errRemoved))
	}
}

// fail ends the daemon, in order, with err.
func (d *daemon) fail(err error) {
	select {
	case d.failed <- err:
	default: // one is enough
	}
}

// listenClients binds the port of clients, last of all.
func (d *daemon) listenClients() (net.Listener, error) {
	c := d.cfg
	ln, err := net.Listen("tcp", c.Redis.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen for clients on %s: %w; free the address or choose another", c.Redis.Listen, err)
	}
	if d.clientTLS != nil {
		ln = tls.NewListener(ln, d.clientTLS)
	}
	d.clients = resp.New(resp.Config{
		Clients: c.Redis.Clients, Pipeline: c.Redis.Pipeline, OutputBytes: int(c.Redis.OutputBytes),
		KeyBytes: int(c.Limits.KeyBytes), ValueBytes: int(c.Limits.ValueBytes), CommandBytes: int(c.Limits.CommandBytes),
		WriteTimeout: c.Redis.WriteTimeout, Access: d.access, Moved: c.Redis.Follower == "moved", Encrypted: d.clientTLS != nil, Stop: func() { d.fail(nil) }, Feed: d.feed, Events: c.Redis.NotifyKeyspaceEvents, Version: readVersion().String(), Log: d.log,
	}, backend{d.node}, &admin{d})
	d.http.Attach(httpapi.API{
		Backend: httpBackend{d.node}, Feed: d.feed, Users: d.access, Hosts: strings.Fields(c.HTTP.Hosts),
		KeyBytes: int(c.Limits.KeyBytes), ValueBytes: int(c.Limits.ValueBytes), CommandBytes: int(c.Limits.CommandBytes),
		Requests: c.HTTP.Requests, BodyBytes: int64(c.HTTP.BodyBytes), WriteTimeout: c.HTTP.WriteTimeout,
	})
	return ln, nil
}

// httpBackend is backend for the other interface.
type httpBackend struct{ n *node.Node }

func (b httpBackend) Connect(s node.Sink) httpapi.Submitter { return b.n.Connect(s) }
func (b httpBackend) Status() node.Status                   { return b.n.Status() }

// backend gives the servers their view of the node.
type backend struct{ n *node.Node }

func (b backend) Connect(s node.Sink) resp.Submitter { return b.n.Connect(s) }
func (b backend) Status() node.Status                { return b.n.Status() }
