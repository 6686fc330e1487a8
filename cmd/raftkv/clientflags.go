package main

import (
	"context"
	"crypto/tls"
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
	"github.com/raftkv/raftkv/server/access"
)

// clientFlags are the flags of every command that talks to a cluster.
type clientFlags struct {
	endpoints []string
	timeout   time.Duration
	output    string // table, json, plain, or empty: what suits the command

	user, passwordFile string
	tls                bool
	caCert, cert, key  string
}

const (
	endpointsEnv = "RAFTKV_ENDPOINTS"
	userEnv      = "RAFTKV_USER"
	passwordEnv  = "RAFTKV_PASSWORD" // not a flag: other users of the machine see those
)

// The forms of output.
const (
	outTable = "table"
	outJSON  = "json"
	outPlain = "plain"
)

func (f *clientFlags) add(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().StringSliceVar(&f.endpoints, "endpoints", nil,
		"nodes to ask, host:port separated by commas; default $"+endpointsEnv+", else "+strings.Join(client.DefaultEndpoints(), ","))
	cmd.Flags().StringVar(&f.user, "user", "", "user to be; default $"+userEnv+", else default if there is a password")
	cmd.Flags().StringVar(&f.passwordFile, "password-file", "", "`file` with the user's password on its first line; default $"+passwordEnv+" itself")
	cmd.Flags().BoolVar(&f.tls, "tls", false, "encrypt; nodes are checked against the system's authorities, or --cacert")
	cmd.Flags().StringVar(&f.caCert, "cacert", "", "`file` of the authorities that nodes are checked against; means --tls")
	cmd.Flags().StringVar(&f.cert, "cert", "", "`file` of the certificate to show; needs --key, means --tls")
	cmd.Flags().StringVar(&f.key, "key", "", "`file` of its private key")
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
	endpoints, from, err := f.where()
	if err != nil {
		return nil, err
	}
	cfg := client.Config{Endpoints: endpoints, Timeout: f.timeout}
	if err := f.secure(&cfg); err != nil {
		return nil, usageError(err)
	}
	c, err := client.New(cfg)
	if err != nil {
		return nil, usageError(fmt.Errorf("%s: %w", from, err))
	}
	return c, nil
}

// where is whom to ask, and what says so. None means the default ones.
func (f *clientFlags) where() (endpoints []string, from string, err error) {
	switch {
	case f.endpoints != nil && len(f.endpoints) == 0:
		// Surely a variable that is not set: the default could be another cluster.
		return nil, "", usageError(errors.New("--endpoints is empty"))
	case f.endpoints == nil:
		return strings.FieldsFunc(os.Getenv(endpointsEnv), func(r rune) bool { return r == ',' || r == ' ' }), endpointsEnv, nil
	}
	return f.endpoints, "--endpoints", nil
}

// secure says who we are, and how connections are encrypted.
func (f *clientFlags) secure(cfg *client.Config) (err error) {
	cfg.User, cfg.Password = f.user, os.Getenv(passwordEnv)
	if cfg.User == "" {
		cfg.User = os.Getenv(userEnv)
	}
	if f.passwordFile != "" {
		if cfg.Password, err = readPassword(f.passwordFile); err != nil {
			return fmt.Errorf("--password-file: %w", err)
		}
	}
	if !f.tls && f.caCert == "" && f.cert == "" && f.key == "" {
		return nil
	}
	cfg.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	if f.caCert != "" {
		if cfg.TLS.RootCAs, err = access.ReadCA(f.caCert); err != nil {
			return fmt.Errorf("--cacert: %w", err)
		}
	}
	if f.cert != "" || f.key != "" {
		pair, err := tls.LoadX509KeyPair(f.cert, f.key)
		if err != nil {
			return fmt.Errorf("--cert %q and --key %q: %w", f.cert, f.key, err)
		}
		cfg.TLS.Certificates = []tls.Certificate{pair}
	}
	return nil
}

// run gives do a client and a context that Ctrl-C and --timeout end, and its error an exit code.
func (f *clientFlags) run(cmd *cobra.Command, do func(ctx context.Context, c *client.Client) error) error {
	return f.with(cmd, func(ctx context.Context, c *client.Client) error {
		// The time includes waiting for a node to answer at all.
		ctx, cancel := context.WithTimeout(ctx, f.timeout)
		defer cancel()
		return do(ctx, c)
	})
}

// stream is run for what goes on for as long as it takes: only --timeout of single
// requests bounds it, and Ctrl-C ends it without an error.
func (f *clientFlags) stream(cmd *cobra.Command, do func(ctx context.Context, c *client.Client) error) error {
	return f.with(cmd, func(ctx context.Context, c *client.Client) error {
		err := do(ctx, c)
		if ctx.Err() != nil && errors.Is(err, ctx.Err()) && cmd.Context().Err() == nil {
			return nil // Ctrl-C
		}
		return err
	})
}

// with gives do a client and a context that Ctrl-C ends, and its error an exit code.
func (f *clientFlags) with(cmd *cobra.Command, do func(ctx context.Context, c *client.Client) error) error {
	c, err := f.client()
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt)
	defer stop()
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
