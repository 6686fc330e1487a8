// Package smallfile keeps small files that are complete or not there: an
// identity, a vote. A file is replaced as a whole, and what is read back is
// either exactly what some Write was given or an error.
//
// One writer a path; readers may come at any time. Nothing here knows what the
// bytes mean.
//
// Read Write first, then Read.
package smallfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// MaxPayload bounds what a file holds, in bytes. It is a constant of the format.
const MaxPayload = 1 << 20

// MaxKind bounds the length of a kind, in bytes.
const MaxKind = 12

// ErrDamaged means that the file is there, but is not what any Write of that
// kind left: cut off, changed, of another kind, or no regular file.
var ErrDamaged = errors.New("file is damaged")

// ErrVersion means that the file is whole, but of a format that this binary
// doesn't know. A newer binary wrote it.
var ErrVersion = errors.New("file has another format version")

// The file, little-endian:
//
//	 0  magic    8 bytes "raftkvsf"
//	 8  kind    12 bytes, padded with zeros
//	20  version  4 bytes
//	24  length   4 bytes, of the payload
//	28  sum      4 bytes, crc32c of bytes 0-27 and the payload
//	32  payload
const (
	magic      = "raftkvsf"
	version    = 1
	kindAt     = 8
	versionAt  = 20
	lengthAt   = 24
	sumAt      = 28
	headerSize = 32
)

// TempSuffix is added to a path while its next content is written. A file with
// this suffix was never confirmed: it may be removed, and Write does not mind it.
const TempSuffix = ".tmp"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Write makes payload the content of path and returns when that survives a
// crash: temporary file, sync, rename, sync of the directory. After an error
// the old content or the new one is there, whole, and which is not known.
func Write(path, kind string, payload []byte) error {
	b, err := encode(kind, payload)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	temp := path + TempSuffix
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err := f.Write(b); err != nil {
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
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// Read returns the payload of the file at path. The error wraps fs.ErrNotExist
// if there is none, ErrDamaged or ErrVersion if it can't be used; any other is
// of the system.
func Read(path, kind string) ([]byte, error) {
	// Without O_NONBLOCK a pipe of that name would hang the start for ever.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("read %s: %w: it is a %s, not a file", path, ErrDamaged, typeName(info.Mode()))
	}
	if info.Size() > headerSize+MaxPayload {
		return nil, fmt.Errorf("read %s: %w: %d bytes, more than such a file can have", path, ErrDamaged, info.Size())
	}
	b, err := io.ReadAll(io.LimitReader(f, headerSize+MaxPayload+1))
	if err != nil {
		return nil, err
	}
	payload, err := decode(b, kind)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return payload, nil
}

// SyncDir makes the names in a directory survive a crash: after a create, a
// rename or a remove.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	if err := d.Sync(); err != nil {
		d.Close()
		return err
	}
	return d.Close()
}

func encode(kind string, payload []byte) ([]byte, error) {
	if len(kind) == 0 || len(kind) > MaxKind {
		return nil, fmt.Errorf("kind %q of %d bytes, want 1 to %d", kind, len(kind), MaxKind)
	}
	if len(payload) > MaxPayload {
		return nil, fmt.Errorf("%d bytes, at most %d fit", len(payload), MaxPayload)
	}
	b := make([]byte, headerSize, headerSize+len(payload))
	copy(b, magic)
	copy(b[kindAt:versionAt], kind)
	binary.LittleEndian.PutUint32(b[versionAt:], version)
	binary.LittleEndian.PutUint32(b[lengthAt:], uint32(len(payload)))
	b = append(b, payload...)
	binary.LittleEndian.PutUint32(b[sumAt:], sum(b))
	return b, nil
}

func decode(b []byte, kind string) ([]byte, error) {
	if len(b) < headerSize {
		return nil, fmt.Errorf("%w: %d bytes, the header alone has %d", ErrDamaged, len(b), headerSize)
	}
	if string(b[:len(magic)]) != magic {
		return nil, fmt.Errorf("%w: it does not begin with %q", ErrDamaged, magic)
	}
	if want, got := binary.LittleEndian.Uint32(b[sumAt:]), sum(b); want != got {
		return nil, fmt.Errorf("%w: checksum %08x, the file says %08x", ErrDamaged, got, want)
	}
	if v := binary.LittleEndian.Uint32(b[versionAt:]); v != version {
		return nil, fmt.Errorf("%w: %d, this binary reads %d", ErrVersion, v, version)
	}
	var padded [versionAt - kindAt]byte
	copy(padded[:], kind)
	if string(b[kindAt:versionAt]) != string(padded[:]) {
		return nil, fmt.Errorf("%w: it is of kind %q, want %q", ErrDamaged, b[kindAt:versionAt], kind)
	}
	if n := binary.LittleEndian.Uint32(b[lengthAt:]); uint64(n) != uint64(len(b)-headerSize) {
		return nil, fmt.Errorf("%w: %d bytes of payload, the header says %d", ErrDamaged, len(b)-headerSize, n)
	}
	return b[headerSize:], nil
}

// sum covers everything but itself.
func sum(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:sumAt], castagnoli), castagnoli, b[headerSize:])
}

func typeName(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "directory"
	case m&fs.ModeNamedPipe != 0:
		return "pipe"
	case m&fs.ModeSocket != 0:
		return "socket"
	}
	return "device"
}
