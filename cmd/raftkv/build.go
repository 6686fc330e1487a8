package main

import (
	"context"
	"errors"
	"log/slog"

	"github.com/raftkv/raftkv/config"
)

// runNode builds a node of its parts and runs it until ctx ends, or until
// something ends it: then the error says why, with an exit code (exitWith).
func runNode(_ context.Context, _ config.Config, _ *slog.Logger) error {
	return exitWith(exitInternal, errors.New("this build has no node yet"))
}
