package feed

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"go.uber.org/goleak"

	"github.com/raftkv/raftkv/internal/fuzztest"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/statemachine"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func set(i raft.Index, key string) statemachine.Change {
	return statemachine.Change{Kind: statemachine.ChangeKey, Index: i, Event: "set", Key: []byte(key), Value: []byte("v"), Version: uint64(i)}
}

func prefix(p string) func(*Event) bool {
	return func(e *Event) bool { return strings.HasPrefix(string(e.Key), p) }
}

func subscribe(t testing.TB, h *Hub, o Options) *Subscription {
	t.Helper()
	s, err := h.Subscribe(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// take reads until n events came and names their places and keys.
func take(t testing.TB, s *Subscription, n int) string {
	t.Helper()
	var out []string
	for len(out) < n {
		es, err := s.Next(t.Context(), nil)
		if err != nil {
			t.Fatalf("after %v: %v", out, err)
		}
		for _, e := range es {
			out = append(out, fmt.Sprintf("%v %s", e.At, e.Key))
		}
	}
	return strings.Join(out, ", ")
}

// fails reads on until an error comes.
func fails(t testing.TB, s *Subscription) (seen int, err error) {
	t.Helper()
	for err == nil {
		var es []*Event
		es, err = s.Next(t.Context(), nil)
		seen += len(es)
	}
	if _, again := s.Next(t.Context(), nil); again == nil || again.Error() != err.Error() {
		t.Errorf("first %v, then %v", err, again)
	}
	return seen, err
}

// One entry may change several keys. A subscriber that was cut off among them
// goes on with the next one, at any node.
func TestPlacesWithinAnEntry(t *testing.T) {
	h := New(Config{}, 10)
	for _, c := range []statemachine.Change{set(11, "a"), set(13, "b"), set(13, "c"), set(13, "d"), set(14, "e")} {
		h.Observe(c)
	}
	for _, tc := range []struct {
		after string
		want  string
	}{
		{"10", "11.0 a, 13.0 b, 13.1 c, 13.2 d, 14.0 e"},
		{"11.0", "13.0 b, 13.1 c, 13.2 d, 14.0 e"},
		{"12", "13.0 b, 13.1 c, 13.2 d, 14.0 e"},
		{"13.0", "13.1 c, 13.2 d, 14.0 e"},
		{"13.1", "13.2 d, 14.0 e"},
		{"13", "14.0 e"},
	} {
		after, err := ParsePlace(tc.after)
		if err != nil || after.String() != tc.after {
			t.Fatalf("place %s is read as %v: %v", tc.after, after, err)
		}
		s := subscribe(t, h, Options{After: after})
		if got := take(t, s, 1); got != tc.want {
			t.Errorf("after %s: %s, want %s", tc.after, got, tc.want)
		}
		if s.After() != (Place{14, 0}) {
			t.Errorf("it stands at %v", s.After())
		}
	}
}

func TestPlaceRefusesGarbage(t *testing.T) {
	for _, s := range []string{"", "x", "1.", ".1", "-1", "1.2.3", "1.4294967295", "18446744073709551616", " 1", "1.-1"} {
		if p, err := ParsePlace(s); err == nil {
			t.Errorf("%q is read as %v", s, p)
		}
	}
}

// What is not wanted is passed over, and the place moves with it: a watcher of a
// quiet prefix would else be sent away as too old.
func TestFilterMovesOn(t *testing.T) {
	h := New(Config{}, 0)
	s := subscribe(t, h, Options{Match: prefix("b")})
	for i, k := range []string{"a1", "b1", "a2", "b2", "a3"} {
		h.Observe(set(raft.Index(i+1), k))
	}
	if got := take(t, s, 2); got != "2.0 b1, 4.0 b2" {
		t.Error(got)
	}
	if s.After() != (Place{5, 0}) {
		t.Errorf("it stands at %v, want 5.0", s.After())
	}
}

// Now is what comes next, whatever is there.
func TestNow(t *testing.T) {
	h := New(Config{}, 7)
	first := subscribe(t, h, Options{Now: true})
	if first.After() != End(7) {
		t.Errorf("an empty feed stands at %v, want the end of 7", first.After())
	}
	h.Observe(set(8, "a"))
	s := subscribe(t, h, Options{Now: true})
	h.Observe(set(9, "b"))
	if got := take(t, s, 1); got != "9.0 b" {
		t.Error(got)
	}
	if got := take(t, first, 2); got != "8.0 a, 9.0 b" {
		t.Error(got)
	}
}

// A subscriber may know of an index that this node has not applied yet: it waits.
func TestPlaceAheadWaits(t *testing.T) {
	h := New(Config{}, 0)
	h.Observe(set(1, "a"))
	s := subscribe(t, h, Options{After: End(3)})
	h.Observe(set(2, "b"))
	h.Observe(set(3, "c"))
	h.Observe(set(4, "d"))
	if got := take(t, s, 1); got != "4.0 d" {
		t.Errorf("after 3: %s", got)
	}
}

func TestForgottenIsSaid(t *testing.T) {
	compacted := func(h *Hub, after Place, oldest raft.Index) {
		t.Helper()
		s, err := h.Subscribe(Options{After: after})
		e, ok := errors.AsType[*CompactedError](err)
		switch {
		case err == nil:
			s.Close()
			t.Errorf("after %v: nothing is said", after)
		case !ok || e.Oldest != oldest:
			t.Errorf("after %v: %v, want oldest %d", after, err, oldest)
		}
	}
	t.Run("before the start", func(t *testing.T) {
		h := New(Config{}, 7)
		compacted(h, End(6), 8)
		compacted(h, Place{7, 0}, 8)
		subscribe(t, h, Options{After: End(7)})
	})
	t.Run("by number", func(t *testing.T) {
		h := New(Config{Events: 4}, 0)
		for i := range raft.Index(6) {
			h.Observe(set(i+1, "k"))
		}
		compacted(h, End(0), 3)
		compacted(h, End(1), 3)
		if got := take(t, subscribe(t, h, Options{After: End(2)}), 4); !strings.HasPrefix(got, "3.0 k") {
			t.Error(got)
		}
	})
	t.Run("within an entry", func(t *testing.T) {
		h := New(Config{Events: 4}, 0)
		for range 6 {
			h.Observe(set(1, "k"))
		}
		compacted(h, End(0), 2)
		compacted(h, Place{1, 0}, 2)
	})
	t.Run("by bytes", func(t *testing.T) {
		h := New(Config{Bytes: 1000 + 2*eventOverhead}, 0)
		big := set(1, "k")
		big.Value = make([]byte, 600)
		h.Observe(big)
		big.Index = 2
		h.Observe(big)
		compacted(h, End(0), 2)
		if got := take(t, subscribe(t, h, Options{After: End(1)}), 1); got != "2.0 k" {
			t.Error(got)
		}
		if st := h.Stats(); st.Kept != 1 || h.bytes > 1000+2*eventOverhead {
			t.Errorf("%+v, %d bytes", st, h.bytes)
		}
	})
}

// Cut off, not dropped behind its back: nothing is missing, and it may go on.
func TestSlowIsCutAndGoesOn(t *testing.T) {
	h := New(Config{Events: 64, Lag: 16}, 0)
	s := subscribe(t, h, Options{})
	for i := range raft.Index(17) {
		h.Observe(set(i+1, "k"))
	}
	_, err := fails(t, s)
	slow, ok := errors.AsType[*SlowError](err)
	if !ok || slow.After != (Place{}) && slow.After != End(0) || slow.Lag != 17 {
		t.Fatalf("%v, want a cut 17 behind", err)
	}
	if n := h.Stats().Cut; n != 1 {
		t.Errorf("%d cuts are counted", n)
	}
	again := subscribe(t, h, Options{After: slow.After}) // it is 17 behind and not cut off at once
	if got := take(t, again, 17); !strings.HasPrefix(got, "1.0 k, 2.0 k") || !strings.HasSuffix(got, "17.0 k") {
		t.Error(got)
	}
}

// A snapshot of the leader's jumps over changes. Everybody is told, even who was at the end.
func TestRestoreIsAGap(t *testing.T) {
	h := New(Config{Events: 4}, 0)
	h.Observe(set(1, "a"))
	behind, atEnd := subscribe(t, h, Options{}), subscribe(t, h, Options{Now: true})
	h.Observe(statemachine.Change{Kind: statemachine.ChangeRestore, Index: 100})
	for _, s := range []*Subscription{behind, atEnd} {
		n, err := fails(t, s)
		if e, ok := errors.AsType[*CompactedError](err); !ok || e.Oldest != 101 || n > 1 {
			t.Errorf("after %v: %d events, then %v; want none from before the gap, and oldest 101", s.After(), n, err)
		}
	}
	h.Observe(set(101, "b"))
	if got := take(t, subscribe(t, h, Options{After: End(100)}), 1); got != "101.0 b" {
		t.Error(got)
	}
	if _, err := h.Subscribe(Options{After: Place{1, 0}}); err == nil {
		t.Error("a place in front of the gap is taken")
	}
	// Entry 100 itself is in the snapshot.
	if _, err := h.Subscribe(Options{After: End(99)}); err == nil {
		t.Error("entry 100 is promised and not there")
	}
	for i := range raft.Index(9) { // all around the ring, over the place of the gap
		h.Observe(set(102+i, "c"))
	}
	if got := take(t, subscribe(t, h, Options{After: End(109)}), 1); got != "110.0 c" || h.Stats().Kept != 4 {
		t.Errorf("%s, %+v", got, h.Stats())
	}
}

// One bell for all: each that waits hears of each change, though the applier wakes only one.
func TestAllWaitersWake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := New(Config{}, 0)
		const waiters = 20
		got := make([]string, waiters)
		var all sync.WaitGroup
		for i := range waiters {
			all.Go(func() { got[i] = take(t, subscribe(t, h, Options{}), 3) })
		}
		synctest.Wait() // everybody sleeps
		for i := range raft.Index(3) {
			h.Observe(set(i+1, "k"))
			synctest.Wait()
		}
		all.Wait()
		for _, g := range got {
			if g != "1.0 k, 2.0 k, 3.0 k" {
				t.Errorf("%q", g)
			}
		}
	})
}

