package raftlog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/raftkv/raftkv/internal/smallfile"
	"github.com/raftkv/raftkv/raft"
)

// Open opens the log in dir, or makes an empty one if there is none, reads all
// of it and checks it. Errors: ErrCorrupt, ErrVersion, ErrLocked, ErrDisk, or
// one that wraps fs.ErrPermission. An error leaves the files as they were.
func Open(dir string, o Options) (_ *Bolt, err error) {
	o, err = o.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("open log in %s: %w", dir, err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("open log in %s: %w", dir, diskError(err))
		}
	}()
	if err := makeDir(dir); err != nil {
		return nil, err
	}
	lock, err := lockDir(dir, o.LockTimeout)
	if err != nil {
		return nil, err
	}
	b := &Bolt{dir: dir, opts: o, lock: lock}
	if err := b.open(); err != nil {
		if b.active != nil {
			b.active.db.Close()
		}
		if b.next != nil {
			b.next.db.Close()
		}
		lock.Close()
		return nil, err
	}
	return b, nil
}

// Load returns what Open read, or reads the files again. Snapshot stays zero.
func (b *Bolt) Load() (raft.Durable, error) {
	if b.failed != nil {
		return raft.Durable{}, b.failed
	}
	if d := b.loaded; d != nil {
		b.loaded = nil
		return *d, nil
	}
	c, err := readChain(b.dir, true)
	if err != nil {
		return raft.Durable{}, fmt.Errorf("read log in %s: %w", b.dir, err)
	}
	if _, err := c.settle(b.ballot, nil, func(string, ...any) {}); err != nil {
		return raft.Durable{}, fmt.Errorf("read log in %s: %w", b.dir, err)
	}
	return c.durable, nil
}

func (b *Bolt) open() error {
	v, errVote := readBallot(b.dir)
	if errVote != nil && !errors.Is(errVote, ErrCorrupt) && !errors.Is(errVote, fs.ErrNotExist) {
		return errVote
	}
	// A process that was killed may have renamed a file and not synced the name.
	if err := smallfile.SyncDir(b.dir); err != nil {
		return err
	}
	numbers, err := listSegments(b.dir)
	if err != nil {
		return err
	}
	if len(numbers) == 0 {
		if err := b.birth(v, errVote); err != nil {
			return err
		}
		errVote = nil
	}
	c, err := readChain(b.dir, true)
	if err != nil {
		return err
	}
	b.ballot, err = c.settle(v, errVote, b.opts.Logger.Warn)
	if err != nil {
		return err
	}
	// Before bbolt's first write: that heals a damaged meta page, and with it the
	// only trace of what was forgotten.
	if b.ballot != v || errVote != nil {
		if errors.Is(errVote, ErrCorrupt) {
			path := filepath.Join(b.dir, voteFile)
			if err := os.Rename(path, path+".damaged"); err != nil {
				return err
			}
		}
		if err := writeBallot(b.dir, b.ballot); err != nil {
			return err
		}
	}
	if b.active, err = openSegment(b.dir, c.active, b.opts); err != nil {
		return err
	}
	b.active.from, b.active.prev = c.record.from, c.record.prev
	if c.badNext && c.next != 0 {
		// The fence is stored. The file would raise it again at each start.
		if err := errors.Join(os.Remove(filepath.Join(b.dir, segmentName(c.next))), smallfile.SyncDir(b.dir)); err != nil {
			return err
		}
		c.next = 0
	}
	if c.next != 0 {
		if b.next, err = openSegment(b.dir, c.next, b.opts); err != nil {
			return err
		}
	}
	if err := sweep(b.dir); err != nil {
		return err
	}
	b.fresh = !c.has
	b.shape, b.loaded, b.sealed = c.shape(), &c.durable, c.sealed
	b.shape.state.Term, b.shape.state.Vote = b.ballot.term, b.ballot.vote
	b.todo.retire = c.leftover
	b.keeper = newKeeper(b.dir, b.opts)
	b.hand()
	return nil
}

// birth makes the first segment. The vote file comes first: a log without one
// has lost it.
func (b *Bolt) birth(v ballot, errVote error) error {
	switch {
	case errVote == nil && v != ballot{}:
		return fmt.Errorf("there is a vote file (term %d) and no segment: %w", v.term, ErrCorrupt)
	case errors.Is(errVote, ErrCorrupt):
		return errVote
	}
	if err := writeBallot(b.dir, ballot{}); err != nil {
		return err
	}
	image, err := template(b.dir)
	if err != nil {
		return err
	}
	return makeSegment(b.dir, 1, image, "", b.opts)
}

// settle compares the two copies of term and vote and returns what holds; it
// raises the fence if bbolt may have forgotten a Write. It changes c.durable to match.
func (c *chain) settle(v ballot, errVote error, warn func(string, ...any)) (ballot, error) {
	r := &c.record
	if errVote != nil && len(c.bad) > 0 {
		return ballot{}, fmt.Errorf("%w, and the vote file can't help: %w", errors.Join(c.bad...), errors.Join(errVote, ErrCorrupt))
	}
	if errVote == nil && v.term == r.state.Term && v.vote != raft.None && r.state.Vote != raft.None && v.vote != r.state.Vote {
		return ballot{}, fmt.Errorf("two votes in term %d: segment %d says %v, the vote file %v: %w",
			v.term, c.active, r.state.Vote, v.vote, ErrCorrupt)
	}
	out := ballot{term: r.state.Term, vote: r.state.Vote, seq: r.seq, fence: r.fence}
	raise := func(why string, args ...any) {
		out.fence = max(out.fence, raft.FenceOneBack)
		warn("one write may be forgotten: this node does not vote until it has caught up; "+why, args...)
	}
	switch {
	case errVote != nil:
		raise("the vote file can't be read", "err", errVote)
	case v.newer(r):
		if v.term > out.term || v.term == out.term && out.vote == raft.None {
			out.term, out.vote = v.term, v.vote
		}
		out.seq = max(out.seq, v.seq)
		out.fence = max(out.fence, v.fence)
		raise("the vote file is newer than the log", "seq", r.seq, "vote_seq", v.seq, "term", r.state.Term, "vote_term", v.term)
	case v.seq == r.seq:
		// Open stores a fence in the vote file only; the next Write brings it to the log.
		out.fence = max(out.fence, v.fence)
	}
	for _, bad := range c.bad {
		raise("a meta page of the log is damaged", "err", bad)
	}
	c.durable.State.Term, c.durable.State.Vote = out.term, out.vote
	c.durable.Seq, c.durable.Fence = out.seq, out.fence
	return out, nil
}

// makeDir makes the directory for good, with no rights for others.
func makeDir(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case err == nil && !info.IsDir():
		return fmt.Errorf("it is not a directory: %w", unix.ENOTDIR)
	case err == nil:
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return smallfile.SyncDir(filepath.Dir(filepath.Clean(dir)))
}

// lockDir takes the lock of a directory, which goes with the process.
func lockDir(dir string, timeout time.Duration) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	const pause = 20 * time.Millisecond
	for waited := time.Duration(0); ; waited += pause {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return f, nil
		case errors.Is(err, unix.EINTR):
		case !errors.Is(err, unix.EWOULDBLOCK):
			f.Close()
			return nil, fmt.Errorf("lock: %w", err)
		case waited >= timeout:
			f.Close()
			return nil, fmt.Errorf("waited %v: %w", timeout, ErrLocked)
		}
		time.Sleep(pause)
	}
}
