package main

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/raftkv/raftkv/sim"
)

// simulation is one call of raftkv sim.
type simulation struct {
	opt     sim.Options
	seeds   uint64
	faults  string
	trace   bool
	picture string
}

func newSim() *cobra.Command {
	var s simulation
	c := &cobra.Command{
		Use:   "sim",
		Short: "Play clusters of this program's nodes in virtual time, under faults drawn from a seed",
		Long: "Runs the code of whole nodes (Raft, state machine, snapshots, forwarding) in one process on simulated\n" +
			"disks, networks and clocks, while clients write and read: crashes, power cuts, lost and late messages,\n" +
			"partitions, slow, full and failing disks, clocks that jump, members that come and go. After every event\n" +
			"the rules of Raft and of this program's promises are checked; at the end everything is healed, must get\n" +
			"on and must be the same on all nodes, and what clients saw must be linearizable.\n\n" +
			"The same seed is the same run, to the last event: the hash says so. It ends with 1 if a rule was broken,\n" +
			"and says how to see that run again.\n\n" +
			"Kinds of faults: " + wrap(strings.Join(sim.FaultNames(), ", "), 82),
		Example: "  raftkv sim --seed 7\n  raftkv sim --seed 1 --seeds 500\n  raftkv sim --seed 7 --faults kill-leader,cut-one-way --trace | less",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := s.check(); err != nil {
				return usageError(err)
			}
			return s.do(c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	f := c.Flags()
	f.Uint64Var(&s.opt.Seed, "seed", 0, "the seed, or the first one; default: any")
	f.Uint64Var(&s.seeds, "seeds", 1, "how many seeds, one after the other")
	f.IntVar(&s.opt.Nodes, "nodes", 0, "first voters, 3 to 7; default: drawn from the seed")
	f.IntVar(&s.opt.Steps, "steps", 0, "end the faults after so many `events`; default: after 12 to 30 simulated seconds")
	f.StringVar(&s.faults, "faults", "", "`kinds` of faults, separated by commas, or none; default: drawn from the seed")
	f.BoolVar(&s.trace, "trace", false, "print everything that happens; with one seed only")
	f.StringVar(&s.picture, "picture", "", "`directory` for a picture of a history that is not linearizable; default: the temporary one")
	return c
}

// wrap breaks a list into lines.
func wrap(text string, width int) string {
	var b strings.Builder
	at := len("Kinds of faults: ")
	for i, word := range strings.Split(text, " ") {
		if at+len(word) > width {
			b.WriteString("\n  ")
			at = 2
		}
		if i > 0 && at > 2 {
			b.WriteString(" ")
			at++
		}
		b.WriteString(word)
		at += len(word)
	}
	return b.String()
}

func (s *simulation) check() error {
	switch {
	case s.seeds == 0:
		return errors.New("seeds 0: nothing would be shown")
	case s.trace && s.seeds > 1:
		return errors.New("--trace is for one seed")
	case s.opt.Nodes != 0 && (s.opt.Nodes < 3 || s.opt.Nodes > 7):
		return fmt.Errorf("nodes %d is not 3 to 7", s.opt.Nodes)
	case s.opt.Steps < 0:
		return fmt.Errorf("steps %d is below zero", s.opt.Steps)
	}
	if s.faults == "" {
		return nil
	}
	s.opt.Faults = []string{}
	if s.faults == "none" {
		return nil
	}
	for name := range strings.SplitSeq(s.faults, ",") {
		if !slices.Contains(sim.FaultNames(), name) {
			return fmt.Errorf("fault %q is none of %s", name, strings.Join(sim.FaultNames(), ", "))
		}
		s.opt.Faults = append(s.opt.Faults, name)
	}
	return nil
}

func (s *simulation) do(out, errOut io.Writer) error {
	if s.opt.Seed == 0 {
		s.opt.Seed = 1 + rand.Uint64N(1<<32)
	}
	s.opt.Picture = s.picture
	if s.opt.Picture == "" {
		s.opt.Picture = os.TempDir()
	}
	if s.seeds == 1 {
		return s.one(out)
	}
	bar := newBar(errOut)
	began := time.Now()
	sum, failures := sim.RunMany(s.opt.Seed, s.seeds, runtime.GOMAXPROCS(0), s.opt, func(done uint64, c *sim.Counts) {
		bar.line(float64(done)/float64(s.seeds), fmt.Sprintf("%d of %d seeds, %.0f simulated s, %d commits, %d faults",
			done, s.seeds, c.Simulated.Seconds(), c.Committed, c.Injected()))
	})
	bar.clear()
	fmt.Fprintln(out, sum.Report(time.Since(began)))
	if len(failures) == 0 {
		fmt.Fprintf(out, "PASS: no rule was broken in %s from %d on\n", plural(sum.Seeds, "seed"), s.opt.Seed)
		return nil
	}
	var errs []error
	for _, f := range failures {
		errs = append(errs, f)
	}
	return errors.Join(errs...)
}

// one plays one seed and prints its hash.
func (s *simulation) one(out io.Writer) error {
	o := s.opt
	o.Picture = sim.PictureIn(o.Picture, o.Seed)
	if s.trace {
		o.Trace = func(line string) { fmt.Fprintln(out, line) }
	}
	began := time.Now()
	res := sim.Run(o)
	fmt.Fprintf(out, "seed %d %s\n%s\ntrace hash %016x\n", o.Seed, res.Plan, res.Count.Report(time.Since(began)), res.Hash)
	if res.Err != nil {
		return &sim.Failure{Opt: o, Err: res.Err}
	}
	return nil
}
