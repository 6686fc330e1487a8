package main

import (
	"context"
	"crypto/tls"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/raftkv/raftkv/client"
	"github.com/raftkv/raftkv/internal/load"
	"github.com/raftkv/raftkv/resp"
)

const outCSV = "csv"

func newBench() *cobra.Command {
	var f clientFlags
	c := load.Config{}
	cmd := f.add(&cobra.Command{
		Use:   "bench",
		Short: "Measure how fast a cluster, or any server of the Redis protocol, answers",
		Long: "bench sends SETs and GETs from many connections, each of which waits for its answers before it sends\n" +
			"more, and prints rates, latencies and what went wrong. It writes to keys that begin with \"key:\".\n\n" +
			"Connections are spread over the endpoints; those to a follower show what forwarding costs. Errors are\n" +
			"counted and are no part of rates and latencies: refusals by the first word of the reply, and requests whose\n" +
			"connection was lost, which of SETs means that nobody knows whether they took effect. It ends with 1 if\n" +
			"there were any.",
		Example: "  raftkv bench --clients 64 --duration 30s\n  raftkv bench --reads 90 --value 1024 -o json\n  raftkv bench --endpoints 127.0.0.1:6379 --pipeline 16",
		Args:    cobra.NoArgs,
	})
	fl := cmd.Flags()
	fl.IntVarP(&c.Clients, "clients", "c", 64, "connections")
	fl.IntVarP(&c.Pipeline, "pipeline", "P", 1, "requests that each sends at once")
	fl.IntVar(&c.Reads, "reads", 0, "percent of GETs; the rest are SETs")
	fl.BoolVar(&c.Stale, "stale", false, "READONLY: reads may be old, and every node serves them")
	fl.IntVarP(&c.Value, "value", "d", 256, "bytes of a value")
	fl.IntVarP(&c.Keys, "keys", "r", 100_000, "different keys")
	fl.DurationVar(&c.Duration, "duration", 10*time.Second, "how long to measure")
	fl.DurationVar(&c.Warm, "warm", time.Second, "how long to run before that")
	fl.Uint64Var(&c.Seed, "seed", 1, "chooses keys and kinds")
	cmd.Flag("output").Usage = "table, csv or json; default table"
	cmd.Flag("timeout").Usage = "how long to wait for an answer"
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return bench(cmd, &f, c) }
	return cmd
}

func bench(cmd *cobra.Command, f *clientFlags, c load.Config) error {
	switch f.output {
	case "", outTable, outCSV, outJSON:
	default:
		return usageError(fmt.Errorf("output %q is not table, csv or json", f.output))
	}
	var err error
	if c.Endpoints, _, err = f.where(); err != nil {
		return err
	}
	if len(c.Endpoints) == 0 {
		c.Endpoints = client.DefaultEndpoints()
	}
	c.Timeout = f.timeout
	var who client.Config
	if err := f.secure(&who); err != nil {
		return usageError(err)
	}
	c.Dial = func(ctx context.Context, endpoint string) (net.Conn, error) { return dialBench(ctx, endpoint, &who) }
	if err := c.Check(); err != nil {
		return usageError(err)
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt)
	defer stop()
	var tell func(time.Duration, uint64, uint64)
	if errOut := cmd.ErrOrStderr(); isTerminal(errOut) {
		tell = progress(errOut, c.Duration)
	}
	r, err := load.Run(ctx, c, tell)
	if tell != nil {
		fmt.Fprint(cmd.ErrOrStderr(), clearLine)
	}
	if err != nil {
		return exitWith(exitNoLeader, err)
	}
	if err := printBench(cmd.OutOrStdout(), f.output, &c, r); err != nil {
		return err
	}
	if n := r.Total().Errors(); n > 0 {
		return exitWith(exitFail, fmt.Errorf("%d of the requests were not answered as asked", n))
	}
	return nil
}

// dialBench connects, and says who we are.
func dialBench(ctx context.Context, endpoint string, who *client.Config) (net.Conn, error) {
	var d net.Dialer
	nc, err := d.DialContext(ctx, "tcp", endpoint)
	if err != nil {
		return nil, err
	}
	if who.TLS != nil {
		host, _, _ := net.SplitHostPort(endpoint)
		cfg := who.TLS.Clone()
		cfg.ServerName = host
		t := tls.Client(nc, cfg)
		if err := t.HandshakeContext(ctx); err != nil {
			nc.Close()
			return nil, err
		}
		nc = t
	}
	if who.Password == "" && who.User == "" {
		return nc, nil
	}
	args := []string{"AUTH", who.Password}
	if who.User != "" {
		args = []string{"AUTH", who.User, who.Password}
	}
	if at, ok := ctx.Deadline(); ok {
		_ = nc.SetDeadline(at) // an error shows at the write
	}
	_, err = nc.Write(resp.AppendRequest(nil, args...))
	var v resp.Value
	if err == nil {
		v, err = resp.NewReplyReader(nc, resp.ReplyLimits{}).Read()
	}
	if err == nil && v.Kind == resp.KindError {
		err = errors.New(string(v.Bytes))
	}
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("AUTH: %w", err)
	}
	return nc, nil
}

