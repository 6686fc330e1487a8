package sim

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/raftkv/raftkv/node"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raftlog"
	"github.com/raftkv/raftkv/server/feed"
	"github.com/raftkv/raftkv/snapshot"
	"github.com/raftkv/raftkv/statemachine"
)

// host is one machine with at most one process of a node on it. It is the
// Driver and the Saver of that node.
//
// What survives the process: disk, fs, birth. What survives a power cut is what
// disk and fs say.
type host struct {
	w   *world
	n   int // position in world.hosts
	id  raft.NodeID
	log *slog.Logger // nil: nobody listens

	disk  *raftlog.Mem
	fs    *snapshot.MemFS
	birth raft.Configuration // empty for a node that joins later
	born  bool               // Birth is stored, so there is a node to start
	left  bool               // removed from the cluster: it starts no more
	dead  bool               // its disk is damaged: it starts no more until it is replaced

	wrongAt raft.Index        // the last entry at which its state was wrong
	refetch raft.Index        // its state was found to be wrong at this entry: another node's is fetched
	durable raft.SnapshotMeta // newest snapshot that was reported durable
	loaded  raft.SnapshotMeta // that the last start found

	// The process.
	up      bool
	run     int // counts starts and ends: what an earlier run began is void
	loop    *node.Loop
	applier *node.Applier
	machine *statemachine.Machine
	feed    *feed.Hub
	snaps   *snapshot.Dir
	metrics *node.Metrics
	members raft.Configuration // as SetMembers told
	commits raft.Configuration // as Config.Committed told
	heard   []uint64           // by host: highest Seq that this process had from it
	fatal   error
	space   node.Space

	turning bool // inside a turn: nothing may be put in
	turnDue bool
	paused  bool
	backlog []func() // what happened to the process while it was paused

	drive   drive
	jobs    []*node.Job
	working bool // the applier is on a job or on a step
	hung    time.Duration
	given   raft.Index // last entry that the disk was asked to write
	asked   uint64     // newest write that it was asked for
	toldOf  uint64     // newest one of which the process knows that it is done
	held    held
	// writeBytes is about how much one write holds.
	writeBytes int
	saving     *saving
	fetch      *fetching
	clock      clock
	often      often
	ends       []*end // of links, by host

	changedAt raft.Index // the entry that changes are of
	changes   []uint64   // sums of what the machine told of it
	view      view
}

// often is what events do again and again: as a field each is made once.
type often struct{ tick, landed, worked, turn func() }

// newHost makes a machine with an empty disk.
func (w *world) newHost(birth raft.Configuration) *host {
	n := len(w.hosts)
	h := &host{w: w, n: n, id: raft.NodeID(n + 1), disk: raftlog.NewMem(), fs: snapshot.NewMemFS(), birth: birth, born: true}
	h.durable.Config = birth
	h.often = often{tick: h.tick, landed: h.landed, worked: h.worked, turn: h.lateTurn}
	if w.opt.Trace != nil {
		h.log = slog.New(&traceHandler{h: h})
	}
	if w.plan.drift > 0 {
		w.count.Faults["clock-drift"]++
	}
	h.clock.percent = 100 - w.plan.drift + w.rand.IntN(2*w.plan.drift+1)
	h.drive.slowest = w.plan.diskMax
	w.hosts = append(w.hosts, h)
	w.linkUp(h)
	return h
}

// running tells whether there is a process, paused or not.
func (h *host) running() bool { return h.up }

func (h *host) core() *raft.Raft { return h.loop.Replica().Core() }

// start is what a start of the daemon does between the identity and the
// listeners (cmd/raftkv, openNode): log, newest snapshot, machine, node.
func (h *host) start() {
	w := h.w
	if h.up || h.left || h.dead || !h.born {
		return
	}
	h.run++
	h.fatal, h.paused, h.turnDue, h.backlog = nil, false, false, nil
	h.jobs, h.working, h.saving, h.fetch, h.hung = nil, false, nil, nil, 0
	h.held = held{}
	h.members, h.commits, h.space = raft.Configuration{}, raft.Configuration{}, node.Space{}
	h.drive.reset()
	h.heard = make([]uint64, len(w.hosts))
	h.metrics = &node.Metrics{}
	h.fs.Inject(nil)
	if err := h.load(); err != nil {
		if h.mayRefuse(err) {
			w.say("%v refuses to start: %v", h.id, err)
			return
		}
		w.rules.broken("restart", "node %v does not start from what a crash left: %v", h.id, err)
	}
	h.up = true
	h.view = view{}
	w.say("%v starts: %v", h.id, h)
	w.note(uint64(h.id)<<32 | uint64(h.run))
	w.rules.started(h)
	h.startClock()
	h.startLinks()
	h.turn()
}

