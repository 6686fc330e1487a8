package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/raftkv/raftkv/node"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raftlog"
	"github.com/raftkv/raftkv/snapshot"
)

// free tells whether a host may get into trouble that only others can mend: one
// at a time, of at least three voters, and nobody else lacks anything.
func (w *world) free(h *host) bool {
	if h == nil || w.trouble != nil && w.trouble != h || len(w.truth.voters) < 3 || !slices.Contains(w.truth.voters, h.id) {
		return false
	}
	for _, o := range w.hosts {
		if o != h && (o.drive.ghost || o.drive.lostFile || o.drive.rotting || o.drive.rotten || o.dead || o.disk.Fence() != raft.FenceNone) {
			return false
		}
	}
	return true
}

// forget restarts a node on a log that is one write back, as bbolt opens it after
// damage to one of its meta pages: term and vote come from their second copy.
func (w *world) forget() bool {
	h := w.someUp()
	if !w.free(h) || h.drive.ghost || h.disk.Fence() != raft.FenceNone {
		return false
	}
	h.crash(killed)
	if base, _ := h.disk.Ends(); h.disk.Forget(1, true) == 1 {
		if was, _ := h.disk.Ends(); was != base {
			// The state of the log before a compaction or an installation; whether the
			// store can be in it after a bad meta page is a matter of raftlog's tests.
			w.say("%v forgot a compaction", h.id)
		}
		h.drive.ghost, w.trouble = true, h
	}
	h.restartSoon()
	if w.chance(2) { // its vote is wanted before it knows again
		w.after(w.upTo(time.Second), func() {
			if l := w.leader(); l != h {
				w.end(l, killed)
			}
		})
	}
	return true
}

// loseSnapshot damages the newest snapshot of a node whose log doesn't reach
// back without it: it must fetch one though its log goes on.
func (w *world) loseSnapshot() bool {
	h := w.someUp()
	if !w.free(h) || h.drive.lostFile {
		return false
	}
	if base, _ := h.disk.Ends(); base.Index == 0 {
		return false
	}
	h.crash(killed)
	names, err := h.fs.ReadDir("/snapshots")
	if err != nil {
		panic(err)
	}
	for _, name := range names {
		if !strings.HasSuffix(name, ".snap") {
			continue
		}
		path := "/snapshots/" + name
		b, err := h.fs.ReadFile(path)
		if err != nil {
			panic(err)
		}
		b[w.rand.IntN(len(b))] ^= 1 << w.rand.IntN(8)
		if err := h.fs.WriteFile(path, b); err != nil {
			panic(err)
		}
	}
	h.durable = raft.SnapshotMeta{Config: h.birth}
	h.drive.lostFile, w.trouble = true, h
	h.restartSoon()
	return true
}

// damageLog damages a stored value of the log: the node must not start again. It
// is replaced by another one with an empty disk.
func (w *world) damageLog() bool {
	h := w.someUp()
	if !w.free(h) || w.trouble != nil {
		return false
	}
	h.crash(killed)
	h.drive.damaged, h.dead, w.trouble = true, true, h
	h.dead = false
	h.start()
	if h.up {
		w.rules.broken("damage", "node %v starts on a damaged log", h.id)
	}
	h.dead = true
	w.replaceSoon(h)
	return true
}

// wipe takes everything from a node but its identity. All others live and have
// heard of it, so it must be refused: it is fenced before it can say a word. It
// is replaced by another one.
func (w *world) wipe() bool {
	h := w.someUp()
	if !w.free(h) || w.trouble != nil {
		return false
	}
	for _, o := range w.hosts {
		o.growHeard()
		if o != h && (!o.up || o.heard[h.n] == 0) {
			return false
		}
	}
	h.crash(powered)
	h.disk, h.fs = raftlog.NewMem(), snapshot.NewMemFS()
	h.durable = raft.SnapshotMeta{Config: h.birth}
	h.drive.ghost, h.drive.amnesiac, w.trouble, w.amnesiac = true, true, h, h
	h.start()
	w.replaceSoon(h)
	return true
}

