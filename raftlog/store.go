package raftlog

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"syscall"
	"time"

	"github.com/raftkv/raftkv/raft"
)

// Store keeps what a node must not forget. One goroutine calls Load, Write and
// Close; Size may be called from any.
type Store interface {
	// Load returns what is durable: all of raft.Durable but Snapshot. The caller
	// owns it. Call it once, before the first Write.
	Load() (raft.Durable, error)
	// Write makes w durable, whole, and blocks until it is. Afterwards it keeps
	// nothing of w but the data of entries, which nobody changes.
	// An error is final: the outcome of w is unknown, and every later Write
	// returns the same error.
	Write(w *raft.Write) error
	// Size is the number of bytes that the store takes on its disk.
	Size() (int64, error)
	// Close releases the store. It must not be called after Write returned an error
	// and the process is about to end: leave by os.Exit.
	Close() error
}

var (
	// ErrCorrupt means that stored bytes are not what was written. Restore the node from its peers.
	ErrCorrupt = errors.New("the log is damaged: set this node's data aside and let it join again")
	// ErrVersion means that a newer binary wrote the log. Start that one.
	ErrVersion = errors.New("the log has a format that this binary does not know")
	// ErrLocked means that another process uses the directory.
	ErrLocked = errors.New("the log is in use by another process")
	// ErrDisk means that the system could not read or write. The cause is wrapped.
	ErrDisk = errors.New("disk error")
	// ErrMisuse means that a Write contradicts what is stored: a fault of the program.
	ErrMisuse = errors.New("write does not fit the log")
)

// Options are the settings of a Bolt; zero means the default.
type Options struct {
	// LockTimeout is how long Open waits for another process to let go of the
	// directory. Default 1 s.
	LockTimeout time.Duration
	// SegmentBytes is the size at which the log goes on in a new file; a file may
	// be larger by one Write. At least 64 KiB, default 16 MiB: big enough that
	// a change of file is rare, small enough that the free list of one is one page.
	SegmentBytes int64
	// Spares is how many files without use are kept, so that a new segment is
	// written over blocks that the file system has assigned already. Default 2, negative none.
	// SparesFor tells how many are worth their room.
	Spares int
	// InitialMmapSize is the address space mapped for each open segment, in bytes.
	// While a file is smaller, growing it needs no new mapping. Default 8 segments.
	InitialMmapSize int
	// Logger gets what people should know (nothing per Write). Default: discarded.
	Logger *slog.Logger

	noFreelistSync bool     // for benchmarks: see docs/decisions/0001
	openFile       openFile // for tests: how bbolt opens a segment
}

const (
	minSegmentBytes     = 64 << 10
	defaultSegmentBytes = 16 << 20
)

// maxSpares bounds the room that files without use take: 128 MiB.
const maxSpares = 8

// SparesFor is how many spare files of the default size serve a log of which so many bytes are
// given back at once, when a snapshot has replaced them: then hardly any segment
// must be filled with zeros, which is as much again as what is written to it. From 2 to 8.
func SparesFor(bytes int64) int { return int(min(max(bytes/defaultSegmentBytes, 2), maxSpares)) }

func (o Options) withDefaults() (Options, error) {
	if o.LockTimeout == 0 {
		o.LockTimeout = time.Second
	}
	if o.SegmentBytes == 0 {
		o.SegmentBytes = defaultSegmentBytes
	}
	if o.SegmentBytes < minSegmentBytes {
		return o, fmt.Errorf("segments of %d bytes, at least %d are needed", o.SegmentBytes, minSegmentBytes)
	}
	if o.Spares == 0 {
		o.Spares = 2
	}
	if o.InitialMmapSize == 0 {
		o.InitialMmapSize = int(8 * o.SegmentBytes)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o, nil
}

// diskError marks an error of the system as ErrDisk, unless it says already
// what the caller can branch on.
func diskError(err error) error {
	if err == nil || errors.Is(err, fs.ErrPermission) || errors.Is(err, ErrCorrupt) || errors.Is(err, ErrDisk) ||
		errors.Is(err, ErrLocked) || errors.Is(err, ErrVersion) || errors.Is(err, ErrMisuse) ||
		errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ENAMETOOLONG) || errors.Is(err, syscall.ELOOP) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrDisk, err)
}
