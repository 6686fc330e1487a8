package identity

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/raftkv/raftkv/raft"
)

// formed is a town with a running cluster of n nodes.
func formed(t *testing.T, n int) *town {
	t.Helper()
	w := newTown(t)
	for name, err := range w.run(time.Minute, listed(n)...) {
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	return w
}

// The founder hands its Birth to one node and is gone: that one completes the cluster.
func TestAnyHolderHandsTheBirthOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := formed(t, 3)
		birth := w.wantOneCluster("n1", "n2", "n3")
		// n3's disk as it was before it heard.
		r, _, _ := w.disk("n3").load()
		b, err := encodeRecord(Record{Node: r.Node, Name: r.Name})
		if err != nil {
			t.Fatal(err)
		}
		w.disk("n3").bytes = b
		w.stop("h1:1")
		if err := w.run(time.Minute, listed(3)[2])["n3"]; err != nil {
			t.Fatal(err)
		}
		if !w.wantOneCluster("n1", "n2", "n3").equal(birth) {
			t.Error("another birth")
		}
	})
}

func TestWipedNodeWaitsAndIsAdded(t *testing.T) {
	for _, name := range []string{"n1", "n3"} { // the first voter is no exception
		synctest.Test(t, func(t *testing.T) {
			w := formed(t, 3)
			i := int(name[1] - '1')
			before := w.up[place(i+1).Peer].ID()
			w.disk(name).wipe()
			err := w.run(time.Minute, listed(3)[i])[name]
			if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(w.said(name), "raftkv member add "+name+" "+place(i+1).Peer) {
				t.Fatalf("%v; it says %q", err, w.said(name))
			}
			w.add(name)
			if err := w.run(time.Minute, listed(3)[i])[name]; err != nil {
				t.Fatal(err)
			}
			r := w.up[place(i+1).Peer].Record()
			if !r.Joined || NodeIDOf(r.Node) == before {
				t.Errorf("joined %t, id %v, before %v", r.Joined, NodeIDOf(r.Node), before)
			}
			w.wantOneCluster("n1", "n2", "n3")
		})
	}
}

func TestJoiningNodeIsAdded(t *testing.T) {
	joiner := Config{Self: place(4), Voters: places(3), Join: true}
	t.Run("told", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := formed(t, 3)
			if err := w.run(time.Minute, joiner)["n4"]; !errors.Is(err, context.DeadlineExceeded) {
				t.Fatal(err)
			}
			if !strings.Contains(w.said("n4"), "raftkv member add n4 h4:1") {
				t.Errorf("it says %q", w.said("n4"))
			}
			w.add("n4")
			if err := w.run(time.Minute, joiner)["n4"]; err != nil {
				t.Fatal(err)
			}
			w.wantOneCluster("n1", "n2", "n3", "n4")
		})
	})
	// The leader was stopped between the change and the telling.
	t.Run("asks", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := formed(t, 3)
			n4, err := w.start(joiner)
			if err != nil {
				t.Fatal(err)
			}
			w.up["h2:1"].SetMembers(func(id raft.NodeID) bool { return id == n4.ID() })
			if err := w.run(time.Minute, joiner)["n4"]; err != nil {
				t.Fatal(err)
			}
			w.wantOneCluster("n1", "n2", "n3", "n4")
		})
	})
	t.Run("told while it waits", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := formed(t, 3)
			n4, err := w.start(joiner)
			if err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			err = n4.Bootstrap(t.Context(), w.exchanger("n4"), func(string) { w.add("n4") })
			if err != nil || n4.Birth() == nil {
				t.Errorf("birth %v, %v", n4.Birth(), err)
			}
			if d := time.Since(start); d != 0 {
				t.Errorf("waited %v after it was told", d)
			}
		})
	})
	t.Run("before the cluster is there", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newTown(t)
			w.run(5*time.Second, joiner)
			if said := w.said("n4"); !strings.Contains(said, "waiting for node n1 at h1:1: connection refused") {
				t.Errorf("it says %q", said)
			}
			w.run(5*time.Second, joiner, listed(3)[1])
			if r, _, _ := w.disk("n4").load(); r.Birth != nil {
				t.Error("joined nothing")
			}
		})
	})
}

