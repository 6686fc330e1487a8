package raftlog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
	"golang.org/x/sys/unix"

	"github.com/raftkv/raftkv/internal/smallfile"
	"github.com/raftkv/raftkv/raft"
)

// The names in a directory. What ends in .tmp was never part of the log and is
// removed at start; what has any other name is not ours and left alone.
const (
	lockFile     = "LOCK"
	prefix       = "log-"
	suffix       = ".db"
	nextTemp     = "next.tmp"
	templateTemp = "template.tmp"
	sparePrefix  = "spare-"
	spareSuffix  = ".tmp"
)

// In each segment.
var (
	logBucket   = []byte("log")   // the entries
	stateBucket = []byte("state") // one record
	stateKey    = []byte("state")
)

type openFile = func(name string, flag int, mode os.FileMode) (*os.File, error)

// segment is one file that bbolt has open.
type segment struct {
	number uint64
	salt   salt
	path   string
	db     *bbolt.DB
	file   os.FileInfo // which file path named when it was opened
	from   raft.Index  // see record
	prev   raft.Term
}

func segmentName(number uint64) string { return fmt.Sprintf("%s%016x%s", prefix, number, suffix) }

// freshTransaction is bbolt's number of the newest transaction in a new segment,
// see template: a new file has 0 and 1. Each Write comes after it.
const freshTransaction = 3

// openSegment opens a segment that was found to be sound.
func openSegment(dir string, number uint64, o Options) (*segment, error) {
	path := filepath.Join(dir, segmentName(number))
	db, err := openBolt(path, o)
	if err != nil {
		return nil, err
	}
	file, err := os.Stat(path)
	if err != nil {
		db.Close()
		return nil, err
	}
	return &segment{number: number, salt: saltOf(number), path: path, db: db, file: file}, nil
}

// inPlace is an error if the file that bbolt writes is no longer the one under its
// name. The kernel goes on to take writes of a file that was removed; they are gone with the process.
func (s *segment) inPlace() error {
	now, err := os.Stat(s.path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("%s was removed while it was in use: %w", s.path, ErrDisk)
	case err == nil && !os.SameFile(s.file, now):
		return fmt.Errorf("%s was replaced by another file while it was in use: %w", s.path, ErrDisk)
	}
	return err
}

// listSegments returns the numbers of the segments in dir, ascending.
func listSegments(dir string) ([]uint64, error) {
	names, err := os.ReadDir(dir)
	if err != nil {
		return nil, diskError(err)
	}
	var numbers []uint64
	for _, name := range names {
		hex := strings.TrimSuffix(strings.TrimPrefix(name.Name(), prefix), suffix)
		n, err := strconv.ParseUint(hex, 16, 64)
		if err == nil && n > 0 && segmentName(n) == name.Name() { // segmentName knows the exact form
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

// isTemp tells whether a name is one that a crash may leave behind.
func isTemp(name string) bool {
	return name == nextTemp || name == templateTemp || name == voteFile+smallfile.TempSuffix ||
		strings.HasPrefix(name, sparePrefix) && strings.HasSuffix(name, spareSuffix)
}

// openBolt opens a segment that readPages found to be sound. bbolt panics on
// much that it does not expect (bbolt#105, #446); that becomes an error.
func openBolt(path string, o Options) (db *bbolt.DB, err error) {
	err = guard(func() error {
		var err error
		db, err = bbolt.Open(path, 0o600, &bbolt.Options{
			Timeout:         o.LockTimeout,
			PageSize:        pageSize,
			FreelistType:    bbolt.FreelistMapType,
			NoFreelistSync:  o.noFreelistSync,
			InitialMmapSize: o.InitialMmapSize,
			NoStatistics:    true,
			OpenFile:        o.openFile,
		})
		if errors.Is(err, bolterrors.ErrTimeout) {
			return ErrLocked // by a tool that knows bbolt, but not our lock file
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	// A file grows only if a Write is bigger than a segment, or no next one is ready.
	db.AllocSize = int(min(1<<20, o.SegmentBytes/4))
	return db, nil
}

// guard turns a panic of f, and a fault in a mapped file, into an error. Locks
// that f held stay held: what f worked on must not be used again.
func guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		p := recover()
		if fault, ok := p.(interface{ Addr() uintptr }); ok {
			err = fmt.Errorf("read of the mapped file at %x: cut off, or the disk can't read it: %w", fault.Addr(), ErrDisk)
		} else if p != nil {
			err = fmt.Errorf("bbolt panicked: %v: %w", p, ErrCorrupt)
		}
	}()
	return diskError(f())
}

// settleCache makes the next reads of f tell what the disk has. A process that was
// killed may have left pages that no sync covers: a write that is found must not
// be lost by a later power cut, so they are synced now. After a failed sync the
// page cache can show what the disk never got, and calls it clean: so it is dropped.
func settleCache(f *os.File) error {
	if err := f.Sync(); err != nil && !errors.Is(err, unix.EROFS) && !errors.Is(err, unix.EINVAL) {
		return err
	}
	err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	if err != nil && !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ESPIPE) {
		return fmt.Errorf("drop page cache of %s: %w", f.Name(), err)
	}
	return nil
}

// template returns the bytes of an empty segment: the pages that bbolt makes of
// a new file, with our two buckets. Both meta pages show them.
func template(dir string) ([]byte, error) {
	path := filepath.Join(dir, templateTemp)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{PageSize: pageSize, NoSync: true, NoGrowSync: true})
	if err != nil {
		return nil, err
	}
	for range 2 {
		err = errors.Join(err, db.Update(func(tx *bbolt.Tx) error {
			_, errLog := tx.CreateBucketIfNotExists(logBucket)
			_, errState := tx.CreateBucketIfNotExists(stateBucket)
			return errors.Join(errLog, errState)
		}))
	}
	if err = errors.Join(err, db.Close()); err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	p, err := readPages(f, nil)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return p.b, os.Remove(path)
}

// makeSegment makes the file of a new segment, complete under its name, which
// begins with image. It
// writes over a spare file if there is one, else it fills a new one with zeros:
// a commit into blocks that the file system has already assigned needs no entry
// in its journal, which makes a sync a quarter cheaper (docs/decisions/0001).
func makeSegment(dir string, number uint64, image []byte, spare string, o Options) error {
	temp := filepath.Join(dir, nextTemp)
	if spare != "" {
		if err := os.Rename(spare, temp); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(temp, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := fill(f, image, o.SegmentBytes); err != nil {
		f.Close()
		return err
	}
	if err := f.Sync(); err != nil {
		f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(temp, filepath.Join(dir, segmentName(number))); err != nil {
		return err
	}
	return smallfile.SyncDir(dir)
}

// fill makes f begin with image and have at least size bytes, none of them a hole.
func fill(f *os.File, image []byte, size int64) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if _, err := f.WriteAt(image, 0); err != nil {
		return err
	}
	var zeros [256 << 10]byte
	for at := max(info.Size(), int64(len(image))); at < size; {
		n, err := f.WriteAt(zeros[:min(int64(len(zeros)), size-at)], at)
		if err != nil {
			return err
		}
		// Piece by piece, or the commits of the active segment would queue behind all of
		// them at once. An error told here is not told again by the sync at the end.
		err = unix.SyncFileRange(int(f.Fd()), at, int64(n), unix.SYNC_FILE_RANGE_WRITE|unix.SYNC_FILE_RANGE_WAIT_AFTER)
		if err != nil && !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("write out %s: %w", f.Name(), err)
		}
		at += int64(n)
	}
	return nil
}
