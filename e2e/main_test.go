package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/raftkv/raftkv/internal/testenv"
	"github.com/raftkv/raftkv/selftest"
)

// binary is the program under test, built once.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "raftkv-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if err := os.Chmod(dir, 0o755); err != nil { // a test runs it as another user
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binary = filepath.Join(dir, "raftkv")
	build := exec.Command("go", "build", "-o", binary, "../cmd/raftkv")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "build raftkv:", err)
		os.Exit(1)
	}
	if err := claimNetwork(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if err := flag.Set("test.parallel", strconv.Itoa(together)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// faultyBinary is the program with faults that can't be provoked from outside
// (cmd/raftkv/faults.go), built when a test first asks for it.
var faultyBinary = sync.OnceValues(func() (string, error) {
	bin := filepath.Join(filepath.Dir(binary), "raftkv-faults")
	out, err := exec.Command("go", "build", "-tags", "faults", "-o", bin, "../cmd/raftkv").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("build raftkv with faults: %w\n%s", err, out)
	}
	return bin, err
})

// withFaults is the path of faultyBinary.
func withFaults(t *testing.T) string {
	t.Helper()
	bin, err := faultyBinary()
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

// network is the number n of the addresses 127.n.0.0/16 that no other process of these tests uses,
// hosts counts those that were given out of it.
var (
	network int
	hosts   atomic.Uint32
)

// claimNetwork takes a network for as long as this process lives: who listens at its last address
// has it, whatever becomes of the process. Other tests and tools of ours use addresses above 64.
func claimNetwork() error {
	var errs []error
	for n := 16; n < 64; n++ {
		l, err := net.Listen("tcp", fmt.Sprintf("127.%d.255.254:4999", n))
		if err == nil {
			network, claim = n, l
			return nil
		}
		errs = append(errs, err)
	}
	return fmt.Errorf("claim a network for clusters, end other runs of these tests first: %w", errors.Join(errs...))
}

// claim keeps the network.
var claim net.Listener

// host is a loopback address of its own for each cluster, so that ports never collide.
func host() string {
	return fmt.Sprintf("127.%d.%d.1", network, 1+hosts.Add(1)%250)
}

// together is how many tests run at once, whatever the number of processors: most of them
// wait most of the time, for elections, disks and pauses.
const together = 4

// parallel lets a test run beside others.
func parallel(t *testing.T) {
	t.Helper()
	t.Parallel()
}

// bothTiers is parallel for a test that does the same in both tiers (testenv.SameInBoth).
func bothTiers(t *testing.T) {
	t.Helper()
	testenv.SameInBoth(t)
	parallel(t)
}

// deadline bounds every wait. It is generous: it only says that something will never come.
func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// calm is for tests that rest on one leader while nothing happens to it: an election
// timeout that no stall of a busy machine reaches. A cluster needs longer to begin with it.
const calm = "raft: {election_ticks: 250}\n"

// start makes a cluster and waits until all of it serves.
func start(t *testing.T, o selftest.Options) *selftest.Cluster {
	t.Helper()
	c := prepare(t, o)
	startAll(t, c)
	return c
}

// startAll starts every node that does not run and waits until all of them serve.
func startAll(t *testing.T, c *selftest.Cluster) {
	t.Helper()
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ready(t, c)
}

// startOne starts a node and waits until it serves, and every other one that runs.
func startOne(t *testing.T, c *selftest.Cluster, n *selftest.Node) {
	t.Helper()
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	ready(t, c)
}

// ready waits until every node that runs serves.
func ready(t *testing.T, c *selftest.Cluster) {
	t.Helper()
	if err := c.Ready(deadline(t)); err != nil {
		t.Fatal(err)
	}
}

// sources looks at the directories of the program under test, so that Go's cache knows
// that these tests depend on them: it sees what a test opens, not what a command does that it runs.
var sources = sync.OnceFunc(func() {
	_ = filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && slices.Contains([]string{".git", "docs", "bench", "test", "deploy", "testdata"}, d.Name()) {
			return fs.SkipDir
		}
		return err
	})
})

// prepare makes a cluster and starts nothing.
func prepare(t *testing.T, o selftest.Options) *selftest.Cluster {
	t.Helper()
	testenv.Anew()
	sources()
	o.Host = host()
	if o.Bin == "" {
		o.Bin = binary
	}
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	if o.Voters == 0 {
		o.Voters = 3
	}
	c, err := selftest.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		if t.Failed() {
			for _, n := range c.Nodes {
				t.Logf("end of the log of %s:\n%s", n.Name, n.Tail(30))
			}
		}
	})
	return c
}

