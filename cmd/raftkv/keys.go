package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/raftkv/raftkv/client"
)

// record is a key as a line of JSON. JSON holds text only: other bytes stand in base64.
type record struct {
	Index       uint64  `json:"index,omitempty"`
	Event       string  `json:"event,omitempty"`
	Key         *string `json:"key,omitempty"`
	KeyBase64   *string `json:"key_base64,omitempty"`
	Value       *string `json:"value,omitempty"`
	ValueBase64 *string `json:"value_base64,omitempty"`
	Version     uint64  `json:"version,omitempty"`
	Expires     int64   `json:"expires,omitempty"` // milliseconds since the Unix epoch
	Place       string  `json:"place,omitempty"`
}

func recordOf(key string, value []byte) (r record) {
	r.Key, r.KeyBase64 = inJSON(key)
	if value != nil {
		r.Value, r.ValueBase64 = inJSON(string(value))
	}
	return r
}

// pair is what recordOf was made of.
func (r record) pair() (key, value string, err error) {
	if key, err = fromJSON(r.Key, r.KeyBase64); err != nil {
		return "", "", fmt.Errorf("key: %w", err)
	}
	if value, err = fromJSON(r.Value, r.ValueBase64); err != nil {
		return "", "", fmt.Errorf("value: %w", err)
	}
	return key, value, nil
}

// inJSON is s as text, or else in base64.
func inJSON(s string) (plain, encoded *string) {
	if utf8.ValidString(s) {
		return &s, nil
	}
	b := base64.StdEncoding.EncodeToString([]byte(s))
	return nil, &b
}

// fromJSON is the inverse of inJSON.
func fromJSON(plain, encoded *string) (string, error) {
	switch {
	case plain != nil && encoded != nil:
		return "", fmt.Errorf("text and base64 stand side by side")
	case plain != nil:
		return *plain, nil
	case encoded != nil:
		b, err := base64.StdEncoding.DecodeString(*encoded)
		return string(b), err
	}
	return "", fmt.Errorf("it is missing")
}

// printLine writes a document on one line.
func printLine(w io.Writer, doc any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(doc)
}

func newIncr() *cobra.Command {
	var f clientFlags
	return f.add(&cobra.Command{
		Use:     "incr KEY [DELTA]",
		Short:   "Add DELTA, or 1, to a number and print the sum",
		Long:    "incr adds to the number at a key, 0 if it is not there, exactly once however often it has to be sent.\nBehind -- DELTA may be negative.",
		Example: "  raftkv incr visits\n  raftkv incr -- stock -3",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			delta := int64(1)
			if len(args) == 2 {
				var err error
				if delta, err = strconv.ParseInt(args[1], 10, 64); err != nil {
					return usageError(fmt.Errorf("delta %q is not an integer of 64 bits", args[1]))
				}
			}
			return f.run(cmd, func(ctx context.Context, c *client.Client) error {
				n, err := c.Incr(ctx, args[0], delta)
				if err != nil {
					return err
				}
				return f.say(cmd, fmt.Sprint(n), map[string]any{"key": args[0], "value": n})
			})
		},
	})
}

