package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime/pprof"
	"slices"
	"time"

	systemd "github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	"github.com/raftkv/raftkv/node"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/server/httpapi"
	"github.com/raftkv/raftkv/server/resp"
)

type readCloser = io.ReadCloser

// run serves clients until ctx ends or something breaks, then stops in order. background
// is for what looks after the node, which end ends.
func (d *daemon) run(ctx, background context.Context, end func(), clients net.Listener) error {
	ended := make(chan error, 1)
	// Runs the node, with a life longer than ctx: an orderly stop needs it. Ends by
	// Shutdown below or by a fault; awaited below.
	go func() { ended <- d.node.Run(context.WithoutCancel(ctx)) }()
	d.running.Store(true)
	defer d.onAbort()()
	d.phase.Store(nil)
	d.serve("serve clients", func() error {
		if err := d.clients.Serve(clients); !errors.Is(err, resp.ErrClosed) {
			return err
		}
		return nil
	})
	d.serve("watch", func() error { d.watch(background); return nil })
	d.log.Info("serving", "clients", clients.Addr().String(), "peers", d.transport.Addr().String(), "http", d.http.Addr().String())
	_, _ = systemd.SdNotify(false, systemd.SdNotifyReady) // without systemd nobody listens

	select {
	case err := <-ended:
		return d.explain(err)
	case err := <-d.failed:
		_ = d.stop(ended, end)
		return err
	case <-ctx.Done():
		return d.stop(ended, end)
	}
}

// serve runs f in the background; its error ends the daemon.
func (d *daemon) serve(what string, f func() error) {
	d.all.Add(1)
	// Owns what f owns. Ends when stop closes that; stop waits for it. After a fault the process ends first.
	go func() {
		defer d.all.Done()
		if err := f(); err != nil {
			d.fail(fmt.Errorf("%s: %w", what, err))
		}
	}()
}

// explain gives the error that ended the node its exit code.
func (d *daemon) explain(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, node.ErrStore):
		return exitWith(exitDisk, err)
	}
	return exitWith(exitInternal, err)
}

// stop ends the daemon in order: leadership goes to another node, what is open
// is answered, the disk is closed. All of it within service.stop_timeout.
func (d *daemon) stop(ended <-chan error, end func()) error {
	_, _ = systemd.SdNotify(false, systemd.SdNotifyStopping)
	ctx, cancel := context.WithTimeout(context.Background(), d.cfg.Service.StopTimeout)
	defer cancel()
	d.feed.Close() // who watches goes on at another node
	err := d.node.Shutdown(ctx)
	if err != nil {
		d.log.Warn("not everything was finished in time; open requests were answered as unknown", "error", err)
	}
	runErr := <-ended
	end() // a loop that has ended stands still for good: no case for the watchdog
	if errors.Is(runErr, node.ErrStore) {
		return d.explain(runErr) // the store must not be touched again
	}
	if err := d.clients.Shutdown(ctx); err != nil {
		d.log.Warn("clients were cut off", "error", err)
	}
	err = errors.Join(d.explain(runErr), d.transport.Close(), d.store.Close(), d.http.Shutdown(ctx), d.id.Close())
	d.all.Wait() // each of them has been told to end, and none waits for anybody else
	return err
}

// serveHTTP opens the HTTP side early, so that probes can say what the start waits for.
func (d *daemon) serveHTTP() error {
	ln, err := net.Listen("tcp", d.cfg.HTTP.Listen)
	if err != nil {
		return fmt.Errorf("listen for HTTP on %s: %w; free the address or choose another", d.cfg.HTTP.Listen, err)
	}
	if d.clientTLS != nil {
		ln = tls.NewListener(ln, d.clientTLS)
	}
	d.http = httpapi.New(ln, httpapi.Config{
		Live: d.live, Ready: d.ready, Status: d.status, Metrics: d.metrics(), Debug: d.cfg.HTTP.Debug, Connections: d.cfg.HTTP.Connections, Log: d.log,
		Trace: func() ([]byte, error) { return d.trace("asked for over HTTP") },
	})
	d.serve("serve HTTP", d.http.Serve)
	return nil
}

func (d *daemon) live() error {
	if !d.running.Load() {
		return nil
	}
	if stuck := time.Duration(d.stuck.Load()); stuck > d.cfg.Service.WatchdogTimeout/2 {
		return fmt.Errorf("the node's loop has stood still for %v", stuck)
	}
	return nil
}

func (d *daemon) ready() error {
	switch {
	case !d.running.Load():
		if p := d.phase.Load(); p != nil {
			return errors.New(*p)
		}
		return errors.New("starting")
	case d.node.Ready():
		return nil
	}
	s := d.node.Status()
	switch {
	case s.Refetch:
		return fmt.Errorf("no usable snapshot here reaches the log, which begins at entry %d: waiting for one of another node; "+
			"if there is no other node, restore this one from a backup", s.LogFirstIndex)
	case s.Leader == "":
		return errors.New("no leader at present")
	}
	if slices.ContainsFunc(s.Members, func(m node.MemberStatus) bool { return m.ID == s.ID && m.Full }) {
		return errors.New("disk space is below disk.reserve_bytes: this node takes no entries")
	}
	return fmt.Errorf("not ready as %s of term %d: %d entries to apply", s.Role, s.Term, s.Lag)
}