// leader waits for the node that leads.
func leader(t *testing.T, c *selftest.Cluster) *selftest.Node {
	t.Helper()
	n, err := c.Leader(deadline(t))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// follower waits for a leader and names a running node that isn't it.
func follower(t *testing.T, c *selftest.Cluster) *selftest.Node {
	t.Helper()
	l := leader(t, c)
	for _, n := range c.Nodes {
		if n != l && n.Pid() != 0 {
			return n
		}
	}
	t.Fatal("no follower runs")
	return nil
}

// others are the nodes of a cluster without some.
func others(c *selftest.Cluster, without ...*selftest.Node) (rest []*selftest.Node) {
	for _, n := range c.Nodes {
		if !slices.Contains(without, n) {
			rest = append(rest, n)
		}
	}
	return rest
}

// until waits for a condition.
func until(t *testing.T, what string, ok func() (bool, error)) {
	t.Helper()
	if err := selftest.Until(deadline(t), what, ok); err != nil {
		t.Fatal(err)
	}
}

// do makes a request at a node, which must answer it. It is asked again while the
// answer is that there is no leader just now: a busy machine elects one at any time.
// Of a SET that may have taken effect, and of a read, too, since another one changes nothing.
func do(t *testing.T, n *selftest.Node, args ...string) (answer string) {
	t.Helper()
	until(t, fmt.Sprintf("an answer of %s to %.60q", n.Name, args), func() (bool, error) {
		c, err := selftest.Dial(t.Context(), n.Client)
		if err != nil {
			t.Fatalf("%v at %s: %v", args, n.Name, err)
		}
		defer c.Close()
		v, outcome, err := c.Do(attempt, args...)
		var reply *selftest.ErrorReply
		switch {
		case outcome == selftest.OK:
			answer = v.Text()
			return true, nil
		case outcome == selftest.Unknown && slices.Contains([]string{"SET", "GET", "EXISTS", "DBSIZE", "PING"}, args[0]):
			return false, err
		case errors.As(err, &reply) && (reply.Prefix() == "CLUSTERDOWN" || reply.Prefix() == "TRYAGAIN"):
			return false, err
		}
		t.Fatalf("%v at %s: %v", args, n.Name, err)
		return false, nil
	})
	return answer
}

// changeMember asks whoever leads to ADD, PROMOTE or REMOVE a member, again until it
// shows: leadership may go to another node at any time, the answer may be lost with it,
// and a learner is not promoted before it is near the end of the log.
func changeMember(t *testing.T, c *selftest.Cluster, verb string, n *selftest.Node) {
	t.Helper()
	until(t, n.Name+" to be changed: "+verb, func() (bool, error) {
		l := leader(t, c)
		s, err := l.Status(t.Context())
		if err != nil || changed(s, verb, n.Name) {
			return err == nil, err
		}
		conn, err := selftest.Dial(t.Context(), l.Client)
		if err != nil {
			return false, err
		}
		defer conn.Close()
		args := []string{"RAFT", "MEMBER", verb, n.Name}
		if verb == "ADD" {
			args = append(args, n.Peer)
		}
		_, _, err = conn.Do(attempt, args...)
		return false, err
	})
}

// changed tells whether a change of a member has been made.
func changed(s selftest.Status, verb, name string) bool {
	for _, m := range s.Members {
		if m.Name == name {
			return verb == "ADD" || verb == "PROMOTE" && !m.Learner
		}
	}
	return verb == "REMOVE"
}

// torment starts clients, calls faults, waits until the cluster serves again, and
// checks what the clients saw.
func torment(t *testing.T, c *selftest.Cluster, faults func(w *selftest.Workload)) {
	t.Helper()
	tormentAt(t, c, c.Endpoints(), faults)
}

// workload is what clients do at these addresses.
func workload(endpoints []string) *selftest.Workload {
	return &selftest.Workload{
		Endpoints: endpoints, Clients: 6, Keys: 8, Seed: 1, Fresh: 2 * time.Second, Pause: 5 * time.Millisecond,
	}
}

// tormentAt is torment with clients that reach the cluster at other addresses than its nodes'.
func tormentAt(t *testing.T, c *selftest.Cluster, endpoints []string, faults func(w *selftest.Workload)) {
	t.Helper()
	w := workload(endpoints)
	rules := selftest.NewRules()
	defer c.Watch(t.Context(), rules)()
	w.Start(t.Context())
	progress(t, w)
	faults(w)
	if err := c.Start(); err != nil {
		t.Error(err)
	}
	if err := c.Ready(deadline(t)); err != nil {
		t.Error(err)
	}
	progress(t, w)
	picture := filepath.Join(os.TempDir(), "raftkv-"+strings.ReplaceAll(t.Name(), "/", "-")+".html")
	res, err := w.Stop(picture)
	if err != nil {
		t.Error(err)
	}
	sameState(t, c)
	if err := errors.Join(c.CheckLogs(rules), rules.Err()); err != nil {
		t.Error(err)
	}
	t.Logf("%s: %v, newest term %d, %d looks at the rules", t.Name(), res, rules.Terms(), rules.Looks())
}

// sameState waits until all nodes have applied the same, and compares their states.
func sameState(t *testing.T, c *selftest.Cluster) {
	t.Helper()
	if err := c.SameState(deadline(t)); err != nil {
		t.Fatal(err)
	}
}

// steady makes sure that f costs one election at most: a busy machine may have one
// anyway, a node that takes every jump for silence has one each time.
func steady(t *testing.T, c *selftest.Cluster, what string, f func()) {
	t.Helper()
	atMost(t, c, 1, what, f)
}

// tries is how often something is done that a starved machine may spoil, and wrong code spoils each time.
const tries = 5

// atMost makes sure that f costs so many elections at most. It is done again where there were
// more: a machine that gives nobody any time elects leaders of its own accord, but not each time.
func atMost(t *testing.T, c *selftest.Cluster, most uint64, what string, f func()) {
	t.Helper()
	var all []uint64
	for range tries {
		had := elections(t, c, f)
		if had <= most {
			return
		}
		all = append(all, had)
		t.Logf("%s: %d elections, and %d at most would do: once more", what, had, most)
	}
	t.Errorf("%s: each time more than %d elections: %v", what, most, all)
}

// elections is by how much f moves the term on.
func elections(t *testing.T, c *selftest.Cluster, f func()) uint64 {
	t.Helper()
	before, err := leader(t, c).Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f()
	after, err := leader(t, c).Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return after.Term - min(before.Term, after.Term)
}

// attempt is how long one request may take.
const attempt = 30 * time.Second

// progress waits until the clients got some more good answers.
func progress(t *testing.T, w *selftest.Workload) {
	t.Helper()
	from := w.Acked()
	until(t, "clients to get answers", func() (bool, error) { return w.Acked() >= from+50, nil })
}