func TestNodeWithDataIgnoresBootstrapSettings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := formed(t, 3)
		birth := w.wantOneCluster("n1", "n2", "n3")
		for _, cfg := range []Config{
			{Self: place(2), Voters: []Place{place(2)}},
			{Self: place(2), Voters: []Place{place(9), place(8), place(2)}},
			{Self: place(2), Join: true},
		} {
			if err := w.run(time.Second, cfg)["n2"]; err != nil {
				t.Error(err)
			}
		}
		if !w.wantOneCluster("n2").equal(birth) {
			t.Error("another birth")
		}
	})
}

// What can't come right by itself ends the process with a sentence.
func TestDisagreementsAreRefused(t *testing.T) {
	renamed := places(3)
	renamed[2].Peer = "h9:1"
	swapped := []Place{place(2), place(1), place(3)}
	for _, tc := range []struct {
		name string
		cfgs func() []Config
		want []string // in one node's error, whichever finds it first
	}{
		{"different address", func() []Config {
			cfgs := listed(3)
			cfgs[1].Voters = renamed
			return cfgs
		}, []string{"cluster.voters of node", "voter 3 is ", "n3 at h3:1", "n3 at h9:1"}},
		{"different order: two founders", func() []Config {
			cfgs := listed(3)
			cfgs[1].Voters = swapped
			return cfgs
		}, []string{"voter 1 is ", "n1 at h1:1", "n2 at h2:1"}},
		{"longer list", func() []Config {
			cfgs := listed(3)
			cfgs[0].Voters = places(2)
			return cfgs[:2]
		}, []string{"voter 3 is ", "nobody", "n3 at h3:1"}},
		{"one that joins", func() []Config {
			cfgs := listed(3)
			cfgs[2].Join = true
			return cfgs
		}, []string{`node "n3" at h3:1 waits to be added`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newTown(t)
				var all []string
				for _, err := range w.run(time.Minute, tc.cfgs()...) {
					if err != nil && errors.Is(err, ErrRefused) {
						all = append(all, err.Error())
					}
				}
				text := strings.Join(all, "\n")
				for _, want := range tc.want {
					if !strings.Contains(text, want) {
						t.Errorf("refusals %q, want %q in them", all, want)
					}
				}
				for name, d := range w.disks {
					if len(d.births) > 0 {
						t.Errorf("%s was born", name)
					}
				}
			})
		})
	}
}

// The one who founds is missing for long: the others wait, and neither founds nor gives up.
func TestMissingFounderIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t)
		for name, err := range w.run(time.Hour, listed(3)[1:]...) {
			if said := w.said(name); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(said, "n1 at h1:1: connection refused") {
				t.Errorf("%s: %v; it says %q", name, err, said)
			}
		}
	})
}

// background bootstraps one node until it has a Birth, fails, or the time is over.
func (w *town) background(limit time.Duration, name string, id *Identity) <-chan error {
	done := make(chan error, 1)
	go func() { // ends with Bootstrap; the bubble waits for it
		ctx, cancel := context.WithTimeout(w.t.Context(), limit)
		defer cancel()
		done <- id.Bootstrap(ctx, w.exchanger(name), func(string) {})
	}()
	return done
}

func TestAdoptIsForOneNodeOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := formed(t, 3)
		leader := w.up["h1:1"]
		joiner := Config{Self: place(4), Voters: places(3), Join: true}
		n4, err := w.start(joiner)
		if err != nil {
			t.Fatal(err)
		}
		adopt := func(from *Identity, node uuid.UUID, name string) error {
			return Adopt(t.Context(), w.exchanger("leader"), from, "h4:1", node, name)
		}
		if err := adopt(leader, uuid.New(), "n4"); !errors.Is(err, ErrRefused) {
			t.Errorf("another identity: %v", err)
		}
		if err := adopt(leader, n4.Node(), "n5"); !errors.Is(err, ErrRefused) {
			t.Errorf("another name: %v", err)
		}
		alone := Config{Self: place(9), Voters: []Place{place(9)}}
		if err := w.run(time.Minute, alone)["n9"]; err != nil {
			t.Fatal(err)
		}
		w.run(time.Second, joiner) // meets the cluster of n1
		n4 = w.up["h4:1"]
		if err := adopt(w.up["h9:1"], n4.Node(), "n4"); !errors.Is(err, ErrRefused) || n4.Birth() != nil {
			t.Errorf("another cluster than the one asked: %v", err)
		}
		if err := adopt(leader, n4.Node(), "n4"); err != nil {
			t.Error(err)
		}
		if err := adopt(w.up["h9:1"], n4.Node(), "n4"); !errors.Is(err, ErrRefused) {
			t.Errorf("second cluster: %v", err)
		}
		if births := w.disk("n4").births; !slices.Equal(births, []uuid.UUID{leader.Cluster()}) {
			t.Errorf("births %v", births)
		}
		// A voter from birth can't be added.
		if err := Adopt(t.Context(), w.exchanger("leader"), leader, "h2:1", w.up["h2:1"].Node(), "n2"); !errors.Is(err, ErrRefused) {
			t.Errorf("voter: %v", err)
		}
	})
}

