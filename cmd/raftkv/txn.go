package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/raftkv/raftkv/client"
)

func newTxn() *cobra.Command {
	var f clientFlags
	return f.add(&cobra.Command{
		Use:   "txn WORD...",
		Short: "Run several operations at one moment, all or none",
		Long: "txn runs operations as one entry of the log, exactly once. The words are, one behind the other:\n\n" +
			"  if KEY VERSION    the key must have this version; 0: must not be there\n" +
			"  get KEY           put KEY VALUE       append KEY VALUE\n" +
			"  incr KEY DELTA    del KEY\n\n" +
			"If a condition is not met nothing runs and it exits 6. An operation that can't be done, such as an increment\n" +
			"of a text, says so and the others stand: then it exits 1. It prints one line for each operation.",
		Example: "  raftkv txn if a 17 -- incr a -5 incr b 5\n  raftkv txn if name 0 put name me put owner/me name",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkTxn(args); err != nil {
				return usageError(err)
			}
			return f.run(cmd, func(ctx context.Context, c *client.Client) error {
				return runTxn(ctx, c, cmd.OutOrStdout(), f.output, args)
			})
		},
	})
}

func checkTxn(words []string) error {
	_, _, err := buildTxn(new(client.Client).Txn(), words)
	return err
}

// buildTxn adds what the words say, and lists the operations.
func buildTxn(t *client.Txn, words []string) (_ *client.Txn, ops []string, err error) {
	for i := 0; i < len(words); {
		verb := strings.ToLower(words[i])
		n := 1
		switch verb {
		case "if", "put", "append", "incr":
			n = 2
		case "get", "del":
		default:
			return nil, nil, fmt.Errorf("word %d: %q is not if, get, put, append, incr or del", i+1, words[i])
		}
		rest := words[i+1:]
		if len(rest) < n {
			return nil, nil, fmt.Errorf("%s needs a key and, but for get and del, another word", verb)
		}
		i += 1 + n
		key := rest[0]
		switch verb {
		case "if":
			version, err := strconv.ParseUint(rest[1], 10, 63)
			if err != nil {
				return nil, nil, fmt.Errorf("version %q is not a number", rest[1])
			}
			t.IfVersion(key, version)
			continue
		case "get":
			t.Get(key)
		case "put":
			t.Put(key, []byte(rest[1]), 0)
		case "append":
			t.Append(key, []byte(rest[1]))
		case "incr":
			delta, err := strconv.ParseInt(rest[1], 10, 64)
			if err != nil {
				return nil, nil, fmt.Errorf("delta %q is not an integer of 64 bits", rest[1])
			}
			t.Incr(key, delta)
		case "del":
			t.Delete(key)
		}
		ops = append(ops, verb)
	}
	if len(ops) == 0 {
		return nil, nil, errors.New("there are only conditions, no operation")
	}
	return t, ops, nil
}

// runTxn runs a transaction and prints a line for each operation.
func runTxn(ctx context.Context, c *client.Client, w io.Writer, output string, words []string) error {
	t, ops, err := buildTxn(c.Txn(), words)
	if err != nil {
		return usageError(err)
	}
	results, err := t.Commit(ctx)
	if err != nil {
		return err
	}
	var failed error
	for i, r := range results {
		if r.Err != nil && failed == nil {
			failed = fmt.Errorf("operation %d (%s): %w; the others stand", i+1, ops[i], r.Err)
		}
		if output == outJSON {
			doc := map[string]any{"op": ops[i]}
			switch {
			case r.Err != nil:
				doc["error"] = r.Err.Error()
			case ops[i] == "get" && r.Value == nil:
				doc["found"] = false
			case ops[i] == "get":
				doc["found"], doc["version"] = true, r.Version
				if plain, encoded := inJSON(string(r.Value)); plain != nil {
					doc["value"] = *plain
				} else {
					doc["value_base64"] = *encoded
				}
			case ops[i] != "put":
				doc["number"] = r.Number
			}
			if err := printLine(w, doc); err != nil {
				return err
			}
			continue
		}
		text := strconv.FormatInt(r.Number, 10)
		switch {
		case r.Err != nil:
			text = "(error) " + r.Err.Error()
		case ops[i] == "put":
			text = "OK"
		case ops[i] == "get" && r.Value == nil:
			text = "(nil)"
		case ops[i] == "get" && output == outPlain:
			text = string(r.Value)
		case ops[i] == "get":
			text = plainText(string(r.Value))
		}
		if _, err := fmt.Fprintln(w, text); err != nil {
			return err
		}
	}
	return failed
}
