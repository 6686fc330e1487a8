// Command clients runs real Redis clients against three raftkv daemons and prints
// a table: which client can do what.
//
//	cd test/compat && npm --prefix clients ci && go run ./clients
//
// Every client connects as it does by default, to a follower, which forwards. In
// "leader killed" it writes while the leader is killed with SIGKILL and started
// again, and then the node that it is connected to; it must go on by itself, and
// what it was told is written must be there. The last columns are the cluster
// modes, with redis.follower: forward and moved. A check that fails ends the
// program with 1 and stands below the table with its reason.
package main

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"text/tabwriter"
	"time"
)

// checks are the columns, in their order. Those with "cluster" are run by clients that know cluster modes.
var checks = []string{"connect", "pipeline", "transaction", "pubsub", "torture", "cluster-connect", "cluster-pipeline", "cluster-torture"}

var titles = map[string]string{"torture": "leader killed", "cluster-connect": "cluster", "cluster-pipeline": "cluster pipeline", "cluster-torture": "cluster, leader killed"}

// client is one row. run does one check against the nodes, the first of which it
// should use. errNotApplicable: the client has nothing of the kind. wrote is called for each
// acknowledged write of a torture, which lasts until ctx ends.
type client struct {
	name string
	run  func(t task) error
}

type task struct {
	ctx     context.Context // the check must end with it
	stop    <-chan struct{} // closed when a torture shall end
	check   string
	addrs   []string
	wrote   func()
	refused func(error) // of each write that was not acknowledged
}

var errNotApplicable = fmt.Errorf("not applicable")

// calm keeps a busy machine from electing leaders: a client that meets that in a check sees an unknown outcome, as it must.
// Where a leader is killed, its connections tell the others at once.
const calm = "raft: {election_ticks: 250}\n"

const checkTime = 90 * time.Second // of one check; a stuck client must not stop the others

func main() {
	only := flag.String("only", "", "run clients whose name contains this")
	keep := flag.Bool("keep", false, "keep the directory of the nodes")
	root := flag.String("root", "../..", "the project")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code, err := run(ctx, *only, *root, *keep)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(ctx context.Context, only, root string, keep bool) (int, error) {
	dir, err := os.MkdirTemp("", "raftkv-clients-")
	if err != nil {
		return 1, err
	}
	if keep {
		fmt.Println("nodes in", dir)
	} else {
		defer os.RemoveAll(dir)
	}
	bin := filepath.Join(dir, "raftkv")
	build := exec.CommandContext(ctx, "go", "build", "-o", bin, "./cmd/raftkv")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return 1, fmt.Errorf("build raftkv: %w\n%s", err, out)
	}
	pid := os.Getpid()
	host := func(k int) string { return fmt.Sprintf("127.%d.%d.%d", 200+k, pid>>8&0xff, pid&0xff|1) }
	clusters := map[string]*cluster{}
	for k, mode := range []string{"forward", "moved"} {
		c, err := startCluster(ctx, bin, filepath.Join(dir, mode), host(k), "redis: {follower: "+mode+"}\n"+calm)
		if err != nil {
			return 1, err
		}
		defer c.stop()
		clusters[mode] = c
	}
	n, failures := 0, []string(nil)
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	row := []string{"client"}
	for _, check := range checks {
		if t := titles[check]; t != "" {
			check = t
		}
		row = append(row, check)
	}
	fmt.Fprintln(w, strings.Join(row, "\t"))
	for _, cl := range clients(dir) {
		if !strings.Contains(cl.name, only) || ctx.Err() != nil {
			continue
		}
		row = []string{cl.name}
		for _, check := range checks {
			cell := ""
			for _, mode := range []string{"forward", "moved"} {
				if mode == "moved" && !strings.HasPrefix(check, "cluster-") {
					continue // without a cluster mode a client needs the leader's address
				}
				began := time.Now()
				err := one(ctx, clusters[mode], cl, check)
				switch {
				case err == errNotApplicable:
					cell = "-"
				case err != nil:
					cell = "FAILED"
					failures = append(failures, fmt.Sprintf("%s, %s, %s: %v", cl.name, check, mode, err))
					fallthrough
				default:
					n++
					if cell == "" {
						cell = "ok"
					}
				}
				if os.Getenv("CLIENTS_TIMES") != "" {
					fmt.Fprintf(os.Stderr, "%s %s %s %v\n", cl.name, check, mode, time.Since(began).Round(time.Millisecond))
				}
			}
			row = append(row, cell)
		}
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	w.Flush()
	fmt.Printf("%d checks, %d failed\n", n, len(failures))
	for _, f := range failures {
		fmt.Println("FAILED", f)
	}
	if n == 0 || len(failures) > 0 {
		return 1, ctx.Err()
	}
	return 0, nil
}

// one runs one check of one client.
func one(ctx context.Context, c *cluster, cl client, check string) error {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	leader, follower, err := c.leader(ctx)
	if err != nil {
		return err
	}
	addrs := []string{follower.client}
	for _, d := range c.nodes {
		if d != follower {
			addrs = append(addrs, d.client)
		}
	}
	stop := make(chan struct{})
	var writes atomic.Int64
	var last atomic.Pointer[error]
	t := task{ctx: ctx, stop: stop, check: check, addrs: addrs, wrote: func() { writes.Add(1) }, refused: func(err error) { last.Store(&err) }}
	if !strings.HasSuffix(check, "torture") {
		close(stop)
		return cl.run(t)
	}
	ended := make(chan error, 1)
	// Ends with stop, or with ctx; awaited below.
	go func() { ended <- cl.run(t) }()
	progress := func(what string) error {
		from := writes.Load()
		for writes.Load() < from+20 {
			select {
			case err := <-ended:
				ended <- err
				if err == nil {
					err = fmt.Errorf("it ended by itself")
				}
				return err
			case <-ctx.Done():
				if e := last.Load(); e != nil {
					return fmt.Errorf("no writes %s; the last one: %w", what, *e)
				}
				return fmt.Errorf("no writes %s", what)
			case <-time.After(5 * time.Millisecond):
			}
		}
		return nil
	}
	err = progress("at the start")
	for _, victim := range []*daemon{leader, follower} {
		if err != nil {
			break
		}
		victim.kill()
		if victim == leader {
			err = progress("after the leader was killed")
		}
		if serr := c.start(victim); serr != nil {
			return serr
		}
		if err == nil {
			err = c.ready(ctx, victim)
		}
		if err == nil {
			err = progress("after " + victim.name + " came back")
		}
	}
	close(stop)
	if cerr := <-ended; err == nil {
		err = cerr
	}
	return err
}

// process runs a program; its standard input ends with the torture, and each line
// of its output is an acknowledged write then.
func process(t task, name string, args ...string) error {
	cmd := exec.CommandContext(t.ctx, name, args...)
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	// Ends with the program's output, which Wait comes behind.
	read := make(chan struct{})
	go func() {
		defer close(read)
		for s := bufio.NewScanner(out); s.Scan(); {
			t.wrote()
		}
		io.Copy(io.Discard, out)
	}()
	go func() { // ends with the torture, at last with the check
		select {
		case <-t.stop:
		case <-t.ctx.Done():
		}
		in.Close()
	}()
	<-read
	if err := cmd.Wait(); err != nil {
		text := strings.TrimSpace(stderr.String())
		return fmt.Errorf("%w: %s", err, text[max(0, len(text)-600):])
	}
	return nil
}
