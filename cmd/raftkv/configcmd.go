package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"github.com/raftkv/raftkv/config"
)

func newConfig() *cobra.Command {
	c := &cobra.Command{Use: "config", Short: "Check and show configurations"}
	c.AddCommand(newConfigCheck(), newConfigPrint())
	return c
}

func newConfigCheck() *cobra.Command {
	var over overrides
	c := &cobra.Command{
		Use:   "check FILE",
		Short: "Report everything that is wrong with a configuration",
		Long: "Reads FILE, the environment (RAFTKV_...) and flags, exactly as serve does, and reports every fault at\n" +
			"once with its place. Ends with 78 if there is one.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			l, err := loadConfig(args[0], over.flags())
			if err != nil {
				return err
			}
			warn(c.ErrOrStderr(), l.Warnings)
			fmt.Fprintf(c.OutOrStdout(), "%s is valid\n", args[0])
			return nil
		},
	}
	over.add(c)
	return c
}

func newConfigPrint() *cobra.Command {
	var file string
	var over overrides
	c := &cobra.Command{
		Use:   "print",
		Short: "Show the effective configuration, with defaults and where each value comes from",
		Long: "Prints, as commented YAML that serve takes, what the file, the environment and flags come to.\n" +
			"Without --config it shows an example of one node with the defaults.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			l, err := loadConfig(file, over.flags())
			if err != nil {
				return err
			}
			warn(c.ErrOrStderr(), l.Warnings)
			return l.Print(c.OutOrStdout(), l.Origin)
		},
	}
	c.Flags().StringVar(&file, "config", "", "YAML `file`")
	over.add(c)
	return c
}

// loadConfig is config.Load with the exit code of what went wrong.
func loadConfig(file string, flags []config.Flag) (*config.Loaded, error) {
	l, err := config.Load(config.Options{File: file, Flags: flags})
	if faults, ok := errors.AsType[config.Faults](err); ok {
		return nil, exitWith(exitConfig, fmt.Errorf("the configuration has %s:\n%w", plural(len(faults), "fault"), err))
	}
	if err != nil {
		if errors.Is(err, fs.ErrPermission) {
			return nil, exitWith(exitPermission, err)
		}
		return nil, exitWith(exitConfig, err)
	}
	return l, nil
}

func plural(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

func warn(w io.Writer, warnings []string) {
	for _, s := range warnings {
		fmt.Fprintln(w, "warning:", s)
	}
}

// overrides are the flags that stand above the file and the environment.
type overrides struct {
	name, dataDir, level, format string
	join                         bool
	set                          []string
	changed                      func(flag string) bool
}

func (o *overrides) add(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&o.name, "name", "", "node.name")
	f.StringVar(&o.dataDir, "data-dir", "", "node.data_dir")
	f.BoolVar(&o.join, "join", false, "cluster.join")
	f.StringVar(&o.level, "log-level", "", "log.level: debug, info, warn or error")
	f.StringVar(&o.format, "log-format", "", "log.format: auto, text or json")
	f.StringArrayVar(&o.set, "set", nil, "any other key, as `key=value`; may be repeated")
	o.changed = f.Changed
}

// flags are those that stand on the command line. Which keys there are is config's to say.
func (o *overrides) flags() []config.Flag {
	var out []config.Flag
	for _, f := range []config.Flag{
		{Name: "name", Key: "node.name", Value: o.name},
		{Name: "data-dir", Key: "node.data_dir", Value: o.dataDir},
		{Name: "join", Key: "cluster.join", Value: fmt.Sprint(o.join)},
		{Name: "log-level", Key: "log.level", Value: o.level},
		{Name: "log-format", Key: "log.format", Value: o.format},
	} {
		if o.changed(f.Name) {
			f.Name = "--" + f.Name
			out = append(out, f)
		}
	}
	for _, s := range o.set {
		key, value, _ := strings.Cut(s, "=")
		out = append(out, config.Flag{Name: "--set " + s, Key: key, Value: value})
	}
	return out
}
