package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

func newDev() *cobra.Command {
	d := dev{
		poll:    200 * time.Millisecond,
		backoff: backoff{first: 500 * time.Millisecond, max: 15 * time.Second},
		grace:   2 * time.Second,
		twice:   500 * time.Millisecond,
	}
	var initOnly bool
	c := &cobra.Command{
		Use:   "dev",
		Short: "Run a whole cluster on this machine, to try things",
		Long: "Writes a YAML file and a data directory a node under --dir, starts one process a node, tells who\n" +
			"leads and what to try, and starts a node that dies again: kill -9 one of them and watch.\n" +
			"Ctrl-C stops the nodes in order. Their data is there at the next start.\n\n" +
			"With the default ports clients connect to 127.0.0.1:5001, 5002 and so on, peers to 5101 and so on;\n" +
			"http is at 5201 and so on.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			d.out = c.OutOrStdout()
			d.layout.given = c.Flags().Changed
			if err := d.layout.check(); err != nil {
				return usageError(err)
			}
			if err := d.layout.prepare(); err != nil {
				return err
			}
			if initOnly {
				d.sayByHand()
				return nil
			}
			exe, err := os.Executable()
			if err != nil {
				return fmt.Errorf("find this program, to start it once a node: %w", err)
			}
			d.exe = exe
			signals := make(chan os.Signal, 4)
			signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
			defer signal.Stop(signals)
			return d.run(c.Context(), signals)
		},
	}
	f := c.Flags()
	f.StringVar(&d.layout.dir, "dir", "raftkv-dev", "`directory` of the cluster")
	f.IntVar(&d.layout.count, "nodes", 3, "how many nodes: 1, 3 or 5")
	f.BoolVar(&initOnly, "init-only", false, "only write the files, and say how to start the nodes by hand")
	f.StringVar(&d.layout.host, "host", defaultDevHost, "loopback `address` of all nodes")
	f.IntVar(&d.layout.basePort, "base-port", defaultDevPort, "clients at this `port`+1 and so on, peers 100 and http 200 above")
	return c
}

const (
	defaultDevHost = "127.0.0.1"
	defaultDevPort = 5000
)

// dev is one run of a cluster of child processes. One goroutine, that of run,
// owns it; all others only send events.
type dev struct {
	layout  devLayout
	exe     string        // the program to start
	env     []string      // of the children, added to the own
	out     io.Writer     // where people read
	poll    time.Duration // pause between two looks at a node
	backoff backoff       // before a dead node is started again
	grace   time.Duration // beyond service.stop_timeout, before a node is killed

	twice time.Duration // a second signal within it is the first one again: wrappers such as timeout(1) deliver it twice

	nodes   []*devNode
	events  chan any      // childExited, polled, restartDue
	done    chan struct{} // closed when nobody reads events any more
	spawn   *spawner
	serving bool // the cluster was seen to serve
	started time.Time
	nagged  bool
}

// run starts the nodes and looks after them until a signal, or until none can run.
func (d *dev) run(ctx context.Context, signals <-chan os.Signal) error {
	unlock, err := d.layout.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if d.nodes, err = d.layout.load(); err != nil {
		return err
	}
	if err := portsFree(d.nodes); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	d.events, d.done = make(chan any), make(chan struct{})
	d.spawn = newSpawner()
	watchers := d.watch(ctx)
	defer func() {
		cancel()
		close(d.done)
		watchers.Wait()
		d.spawn.close()
	}()

	d.started = time.Now()
	d.say("starting %s in %s", plural(len(d.nodes), "node"), d.layout.dir)
	for _, n := range d.nodes {
		if err := d.start(ctx, n); err != nil {
			d.killAll()
			return err
		}
	}
	for {
		select {
		case sig := <-signals:
			d.say("%v: stopping the nodes, the leader last; once more kills them", sig)
			return d.stop(signals)
		case <-ctx.Done():
			return d.stop(signals)
		case e := <-d.events:
			if err := d.on(ctx, e); err != nil {
				return err
			}
		}
	}
}

// on handles one event. An error means that there is nothing left to look after.
func (d *dev) on(ctx context.Context, e any) error {
	switch e := e.(type) {
	case childExited:
		return d.onExit(e)
	case restartDue:
		if err := d.start(ctx, e.node); err != nil {
			d.say("%s: %v", e.node.name, err)
			d.restartLater(e.node)
		}
	case polled:
		d.onPolled(e)
	}
	return nil
}

// onExit decides whether a node that ended is started again.
func (d *dev) onExit(e childExited) error {
	n := e.node
	n.child, n.status, n.ready, n.again = nil, devStatus{}, false, true
	if e.how.code >= 0 && !exitCode(e.how.code).restartable() {
		n.given = e.how
		d.say("%s ended: %s. That needs your hand; it isn't started again. %s", n.name, e.how, n.lastWords())
		for _, other := range d.nodes {
			if other.child != nil || other.given.code == 0 {
				return nil
			}
		}
		return exitWith(exitCode(e.how.code), errors.New("no node is left"))
	}
	pause := d.restartLater(n)
	words := ""
	if e.how.code > 0 {
		words = " " + n.lastWords()
	}
	d.say("%s ended: %s. Starting it again in %v.%s", n.name, e.how, pause, words)
	return nil
}

