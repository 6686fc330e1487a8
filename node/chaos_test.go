package node

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/internal/testenv"
	"github.com/raftkv/raftkv/raft"
)

// What clients are told must be true, whatever happens in between: an applied
// write took effect once, a refused one never, those of one connection in their
// order; a read saw everything that was acknowledged before it was asked, its
// connection's earlier writes, and none of its later ones.
func TestOutcomesAreTrue(t *testing.T) {
	seeds := 60
	if testenv.Full() {
		seeds = 5_000
	}
	first, step := testenv.Turn(2)
	for seed := first; seed < seeds; seed += step {
		w := newChaos(t, uint64(seed))
		w.run()
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// chaos is a cluster, its clients, and what they were told.
type chaos struct {
	*cluster
	rand    *rand.Rand
	clients []*witness
	unique  int
	acked   []string // writes that a client knows to be applied
	old     []packet // seen earlier: some come again, late
	sawAny  int      // answered reads
}

// witness is a client that notes what it could expect.
type witness struct {
	*client
	w      *chaos
	writes map[uint64]string   // by slot
	before map[uint64][]string // of a read: what was acknowledged before it
}

func (k *witness) Deliver(replies []Reply) {
	k.client.Deliver(replies)
	for _, p := range replies {
		if cmd, ok := k.writes[p.Slot]; ok && p.Outcome == Applied {
			k.w.acked = append(k.w.acked, cmd)
		}
	}
}

func newChaos(t *testing.T, seed uint64) *chaos {
	rng := rand.New(rand.NewPCG(seed, 7))
	w := &chaos{rand: rng}
	w.cluster = newCluster(t, 3, func(cfg *Config) {
		cfg.MaxForwards = 1 + rng.IntN(4)
		cfg.Raft.MaxUncommittedBytes = []int{500, 1 << 20}[rng.IntN(2)]
		cfg.Raft.MaxWrites = 1 + rng.IntN(3)
		cfg.MaxJobs = 1 + rng.IntN(2)
		cfg.ApplyBytes = []int{1, 1 << 20}[rng.IntN(2)]
		cfg.SnapshotEntries = []int{0, 20}[rng.IntN(2)]
		cfg.Raft.Seed += seed
	})
	return w
}

func (w *chaos) connect() {
	h := w.hosts[w.rand.IntN(len(w.hosts))]
	k := &witness{client: h.client(), w: w, writes: map[uint64]string{}, before: map[uint64][]string{}}
	k.conn = NewConn(k)
	w.clients = append(w.clients, k)
}

func (w *chaos) submit() {
	k := w.clients[w.rand.IntN(len(w.clients))]
	if k.h == nil {
		return
	}
	var cmds []string
	for range 1 + w.rand.IntN(6) {
		slot := k.next + uint64(len(cmds)) + 1
		switch w.rand.IntN(8) {
		case 0, 1, 2:
			cmds = append(cmds, "r")
			k.before[slot] = slices.Clone(w.acked)
		case 3:
			cmds = append(cmds, "s")
		default:
			w.unique++
			cmd := fmt.Sprintf("w%d", w.unique)
			cmds = append(cmds, cmd)
			k.writes[slot] = cmd
		}
	}
	k.submit(cmds...)
}

func (w *chaos) run() {
	for range 4 {
		w.connect()
	}
	some := func(n int) bool { return w.rand.IntN(n) == 0 }
	for range 400 {
		switch {
		case some(3):
			w.submit()
		case some(40):
			a := raft.NodeID(1 + w.rand.IntN(3))
			one := some(2)
			w.cut = func(from, to raft.NodeID) bool { return from == a || to == a && !one }
		case some(15):
			w.cut = nil
		case some(40):
			a, b := raft.NodeID(1+w.rand.IntN(3)), raft.NodeID(1+w.rand.IntN(3))
			if a != b {
				w.lose(a, b)
			}
		case some(60):
			w.crash(w.hosts[w.rand.IntN(3)])
		case some(30):
			h := w.hosts[w.rand.IntN(3)]
			h.hungApplier = !h.hungApplier
		case some(30):
			h := w.hosts[w.rand.IntN(3)]
			h.hungDisk = !h.hungDisk
		case some(20):
			a := raft.NodeID(w.rand.IntN(4))
			w.refuse = func(_, to raft.NodeID) bool { return to == a }
		case some(30):
			w.connect()
		case some(20):
			w.hold = !w.hold
		case some(60):
			to := raft.NodeID(1 + w.rand.IntN(3))
			w.hosts[w.rand.IntN(3)].r.Handle(Transfer{To: to, Done: func(error) {}})
		case some(40):
			w.hosts[w.rand.IntN(3)].r.Handle(TakeSnapshot{Done: func(raft.SnapshotMeta, error) {}})
		case some(10) && len(w.old) > 0:
			w.deliver(w.old[w.rand.IntN(len(w.old))]) // late and repeated
		case some(2):
			w.old = append(w.old, w.packets...)
			w.ticks()
		default:
			w.old = append(w.old, w.packets...)
			for range w.rand.IntN(4) {
				w.step()
			}
		}
	}
	w.cut, w.refuse, w.hold = nil, nil, false
	for _, h := range w.hosts {
		h.hungDisk, h.hungApplier = false, false
	}
	// A disk that was slow makes its node patient, for half a minute at most.
	for range 40 {
		w.tick(100)
		if w.quiet() {
			break
		}
	}
	w.check()
}

// ticks lets time pass, on each host as much as it likes.
func (w *chaos) ticks() {
	for range 1 + w.rand.IntN(15) {
		w.wall += 10_000_000
		for _, h := range w.hosts {
			if w.rand.IntN(10) > 0 {
				h.r.Handle(Tick{Elapsed: 10_000_000, Wall: w.wall})
			}
		}
		for range w.rand.IntN(6) {
			w.step()
		}
	}
}

// lose breaks the connection of two hosts: what is under way on it is lost.
func (w *chaos) lose(a, b raft.NodeID) {
	w.packets = slices.DeleteFunc(w.packets, func(p packet) bool {
		return p.from == a && p.to == b || p.from == b && p.to == a
	})
	w.host(a).r.Handle(Lost{Peer: b, Conn: connOf(a, b)})
	w.host(b).r.Handle(Lost{Peer: a, Conn: connOf(a, b)})
}

// crash restarts a host. Its clients' connections are gone.
func (w *chaos) crash(h *host) {
	for _, k := range w.clients {
		if k.h == h {
			k.h = nil
		}
	}
	for _, o := range w.hosts {
		if o != h {
			w.lose(h.id, o.id)
		}
	}
	h.restart()
	if !slices.ContainsFunc(w.clients, func(k *witness) bool { return k.h != nil }) {
		w.connect()
	}
}

// quiet tells that all hosts hold the same and have nothing open.
func (w *chaos) quiet() bool {
	for _, h := range w.hosts {
		if !slices.Equal(h.m.list, w.hosts[0].m.list) || h.open() > 0 || h.r.tickets.len() > 0 {
			return false
		}
	}
	return true
}

func (h *host) open() int { return h.r.waiting + h.r.writes + h.r.reads + h.r.serve.open }

func (w *chaos) check() {
	t := w.t
	final := w.hosts[0].m.list
	for _, h := range w.hosts {
		if !slices.Equal(h.m.list, final) {
			t.Errorf("node %v holds %v, node 1 %v", h.id, h.m.list, final)
		}
		if h.fatal != nil {
			t.Errorf("node %v: %v", h.id, h.fatal)
		}
		if n := h.open(); n != 0 || h.r.tickets.len() != 0 {
			t.Errorf("node %v: %d requests and %d tickets are still open", h.id, n, h.r.tickets.len())
		}
	}
	at := map[string]int{}
	for i, cmd := range final {
		if _, twice := at[cmd]; twice {
			t.Errorf("%s was applied twice", cmd)
		}
		at[cmd] = i + 1
	}
	for _, k := range w.clients {
		w.checkClient(k, at, final)
	}
}

func (w *chaos) checkClient(k *witness, at map[string]int, final []string) {
	t := w.t
	last, lastRead := 0, 0
	for slot := uint64(1); slot <= k.next; slot++ {
		p, answered := k.replies[slot]
		if !answered && k.h != nil {
			t.Errorf("slot %d of a living connection was never answered", slot)
		}
		if cmd, ok := k.writes[slot]; ok {
			place := at[cmd]
			switch {
			case p.Outcome == Applied && place == 0:
				t.Errorf("%s was acknowledged and is not there", cmd)
			case p.Outcome == NotApplied && place != 0:
				t.Errorf("%s was refused (%v) and is there", cmd, p.Err)
			case place != 0 && place < last:
				t.Errorf("%s was applied before an earlier one of its connection", cmd)
			}
			last = max(last, place)
			continue
		}
		if p.Outcome != Applied {
			if answered && p.Outcome != NotApplied {
				t.Errorf("a read ended %v", p.Outcome)
			}
			continue
		}
		var saw []string
		if len(p.Result) > 0 {
			saw = strings.Split(string(p.Result), ",")
		}
		if len(saw) > len(final) || !slices.Equal(saw, final[:len(saw)]) {
			t.Errorf("a read saw %v, which never was (%v)", saw, final)
			continue
		}
		w.sawAny++
		for _, cmd := range k.before[slot] {
			if at[cmd] > len(saw) {
				t.Errorf("a read missed %s, acknowledged before it", cmd)
			}
		}
		for s, cmd := range k.writes {
			if s > slot && at[cmd] != 0 && at[cmd] <= len(saw) {
				t.Errorf("a read of slot %d saw %s of slot %d", slot, cmd, s)
			}
			// An unknown one may come late; one that was acknowledged was there first.
			if s < slot && k.replies[s].Outcome == Applied && at[cmd] > len(saw) {
				t.Errorf("a read of slot %d missed %s of slot %d", slot, cmd, s)
			}
		}
		if len(saw) < lastRead {
			t.Errorf("a read of slot %d saw %d entries, an earlier one %d; slots in order of answer: %v, linearizable: %v", slot, len(saw), lastRead, k.order, slices.Sorted(maps.Keys(k.before)))
			for s := slot - min(slot, 25); s <= slot; s++ {
				t.Logf("slot %d: %q read %v: %v saw %d", s, k.writes[s], k.before[s] != nil, k.replies[s].Outcome, strings.Count(string(k.replies[s].Result), ",")+1)
			}
		}
		lastRead = max(lastRead, len(saw))
	}
}