// rotState lets the state of a node go wrong, unnoticed: the next value of a key
// that nobody reads. The next comparison with the others must find it.
func (w *world) rotState() bool {
	h := w.someUp()
	if !w.free(h) || w.trouble != nil || h == w.leader() {
		return false
	}
	h.drive.rotting, w.trouble = true, h
	return true
}

// rotLeads: who leads gives its snapshots to others, and a wrong state would
// soon be that of a majority. That is a case which only an operator solves, here at once.
func (h *host) rotLeads() {
	if h.drive.rotten && h.core().Role() == raft.Leader {
		h.w.say("%v leads with a wrong state", h.id)
		h.refetch = max(h.w.truth.committed(), 1)
		h.crash(killed)
		h.restartSoon()
	}
}

// mended notes when a host is out of its trouble.
func (h *host) mended() {
	w := h.w
	if w.trouble != h || !h.up {
		return
	}
	if h.drive.ghost && !h.drive.amnesiac && h.disk.Fence() == raft.FenceNone && h.core().Status().Fence == raft.FenceNone {
		h.drive.ghost = false
	}
	if h.refetch > 0 && !h.core().Status().Refetch {
		h.refetch = 0
	}
	if !h.drive.ghost && !h.drive.lostFile && !h.drive.rotting && !h.drive.rotten && h.refetch == 0 && !h.dead {
		w.say("%v is well again", h.id)
		w.trouble = nil
	}
}

// changeMember asks some leader for a random change of membership.
func (w *world) changeMember() bool {
	l := w.someLeader()
	return l != nil && w.changeAt(l)
}

func (w *world) changeAt(l *host) bool {
	c := l.core().Status().Config
	m := c.Members[w.rand.IntN(len(c.Members))]
	switch {
	case w.chance(3) && len(c.Members) < 7 && len(w.hosts) < 14:
		h := w.newHost(raft.Configuration{})
		h.start()
		w.change(l, h.id, &raft.Member{ID: h.id, Name: fmt.Sprintf("n%d", h.id), Learner: true})
	case m.Learner:
		m.Learner = false
		w.change(l, m.ID, &m)
	case len(c.Voters()) <= 2:
		return false
	case w.chance(2):
		m.Learner = true
		w.change(l, m.ID, &m)
	default:
		w.change(l, m.ID, nil)
	}
	return true
}

func (w *world) change(l *host, id raft.NodeID, m *raft.Member) {
	l.input(func() {
		_ = l.loop.Ask(node.ChangeMember{ID: id, Member: m, Done: func(err error) { w.say("change of %v: %v", id, err) }})
	})
}

// replaceSoon does what an operator does for a node that is lost: remove it, and
// add another one, which becomes a voter once it has caught up.
func (w *world) replaceSoon(lost *host) {
	fresh := w.newHost(raft.Configuration{})
	fresh.start()
	var step func()
	step = func() {
		l := w.leader()
		again := func() { w.after(w.between(50*milli, 500*milli), step) }
		if l == nil {
			again()
			return
		}
		c := l.core().Status().Config
		_, there := c.Find(lost.id)
		m, added := c.Find(fresh.id)
		switch {
		case there:
			w.change(l, lost.id, nil)
		case !added:
			w.change(l, fresh.id, &raft.Member{ID: fresh.id, Name: fmt.Sprintf("n%d", fresh.id), Learner: true})
		case m.Learner:
			m.Learner = false
			w.change(l, fresh.id, &m)
		default:
			committed := l.core().Status().Committed
			if !committed.IsVoter(lost.id) && committed.IsVoter(fresh.id) {
				lost.left = true
				lost.crash(killed)
				lost.dead, lost.drive.ghost = false, false
				w.trouble = nil
				return
			}
		}
		again()
	}
	w.after(w.upTo(500*milli), step)
}
