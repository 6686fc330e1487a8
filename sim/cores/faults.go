package cores

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/raftkv/raftkv/raft"
)

// plan is what a seed draws once: which faults there are, and how bad. Each run
// has some of them only (a swarm): a fault that is always there hides others.
type plan struct {
	voters         int
	electionTicks  int
	heartbeatTicks int
	maxWrites      int
	tiny           bool // windows, messages and writes of a few entries
	lazy           int  // percent of inputs that are not followed by Output at once
	drift          int  // microseconds by which a tick may be off
	faultsFor      int

	delay, loss, dup, late int // of messages; loss, dup and late are per mille
	diskDelay, applyDelay  int
	fetchDelay             int
	clientPause            int
	valueBytes             int
	nemesisPause           int
	faults                 []fault // this run's
}

type fault struct {
	name string
	do   func(*world)
}

// allFaults in a fixed order: the seed picks among them.
func allFaults() []fault {
	return []fault{
		{"crash", (*world).crashOne},
		{"crash-all", (*world).crashAll},
		{"cut-one", (*world).cutOne},
		{"cut-pair", (*world).cutPair},
		{"cut-leader", (*world).cutLeader},
		{"crash-leader", func(w *world) {
			if l := w.someLeader(); l != nil {
				w.crash(w.hosts[l.ID])
			}
		}},
		{"mend", func(w *world) { clear(w.blocked) }},
		{"slow-disk", func(w *world) { w.someHost().slow = w.now + w.rand.IntN(3*second) }},
		{"hung-disk", func(w *world) { w.someHost().hung = w.now + w.rand.IntN(4*second) }},
		{"starve", func(w *world) {
			if l := w.Leader(); l != nil {
				w.hosts[l.ID].starved = w.now + w.rand.IntN(3*second)
			}
		}},
		{"starve-and-cut-leader", func(w *world) {
			if l := w.Leader(); l != nil {
				w.hosts[l.ID].starved = w.now + w.rand.IntN(3*second)
				w.cutLeader()
			}
		}},
		{"transfer", (*world).transfer},
		{"snapshot", (*world).snapshot},
		{"snapshot", (*world).snapshot},
		{"unreachable", (*world).unreachable},
		{"full", (*world).full},
		{"change", (*world).change},
		{"forget", (*world).forget},
		{"lose-snapshot", (*world).loseSnapshot},
	}
}

func draw(r *rand.Rand) plan {
	p := plan{
		voters:       []int{1, 2, 3, 3, 3, 3, 4, 5, 5}[r.IntN(9)],
		maxWrites:    1 + r.IntN(3),
		tiny:         r.IntN(3) > 0,
		delay:        []int{200 * micro, 2 * milli, 10 * milli, 40 * milli}[r.IntN(4)] + 1,
		diskDelay:    []int{200 * micro, 2 * milli, 10 * milli, 60 * milli}[r.IntN(4)],
		applyDelay:   []int{1 * milli, 20 * milli}[r.IntN(2)],
		fetchDelay:   []int{5 * milli, 100 * milli}[r.IntN(2)],
		clientPause:  []int{5 * milli, 30 * milli, 100 * milli}[r.IntN(3)],
		valueBytes:   []int{1, 100, 400}[r.IntN(3)],
		nemesisPause: []int{100 * milli, 400 * milli, 1000 * milli}[r.IntN(3)],
		faultsFor:    3*second + r.IntN(5*second),
	}
	p.heartbeatTicks = 1 + r.IntN(5)
	p.electionTicks = 3*p.heartbeatTicks + r.IntN(20)
	if r.IntN(2) == 0 {
		p.lazy = r.IntN(80)
	}
	if r.IntN(2) == 0 {
		p.drift = tick / 2
	}
	if r.IntN(2) == 0 {
		p.loss = r.IntN(200)
	}
	if r.IntN(2) == 0 {
		p.dup = r.IntN(200)
	}
	if r.IntN(2) == 0 {
		p.late = r.IntN(100)
	}
	// A disk that forgot takes its node out of all elections until it has caught up: when
	// there are few voters, or members come and go, that could be for ever. So a run has one of these.
	special := []string{"change", "forget", "lose-snapshot", ""}[r.IntN(4)]
	for _, f := range allFaults() {
		switch f.name {
		case "change", "forget", "lose-snapshot":
			if f.name == special && (f.name == "change" || p.voters >= 3) {
				p.faults = append(p.faults, f, f, f, f)
			}
		default:
			if r.IntN(5) < 2 {
				p.faults = append(p.faults, f)
			}
		}
	}
	return p
}

func (w *world) nemesis() {
	if w.calm {
		return
	}
	w.after(1+w.rand.IntN(w.plan.nemesisPause), w.nemesis)
	if len(w.plan.faults) == 0 {
		return
	}
	f := w.plan.faults[w.rand.IntN(len(w.plan.faults))]
	w.say("fault " + f.name)
	f.do(w)
}

func (w *world) say(line string) {
	if w.Cluster.Trace != nil {
		w.Cluster.Trace(line)
	}
}

func (w *world) crash(h *host) {
	if h.away {
		return
	}
	w.res.Crashes++
	h.away = true
	w.Crash(h.n, w.rand.IntN(4))
	w.after(w.rand.IntN(2*second), func() {
		if h.away {
			w.restart(h)
		}
	})
}