func (h *host) load() error {
	w := h.w
	durable, err := h.disk.Load()
	if err != nil {
		return err
	}
	if h.drive.damaged {
		return raftlog.ErrCorrupt // as Open finds it
	}
	if h.snaps, err = snapshot.OpenDir(h.fs, "/snapshots", snapshot.Options{KeepBytes: 1 << 20, SyncBytes: 512}); err != nil {
		return err
	}
	h.asked, h.toldOf, h.given = durable.Seq, durable.Seq, durable.Base.Index+raft.Index(len(durable.Entries))
	durable.Refetch = h.refetch
	if h.refetch > 0 {
		if err := h.setAside(); err != nil {
			return err
		}
	}
	h.machine = statemachine.New(w.plan.limits())
	h.feed = feed.New(w.plan.feed, 0)
	h.changedAt = 0
	h.machine.Observe(func(c statemachine.Change) {
		if c.Kind != statemachine.ChangeRestore {
			h.observed(c.Index, sumChange(&c))
		}
		h.feed.Observe(c)
	})
	if durable.Snapshot, err = h.snaps.RestoreOr(h.birth, h.machine.Restore); err != nil {
		return err
	}
	h.loaded = durable.Snapshot
	for _, f := range h.snaps.Faults() {
		w.say("%v snapshots: %v", h.id, f)
	}
	h.loop, h.applier, err = node.Assemble(h.nodeConfig(), durable, &spy{Machine: h.machine, h: h}, h, h, h.metrics, h.snaps.Open)
	return err
}

// setAside takes all snapshots out of use, as the daemon does when their state is wrong.
func (h *host) setAside() error {
	ids, err := h.snaps.List()
	for _, id := range ids {
		err = errors.Join(err, h.snaps.SetAside(id))
	}
	h.drive.lostFile, h.durable = true, raft.SnapshotMeta{Config: h.birth}
	return err
}

// mayRefuse tells whether a start may fail with this error: only if we did what it says.
func (h *host) mayRefuse(err error) bool {
	return h.drive.damaged && errors.Is(err, raftlog.ErrCorrupt)
}

// ending is how a process ends.
type ending int

const (
	killed  ending = iota // the machine goes on: what the process wrote reaches the disk or not, files stay
	powered               // the machine lost its power: what was not synced is lost, or torn
)

// crash ends the process.
func (h *host) crash(how ending) {
	w := h.w
	if !h.up {
		return
	}
	if a := w.amnesiac; a != nil && a != h && a.disk.Fence() != raft.FenceForever {
		// What this process has heard of the wiped node goes with it, and nobody
		// might notice: that case is void.
		w.amnesiac = nil
		a.left = true
		a.crash(killed)
	}
	w.say("%v crashes (%d)", h.id, how)
	h.up = false
	h.run++
	h.crashDisk(how)
	h.endLinks(how)
	for _, c := range w.clients {
		if c.h == h {
			c.cutOff()
		}
	}
	h.loop, h.applier, h.machine, h.snaps = nil, nil, nil, nil
	h.jobs, h.saving, h.fetch, h.backlog = nil, nil, nil, nil
}

// stop is an orderly end: what the daemon does on SIGTERM.
func (h *host) stop(then func()) bool {
	if !h.up || h.paused {
		return false
	}
	run := h.run
	leave := func() {
		if h.run != run || !h.up {
			return
		}
		if h.paused {
			h.resume()
		}
		if h.run != run {
			return
		}
		h.turning = true
		h.loop.Leave(node.ErrShutdown)
		h.turning = false
		for _, j := range h.jobs {
			h.applier.Do(j)
		}
		h.applier.Stop()
		h.crash(killed)
		then()
	}
	done := false
	h.input(func() {
		_ = h.loop.Ask(node.Shutdown{Done: func() {
			if !done {
				done = true
				h.w.after(0, leave)
			}
		}})
	})
	// Whoever asked waits only so long.
	h.w.after(h.w.between(time.Second, 10*time.Second), leave)
	return true
}

// after lets do happen in this process in d, unless it has ended by then; while
// it is paused, that waits.
func (h *host) after(d time.Duration, do func()) {
	h.w.queue.push(h.w.now+max(d, 0), deed{do, h, h.run, true})
}

// kernel is after for what the machine does whether the process is paused or not.
func (h *host) kernel(d time.Duration, do func()) {
	h.w.queue.push(h.w.now+max(d, 0), deed{do, h, h.run, false})
}

// input puts something into the inbox, now or once the process goes on, and
// turns the loop.
func (h *host) input(put func()) {
	if !h.up {
		return
	}
	if h.paused {
		h.backlog = append(h.backlog, func() { h.input(put) })
		return
	}
	if h.turning {
		panic("sim: input inside a turn")
	}
	put()
	h.wake()
}

// wake turns the loop, at once or when more has come in.
func (h *host) wake() {
	w := h.w
	if h.turnDue {
		return
	}
	if w.plan.lazy > 0 && w.rand.IntN(100) < w.plan.lazy {
		h.turnDue = true
		h.after(w.upTo(w.plan.lazyFor), h.often.turn)
		return
	}
	h.turn()
}

func (h *host) lateTurn() {
	h.turnDue = false
	h.turn()
}

