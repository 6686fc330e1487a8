package cores

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/rafttest"
)

// Virtual time, in microseconds.
const (
	micro  = 1
	milli  = 1000 * micro
	second = 1000 * milli
	tick   = 10 * milli
)

// maxSteps is far above what a run needs: messages that chase each other end there.
const maxSteps = 200_000

// Result is how a run ended.
type Result struct {
	Err       error  // nil if nothing was wrong
	Hash      uint64 // of everything that happened: the same for the same seed
	Steps     int
	Committed raft.Index
	Terms     raft.Term
	Reads     int // answered
	Changes   int // of membership, begun
	Installs  int
	Forgets   int // disks that went one write back
	Crashes   int
}

// world is one run.
type world struct {
	*rafttest.Cluster
	rand  *rand.Rand
	plan  plan
	now   int
	queue events
	made  uint64 // events so far: those of the same time run in order of making
	res   Result
	trace func(string)

	calm    bool // phase two
	next    uint64
	nextID  raft.NodeID
	hosts   map[raft.NodeID]*host
	blocked map[[2]raft.NodeID]bool
}

// host is what happens around one node.
type host struct {
	n       *rafttest.Node
	disk    bool // an event for its oldest write is under way
	slow    int  // its disk is slow until then
	hung    int  // its disk does nothing until then
	starved int  // its ticker does nothing until then: an old leader does not notice that it is alone
	dirty   bool // had input since the last Flush
	apply   bool // an event for its queue is under way
	fetch   bool
	away    bool // down
	run     int  // counts starts: events of an earlier run are void
	landed  []uint64
}

type event struct {
	at   int
	made uint64
	do   func()
}

type events []event

func (q events) Len() int { return len(q) }
func (q events) Less(i, j int) bool {
	if q[i].at != q[j].at {
		return q[i].at < q[j].at
	}
	return q[i].made < q[j].made
}
func (q events) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *events) Push(x any)   { *q = append(*q, x.(event)) }
func (q *events) Pop() any {
	old := *q
	e := old[len(old)-1]
	*q = old[:len(old)-1]
	return e
}

// Run plays one seed. trace may be nil; else it is told every step.
func Run(seed uint64, trace func(string)) (res Result) {
	w := &world{
		rand:    rand.New(rand.NewPCG(seed, 1)),
		trace:   trace,
		hosts:   map[raft.NodeID]*host{},
		blocked: map[[2]raft.NodeID]bool{},
		res:     Result{Hash: 0xcbf29ce484222325},
	}
	defer func() {
		res = w.res
		if p := recover(); p != nil {
			res.Err = fmt.Errorf("at %d.%06d s: %v", w.now/second, w.now%second, p)
		}
	}()
	w.plan = draw(w.rand)
	w.start()
	w.runUntil(w.plan.faultsFor)
	w.heal()
	w.demandProgress()
	for _, n := range w.Nodes {
		w.note(n.Core.Hash())
	}
	w.res.Committed, w.res.Terms = w.Check.Committed(), w.Check.Term()
	return w.res
}

func (w *world) start() {
	w.Cluster = rafttest.NewWith(w.plan.voters, w.coreConfig)
	w.Cluster.Sent = w.send
	if w.trace != nil {
		w.Cluster.Trace = func(line string) { w.trace(fmt.Sprintf("%9.3f %s", float64(w.now)/milli, line)) }
		w.Cluster.Trace(fmt.Sprintf("plan %+v", w.plan))
	}
	w.nextID = raft.NodeID(w.plan.voters) + 1
	for _, n := range w.Nodes {
		w.adopt(n)
	}
	w.after(w.rand.IntN(50*milli), w.client)
	w.after(w.rand.IntN(200*milli), w.nemesis)
}

// coreConfig draws the limits of one core; they may differ between nodes and starts.
func (w *world) coreConfig(id raft.NodeID) raft.Config {
	p := &w.plan
	c := raft.DefaultConfig()
	c.Seed = w.rand.Uint64()
	c.ElectionTicks, c.HeartbeatTicks = p.electionTicks, p.heartbeatTicks
	c.MaxWrites = 1 + w.rand.IntN(p.maxWrites)
	if p.tiny {
		c.MaxAppendBytes = 1 + w.rand.IntN(300)
		c.MaxInflight = 1 + w.rand.IntN(4)
		c.MaxInflightBytes = 1 + w.rand.IntN(1000)
		c.MaxWriteBytes = 1 + w.rand.IntN(400)
		c.MaxUncommittedBytes = 200 + w.rand.IntN(4000)
		c.MaxRetainedBytes = c.MaxUncommittedBytes + 4000 + w.rand.IntN(8000)
	}
	return c
}

