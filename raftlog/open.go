package raftlog

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/raftkv/raftkv/internal/smallfile"
	"github.com/raftkv/raftkv/raft"
)

// Open opens the log in dir, or makes an empty one if there is none, reads all
// of it and checks it. Errors: ErrCorrupt, ErrVersion, ErrLocked, ErrDisk, or
// one that wraps fs.ErrPermission. An error leaves the files as they were.
func Open(dir string, o Options) (_ *Bolt, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("open log in %s: %w", dir, diskError(err))
		}
	}()
	o, err = o.withDefaults()
	if err != nil {
		return nil, err
	}
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

// chain is the log as the segments of a directory tell it.
type chain struct {
	active   uint64 // the newest segment that holds a transaction, or the only one
	has      bool   // it holds one
	next     uint64 // a newer one that holds none; 0 if there is none
	record   record // of active
	durable  raft.Durable
	sealed   []sealed // older ones that are needed, ascending
	leftover []uint64 // older ones that are not
	bad      []error  // one damaged meta page each, of active and next
	badNext  bool     // next has one
}

// readChain reads the log from the newest segment back to its base: from the
// disk, if fromDisk says not to believe the page cache.
func readChain(dir string, fromDisk bool) (*chain, error) {
	numbers, err := listSegments(dir)
	if err != nil {
		return nil, err
	}
	if len(numbers) == 0 {
		return nil, fmt.Errorf("no segments: %w", ErrCorrupt)
	}
	c := &chain{record: record{from: 1}}
	var (
		buf   []byte
		parts [][]raft.Entry
		end   raft.Index // older segments count below it
		prev  raft.EntryID
		seq   uint64
	)
	for _, number := range slices.Backward(numbers) {
		if c.has && end <= c.record.base.Index+1 {
			c.leftover = append(c.leftover, number)
			continue
		}
		s, err := readSegment(filepath.Join(dir, segmentName(number)), number, buf, fromDisk)
		if err != nil {
			return nil, err
		}
		buf = s.buf
		// An older segment proves by its last entry that it has forgotten nothing.
		if s.bad != nil && !c.has {
			c.bad = append(c.bad, fmt.Errorf("%s: %w", segmentName(number), s.bad))
			c.badNext = c.badNext || !s.has
		}
		switch {
		case !s.has && !c.has && c.active == 0:
			c.active = number
			continue
		case !s.has && c.active != 0:
			return nil, fmt.Errorf("%s is empty, but older than %s: %w", segmentName(number), segmentName(c.active), ErrCorrupt)
		case !c.has:
			c.has, c.next, c.active = true, c.active, number
			c.record, end = s.record, s.record.last.Index+1
			prev = s.record.last
		case s.record.seq >= seq:
			return nil, fmt.Errorf("%s has write %d, a newer one %d: %w", segmentName(number), s.record.seq, seq, ErrCorrupt)
		case max(s.record.from, c.record.base.Index+1) >= end:
			c.leftover = append(c.leftover, number)
			continue
		default:
			c.sealed = append(c.sealed, sealed{number: number, from: s.record.from})
		}
		part, err := s.entries(c.record.base, end, prev)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", segmentName(number), err)
		}
		parts = append(parts, part)
		end, seq = min(end, s.record.from), s.record.seq
		prev = raft.EntryID{Term: s.record.prev, Index: end - 1}
	}
	if c.has && end > c.record.base.Index+1 {
		return nil, fmt.Errorf("entries %d to %d are missing: %w", c.record.base.Index+1, end-1, ErrCorrupt)
	}
	slices.Reverse(c.sealed)
	slices.Reverse(parts)
	c.durable = raft.Durable{
		State: c.record.state, Base: c.record.base, Entries: slices.Concat(parts...), Seq: c.record.seq, Fence: c.record.fence,
	}
	return c, c.check(prev)
}

// check looks at the log as a whole: segments were checked one by one.
func (c *chain) check(prev raft.EntryID) error {
	at := c.record.base
	if prev.Index == at.Index && prev != at && c.has {
		return fmt.Errorf("base %v, the first segment follows %v: %w", at, prev, ErrCorrupt)
	}
	for i := range c.durable.Entries {
		id := c.durable.Entries[i].EntryID
		if id.Index != at.Index+1 || id.Term < at.Term {
			return fmt.Errorf("entry %v after %v: %w", id, at, ErrCorrupt)
		}
		at = id
	}
	if at != c.record.last {
		return fmt.Errorf("the log ends at %v, the state says %v: %w", at, c.record.last, ErrCorrupt)
	}
	return nil
}