// After a failed write nobody knows what the disk holds: the node says nothing more.
func TestFailedStoreSilencesTheNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := formed(t, 3)
		disk := &memStore{name: "n4"}
		n4, err := open(disk, Config{Self: place(4), Voters: places(3), Join: true})
		if err != nil {
			t.Fatal(err)
		}
		w.up["h4:1"] = n4
		boom := errors.New("input/output error")
		disk.failing = func() error { return boom }
		done := make(chan error)
		go func() { // ends when the store has failed, or with the minute
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			done <- n4.Bootstrap(ctx, w.exchanger("n4"), func(string) {})
		}()
		synctest.Wait()
		if err := Adopt(t.Context(), w.exchanger("leader"), w.up["h1:1"], "h4:1", n4.Node(), "n4"); err == nil || !strings.Contains(err.Error(), boom.Error()) {
			t.Errorf("adopt: %v", err)
		}
		if err := <-done; !errors.Is(err, boom) {
			t.Errorf("bootstrap: %v", err)
		}
		disk.failing = nil
		if _, err := Ask(t.Context(), w.exchanger("leader"), w.up["h1:1"], "h4:1"); err == nil {
			t.Error("it still says who it is")
		}
		if err := n4.StoreBirth(w.up["h1:1"].Birth(), true); !errors.Is(err, boom) {
			t.Errorf("store: %v", err)
		}
	})
}

// What comes over the network is checked before it is believed.
func TestBadRepliesAreErrors(t *testing.T) {
	id, err := open(&memStore{}, listed(3)[0])
	if err != nil {
		t.Fatal(err)
	}
	good := reply{Version: messageVersion, Node: uuid.New(), Self: place(2)}
	change := func(f func(r *reply)) []byte {
		r := good
		f(&r)
		b, _ := json.Marshal(r)
		return b
	}
	voters := []Voter{{uuid.New(), place(1)}, {uuid.New(), place(2)}}
	for name, b := range map[string][]byte{
		"nothing":            nil,
		"no JSON":            []byte("\x16\x03\x01"),
		"other version":      change(func(r *reply) { r.Version++ }),
		"no node":            change(func(r *reply) { r.Node = uuid.Nil }),
		"no name":            change(func(r *reply) { r.Self.Name = "" }),
		"birth of nobody":    change(func(r *reply) { r.Birth = &Birth{Cluster: uuid.New()} }),
		"birth of nothing":   change(func(r *reply) { r.Birth = &Birth{Voters: voters} }),
		"one voter twice":    change(func(r *reply) { r.Birth = &Birth{uuid.New(), []Voter{voters[0], {voters[0].Node, place(3)}}} }),
		"one name twice":     change(func(r *reply) { r.Birth = &Birth{uuid.New(), []Voter{voters[0], {uuid.New(), place(1)}}} }),
		"voter without UUID": change(func(r *reply) { r.Birth = &Birth{uuid.New(), []Voter{{Place: place(1)}}} }),
		"too long":           append([]byte(`{"version":1}`), make([]byte, messageMax)...),
	} {
		exchange := func(context.Context, string, []byte) ([]byte, error) { return b, nil }
		if info, err := Ask(t.Context(), exchange, id, "h2:1"); err == nil {
			t.Errorf("%s: taken as %+v", name, info)
		}
	}
}
