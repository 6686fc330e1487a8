package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/raftkv/raftkv/selftest"
)

// selfTest is one run of the self test.
type selfTest struct {
	run  selftest.Run
	keep bool // the directory stays, whatever the verdict is
}

func newSelfTest() *cobra.Command {
	var s selfTest
	c := &cobra.Command{
		Use:   "selftest",
		Short: "Torment a throw-away cluster on this machine, and check that nothing is lost",
		Long: "Starts a cluster of this very program on loopback, lets clients write and read, and meanwhile kills\n" +
			"nodes (one, several, all), pauses them, cuts the network between them in many ways, loses replies, moves\n" +
			"leadership and replaces members. It needs no root and touches no other cluster.\n\n" +
			"Then it checks that nothing acknowledged is lost, that no append took effect twice, that what clients saw\n" +
			"is linearizable, that no term had two leaders, and that all nodes hold the same state. It ends with 0 if\n" +
			"all of that holds, else with 1, and leaves logs, data and a picture of the wrong history in the directory.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := s.check(); err != nil {
				return usageError(err)
			}
			ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
			defer stop()
			return s.do(ctx, c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	f := c.Flags()
	f.DurationVar(&s.run.Duration, "duration", time.Minute, "how long faults go on")
	f.IntVar(&s.run.Voters, "nodes", 3, "how many nodes: 1, 3 or 5")
	f.Uint64Var(&s.run.Seed, "seed", 0, "chooses the faults and what clients do; default: any. Timing is real, so runs differ nevertheless")
	f.StringVar(&s.run.Dir, "dir", "", "`directory` of the cluster, empty or missing; default: a new one in the temporary directory")
	f.BoolVar(&s.keep, "keep", false, "keep the directory, also if all is well")
	return c
}

func (s *selfTest) check() error {
	if s.run.Duration <= 0 {
		return fmt.Errorf("duration %v is not above zero", s.run.Duration)
	}
	if n := s.run.Voters; n != 1 && n != 3 && n != 5 {
		return fmt.Errorf("nodes %d is not 1, 3 or 5", n)
	}
	if s.run.Dir == "" {
		return nil
	}
	files, err := os.ReadDir(s.run.Dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if len(files) > 0 {
		return fmt.Errorf("directory %s is not empty; the test wants one of its own", s.run.Dir)
	}
	return nil
}

// selfTestYAML makes snapshots and compaction part of the test.
const selfTestYAML = `
snapshot: {log_entries: 1000, log_bytes: 1MiB, keep_entries: 100}
`

// do runs the test and tells what came out.
func (s *selfTest) do(ctx context.Context, out, errOut io.Writer) error {
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program, to start it once a node: %w", err)
	}
	if s.run.Dir == "" {
		s.run.Dir, err = os.MkdirTemp("", "raftkv-selftest-")
	} else if err = os.MkdirAll(s.run.Dir, 0o700); err == nil {
		s.run.Dir, err = filepath.Abs(s.run.Dir)
	}
	if err != nil {
		return err
	}
	if s.run.Seed == 0 {
		s.run.Seed = rand.Uint64N(1 << 32)
	}
	s.run.Bin, s.run.YAML = exe, selfTestYAML
	if s.run.Host, err = freeHost(s.run.Voters); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s for %v in %s, seed %d\n", plural(s.run.Voters, "node"), s.run.Duration, s.run.Dir, s.run.Seed)
	bar := newBar(errOut)
	s.run.Progress = bar.show
	v, err := s.run.Do(ctx)
	bar.clear()
	printVerdict(out, v)
	if ctx.Err() != nil {
		err = errors.New("interrupted: no verdict")
	}
	if err != nil {
		fmt.Fprintf(out, "FAIL: logs and data are in %s\n", s.run.Dir)
		if _, missing := os.Stat(v.Picture); v.Picture != "" && missing == nil {
			fmt.Fprintf(out, "      a picture of the history is in %s\n", v.Picture)
		}
		return err
	}
	fmt.Fprintln(out, "PASS: nothing acknowledged was lost, nothing took effect twice, every history was linearizable,\n"+
		"      no term had two leaders, and all nodes hold the same state")
	if s.keep {
		return nil
	}
	return os.RemoveAll(s.run.Dir)
}

// printVerdict tells how much was tested.
func printVerdict(w io.Writer, v selftest.Verdict) {
	counts := func(m map[string]int) (sum int, list string) {
		var parts []string
		for _, name := range slices.Sorted(maps.Keys(m)) {
			sum += m[name]
			parts = append(parts, fmt.Sprintf("%s %d", name, m[name]))
		}
		return sum, strings.Join(parts, ", ")
	}
	sum, list := counts(v.Faults)
	_, events := counts(v.Events)
	rows := [][]string{
		{"operations", fmt.Sprintf("%d, %d of them with an unknown outcome, in %s", v.Operations, v.Unknown, plural(v.Rounds, "round"))},
		{"appended", fmt.Sprintf("%s, %d acknowledged", plural(v.Tokens, "token"), v.Acked)},
		{"faults", fmt.Sprintf("%d: %s", sum, list)},
		{"made of", events},
		{"newest term", fmt.Sprint(v.Term)},
		{"looks at nodes", fmt.Sprint(v.Looks)},
	}
	for _, r := range rows {
		fmt.Fprintf(w, "%-15s %s\n", r[0], r[1])
	}
}

// freeHost finds a loopback address on which nobody listens on the ports that
// the nodes will use. A cluster of its own address disturbs no other one.
func freeHost(nodes int) (string, error) {
	var last error
	for range 20 {
		host := fmt.Sprintf("127.%d.%d.1", 216+rand.IntN(38), 1+rand.IntN(254))
		if last = portsFreeAt(host, nodes); last == nil {
			return host, nil
		}
	}
	return "", fmt.Errorf("find free ports on loopback: %w", last)
}

func portsFreeAt(host string, nodes int) error {
	for i := 1; i <= nodes; i++ {
		for _, base := range []int{5000, 5100, 5200} {
			ln, err := net.Listen("tcp", fmt.Sprintf("%s:%d", host, base+i))
			if err != nil {
				return err
			}
			ln.Close() // it was only a look
		}
	}
	return nil
}

// bar is a line on a terminal that tells how far something is; elsewhere it is quiet.
type bar struct {
	w  io.Writer
	on bool
}

func newBar(w io.Writer) *bar { return &bar{w: w, on: isTerminal(w)} }

// barWidth is the length of the bar, in characters.
const barWidth = 24

func (b *bar) show(p selftest.Progress) {
	full := 0.0
	if p.Duration > 0 {
		full = float64(p.Elapsed) / float64(p.Duration)
	}
	b.line(full, fmt.Sprintf("%v of %v, %d answers, %s: %s", p.Elapsed.Round(time.Second), p.Duration, p.Acked, plural(p.Faults, "fault"), p.Doing))
}

// line shows how far something is, from 0 to 1, and a text behind it.
func (b *bar) line(part float64, text string) {
	if !b.on {
		return
	}
	full := int(min(1, part) * barWidth)
	fmt.Fprintf(b.w, "\r\x1b[K[%s%s] %s", strings.Repeat("=", full), strings.Repeat(" ", barWidth-full), text)
}

func (b *bar) clear() {
	if b.on {
		fmt.Fprint(b.w, "\r\x1b[K")
	}
}
