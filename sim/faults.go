package sim

import (
	"slices"
	"time"

	"github.com/raftkv/raftkv/node"
	"github.com/raftkv/raftkv/raft"
)

// fault is one kind of what may happen to a cluster. do tells whether it did
// anything: only then it counts.
type fault struct {
	name    string
	special string // of this group a run has one kind at most: see specials
	do      func(*world) bool
	aimed   bool // it needs luck besides: a run that has it has it often
}

// specials are faults after which a node is of no use until others have helped it.
var specials = []string{"", "member", "member", "forget", "lose-snapshot", "damage", "amnesiac", "rot"}

// allFaults in a fixed order: the seed picks among them.
func allFaults() []fault {
	on := func(f func(*world, *host) bool) func(*world) bool {
		return func(w *world) bool {
			h := w.someUp()
			return h != nil && f(w, h)
		}
	}
	return []fault{
		{name: "kill", do: on(func(w *world, h *host) bool { return w.end(h, killed) })},
		{name: "power", do: on(func(w *world, h *host) bool { return w.end(h, powered) })},
		{name: "terminate", do: on((*world).terminate)},
		{name: "kill-leader", do: func(w *world) bool { return w.end(w.someLeader(), killed) }},
		{name: "power-all", do: (*world).powerAll},
		{name: "kill-writing", do: (*world).killWriting},
		{name: "kill-installing", do: (*world).killInstalling},
		{name: "cut-leader", do: (*world).cutLeader},
		{name: "cut-one", do: on((*world).cutOne)},
		{name: "cut-one-way", do: on((*world).cutOneWay)},
		{name: "cut-ring", do: (*world).cutRing},
		{name: "split", do: (*world).split},
		{name: "flap", do: (*world).flap},
		{name: "reset", do: (*world).reset},
		{name: "mend", do: (*world).mend},
		{name: "slow-disk", do: on(func(w *world, h *host) bool { h.drive.slow = w.now + w.upTo(3*time.Second); return true })},
		{name: "hung-disk", do: on(func(w *world, h *host) bool { h.drive.hung = w.now + w.upTo(4*time.Second); return true })},
		{name: "hung-leader-disk", do: func(w *world) bool {
			h := w.leader()
			if h != nil {
				h.drive.hung = w.now + w.upTo(4*time.Second)
			}
			return h != nil
		}},
		{name: "broken-disk", do: on(func(w *world, h *host) bool { h.drive.fails = true; return true })},
		{name: "full-disk", do: on((*world).full)},
		{name: "slow-applier", do: on(func(w *world, h *host) bool { h.hung = w.now + w.frozenFor(); return true })},
		{name: "pause", do: on(func(w *world, h *host) bool { return h.pause(w.upTo(3 * time.Second)) })},
		{name: "pause-leader", do: func(w *world) bool {
			h := w.leader()
			return h != nil && h.pause(w.upTo(3*time.Second))
		}},
		{name: "starve", do: on(func(w *world, h *host) bool { h.clock.starved = w.now + w.upTo(3*time.Second); return true })},
		{name: "starve-and-cut-leader", do: func(w *world) bool {
			h := w.leader()
			if h == nil {
				return false
			}
			// Long enough for another leader, and for clients of both.
			d := w.between(time.Second, 5*time.Second)
			h.clock.starved = w.now + d
			cuts := w.cut([]*host{h}, w.others(h), true)
			w.after(d, func() { w.uncut(cuts) })
			return true
		}},
		{name: "held-echoes", do: (*world).heldEchoes, aimed: true},
		{name: "held-transfer", do: (*world).heldTransfer, aimed: true},
		{name: "unsaved-bid", do: (*world).unsavedBid, aimed: true},
		{name: "clock-jump", do: on((*world).jump)},
		{name: "transfer", do: (*world).transfer},
		{name: "take-snapshot", do: on(func(w *world, h *host) bool {
			h.input(func() { _ = h.loop.Ask(node.TakeSnapshot{Done: func(raft.SnapshotMeta, error) {}}) })
			return true
		})},
		{name: "member-change", special: "member", do: (*world).changeMember},
		{name: "forget-write", special: "forget", do: (*world).forget},
		{name: "lose-snapshot", special: "lose-snapshot", do: (*world).loseSnapshot},
		{name: "damaged-log", special: "damage", do: (*world).damageLog},
		{name: "rotting-state", special: "rot", do: (*world).rotState},
		{name: "amnesiac", special: "amnesiac", do: (*world).wipe},
	}
}