func (w *world) restart(h *host) {
	if err := w.Start(h.n); err != nil {
		panic(fmt.Sprintf("node %v does not start: %v", h.n.ID, err))
	}
	w.adopt(h.n)
	w.flush(h)
}

func (w *world) crashOne() { w.crash(w.someHost()) }

func (w *world) crashAll() {
	for _, n := range slices.Clone(w.Nodes) {
		w.crash(w.hosts[n.ID])
	}
}

// cutOne cuts one node off: what it sends, what it receives, or both.
func (w *world) cutOne() {
	id, how := w.someHost().n.ID, w.rand.IntN(3)
	for _, o := range w.Nodes {
		if how != 1 {
			w.blocked[[2]raft.NodeID{id, o.ID}] = true
		}
		if how != 0 {
			w.blocked[[2]raft.NodeID{o.ID, id}] = true
		}
	}
}

// cutLeader leaves a leader alone, or with one other, while it still takes proposals and reads.
func (w *world) cutLeader() {
	l := w.Leader()
	if l == nil {
		return
	}
	friend := l.ID
	if w.rand.IntN(2) == 0 {
		friend = w.someHost().n.ID
	}
	for _, o := range w.Nodes {
		if o.ID != friend {
			w.blocked[[2]raft.NodeID{l.ID, o.ID}] = true
			w.blocked[[2]raft.NodeID{o.ID, l.ID}] = true
		}
	}
	w.after(w.rand.IntN(3*second), func() {
		for _, o := range w.Nodes {
			delete(w.blocked, [2]raft.NodeID{l.ID, o.ID})
			delete(w.blocked, [2]raft.NodeID{o.ID, l.ID})
		}
	})
}

func (w *world) cutPair() {
	w.blocked[[2]raft.NodeID{w.someHost().n.ID, w.someHost().n.ID}] = true
}

func (w *world) transfer() {
	if l := w.Leader(); l != nil {
		to := w.someHost().n.ID
		w.Do(l, func(r *raft.Raft) { _ = r.Transfer(to) })
		w.touched(w.hosts[l.ID])
	}
}

func (w *world) snapshot() {
	h := w.someHost()
	if h.away || h.n.App.Last.Index == 0 {
		return
	}
	last := h.n.App.Last.Index
	w.Snapshot(h.n, last+1-min(last, raft.Index(w.rand.IntN(20))))
	w.touched(h)
}

func (w *world) unreachable() {
	h := w.someHost()
	if h.away {
		return
	}
	w.Do(h.n, func(r *raft.Raft) { r.Unreachable(r.Leader()) })
	w.touched(h)
}

func (w *world) full() {
	h, full := w.someHost(), w.rand.IntN(2) == 0
	if !h.away {
		w.Do(h.n, func(r *raft.Raft) { r.SetFull(full) })
	}
}

// change asks some leader for a random change of membership.
func (w *world) change() {
	l := w.someLeader()
	if l == nil {
		return
	}
	c := l.Core.Status().Config
	var err error
	switch m := c.Members[w.rand.IntN(len(c.Members))]; {
	case w.rand.IntN(3) == 0 && len(w.Nodes) < 8:
		id := w.nextID
		w.nextID++
		if _, err = w.Change(l, id, &raft.Member{ID: id, Name: fmt.Sprint("n", id), Learner: true}); err == nil {
			n := w.Add(id, raft.SnapshotMeta{})
			w.adopt(n)
		}
	case m.Learner:
		m.Learner = false
		_, err = w.Change(l, m.ID, &m)
	case w.rand.IntN(2) == 0:
		m.Learner = true
		_, err = w.Change(l, m.ID, &m)
	default:
		_, err = w.Change(l, m.ID, nil)
	}
	if err == nil {
		w.res.Changes++
	}
	w.touched(w.hosts[l.ID])
}

// forget restarts a node on a disk that is one write back. One at a time: two
// that forgot the same entry could not know.
func (w *world) forget() {
	h := w.someHost()
	for _, n := range w.Nodes {
		if n.Disk.Ghost || n.Disk.Durable.Fence != raft.FenceNone {
			return
		}
	}
	if !h.away {
		w.crash(h)
		h.n.Disk.Forget()
		w.res.Forgets++
	}
}

// loseSnapshot restarts a node without a usable snapshot: it must fetch one
// though its log goes on.
func (w *world) loseSnapshot() {
	h := w.someHost()
	for _, n := range w.Nodes {
		if n.Core != nil && n.Core.Status().Refetch || n.Disk.Durable.Snapshot.Last.Index < n.Disk.Durable.Base.Index {
			return
		}
	}
	if h.away || len(w.Nodes) < 3 || h.n.Disk.Durable.Base.Index == 0 {
		return
	}
	w.crash(h)
	h.n.Disk.Durable.Snapshot = raft.SnapshotMeta{Config: w.birth()}
}

func (w *world) birth() raft.Configuration {
	var c raft.Configuration
	for id := raft.NodeID(1); id <= raft.NodeID(w.plan.voters); id++ {
		c.Members = append(c.Members, raft.Member{ID: id, Name: fmt.Sprint("n", id)})
	}
	return c
}
