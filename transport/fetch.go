package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/raftkv/raftkv/raft"
)

type wireFetch struct {
	//lint:ignore U1000 the codec reads its tag by reflection
	_struct bool `codec:",toarray"`
	Term    uint64
	Index   uint64
	Offset  uint64
}

// wireFile answers wireFetch.
type wireFile struct {
	//lint:ignore U1000 the codec reads its tag by reflection
	_struct bool   `codec:",toarray"`
	Size    uint64 // of the whole file
}

// Fetch opens the file of the snapshot that ends in last on another node, from
// offset, over a connection of its own. It blocks for the handshake. The reader
// gives the bytes to the end of the file and io.EOF only there; a connection that
// is cut, or idle for Limits.FetchIdle, is an error. ctx also ends the reading.
// ErrNoSnapshot: the source hasn't that snapshot. The caller must close the reader.
func (t *Transport) Fetch(ctx context.Context, from raft.NodeID, last raft.EntryID, offset uint64) (io.ReadCloser, error) {
	fail := func(err error) (io.ReadCloser, error) {
		return nil, fmt.Errorf("fetch snapshot %v from node %v: %w", last, from, err)
	}
	p := (*t.peers.Load())[from]
	if p == nil {
		return fail(errors.New("its address is not known; it is no member"))
	}
	addr := p.target.Load().addr
	if l := p.stats.connected.Load(); addr == "" && l != nil {
		// A node that joins knows the members of the cluster's birth until it has a
		// snapshot, which may have to come from one that joined later: that one has
		// connected, and said where it is reached.
		addr = l.hello.Addr
	}
	if addr == "" {
		return fail(errors.New("its address is not known; it is no member"))
	}
	ctx, end := t.bound(ctx)
	c, err := t.connect(ctx, intent{purpose: purposeFetch, to: from, addr: addr})
	if err != nil {
		end()
		return fail(err)
	}
	f := &fetch{c: c, ctx: ctx, end: end, idle: t.limits.FetchIdle, at: offset, what: fmt.Sprintf("fetch snapshot %v from node %v", last, from)}
	f.stop = context.AfterFunc(ctx, c.close)
	if err := f.open(last, offset); err != nil {
		err = f.cause(err)
		f.Close()
		return fail(err)
	}
	return f, nil
}

// fetch is the reader of one file. One goroutine owns it.
type fetch struct {
	c    *candidate
	ctx  context.Context
	end  func()
	stop func() bool
	idle time.Duration
	what string

	at, size uint64 // next byte, bytes of the whole file
	rest     []byte // of the block that is being read
	err      error  // that Read gives from now on
}

func (f *fetch) open(last raft.EntryID, offset uint64) error {
	body, err := newEncoder().append(nil, &wireFetch{Term: uint64(last.Term), Index: uint64(last.Index), Offset: offset}, 64)
	if err != nil {
		return err
	}
	if err := f.c.raw.SetDeadline(time.Now().Add(f.idle)); err != nil {
		return err
	}
	if _, err := f.c.nc.Write(appendFrame(nil, frameFetch, body)); err != nil {
		return err
	}
	if body, err = expect(f.c, frameFile); err != nil {
		return err
	}
	var w wireFile
	if err := newDecoder().value(body, &w); err != nil {
		return err
	}
	if w.Size < offset {
		return fmt.Errorf("it has %d bytes, offset is %d: %w", w.Size, offset, ErrNoSnapshot)
	}
	f.size = w.Size
	f.c.fr.max = blockSize
	return nil
}

// Read gives the next bytes.
func (f *fetch) Read(b []byte) (int, error) {
	for len(f.rest) == 0 {
		if f.err != nil {
			return 0, f.err
		}
		if err := f.block(); err != nil {
			if err != io.EOF {
				err = fmt.Errorf("%s at byte %d: %w", f.what, f.at, f.cause(err))
			}
			f.err = err
		}
	}
	n := copy(b, f.rest)
	f.rest = f.rest[n:]
	f.at += uint64(n)
	return n, nil
}

// block reads the next frame; io.EOF is the end of the file and nothing else.
func (f *fetch) block() error {
	if err := f.c.raw.SetReadDeadline(time.Now().Add(f.idle)); err != nil {
		return err
	}
	kind, body, err := f.c.fr.next()
	switch {
	case errors.Is(err, io.EOF):
		return fmt.Errorf("the source closed the connection: %w", io.ErrUnexpectedEOF)
	case err != nil:
		return err
	}
	switch kind {
	case frameBlock:
		if uint64(len(body)) > f.size-f.at {
			return fmt.Errorf("more bytes than the file has (%d): %w", f.size, errFrame)
		}
		f.rest = body
		return nil
	case frameEnd:
		if f.at != f.size {
			return fmt.Errorf("the file ends at byte %d of %d: %w", f.at, f.size, io.ErrUnexpectedEOF)
		}
		return io.EOF
	case frameRefusal:
		var w wireRefusal
		if err := newDecoder().value(body, &w); err != nil {
			return err
		}
		return w.error()
	}
	return fmt.Errorf("frame of kind %d in a file: %w", kind, errFrame)
}