// FaultNames are the kinds of faults that Options.Faults may name.
func FaultNames() []string {
	var names []string
	for _, f := range allFaults() {
		names = append(names, f.name)
	}
	for _, c := range new(plan).climate() {
		names = append(names, c.name)
	}
	return append(names, "late-birth")
}

// nemesis injects one fault and comes back.
func (w *world) nemesis() {
	if w.calm || len(w.plan.faults) == 0 {
		return
	}
	w.after(w.upTo(2*w.plan.nemesis)+1, w.nemesis)
	f := w.plan.faults[w.rand.IntN(len(w.plan.faults))]
	w.say("fault %s", f.name)
	if f.do(w) {
		w.count.Faults[f.name]++
	}
}

// end crashes a host and lets somebody start it again.
func (w *world) end(h *host, how ending) bool {
	if h == nil || !h.up {
		return false
	}
	h.crash(how)
	h.restartSoon()
	return true
}

func (w *world) powerAll() bool {
	for _, h := range w.hosts {
		w.end(h, powered)
	}
	return true
}

func (w *world) terminate(h *host) bool {
	return h.stop(h.restartSoon)
}

// killWriting ends whoever has a write in flight: a promise that is not saved.
func (w *world) killWriting() bool {
	return w.end(w.some(func(h *host) bool { return h.up && len(h.disk.Flight()) > 0 }), pick(w, killed, powered))
}

// killInstalling ends whoever is fetching a snapshot or about to restore it, or lies
// in wait for the next one: a fetch is short, and few faults would ever hit one.
func (w *world) killInstalling() bool {
	if w.end(w.some((*host).installing), pick(w, killed, powered)) {
		return true
	}
	w.ambush = true
	return false
}

func (h *host) installing() bool {
	return h.up && (h.fetch != nil || slices.ContainsFunc(h.jobs, (*node.Job).Restores))
}

// ambushed ends a host that begins to fetch a snapshot, a little later, if
// killInstalling waits for one.
func (h *host) ambushed() {
	w := h.w
	if !w.ambush {
		return
	}
	w.ambush = false
	h.after(w.upTo(60*milli), func() {
		if !w.calm && h.installing() && w.end(h, pick(w, killed, powered)) {
			w.count.Faults["kill-installing"]++
		}
	})
}

// later undoes a cut after a while, if nothing else has by then.
func (w *world) later(cuts [][2]*host) {
	w.after(w.upTo(4*time.Second), func() { w.uncut(cuts) })
}

func (w *world) uncut(cuts [][2]*host) {
	for _, c := range cuts {
		w.unblock(c[0], c[1])
	}
}

// cut stops what goes from any of a to any of b.
func (w *world) cut(a, b []*host, both bool) [][2]*host {
	var cuts [][2]*host
	for _, x := range a {
		for _, y := range b {
			if x == y {
				continue
			}
			cuts = append(cuts, [2]*host{x, y})
			if both {
				cuts = append(cuts, [2]*host{y, x})
			}
		}
	}
	for _, c := range cuts {
		w.block(c[0], c[1])
	}
	return cuts
}

func (w *world) others(of ...*host) []*host {
	var rest []*host
	for _, h := range w.hosts {
		if !slices.Contains(of, h) {
			rest = append(rest, h)
		}
	}
	return rest
}

// cutLeader leaves a leader alone, or with one other, while it still takes requests.
func (w *world) cutLeader() bool {
	l := w.leader()
	if l == nil {
		return false
	}
	friend := l
	if w.chance(2) {
		friend = w.someHost()
	}
	w.later(w.cut([]*host{l}, w.others(l, friend), true))
	return true
}

func (w *world) cutOne(h *host) bool {
	w.later(w.cut([]*host{h}, w.others(h), true))
	return true
}

// cutOneWay: a host is heard and hears nothing, or the other way round.
func (w *world) cutOneWay(h *host) bool {
	if w.chance(2) {
		w.later(w.cut([]*host{h}, w.others(h), false))
	} else {
		w.later(w.cut(w.others(h), []*host{h}, false))
	}
	return true
}