// restartLater asks for a restart after a pause that grows while the node doesn't come up.
func (d *dev) restartLater(n *devNode) time.Duration {
	pause := d.backoff.pause(n.failures)
	n.failures++
	events, done := d.events, d.done
	time.AfterFunc(pause, func() {
		select {
		case events <- restartDue{n}:
		case <-done:
		}
	})
	return pause
}

// backoff is a pause that doubles.
type backoff struct{ first, max time.Duration }

func (b backoff) pause(failures int) time.Duration {
	p := b.first
	for range min(failures, 30) {
		p = min(2*p, b.max)
	}
	return p
}

// stop ends the nodes in order: those that follow first, the leader last, so that
// leadership doesn't wander through nodes that are about to stop.
func (d *dev) stop(signals <-chan os.Signal) error {
	began := time.Now()
	for _, n := range stopOrder(d.nodes) {
		if n.child == nil {
			continue
		}
		n.signal(syscall.SIGTERM)
		late := time.NewTimer(n.stopTimeout + d.grace)
		for n.child != nil {
			select {
			case e := <-d.events:
				if e, ok := e.(childExited); ok {
					e.node.child = nil
					d.say("%s stopped: %s", e.node.name, e.how)
				}
			case <-late.C:
				d.say("%s did not stop within %v: killing it", n.name, n.stopTimeout+d.grace)
				n.kill()
			case sig := <-signals:
				if time.Since(began) < d.twice {
					continue
				}
				d.say("%v: killing all nodes", sig)
				d.killAll()
				return nil
			}
		}
		late.Stop()
	}
	d.say("all nodes are stopped; the data stays in %s", d.layout.dir)
	return nil
}

// stopOrder is followers first, the leader last. Two may say that they lead, if
// one of them was not asked since: the one of the newer term does.
func stopOrder(nodes []*devNode) []*devNode {
	lead := func(n *devNode) uint64 {
		if n.status.Role != roleLeader {
			return 0
		}
		return n.status.Term
	}
	order := slices.Clone(nodes)
	slices.SortStableFunc(order, func(a, b *devNode) int { return cmp.Compare(lead(a), lead(b)) })
	return order
}

// killAll ends what is left at once and waits for it.
func (d *dev) killAll() {
	for _, n := range d.nodes {
		n.kill()
	}
	for _, n := range d.nodes {
		for n.child != nil {
			if e, ok := (<-d.events).(childExited); ok {
				e.node.child = nil
			}
		}
	}
}

// say prints one line with the time.
func (d *dev) say(format string, args ...any) {
	fmt.Fprintf(d.out, "%s  %s\n", time.Now().Format("15:04:05"), fmt.Sprintf(format, args...))
}

// sayServing tells who leads and what to try.
func (d *dev) sayServing(leader *devNode) {
	d.say("the cluster serves: %s leads term %d", leader.name, leader.status.Term)
	w := d.out
	fmt.Fprintln(w)
	for _, n := range d.nodes {
		fmt.Fprintf(w, "  %-4s clients %s  http://%s/status  pid %-7d  log %s\n", n.name, n.redis, n.http, n.pid(), n.logFile)
	}
	me, to := programName(), d.endpointsFlag()
	fmt.Fprintf(w, "\nTry in another terminal:\n\n")
	for _, s := range []string{
		me + " put" + to + " greeting hello",
		me + " get" + to + " greeting",
		me + " status" + to,
		me + " shell" + to,
		"redis-cli" + redisArgs(d.nodes[0].redis),
		fmt.Sprintf("kill -9 %d    # the leader; watch here", leader.pid()),
	} {
		fmt.Fprintln(w, "  "+s)
	}
	fmt.Fprintf(w, "\nCtrl-C stops the nodes. Role changes follow.\n\n")
}

// sayByHand tells how to start what was prepared.
func (d *dev) sayByHand() {
	fmt.Fprintf(d.out, "The files of %s are in %s. Start each in a terminal of its own:\n\n", plural(d.layout.count, "node"), d.layout.dir)
	for i := range d.layout.count {
		fmt.Fprintf(d.out, "  %s serve --config %s\n", programName(), d.layout.file(i))
	}
	fmt.Fprintf(d.out, "\nand then\n\n  %s shell%s\n", programName(), d.endpointsFlag())
}

// endpointsFlag is empty with the default ports: commands look there by themselves.
func (d *dev) endpointsFlag() string {
	var all []string
	standard := true
	for i := range d.layout.count {
		all = append(all, d.layout.clients[i])
		standard = standard && i < 3 && d.layout.clients[i] == net.JoinHostPort(defaultDevHost, strconv.Itoa(defaultDevPort+1+i))
	}
	if standard {
		return ""
	}
	return " --endpoints " + strings.Join(all, ",")
}

func redisArgs(addr string) string {
	host, port, _ := net.SplitHostPort(addr)
	if host == defaultDevHost {
		return " -p " + port
	}
	return " -h " + host + " -p " + port
}

// programName is how the user can run this program again.
func programName() string {
	exe, err := os.Executable()
	if err == nil && strings.Contains(exe, "go-build") {
		return "go run ./cmd/raftkv"
	}
	if strings.ContainsRune(os.Args[0], filepath.Separator) {
		return os.Args[0]
	}
	return "raftkv"
}
