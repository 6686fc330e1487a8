package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/raftkv/raftkv/raft"
)

// ErrStore wraps the error of a write that failed. Its outcome is unknown:
// only a new process that reads the disk again may tell. Leave by os.Exit,
// without closing the store.
var ErrStore = errors.New("the log could not be written")

// workers is the Driver and the Saver of a Node: it passes everything to the
// goroutine that owns the port.
type workers struct {
	n *Node

	writes  chan *raft.Write // capacity MaxWrites: the Replica has no more under way
	jobs    chan *Job        // capacity MaxJobs+1: the same, and one after Stop
	saves   chan *save       // capacity 1
	fetches chan fetchOrder  // capacity 1
	stepped chan struct{}    // capacity 1: the saver has taken a part
	quit    chan struct{}    // closed: ticker, saver and fetcher end

	saving *save // the applier's

	stopFetch atomic.Pointer[context.CancelFunc]

	all  sync.WaitGroup // without the disk
	disk sync.WaitGroup
}

// fetchOrder is what the fetcher shall fetch.
type fetchOrder struct {
	ctx    context.Context
	cancel context.CancelFunc
	from   raft.NodeID
	meta   raft.SnapshotMeta
}

// save is a snapshot on its way from the applier to a file.
type save struct {
	meta  raft.SnapshotMeta
	parts chan part     // only the applier sends
	abort chan struct{} // closed with err set
	err   error
	bytes uint64 // the saver's
	ended bool   // the saver's: the last part came

	free    chan []byte // parts that were written, for the applier to fill again
	written []byte      // the saver's: the newest part, which is written when it asks for the next
}

type part struct {
	b    []byte
	last bool
}

// saveParts is how many encoded parts wait for the file.
const saveParts = 4

func newWorkers(n *Node) *workers {
	return &workers{
		n:       n,
		writes:  make(chan *raft.Write, n.cfg.Raft.MaxWrites),
		jobs:    make(chan *Job, n.cfg.MaxJobs+1),
		saves:   make(chan *save, 1),
		fetches: make(chan fetchOrder, 1),
		stepped: make(chan struct{}, 1),
		quit:    make(chan struct{}),
	}
}

// Run runs the node until ctx ends, Shutdown is done, the store fails (the
// error wraps ErrStore then), or a snapshot that was fetched can't be restored. It starts every goroutine of the node and returns
// when they have ended, except a disk that hangs for longer than StopTimeout.
func (n *Node) Run(ctx context.Context) error {
	switch {
	case n.life.CompareAndSwap(lifeNew, lifeRun):
	case n.life.CompareAndSwap(lifeShut, lifeRun):
		n.in.close(ErrShutdown)
		close(n.ended)
		return nil
	default:
		return errRanAlready
	}
	defer close(n.ended)
	n.started.Store(max(1, int64(n.since())))
	n.loopAt.Store(int64(n.since()))
	n.diskAt.Store(int64(n.since()))
	w := n.w
	w.disk.Add(1)
	// Owns the store. Ends when writes is closed or a write fails; Run waits for it, for a while.
	go w.runDisk()
	w.all.Add(4)
	// Owns the machine. Ends when jobs is closed; Run waits for it.
	go w.runApplier()
	// Owns the snapshot file that is being written. Ends with quit; Run waits for it.
	go w.runSaver()
	// Owns the snapshot file that is being fetched. Ends with quit; Run waits for it.
	go w.runFetcher()
	// Owns nothing. Ends with quit; Run waits for it.
	go w.runTicker()

	err := n.loop(ctx)
	if err != nil && n.cfg.Fatal != nil {
		n.cfg.Fatal(err) // usually doesn't return
	}
	return errors.Join(err, n.stopWorkers())
}

