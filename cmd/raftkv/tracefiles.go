package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/raftkv/raftkv/raft"
)

// What the flight recorder of a node keeps, and where it is written.
const (
	traceDir = "traces"
	traceExt = ".rkvtrace"
	// traceEvents and traceBytes bound one of its two windows: half a minute of a
	// node that idles, a fraction of a second of one that is busy.
	traceEvents = 8192
	traceBytes  = 4 << 20
	// traceFiles is how many files stay; the oldest go first.
	traceFiles = 8
)

// trace is what the flight recorder knows now.
func (d *daemon) trace(reason string) ([]byte, error) {
	if !d.running.Load() {
		return nil, errors.New("this node is still starting")
	}
	return d.node.Trace(reason, raft.Time(time.Now().UnixNano()))
}

// writeTrace puts what the flight recorder knows into the data directory. It is
// called on the way out, so that a fault is only logged, and a disk that hangs delays the end
// by traceTime at most.
func (d *daemon) writeTrace(reason string) {
	written := make(chan struct{})
	// Owns the file that it writes. The process ends soon, and this with it.
	go func() {
		defer close(written)
		d.putTrace(reason)
	}()
	select {
	case <-written:
	case <-time.After(traceTime):
		d.log.Warn("the flight recorder could not be written in time", "waited", traceTime)
	}
}

// traceTime is how long a process that ends tries to write its flight recorder.
const traceTime = 2 * time.Second

func (d *daemon) putTrace(reason string) {
	path, err := d.tryTrace(reason)
	if err != nil {
		d.log.Warn("the flight recorder could not be written", "error", err)
		return
	}
	d.log.Info("the last events of this node are in a file: raftkv trace replay plays them again", "file", path, "reason", reason)
}

func (d *daemon) tryTrace(reason string) (string, error) {
	b, err := d.trace(reason)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(d.cfg.Node.DataDir, traceDir)
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	old, err := filepath.Glob(filepath.Join(dir, "*"+traceExt))
	if err != nil {
		return "", err
	}
	slices.Sort(old) // their names are times
	for len(old) >= traceFiles {
		if err := os.Remove(old[0]); err != nil {
			return "", err
		}
		old = old[1:]
	}
	path := filepath.Join(dir, time.Now().UTC().Format("20060102T150405.000000000Z")+traceExt)
	// Not synced: what can be had of it is better than nothing, and the disk may hang.
	if err := os.WriteFile(path, b, 0o600); err != nil {
		return "", err
	}
	return path, nil
}

// onAbort writes the flight recorder when a person or a supervisor's watchdog
// aborts the process (SIGQUIT, SIGABRT), and then lets Go do what it always does:
// print all goroutines and end. stop ends the wait.
func (d *daemon) onAbort() (stop func()) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGQUIT, syscall.SIGABRT)
	done := make(chan struct{})
	// Owns nothing. Ends with stop, or with the process.
	go func() {
		select {
		case <-done:
		case s := <-signals:
			sig, _ := s.(syscall.Signal)
			d.writeTrace(fmt.Sprintf("signal %d, %v", int(sig), sig))
			d.flush()
			signal.Reset(sig)
			if err := syscall.Kill(os.Getpid(), sig); err != nil {
				d.log.Error("end by the signal", "error", err)
			}
		}
	}()
	return func() { signal.Stop(signals); close(done) }
}