func (d *daemon) status(context.Context) (any, error) {
	if !d.running.Load() {
		return nil, d.ready()
	}
	return d.node.Status(), nil
}

// watchEvery is how often the free space is looked at, and the status told.
const watchEvery = time.Second

// watch looks after what no request notices: free space, the watchdog, the
// status line of the supervisor.
func (d *daemon) watch(ctx context.Context) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	last := ""
	for {
		d.checkSpace()
		d.checkRefetch()
		d.checkProgress()
		if s := d.statusLine(); s != last {
			last = s
			notifyStatus(s)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (d *daemon) statusLine() string {
	s := d.node.Status()
	leader := s.LeaderName
	if leader == "" {
		leader = "nobody"
	}
	return fmt.Sprintf("%s of term %d; %s leads; %d entries behind", s.Role, s.Term, leader, s.CommitIndex-min(s.CommitIndex, s.AppliedIndex))
}

func notifyStatus(s string) { _, _ = systemd.SdNotify(false, "STATUS="+s) }

// startBytes is the free space that a start needs at least: for the fence, a vote,
// the no-op of a term, and what a file system takes for itself.
const startBytes = 256 << 10

// waitForSpace waits until the node can start at all. Without it a full disk would
// end every start in the middle, again and again. It fails when ctx ends.
func (d *daemon) waitForSpace(ctx context.Context) error {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for waits := false; ; waits = true {
		free, err := d.freeSpace()
		if err != nil {
			d.log.Warn("free space is not known", "error", err)
			return nil
		}
		if free >= startBytes {
			return nil
		}
		if !waits {
			d.say("waiting for disk space: free some in " + d.cfg.Node.DataDir)
			d.log.Error("the disk is full, or has no inodes left; waiting until there is space", "free", free, "need", startBytes, "dir", d.cfg.Node.DataDir)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// reserveInodes is how many files a file system must still take: a node makes some for each
// vote, start, snapshot and segment.
const reserveInodes = 32

// freeSpace is how many bytes this process may still write to the data directory. Where
// no file can be made any more, that is none.
func (d *daemon) freeSpace() (uint64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(d.cfg.Node.DataDir, &st); err != nil {
		return 0, err
	}
	if st.Files > 0 && st.Ffree < reserveInodes { // some file systems don't count them
		return 0, nil
	}
	return st.Bavail * uint64(st.Bsize), nil
}

// checkSpace tells the node when the disk is nearly full, before a write fails for it.
func (d *daemon) checkSpace() {
	free, err := d.freeSpace()
	if err != nil {
		d.log.Warn("free space is not known", "error", err)
		return
	}
	low := free < uint64(d.cfg.Disk.LowSpaceBytes)
	d.node.SetSpace(low, free < uint64(d.cfg.Disk.ReserveBytes))
	if low {
		d.leaveLead()
	}
}

// leaveLead hands leadership to a voter with room on its disk: a leader without
// any could take no writes, though the others could. It does so when it has little: at the floor it
// would have to pause writes for it.
func (d *daemon) leaveLead() {
	s := d.node.Status()
	if s.Leader != s.ID || s.Role != raft.Leader.String() {
		return
	}
	roomy := slices.ContainsFunc(s.Members, func(m node.MemberStatus) bool {
		return m.ID != s.ID && !m.Learner && m.Active && !m.Full && !m.Low
	})
	if !roomy {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), watchEvery)
	defer cancel()
	err := d.node.Transfer(ctx, raft.None) // it picks one with room
	d.log.Warn("disk space is low; handing leadership to a node with room", "error", err)
}

// checkProgress pets the supervisor's watchdog while loop and disk get on, and
// ends the process with a dump of its goroutines when they don't.
func (d *daemon) checkProgress() {
	p := d.node.Progress()
	loop, write := d.loop.look(p.Turn), time.Duration(0)
	d.stuck.Store(int64(loop))
	if p.Write != 0 {
		write = d.write.look(p.Write)
	}
	if limit := d.cfg.Service.WatchdogTimeout; loop > limit {
		// At once: an orderly stop would wait for the loop.
		_ = pprof.Lookup("goroutine").WriteTo(os.Stderr, 2)
		d.writeTrace("watchdog: the loop stands still")
		d.log.Error("watchdog: the node's loop stands still; ending at once, the goroutines are above", "for", loop.String(), "code", int(exitInternal))
		d.flush()
		os.Exit(int(exitInternal))
	}
	if limit := d.cfg.Disk.HangTimeout; write > limit && d.othersLead() {
		d.log.Error("the disk has been writing for too long while another node leads; ending", "for", write.String(), "code", int(exitDisk))
		d.flush()
		os.Exit(int(exitDisk)) // nothing that could touch the file
	}
	_, _ = systemd.SdNotify(false, systemd.SdNotifyWatchdog)
}

// patience tells how long something has not got on, in looks that are watchEvery
// apart, and not by the clock: that jumps, and while the process is stopped
// or its machine is asleep, nobody is late.
type patience struct {
	last  int64
	looks int
}

// look takes a number that changes whenever the thing gets on.
func (p *patience) look(now int64) time.Duration {
	if now != p.last {
		p.last, p.looks = now, 0
		return 0
	}
	p.looks++
	return time.Duration(p.looks) * watchEvery
}

func (d *daemon) othersLead() bool {
	s := d.node.Status()
	return s.Leader != "" && s.Leader != s.ID
}
