package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/raftkv/raftkv/bench/load"
)

func (c *cluster) config(cl int) load.Config {
	a, _ := c.leaderFirst()
	return load.Config{Proto: c.s.Proto, Addrs: a, Clients: cl, MaxConns: c.s.MaxConns, Keys: *keys, ValueLen: *value,
		StaleCmd: c.s.StaleCmd, Warm: *warm, Dur: *dur, PIDs: c.pids()}
}

type rec struct {
	System, Test string
	Clients      int
	Depth        int
	load.Result
	Sectors float64 // KiB written to the disk per operation (whole machine)
	Noise   float64 // user-mode cores used by processes that are not part of the run
}

var recs []rec

func diskKiB() float64 {
	var t float64
	b, _ := os.ReadFile("/proc/diskstats")
	for _, l := range strings.Split(string(b), "\n") {
		f := strings.Fields(l)
		if len(f) < 10 {
			continue
		}
		if _, err := os.Stat("/sys/block/" + f[2] + "/device"); err != nil {
			continue
		}
		n, _ := strconv.ParseFloat(f[9], 64)
		t += n / 2
	}
	return t
}

// otherUser is the user-mode CPU seconds of the machine less those of the run's own processes.
func otherUser(pids []int) float64 {
	b, _ := os.ReadFile("/proc/stat")
	f := strings.Fields(strings.SplitN(string(b), "\n", 2)[0])
	u, _ := strconv.ParseFloat(f[1], 64)
	n, _ := strconv.ParseFloat(f[2], 64)
	return (u+n)/100 - load.UserSeconds(append([]int{os.Getpid()}, pids...))
}

// measure runs once, and again where others used the machine meanwhile.
func (c *cluster) measure(test string, lc load.Config) {
	for try := 0; try <= *retries; try++ {
		if c.measureOnce(test, lc, try == *retries) {
			return
		}
	}
}

// awaitQuiet spends what is left of the -wait-quiet budget until others are quiet.
func awaitQuiet(pids []int) {
	for *quiet > 0 {
		t, n := time.Now(), otherUser(pids)
		time.Sleep(400 * time.Millisecond)
		if (otherUser(pids)-n)/time.Since(t).Seconds() < 0.12 {
			return
		}
		*quiet -= time.Since(t)
	}
}

func (c *cluster) measureOnce(test string, lc load.Config, last bool) bool {
	awaitQuiet(lc.PIDs)
	w0 := c.written()
	d0, t0, n0 := diskKiB(), time.Now(), otherUser(lc.PIDs)
	r, err := load.Run(lc)
	if lc.ReadPct == 0 && err == nil {
		// a node that fell out, or never joined, would make the system look fast
		for i, w := range c.written() {
			if w == w0[i] {
				check(fmt.Errorf("%s: node %d wrote nothing to disk during a write run; see %s", c.s.Name, i+1, c.nodes[i].Dir))
			}
		}
	}
	noise := (otherUser(lc.PIDs) - n0) / time.Since(t0).Seconds()
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s %s %d: %v\n", c.s.Name, test, lc.Clients, err)
		return true
	}
	if noise > *noiseMax && !last {
		fmt.Fprintf(os.Stderr, "%s %s %d: others used %.2f cores, repeating\n", c.s.Name, test, lc.Clients, noise)
		time.Sleep(2 * time.Second)
		return false
	}
	kib := (diskKiB() - d0) / time.Since(t0).Seconds() * r.Elapsed.Seconds() / float64(max(r.Ops, 1))
	x := rec{c.s.Name, test, lc.Clients, lc.Depth, r, kib, noise}
	recs = append(recs, x)
	if jsonFile != nil {
		json.NewEncoder(jsonFile).Encode(x)
	}
	fmt.Fprintf(os.Stderr, "%-18s %-7s c=%-5d d=%-3d %9.0f op/s p50 %8v p99 %8v p99.9 %8v srvcpu %.3f clicpu %.3f s/kop noise %.2f errs %d %s\n", c.s.Name, test, lc.Clients, lc.Depth,
		r.Rate, r.P50.Round(time.Microsecond), r.P99.Round(time.Microsecond), r.P999.Round(time.Microsecond), r.ServerCPU, r.ClientCPU, noise, r.Errs, r.FirstError)
	return true
}