func newCas() *cobra.Command {
	var f clientFlags
	var version uint64
	var missing bool
	var ttl time.Duration
	cmd := &cobra.Command{
		Use:   "cas KEY [EXPECTED] NEW",
		Short: "Set a key if it holds what is expected, else exit 6",
		Long: "cas sets a key to NEW if it holds EXPECTED, byte by byte, or with --version if it has that version, or\n" +
			"with --missing if it is not there; the latter two take no EXPECTED. Else nothing is changed and it exits 6.\n" +
			"NEW - is standard input.",
		Example: "  raftkv cas config old new\n  raftkv cas config new --version 42\n  raftkv cas lock me --missing --ttl 30s",
		Args:    cobra.RangeArgs(2, 3),
		RunE: func(cmd *cobra.Command, args []string) error {
			byVersion := cmd.Flags().Changed("version")
			switch {
			case byVersion && missing:
				return usageError(fmt.Errorf("--version and --missing exclude each other"))
			case (byVersion || missing) != (len(args) == 2):
				return usageError(fmt.Errorf("it takes KEY EXPECTED NEW, or KEY NEW with --version or --missing"))
			}
			var opts []client.PutOption
			if cmd.Flags().Changed("ttl") {
				if ttl < time.Millisecond {
					return usageError(fmt.Errorf("ttl %v is below 1ms", ttl))
				}
				opts = append(opts, client.TTL(ttl))
			}
			value, err := valueArg(cmd, args[len(args)-1])
			if err != nil {
				return err
			}
			return f.run(cmd, func(ctx context.Context, c *client.Client) error {
				doc := map[string]any{"key": args[0], "applied": true}
				var err error
				switch {
				case byVersion:
					var now uint64
					now, err = c.PutVersion(ctx, args[0], version, value, opts...)
					doc["version"] = now
				case missing:
					err = c.CompareAndSwap(ctx, args[0], nil, value, opts...)
				default:
					err = c.CompareAndSwap(ctx, args[0], []byte(args[1]), value, opts...)
				}
				if err != nil {
					return err
				}
				return f.say(cmd, "OK", doc)
			})
		},
	}
	cmd.Flags().Uint64Var(&version, "version", 0, "the version that the key must have, as get --version tells it")
	cmd.Flags().BoolVar(&missing, "missing", false, "the key must not be there")
	cmd.Flags().DurationVar(&ttl, "ttl", 0, "how long the key lives, such as 30s")
	return f.add(cmd)
}

func newTTL() *cobra.Command {
	var f clientFlags
	return f.add(&cobra.Command{
		Use:   "ttl KEY",
		Short: "Print how long a key will live; forever if it doesn't expire",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.run(cmd, func(ctx context.Context, c *client.Client) error {
				d, expires, err := c.TTL(ctx, args[0])
				switch {
				case err != nil:
					return err
				case !expires:
					return f.say(cmd, "forever", map[string]any{"key": args[0], "expires": false})
				}
				return f.say(cmd, d.String(), map[string]any{"key": args[0], "expires": true, "milliseconds": d.Milliseconds()})
			})
		},
	})
}

func newExpire() *cobra.Command {
	var f clientFlags
	return f.add(&cobra.Command{
		Use:     "expire KEY TIME",
		Short:   "Let a key live for TIME, or forever",
		Example: "  raftkv expire token 90s\n  raftkv expire token forever",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := time.ParseDuration(args[1])
			if args[1] == "forever" {
				d, err = 0, nil
			} else if err == nil && d < time.Millisecond {
				err = fmt.Errorf("%v is below 1ms", d)
			}
			if err != nil {
				return usageError(fmt.Errorf("time %q: %w", args[1], err))
			}
			return f.run(cmd, func(ctx context.Context, c *client.Client) error {
				if d == 0 {
					err = c.Persist(ctx, args[0])
				} else {
					err = c.Expire(ctx, args[0], d)
				}
				if err != nil {
					return err
				}
				return f.say(cmd, "OK", map[string]any{"key": args[0], "applied": true})
			})
		},
	})
}

func newExists() *cobra.Command {
	var f clientFlags
	return f.add(&cobra.Command{
		Use:   "exists KEY...",
		Short: "Print how many of the keys are there; exit 5 if none is",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.run(cmd, func(ctx context.Context, c *client.Client) error {
				n, err := c.Exists(ctx, args...)
				if err != nil {
					return err
				}
				if err := f.say(cmd, fmt.Sprint(n), map[string]any{"exist": n}); err != nil {
					return err
				}
				if n == 0 {
					return exitWith(exitNotFound, nil)
				}
				return nil
			})
		},
	})
}

func newLen() *cobra.Command {
	var f clientFlags
	return f.add(&cobra.Command{
		Use:   "len [KEY]",
		Short: "Print the length of a value in bytes, or without KEY the number of keys",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.run(cmd, func(ctx context.Context, c *client.Client) error {
				if len(args) == 0 {
					n, err := c.Count(ctx)
					if err != nil {
						return err
					}
					return f.say(cmd, fmt.Sprint(n), map[string]any{"keys": n})
				}
				n, err := c.Len(ctx, args[0])
				if err != nil {
					return err
				}
				return f.say(cmd, fmt.Sprint(n), map[string]any{"key": args[0], "length": n})
			})
		},
	})
}
