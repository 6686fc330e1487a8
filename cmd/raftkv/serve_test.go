package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/raftkv/raftkv/config"
	"github.com/raftkv/raftkv/raft"
)

// gate is a writer that blocks until it is opened, like a pipe that nobody reads.
type gate struct {
	opened chan struct{}
	mu     sync.Mutex
	b      bytes.Buffer
}

func (g *gate) Write(p []byte) (int, error) {
	<-g.opened
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.b.Write(p)
}

func (g *gate) String() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.b.String()
}

// A reader of the log that stalls must not stall the daemon; what it missed is counted and told.
func TestLogNeverBlocks(t *testing.T) {
	g := &gate{opened: make(chan struct{})}
	log, lines := newLogger(config.Log{Level: "info", Format: "json"}, g)
	const n = 2 * logLines
	for i := range n {
		log.Info("line", "i", i)
	}
	dropped := lines.Dropped()
	if dropped < n-logLines-logLines || dropped > n-logLines {
		t.Errorf("%d of %d lines dropped with room for %d", dropped, n, logLines)
	}
	if err := lines.Flush(1); err == nil {
		t.Error("Flush of a blocked writer said that all is written")
	}
	close(g.opened)
	if err := lines.Flush(deadline); err != nil {
		t.Fatal(err)
	}
	out := g.String()
	if want := fmt.Sprintf(`"lines":%d}`, dropped); !strings.Contains(out, want) {
		t.Errorf("the log does not tell %s", want)
	}
	if got := strings.Count(out, "\n"); got != int(n-dropped)+1 {
		t.Errorf("%d lines came out, want %d and the notice", got, n-dropped)
	}
	log.Info("afterwards")
	if err := lines.Flush(deadline); err != nil || !strings.Contains(g.String(), "afterwards") {
		t.Errorf("nothing is written afterwards: %v", err)
	}
}

// Long lines are bounded by bytes, not by their number.
func TestLogIsBoundedInBytes(t *testing.T) {
	g := &gate{opened: make(chan struct{})}
	log, lines := newLogger(config.Log{Level: "info", Format: "text"}, g)
	for range 20 {
		log.Info(strings.Repeat("x", logBytes/4))
	}
	// The first line may be under way, and the rest shares logBytes.
	if d := lines.Dropped(); d < 14 {
		t.Errorf("%d of 20 lines of a quarter of the room were dropped", d)
	}
	close(g.opened)
	if err := lines.Flush(deadline); err != nil {
		t.Fatal(err)
	}
}

func TestLogFormats(t *testing.T) {
	for _, tc := range []struct {
		c    config.Log
		json bool
		warn bool
	}{
		{config.Log{Level: "info", Format: "auto"}, true, true}, // not a terminal
		{config.Log{Level: "error", Format: "json"}, true, false},
		{config.Log{Level: "warn", Format: "text"}, false, true},
	} {
		g := &gate{opened: make(chan struct{})}
		close(g.opened)
		log, lines := newLogger(tc.c, g)
		log.Warn("careful", "key", "a\nb", "peer", raft.NodeID(0xab))
		log.Debug("never")
		if err := lines.Flush(deadline); err != nil {
			t.Fatal(err)
		}
		out := g.String()
		if json.Valid([]byte(out)) && out != "" != tc.json && tc.warn || strings.Contains(out, "careful") != tc.warn || strings.Contains(out, "never") {
			t.Errorf("%+v gave %q", tc.c, out)
		}
		if tc.warn && !strings.Contains(out, `"peer":"ab"`) && !strings.Contains(out, "peer=ab\n") {
			t.Errorf("a node's id is not in hexadecimal: %q", out)
		}
		if strings.Count(out, "\n") > 1 {
			t.Errorf("a value broke the line: %q", out)
		}
	}
}

// start starts a process and reads its output until a line has text.
func startUntil(t *testing.T, cmd *exec.Cmd, pipe io.Reader, text string) *bufio.Reader {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(pipe)
	readUntil(t, r, text)
	return r
}

func readUntil(t *testing.T, r *bufio.Reader, text string) {
	t.Helper()
	for {
		line, err := r.ReadString('\n')
		if strings.Contains(line, text) {
			return
		}
		if err != nil {
			t.Fatalf("output ended before %q: %v", text, err)
		}
	}
}

// The first signal asks to stop; the second ends a node that doesn't.
func TestSecondSignalEndsAtOnce(t *testing.T) {
	cmd := process(t, "stuck", "serve", "--config", "../../deploy/raftkv.yaml")
	pipe, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	r := startUntil(t, cmd, pipe, `"ready"`)
	_ = cmd.Process.Signal(syscall.SIGTERM)
	readUntil(t, r, "asked to stop")
	_ = cmd.Process.Signal(syscall.SIGINT)
	readUntil(t, r, "ending at once")
	err = cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 128+2 {
		t.Errorf("ended with %v, want %d", err, 128+2)
	}
}

// Nobody reads its standard error, and later nobody even has it: the daemon goes on.
func TestDaemonOutlivesItsLogReader(t *testing.T) {
	for _, closed := range []bool{false, true} {
		cmd := process(t, "chatty", "serve", "--config", "../../deploy/raftkv.yaml")
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		cmd.Stderr = w
		var out bytes.Buffer
		cmd.Stdout = &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		w.Close()
		if closed {
			r.Close()
		}
		if err := cmd.Wait(); err != nil || out.String() != "done\n" {
			t.Errorf("closed %v: ended with %v, printed %q", closed, err, out.String())
		}
	}
}

func TestDaemonCodes(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, taken := net.Listen("tcp", l.Addr().String())
	for _, tc := range []struct {
		err  error
		want exitCode
	}{
		{taken, exitTaken},
		{&fs.PathError{Op: "open", Path: "x", Err: syscall.EACCES}, exitPermission},
		{fmt.Errorf("sync: %w", syscall.EIO), exitDisk},
		{fmt.Errorf("write: %w", syscall.ENOSPC), exitDisk},
		{exitWith(exitDamaged, syscall.EIO), exitDamaged},
		{errors.New("bug"), exitInternal},
	} {
		if got := daemonCode(tc.err); got != tc.want {
			t.Errorf("%v gives %d, want %d", tc.err, got, tc.want)
		}
	}
}

func TestOnSignals(t *testing.T) {
	signals := make(chan os.Signal, 2)
	var did []string
	signals <- syscall.SIGTERM
	signals <- syscall.SIGTERM
	onSignals(signals, slog.New(slog.DiscardHandler), func() { did = append(did, "stop") },
		func(c exitCode) { did = append(did, fmt.Sprint(int(c))) })
	if got := strings.Join(did, " "); got != "stop 143" {
		t.Errorf("did %q, want stop 143", got)
	}
}
