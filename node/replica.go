package node

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/raftkv/raftkv/raft"
)

// Replica is the mind of one node: the core, the claims of clients, and what
// is to be done when. It is a value without goroutine, channel or clock; its
// owner calls Handle for each event and Flush after a batch of them, from one
// goroutine, and gives it a Driver whose calls return at once.
type Replica struct {
	cfg     Config
	core    core
	d       Driver
	log     *slog.Logger
	metrics *Metrics

	tick  uint64
	now   time.Duration // by the owner's clock, at the beginning of this turn
	wall  raft.Time
	clock logClock
	soft  raft.Soft

	// The disk.
	writing    []uint64      // seqs of the writes under way
	given      raft.Index    // last entry in a write
	unwritten  int           // bytes of requests that were proposed since
	heldAt     uint64        // tick of the last write
	heldSince  time.Duration // when that was
	returns    returns
	wrote      uint64 // highest seq on disk
	lastTime   raft.Time
	space      Space
	fencedFor  uint64 // highest seq that a peer heard and this disk doesn't know
	forgiven   uint64 // up to here what peers heard is explained by the one write that a fenced disk forgot
	membership raft.Configuration

	// The applier.
	job         *Job // gathers until it is handed over
	jobs        int  // at the applier
	spare       []*Job
	handed      raft.Index // last entry in a job
	applied     raft.Index
	hash        [16]byte  // of the state at applied
	deadline    raft.Time // of the machine
	hasDeadline bool

	// Requests.
	tickets  tickets
	dirty    []*Conn // have something to start
	stalled  []*Conn // wait for a leader, or for something else that a tick or a role may bring
	replying []*Conn
	waiting  int // requests in lanes
	writes   int // open writes, of connections only
	reads    int // open reads, stale ones too

	groups   []*group // reads that wait for confirmation, by id
	group    *group   // takes the reads of this batch
	nextRead uint64

	fwd   forwards // of this node, at a leader
	serve serving  // of other nodes, here

	timeEntry timeEntry
	compare   compare
	level     level
	snap      snapshots
	fetch     fetching
	transfers []transfer
	changes   int // membership changes that are proposed and not settled
	closing   bool
	drained   func()
	bootAt    raft.Index // commit at start: below it the state is older than what was shown before
	wasReady  bool
	isReady   atomic.Bool
	absurdAt  uint64 // tick from which a message with an absurd term is told of again
	inTouch   uint64 // tick at which this node last led, or heard a leader
	statusOld bool   // something changed that Status tells

}

// NewReplica makes the replica of a node from what its disk holds. The machine
// of its applier holds durable.Snapshot. tick is Machine.TickCommand.
func NewReplica(cfg Config, durable raft.Durable, d Driver, m *Metrics, tick []byte) (*Replica, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	protocol, err := raft.New(cfg.Raft, durable)
	if err != nil {
		return nil, err
	}
	r := &Replica{
		cfg: cfg, core: newCore(protocol, cfg.TraceEvents, cfg.TraceBytes), d: d, metrics: m,
		log:      cfg.Logger,
		clock:    logClock{most: cfg.Tick * time.Duration(cfg.Raft.ElectionTicks)},
		wrote:    durable.Seq,
		job:      &Job{},
		handed:   durable.Snapshot.Last.Index,
		applied:  durable.Snapshot.Last.Index,
		hash:     durable.Snapshot.Hash,
		lastTime: durable.Snapshot.Time,
		bootAt:   durable.State.Commit,
		nextRead: 1,
	}
	if durable.Fence == raft.FenceOneBack {
		r.forgiven = durable.Seq + 1
	}
	r.timeEntry.command = tick
	r.level.inForce = durable.Snapshot.Level
	r.newest(durable.Snapshot, 0)
	r.fwd.init(cfg.Raft.Boot)
	r.serve.init()
	if n := len(durable.Entries); n > 0 {
		r.lastTime = max(r.lastTime, durable.Entries[n-1].Time)
	}
	s := r.core.Status()
	r.soft = raft.Soft{Role: s.Role, Term: s.Term, Leader: s.Leader}
	r.tellCommitted(s)
	return r, nil
}

