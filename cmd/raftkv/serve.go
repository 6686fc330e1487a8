package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/raftkv/raftkv/config"
)

func newServe() *cobra.Command {
	var file string
	var over overrides
	c := &cobra.Command{
		Use:   "serve --config FILE",
		Short: "Run one node",
		Long: "Runs one node until SIGTERM or SIGINT, which stop it in order: it hands leadership over, ends what is\n" +
			"open and exits 0 within service.stop_timeout. A second signal ends it at once.\n" +
			"See raftkv config print for the keys, and raftkv help exit-codes.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return serve(c.Context(), file, over.flags(), os.Stderr, runNode)
		},
	}
	c.Flags().StringVar(&file, "config", "", "YAML `file`")
	over.add(c)
	if err := c.MarkFlagRequired("config"); err != nil {
		panic(err)
	}
	return c
}

// serve is the life of a daemon around node, which is runNode but in tests.
func serve(ctx context.Context, file string, flags []config.Flag, stderr *os.File,
	node func(context.Context, config.Config, *slog.Logger, func()) error) error {
	// The reader of the log may go away: that must not end the node.
	signal.Ignore(syscall.SIGPIPE)

	l, err := loadConfig(file, flags)
	if err != nil {
		return err
	}
	log, lines := newLogger(l.Log, stderr)
	log = log.With("node", l.Node.Name)
	log.Info("starting", "version", readVersion().String(), "pid", os.Getpid(), "file", file, "config", l.Config)
	for _, w := range l.Warnings {
		log.Warn(w)
	}

	ctx, stop := context.WithCancel(ctx)
	defer stop()
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(signals)
	// Turns the first signal into an orderly stop and the second into an end at
	// once. It lives as long as the process.
	go onSignals(signals, log, stop, func(code exitCode) {
		_ = lines.Flush(logFlushTime)
		os.Exit(int(code))
	})

	err = node(ctx, l.Config, log, func() { _ = lines.Flush(logFlushTime) })
	if err != nil {
		code := daemonCode(err)
		log.Error("ended: "+err.Error(), "code", int(code), "meaning", code.String())
		err = exitWith(code, nil) // it is told already, in the form of the log
	} else {
		log.Info("stopped")
	}
	_ = lines.Flush(logFlushTime)
	return err
}

// onSignals calls stop at the first signal and exit at the second.
func onSignals(signals <-chan os.Signal, log *slog.Logger, stop func(), exit func(exitCode)) {
	sig := <-signals
	log.Info("stopping", "signal", sig.String())
	stop()
	sig = <-signals
	log.Warn("ending at once", "signal", sig.String())
	code := exitInternal
	if s, ok := sig.(syscall.Signal); ok {
		code = 128 + exitCode(s)
	}
	exit(code)
}
