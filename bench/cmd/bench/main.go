// Command bench starts raftkv and its peers as clusters on loopback, drives
// all of them with one load generator and prints markdown tables.
//
// Read main.go for the flags, then measure.go.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

var (
	binDir   = flag.String("bin", "", "directory of the built systems, kept for the next run (default: a temp directory, built anew)")
	dataDir  = flag.String("data", "", "scratch directory for data (default: a temp directory)")
	names    = flag.String("system", "raftkv,etcd,hraft-bolt,hraft-bolt-tuned,hraft-wal,dragonboat,redis-single", "systems, comma-separated")
	extra    = flag.String("systems", "", "a further systems.json whose entries are added to the built-in ones")
	tests    = flag.String("tests", "write,pipe,read,stale,mixed,large", "write,pipe,read,stale,mixed,large,append,failover,failover-fast,restart,fsync")
	clients  = flag.String("clients", "1,64,256,1024", "client counts")
	dur      = flag.Duration("d", 1200*time.Millisecond, "measured time of one run")
	warm     = flag.Duration("warm", 300*time.Millisecond, "warm-up of one run")
	reps     = flag.Int("reps", 3, "repetitions; the table has the median, without -interleave the one with the least noise")
	keys     = flag.Int("keys", 100000, "key space")
	value    = flag.Int("value", 256, "value bytes")
	rkeys    = flag.Int("restart-keys", 1000000, "keys of the restart test")
	failN    = flag.Int("failovers", 5, "leader kills")
	jsonOut  = flag.String("json", "", "append one JSON line per run to this file")
	keep     = flag.Bool("keep", false, "keep the scratch directory")
	srcDir   = flag.String("src", ".", "the bench module's directory (for building peers)")
	noiseMax = flag.Float64("noise", 0.25, "repeat a run during which other processes used more user-mode cores than this")
	together = flag.Bool("interleave", true, "keep all systems up and take turns, load by load; the table shows the median repetition")
	quiet    = flag.Duration("wait-quiet", 0, "wait this long in all, before runs, for other processes to use little CPU")
	retries  = flag.Int("retries", 1, "how often to repeat it")
	all      []*cluster
	allMu    sync.Mutex
	jsonFile *os.File
)

func check(err error) {
	if err != nil {
		cleanup()
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func cleanup() {
	allMu.Lock()
	defer allMu.Unlock()
	for _, c := range all {
		c.stop()
	}
}

func main() {
	flag.Parse()
	tmp, err := os.MkdirTemp("", "raftbench")
	check(err)
	if *binDir == "" {
		*binDir = filepath.Join(tmp, "bin")
	}
	if *dataDir == "" {
		*dataDir = filepath.Join(tmp, "data")
	}
	*binDir, _ = filepath.Abs(*binDir)
	*dataDir, _ = filepath.Abs(*dataDir)
	check(os.MkdirAll(*binDir, 0o755))
	check(os.MkdirAll(*dataDir, 0o755))
	if !*keep {
		defer os.RemoveAll(tmp)
	}
	if *jsonOut != "" {
		jsonFile, err = os.OpenFile(*jsonOut, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		check(err)
	}
	sig := make(chan os.Signal, 1)
	signal.Notify(sig, os.Interrupt, syscall.SIGTERM)
	go func() { <-sig; cleanup(); os.RemoveAll(tmp); os.Exit(130) }()

	var systems []*system
	check(json.Unmarshal(builtin, &systems))
	if *extra != "" {
		b, err := os.ReadFile(*extra)
		check(err)
		var more []*system
		check(json.Unmarshal(b, &more))
		systems = append(systems, more...)
	}
	var run []*system
	for _, n := range strings.Split(*names, ",") {
		i := slices.IndexFunc(systems, func(s *system) bool { return s.Name == n })
		if i < 0 {
			check(fmt.Errorf("no system %q", n))
		}
		run = append(run, systems[i])
	}
	for _, s := range run {
		if s.Build == nil {
			continue
		}
		var a []string
		out := ""
		for i, x := range s.Build.Cmd {
			a = append(a, expand(x, tdata{Bin: *binDir}))
			if i > 0 && s.Build.Cmd[i-1] == "-o" {
				out = a[i]
			}
		}
		if _, err := os.Stat(out); err == nil && out != "" && !s.Build.Always {
			continue
		}
		cmd := exec.Command(a[0], a[1:]...)
		cmd.Dir = filepath.Join(*srcDir, s.Build.Dir)
		cmd.Stderr = os.Stderr
		fmt.Fprintln(os.Stderr, "building", s.Name)
		check(cmd.Run())
	}
	var cls []int
	for _, x := range strings.Split(*clients, ",") {
		n, err := strconv.Atoi(x)
		check(err)
		cls = append(cls, n)
	}
	has := func(t string) bool { return slices.Contains(strings.Split(*tests, ","), t) }
	var extraTables []string
	var fo, rs, fsy []string
	if *together {
		interleaved(run, has, cls)
	}
	for rep := 0; rep < *reps; rep++ {
		for _, s := range run {
			if l := cells(s, has, cls); len(l) > 0 && !*together {
				c := ready(s)
				for _, x := range l {
					c.run(x)
				}
				c.stop()
			}
			if has("fsync") {
				for _, n := range []int{1, 64, 256} {
					c := newCluster(s, false)
					c.startAll()
					c.leaderFirst()
					fsy = append(fsy, c.fsyncs(n))
					fmt.Fprintln(os.Stderr, fsy[len(fsy)-1])
					c.stop()
				}
			}
			for _, fast := range []bool{false, true} {
				if s.Nodes < 3 || !has(map[bool]string{false: "failover", true: "failover-fast"}[fast]) || fast && len(s.Fast) == 0 {
					continue
				}
				c := newCluster(s, fast)
				c.startAll()
				c.leaderFirst()
				time.Sleep(2 * time.Second)
				g := c.failover(*failN)
				var ms []string
				for _, x := range g {
					ms = append(ms, strconv.Itoa(int(x.Milliseconds())))
				}
				slices.Sort(g)
				l := fmt.Sprintf("| %s | %s | %d | %s |", s.Name, map[bool]string{false: "default", true: "tuned"}[fast], g[len(g)/2].Milliseconds(), strings.Join(ms, ", "))
				fmt.Fprintln(os.Stderr, l)
				fo = append(fo, l)
				c.stop()
			}
			if has("restart") {
				l := restart(s)
				fmt.Fprintln(os.Stderr, l)
				rs = append(rs, l)
			}
		}
	}
	if len(recs) > 0 {
		extraTables = append(extraTables, table())
	}
	if len(fsy) > 0 {
		extraTables = append(extraTables, "| system | clients | op/s under strace | node 1: calls per op | node 2 | node 3 |\n|---|---|---|---|---|---|\n"+strings.Join(fsy, "\n"))
	}
	if len(fo) > 0 {
		extraTables = append(extraTables, "| system | timeouts | median ms without writes | each, ms |\n|---|---|---|---|\n"+strings.Join(fo, "\n"))
	}
	if len(rs) > 0 {
		extraTables = append(extraTables, "| system | keys | load op/s | load: server CPU s | RSS of all nodes MiB | disk of all nodes MiB | all nodes killed -> first linearizable read ms | -> first write ms |\n|---|---|---|---|---|---|---|---|\n"+strings.Join(rs, "\n"))
	}
	fmt.Println(strings.Join(extraTables, "\n\n"))
	cleanup()
}
