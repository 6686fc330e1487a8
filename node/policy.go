package node

import (
	"slices"

	"github.com/raftkv/raftkv/raft"
)

// snapshots is the policy of this node's own snapshots: when one is taken, and
// how much of the log stays behind it.
type snapshots struct {
	meta  raft.SnapshotMeta // newest durable one
	bytes uint64            // of its content, zero if unknown
	keep  raft.Index        // first entry that stays in the log behind it, though nobody needs it

	since      int // entries handed to the applier since the last freeze
	sinceBytes int
	due        int // the same, of the freeze that is running: what a failure leaves to be done
	dueBytes   int

	running  bool
	thawing  bool   // told to give up
	frozenAt uint64 // tick
	failures int
	notAt    uint64 // tick before which no other is begun

	wanted []func(raft.SnapshotMeta, error) // by operators, for the next one
	saving []func(raft.SnapshotMeta, error) // for the one that is running

	sources []source
	// lacking is since when a follower without a state has taken none of this
	// node's snapshots, as a tick; 0 if there is none.
	lacking uint64
}

// source is what is known of a follower that fetches from here.
type source struct {
	id      raft.NodeID
	fetched uint64
	grewAt  uint64 // tick
}

// lookAtSnapshots starts a snapshot if one is due and trims the log.
func (r *Replica) lookAtSnapshots(s raft.Status) {
	p := &r.snap
	if r.fetch.running && r.tick-r.fetch.grewAt > uint64(r.cfg.FetchTicks) {
		r.d.StopFetch()
		r.fetch.grewAt = r.tick
	}
	fetching := r.watchSources(s)
	switch {
	case p.running:
		if r.tick-p.frozenAt > uint64(r.cfg.FreezeTicks) && !p.thawing {
			p.thawing = true
			r.job.thaw = true
			r.log.Warn("a snapshot takes too long and is given up", "ticks", r.cfg.FreezeTicks)
		}
	case r.snapshotDue(s, fetching):
		r.freeze()
	}
	r.trim(s, fetching)
}

// watchSources notes who is fetching a snapshot and gets on with it. While
// somebody does, no new snapshot replaces the file, within limits.
func (r *Replica) watchSources(s raft.Status) (fetching bool) {
	p := &r.snap
	var next []source
	for _, f := range s.Followers {
		if f.Fetched == 0 {
			continue
		}
		w := source{id: f.ID, fetched: f.Fetched, grewAt: r.tick}
		if i := slices.IndexFunc(p.sources, func(o source) bool { return o.id == f.ID }); i >= 0 && p.sources[i].fetched == f.Fetched {
			w.grewAt = p.sources[i].grewAt
		}
		next = append(next, w)
		fetching = fetching || r.tick-w.grewAt <= uint64(r.cfg.FetchTicks)
	}
	p.sources = next
	return fetching
}

func (r *Replica) snapshotDue(s raft.Status, fetching bool) bool {
	p := &r.snap
	if r.tick < p.notAt && len(p.wanted) == 0 || r.handed <= p.meta.Last.Index {
		return false
	}
	if len(p.wanted) > 0 || r.lacking(s) {
		return true
	}
	limit := r.cfg.Raft.MaxRetainedBytes
	if fetching && s.LogBytes < limit/4*3 {
		return false
	}
	return r.cfg.SnapshotEntries > 0 && p.since >= r.cfg.SnapshotEntries ||
		r.cfg.SnapshotBytes > 0 && p.sinceBytes >= r.snapshotBytes() ||
		// The retained log nears its bound, and the part behind a new snapshot could go.
		s.LogBytes > limit/2 && p.sinceBytes > limit/8
}

// snapshotBytes is how much log makes a snapshot due. Where the state is large it is
// half of that: each byte of log then costs two of snapshot at most, however large the
// state grows. The log stays in memory, so what it may retain bounds that.
func (r *Replica) snapshotBytes() int {
	half := min(r.snap.bytes/2, uint64(r.cfg.Raft.MaxRetainedBytes/2))
	return max(r.cfg.SnapshotBytes, int(half))
}

// lacking tells whether a follower lost its state and can't use the newest
// snapshot here: its log starts above it. Nobody but a newer one helps it,
// and without writes none would ever be due.
func (r *Replica) lacking(s raft.Status) bool {
	p := &r.snap
	if !slices.ContainsFunc(s.Followers, func(f raft.FollowerStatus) bool {
		return f.Refetch && f.Active && f.Fetch == raft.EntryID{}
	}) {
		p.lacking = 0
		return false
	}
	if p.lacking == 0 {
		p.lacking = r.tick // the one that is offered may do
	}
	return r.tick-p.lacking > uint64(r.cfg.Raft.ElectionTicks)
}

// freeze lets the applier fix a view of the state.
func (r *Replica) freeze() {
	p := &r.snap
	p.running, p.thawing, p.frozenAt = true, false, r.tick
	p.saving, p.wanted = p.wanted, nil
	p.due, p.dueBytes = p.since, p.sinceBytes
	p.since, p.sinceBytes, p.lacking = 0, 0, 0
	r.job.freeze = true
}