// Whoever hears the bell and leaves takes it from nobody.
func TestBellIsNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := New(Config{}, 0)
		stay := make(chan string, 1)
		go func() { stay <- take(t, subscribe(t, h, Options{Match: prefix("b")}), 1) }()
		ctx, cancel := context.WithCancel(t.Context())
		for range 5 {
			// They hear of changes that none of them wants, and go.
			go subscribe(t, h, Options{Match: prefix("none")}).Next(ctx, nil)
		}
		synctest.Wait()
		for i := range raft.Index(4) {
			h.Observe(set(i+1, "a"))
			synctest.Wait()
		}
		cancel()
		h.Observe(set(5, "b"))
		if got := <-stay; got != "5.0 b" {
			t.Error(got)
		}
	})
}

func TestEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := New(Config{Subscribers: 2}, 0)
		a := subscribe(t, h, Options{})
		subscribe(t, h, Options{})
		if _, err := h.Subscribe(Options{}); !errors.Is(err, ErrSubscribers) {
			t.Errorf("a third one: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := a.Next(ctx, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		h.Observe(set(1, "k"))
		if got := take(t, a, 1); got != "1.0 k" {
			t.Errorf("after a wait that ended: %s", got)
		}
		done := make(chan error)
		go func() { _, err := a.Next(t.Context(), nil); done <- err }()
		synctest.Wait()
		h.Close()
		h.Close()
		if err := <-done; !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
		h.Observe(set(2, "k")) // the applier may be a little later
		a.Close()
		a.Close()
		if st := h.Stats(); st.Subscribers != 1 {
			t.Errorf("%+v", st)
		}
		if _, err := h.Subscribe(Options{}); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	})
}

