package identity

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/raftkv/raftkv/raft"
)

// memStore is a disk in memory. It remembers every Birth that it ever held.
type memStore struct {
	mu     sync.Mutex
	name   string
	bytes  []byte
	births []uuid.UUID
	// failing, if set, is asked before and after the bytes change: an error ends the save there.
	failing func() error
}

func (s *memStore) String() string { return "disk of " + s.name }

func (s *memStore) load() (Record, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bytes == nil {
		return Record{}, false, nil
	}
	r, err := decodeRecord(s.bytes)
	return r, err == nil, err
}

func (s *memStore) save(r Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := encodeRecord(r)
	if err != nil {
		return err
	}
	if s.failing != nil {
		if err := s.failing(); err != nil {
			return err
		}
	}
	s.bytes = b
	if r.Birth != nil && !slices.Contains(s.births, r.Birth.Cluster) {
		s.births = append(s.births, r.Birth.Cluster)
	}
	if s.failing != nil {
		return s.failing()
	}
	return nil
}

// wipe is a new disk.
func (s *memStore) wipe() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bytes, s.births = nil, nil
}

var (
	errRefused = errors.New("connection refused")
	errStopped = errors.New("process is dead")
)

// town is a set of machines with a network between them.
type town struct {
	t       *testing.T
	mu      sync.Mutex
	up      map[string]*Identity // by peer address
	disks   map[string]*memStore // by name
	waiting map[string]string    // by name, what progress said last
	hook    func(name string) error
}

func newTown(t *testing.T) *town {
	return &town{t: t, up: make(map[string]*Identity), disks: make(map[string]*memStore), waiting: make(map[string]string)}
}

func place(i int) Place {
	return Place{Name: fmt.Sprintf("n%d", i), Peer: fmt.Sprintf("h%d:1", i), Client: fmt.Sprintf("h%d:2", i), HTTP: fmt.Sprintf("h%d:3", i)}
}

func places(n int) []Place {
	var ps []Place
	for i := range n {
		ps = append(ps, place(i+1))
	}
	return ps
}

// step is one point at which the process of a node may end: before and after each message and each write.
func (w *town) step(name string) error {
	w.mu.Lock()
	hook := w.hook
	w.mu.Unlock()
	if hook == nil {
		return nil
	}
	return hook(name)
}

func (w *town) disk(name string) *memStore {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.disks[name] == nil {
		w.disks[name] = &memStore{name: name, failing: func() error { return w.step(name) }}
	}
	return w.disks[name]
}

// start opens a node at its address; Answer is served from then on.
func (w *town) start(cfg Config) (*Identity, error) {
	id, err := open(w.disk(cfg.Self.Name), cfg)
	if err == nil {
		w.mu.Lock()
		w.up[cfg.Self.Peer] = id
		w.mu.Unlock()
	}
	return id, err
}

func (w *town) stop(addr string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.up, addr)
}

// exchanger is the network as seen from one node.
func (w *town) exchanger(name string) Exchanger {
	return func(ctx context.Context, addr string, body []byte) ([]byte, error) {
		if err := w.step(name); err != nil {
			return nil, err
		}
		w.mu.Lock()
		id := w.up[addr]
		w.mu.Unlock()
		if id == nil {
			return nil, errRefused
		}
		b := id.Answer(bytes.Clone(body))
		if err := w.step(name); err != nil {
			return nil, err
		}
		return b, ctx.Err()
	}
}

func (w *town) said(name string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.waiting[name]
}

// run starts nodes and bootstraps them until all have a Birth, or limit of fake time has passed.
func (w *town) run(limit time.Duration, cfgs ...Config) map[string]error {
	errs := make(map[string]error)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, cfg := range cfgs {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(w.t.Context(), limit)
			defer cancel()
			name := cfg.Self.Name
			id, err := w.start(cfg)
			if err == nil {
				err = id.Bootstrap(ctx, w.exchanger(name), func(state string) {
					w.mu.Lock()
					defer w.mu.Unlock()
					w.waiting[name] = state
				})
			}
			if err != nil && !errors.Is(err, context.DeadlineExceeded) {
				w.stop(cfg.Self.Peer)
			}
			mu.Lock()
			defer mu.Unlock()
			errs[name] = err
		})
	}
	wg.Wait()
	return errs
}

func listed(n int) []Config {
	var cfgs []Config
	for _, p := range places(n) {
		cfgs = append(cfgs, Config{Self: p, Voters: places(n)})
	}
	return cfgs
}

// wantOneCluster checks that these nodes hold one and the same Birth and never held another.
func (w *town) wantOneCluster(names ...string) *Birth {
	w.t.Helper()
	var birth *Birth
	for _, name := range names {
		r, found, err := w.disk(name).load()
		if err != nil || !found || r.Birth == nil {
			w.t.Fatalf("%s has no birth: %v; it says %q", name, err, w.said(name))
		}
		if birth == nil {
			birth = r.Birth
		}
		if !birth.equal(r.Birth) {
			w.t.Fatalf("%s belongs to %v, others to %v", name, r.Birth.Cluster, birth.Cluster)
		}
		if births := w.disk(name).births; len(births) > 1 {
			w.t.Errorf("%s held the births %v, one after the other", name, births)
		}
		if _, named := birth.Names(r.Node); named == r.Joined {
			w.t.Errorf("%s: named %t, joined %t", name, named, r.Joined)
		}
	}
	return birth
}

