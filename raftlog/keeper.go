package raftlog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"go.etcd.io/bbolt"

	"github.com/raftkv/raftkv/internal/smallfile"
)

// keeper does what would stall a Write: it makes the next segment ahead of
// need, closes sealed ones and gives old files back. It never touches the
// active segment.
type keeper struct {
	dir    string
	opts   Options
	jobs   chan job  // capacity 1; closed by Bolt.Close
	made   chan made // capacity 1: one segment is wanted at a time
	done   chan struct{}
	spares []string // paths
	image  []byte   // what a segment begins with; made when the first is wanted
}

// job is what the disk goroutine hands over.
type job struct {
	seal   []*bbolt.DB // no longer written: close
	retire []uint64    // segments whose entries may go, and durably so
	want   uint64      // number of a segment to make, 0 for none
}

func (j *job) empty() bool { return len(j.seal) == 0 && len(j.retire) == 0 && j.want == 0 }

// made answers want.
type made struct {
	segment *segment
	err     error
}

func newKeeper(dir string, o Options) *keeper {
	k := &keeper{dir: dir, opts: o, jobs: make(chan job, 1), made: make(chan made, 1), done: make(chan struct{})}
	// Owns files that are not yet or no longer in use. Ends when jobs is closed;
	// Bolt.Close waits for it. Where the process ends by a fault, nobody waits.
	go func() {
		defer close(k.done)
		for j := range k.jobs {
			k.do(j)
		}
	}()
	return k
}

func (k *keeper) do(j job) {
	for _, db := range j.seal {
		if err := db.Close(); err != nil {
			k.opts.Logger.Warn("closing a sealed log segment", "err", err)
		}
	}
	rest, err := k.spare(j.retire)
	if err != nil {
		k.opts.Logger.Warn("keeping an old log segment for use", "err", err)
	}
	if j.want != 0 {
		s, err := k.make(j.want)
		k.made <- made{segment: s, err: err}
	}
	// Deleting a file can take a while: last.
	for _, number := range rest {
		if err := os.Remove(filepath.Join(k.dir, segmentName(number))); err != nil && !errors.Is(err, os.ErrNotExist) {
			k.opts.Logger.Warn("removing an old log segment", "err", err)
		}
	}
}

// spare renames files out of the log until there are enough spares and returns
// the others.
func (k *keeper) spare(numbers []uint64) (rest []uint64, err error) {
	before := len(k.spares)
	for n, number := range numbers {
		if len(k.spares) >= k.opts.Spares {
			rest = append(rest, numbers[n:]...)
			break
		}
		path := filepath.Join(k.dir, segmentName(number))
		if info, err := os.Stat(path); err != nil || info.Size() > 2*k.opts.SegmentBytes {
			rest = append(rest, number)
			continue
		}
		spare := filepath.Join(k.dir, fmt.Sprintf("%s%016x%s", sparePrefix, number, spareSuffix))
		if err := os.Rename(path, spare); err != nil {
			return append(rest, numbers[n:]...), err
		}
		k.spares = append(k.spares, spare)
	}
	if len(k.spares) == before {
		return rest, nil
	}
	// The old name must be gone for good before the bytes are written over.
	if err := smallfile.SyncDir(k.dir); err != nil {
		k.spares = k.spares[:before]
		return rest, err
	}
	return rest, nil
}

func (k *keeper) make(number uint64) (*segment, error) {
	if k.image == nil {
		image, err := template(k.dir)
		if err != nil {
			return nil, fmt.Errorf("make log segment %d: %w", number, diskError(err))
		}
		k.image = image
	}
	spare := ""
	if n := len(k.spares); n > 0 {
		spare, k.spares = k.spares[n-1], k.spares[:n-1]
	}
	if err := makeSegment(k.dir, number, k.image, spare, k.opts); err != nil {
		return nil, fmt.Errorf("make log segment %d: %w", number, diskError(err))
	}
	return openSegment(k.dir, number, k.opts)
}

// isFull tells whether err says that there is no space, which is no fault of the disk.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// sweep removes what crashes left behind.
func sweep(dir string) error {
	names, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !isTemp(name.Name()) || name.IsDir() {
			continue
		}
		if err := os.Remove(filepath.Join(dir, name.Name())); err != nil {
			return err
		}
	}
	return nil
}

// diskBytes is what the files of dir take on the disk.
func diskBytes(dir string) (int64, error) {
	names, err := os.ReadDir(dir)
	if err != nil {
		return 0, diskError(err)
	}
	var n int64
	for _, name := range names {
		info, err := name.Info()
		if errors.Is(err, os.ErrNotExist) {
			continue // the keeper was faster
		}
		if err != nil {
			return 0, diskError(err)
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok && info.Mode().IsRegular() &&
			(isTemp(name.Name()) || name.Name() == voteFile || strings.HasPrefix(name.Name(), prefix)) {
			n += st.Blocks * 512
		}
	}
	return n, nil
}
