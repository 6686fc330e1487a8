package e2e

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/raftkv/raftkv/selftest"
)

// cut takes the power of nodes: first their disks, then the processes.
func cut(t *testing.T, c *selftest.Cluster, disks []*disk, nodes ...*selftest.Node) {
	t.Helper()
	for _, n := range nodes {
		diskOf(c, disks, n).powerCut(t)
	}
	for _, n := range nodes {
		n.Kill()
	}
	for _, n := range nodes {
		diskOf(c, disks, n).powerOn(t)
	}
}

// PL-01, PL-03: the power of one node, then of the whole cluster goes, under
// load and while snapshots are written. Whatever a client was told is there.
func TestPowerCut(t *testing.T) {
	parallel(t)
	c, disks := startOnDisks(t, 64, selftest.Options{YAML: small + lowSpace})
	cuts := 0
	torment(t, c, func(w *selftest.Workload) {
		for range 8 {
			for _, victims := range [][]*selftest.Node{{leader(t, c)}, {follower(t, c)}, c.Nodes} {
				cut(t, c, disks, victims...)
				cuts += len(victims)
				if err := c.Start(); err != nil {
					t.Fatal(err)
				}
				progress(t, w)
			}
		}
	})
	t.Logf("%d power cuts", cuts)
}

// lowSpace keeps a node on a small disk from seeing a full one.
const lowSpace = "disk: {low_space_bytes: 2MiB, reserve_bytes: 1MiB}\n"

// quick makes a node that is alone lead soon after its start.
const quick = "raft: {tick: 2ms, election_ticks: 15, heartbeat_ticks: 5}\n"

// acker writes numbered keys to one node until that breaks.
type acker struct {
	size  int  // of a value, in bytes; 0: 300
	keys  int  // so many keys, again and again; 0: each write has its own
	twice bool // each write sets two keys
	acked int  // writes 1 to acked have been acknowledged
}

// key and value are those of a write.
func (a *acker) key(i int) string {
	if a.keys > 0 {
		i = (i-1)%a.keys + 1
	}
	return fmt.Sprint("k", i)
}

func (a *acker) value(i int) string { return fmt.Sprint(i) + strings.Repeat("x", cmp.Or(a.size, 300)) }

// run writes until most keys are written, or returns false when the connection breaks.
func (a *acker) run(t *testing.T, n *selftest.Node, most int) bool {
	t.Helper()
	conn, err := selftest.Dial(t.Context(), n.Client)
	if err != nil {
		return false // it died before it listened
	}
	defer conn.Close()
	for range most {
		next := a.acked + 1
		args := []string{"SET", a.key(next), a.value(next)}
		if a.twice {
			args = []string{"MSET", a.key(next) + "-", a.value(next), a.key(next), a.value(next)}
		}
		_, outcome, err := conn.Do(attempt, args...)
		var reply *selftest.ErrorReply
		if outcome != selftest.OK {
			if errors.As(err, &reply) {
				t.Errorf("SET answered %v", reply)
			}
			return false
		}
		a.acked++
	}
	return true
}

// lost lists the acknowledged writes that are not there. The node must serve. What
// was under way when it broke may have overwritten the oldest of a key that is used again.
func (a *acker) lost(t *testing.T, n *selftest.Node) []int {
	t.Helper()
	conn, err := selftest.Dial(t.Context(), n.Client)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var gone []int
	first := 1
	if a.keys > 0 {
		first = max(1, a.acked-a.keys+1)
	}
	for i := first; i <= a.acked; i++ {
		v, outcome, err := conn.Do(attempt, "GET", a.key(i))
		if outcome != selftest.OK {
			t.Fatal(err)
		}
		got := v.Text()
		if got != a.value(i) && !(a.keys > 0 && got == a.value(i+a.keys) && i+a.keys == a.acked+1) {
			gone = append(gone, i)
		}
	}
	return gone
}

// cutCycles writes to one node on its own disk, cuts the power at a random
// moment and starts it again, some times. It returns how many of the
// acknowledged keys were lost, or why the node did not come back.
func cutCycles(t *testing.T, cycles int, wrap func(int, []string) []string) (acked, lost int, refused string) {
	t.Helper()
	return cutter{cycles: cycles, wrap: wrap}.run(t, newDisk(t, 64))
}

// cutter is how the power of one node is cut.
type cutter struct {
	cycles int
	a      acker
	yaml   string
	wrap   func(int, []string) []string // for a node that lies; nil: honest
	moment func(n *selftest.Node)       // returns when the power goes; nil: a random one
	after  func(n *selftest.Node)       // looks at the disk before the node starts again
}