func TestEmptyNodesFormOneCluster(t *testing.T) {
	for _, n := range []int{1, 2, 3, 5} {
		synctest.Test(t, func(t *testing.T) {
			w := newTown(t)
			for name, err := range w.run(time.Minute, listed(n)...) {
				if err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
			var names []string
			for _, p := range places(n) {
				names = append(names, p.Name)
			}
			b := w.wantOneCluster(names...)
			c := b.Configuration()
			if len(c.Voters()) != n || !slices.IsSortedFunc(c.Members, func(x, y raft.Member) int { return int(min(x.ID, y.ID)) - int(y.ID) }) {
				t.Errorf("configuration %+v", c)
			}
			for i, p := range places(n) {
				if b.Voters[i].Place != p {
					t.Errorf("voter %d is %+v, want %+v", i, b.Voters[i].Place, p)
				}
				if m, ok := c.Find(w.up[p.Peer].ID()); !ok || m.Name != p.Name || m.Peer != p.Peer || m.Client != p.Client || m.HTTP != p.HTTP || m.Learner {
					t.Errorf("member %+v, %t", m, ok)
				}
			}
		})
	}
}

func TestOneVoterNeedsNoNetwork(t *testing.T) {
	id, err := open(&memStore{}, listed(1)[0])
	if err != nil {
		t.Fatal(err)
	}
	never := func(context.Context, string, []byte) ([]byte, error) { return nil, errors.New("asked") }
	if err := id.Bootstrap(t.Context(), never, func(s string) { t.Errorf("waits: %s", s) }); err != nil {
		t.Fatal(err)
	}
	if b := id.Birth(); b == nil || len(b.Voters) != 1 || id.Cluster() == uuid.Nil {
		t.Errorf("birth %+v", b)
	}
}

// Without all voters there is no Birth: a cluster must not be born twice, once
// in each half of a network.
func TestMissingVoterIsWaitedForAndNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t)
		cfgs := listed(3)
		for name, err := range w.run(10*time.Second, cfgs[0], cfgs[2]) {
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: %v", name, err)
			}
			if said := w.said(name); !strings.Contains(said, "waiting for node n2 at h2:1: connection refused") {
				t.Errorf("%s says %q", name, said)
			}
		}
		if got := w.disk("n1").births; got != nil {
			t.Errorf("born: %v", got)
		}
		for name, err := range w.run(time.Minute, cfgs...) {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		w.wantOneCluster("n1", "n2", "n3")
	})
}

// The process of one node ends at each point at which it could; all start again
// and must end in one cluster. lost: the disk of that node is gone as well.
func everyStop(t *testing.T, lost bool) {
	hit := true
	for k := 0; hit; k++ {
		t.Run(fmt.Sprintf("step%d", k), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newTown(t)
				var mu sync.Mutex
				n, victim := 0, ""
				w.hook = func(name string) error {
					mu.Lock()
					defer mu.Unlock()
					if n++; n-1 == k {
						victim = name
						w.stop("h" + name[1:] + ":1")
					}
					if name == victim {
						return errStopped
					}
					return nil
				}
				w.run(5*time.Second, listed(3)...)
				if hit = victim != ""; lost && hit {
					w.disk(victim).wipe()
				}
				w.mu.Lock()
				w.hook = nil
				w.mu.Unlock()
				for _, cfg := range listed(3) {
					w.stop(cfg.Self.Peer)
				}
				errs := w.run(30*time.Second, listed(3)...)
				waiting := ""
				for name, err := range errs {
					switch {
					case err == nil:
					case lost && name == victim && strings.Contains(w.said(name), "raftkv member add "+name+" h"+name[1:]+":1"):
						waiting = name
					default:
						t.Errorf("%s stopped at step %d; %s: %v; it says %q", victim, k, name, err, w.said(name))
					}
				}
				if waiting != "" {
					w.add(waiting)
				}
				w.wantOneCluster("n1", "n2", "n3")
			})
		})
		if k > 10000 {
			t.Fatal("no end")
		}
	}
}

// add does what a leader does at `raftkv member add`.
func (w *town) add(name string) {
	w.t.Helper()
	addr := "h" + name[1:] + ":1"
	var leader *Identity
	for _, id := range w.up {
		if id.Birth() != nil {
			leader = id
		}
	}
	if leader == nil {
		w.t.Fatal("nobody has a birth")
	}
	info, err := Ask(w.t.Context(), w.exchanger("leader"), leader, addr)
	if err != nil || !info.Empty || info.Name != name || info.Cluster != uuid.Nil || info.ID != NodeIDOf(info.Node) {
		w.t.Fatalf("ask: %+v, %v", info, err)
	}
	for range 2 { // twice does no harm
		if err := Adopt(w.t.Context(), w.exchanger("leader"), leader, addr, info.Node, info.Name); err != nil {
			w.t.Fatal(err)
		}
	}
}

func TestStopAnywhereStillGivesOneCluster(t *testing.T) { everyStop(t, false) }

// A voter that lost its disk gave votes that it doesn't know: it must wait to be added.
func TestLostDiskAnywhereStillGivesOneCluster(t *testing.T) { everyStop(t, true) }
