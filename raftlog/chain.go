package raftlog

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/raftkv/raftkv/raft"
)

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
		if err := settleCache(f); err != nil {
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
	if state == nil && s.pages.meta.txid > freshTransaction {
		// One flipped bit in bbolt's own structure is enough to hide it.
		return fault(fmt.Errorf("transaction %d without a state record: %w", s.pages.meta.txid, ErrCorrupt))
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
		out = make([]raft.Entry, 0, min(end-low, raft.Index(len(s.buf)/entryHeader)))
	}
	// A chunk ends where the next one begins: only then is it known whether any of
	// it is needed. What is not needed is not looked at.
	var chunk []raft.Entry
	take := func(el element, after raft.Index) error {
		first := next
		next = after
		if after <= low || first >= end {
			return nil
		}
		var err error
		if chunk, err = decodeChunk(chunk[:0], salt, el.key, el.value); err != nil {
			return err
		}
		if got := first + raft.Index(len(chunk)); got != after {
			return fmt.Errorf("entry %d: a chunk up to %d, the next entry is %d: %w", first, got-1, after, ErrCorrupt)
		}
		for _, e := range chunk {
			if e.Index >= low && e.Index < end {
				e.Data = arena.copy(e.Data)
				out = append(out, e)
			}
		}
		return nil
	}
	if s.bucket != nil {
		var last element
		err := s.pages.bucket(s.bucket, func(el element) error {
			index := indexOf(el.key)
			if el.bucket || last.key == nil && index != next || index <= indexOf(last.key) {
				return fmt.Errorf("entry %d is missing, key %x comes instead: %w", next, el.key, ErrCorrupt)
			}
			before := last
			if last = el; before.key == nil {
				return nil
			}
			return take(before, index)
		})
		if err == nil && last.key != nil {
			err = take(last, s.record.last.Index+1)
		}
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
