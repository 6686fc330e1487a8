package snapshot

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/raftkv/raftkv/raft"
)

// progressBytes is how much comes between two calls of progress, at least.
const progressBytes = 256 << 10

// errForeign means that what came doesn't continue what is here.
var errForeign = errors.New("does not continue the bytes that are here")

// Receive makes another node's snapshot durable. It calls open with the number
// of bytes of the file that are here and verified, reads to the end, and
// verifies all of it before the file has its name. After an error of the source
// what came stays for the next try. progress is called now and then with the
// bytes that are here.
//
// If the source's bytes don't go on from ours, twice, then its file is another
// one (or ours is from another node): Receive starts over at 0, once.
//
// Errors: ErrDamaged (what came is wrong; try again), ErrMismatch (the source
// sends another snapshot), ErrTooLarge, ErrVersion, ctx's, open's, the reader's,
// or of the own system; after one of those nothing of the transfer stays.
func (d *Dir) Receive(ctx context.Context, meta raft.SnapshotMeta,
	open func(ctx context.Context, offset uint64) (io.ReadCloser, error), progress func(bytes uint64)) error {
	if err := d.enter(&d.receiving, "receive"); err != nil {
		return err
	}
	defer d.leave(&d.receiving)
	if err := d.receive(ctx, meta, open, progress); err != nil {
		return fmt.Errorf("receive snapshot %v: %w", meta.Last, err)
	}
	d.retire(meta.Last)
	return nil
}

func (d *Dir) receive(ctx context.Context, meta raft.SnapshotMeta,
	open func(ctx context.Context, offset uint64) (io.ReadCloser, error), progress func(bytes uint64)) error {
	if d.have(meta) {
		// The rename may have come before a crash and its sync not.
		return d.fs.SyncDir(d.path)
	}
	if err := d.removeOtherParts(meta.Last); err != nil {
		return err
	}
	p, err := d.openPart(meta)
	if err != nil {
		return err
	}
	err = p.fetch(ctx, open, progress)
	var lost *hopeless
	if err == nil {
		err = p.f.Sync()
	} else if !errors.As(err, &lost) {
		p.f.Close()
		return err // what came stays
	}
	if closeErr := p.f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = d.publish(meta.Last, partSuffix)
	}
	if err != nil {
		// On a full disk the log needs the space more than the next try does.
		if removeErr := d.remove(p.path); removeErr != nil {
			d.fault(removeErr)
		}
	}
	return err
}

// have tells whether exactly this snapshot is here, whole.
func (d *Dir) have(meta raft.SnapshotMeta) bool {
	var found raft.SnapshotMeta
	f, err := d.openComplete(meta.Last)
	if err == nil {
		found, _, err = d.read(f, meta.Last, verify)
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		d.fault(err)
	}
	if errors.Is(err, ErrDamaged) {
		d.setAside(meta.Last)
	}
	return err == nil && sameMeta(found, meta)
}

func sameMeta(a, b raft.SnapshotMeta) bool {
	return bytes.Equal(raft.AppendSnapshotMeta(nil, a), raft.AppendSnapshotMeta(nil, b))
}

// removeOtherParts gives up transfers of other snapshots: one at a time is enough to hold on disk.
func (d *Dir) removeOtherParts(id raft.EntryID) error {
	parts, err := d.list(partSuffix)
	if err != nil {
		return err
	}
	for _, other := range parts {
		if other != id {
			if err := d.remove(d.file(other, partSuffix)); err != nil {
				return err
			}
		}
	}
	return nil
}

// hopeless marks the errors after which the partial file is of no use: those of
// the own disk, after which nobody knows what it holds, and those of a wrong source.
type hopeless struct{ err error }

func (e *hopeless) Error() string { return e.err.Error() }
func (e *hopeless) Unwrap() error { return e.err }

// part is a transfer: a partial file, and the scanner that has verified all of it.
type part struct {
	f        File
	path     string
	opt      Options
	meta     raft.SnapshotMeta
	s        *scanner
	unsynced uint64
}

// openPart opens what an earlier try left, verifies it, and cuts off what does not verify.
func (d *Dir) openPart(meta raft.SnapshotMeta) (*part, error) {
	p := &part{path: d.file(meta.Last, partSuffix), opt: d.opt, meta: meta}
	var err error
	p.f, err = d.fs.Open(p.path, true)
	if errors.Is(err, fs.ErrNotExist) {
		p.f, err = d.fs.Create(p.path)
	}
	if err != nil {
		return nil, err
	}
	if err := p.verify(); err != nil {
		p.f.Close()
		// It can't be read or cut: the next try starts without it.
		if removeErr := d.remove(p.path); removeErr != nil {
			d.fault(removeErr)
		}
		return nil, err
	}
	return p, nil
}