func (c *chain) shape() shape {
	d := &c.durable
	s := shape{state: d.State, fence: d.Fence, seq: d.Seq, base: d.Base, last: d.Base}
	for i := range d.Entries {
		s.push(d.Entries[i].EntryID)
	}
	return s
}

// image is one segment as it lies on the disk.
type image struct {
	number uint64
	bad    error // one damaged meta page
	has    bool  // it holds a transaction
	record record
	buf    []byte
	pages  *pages
	bucket []byte // value of the log's bucket
}

// readSegment reads a segment file and checks its structure and state.
func readSegment(path string, number uint64, buf []byte, fromDisk bool) (*image, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, diskError(err)
	}
	defer f.Close()
	if fromDisk {
		if err := dropCache(f); err != nil {
			return nil, diskError(err)
		}
	}
	s := &image{number: number}
	fault := func(err error) (*image, error) { return nil, fmt.Errorf("%s: %w", segmentName(number), err) }
	if s.pages, err = readPages(f, buf); err != nil {
		return fault(err)
	}
	s.buf, s.bad = s.pages.b, s.pages.bad
	var state []byte
	err = s.pages.walk(s.pages.meta.root, func(e element) error {
		switch {
		case !e.bucket:
		case bytes.Equal(e.key, logBucket):
			s.bucket = e.value
			return nil
		case bytes.Equal(e.key, stateBucket):
			return s.pages.bucket(e.value, func(e element) error {
				if e.bucket || !bytes.Equal(e.key, stateKey) {
					return fmt.Errorf("key %q beside the state: %w", e.key, ErrCorrupt)
				}
				state = e.value
				return nil
			})
		}
		return fmt.Errorf("key %q is not ours: %w", e.key, ErrCorrupt)
	})
	if err != nil {
		return fault(err)
	}
	if state != nil {
		s.has = true
		if s.record, err = decodeRecord(saltOf(number), state); err != nil {
			return fault(err)
		}
	}
	// The entries' tree is walked for its structure here, so that the free list
	// can be checked; s.entries walks it again for the values.
	if s.bucket != nil {
		if err := s.pages.bucket(s.bucket, func(element) error { return nil }); err != nil {
			return fault(err)
		}
	}
	if err := s.pages.checkFree(); err != nil {
		return fault(err)
	}
	return s, nil
}

// entries decodes the entries of s above base and below end. before is the
// entry that must stand at end-1: it catches a segment that went back in time.
func (s *image) entries(base raft.EntryID, end raft.Index, before raft.EntryID) ([]raft.Entry, error) {
	if s.record.last.Index+1 < end {
		return nil, fmt.Errorf("entries %d to %d are missing: %w", s.record.last.Index+1, end-1, ErrCorrupt)
	}
	clear(s.pages.used[2:])
	low := max(s.record.from, base.Index+1)
	var (
		out   []raft.Entry
		arena arena
		next  = s.record.from
		salt  = saltOf(s.number)
	)
	if low < end {
		out = make([]raft.Entry, 0, min(end-low, raft.Index(len(s.buf)/(entryHeader+elementSize+8))))
	}
	if s.bucket != nil {
		err := s.pages.bucket(s.bucket, func(el element) error {
			if index := indexOf(el.key); el.bucket || index != next {
				return fmt.Errorf("entry %d is missing, key %x comes instead: %w", next, el.key, ErrCorrupt)
			}
			next++
			if next-1 < low || next-1 >= end {
				return nil
			}
			e, err := decodeEntry(salt, el.key, el.value)
			if err != nil {
				return err
			}
			e.Data = arena.copy(e.Data)
			out = append(out, e)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	if next != s.record.last.Index+1 {
		return nil, fmt.Errorf("entries %d to %d are missing: %w", next, s.record.last.Index, ErrCorrupt)
	}
	if n := len(out); n > 0 && out[n-1].Index == before.Index && out[n-1].Term != before.Term {
		return nil, fmt.Errorf("entry %v, %v was written there: %w", out[n-1].EntryID, before, ErrCorrupt)
	}
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