// turn is one turn of the loop goroutine.
func (h *host) turn() {
	h.turning = true
	h.loop.Turn(h.w.now)
	h.turning = false
	h.looked()
}

// looked checks everything after an event of this host.
func (h *host) looked() {
	h.w.rules.step(h)
	h.keepsBack()
	h.rotLeads()
	if h.up && h.fatal != nil {
		h.w.say("%v dies: %v", h.id, h.fatal)
		if d, ok := errors.AsType[*node.DivergedError](h.fatal); ok {
			if d.Index > h.wrongAt {
				h.w.rules.broken("equal state hash at equal index", "node %v takes its own state for wrong, which it is not: %v", h.id, d)
			}
			h.w.count.Seen["rot-noticed"]++
			h.refetch = max(d.Index, 1)
			if h.w.trouble == nil {
				h.w.trouble = h // what was wrong may have been removed since
			}
		}
		h.crash(killed)
		h.restartSoon()
	}
}

// restartSoon lets somebody start the node again.
func (h *host) restartSoon() {
	d := h.w.upTo(2 * time.Second)
	if h.w.chance(3) {
		d = h.w.upTo(10 * milli)
	}
	h.w.after(d, h.start)
}

// pause stops the process, as SIGSTOP or a full machine does.
func (h *host) pause(d time.Duration) bool {
	if !h.up || h.paused {
		return false
	}
	h.paused = true
	run := h.run
	h.w.after(d, func() {
		if h.run == run && h.paused {
			h.resume()
		}
	})
	return true
}

func (h *host) resume() {
	h.paused = false
	backlog := h.backlog
	h.backlog = nil
	run := h.run
	for i, do := range backlog {
		if h.run != run || !h.up {
			return
		}
		if h.paused {
			h.backlog = append(backlog[i:len(backlog):len(backlog)], h.backlog...)
			return
		}
		do()
	}
}

// onCommitted is Config.Committed: a node that was removed ends for good.
func (h *host) onCommitted(c raft.Configuration) {
	h.commits = c
	if c.WasRemoved(h.id) {
		h.retire()
	}
}

// retire ends a removed node.
func (h *host) retire() {
	if h.left {
		return
	}
	h.left = true
	h.w.say("%v was removed", h.id)
	h.w.after(h.w.upTo(50*milli), func() { h.crash(killed) })
}

// Apply implements node.Driver.
func (h *host) Apply(j *node.Job) {
	h.jobs = append(h.jobs, j)
	h.work()
}

// Fatal implements node.Driver.
func (h *host) Fatal(err error) {
	if h.fatal == nil {
		h.fatal = err
	}
}

// SetMembers implements node.Driver.
func (h *host) SetMembers(c raft.Configuration) {
	h.members = c
	for _, e := range h.ends {
		// As the transport does: the node that was removed dials again, and hears why not.
		if e != nil && e.conn != nil && e.l.conn == e.conn && h.commits.WasRemoved(e.other.h.id) {
			e.l.breakUp()
		}
	}
}

// work lets the applier do what it has, one thing at a time.
func (h *host) work() {
	w := h.w
	if h.working || len(h.jobs) == 0 && !(h.applier.Freezing() && h.Room()) {
		return
	}
	h.working = true
	d := w.upTo(w.plan.applyDelay)
	if len(h.jobs) > 0 {
		j := h.jobs[0]
		d += time.Duration(j.Entries())*5*micro + time.Duration(j.Bytes())*10
		if j.Restores() {
			d += w.upTo(20 * milli)
		}
	}
	if h.hung > w.now {
		d = h.hung - w.now
	}
	h.after(d, h.often.worked)
}

func (h *host) worked() {
	h.working = false
	stepBytes := 64 + h.w.rand.IntN(4096)
	if len(h.jobs) == 0 {
		h.applier.Step(stepBytes)
		h.work()
		return
	}
	j := h.jobs[0]
	h.jobs = slices.Delete(h.jobs, 0, 1)
	h.applier.Do(j)
	// Under load there is always a job: the view must get on nevertheless.
	h.applier.Step(stepBytes)
	h.input(func() { h.loop.Done(j) })
	if h.up {
		h.work()
	}
}

func (h *host) String() string {
	if h.loop == nil {
		base, last := h.disk.Ends()
		return fmt.Sprintf("%v down, disk %v to %v", h.id, base, last)
	}
	s := h.core().Status()
	return fmt.Sprintf("%v %v term %d vote %v leader %v base %v last %v stable %d commit %d snapshot %v fence %d refetch %v members %v",
		h.id, s.Role, s.Term, s.Vote, s.Leader, s.Base, s.Last, s.Stable, s.Commit, s.Snapshot, s.Fence, s.Refetch, memberText(s.Config))
}

func memberText(c raft.Configuration) string {
	s := ""
	for _, m := range c.Members {
		if m.Learner {
			s += fmt.Sprintf(" (%v)", m.ID)
			continue
		}
		s += fmt.Sprintf(" %v", m.ID)
	}
	return s
}