func (k cutter) run(t *testing.T, d *disk) (acked, lost int, refused string) {
	t.Helper()
	o := selftest.Options{YAML: cmp.Or(k.yaml, small+lowSpace+quick)}
	lie := k.wrap != nil
	honest := !lie
	o.Wrap = func(i int, argv []string) []string {
		if honest {
			return argv
		}
		return k.wrap(i, argv)
	}
	disks := []*disk{d}
	c := onTheseDisks(t, o, disks)
	n := c.Nodes[0]
	a := &k.a
	for range k.cycles {
		honest = !lie
		startAll(t, c)
		before, err := n.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		broken := make(chan struct{})
		go func() { // owns a until broken is closed; ends when the node does
			defer close(broken)
			a.run(t, n, 1000000)
		}()
		if k.moment != nil {
			k.moment(n)
		} else {
			until(t, "something to lose", func() (bool, error) {
				s, err := n.Status(t.Context())
				return s.CommitIndex >= before.CommitIndex+10, err
			})
			<-time.After(time.Duration(rand.IntN(150)) * time.Millisecond) // the moment of the fault
		}
		cut(t, c, disks, n)
		<-broken
		if k.after != nil {
			k.after(n)
		}
		honest = true
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		if err := c.Ready(deadline(t)); err != nil {
			if lie && n.Pid() == 0 {
				return a.acked, lost, n.Tail(1)
			}
			t.Fatal(err)
		}
		if lost = len(a.lost(t, n)); lost > 0 {
			break
		}
		if lie {
			n.Kill()
		}
	}
	return a.acked, lost, ""
}

// PL-01 for a node that is alone: nobody else could bring back what it forgot.
func TestPowerCutOfSingleNode(t *testing.T) {
	parallel(t)
	const cycles = 15
	acked, lost, _ := cutCycles(t, cycles, nil)
	t.Logf("%d power cuts, %d keys acknowledged, %d lost", cycles, acked, lost)
	if lost > 0 {
		t.Errorf("%d acknowledged keys are lost", lost)
	}
	if acked == 0 {
		t.Error("nothing was acknowledged: nothing was tested")
	}
}

// The harness can go red: on a disk that says it synced and did not, power cuts
// lose what was acknowledged.
func TestHarnessFindsLyingDisk(t *testing.T) {
	needStrace(t)
	parallel(t)
	const cycles = 5
	acked, lost, refused := cutCycles(t, cycles, func(_ int, argv []string) []string {
		return strace(argv, "fdatasync,fsync,msync,sync_file_range:retval=0")
	})
	t.Logf("at most %d power cuts, %d keys acknowledged, %d lost; refused: %s", cycles, acked, lost, refused)
	if lost == 0 && refused == "" {
		t.Error("a lying disk lost nothing: the harness sees nothing")
	}
}

// PL-08, PC-10: the power goes in the very first start. Started again, the node
// begins anew or continues; it never says that its data is damaged.
func TestPowerCutInTheVeryFirstStart(t *testing.T) {
	parallel(t)
	c, disks := onDisks(t, 64, selftest.Options{Voters: 1, YAML: lowSpace + quick})
	n := c.Nodes[0]
	const cuts = 16
	var empty, born int
	var whole time.Duration // a first start, until it serves
	for i := 0; i < cuts || empty == 0 && i < 3*cuts; i++ {
		began := time.Now()
		if err := n.Start(); err != nil {
			t.Fatal(err)
		}
		switch {
		case i == 0: // one comes late enough on any machine
			if err := c.Ready(deadline(t)); err != nil {
				t.Fatal(err)
			}
			whole = time.Since(began)
		case i < cuts:
			<-time.After(whole * time.Duration(i) / 12) // the moment of the fault
		}
		cut(t, c, disks, n)
		if _, err := os.Stat(n.Data + "/identity"); err == nil {
			born++
		} else {
			empty++
		}
		startOne(t, c, n)
		do(t, n, "SET", "k", "v")
		n.Kill()
		if err := os.RemoveAll(n.Data); err != nil {
			t.Fatal(err)
		}
		disks[0].sync(t) // else the next cut brings it back, and with it a node that was born long ago
	}
	t.Logf("%d power cuts; %d times the disk held no identity, %d times one", empty+born, empty, born)
	if born == 0 || empty == 0 {
		t.Error("too little was tested")
	}
}