// adopt sets a started node going.
func (w *world) adopt(n *rafttest.Node) {
	h := w.hosts[n.ID]
	if h == nil {
		h = &host{n: n}
		w.hosts[n.ID] = h
	}
	h.run++
	h.away, h.disk, h.apply, h.fetch, h.landed, h.dirty = false, false, false, false, nil, true
	n.HoldApply = true
	w.tickLoop(h, h.run)
}

func (w *world) after(d int, do func()) {
	w.made++
	heap.Push(&w.queue, event{w.now + d, w.made, do})
}

// afterOn is after for what concerns one run of one node.
func (w *world) afterOn(h *host, d int, do func()) {
	run := h.run
	w.after(d, func() {
		if h.run == run && !h.away {
			do()
			w.touched(h)
		}
	})
}

// note adds a number to the hash of the run.
func (w *world) note(v uint64) { w.res.Hash = (w.res.Hash ^ v) * 0x100000001b3 }

func (w *world) runUntil(end int) {
	for len(w.queue) > 0 && w.queue[0].at <= end {
		e := heap.Pop(&w.queue).(event)
		w.now = e.at
		if w.res.Steps++; w.res.Steps > maxSteps {
			panic("too many steps: something answers itself without end" + w.describe())
		}
		w.note(uint64(e.at))
		w.note(e.made)
		e.do()
	}
	w.now = end
}

// touched flushes a node after an input, or lets inputs gather.
func (w *world) touched(h *host) {
	h.dirty = true
	if w.plan.lazy > 0 && w.rand.IntN(100) < w.plan.lazy {
		return
	}
	w.flush(h)
}

func (w *world) flush(h *host) {
	if h.away {
		return
	}
	n := h.n
	h.dirty = false
	n.HoldWrites = w.rand.IntN(8) == 0 && !w.calm
	n.ApplyBytes = 1 + w.rand.IntN(2000)
	w.Flush(n)
	w.note(uint64(len(n.Queue)))
	w.res.Reads += len(n.Ready)
	n.Ready, n.Lost = nil, nil
	if len(n.Disk.Flight) > 0 && !h.disk {
		h.disk = true
		w.afterOn(h, w.diskDelay(h), func() { w.land(h) })
	}
	if len(n.Queue) > 0 && !h.apply {
		h.apply = true
		w.afterOn(h, w.rand.IntN(w.plan.applyDelay), func() {
			h.apply = false
			w.Apply(n, min(len(n.Queue), 1+w.rand.IntN(20)))
		})
	}
	if n.Fetch != nil && !h.fetch {
		h.fetch = true
		w.fetchStep(h, 0)
	}
}

// land ends the oldest write; the core may learn of it later, and of several at once.
func (w *world) land(h *host) {
	h.disk = false
	if w.now < h.hung {
		h.disk = true
		w.afterOn(h, h.hung-w.now, func() { w.land(h) })
		return
	}
	seq := h.n.Disk.Land()
	if w.rand.IntN(4) > 0 {
		w.Wrote(h.n, seq)
		return
	}
	w.afterOn(h, w.rand.IntN(5*milli), func() {
		if seq <= h.n.Disk.Durable.Seq {
			w.Wrote(h.n, seq)
		}
	})
}

func (w *world) diskDelay(h *host) int {
	d := 100*micro + w.rand.IntN(w.plan.diskDelay)
	if !w.calm && w.now < h.slow {
		d += w.rand.IntN(400 * milli)
	}
	return d
}

func (w *world) fetchStep(h *host, done uint64) {
	w.afterOn(h, 1+w.rand.IntN(w.plan.fetchDelay), func() {
		n := h.n
		from := w.hosts[n.Fetch.From]
		if !w.calm && w.rand.IntN(10) == 0 || from == nil || from.away && w.rand.IntN(3) == 0 {
			n.Fetch, h.fetch = nil, false // given up; the leader offers again
			return
		}
		if done < uint64(w.rand.IntN(4)) {
			w.Do(n, func(r *raft.Raft) { r.Fetching(n.Fetch.Meta.Last, done+1) })
			w.fetchStep(h, done+1)
			return
		}
		h.fetch = false
		w.res.Installs++
		w.Fetched(n)
	})
}

func (w *world) tickLoop(h *host, run int) {
	d := tick
	if w.plan.drift > 0 {
		d += w.rand.IntN(w.plan.drift) - w.plan.drift/2
	}
	w.after(d, func() {
		if h.run != run || h.away {
			return
		}
		if w.now >= h.starved {
			w.Tick(h.n)
			w.flush(h)
		}
		w.tickLoop(h, run)
	})
}

// send decides the fate of a message.
func (w *world) send(e *rafttest.Envelope) {
	w.note(uint64(e.Kind)<<32 + uint64(e.Term)<<8 + uint64(len(e.Entries)))
	if w.blocked[[2]raft.NodeID{e.From, e.To}] || w.rand.IntN(1000) < w.plan.loss {
		return
	}
	copies := 1
	if w.rand.IntN(1000) < w.plan.dup {
		copies = 2
	}
	for range copies {
		d := w.plan.delay/2 + w.rand.IntN(w.plan.delay)
		if w.rand.IntN(1000) < w.plan.late {
			d += w.rand.IntN(2 * second)
		}
		w.after(d, func() {
			h := w.hosts[e.To]
			if h == nil || h.away || w.blocked[[2]raft.NodeID{e.From, e.To}] {
				return
			}
			w.Receive(e)
			w.touched(h)
		})
	}
}

