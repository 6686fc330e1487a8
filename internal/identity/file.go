package identity

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/uuid"

	"github.com/raftkv/raftkv/internal/smallfile"
)

// FileName is the name of the identity file in the data directory.
const FileName = "identity"

// fileKind marks the file among small files; recordVersion is of its payload.
const (
	fileKind      = "identity"
	recordVersion = 1
)

// store keeps one Record. String names it in errors.
type store interface {
	load() (r Record, found bool, err error)
	save(r Record) error // nil: it survives a crash; else unknown
	String() string
}

// fileStore is the store of a data directory.
type fileStore struct {
	dir      string
	innocent []string
}

func (s fileStore) String() string { return "data directory " + s.dir }

func (s fileStore) load() (Record, bool, error) {
	if err := checkMode(s.dir, 0o022, "others can change it", "chmod go-w"); err != nil {
		return Record{}, false, err
	}
	r, err := readFile(s.dir)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return r, err == nil, err
	}
	// Data without an identity: it was another one's. Under a new identity the
	// node could not answer for the votes in it.
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return Record{}, false, fmt.Errorf("list data directory: %w", err)
	}
	for _, e := range entries {
		known := []string{FileName + smallfile.TempSuffix, "lost+found"}
		if name := e.Name(); !slices.Contains(known, name) && !slices.Contains(s.innocent, name) {
			return Record{}, false, fmt.Errorf("%s holds %q but no file %q: restore that file; or, if the data may go, empty the directory "+
				"and add the node to the cluster again: %w", s.dir, name, FileName, ErrDamaged)
		}
	}
	return Record{}, false, nil
}

func (s fileStore) save(r Record) error {
	b, err := encodeRecord(r)
	if err != nil {
		return err
	}
	err = smallfile.Write(filepath.Join(s.dir, FileName), fileKind, b)
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("store identity: %w: %w: give %s to the user that runs this process", err, ErrPermission, s.dir)
	}
	if err != nil {
		return fmt.Errorf("store identity: %w", err)
	}
	return nil
}

func readFile(dir string) (Record, error) {
	path := filepath.Join(dir, FileName)
	b, err := smallfile.Read(path, fileKind)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Record{}, err
	case errors.Is(err, fs.ErrPermission):
		return Record{}, fmt.Errorf("read identity: %w: %w: give %s to the user that runs this process", err, ErrPermission, path)
	case errors.Is(err, smallfile.ErrVersion):
		return Record{}, fmt.Errorf("read identity: %w: run the release that wrote it, or a later one: %w", err, ErrRefused)
	case errors.Is(err, smallfile.ErrDamaged):
		return Record{}, fmt.Errorf("read identity: %w: restore the file, or empty the directory and add the node to the cluster again: %w", err, ErrDamaged)
	case err != nil:
		return Record{}, fmt.Errorf("read identity: %w", err)
	}
	if err := checkMode(path, 0o077, "others can read or change it", "chmod 600"); err != nil {
		return Record{}, err
	}
	r, err := decodeRecord(b)
	if err != nil {
		return Record{}, fmt.Errorf("read %s: %w", path, err)
	}
	return r, nil
}

// checkMode refuses a file whose mode has one of the bits in bad.
func checkMode(path string, bad fs.FileMode, why, remedy string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("look at %s: %w", path, err)
	}
	if mode := info.Mode().Perm(); mode&bad != 0 {
		return fmt.Errorf("%s has mode %04o, %s: %s %s: %w", path, mode, why, remedy, path, ErrPermission)
	}
	return nil
}

// versioned is the payload of the file.
type versioned struct {
	Version int `json:"version"`
	Record
}

func encodeRecord(r Record) ([]byte, error) {
	b, err := json.Marshal(versioned{recordVersion, r})
	if err != nil {
		return nil, fmt.Errorf("encode identity: %w", err)
	}
	return b, nil
}

func decodeRecord(b []byte) (Record, error) {
	var v versioned
	if err := json.Unmarshal(b, &v); err != nil {
		return Record{}, fmt.Errorf("decode identity: %w: %w", err, ErrDamaged)
	}
	if v.Version != recordVersion {
		return Record{}, fmt.Errorf("identity has version %d, this binary reads %d; run the release that wrote it: %w", v.Version, recordVersion, ErrRefused)
	}
	v = versioned{}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		return Record{}, fmt.Errorf("decode identity: %w: %w", err, ErrDamaged)
	}
	r := v.Record
	if r.Node == uuid.Nil || r.Name == "" {
		return Record{}, fmt.Errorf("identity names no node: %w", ErrDamaged)
	}
	if r.Birth == nil && r.Joined {
		return Record{}, fmt.Errorf("identity joined a cluster that it doesn't name: %w", ErrDamaged)
	}
	if r.Birth != nil {
		if err := (Record{Node: r.Node, Name: r.Name}).check(r.Birth, r.Joined); err != nil {
			return Record{}, fmt.Errorf("identity contradicts itself: %v: %w", err, ErrDamaged)
		}
	}
	return r, nil
}
