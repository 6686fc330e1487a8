package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/raftkv/raftkv/selftest"
)

// biting puts a proxy before every node that loses about one reply in n, after
// the request was carried out, while on is set.
func biting(t *testing.T, c *selftest.Cluster, n int, on *atomic.Bool) *selftest.Fronts {
	t.Helper()
	f, err := selftest.NewFronts(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	f.Lose(func() bool { return on.Load() && rand.IntN(n) == 0 })
	return f
}

// CS-01, CS-02: the reply is lost after the request was carried out, the client
// asks again in its session, meanwhile leaders are killed: every token is there once.
func TestLostRepliesInSessions(t *testing.T) {
	parallel(t)
	c := start(t, selftest.Options{YAML: small})
	var on atomic.Bool
	fronts := biting(t, c, 6, &on)
	tormentAt(t, c, fronts.Endpoints(), func(w *selftest.Workload) {
		on.Store(true)
		until(t, "a reply to be lost", func() (bool, error) { return fronts.Lost() > 0, nil })
		progress(t, w)
		for range rounds(1, 6) {
			victim := leader(t, c)
			victim.Kill()
			progress(t, w)
			if err := victim.Start(); err != nil {
				t.Fatal(err)
			}
			progress(t, w)
		}
		on.Store(false)
	})
	t.Logf("%d replies were lost", fronts.Lost())
}

// The harness can go red: a client that repeats an append without a session
// leaves tokens that are there twice.
func TestHarnessFindsNaiveRetries(t *testing.T) {
	bothTiers(t)
	c := start(t, selftest.Options{Voters: 1})
	var on atomic.Bool
	fronts := biting(t, c, 3, &on)
	w := workload(fronts.Endpoints())
	w.Naive = true
	w.Start(t.Context())
	on.Store(true)
	until(t, "some lost replies", func() (bool, error) { return fronts.Lost() >= 100, nil })
	on.Store(false)
	res, err := w.Stop("")
	t.Logf("%d replies were lost, %v", fronts.Lost(), res)
	if !contains(err, "times") { // mostly twice, and more often where several replies were lost
		t.Errorf("nothing was found: %v", err)
	}
}

// CS-03: one request of a session is sent to all nodes at once. It takes effect once, and
// each of them answers what it did then.
func TestOneRequestAtAllNodesAtOnce(t *testing.T) {
	parallel(t)
	c := start(t, selftest.Options{})
	session := do(t, c.Nodes[0], "SESSION", "OPEN")
	var conns []*selftest.Conn
	for _, n := range c.Nodes {
		conn, err := selftest.Dial(deadline(t), n.Client)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conns = append(conns, conn)
	}
	want := ""
	for seq := 1; seq <= rounds(200, 1000); seq++ {
		token := fmt.Sprintf("<%d>", seq)
		want += token
		answers := make([]string, len(conns))
		var all sync.WaitGroup
		for i, conn := range conns {
			all.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), attempt)
				defer cancel()
				// Again while a busy machine elects a leader: that is what the number is for.
				err := selftest.Until(ctx, "an answer", func() (bool, error) {
					v, _, err := conn.Do(attempt, "ONCE", session, strconv.Itoa(seq), "APPEND", "k", token)
					answers[i] = v.Text()
					var reply *selftest.ErrorReply
					again := errors.As(err, &reply) && slices.Contains([]string{"UNKNOWNOUTCOME", "CLUSTERDOWN", "TRYAGAIN"}, reply.Prefix())
					return !again, err
				})
				if err != nil {
					answers[i] = err.Error()
				}
			})
		}
		all.Wait()
		for i, got := range answers {
			if got != strconv.Itoa(len(want)) {
				t.Fatalf("number %d at %s: %s, want %d", seq, c.Nodes[i].Name, got, len(want))
			}
		}
	}
	if got := do(t, c.Nodes[0], "GET", "k"); got != want {
		t.Errorf("the value is %q, want %q", got, want)
	}
	sameState(t, c)
}
