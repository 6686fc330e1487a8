package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// devNode is one node of a dev cluster and its child process, if it runs.
type devNode struct {
	name, file, logFile string
	redis, http         string
	listens             []string
	stopTimeout         time.Duration

	child    *exec.Cmd // nil: not running
	logFrom  int64     // where the log of this run begins
	failures int       // starts since it was last ready
	again    bool      // it ended before: say so when it is back
	given    ended     // why it is not started again; code 0: it is
	status   devStatus // the last answer
	ready    bool      // it serves
	said     devStatus // what was last told of its role
}

// The events of a dev cluster, sent to the goroutine that owns it.
type (
	childExited struct {
		node *devNode
		how  ended
	}
	restartDue struct{ node *devNode }
	polled     struct {
		node   *devNode
		status devStatus // zero without an answer
		ready  bool
	}
)

// ended is how a process ended.
type ended struct {
	code   int // -1: by a signal
	signal syscall.Signal
	err    error // it could not be waited for
}

func (e ended) String() string {
	switch {
	case e.err != nil:
		return e.err.Error()
	case e.code < 0:
		return fmt.Sprintf("killed by signal %d (%v)", int(e.signal), e.signal)
	case e.code == 0:
		return "exit code 0"
	}
	return fmt.Sprintf("%v (exit code %d)", exitCode(e.code), e.code)
}

func howEnded(err error) ended {
	exit, ok := errors.AsType[*exec.ExitError](err)
	if err != nil && !ok {
		return ended{code: -1, err: err}
	}
	if ok {
		if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			return ended{code: -1, signal: ws.Signal()}
		}
		return ended{code: exit.ExitCode()}
	}
	return ended{}
}

// maxDevLog is above which size a log is put aside at start, in bytes.
const maxDevLog = 16 << 20

// start runs the node's process. Its log goes to a file directly, so that it is
// whole whatever becomes of this process.
func (d *dev) start(ctx context.Context, n *devNode) error {
	if info, err := os.Stat(n.logFile); err == nil && info.Size() > maxDevLog {
		if err := os.Rename(n.logFile, n.logFile+".old"); err != nil {
			return fmt.Errorf("put the log aside: %w", err)
		}
	}
	log, err := os.OpenFile(n.logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open the log of %s: %w", n.name, err)
	}
	defer log.Close() // the child has its own
	n.logFrom, _ = log.Seek(0, io.SeekEnd)
	cmd := exec.Command(d.exe, "serve", "--config", n.file)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), d.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setpgid:   true,            // Ctrl-C is for us alone
		Pdeathsig: syscall.SIGKILL, // nodes don't outlive us, however we end; they can stand it
	}
	if err := d.spawn.start(cmd); err != nil {
		return fmt.Errorf("start %s: %w", n.name, err)
	}
	n.child = cmd
	events := d.events
	// Waits for one child and tells of its end. The owner reads that event for
	// every child before it goes.
	go func() { events <- childExited{n, howEnded(cmd.Wait())} }()
	return nil
}

func (n *devNode) pid() int {
	if n.child == nil {
		return 0
	}
	return n.child.Process.Pid
}

// signal goes to the node alone: it decides what becomes of its children.
func (n *devNode) signal(sig syscall.Signal) {
	if n.child != nil {
		_ = n.child.Process.Signal(sig) // it may have ended just now
	}
}

// kill ends the node's whole process group.
func (n *devNode) kill() {
	if n.child != nil {
		_ = syscall.Kill(-n.child.Process.Pid, syscall.SIGKILL)
	}
}

// lastLines is how many lines of its log are shown of a node that ended.
const lastLines = 5

// lastWords are the last lines that the node logged in this run.
func (n *devNode) lastWords() string {
	f, err := os.Open(n.logFile)
	if err != nil {
		return "Its log can't be read: " + err.Error()
	}
	defer f.Close()
	const tail = 16 << 10
	from := n.logFrom
	if info, err := f.Stat(); err == nil {
		from = max(from, info.Size()-tail)
	}
	b, _ := io.ReadAll(io.NewSectionReader(f, from, tail))
	b = bytes.TrimSpace(b)
	if len(b) == 0 {
		return "It logged nothing; see " + n.logFile
	}
	lines := strings.Split(string(b), "\n")
	lines = lines[max(0, len(lines)-lastLines):]
	return "The end of " + n.logFile + ":\n    " + strings.Join(lines, "\n    ")
}

// spawner starts processes from one thread. The kernel sends a child its parent
// death signal when the *thread* that made it ends (prctl(2)), and Go ends threads as it likes.
type spawner struct {
	work chan func()
	done chan struct{}
}

func newSpawner() *spawner {
	s := &spawner{work: make(chan func()), done: make(chan struct{})}
	// Holds one thread until close, which is after the last child has ended.
	go func() {
		runtime.LockOSThread()
		defer close(s.done)
		for f := range s.work {
			f()
		}
	}()
	return s
}

func (s *spawner) start(cmd *exec.Cmd) error {
	var err error
	started := make(chan struct{})
	s.work <- func() { err = cmd.Start(); close(started) }
	<-started
	return err
}

func (s *spawner) close() { close(s.work); <-s.done }
