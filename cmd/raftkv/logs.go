package main

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/term"

	"github.com/raftkv/raftkv/config"
	"github.com/raftkv/raftkv/raft"
)

// The bounds of what waits for a slow reader of the log. Lines are rare (none a
// request), so that much waiting means that nobody reads.
const (
	logLines     = 4096
	logBytes     = 4 << 20
	logFlushTime = time.Second // how long the end of the process waits for the reader
)

// newLogger makes the daemon's logger: text if w is a terminal, JSON otherwise,
// or as configured. Logging never blocks: what the reader of w does not take is
// counted and left out. The caller flushes before the process ends.
func newLogger(c config.Log, w io.Writer) (*slog.Logger, *asyncWriter) {
	text := c.Format == "text"
	if f, ok := w.(*os.File); ok && c.Format == "auto" {
		text = term.IsTerminal(int(f.Fd()))
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		level = slog.LevelInfo // config allows only the four that are known
	}
	handler := func(w io.Writer) slog.Handler {
		o := &slog.HandlerOptions{Level: level, ReplaceAttr: nodeIDText}
		if text {
			return slog.NewTextHandler(w, o)
		}
		return slog.NewJSONHandler(w, o)
	}
	a := newAsyncWriter(w, func(n uint64) []byte {
		var b bytes.Buffer
		slog.New(handler(&b)).Error("log lines were lost: nobody read them in time", "lines", n)
		return b.Bytes()
	})
	return slog.New(handler(a)), a
}

// nodeIDText writes a node's id everywhere as people meet it, in hexadecimal.
func nodeIDText(_ []string, a slog.Attr) slog.Attr {
	if id, ok := a.Value.Any().(raft.NodeID); ok {
		a.Value = slog.StringValue(id.String())
	}
	return a
}

// asyncWriter hands lines to a writer that may block for ever, and never blocks
// itself: above logLines or logBytes a line is dropped and counted. Anybody may call Write.
type asyncWriter struct {
	w       io.Writer
	notice  func(dropped uint64) []byte // the line that tells of dropped ones
	wake    chan struct{}               // capacity 1
	dropped atomic.Uint64

	mu      sync.Mutex // the lines pass from many goroutines to one
	lines   [][]byte
	size    int    // bytes in lines
	missing uint64 // dropped since the last notice
	busy    bool   // drain is writing
	idle    chan struct{}
}

func newAsyncWriter(w io.Writer, notice func(uint64) []byte) *asyncWriter {
	a := &asyncWriter{w: w, notice: notice, wake: make(chan struct{}, 1)}
	// Writes lines to w, where it may hang as long as nobody reads: so nothing
	// stops it and nobody waits for it. It ends with the process.
	go a.drain()
	return a
}

// Write takes one line. It never fails and never blocks.
func (a *asyncWriter) Write(line []byte) (int, error) {
	a.mu.Lock()
	if len(a.lines) >= logLines || a.size+len(line) > logBytes {
		a.missing++
		a.mu.Unlock()
		a.dropped.Add(1)
		return len(line), nil
	}
	a.lines = append(a.lines, bytes.Clone(line))
	a.size += len(line)
	a.mu.Unlock()
	select {
	case a.wake <- struct{}{}:
	default: // it is awake
	}
	return len(line), nil
}

// Dropped counts the lines that were left out.
func (a *asyncWriter) Dropped() uint64 { return a.dropped.Load() }

func (a *asyncWriter) drain() {
	for range a.wake {
		for {
			b := a.take()
			if len(b) == 0 {
				break
			}
			_, _ = a.w.Write(b) // there is nowhere to tell of an error
		}
	}
}

// take returns what waits, as one write, and wakes who flushes when there is nothing.
func (a *asyncWriter) take() []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	b := bytes.Join(a.lines, nil)
	if a.missing > 0 {
		b = append(b, a.notice(a.missing)...)
	}
	clear(a.lines)
	a.lines, a.size, a.missing = a.lines[:0], 0, 0
	a.busy = len(b) > 0
	if !a.busy && a.idle != nil {
		close(a.idle)
		a.idle = nil
	}
	return b
}

// Flush waits until everything is written, but no longer than timeout. It says
// whether it was.
func (a *asyncWriter) Flush(timeout time.Duration) error {
	a.mu.Lock()
	if len(a.lines) == 0 && a.missing == 0 && !a.busy {
		a.mu.Unlock()
		return nil
	}
	if a.idle == nil {
		a.idle = make(chan struct{})
	}
	idle := a.idle
	a.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-time.After(timeout):
		return fmt.Errorf("write the last log lines: nobody read them for %v", timeout)
	}
}
