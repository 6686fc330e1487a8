package identity

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
)

// Whoever answers in another's place: copies, second founders, wrong addresses, other clusters.

// Two directories with one identity, one of them a copy: no cluster comes of them.
func TestCopiedDirectoriesFoundNothing(t *testing.T) {
	cfg, rec, twin := listed(3)[0], Record{Node: uuid.UUID{1}, Name: "n1"}, uuid.UUID{2}
	from := func(n int, id uuid.UUID) answer {
		return answer{at: place(n), reply: reply{Node: id, Self: place(n), List: cfg.Voters, First: rec.Node}}
	}
	if v := decide(cfg, rec, []answer{from(2, twin), from(3, uuid.UUID{3})}, uuid.UUID{9}); v.birth == nil {
		t.Fatalf("three nodes that agree: %+v", v)
	}
	if v := decide(cfg, rec, []answer{from(2, twin), from(3, twin)}, uuid.UUID{9}); !errors.Is(v.err, ErrRefused) || !strings.Contains(v.err.Error(), "one identity") {
		t.Errorf("two copies: %+v", v)
	}
}

// One address leads to the wrong process.
func TestWrongProcessAtAnAddressIsRefused(t *testing.T) {
	for _, tc := range []struct {
		name string
		at   func(w *town) *Identity // who answers at n2's address
		want string
	}{
		{"itself", func(w *town) *Identity { return w.up["h1:1"] }, "leads to this node itself"},
		{"another name", func(w *town) *Identity {
			id, err := open(&memStore{}, Config{Self: place(3), Voters: places(3)})
			if err != nil {
				t.Fatal(err)
			}
			return id
		}, `"n3" answers there`},
		{"a copied directory", func(w *town) *Identity {
			rec := w.up["h1:1"].Record()
			rec.Name = "n2"
			b, _ := encodeRecord(rec)
			id, err := open(&memStore{bytes: b}, listed(3)[1])
			if err != nil {
				t.Fatal(err)
			}
			return id
		}, "has the identity of this node"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newTown(t)
				n1, err := w.start(listed(3)[0])
				if err != nil {
					t.Fatal(err)
				}
				w.up["h2:1"] = tc.at(w)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				err = n1.Bootstrap(ctx, w.exchanger("n1"), func(string) {})
				if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("err = %v, want %q", err, tc.want)
				}
			})
		})
	}
}

// Others that run on meet the new process at the old address with their next question.
func TestFounderWithNewDiskIsNotAnImpostorToRunningNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t)
		var running []<-chan error
		for _, cfg := range listed(3)[1:] {
			id, err := w.start(cfg)
			if err != nil {
				t.Fatal(err)
			}
			running = append(running, w.background(time.Minute, cfg.Self.Name, id))
			if cfg.Self.Name == "n2" {
				// n2 meets the first n1, which never sees n3 and then loses its disk.
				if err := w.run(10*time.Second, listed(3)[0])["n1"]; !errors.Is(err, context.DeadlineExceeded) {
					t.Fatal(err)
				}
				if w.up["h2:1"].first != w.up["h1:1"].Node() {
					t.Fatal("n2 has not met n1")
				}
				w.disk("n1").wipe()
			}
		}
		if err := w.run(time.Minute, listed(3)[0])["n1"]; err != nil {
			t.Error(err)
		}
		for _, done := range running {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		w.wantOneCluster("n1", "n2", "n3")
	})
}

// While the true n1 waits for somebody, one more process is started as n1 elsewhere.
func TestImpostorIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t)
		// The true n1 does not reach n3; the impostor reaches all.
		n3, err := w.start(listed(3)[2])
		if err != nil {
			t.Fatal(err)
		}
		cut := w.exchanger("n1")
		n1, err := w.start(listed(3)[0])
		if err != nil {
			t.Fatal(err)
		}
		n2, err := w.start(listed(3)[1])
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		go func() { // ends with ctx
			_ = n1.Bootstrap(ctx, func(ctx context.Context, addr string, b []byte) ([]byte, error) {
				if addr == "h3:1" {
					return nil, errRefused
				}
				return cut(ctx, addr, b)
			}, func(string) {})
		}()
		w.background(time.Minute, "n2", n2)
		w.background(time.Minute, "n3", n3)
		impostor, err := open(&memStore{name: "impostor"}, listed(3)[0])
		if err != nil {
			t.Fatal(err)
		}
		err = <-w.background(time.Minute, "impostor", impostor)
		if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), `two nodes are called "n1"`) || impostor.Birth() != nil {
			t.Errorf("birth %v, %v", impostor.Birth(), err)
		}
	})
}

