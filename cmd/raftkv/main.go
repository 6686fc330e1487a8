// Command raftkv is the daemon, a cluster for one machine to try things, and the
// tools around them.
//
// serve.go reads like a story: configuration, log, node, signals. build.go is
// the one place that knows every package. exit.go has the exit codes.
//
// Read root.go first, then serve.go, then build.go.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		easeTimers()
		spareThreads()
	}
	os.Exit(int(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)))
}

// run executes one command line and says how the process ends. Errors are
// printed here and nowhere else.
func run(args []string, in io.Reader, out, errOut io.Writer) exitCode {
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errOut)

	// What fails before a command's own function runs is a wrong command line:
	// an unknown command or flag, a missing argument.
	began := false
	markBegin(root, &began)
	cmd, err := root.ExecuteContextC(context.Background())
	if err == nil {
		return exitOK
	}
	code := codeOf(err)
	if !began {
		code = exitUsage
	}
	if e, ok := err.(*exitError); !ok || e.err != nil {
		fmt.Fprintf(errOut, "raftkv: %v\n", err)
	}
	if code == exitUsage {
		fmt.Fprintf(errOut, "Run '%s --help' for what there is.\n", strings.TrimSpace(cmd.CommandPath()))
	}
	return code
}

// markBegin notes in began that a command's own function was reached. A command
// that only groups others gets one that asks for one of them.
func markBegin(c *cobra.Command, began *bool) {
	for _, sub := range c.Commands() {
		markBegin(sub, began)
	}
	if c.HasSubCommands() && !c.Runnable() && c.HasParent() {
		c.Args = func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return fmt.Errorf("%s needs a command: %s", c.CommandPath(), strings.Join(subNames(c), ", "))
			}
			return fmt.Errorf("unknown command %q for %q: there is %s", args[0], c.CommandPath(), strings.Join(subNames(c), ", "))
		}
		c.RunE = func(*cobra.Command, []string) error { return nil }
	}
	if f := c.Args; f != nil && !c.HasSubCommands() && c.Name() != "help" { // its own words are better
		c.Args = func(c *cobra.Command, args []string) error {
			if f(c, args) == nil {
				return nil
			}
			return fmt.Errorf("got %s, usage: %s", plural(len(args), "argument"), strings.TrimSuffix(c.UseLine(), " [flags]"))
		}
	}
	if f := c.RunE; f != nil {
		c.RunE = func(c *cobra.Command, args []string) error {
			*began = true
			return f(c, args)
		}
	} else if f := c.Run; f != nil {
		c.Run = func(c *cobra.Command, args []string) {
			*began = true
			f(c, args)
		}
	}
}

func subNames(c *cobra.Command) []string {
	var names []string
	for _, sub := range c.Commands() {
		if !sub.Hidden {
			names = append(names, sub.Name())
		}
	}
	return names
}