func (c *cluster) seqLoad(n int) load.Result {
	lc := c.config(64)
	lc.Keys, lc.Seq = n, true
	if c.s.Proto == "resp" {
		lc.Depth = 16
	} else {
		lc.Clients = 256
	}
	w0 := c.written()
	r, err := load.Run(lc)
	check(err)
	for i, w := range c.written() {
		if w == w0[i] {
			check(fmt.Errorf("%s: node %d took no part in the load", c.s.Name, i+1))
		}
	}
	return r
}

// cell is one load that a system is measured with.
type cell struct {
	test string
	mod  func(*load.Config)
	cl   int
}

// cells lists the loads of the tests chosen that s can run.
func cells(s *system, has func(string) bool, cls []int) []cell {
	var out []cell
	add := func(t string, n int, f func(*load.Config)) { out = append(out, cell{t, f, n}) }
	none := func(*load.Config) {}
	pipe := has("pipe") && s.Proto == "resp"
	if has("write") {
		for _, n := range cls {
			add("write", n, none)
		}
	}
	if has("append") && s.Proto == "resp" {
		add("append", 64, func(c *load.Config) { c.Append, c.ValueLen = true, 16 })
	}
	if pipe {
		add("write", 64, func(c *load.Config) { c.Depth = 16 })
	}
	if has("read") && !s.NoLinGet {
		for _, n := range cls {
			add("linget", n, func(c *load.Config) { c.ReadPct = 100 })
		}
		if pipe {
			add("linget", 64, func(c *load.Config) { c.ReadPct, c.Depth = 100, 16 })
		}
	}
	if has("stale") && (s.StaleCmd != "" || s.Proto == "etcd") {
		for _, n := range cls {
			if n == 1 || n == 64 || n == 1024 {
				add("stale", n, func(c *load.Config) { c.ReadPct, c.Stale = 100, true })
			}
		}
	}
	if has("mixed") {
		for _, n := range cls {
			if n >= 64 {
				add("mix90", n, func(c *load.Config) { c.ReadPct = 90 })
			}
		}
	}
	if has("large") {
		for _, n := range []int{1, 16, 64} {
			add("64KiB", n, func(c *load.Config) { c.ValueLen, c.Keys = 65536, 2000 })
		}
	}
	return out
}

func (c *cluster) run(x cell) {
	lc := c.config(x.cl)
	x.mod(&lc)
	c.measure(x.test, lc)
}

// ready starts a cluster and loads the key space.
func ready(s *system) *cluster {
	c := newCluster(s, false)
	c.startAll()
	c.leaderFirst()
	time.Sleep(500 * time.Millisecond)
	c.seqLoad(*keys)
	return c
}

// interleaved keeps every system up and runs each load on one after the other,
// -reps times over, so that whatever else the machine does falls on all alike.
func interleaved(run []*system, has func(string) bool, cls []int) {
	var cs []*cluster
	var ls [][]cell
	n := 0
	for _, s := range run {
		cs = append(cs, ready(s))
		ls = append(ls, cells(s, has, cls))
		n = max(n, len(ls[len(ls)-1]))
	}
	type id struct {
		t    string
		c, d int
	}
	ident := func(x cell) id {
		var lc load.Config
		x.mod(&lc)
		return id{x.test, x.cl, lc.Depth}
	}
	longest := slices.MaxFunc(ls, func(a, b []cell) int { return len(a) - len(b) })
	for rep := 0; rep < *reps; rep++ {
		for _, x := range longest {
			for i, c := range cs {
				if j := slices.IndexFunc(ls[i], func(y cell) bool { return ident(y) == ident(x) }); j >= 0 {
					c.run(ls[i][j])
				}
			}
		}
	}
	for _, c := range cs {
		c.stop()
	}
}