// Handle takes one event. Call Flush after a batch of them.
func (r *Replica) Handle(ev Event) {
	switch ev := ev.(type) {
	case *Submitted:
		r.onSubmitted(ev.Conn, ev.Requests)
	case Closed:
		r.onClosed(ev.Conn)
	case Received:
		r.onReceived(ev.Messages)
	case Wrote:
		r.onWrote(ev)
	case JobDone:
		r.onApplied(ev.Job)
	case Tick:
		r.onTick(ev)
	case Packet:
		r.onPacket(ev)
	case Overflow:
		r.onOverflow(ev.Refusal)
	case Unsent:
		r.onUnsent(ev)
	case Lost:
		r.onLost(ev)
	case Connected:
		r.markStalled()
	case Heard:
		r.onHeard(ev)
	case Saved:
		r.onSaved(ev)
	case FetchProgress:
		r.onFetchProgress(ev)
	case Fetched:
		r.onFetched(ev)
	case Space:
		r.onSpace(ev)
	case ChangeMember:
		r.onChangeMember(ev)
	case Transfer:
		r.onTransfer(ev)
	case TakeSnapshot:
		r.onTakeSnapshot(ev)
	case StatusQuery:
		ev.Done(r.Status())
	case Shutdown:
		r.onShutdown(ev)
	case Stop:
		r.onStop(ev)
	default:
		assert(false, "unknown event %T", ev)
	}
}

// Flush does everything that the events since the last Flush call for: the
// network first, then the disk, so that both work at once.
func (r *Replica) Flush() {
	for turn := 0; ; turn++ {
		// Output derives from state, so it comes to an end by itself; a core that
		// does not is wrong, and would spin here.
		assert(turn < 10_000, "the core never runs out of output")
		r.pumpDirty()
		room := raft.Room{
			Write:   len(r.writing) < r.cfg.Raft.MaxWrites,
			Install: r.fetch.room(r.tick),
			Hold:    r.gathers(),
		}
		if r.jobs < r.cfg.MaxJobs && len(r.job.entries) == 0 {
			room.Apply = r.cfg.ApplyBytes
		}
		out := r.core.Output(room)
		if !r.carryOut(&out) && len(r.dirty) == 0 {
			break
		}
	}
	r.group = nil // a later read could come after a write that this round doesn't cover
	r.sendPackets()
	r.handJob()
	r.deliver()
	r.finishShutdown()
	r.metrics.Waiting.Store(int64(r.waiting))
	r.metrics.Open.Store(int64(r.writes + r.reads))
}

// carryOut does what one Output says and tells whether it said anything.
func (r *Replica) carryOut(out *raft.Output) bool {
	some := false
	if out.Soft != nil {
		r.onSoft(*out.Soft)
		some = true
	}
	if len(out.Messages) > 0 {
		r.d.Send(out.Messages)
		r.metrics.Messages.Add(uint64(len(out.Messages)))
		some = true
	}
	if out.Write != nil {
		r.onWrite(out.Write)
		some = true
	}
	if len(out.Committed) > 0 {
		r.onCommitted(out.Committed)
		some = true
	}
	for _, ready := range out.Reads {
		r.onConfirmed(ready)
		some = true
	}
	if len(out.Lost) > 0 {
		r.onReadsLost(out.Lost)
		some = true
	}
	if out.Install != nil {
		r.onInstall(*out.Install)
		some = true
	}
	return some
}