// Under load each subscriber sees every event once and in order, or is told that it does not.
func TestNothingIsSkippedSilently(t *testing.T) {
	const events, readers = 20_000, 6
	h := New(Config{Events: 256, Lag: 200}, 0)
	var all sync.WaitGroup
	var cuts, lost int
	var mu sync.Mutex
	for r := range readers {
		all.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(r)))
			after := End(0)
			for after.Index < events {
				s, err := h.Subscribe(Options{After: after})
				if e, ok := errors.AsType[*CompactedError](err); ok {
					mu.Lock()
					lost++
					mu.Unlock()
					if e.Oldest <= after.Index {
						t.Errorf("after %v is lost, but %d is there", after, e.Oldest)
						return
					}
					after = End(e.Oldest - 1)
					continue
				} else if err != nil {
					t.Error(err)
					return
				}
				want := after.Index + 1
				for want <= events {
					es, err := s.Next(t.Context(), nil)
					for _, e := range es {
						if e.Index != want || e.Version != uint64(want) {
							t.Errorf("entry %d (version %d) comes, want %d", e.Index, e.Version, want)
							s.Close()
							return
						}
						want++
					}
					if err != nil {
						mu.Lock()
						cuts++
						mu.Unlock()
						break
					}
					if rnd.IntN(8) == 0 { // now and then it is slow
						for range rnd.IntN(20_000) {
							_ = h.head.Load()
						}
					}
				}
				after = s.After()
				s.Close()
			}
		})
	}
	for i := range raft.Index(events) {
		h.Observe(set(i+1, "k"))
	}
	all.Wait()
	t.Logf("%d cuts, %d times the place was lost", cuts, lost)
	if cuts+lost == 0 {
		t.Error("nobody was ever too slow: the hard part was not tested")
	}
}

