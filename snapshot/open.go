package snapshot

import (
	"bufio"
	"fmt"
	"io"

	"github.com/raftkv/raftkv/raft"
)

// Open reads the content of one snapshot: the bytes that Save was given. Each
// block is verified before a byte of it is handed out, the whole at io.EOF: only
// then is the content known to be complete. The caller closes the reader, which
// one goroutine uses. Errors, also of Read: ErrNotFound, ErrDamaged, ErrVersion.
func (d *Dir) Open(last raft.EntryID) (raft.SnapshotMeta, io.ReadCloser, error) {
	f, err := d.openComplete(last)
	if err != nil {
		return raft.SnapshotMeta{}, nil, err
	}
	c, err := openContent(f, last)
	if err != nil {
		f.Close()
		return raft.SnapshotMeta{}, nil, fmt.Errorf("open snapshot %v: %w", last, err)
	}
	return c.s.meta, closing{c, f}, nil
}

// openContent reads the header of a file that must be of this snapshot.
func openContent(f File, id raft.EntryID) (*content, error) {
	s := newScanner(bufio.NewReaderSize(f, readAhead))
	_, err := s.next()
	if err == nil && s.meta.Last != id {
		err = fmt.Errorf("describes %v: %w", s.meta.Last, ErrDamaged)
	}
	return &content{s: s}, err
}

// content is the verified content of a file as a stream.
type content struct {
	s    *scanner
	left []byte // of the newest block
	err  error
}

func (c *content) Read(p []byte) (int, error) {
	for len(c.left) == 0 && c.err == nil {
		c.left, c.err = c.s.next()
	}
	if len(c.left) == 0 {
		return 0, c.err
	}
	n := copy(p, c.left)
	c.left = c.left[n:]
	return n, nil
}

// Source opens the file of a snapshot for another node's Receive, from a byte
// on, and says how long the whole file is. Beyond its end the reader is empty:
// the receiver then knows that its bytes are of another file. A file that is
// removed meanwhile can be read to its end. Error: ErrNotFound, which comes
// with fs.ErrNotExist. Any goroutine may call.
func (d *Dir) Source(last raft.EntryID, offset uint64) (io.ReadCloser, uint64, error) {
	f, err := d.openComplete(last)
	if err != nil {
		return nil, 0, err
	}
	size, err := f.Size()
	if err == nil {
		_, err = f.Seek(int64(min(offset, uint64(size))), io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, 0, fmt.Errorf("serve snapshot %v from %d: %w", last, offset, err)
	}
	d.mu.Lock()
	d.served = last
	d.mu.Unlock()
	return closing{io.LimitReader(f, size), f}, uint64(size), nil
}

// closing is a reader with the file beneath it.
type closing struct {
	io.Reader
	io.Closer
}
