package main

import (
	"context"
	"fmt"
	"io"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/raftkv/raftkv/client"
)

// stdinMax bounds a value from standard input: no cluster takes a larger one.
const stdinMax = 512 << 20

func newPut() *cobra.Command {
	var f clientFlags
	var nx, xx, keep bool
	var ttl time.Duration
	cmd := &cobra.Command{
		Use:   "put KEY VALUE",
		Short: "Set a key; VALUE - is standard input",
		Long: "put sets a key. VALUE - is read from standard input, byte by byte as it is.\n" +
			"It takes effect exactly once, however often it has to be sent. Behind -- a key or value may begin with a dash.",
		Example: "  raftkv put greeting hello\n  raftkv put image - < image.png\n  raftkv put lock me --nx --ttl 30s || echo taken",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			var opts []client.PutOption
			switch {
			case nx && xx:
				return usageError(fmt.Errorf("--nx and --xx exclude each other"))
			case nx:
				opts = append(opts, client.IfMissing())
			case xx:
				opts = append(opts, client.IfExists())
			}
			switch {
			case keep && ttl != 0:
				return usageError(fmt.Errorf("--ttl and --keep-ttl exclude each other"))
			case keep:
				opts = append(opts, client.KeepTTL())
			case cmd.Flags().Changed("ttl"):
				if ttl < time.Millisecond {
					return usageError(fmt.Errorf("ttl %v is below 1ms", ttl))
				}
				opts = append(opts, client.TTL(ttl))
			}
			value, err := valueArg(cmd, args[1])
			if err != nil {
				return err
			}
			return f.run(cmd, func(ctx context.Context, c *client.Client) error {
				if err := c.Put(ctx, args[0], value, opts...); err != nil {
					return err
				}
				return f.say(cmd, "OK", map[string]any{"key": args[0], "applied": true})
			})
		},
	}
	cmd.Flags().BoolVar(&nx, "nx", false, "only if the key is missing; else exit 6")
	cmd.Flags().BoolVar(&xx, "xx", false, "only if the key is there; else exit 6")
	cmd.Flags().DurationVar(&ttl, "ttl", 0, "how long the key lives, such as 30s")
	cmd.Flags().BoolVar(&keep, "keep-ttl", false, "leave the time that the key has to live as it is")
	return f.add(cmd)
}

func newAppend() *cobra.Command {
	var f clientFlags
	return f.add(&cobra.Command{
		Use:     "append KEY VALUE",
		Short:   "Append to a key and print its length; VALUE - is standard input",
		Long:    "append appends to the value of a key, exactly once however often it has to be sent,\nand prints the length of the whole value in bytes.",
		Example: "  raftkv append log 'a line'\n  date | raftkv append log -",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			value, err := valueArg(cmd, args[1])
			if err != nil {
				return err
			}
			return f.run(cmd, func(ctx context.Context, c *client.Client) error {
				n, err := c.Append(ctx, args[0], value)
				if err != nil {
					return err
				}
				return f.say(cmd, fmt.Sprint(n), map[string]any{"key": args[0], "length": n})
			})
		},
	})
}

func newGet() *cobra.Command {
	var f clientFlags
	var version bool
	cmd := &cobra.Command{
		Use:   "get KEY",
		Short: "Print the value of a key; exit 5 if there is none",
		Long: "get prints the value of a key, byte for byte. A line end is added on a terminal, and with -o table.\n" +
			"The read is linearizable: it sees every write that was acknowledged before it.",
		Example: "  raftkv get greeting\n  raftkv get image > image.png\n  raftkv cas config new --version $(raftkv get config --version)",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.run(cmd, func(ctx context.Context, c *client.Client) error {
				doc := map[string]any{"key": args[0]}
				var value []byte
				var err error
				if version {
					var v uint64
					value, v, err = c.Versioned(ctx, args[0])
					doc["version"] = v
				} else {
					value, err = c.Get(ctx, args[0])
				}
				if err != nil {
					return err
				}
				out := cmd.OutOrStdout()
				if f.output == outJSON {
					// JSON holds text only: other bytes are told in base64.
					if utf8.Valid(value) {
						doc["value"] = string(value)
					} else {
						doc["value_base64"] = value
					}
					return printJSON(out, doc)
				}
				if version {
					_, err = fmt.Fprintln(out, doc["version"])
					return err
				}
				if f.output == outTable || f.output == "" && isTerminal(out) {
					value = append(value, '\n')
				}
				_, err = out.Write(value)
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&version, "version", false, "print the version instead of the value; with -o json both")
	return f.add(cmd)
}

func newDel() *cobra.Command {
	var f clientFlags
	return f.add(&cobra.Command{
		Use:     "del KEY...",
		Short:   "Delete keys and print how many there were",
		Example: "  raftkv del greeting image",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.run(cmd, func(ctx context.Context, c *client.Client) error {
				n, err := c.Delete(ctx, args...)
				if err != nil {
					return err
				}
				return f.say(cmd, fmt.Sprint(n), map[string]any{"deleted": n})
			})
		},
	})
}

// valueArg is an argument, or standard input if that is a dash.
func valueArg(cmd *cobra.Command, arg string) ([]byte, error) {
	if arg != "-" {
		return []byte(arg), nil
	}
	value, err := io.ReadAll(io.LimitReader(cmd.InOrStdin(), stdinMax+1))
	if err != nil {
		return nil, fmt.Errorf("read the value from standard input: %w", err)
	}
	if len(value) > stdinMax {
		return nil, fmt.Errorf("the value on standard input is longer than %d bytes", stdinMax)
	}
	return value, nil
}

// say prints a short answer.
func (f *clientFlags) say(cmd *cobra.Command, text string, doc any) error {
	if f.output == outJSON {
		return printJSON(cmd.OutOrStdout(), doc)
	}
	_, err := fmt.Fprintln(cmd.OutOrStdout(), text)
	return err
}