// cause is why the context ended, if it did; else err.
func (f *fetch) cause(err error) error {
	if f.ctx.Err() != nil {
		return context.Cause(f.ctx)
	}
	return err
}

// Close ends the fetch at any point. It may be called more than once.
func (f *fetch) Close() error {
	if f.err == nil {
		f.err = fs.ErrClosed
	}
	f.rest = nil
	f.stop()
	f.end()
	f.c.close()
	return nil
}

// serveFetch sends a snapshot file.
func (t *Transport) serveFetch(c *candidate) *RefusedError {
	select {
	case t.fetches <- struct{}{}:
		defer func() { <-t.fetches }()
	default:
		return refuse(RefusedBusy, "%d snapshots are being fetched already; try again later", t.limits.MaxFetches)
	}
	hello, err := t.answer(&c.hello, c.version, 0)
	if err != nil {
		return refuse(RefusedBytes, "%v", err)
	}
	if _, err := c.nc.Write(hello); err != nil {
		c.close()
		return nil
	}
	body, err := expect(c, frameFetch)
	if err != nil {
		c.close()
		return nil
	}
	var w wireFetch
	if err := newDecoder().value(body, &w); err != nil {
		return refuse(RefusedBytes, "%v", err)
	}
	last := raft.EntryID{Term: raft.Term(w.Term), Index: raft.Index(w.Index)}
	if t.cfg.Source == nil {
		return refuse(RefusedSnapshot, "this node serves no snapshots")
	}
	file, size, err := t.cfg.Source(last, w.Offset)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return refuse(RefusedSnapshot, "snapshot %v is not here; wait for a newer offer", last)
	case err != nil:
		t.log.warn("source", "snapshot not served", "snapshot", last.String(), "error", err)
		return refuse(RefusedSource, "snapshot %v can't be read: %.200s", last, err)
	}
	defer file.Close()
	t.counters.fetches.Add(1)
	if err := t.stream(c, file, size); err != nil {
		var r *RefusedError
		if errors.As(err, &r) {
			t.log.warn("source", "snapshot not served to its end", "snapshot", last.String(), "error", err)
			return r
		}
		t.log.info("stream", "snapshot fetch ended early", "peer", raft.NodeID(c.hello.ID), "snapshot", last.String(), "error", err)
	}
	c.close()
	return nil
}

// stream sends the size and the bytes of file. A *RefusedError is for the other side.
func (t *Transport) stream(c *candidate, file io.Reader, size uint64) error {
	body, err := newEncoder().append(nil, &wireFile{Size: size}, 16)
	if err != nil {
		return err
	}
	out := appendFrame(make([]byte, 0, frameHeader+blockSize), frameFile, body)
	send := func() error {
		if err := c.raw.SetWriteDeadline(time.Now().Add(t.limits.FetchIdle)); err != nil {
			return err
		}
		_, err := c.nc.Write(out)
		return err
	}
	if err := send(); err != nil {
		return err
	}
	began, sent := time.Now(), 0
	for {
		out = beginFrame(out[:0])
		n, err := io.ReadFull(file, out[frameHeader:cap(out)])
		if n > 0 {
			out = out[:frameHeader+n]
			endFrame(out, 0, frameBlock)
			if err := send(); err != nil {
				return err
			}
			sent += n
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			out = appendFrame(out[:0], frameEnd, nil)
			return send()
		}
		if err != nil {
			return refuse(RefusedSource, "the snapshot can't be read on: %.200s", err)
		}
		if d := ahead(sent, t.limits.FetchRate, time.Since(began), t.limits.FetchIdle/2); d > 0 && !t.wait(d) {
			return errClosed
		}
	}
}

// ahead is how long to wait after sent bytes in passed so as not to exceed rate
// (bytes a second, 0 for any), but no longer than most, so that the other side
// does not take it for a stall.
func ahead(sent, rate int, passed, most time.Duration) time.Duration {
	if rate <= 0 {
		return 0
	}
	due := float64(sent) / float64(rate) // seconds; may exceed what a Duration holds
	return time.Duration(min(max(due-passed.Seconds(), 0), most.Seconds()) * float64(time.Second))
}
