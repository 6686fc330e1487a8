package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/raftkv/raftkv/client"
)

// clientFlags are the flags of every command that talks to a cluster.
type clientFlags struct {
	endpoints []string
	timeout   time.Duration
	output    string // table, json, plain, or empty: what suits the command
}

const endpointsEnv = "RAFTKV_ENDPOINTS"

// The forms of output.
const (
	outTable = "table"
	outJSON  = "json"
	outPlain = "plain"
)

func (f *clientFlags) add(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().StringSliceVar(&f.endpoints, "endpoints", nil,
		"nodes to ask, host:port separated by commas; default $"+endpointsEnv+", else "+strings.Join(client.DefaultEndpoints(), ","))
	cmd.Flags().DurationVar(&f.timeout, "timeout", 10*time.Second, "how long to try")
	cmd.Flags().StringVarP(&f.output, "output", "o", "", "table, json or plain; default table, of get and shell plain if not on a terminal")
	return cmd
}

// client makes the client that the flags describe.
func (f *clientFlags) client() (*client.Client, error) {
	switch f.output {
	case "", outTable, outJSON, outPlain:
	default:
		return nil, usageError(fmt.Errorf("output %q is not table, json or plain", f.output))
	}
	if f.timeout <= 0 {
		return nil, usageError(fmt.Errorf("timeout %v is not above zero", f.timeout))
	}
	endpoints, from := f.endpoints, "--endpoints"
	switch {
	case endpoints != nil && len(endpoints) == 0:
		// Surely a variable that is not set: the default could be another cluster.
		return nil, usageError(errors.New("--endpoints is empty"))
	case endpoints == nil:
		endpoints, from = strings.FieldsFunc(os.Getenv(endpointsEnv), func(r rune) bool { return r == ',' || r == ' ' }), endpointsEnv
	}
	c, err := client.New(client.Config{Endpoints: endpoints, Timeout: f.timeout})
	if err != nil {
		return nil, usageError(fmt.Errorf("%s: %w", from, err))
	}
	return c, nil
}

// run gives do a client and a context that Ctrl-C ends, and its error an exit code.
func (f *clientFlags) run(cmd *cobra.Command, do func(ctx context.Context, c *client.Client) error) error {
	c, err := f.client()
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt)
	defer stop()
	// The time includes waiting for a node to answer at all.
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	return withCode(do(ctx, c))
}

// withCode gives an error of the client its exit code.
func withCode(err error) error {
	var e *exitError
	switch {
	case err == nil || errors.As(err, &e):
		return err
	case errors.Is(err, client.ErrUnknown):
		return exitWith(exitUnknown, err)
	case errors.Is(err, client.ErrNoLeader):
		return exitWith(exitNoLeader, err)
	case errors.Is(err, client.ErrNotFound):
		return exitWith(exitNotFound, err)
	case errors.Is(err, client.ErrCondition):
		return exitWith(exitCondition, err)
	}
	return err
}

func isTerminal(v any) bool {
	f, ok := v.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// printRows writes rows under a head, in columns, or with tabs and no head if plain.
func printRows(w io.Writer, plain bool, head []string, rows [][]string) error {
	if plain {
		for _, r := range rows {
			if _, err := fmt.Fprintln(w, strings.Join(r, "\t")); err != nil {
				return err
			}
		}
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, r := range append([][]string{head}, rows...) {
		fmt.Fprintln(t, strings.Join(r, "\t"))
	}
	return t.Flush()
}
