package raftlog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/raftkv/raftkv/raft"
)

// DumpOptions say how much Dump shows.
type DumpOptions struct {
	Entries bool // one line an entry, else only where they begin and end
	Data    int  // bytes of each entry's data to show, quoted
}

// Dump writes what the log in dir holds to w, for people, and checks all of it.
// It changes nothing and needs no process to run; where one does, the error is
// ErrLocked. Every fault is a line that begins with FAULT, and the first one is
// returned (ErrCorrupt, ErrVersion, ErrDisk).
func Dump(dir string, w io.Writer, o DumpOptions) error {
	unlock, err := lockShared(dir)
	if err != nil {
		return fmt.Errorf("dump log in %s: %w", dir, err)
	}
	defer unlock()
	d := &dumper{w: w, opts: o}
	numbers, err := listSegments(dir)
	if err != nil {
		return fmt.Errorf("dump log in %s: %w", dir, err)
	}
	v, errVote := readBallot(dir)
	if errVote != nil {
		d.fault(errVote)
	} else {
		d.print("vote file: term %d vote %v seq %d fence %d\n", v.term, v.vote, v.seq, v.fence)
	}
	for _, number := range numbers {
		d.segment(filepath.Join(dir, segmentName(number)), number)
	}
	c, err := readChain(dir, true)
	if err == nil {
		var b ballot
		b, err = c.settle(v, errVote, func(what string, args ...any) { d.print("WARNING %s %v\n", what, args) })
		d.durable(&c.durable, b)
	}
	d.fault(err)
	if d.first != nil {
		return fmt.Errorf("dump log in %s: %w", dir, d.first)
	}
	return d.failed
}

type dumper struct {
	w      io.Writer
	opts   DumpOptions
	first  error // the first fault
	failed error // of w
}

func (d *dumper) print(format string, args ...any) {
	if _, err := fmt.Fprintf(d.w, format, args...); err != nil && d.failed == nil {
		d.failed = err
	}
}

func (d *dumper) fault(err error) {
	if err == nil {
		return
	}
	d.print("FAULT %v\n", err)
	if d.first == nil {
		d.first = err
	}
}

// segment shows one file, as far as it can be read.
func (d *dumper) segment(path string, number uint64) {
	s, err := readSegment(path, number, nil, true)
	if err != nil {
		d.fault(err)
		return
	}
	d.print("%s: transaction %d, %d pages", segmentName(number), s.pages.meta.txid, s.pages.meta.pages)
	if !s.has {
		d.print(", unused\n")
	} else {
		r := &s.record
		d.print(", term %d vote %v commit %d seq %d fence %d, base %v, entries %d to %v after term %d\n",
			r.state.Term, r.state.Vote, r.state.Commit, r.seq, r.fence, r.base, r.from, r.last, r.prev)
	}
	if s.bad != nil {
		d.print("WARNING %s: %v\n", segmentName(number), s.bad)
	}
}

// durable shows the log as a node would find it.
func (d *dumper) durable(log *raft.Durable, b ballot) {
	d.print("log: term %d vote %v commit %d seq %d fence %d, base %v, %d entries\n",
		b.term, b.vote, log.State.Commit, b.seq, b.fence, log.Base, len(log.Entries))
	for i := range log.Entries {
		e := &log.Entries[i]
		if !d.opts.Entries && i > 0 && i < len(log.Entries)-1 {
			continue
		}
		d.print("%v type %d time %d, %d bytes", e.EntryID, e.Type, e.Time, len(e.Data))
		if n := min(len(e.Data), max(d.opts.Data, 0)); n > 0 {
			d.print(" %q", e.Data[:n])
		}
		d.print("\n")
	}
}

// lockShared keeps a node from starting while its log is read.
func lockShared(dir string) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(dir); err != nil {
			return nil, err
		}
		return func() {}, nil // a copy of a log
	}
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, ErrLocked
		}
		return nil, diskError(err)
	}
	return func() { f.Close() }, nil
}