// onSoft notes a change of role, term or leader, and logs it once.
func (r *Replica) onSoft(s raft.Soft) {
	was := r.soft
	r.soft = s
	if s.Role == raft.Leader && (was.Role != raft.Leader || was.Term != s.Term) {
		r.clock.elected(r.lastTime, r.wall)
		r.timeEntry.elected()
		r.compare.proposed = 0
		r.level.proposed = 0
	}
	r.log.Info("role changed", "role", s.Role.String(), "term", uint64(s.Term), "leader", s.Leader.String(), "reason", s.Reason)
	r.metrics.RoleChanges.Add(1)
	if was.Leader != s.Leader || was.Term != s.Term {
		r.forgetAsks()
	}
	r.endTransfers()
	r.setReady()
	r.statusOld = true
	r.markStalled()
}

func (r *Replica) leads() bool { return r.soft.Role == raft.Leader }

func (r *Replica) onReceived(ms []raft.Message) {
	for i := range ms {
		if r.core.AbsurdTerm(ms[i].Term) {
			r.noteAbsurd(&ms[i])
		}
		r.core.Receive(ms[i])
	}
	r.metrics.Received.Add(uint64(len(ms)))
}

// noteAbsurd tells the operator of a message that the core doesn't believe.
func (r *Replica) noteAbsurd(m *raft.Message) {
	if r.tick < r.absurdAt {
		return
	}
	r.absurdAt = r.tick + absurdTicks
	r.log.Error("a message claims a term that no cluster reaches, and is ignored: the data or the memory of that node is damaged, or it is forged; "+
		"if it comes again, remove that node and let it rejoin with an empty directory",
		"peer", m.From.String(), "message", m.Kind.String(), "claims", uint64(m.Term), "term", uint64(r.core.Term()))
}

// absurdTicks is the pause between two such lines: whoever is wrong may be so with each heartbeat.
const absurdTicks = 1000

func (r *Replica) onWrite(w *raft.Write) {
	if len(r.writing) >= r.cfg.Raft.MaxWrites {
		assert(false, "write %d while %d are under way", w.Seq, len(r.writing))
	}
	r.writing = append(r.writing, w.Seq)
	r.unwritten, r.heldAt, r.heldSince = 0, r.tick, r.now
	bytes, config := 0, w.Reset
	for i := range w.Entries {
		e := &w.Entries[i]
		bytes += len(e.Data)
		r.lastTime = max(r.lastTime, e.Time)
		config = config || e.Type == raft.EntryConfig
	}
	if n := len(w.Entries); n > 0 {
		r.given = w.Entries[n-1].Index
		if r.leads() {
			r.returns.wrote(r.now, r.given, bytes)
		}
	}
	r.metrics.Writes.Add(1)
	r.metrics.WriteEntries.Add(uint64(len(w.Entries)))
	r.metrics.WriteBytes.Add(uint64(bytes))
	r.d.WriteLog(w)
	if config {
		r.setMembers(r.core.Status().Config)
	}
}

func (r *Replica) onWrote(ev Wrote) {
	r.writing = slices.DeleteFunc(r.writing, func(seq uint64) bool { return seq <= ev.Seq })
	r.wrote = max(r.wrote, ev.Seq)
	r.metrics.WriteNanos.Add(uint64(max(ev.Took, 0)))
	r.core.Wrote(ev.Seq)
}

// setMembers tells the network whom to know. A configuration counts as soon as
// it is in the log; one that was truncated is noticed by the next check.
func (r *Replica) setMembers(c raft.Configuration) {
	if slices.Equal(c.Members, r.membership.Members) && slices.Equal(c.Removed, r.membership.Removed) {
		return
	}
	r.membership = c
	r.statusOld = true
	r.d.SetMembers(c)
}

func (r *Replica) onHeard(ev Heard) {
	if ev.Seq <= r.wrote || ev.Seq <= r.fencedFor || ev.Seq <= r.forgiven {
		return
	}
	r.fencedFor = ev.Seq
	r.core.SetFence(raft.FenceForever)
	r.log.Error("this disk is an older copy: a peer heard of a later write; remove this node from the cluster and let it rejoin with an empty directory",
		"peer", ev.Peer.String(), "heard", ev.Seq, "disk", r.wrote)
}