// cutRing leaves each host only its neighbours: who reaches whom is not transitive.
func (w *world) cutRing() bool {
	n := len(w.hosts)
	if n < 4 {
		// With three, two that can't see each other.
		i := w.rand.IntN(n)
		w.later(w.cut([]*host{w.hosts[i]}, []*host{w.hosts[(i+1)%n]}, true))
		return true
	}
	for i, h := range w.hosts {
		var far []*host
		for j, o := range w.hosts {
			if d := (j - i + n) % n; d > 1 && d < n-1 {
				far = append(far, o)
			}
		}
		w.later(w.cut([]*host{h}, far, false))
	}
	return true
}

// split parts the hosts in two.
func (w *world) split() bool {
	var a, b []*host
	for _, h := range w.hosts {
		if w.chance(2) {
			a = append(a, h)
		} else {
			b = append(b, h)
		}
	}
	w.later(w.cut(a, b, true))
	return len(a) > 0 && len(b) > 0
}

// flap cuts and mends one link a few times.
func (w *world) flap() bool {
	a := w.someHost()
	b := w.others(a)[w.rand.IntN(len(w.hosts)-1)]
	pause := w.between(20*milli, 300*milli)
	for i := range 6 {
		w.after(time.Duration(i)*pause, func() {
			if i%2 == 0 {
				w.cut([]*host{a}, []*host{b}, true)
				return
			}
			w.unblock(a, b)
			w.unblock(b, a)
		})
	}
	return true
}

// reset ends one connection: the link itself is well.
func (w *world) reset() bool {
	h := w.someHost()
	if e := h.ends[w.rand.IntN(len(h.ends))]; e != nil && e.l.conn != nil {
		e.l.breakUp()
		return true
	}
	return false
}

func (w *world) mend() bool {
	some := false
	for _, a := range w.hosts {
		for _, b := range w.hosts {
			if a != b && a.to(b).cut {
				some = true
				w.unblock(a, b)
			}
		}
	}
	return some
}

// full tells a node that its disk is short of space, and after a while that it isn't.
func (w *world) full(h *host) bool {
	set := func(s node.Space) {
		h.input(func() {
			h.space = s
			h.loop.Post(s)
		})
	}
	set(node.Space{Low: true, Full: w.chance(2)})
	run := h.run
	w.after(w.upTo(3*time.Second), func() {
		if h.run == run {
			set(node.Space{})
		}
	})
	return true
}

// jump moves a wall clock by seconds, or by days.
func (w *world) jump(h *host) bool {
	d := w.upTo(pick(w, 2*time.Second, time.Hour, 100*24*time.Hour))
	if w.chance(2) {
		d = -d
	}
	h.clock.wall += d
	return true
}

func (w *world) transfer() bool {
	l := w.someLeader()
	if l == nil {
		return false
	}
	to := raft.None
	if w.chance(2) {
		to = w.someHost().id
	}
	l.input(func() { _ = l.loop.Ask(node.Transfer{To: to, Done: func(error) {}}) })
	return true
}

// aim looks for moments at which a fault hurts most.
func (h *host) aim() {
	w, v := h.w, &h.view
	if w.calm {
		return
	}
	if elected := v.role == raft.Leader && (v.was.role != raft.Leader || v.was.term != v.term); elected {
		if w.plan.has("member-change") && w.chance(2) {
			h.after(0, func() { // before anything of its term is committed
				if h.core().Role() == raft.Leader && w.changeAt(h) {
					w.count.Faults["member-change"]++
				}
			})
		}
		if w.perMille(w.plan.aimElected) {
			w.count.Faults["elected"]++
			h.strike()
			return
		}
	}
	if len(v.fresh) > 0 && v.was.last.Index > 0 && w.plan.aimConfig > 0 &&
		slices.ContainsFunc(v.fresh, func(e raft.Entry) bool { return e.Type == raft.EntryConfig }) && w.perMille(w.plan.aimConfig) {
		w.count.Faults["changing"]++
		h.strike()
	}
}

// strike crashes this host within the next moments, or cuts it off.
func (h *host) strike() {
	w := h.w
	how := w.rand.IntN(3)
	h.after(w.upTo(20*milli), func() {
		switch how {
		case 0:
			w.end(h, killed)
		case 1:
			w.end(h, powered)
		default:
			w.later(w.cut([]*host{h}, w.others(h), true))
		}
	})
}