// A block of small events lives as long as one of them: large values must not live with it.
func TestLargeValuesAreForgotten(t *testing.T) {
	h := New(Config{Events: 2}, 0)
	big := set(1, "k")
	big.Value = make([]byte, blockValue)
	h.Observe(big)
	h.Observe(set(2, "k"))
	if held := slices.ContainsFunc(h.block[:cap(h.block)], func(e Event) bool { return len(e.Value) >= blockValue }); held {
		t.Error("a large value lies in the block of its neighbours")
	}
	if e := h.at(0); e == nil || len(e.Value) != blockValue {
		t.Error("it is not there at all")
	}
}

// A place that a client names is refused or one that is told and read as the same.
func FuzzParsePlace(f *testing.F) {
	for _, s := range []string{"7", "7.0", "18446744073709551615.4294967294", "7.4294967295", "1.2.3", "+1", "-1", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		fuzztest.Bounded(t, len(s), 64<<10, 8, func() {
			p, err := ParsePlace(s)
			if err != nil {
				return
			}
			if again, err := ParsePlace(p.String()); err != nil || again != p || len(p.String()) > len(s) {
				t.Errorf("%q became %q: %v, %v", s, p, again, err)
			}
		})
	})
}

// Sixty-five thousand of them are kept: a block of events is a page of memory, and what
// is counted for one is what it takes.
func TestABlockOfEventsIsAPage(t *testing.T) {
	if size := unsafe.Sizeof(Event{}); size*blockEvents != 4<<10 || size+8 != eventOverhead {
		t.Errorf("an event takes %d bytes, a block %d; its overhead counts as %d", size, size*blockEvents, eventOverhead)
	}
}