func (r *Replica) onSaved(ev Saved) {
	p := &r.snap
	p.running = false
	done := p.saving
	p.saving = nil
	if ev.Err != nil {
		p.failures++
		p.notAt = r.tick + uint64(r.cfg.SnapshotRetryTicks)<<min(p.failures-1, 6)
		p.since, p.sinceBytes = p.since+p.due, p.sinceBytes+p.dueBytes
		r.job.thaw = true // if the file failed, the view is still frozen
		r.metrics.SnapshotErrors.Add(1)
		r.log.Error("a snapshot could not be saved; it will be tried again", "failures", p.failures, "error", ev.Err)
	} else {
		p.failures, p.notAt = 0, 0
		r.metrics.Snapshots.Add(1)
		r.log.Info("snapshot saved", "last", ev.Meta.Last.String(), "bytes", ev.Bytes)
		if ev.Meta.Last.Index > p.meta.Last.Index {
			r.newest(ev.Meta, ev.Bytes)
			r.compact(r.core.Status(), len(p.sources) > 0)
		}
	}
	for _, f := range done {
		f(ev.Meta, ev.Err)
	}
	if len(p.wanted) > 0 {
		r.wanted()
	}
}

// wanted starts the snapshot that an operator asked for, unless one is running.
func (r *Replica) wanted() {
	p := &r.snap
	switch {
	case p.running:
	case r.handed <= p.meta.Last.Index:
		done := p.wanted
		p.wanted = nil
		for _, f := range done {
			f(p.meta, nil) // nothing happened since
		}
	default:
		r.freeze()
	}
}

// newest takes a durable snapshot for the newest one.
func (r *Replica) newest(meta raft.SnapshotMeta, bytes uint64) {
	p := &r.snap
	p.meta, p.bytes = meta, bytes
	p.keep = meta.Last.Index + 1 - min(meta.Last.Index, raft.Index(r.cfg.TrailingEntries))
	if r.cfg.SnapshotBytes > 0 {
		p.keep = max(p.keep, r.core.Within(meta.Last.Index, r.cfg.SnapshotBytes/4))
	}
}

// keepFrom is the first entry that stays in the log behind the newest
// snapshot. Some always stay; more, if a follower that answers lags behind them
// or is fetching: it would else need a snapshot, and after that another one.
func (r *Replica) keepFrom(s raft.Status, fetching bool) raft.Index {
	last, keep := r.snap.meta.Last.Index, r.snap.keep
	for _, f := range s.Followers {
		switch {
		case f.ID == s.ID:
		case fetching && f.Fetch.Index > 0:
			keep = min(keep, f.Fetch.Index+1)
		case f.Active:
			keep = min(keep, f.Match+1)
		}
	}
	return max(keep, last+1-min(last, raft.Index(r.cfg.MaxTrailingEntries)))
}

// trim gives back what was kept for followers that need it no more.
func (r *Replica) trim(s raft.Status, fetching bool) {
	if r.snap.meta.Last.Index == 0 {
		return
	}
	// Not for a few entries: each compaction is work for the disk.
	if keep := r.keepFrom(s, fetching); keep > s.Base.Index+1+raft.Index(max(r.cfg.TrailingEntries/2, 64)) {
		r.core.Compact(r.snap.meta, keep)
	}
}

func (r *Replica) compact(s raft.Status, fetching bool) {
	r.core.Compact(r.snap.meta, r.keepFrom(s, fetching))
}

// fetching is the policy of snapshots that come from another node.
type fetching struct {
	running bool
	// restoring: the applier has not read yet what came last. The file of the next one
	// would take its place on the disk.
	restoring bool

	grewAt   uint64 // tick
	bytes    uint64
	failures int
	notAt    uint64
}

func (f *fetching) room(tick uint64) bool { return !f.running && !f.restoring && tick >= f.notAt }

func (r *Replica) onInstall(in raft.Install) {
	assert(!r.fetch.running, "a second fetch while one is under way")
	r.fetch.running, r.fetch.grewAt, r.fetch.bytes = true, r.tick, 0
	r.log.Info("fetching a snapshot", "from", in.From.String(), "last", in.Meta.Last.String())
	r.d.Fetch(in.From, in.Meta)
}

func (r *Replica) onFetchProgress(ev FetchProgress) {
	if ev.Bytes > r.fetch.bytes {
		r.fetch.bytes, r.fetch.grewAt = ev.Bytes, r.tick
	}
	r.core.Fetching(ev.Last, ev.Bytes)
}

func (r *Replica) onFetched(ev Fetched) {
	f := &r.fetch
	f.running = false
	if ev.Err != nil {
		f.failures++
		f.notAt = r.tick + uint64(r.cfg.SnapshotRetryTicks)<<min(f.failures-1, 6)
		r.metrics.FetchErrors.Add(1)
		r.core.Fetching(raft.EntryID{}, 0) // the leader must not believe that it goes on
		r.log.Warn("a snapshot could not be fetched; it will be tried again", "last", ev.Meta.Last.String(), "error", ev.Err)
		return
	}
	f.failures, f.notAt = 0, 0
	r.metrics.Fetches.Add(1)
	replace := r.core.Installed(ev.Meta)
	r.log.Info("snapshot fetched", "last", ev.Meta.Last.String(), "replaces", replace)
	if ev.Meta.Last.Index > r.snap.meta.Last.Index {
		r.newest(ev.Meta, f.bytes)
	}
	if replace {
		r.install(ev.Meta)
	}
}

// install lets the applier replace the state before it applies anything else.
func (r *Replica) install(meta raft.SnapshotMeta) {
	// Entries are asked of the core only when the job can be handed over in the
	// same Flush, so none can be waiting here.
	assert(len(r.job.entries) == 0, "entries before a restore")
	r.job.restore, r.job.before = &meta, len(r.job.reads)
	r.fetch.restoring = true
	r.handed = meta.Last.Index
	r.lastTime = max(r.lastTime, meta.Time)
	r.snap.since, r.snap.sinceBytes = 0, 0
	r.tickets.jumped(meta.Last, r.endTicket)
	r.tellCommitted(r.core.Status())
}
