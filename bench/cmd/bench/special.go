package main

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/raftkv/raftkv/bench/load"
)

func du(dir string) int64 {
	var t int64
	filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			if i, err := d.Info(); err == nil {
				t += i.Sys().(*syscall.Stat_t).Blocks * 512
			}
		}
		return nil
	})
	return t
}

// failover kills the leader n times and returns each time without writes.
func (c *cluster) failover(n int) []time.Duration {
	var out []time.Duration
	for r := 0; r < n; r++ {
		_, li := c.leaderFirst()
		time.Sleep(1500 * time.Millisecond)
		var mu sync.Mutex
		var oks []time.Time
		var stop atomic.Bool
		var wg sync.WaitGroup
		for i, a := range c.addrs() {
			for w := 0; w < 3; w++ {
				wg.Add(1)
				go func(i, w int) {
					defer wg.Done()
					p := load.NewProbe(c.s.Proto, a)
					defer p.Close()
					for !stop.Load() {
						s := time.Now()
						if err := p.Do(false, fmt.Sprintf("fo%d-%d", i, w), "x", 150*time.Millisecond); err == nil {
							mu.Lock()
							oks = append(oks, time.Now())
							mu.Unlock()
						}
						if d := time.Since(s); d < 3*time.Millisecond {
							time.Sleep(3*time.Millisecond - d)
						}
					}
				}(i, w)
			}
		}
		time.Sleep(500 * time.Millisecond)
		killed := time.Now()
		c.nodes[li].kill()
		end := time.Now().Add(20 * time.Second)
		for time.Now().Before(end) {
			time.Sleep(20 * time.Millisecond)
			mu.Lock()
			ok := len(oks) > 0 && oks[len(oks)-1].After(killed.Add(50*time.Millisecond)) && time.Since(killed) > 300*time.Millisecond
			mu.Unlock()
			if ok {
				break
			}
		}
		time.Sleep(500 * time.Millisecond)
		stop.Store(true)
		wg.Wait()
		slices.SortFunc(oks, func(a, b time.Time) int { return a.Compare(b) })
		var gap time.Duration
		for i := 1; i < len(oks); i++ {
			if oks[i].After(killed) {
				gap = max(gap, oks[i].Sub(oks[i-1]))
			}
		}
		out = append(out, gap)
		c.startNode(c.nodes[li])
		time.Sleep(2 * time.Second)
	}
	return out
}

// fsyncs counts sync calls per 1000 operations under strace.
func (c *cluster) fsyncs(cl int) string {
	lc := c.config(cl)
	var outs []string
	var cmds []*exec.Cmd
	for i, p := range c.pids() {
		o := filepath.Join(c.dir, fmt.Sprintf("strace.%d", i))
		cmd := exec.Command("strace", "-c", "-f", "-e", "trace=fdatasync,fsync,sync_file_range,msync,pwrite64,write,writev", "-o", o, "-p", strconv.Itoa(p))
		check(cmd.Start())
		cmds = append(cmds, cmd)
		outs = append(outs, o)
	}
	time.Sleep(500 * time.Millisecond)
	lc.Warm, lc.Dur = 0, 3*time.Second
	r, err := load.Run(lc)
	check(err)
	for _, cmd := range cmds {
		cmd.Process.Signal(os.Interrupt)
		cmd.Wait()
	}
	var per []string
	for _, o := range outs {
		b, _ := os.ReadFile(o)
		m := map[string]string{}
		for _, l := range strings.Split(string(b), "\n") {
			f := strings.Fields(l)
			if len(f) >= 5 {
				if n, err := strconv.Atoi(f[3]); err == nil {
					m[f[len(f)-1]] = fmt.Sprintf("%.2f", float64(n)/float64(r.Ops))
				}
			}
		}
		per = append(per, fmt.Sprintf("fdatasync %s fsync %s pwrite64 %s write %s", dash(m["fdatasync"]), dash(m["fsync"]), dash(m["pwrite64"]), dash(m["write"])))
	}
	return fmt.Sprintf("| %s | %d | %.0f | %s |", c.s.Name, cl, r.Rate, strings.Join(per, " | "))
}

func dash(s string) string {
	if s == "" {
		return "0"
	}
	return s
}

func restart(s *system) string {
	c := newCluster(s, false)
	c.startAll()
	c.leaderFirst()
	r := c.seqLoad(*rkeys)
	time.Sleep(3 * time.Second)
	rss, disk := load.RSS(c.pids())/1024, du(c.dir)>>20
	for _, n := range c.nodes {
		n.cmd.Process.Kill()
	}
	for _, n := range c.nodes {
		n.kill()
	}
	t0 := time.Now()
	c.startAll()
	key := "k" + fmt.Sprintf("%015d", *rkeys-1)
	var ps []*load.Probe
	for _, a := range c.addrs() {
		ps = append(ps, load.NewProbe(c.s.Proto, a))
	}
	try := func(read bool) time.Duration {
		for time.Since(t0) < 2*time.Minute {
			for _, p := range ps {
				if p.Do(read, key, "x", 300*time.Millisecond) == nil {
					return time.Since(t0)
				}
			}
			time.Sleep(2 * time.Millisecond)
		}
		return -1
	}
	rd := try(true)
	wr := try(false)
	c.stop()
	return fmt.Sprintf("| %s | %d | %.0f | %.1f | %d | %d | %d | %d |", s.Name, *rkeys, r.Rate, r.ServerCPUSec, rss, disk, rd.Milliseconds(), wr.Milliseconds())
}