// Two processes with the first voter's name and list, on two machines. Each
// reaches all others; were both to found, each could get a majority of its own.
func TestSecondFounderOfTheSameNameFindsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t)
		impostor, err := open(&memStore{name: "impostor"}, listed(3)[0])
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { // ends with the refusal, or the test's context
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			done <- impostor.Bootstrap(ctx, w.exchanger("impostor"), func(string) {})
		}()
		// Without the true n1, n2 and n3 do not take the impostor for it.
		w.run(5*time.Second, listed(3)[1:]...)
		if impostor.Birth() != nil {
			t.Fatal("the impostor founded a cluster")
		}
		// The true n1 hangs at n3, so that the impostor has time.
		if _, err := w.start(listed(3)[0]); err != nil {
			t.Fatal(err)
		}
		w.stop("h3:1")
		for name, err := range w.run(20*time.Second, listed(3)[1]) {
			if err == nil {
				t.Errorf("%s was born without n3", name)
			}
		}
		if err := <-done; impostor.Birth() != nil || !errors.Is(err, ErrRefused) && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("impostor: birth %v, %v", impostor.Birth(), err)
		}
		for name, err := range w.run(time.Minute, listed(3)...) {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		w.wantOneCluster("n1", "n2", "n3")
	})
}

// decide by itself: another process holds the first voter's address.
func TestFounderThatOthersDoNotSeeDoubts(t *testing.T) {
	cfg := listed(2)[0]
	rec := Record{Node: uuid.New(), Name: "n1"}
	a := answer{at: place(2), reply: reply{Node: uuid.New(), Self: place(2), List: cfg.Voters, First: uuid.New()}}
	if v := decide(cfg, rec, []answer{a}, uuid.New()); v.birth != nil || !errors.Is(v.doubt, ErrRefused) {
		t.Errorf("another first: %+v", v)
	}
	a.First = uuid.Nil
	if v := decide(cfg, rec, []answer{a}, uuid.New()); v.birth != nil || v.doubt != nil || v.wait == "" {
		t.Errorf("no first: %+v", v)
	}
	a.First = rec.Node
	if v := decide(cfg, rec, []answer{a}, uuid.New()); v.birth == nil {
		t.Errorf("this first: %+v", v)
	}
	// Whoever is not listed first never founds, whatever others say.
	second := listed(2)[1]
	a.at, a.Self = place(1), place(1)
	if v := decide(second, Record{Node: rec.Node, Name: "n2"}, []answer{a}, uuid.New()); v.birth != nil || v.err != nil {
		t.Errorf("second: %+v", v)
	}
}

// A founder that loses its disk before anyone was born is a new process to the
// others; they find out by asking, and all goes on.
func TestFounderWithNewDiskIsNotAnImpostor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t)
		cfgs := listed(3)
		w.run(5*time.Second, cfgs[0], cfgs[1])
		w.disk("n1").wipe()
		for name, err := range w.run(time.Minute, cfgs...) {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		w.wantOneCluster("n1", "n2", "n3")
	})
}

func TestForeignClusterIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := formed(t, 3) // n1 to n3
		foreign := Config{Self: place(7), Voters: []Place{place(7), place(2), place(8)}}
		err := w.run(time.Minute, foreign)["n7"]
		if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "born of n1, n2, n3, without node \"n7\"") {
			t.Errorf("err = %v", err)
		}
		// Members of two clusters in one list.
		other := Config{Self: place(9), Voters: []Place{place(9)}}
		if err := w.run(time.Minute, other)["n9"]; err != nil {
			t.Fatal(err)
		}
		err = w.run(time.Minute, Config{Self: place(4), Voters: []Place{place(1), place(9)}, Join: true})["n4"]
		if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "list nodes of one cluster only") {
			t.Errorf("err = %v", err)
		}
	})
}