func (r *Replica) onSpace(ev Space) {
	ev.Low = ev.Low || ev.Full
	if ev == r.space {
		return
	}
	r.space = ev
	r.core.SetFull(ev.Full)
	r.core.SetLow(ev.Low)
	r.statusOld = true
	r.log.Warn("disk space changed", "low", ev.Low, "full", ev.Full)
	r.markStalled()
}

// spared tells whether this leader must refuse a command because space is low at
// so many nodes that those with room are no majority. Deletes go on, so that
// people can free some.
func (r *Replica) spared(cmd []byte) bool {
	return r.core.LowSpace() && (r.cfg.Frees == nil || !r.cfg.Frees(cmd))
}

// SpaceError is ErrNoSpace of a node that knows where space is missing.
type SpaceError struct {
	Low, Full []string // names of voters below the first and below the second threshold
}

func (e *SpaceError) Error() string {
	var parts []string
	if len(e.Low) > 0 {
		parts = append(parts, fmt.Sprintf("below disk.low_space_bytes on %s", strings.Join(e.Low, ", ")))
	}
	if len(e.Full) > 0 {
		parts = append(parts, fmt.Sprintf("below disk.reserve_bytes on %s", strings.Join(e.Full, ", ")))
	}
	return "disk space is low on a majority of the nodes; free some: " + strings.Join(parts, "; ")
}

// Is makes it an ErrNoSpace.
func (e *SpaceError) Is(target error) bool { return target == ErrNoSpace }

// noSpace says where space is missing.
func (r *Replica) noSpace() error {
	s := r.core.Status()
	e := &SpaceError{}
	note := func(id raft.NodeID, low, full bool) {
		m, ok := s.Config.Find(id)
		switch {
		case !ok || m.Learner:
		case full:
			e.Full = append(e.Full, m.Name)
		case low:
			e.Low = append(e.Low, m.Name)
		}
	}
	note(s.ID, r.space.Low, r.space.Full)
	for _, f := range s.Followers {
		note(f.ID, f.Low, f.Full)
	}
	return e
}

// onTick lets one tick pass.
func (r *Replica) onTick(ev Tick) {
	r.tick++
	r.metrics.Ticks.Add(1)
	r.wall = ev.Wall
	r.core.Tick()
	if r.leads() {
		r.clock.tick(ev.Elapsed, ev.Wall)
		r.proposeTime()
	}
	r.markStalled()
	if !r.isReady.Load() || r.tick%lookTicks == 0 {
		r.setReady()
	}
	if r.tick%lookTicks != 0 {
		return
	}
	r.statusOld = true
	r.expire()
	s := r.core.Status()
	if s.Ready {
		r.inTouch = r.tick
	}
	r.setMembers(s.Config)
	r.lookAtSnapshots(s)
	r.endTransfers()
	r.proposeVerify()
	r.proposeLevel()
	r.lookAtPoints()
}

// lookTicks is the pause between looks at what needs no haste: deadlines, snapshots, members.
const lookTicks = 10

// onCommitted puts entries and the tickets that they settle into the job.
func (r *Replica) onCommitted(entries []raft.Entry) {
	if entries[0].Index != r.handed+1 { // behind an if: the arguments would be allocated for each batch
		assert(false, "committed entry %v after %d", entries[0].EntryID, r.handed)
	}
	r.handed = entries[len(entries)-1].Index
	assert(len(r.job.entries) == 0, "committed entries for a job that has some")
	r.job.entries = entries
	r.job.tickets = r.tickets.settle(entries, r.job.tickets, r.endTicket)
	for i := range entries {
		r.snap.sinceBytes += len(entries[i].Data) + entryOverhead
		if r.isVerify(&entries[i]) {
			r.job.verify = append(r.job.verify, entries[i].Index)
		}
	}
	r.snap.since += len(entries)
	if slices.ContainsFunc(entries, func(e raft.Entry) bool { return e.Type == raft.EntryConfig }) {
		r.tellCommitted(r.core.Status())
	}
}

