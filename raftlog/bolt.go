package raftlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"go.etcd.io/bbolt"

	"github.com/raftkv/raftkv/raft"
)

// Bolt is the Store on disk. Open makes it.
type Bolt struct {
	dir    string
	opts   Options
	lock   *os.File
	keeper *keeper

	shape  shape
	ballot ballot // as it is in the vote file
	active *segment
	fresh  bool     // active holds no transaction yet
	next   *segment // made ahead; nil if it isn't there yet
	sealed []sealed // ascending
	todo   job      // what the keeper had no time to take yet
	wanted bool     // next is being made
	wantAt int64    // no next is asked for while the active segment is smaller, in bytes

	loaded *raft.Durable // what Open read, until Load takes it
	buf    []byte        // the values of one Write
	failed error         // of the Write that poisoned the store

	transactions atomic.Uint64
}

var _ Store = (*Bolt)(nil)

// sealed is a segment that is no longer written.
type sealed struct {
	number uint64
	from   raft.Index
}

// maxKept bounds the buffer that is kept between Writes, in bytes.
const maxKept = 16 << 20

// Write is one bbolt transaction with two fdatasyncs, and a sync of the vote
// file if term, vote or fence change. Only the disk goroutine may call it.
func (b *Bolt) Write(w *raft.Write) error {
	if b.failed != nil {
		return b.failed
	}
	if err := guard(func() error { return b.write(w) }); err != nil {
		b.failed = fmt.Errorf("write %d to the log in %s: %w", w.Seq, b.dir, err)
		return b.failed
	}
	return nil
}

func (b *Bolt) write(w *raft.Write) error {
	if b.loaded != nil {
		return fmt.Errorf("Load was not called: %w", ErrMisuse)
	}
	if err := b.shape.check(w); err != nil {
		return err
	}
	tx, err := b.begin(w)
	if err != nil {
		return err
	}
	if err := b.fill(tx, w); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	if err := b.active.inPlace(); err != nil {
		return err
	}
	b.fresh = false
	b.transactions.Add(1)
	next := ballot{term: w.State.Term, vote: w.State.Vote, fence: w.Fence, seq: w.Seq}
	if old := b.ballot; next.term != old.term || next.vote != old.vote || next.fence != old.fence {
		if err := writeBallot(b.dir, next); err != nil {
			return err
		}
		b.ballot = next
	}
	moved := w.Reset || w.Base.Index > b.shape.base.Index || len(w.Entries) > 0 && w.Entries[0].Index <= b.shape.last.Index
	b.shape.apply(w)
	if moved {
		b.retire()
	}
	b.hand()
	return nil
}

// begin opens the transaction for w, in the next segment if w no longer fits
// into the active one.
func (b *Bolt) begin(w *raft.Write) (*bbolt.Tx, error) {
	if err := b.take(); err != nil {
		return nil, err
	}
	tx, err := b.active.db.Begin(true)
	if err != nil {
		return nil, err
	}
	used := tx.Size()
	// A segment keeps an eighth of its room: bbolt rewrites the end of its tree.
	limit := b.opts.SegmentBytes - b.opts.SegmentBytes/8
	if used >= limit/2 && used >= b.wantAt && b.next == nil && !b.wanted {
		b.wanted, b.todo.want = true, b.active.number+1
	}
	if used+need(w) <= limit || b.next == nil || b.fresh {
		return tx, nil
	}
	if err := tx.Rollback(); err != nil {
		return nil, err
	}
	b.todo.seal = append(b.todo.seal, b.active.db)
	b.sealed = append(b.sealed, sealed{number: b.active.number, from: b.active.from})
	b.active, b.next, b.fresh, b.wantAt = b.next, nil, true, 0
	b.active.from, b.active.prev = b.shape.last.Index+1, b.shape.last.Term
	return b.active.db.Begin(true)
}

// need is about what w takes in a segment, in bytes.
func need(w *raft.Write) int64 {
	n := int64(4 * pageSize)
	for i := range w.Entries {
		n += int64(len(w.Entries[i].Data)) + entryHeader + 8 + elementSize
	}
	return n + n/8 // chunks don't fill pages to the last byte
}

