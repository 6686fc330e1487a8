package snapshot

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// FS is what this package needs of a file system: OS in production, MemFS in
// tests and in the simulator. Errors of files that are missing are fs.ErrNotExist.
type FS interface {
	// Mkdir makes one directory (0700). One that is there already is no error.
	Mkdir(path string) error
	// ReadDir returns the names in a directory, in any order.
	ReadDir(path string) ([]string, error)
	// Create makes an empty file (0600) for reading and writing, or empties the one that is there.
	Create(path string) (File, error)
	// Open opens a file for reading; with write for changing it too.
	Open(path string, write bool) (File, error)
	// Rename gives a file another name, in one step, over what has that name.
	Rename(from, to string) error
	Remove(path string) error
	// SyncDir makes the names in a directory durable.
	SyncDir(path string) error
}

// File is one open file.
type File interface {
	io.Reader
	io.Writer
	io.Seeker
	io.Closer
	Truncate(size int64) error
	Sync() error
	Size() (int64, error)
	// DropCache makes reads come from the disk, as far as the system can. After a
	// failed sync the page cache may hold what the disk doesn't.
	DropCache()
}

// OS is the file system of the machine.
func OS() FS { return osFS{} }

type osFS struct{}

func (osFS) Mkdir(path string) error {
	err := os.Mkdir(path, 0o700)
	if err == nil || !os.IsExist(err) {
		return err
	}
	if info, statErr := os.Stat(path); statErr != nil || !info.IsDir() {
		return err
	}
	return nil
}

func (osFS) ReadDir(path string) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(-1)
}

func (osFS) Create(path string) (File, error) {
	return wrap(os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600))
}

func (osFS) Open(path string, write bool) (File, error) {
	flag := os.O_RDONLY
	if write {
		flag = os.O_RDWR
	}
	return wrap(os.OpenFile(path, flag, 0))
}

func (osFS) Rename(from, to string) error { return os.Rename(from, to) }
func (osFS) Remove(path string) error     { return os.Remove(path) }

func (osFS) SyncDir(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	err = f.Sync()
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}

type osFile struct{ *os.File }

// wrap exists because a nil *os.File in an interface is not nil.
func wrap(f *os.File, err error) (File, error) {
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (f osFile) DropCache() {
	// Advice: where the system doesn't take it, reads come from the cache as ever.
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
}
