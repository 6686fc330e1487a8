package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/raftkv/raftkv/client"
)

func newScan() *cobra.Command {
	var f clientFlags
	var o client.ScanOptions
	var values bool
	var limit int
	cmd := &cobra.Command{
		Use:   "scan [PREFIX]",
		Short: "List keys in the order of their bytes",
		Long: "scan lists the keys that begin with PREFIX. A key that is there all the time comes exactly once.\n" +
			"-o json prints one document a line, byte-exact; table quotes what is no plain text, plain prints it as it is.",
		Example: "  raftkv scan user/\n  raftkv scan --values --limit 10\n  raftkv scan --match 'user/*/name' -o json",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				o.Prefix = args[0]
			}
			switch {
			case o.Prefix != "" && o.Match != "":
				return usageError(errors.New("PREFIX and --match exclude each other"))
			case limit < 0:
				return usageError(fmt.Errorf("limit %d is below zero", limit))
			}
			return f.stream(cmd, func(ctx context.Context, c *client.Client) error {
				return scan(ctx, c, cmd.OutOrStdout(), f.output, o, values, limit)
			})
		},
	}
	cmd.Flags().BoolVar(&values, "values", false, "print values, too")
	cmd.Flags().IntVar(&limit, "limit", 0, "stop after so many keys; 0: never")
	cmd.Flags().StringVar(&o.Match, "match", "", "keys that match this `glob` of Redis, instead of PREFIX")
	cmd.Flags().StringVar(&o.After, "after", "", "begin behind this `key`")
	return f.add(cmd)
}

// scan prints keys, with their values or without.
func scan(ctx context.Context, c *client.Client, w io.Writer, output string, o client.ScanOptions, values bool, limit int) (err error) {
	out := bufio.NewWriter(w)
	defer func() {
		if e := out.Flush(); err == nil {
			err = e
		}
	}()
	n := 0
	show := func(it client.Item) error {
		n++
		switch {
		case output == outJSON:
			return printLine(out, recordOf(it.Key, it.Value))
		case output == outPlain:
			_, err = fmt.Fprint(out, it.Key)
			if values {
				_, err = fmt.Fprint(out, "\t", string(it.Value))
			}
		default:
			_, err = fmt.Fprint(out, plainText(it.Key))
			if values {
				_, err = fmt.Fprint(out, "  ", plainText(string(it.Value)))
			}
		}
		fmt.Fprintln(out)
		return err
	}
	if values {
		for it, err := range c.Items(ctx, o) {
			if err != nil {
				return err
			}
			if err := show(it); err != nil || n == limit {
				return err
			}
		}
		return nil
	}
	for key, err := range c.Scan(ctx, o) {
		if err != nil {
			return err
		}
		if err := show(client.Item{Key: key}); err != nil || n == limit {
			return err
		}
	}
	return nil
}

// plainText is s for people: in quotes if it holds what a terminal would not show as it is.
func plainText(s string) string {
	if q := strconv.Quote(s); s == "" || q != `"`+s+`"` {
		return q
	}
	return s
}

func newWatch() *cobra.Command {
	var f clientFlags
	var o client.WatchOptions
	var limit int
	cmd := &cobra.Command{
		Use:   "watch [PREFIX]",
		Short: "Print changes of keys as they happen",
		Long: "watch prints the changes of keys that begin with PREFIX, each once and in the order of the log, until Ctrl-C. It\n" +
			"goes on at another node when one is lost. --from begins with the changes of an index, --after behind the place\n" +
			"of a change; nodes keep the recent ones only (feed.events), and say so if those are gone: exit 6.",
		Example: "  raftkv watch user/\n  raftkv watch --from 1234 -o json",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				o.Prefix = args[0]
			}
			if o.From != 0 && o.After != "" {
				return usageError(errors.New("--from and --after exclude each other"))
			}
			return f.stream(cmd, func(ctx context.Context, c *client.Client) error {
				return watch(ctx, c, cmd.OutOrStdout(), f.output, o, limit)
			})
		},
	}
	cmd.Flags().Uint64Var(&o.From, "from", 0, "begin with the changes of this `index`")
	cmd.Flags().StringVar(&o.After, "after", "", "begin behind this `place`, as -o json prints it")
	cmd.Flags().BoolVar(&o.Keys, "keys", false, "without values")
	cmd.Flags().IntVar(&limit, "limit", 0, "stop after so many changes; 0: never")
	return f.add(cmd)
}

// watch prints changes.
func watch(ctx context.Context, c *client.Client, w io.Writer, output string, o client.WatchOptions, limit int) error {
	n := 0
	for ch, err := range c.Watch(ctx, o) {
		var gone *client.CompactedError
		if errors.As(err, &gone) {
			return exitWith(exitCondition, err)
		} else if err != nil {
			return err
		}
		switch output {
		case outJSON:
			r := recordOf(ch.Key, ch.Value)
			if ch.Kind == client.Flushed {
				r = record{}
			}
			r.Index, r.Event, r.Version, r.Place = ch.Index, ch.Kind.String(), ch.Version, ch.Place
			if !ch.Expires.IsZero() {
				r.Expires = ch.Expires.UnixMilli()
			}
			err = printLine(w, r)
		case outPlain:
			_, err = fmt.Fprintf(w, "%d\t%v\t%s\t%s\n", ch.Index, ch.Kind, ch.Key, ch.Value)
		default:
			line := fmt.Sprintf("%d  %v  %s", ch.Index, ch.Kind, plainText(ch.Key))
			if ch.Kind == client.Changed && !o.Keys {
				line += "  " + plainText(string(ch.Value))
			}
			_, err = fmt.Fprintln(w, line)
		}
		if n++; err != nil || n == limit {
			return err
		}
	}
	return nil
}
