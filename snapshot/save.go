package snapshot

import (
	"errors"
	"fmt"
	"io"

	"github.com/raftkv/raftkv/raft"
)

// Save makes a snapshot durable. It calls next until io.EOF (data may come with
// it); any other error gives the file up, leaves nothing behind and is
// returned. A slice is used only until the next call. On success older
// snapshots are removed as Options say. Error: ErrTooLarge, or of the system;
// then what was there before is there still.
func (d *Dir) Save(meta raft.SnapshotMeta, next func() ([]byte, error)) error {
	if err := d.enter(&d.saving, "save"); err != nil {
		return err
	}
	defer d.leave(&d.saving)
	if err := d.save(meta, next); err != nil {
		return fmt.Errorf("save snapshot %v: %w", meta.Last, err)
	}
	d.retire(meta.Last)
	return nil
}

func (d *Dir) save(meta raft.SnapshotMeta, next func() ([]byte, error)) error {
	temp := d.file(meta.Last, tempSuffix)
	f, err := d.fs.Create(temp)
	if err != nil {
		return err
	}
	w := &writer{f: f, chain: newChain(), opt: d.opt}
	err = w.all(meta, next)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = d.publish(meta.Last, tempSuffix)
	}
	if err != nil {
		if removeErr := d.remove(temp); removeErr != nil {
			d.fault(removeErr)
		}
	}
	return err
}

// enter refuses a second Save or Receive beside the first: they would write one file.
func (d *Dir) enter(busy *bool, what string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if *busy {
		return fmt.Errorf("%s snapshot: another one is under way", what)
	}
	*busy = true
	return nil
}

func (d *Dir) leave(busy *bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	*busy = false
}

// writer writes frames to a file and syncs it as it grows.
type writer struct {
	chain
	f        File
	opt      Options
	buf      []byte // one frame: a frame is one call of Write
	unsynced uint64
}

// all writes a whole file and syncs it.
func (w *writer) all(meta raft.SnapshotMeta, next func() ([]byte, error)) error {
	b, err := w.appendHeader(w.buf[:0], meta)
	if err != nil {
		return err
	}
	if err := w.write(b); err != nil {
		return err
	}
	for more := true; more; {
		data, err := next()
		switch {
		case errors.Is(err, io.EOF):
			more = false
		case err != nil:
			return err
		}
		for len(data) > 0 {
			n := min(len(data), blockMax)
			if err := w.write(w.appendBlock(w.buf[:0], data[:n])); err != nil {
				return err
			}
			data = data[n:]
		}
	}
	if err := w.write(w.appendFooter(w.buf[:0])); err != nil {
		return err
	}
	return w.f.Sync()
}

// write writes one frame that the chain has counted already.
func (w *writer) write(frame []byte) error {
	w.buf = frame
	if w.size > w.opt.MaxBytes {
		return fmt.Errorf("at %d bytes, at most %d: %w", w.size, w.opt.MaxBytes, ErrTooLarge)
	}
	if _, err := w.f.Write(frame); err != nil {
		return err
	}
	w.unsynced += uint64(len(frame))
	if w.unsynced < w.opt.SyncBytes {
		return nil
	}
	w.unsynced = 0
	return w.f.Sync()
}
