package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"
	"time"

	"github.com/raftkv/raftkv/node"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/snapshot"
)

// saving is a snapshot on its way from the applier to a file.
type saving struct {
	meta  raft.SnapshotMeta
	parts [][]byte
	taken int // parts that the file's goroutine has
	bytes uint64
	whole bool // the last part is in parts
	ended bool
}

// savedParts is how many encoded parts wait for the file, as in run.go.
const savedParts = 4

// Begin implements node.Saver.
func (h *host) Begin(meta raft.SnapshotMeta) { h.saving = &saving{meta: meta} }

// Room implements node.Saver.
func (h *host) Room() bool { return len(h.saving.parts)-h.saving.taken < savedParts }

// Part implements node.Saver.
func (h *host) Part(max int) []byte { return make([]byte, 0, max) }

// Put implements node.Saver.
func (h *host) Put(part []byte, last bool) {
	s := h.saving
	s.parts = append(s.parts, part)
	s.bytes += uint64(len(part))
	s.whole = last
	if s.taken+1 == len(s.parts) {
		h.takePart(s)
	}
}

// Abort implements node.Saver.
func (h *host) Abort(err error) {
	if s := h.saving; !s.ended {
		s.ended = true
		h.after(0, func() { h.input(func() { h.loop.Post(node.Saved{Meta: s.meta, Err: err}) }) })
	}
}

// takePart writes the next part; the real file is written when all are here.
func (h *host) takePart(s *saving) {
	h.after(h.diskTime(), func() {
		if s.ended || h.saving != s {
			return
		}
		s.taken++
		switch {
		case s.taken < len(s.parts):
			h.takePart(s)
		case s.whole:
			h.save(s)
			return
		}
		h.work() // there is room again
	})
}

// save writes the file, whole, as runSaver does.
func (h *host) save(s *saving) {
	w := h.w
	s.ended = true
	h.sabotage("save")
	next := 0
	err := h.snaps.Save(s.meta, func() ([]byte, error) {
		if next == len(s.parts) {
			return nil, io.EOF
		}
		next++
		return s.parts[next-1], nil
	})
	if h.sabotaged(err) {
		return
	}
	if err == nil {
		w.count.Seen["snapshot"]++
		w.rules.snapshot(h, s.meta)
	}
	h.after(w.upTo(2*milli), func() {
		h.input(func() { h.loop.Post(node.Saved{Meta: s.meta, Bytes: s.bytes, Err: err}) })
	})
}

// errCut is what the file system answers when the power has gone.
var errCut = errors.New("the power is gone")

// sabotage lets one of the next operations on files fail, or the power go at it.
func (h *host) sabotage(what string) {
	w := h.w
	if w.calm || !w.perMille(w.plan.fileFaults) {
		return
	}
	from, err := h.fs.Ops()+w.rand.IntN(14), error(syscall.ENOSPC)
	forever := w.chance(2)
	if forever {
		err = errCut
	}
	h.fs.Inject(func(op snapshot.Op) error {
		if op.N == from || forever && op.N > from {
			return err
		}
		return nil
	})
	w.say("%v %s: sabotage from operation %d on: %v", h.id, what, from, err)
}

// sabotaged ends what sabotage began and tells whether it was the end of the process.
func (h *host) sabotaged(err error) bool {
	h.fs.Inject(nil)
	switch {
	case errors.Is(err, errCut):
		h.w.count.Seen["power-in-file"]++
		h.crash(powered)
		h.restartSoon()
		return true
	case errors.Is(err, syscall.ENOSPC):
		h.w.count.Faults["file-error"]++
	}
	return false
}

// fetching is a snapshot on its way from another node.
type fetching struct {
	from    raft.NodeID
	meta    raft.SnapshotMeta
	stopped bool
	have    uint64 // bytes that are here
	piece   int    // bytes of the next piece
	silent  int    // pieces without a byte in a row
}

// Fetch implements node.Driver.
func (h *host) Fetch(from raft.NodeID, meta raft.SnapshotMeta) {
	h.fetch = &fetching{from: from, meta: meta, piece: pick(h.w, 200, 2000, 100_000)}
	h.fetchSoon(h.fetch)
	h.ambushed()
}

// StopFetch implements node.Driver.
func (h *host) StopFetch() {
	if h.fetch != nil {
		h.fetch.stopped = true
	}
}

func (h *host) fetchSoon(f *fetching) {
	h.after(h.w.plan.delay+h.w.upTo(20*milli), func() { h.fetchPiece(f) })
}

// errPiece ends one piece of a transfer: the next one comes later.
var errPiece = errors.New("no more at present")

// fetchPiece lets Receive take what comes in one go. It resumes where it was.
func (h *host) fetchPiece(f *fetching) {
	w := h.w
	h.sabotage("fetch")
	told := uint64(0)
	err := h.snaps.Receive(context.Background(), f.meta,
		func(_ context.Context, offset uint64) (io.ReadCloser, error) { return h.source(f, offset) },
		func(bytes uint64) { told = bytes })
	if h.sabotaged(err) {
		return
	}
	switch {
	case err == nil:
		w.count.Seen["install"]++
		w.rules.snapshot(h, f.meta)
	case f.stopped:
		err = context.Canceled
	case errors.Is(err, errPiece):
		if told <= f.have {
			f.silent++
			f.piece *= 2 // a frame did not fit in
		} else {
			f.silent = 0
		}
		f.have = told
		if f.silent < 20 {
			if told > 0 {
				h.input(func() { h.loop.Progress(node.FetchProgress{Last: f.meta.Last, Bytes: told}) })
			}
			if h.up {
				h.fetchSoon(f)
			}
			return
		}
	}
	if err != nil {
		w.say("%v fetch of %v: %v", h.id, f.meta.Last, err)
	}
	h.fetch = nil
	h.after(w.upTo(2*milli), func() { h.input(func() { h.loop.Post(node.Fetched{Meta: f.meta, Err: err}) }) })
}

// source is a connection to the file of another node.
func (h *host) source(f *fetching, offset uint64) (io.ReadCloser, error) {
	w, src := h.w, h.w.host(f.from)
	switch {
	case f.stopped:
		return nil, context.Canceled
	case src == nil || !src.up || h.cutFrom(src) || src.cutFrom(h):
		return nil, fmt.Errorf("node %v can't be reached", f.from)
	case src.paused:
		return nil, errPiece
	}
	r, _, err := src.snaps.Source(f.meta.Last, offset)
	if err != nil {
		return nil, err
	}
	p := &piece{r: r, left: f.piece, flip: -1}
	if !w.calm && w.perMille(w.plan.corrupt) {
		w.count.Faults["corrupt-transfer"]++
		p.flip = w.rand.IntN(f.piece)
	}
	return p, nil
}

// piece reads some bytes of a file and then says that the connection ended.
type piece struct {
	r    io.ReadCloser
	left int
	flip int // this byte is damaged on the way, if it is sent
}

func (p *piece) Read(b []byte) (int, error) {
	if p.left == 0 {
		return 0, errPiece
	}
	n, err := p.r.Read(b[:min(len(b), p.left)])
	p.left -= n
	if p.flip >= 0 && p.flip < n {
		b[p.flip] ^= 0x10
	}
	p.flip -= n
	return n, err
}

func (p *piece) Close() error { return p.r.Close() }

// frozenFor is how long a hung applier does nothing.
func (w *world) frozenFor() time.Duration { return w.upTo(3 * time.Second) }