const clearLine = "\r\x1b[K"

// progress draws how far a run is.
func progress(w io.Writer, whole time.Duration) func(time.Duration, uint64, uint64) {
	const width = 30
	var lastAt time.Duration
	var lastOK uint64
	return func(at time.Duration, ok, errs uint64) {
		rate := float64(ok-lastOK) / max(at-lastAt, time.Millisecond).Seconds()
		lastAt, lastOK = at, ok
		full := min(width, int(width*at/whole))
		fmt.Fprintf(w, "%s[%s%s] %v/%v  %.0f op/s  %d errors", clearLine, strings.Repeat("#", full), strings.Repeat(".", width-full),
			min(at, whole).Round(time.Second), whole, rate, errs)
	}
}

// benchRow is one kind of request in the output.
type benchRow struct {
	Kind    string            `json:"kind"`
	Ops     uint64            `json:"ops"`
	Rate    float64           `json:"ops_per_second"`
	MeanMS  float64           `json:"mean_ms"`
	P50MS   float64           `json:"p50_ms"`
	P90MS   float64           `json:"p90_ms"`
	P99MS   float64           `json:"p99_ms"`
	P999MS  float64           `json:"p999_ms"`
	MaxMS   float64           `json:"max_ms"`
	Missing uint64            `json:"missing"`
	Refused map[string]uint64 `json:"refused,omitempty"`
	Unknown uint64            `json:"unknown"`
	Unread  uint64            `json:"unread"`
}

func row(kind string, c *load.Count, elapsed time.Duration) benchRow {
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	h := &c.Latency
	return benchRow{
		Kind: kind, Ops: c.OK, Rate: float64(c.OK) / elapsed.Seconds(),
		MeanMS: ms(h.Mean()), P50MS: ms(h.Quantile(0.5)), P90MS: ms(h.Quantile(0.9)), P99MS: ms(h.Quantile(0.99)),
		P999MS: ms(h.Quantile(0.999)), MaxMS: ms(h.Max()),
		Missing: c.Missing, Refused: c.Refused, Unknown: c.Unknown, Unread: c.Unread,
	}
}

func printBench(w io.Writer, form string, c *load.Config, r *load.Result) error {
	var rows []benchRow
	for k := range r.Counts {
		if n := &r.Counts[k]; n.OK+n.Errors() > 0 {
			rows = append(rows, row(load.Kind(k).String(), n, r.Elapsed))
		}
	}
	if len(rows) != 1 {
		rows = append(rows, row("all", r.Total(), r.Elapsed))
	}
	if form == outJSON {
		return printJSON(w, map[string]any{
			"endpoints": c.Endpoints, "clients": c.Clients, "pipeline": c.Pipeline, "value_bytes": c.Value, "keys": c.Keys, "reads_percent": c.Reads,
			"stale": c.Stale, "seconds": r.Elapsed.Seconds(), "results": rows, "lost_connections": r.Reconnects, "first_error": r.FirstError,
		})
	}
	head := []string{"kind", "ops", "op/s", "mean ms", "p50", "p90", "p99", "p99.9", "max", "errors"}
	if form == outCSV {
		head = []string{"kind", "ops", "ops_per_second", "mean_ms", "p50_ms", "p90_ms", "p99_ms", "p999_ms", "max_ms", "errors", "missing", "unknown", "unread"}
	}
	var lines [][]string
	for _, x := range rows {
		n := x.Unknown + x.Unread
		for _, k := range x.Refused {
			n += k
		}
		u := func(v uint64) string { return strconv.FormatUint(v, 10) }
		f3 := func(v float64) string { return strconv.FormatFloat(v, 'f', 3, 64) }
		l := []string{x.Kind, u(x.Ops), strconv.FormatFloat(x.Rate, 'f', 0, 64), f3(x.MeanMS), f3(x.P50MS), f3(x.P90MS), f3(x.P99MS), f3(x.P999MS), f3(x.MaxMS), u(n)}
		if form == outCSV {
			l = append(l, u(x.Missing), u(x.Unknown), u(x.Unread))
		}
		lines = append(lines, l)
	}
	if form == outCSV {
		return csv.NewWriter(w).WriteAll(append([][]string{head}, lines...))
	}
	if err := printRows(w, false, head, lines); err != nil {
		return err
	}
	t := r.Total()
	note := func(n uint64, what string) {
		if n > 0 {
			fmt.Fprintf(w, "%d %s\n", n, what)
		}
	}
	note(t.Missing, "GETs found no key")
	for _, word := range t.Words() {
		note(t.Refused[word], "refused: "+word)
	}
	note(t.Unknown, "SETs whose outcome is unknown")
	note(t.Unread, "GETs without an answer")
	note(r.Reconnects, "connections lost or not made, the first: "+r.FirstError)
	return nil
}
