package main

import (
	"bufio"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/raftkv/raftkv/node"
)

func newTrace() *cobra.Command {
	c := &cobra.Command{
		Use:   "trace",
		Short: "Read and replay what the flight recorder of a node wrote",
		Long: "A node keeps the last events of its Raft core. It writes them into the directory traces of its data\n" +
			"directory when it panics, when its loop stands still, and at SIGQUIT and SIGABRT; where /debug is served\n" +
			"(see http.debug) it answers them at /debug/trace. Users' keys and values are not in there: the core\n" +
			"looks at the length of a command only. Names, addresses and ids of the nodes are.",
	}
	c.AddCommand(&cobra.Command{
		Use:   "show FILE",
		Short: "Print what was recorded",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return withTrace(c, args[0], func(t *node.TraceFile, out io.Writer) error { return t.Show(out) })
		},
	})
	var quiet bool
	replay := &cobra.Command{
		Use:   "replay FILE",
		Short: "Run the recorded events through the core of this program, print what comes out, and compare",
		Long: "replay runs what was recorded through the core of this program, offline, and prints every event and what\n" +
			"comes out of it. It ends with 1 if that is not what came out when it was recorded. Use the version\n" +
			"that wrote the file: another one may rightly do something else.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return withTrace(c, args[0], func(t *node.TraceFile, out io.Writer) error {
				events := out
				if quiet {
					events = io.Discard
				}
				res, err := t.Replay(events)
				if err != nil {
					return fmt.Errorf("after %s the replay differs: %w", plural(res.Events, "event"), err)
				}
				fmt.Fprintf(out, "%s replayed, %s as they were recorded\n", plural(res.Events, "event"), plural(res.Outputs, "output"))
				if res.Panic != "" {
					fmt.Fprintf(out, "the core panics at the last event: %s\n", res.Panic)
				}
				return nil
			})
		},
	}
	replay.Flags().BoolVarP(&quiet, "quiet", "q", false, "print the result only")
	c.AddCommand(replay)
	return c
}

// withTrace reads a trace file and tells what it is.
func withTrace(c *cobra.Command, path string, f func(*node.TraceFile, io.Writer) error) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	t, err := node.ReadTrace(b)
	if err != nil {
		return exitWith(exitDamaged, fmt.Errorf("%s: %w", path, err))
	}
	if mine := readVersion().String(); t.Version != mine {
		fmt.Fprintf(c.ErrOrStderr(), "raftkv: %s was written by %s, this is %s\n", path, t.Version, mine)
	}
	out := bufio.NewWriter(c.OutOrStdout())
	fmt.Fprintln(out, t)
	err = f(t, out)
	if ferr := out.Flush(); err == nil {
		err = ferr
	}
	return err
}