func (p *part) verify() error {
	p.f.DropCache()
	p.s = newScanner(bufio.NewReaderSize(p.f, readAhead))
	for {
		had := p.s.head
		_, err := p.s.next()
		if !had && p.s.head && !sameMeta(p.s.meta, p.meta) {
			return p.restart() // of the same entry, but another state: of no use
		}
		if err == io.EOF {
			break // all of it is here; only the rename is missing
		}
		if errors.Is(err, ErrDamaged) || errors.Is(err, ErrVersion) {
			break // the end of what an earlier try left, or what a crash made of it
		}
		if err != nil {
			return err
		}
	}
	return p.cut(p.s.size)
}

// restart forgets all that came.
func (p *part) restart() error {
	p.s = newScanner(nil)
	return p.cut(0)
}

func (p *part) cut(size uint64) error {
	if err := p.f.Truncate(int64(size)); err != nil {
		return err
	}
	_, err := p.f.Seek(int64(size), io.SeekStart)
	return err
}

// fetch reads from the source until the file is here and verified. After a *hopeless
// error the partial file must go.
func (p *part) fetch(ctx context.Context, open func(context.Context, uint64) (io.ReadCloser, error), progress func(uint64)) error {
	for try := 1; !p.s.done; try++ {
		start := p.s.size
		err := p.once(ctx, open, progress)
		switch {
		case !errors.Is(err, errForeign) || start == 0:
			return err
		case try == 1:
			continue // perhaps a byte was damaged on the way
		}
		if err := p.restart(); err != nil {
			return &hopeless{err}
		}
	}
	progress(p.s.size)
	return nil
}

// once reads from one connection. The error is errForeign if the source has the
// snapshot, but not what follows on what is here.
func (p *part) once(ctx context.Context, open func(context.Context, uint64) (io.ReadCloser, error), progress func(uint64)) error {
	start := p.s.size
	progress(start)
	src, err := open(ctx, start)
	if err != nil {
		if start == 0 || ctx.Err() != nil {
			return err
		}
		// A source whose file is shorter may refuse the offset. One that is away
		// refuses the beginning too.
		probe, probeErr := open(ctx, 0)
		if probeErr != nil {
			return err
		}
		probe.Close()
		return fmt.Errorf("%w: %w", err, errForeign)
	}
	defer src.Close()
	p.s.r = bufio.NewReaderSize(src, readAhead)
	told := start
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		had := p.s.head
		_, err := p.s.next()
		if err == io.EOF {
			progress(p.s.size)
			return nil
		}
		if err != nil {
			return p.explain(err, start)
		}
		if !had && !sameMeta(p.s.meta, p.meta) {
			return &hopeless{fmt.Errorf("source sends %v with state %x: %w", p.s.meta.Last, p.s.meta.Hash, ErrMismatch)}
		}
		if p.s.size > p.opt.MaxBytes {
			return &hopeless{fmt.Errorf("above %d bytes: %w", p.opt.MaxBytes, ErrTooLarge)}
		}
		if err := p.write(); err != nil {
			return &hopeless{err}
		}
		if p.s.size-told >= progressBytes {
			told = p.s.size
			progress(told)
		}
	}
}

// explain tells a source with other bytes from a transfer that was damaged or cut off.
func (p *part) explain(err error, start uint64) error {
	nothing := p.s.size == start
	switch {
	case p.s.done:
		// Bytes after the footer: what is here is whole, what follows is not part of it.
		return nil
	case errors.Is(err, ErrVersion) || !errors.Is(err, ErrDamaged):
		return err
	case nothing && start > 0:
		return fmt.Errorf("%w: %w", err, errForeign)
	case errors.Is(err, errSums):
		if err := p.restart(); err != nil {
			return &hopeless{err}
		}
	}
	return err
}

// write puts the frame that was just verified into the file.
func (p *part) write() error {
	if _, err := p.f.Write(p.s.raw); err != nil {
		return err
	}
	p.unsynced += uint64(len(p.s.raw))
	if p.unsynced < p.opt.SyncBytes {
		return nil
	}
	p.unsynced = 0
	return p.f.Sync()
}