// loop is the owner of the Replica.
func (n *Node) loop(ctx context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = panicked("the loop", p)
		}
	}()
	for {
		select {
		case err := <-n.fatal: // before all else
			n.in.close(ErrShutdown)
			return err
		default:
		}
		select {
		case <-n.in.wake:
		case <-ctx.Done():
			n.leave(ErrShutdown)
			return nil
		case <-n.stop:
			n.leave(ErrShutdown)
			return nil
		case err := <-n.fatal:
			// Nothing may be acknowledged or promised any more: no Flush, no replies.
			n.in.close(ErrShutdown)
			return err
		}
		if n.turns.busy() {
			for range gathering {
				runtime.Gosched()
			}
		}
		n.turns.Turn(n.since())
		if n.replica.statusOld {
			n.replica.statusOld = false
			n.publish()
		}
		n.loopAt.Store(int64(n.since()))
	}
}

// gathering is how often a busy loop lets every goroutine that could run do so
// before it takes its turn. Requests, replies of peers and the disk's word that came at
// the same time then share a turn, a write and a message, instead of the first
// of them starting a small one. Measured, at 64 and 256 clients on two cores: +5 and
// +10 % writes, -10 % CPU a write; 4 bring no more than 2.
const gathering = 2

// panicked makes an error of a panic, so that the process ends with a line in
// its log and an exit code of its own. Nothing goes on behind it.
func panicked(what string, p any) error {
	return fmt.Errorf("%s panicked: %v\n%s", what, p, debug.Stack())
}

// caught ends the node when the goroutine that defers it panics.
func (w *workers) caught(what string) {
	if p := recover(); p != nil {
		w.Fatal(panicked(what, p))
	}
}

// leave answers everything that is open and takes nothing more.
func (n *Node) leave(err error) {
	n.turns.Leave(err)
	n.publish()
}

// stopWorkers ends the goroutines.
func (n *Node) stopWorkers() error {
	w := n.w
	close(w.writes)
	close(w.jobs)
	close(w.quit)
	w.StopFetch()
	done := make(chan struct{})
	// Turns the end of the workers into a channel. Ends with them; below it is waited for.
	go func() {
		w.all.Wait()
		w.disk.Wait()
		close(done)
	}()
	timeout := time.NewTimer(n.cfg.StopTimeout)
	defer timeout.Stop()
	select {
	case <-done:
		return nil
	case <-timeout.C:
		return fmt.Errorf("stop the node: a worker still hangs after %v (disk write for %v)", n.cfg.StopTimeout, n.Progress().DiskWrite)
	}
}

// runDisk writes to the store, one Write after the other.
func (w *workers) runDisk() {
	defer w.disk.Done()
	defer w.caught("the writer of the log")
	for x := range w.writes {
		from := w.n.since()
		w.n.diskSince.Store(max(1, int64(from)))
		if err := w.n.ports.Store.Write(x); err != nil {
			w.Fatal(fmt.Errorf("%w: write %d: %w", ErrStore, x.Seq, err))
			return
		}
		now := w.n.since()
		w.n.diskSince.Store(0)
		w.n.diskAt.Store(int64(now))
		w.n.in.wrote(x.Seq, now-from)
	}
}

// runApplier works jobs off, and encodes a frozen view between them.
func (w *workers) runApplier() {
	defer w.all.Done()
	defer w.caught("the applier")
	a := w.n.applier
	for {
		var j *Job
		var ok bool
		select {
		case j, ok = <-w.jobs: // a job goes first
		default:
			if a.Step(w.n.cfg.StepBytes) {
				continue
			}
			select {
			case j, ok = <-w.jobs:
			case <-w.stepped:
				continue
			}
		}
		if !ok {
			a.Stop()
			return
		}
		a.Do(j)
		w.n.in.applied(j)
		// Under load there is always a job: the view must get on nevertheless.
		a.Step(w.n.cfg.StepBytes)
	}
}

// runSaver writes snapshots to files.
func (w *workers) runSaver() {
	defer w.all.Done()
	defer w.caught("the saver of snapshots")
	for {
		select {
		case s := <-w.saves:
			err := w.n.ports.Snapshots.Save(s.meta, func() ([]byte, error) { return w.nextPart(s) })
			w.n.in.slow(Saved{Meta: s.meta, Bytes: s.bytes, Err: err})
		case <-w.quit:
			return
		}
	}
}