// client proposes and reads, mostly at a leader.
func (w *world) client() {
	if !w.calm {
		defer w.after(1+w.rand.IntN(w.plan.clientPause), w.client)
	}
	h := w.someHost()
	if l := w.someLeader(); l != nil && w.rand.IntN(8) > 0 {
		h = w.hosts[l.ID]
	}
	if h == nil || h.away {
		return
	}
	for range 1 + w.rand.IntN(5) {
		w.next++
		if w.rand.IntN(3) == 0 {
			w.Read(h.n, w.next)
		} else {
			w.Propose(h.n, fmt.Sprintf("%d%*d", w.next, w.rand.IntN(w.plan.valueBytes), 0), raft.Time(w.now))
		}
	}
	w.touched(h)
}

// someLeader is a node that believes it leads; mostly the one of the highest term.
func (w *world) someLeader() *rafttest.Node {
	if w.rand.IntN(2) == 0 {
		return w.Leader()
	}
	var ls []*rafttest.Node
	for _, n := range w.Nodes {
		if n.Core != nil && n.Core.Role() == raft.Leader {
			ls = append(ls, n)
		}
	}
	if len(ls) == 0 {
		return nil
	}
	return ls[w.rand.IntN(len(ls))]
}

// someHost is any node, up or not.
func (w *world) someHost() *host {
	n := w.Nodes[w.rand.IntN(len(w.Nodes))]
	return w.hosts[n.ID]
}

func (w *world) heal() {
	w.calm = true
	w.plan.loss, w.plan.dup, w.plan.late, w.plan.lazy, w.plan.drift = 0, 0, 0, 0, 0
	w.plan.delay, w.plan.diskDelay = 2*milli, 2*milli
	clear(w.blocked)
	for _, n := range slices.Clone(w.Nodes) {
		h := w.hosts[n.ID]
		h.slow, h.starved, h.hung = 0, 0, min(h.hung, w.now)
		if h.away {
			w.restart(h)
		}
		w.Do(n, func(r *raft.Raft) { r.SetFull(false) })
	}
}

// demandProgress: within a minute there is a leader whose new entry is applied
// by every member, and a read of which is answered.
func (w *world) demandProgress() {
	end := w.now + 60*second
	var mark raft.EntryID
	reads := w.res.Reads
	why := "no leader"
	for w.now < end {
		w.runUntil(w.now + 50*milli)
		l := w.Leader()
		if l == nil {
			why = "no leader"
			continue
		}
		if mark.Term != l.Core.Term() {
			id, err := w.Propose(l, "mark", raft.Time(w.now))
			if err != nil {
				why = err.Error()
				w.makeRoom()
				continue
			}
			mark = id
			w.next++
			w.Read(l, w.next)
			w.flush(w.hosts[l.ID])
			continue
		}
		behind := raft.None
		for _, m := range l.Core.Status().Config.Members {
			if n := w.Node(m.ID); n.App.Last.Index < mark.Index {
				behind = m.ID
			}
		}
		switch {
		case behind != raft.None:
			why = fmt.Sprintf("node %v has not applied %v", behind, mark)
			w.makeRoom()
		case w.res.Reads == reads:
			why = "a read is not answered"
		default:
			return
		}
	}
	panic("no progress within a minute after everything was healed: " + why + w.describe())
}

// makeRoom compacts where logs are full and saves where a member lacks a
// snapshot, as a driver would.
func (w *world) makeRoom() {
	refetch := slices.ContainsFunc(w.Nodes, func(n *rafttest.Node) bool { return n.Core.Status().Refetch })
	for _, n := range w.Nodes {
		if st := n.Core.Status(); refetch && n.App.Last.Index > 0 || st.LogBytes > 4000 && n.App.Last.Index > st.Base.Index {
			w.Snapshot(n, n.App.Last.Index+1)
			w.flush(w.hosts[n.ID])
		}
	}
}

func (w *world) describe() string {
	s := ""
	for _, n := range w.Nodes {
		if n.Core == nil {
			continue
		}
		st := n.Core.Status()
		s += fmt.Sprintf("\n  node %v: %v term %d vote %v leader %v last %v stable %d commit %d applied %v base %v fence %d refetch %v config %v followers %+v",
			n.ID, st.Role, st.Term, st.Vote, st.Leader, st.Last, st.Stable, st.Commit, n.App.Last, st.Base, st.Fence, st.Refetch, st.Config, st.Followers)
	}
	return s
}