// tellCommitted passes on a configuration that can't be rolled back any more:
// whom it removed is refused from now on.
func (r *Replica) tellCommitted(s raft.Status) {
	if r.cfg.Committed != nil {
		r.cfg.Committed(s.Committed)
	}
	r.membership = s.Config
	r.statusOld = true
	r.d.SetMembers(s.Config)
}

// entryOverhead is what an entry costs in the log beside its data.
const entryOverhead = 64

func (r *Replica) endTicket(o *op, v verdict) {
	if v == isReplaced {
		r.refuse(o, ErrLostLead)
	} else {
		r.unknown(o, ErrLostLead)
	}
}

// handJob hands the gathered job over if the applier has room.
func (r *Replica) handJob() {
	if r.jobs >= r.cfg.MaxJobs || r.job.empty() {
		return
	}
	r.giveJob()
}

func (r *Replica) giveJob() {
	j := r.job
	r.jobs++
	if n := len(r.spare); n > 0 {
		r.job, r.spare = r.spare[n-1], r.spare[:n-1]
	} else {
		r.job = &Job{}
	}
	r.d.Apply(j)
}

// onApplied takes a job back.
func (r *Replica) onApplied(j *Job) {
	r.jobs--
	assert(r.jobs >= 0, "a job came back that was not given")
	if j.restoreErr != nil {
		r.d.Fatal(j.restoreErr)
		return
	}
	if j.restore != nil {
		r.fetch.restoring = false
	}
	if j.last.Index > r.applied {
		r.applied, r.hash = j.last.Index, j.hash
		r.core.Applied(r.applied)
	}
	r.deadline, r.hasDeadline = j.deadline, j.hasDeadline
	results := j.results
	for i := range j.tickets {
		t := &j.tickets[i]
		if t.op.served != nil {
			r.servedOne(&t.op, Reply{Outcome: Applied, Result: results[0], Index: t.id.Index})
			results = results[1:]
			continue
		}
		r.settled(&t.op, t.id.Index)
	}
	r.returns.applied(r.now, r.applied)
	r.noteLevel(j.level)
	for _, v := range j.verified {
		r.onVerified(v)
	}
	for _, d := range j.done {
		r.readDone(d.conn, d.stale, d.index)
	}
	if j.freezeErr != nil {
		r.onSaved(Saved{Err: j.freezeErr})
	}
	if j.freeze {
		r.snap.frozenAt = r.tick
	}
	if !r.isReady.Load() {
		r.setReady()
	}
	r.proposeTime()
	j.reset()
	r.spare = append(r.spare, j)
}

// setReady notes whether linearizable reads can be served.
func (r *Replica) setReady() {
	ready := !r.closing && r.applied >= r.bootAt && r.core.Status().Ready
	r.isReady.Store(ready)
	r.wasReady = r.wasReady || ready
}

// Ready tells whether linearizable reads can be served now. Anybody may ask.
func (r *Replica) Ready() bool { return r.isReady.Load() }

// deliver hands out the replies that the loop made.
func (r *Replica) deliver() {
	for _, c := range r.replying {
		l := &c.lane
		c.sink.Deliver(l.replies)
		clear(l.replies)
		l.replies, l.queued = l.replies[:0], false
	}
	clear(r.replying)
	r.replying = r.replying[:0]
}

// reply answers a request from the loop.
func (r *Replica) reply(c *Conn, p Reply) {
	l := &c.lane
	if l.closed {
		return
	}
	l.replies = append(l.replies, p)
	if !l.queued {
		l.queued = true
		r.replying = append(r.replying, c)
	}
}