// nextPart returns the next part of a snapshot, and at its end io.EOF.
func (w *workers) nextPart(s *save) ([]byte, error) {
	if s.ended {
		return nil, io.EOF
	}
	if s.written != nil {
		select {
		case s.free <- s.written:
		default:
		}
		s.written = nil
	}
	select {
	case p := <-s.parts:
		s.written = p.b
		s.ended = p.last
		s.bytes += uint64(len(p.b))
		select {
		case w.stepped <- struct{}{}:
		default:
		}
		return p.b, nil
	case <-s.abort:
		return nil, s.err
	case <-w.quit:
		return nil, ErrShutdown
	}
}

// runFetcher fetches snapshots of other nodes.
func (w *workers) runFetcher() {
	defer w.all.Done()
	defer w.caught("the fetcher of snapshots")
	for {
		select {
		case f := <-w.fetches:
			err := w.n.ports.Snapshots.Receive(f.ctx, f.meta,
				func(ctx context.Context, offset uint64) (io.ReadCloser, error) {
					return w.n.ports.Network.Fetch(ctx, f.from, f.meta.Last, offset)
				},
				func(bytes uint64) { w.n.in.fetching(FetchProgress{Last: f.meta.Last, Bytes: bytes}) })
			f.cancel() // its own: once the loop has heard of the end it may order the next one
			w.n.in.slow(Fetched{Meta: f.meta, Err: err})
		case <-w.quit:
			return
		}
	}
}

// runTicker tells the time.
func (w *workers) runTicker() {
	defer w.all.Done()
	t := time.NewTicker(w.n.cfg.Tick)
	defer t.Stop()
	last := time.Now()
	for {
		select {
		case <-t.C:
			now := time.Now()
			w.n.in.tick(Tick{Elapsed: now.Sub(last), Wall: raft.Time(now.UnixNano())})
			last = now
		case <-w.quit:
			return
		}
	}
}

// WriteLog implements Driver.
func (w *workers) WriteLog(x *raft.Write) { w.writes <- x }

// Apply implements Driver.
func (w *workers) Apply(j *Job) { w.jobs <- j }

// Fetch implements Driver.
func (w *workers) Fetch(from raft.NodeID, meta raft.SnapshotMeta) {
	ctx, cancel := context.WithCancel(context.Background())
	w.stopFetch.Store(&cancel)
	w.fetches <- fetchOrder{ctx: ctx, cancel: cancel, from: from, meta: meta}
}

// StopFetch implements Driver.
func (w *workers) StopFetch() {
	if cancel := w.stopFetch.Load(); cancel != nil {
		(*cancel)()
	}
}

// Send implements Driver.
func (w *workers) Send(ms []raft.Message) { w.n.ports.Network.Send(ms) }

// SendPacket implements Driver.
func (w *workers) SendPacket(to raft.NodeID, token uint64, b []byte) (uint64, error) {
	return w.n.ports.Network.SendPacket(to, token, b)
}

// SetMembers implements Driver.
func (w *workers) SetMembers(c raft.Configuration) { w.n.ports.Network.SetMembers(c) }

// Fatal implements Driver. The first error counts.
func (w *workers) Fatal(err error) {
	select {
	case w.n.fatal <- err:
	default:
	}
}

// Begin implements Saver.
func (w *workers) Begin(meta raft.SnapshotMeta) {
	w.saving = &save{meta: meta, parts: make(chan part, saveParts), free: make(chan []byte, saveParts), abort: make(chan struct{})}
	w.saves <- w.saving
}

// Room implements Saver.
func (w *workers) Room() bool { return len(w.saving.parts) < cap(w.saving.parts) }

// Part implements Saver. The parts of one snapshot are as many bytes as the state: as garbage
// they would have the collector look at all of the state several times while it is written.
func (w *workers) Part(max int) []byte {
	select {
	case b := <-w.saving.free:
		return b[:0]
	default:
		return make([]byte, 0, max)
	}
}

// Put implements Saver.
func (w *workers) Put(b []byte, last bool) { w.saving.parts <- part{b: b, last: last} }

// Abort implements Saver.
func (w *workers) Abort(err error) {
	w.saving.err = err
	close(w.saving.abort)
}