// fill puts w into tx.
func (b *Bolt) fill(tx *bbolt.Tx, w *raft.Write) error {
	s := b.active
	entries := tx.Bucket(logBucket)
	state := tx.Bucket(stateBucket)
	if entries == nil || state == nil {
		return fmt.Errorf("%s has no buckets: %w", s.path, ErrCorrupt)
	}
	last := b.shape.last
	clear := w.Reset && !b.fresh
	if w.Reset {
		s.from, s.prev = w.Base.Index+1, w.Base.Term
		last = w.Base
	}
	if n := len(w.Entries); n > 0 {
		first := w.Entries[0].Index
		if first <= s.from && !b.fresh {
			clear = true
		}
		if !w.Reset && first < s.from {
			s.from, s.prev = first, b.shape.id(first-1).Term
		}
		last = w.Entries[n-1].EntryID
	}
	if clear {
		if err := tx.DeleteBucket(logBucket); err != nil {
			return err
		}
		var err error
		if entries, err = tx.CreateBucket(logBucket); err != nil {
			return err
		}
	} else if n := len(w.Entries); n > 0 && w.Entries[0].Index <= b.shape.last.Index && !b.fresh {
		if err := dropFrom(entries, s.salt, w.Entries[0].Index); err != nil {
			return err
		}
	}
	// Entries come in order: full pages, not bbolt's half-full ones.
	entries.FillPercent = 1
	size := stateSize
	for i := range w.Entries {
		size += 8 + chunkHeader + entryHeader + len(w.Entries[i].Data) // were each a chunk
	}
	if cap(b.buf) < size {
		b.buf = make([]byte, 0, size)
	}
	// bbolt keeps the values until the commit: all of them lie in one buffer,
	// which only the next Write uses again. The keys lie there too, so that none
	// of them escapes to the heap.
	buf := b.buf[:0]
	for rest := w.Entries; len(rest) > 0; {
		n, at := chunkLen(rest), len(buf)
		buf = binary.BigEndian.AppendUint64(buf, uint64(rest[0].Index))
		key, at := buf[at:len(buf):len(buf)], len(buf)
		buf = appendChunk(buf, s.salt, key, rest[:n])
		if err := entries.Put(key, buf[at:len(buf):len(buf)]); err != nil {
			return err
		}
		rest = rest[n:]
	}
	base := b.shape.base
	if w.Reset || w.Base.Index > base.Index {
		base = w.Base
	}
	at := len(buf)
	buf = appendRecord(buf, s.salt, &record{
		state: w.State, fence: w.Fence, seq: w.Seq, base: base, last: last, from: s.from, prev: s.prev,
	})
	if err := state.Put(stateKey, buf[at:]); err != nil {
		return err
	}
	if cap(buf) > maxKept {
		b.buf = nil
	}
	return nil
}

// dropFrom drops the entries from first on. The chunk that reaches over it keeps what comes before.
func dropFrom(entries *bbolt.Bucket, s salt, first raft.Index) error {
	from := keyOf(first)
	c := entries.Cursor()
	var drop [][]byte
	for k, _ := c.Seek(from[:]); k != nil; k, _ = c.Next() {
		drop = append(drop, bytes.Clone(k)) // the tree changes below
	}
	var v []byte
	k, _ := c.Seek(from[:])
	if k == nil {
		k, v = c.Last()
	} else {
		k, v = c.Prev()
	}
	if k != nil {
		es, err := decodeChunk(nil, s, k, v)
		if err != nil {
			return err
		}
		if keep := int(first - es[0].Index); keep < len(es) {
			key := bytes.Clone(k)
			if err := entries.Put(key, appendChunk(nil, s, key, es[:keep])); err != nil {
				return err
			}
		}
	}
	for _, k := range drop {
		if err := entries.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

// take fetches the next segment if the keeper has made it.
func (b *Bolt) take() error {
	select {
	case m := <-b.keeper.made:
		b.wanted = false
		if isFull(m.err) {
			// The active segment grows meanwhile; try again later.
			b.opts.Logger.Warn("no space for the next log segment", "err", m.err)
			b.wantAt = b.opts.SegmentBytes/2 + b.sizeOfActive()
			return nil
		}
		b.next = m.segment
		return m.err
	default:
		return nil
	}
}

func (b *Bolt) sizeOfActive() int64 {
	info, err := os.Stat(b.active.path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// retire finds the segments of which no entry is needed. What a newer segment
// overrules is not needed either.
func (b *Bolt) retire() {
	end := b.active.from // the log of older segments ends before it
	keep := b.sealed[:0]
	var live []sealed
	for i := len(b.sealed) - 1; i >= 0; i-- {
		s := b.sealed[i]
		if max(s.from, b.shape.base.Index+1) >= end {
			b.todo.retire = append(b.todo.retire, s.number)
			continue
		}
		live = append(live, s)
		end = min(end, s.from)
	}
	for i := len(live) - 1; i >= 0; i-- {
		keep = append(keep, live[i])
	}
	b.sealed = keep
}

// hand gives the keeper what there is to do, if it has time.
func (b *Bolt) hand() {
	if b.todo.empty() {
		return
	}
	select {
	case b.keeper.jobs <- b.todo:
		b.todo = job{}
	default:
	}
}

// Transactions counts the transactions since Open. Any goroutine may call it.
func (b *Bolt) Transactions() uint64 { return b.transactions.Load() }

// Size is the number of bytes on disk, spare files included. Any goroutine may call it.
func (b *Bolt) Size() (int64, error) { return diskBytes(b.dir) }

// Close releases the files and the lock and waits for the helper goroutine.
// After an error of the disk it touches nothing and keeps the lock: the process
// is expected to end. After ErrMisuse, which no file has seen, it is as ever.
func (b *Bolt) Close() error {
	if b.keeper == nil {
		return nil
	}
	k := b.keeper
	b.keeper = nil
	if b.failed != nil && !errors.Is(b.failed, ErrMisuse) {
		close(k.jobs)
		return b.failed
	}
	b.failed = errors.New("the log is closed")
	b.todo.want = 0
	if !b.todo.empty() {
		k.jobs <- b.todo
	}
	close(k.jobs)
	<-k.done
	var errs []error
	select {
	case m := <-k.made:
		if m.segment != nil {
			errs = append(errs, m.segment.db.Close())
		}
	default:
	}
	if b.next != nil {
		errs = append(errs, b.next.db.Close())
	}
	errs = append(errs, b.active.db.Close(), b.lock.Close())
	return diskError(errors.Join(errs...))
}
