package snapshot

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/raftkv/raftkv/raft"
)

// Options bound what a Dir keeps and takes. Zero means the default.
type Options struct {
	// Keep is how many complete snapshots stay after a Save or Receive. Default 1:
	// the log below the newest goes, and without it an older one is no stand-in. Only
	// if it was served to another node does the one before the newest stay beside
	// it: that node may be fetching it still.
	Keep int
	// KeepBytes bounds the files beside the newest, together. Default 1 GiB.
	KeepBytes uint64
	// MaxBytes bounds one file. Default 64 GiB. Above it Save and Receive return ErrTooLarge.
	MaxBytes uint64
	// SyncBytes is how much is written between two syncs. Default 8 MiB: one sync
	// of everything at the end would stall the log on the same disk.
	SyncBytes uint64
}

func (o Options) withDefaults() Options {
	o.Keep = max(o.Keep, 1)
	o.KeepBytes = cmp.Or(o.KeepBytes, 1<<30)
	o.MaxBytes = min(cmp.Or(o.MaxBytes, 64<<30), 1<<62) // it becomes an int64
	o.SyncBytes = cmp.Or(o.SyncBytes, 8<<20)
	return o
}

// Dir is a directory of snapshots. It meets node.Snapshots. Save, Receive and
// Open may run at the same time, one Save and one Receive each.
type Dir struct {
	fs   FS
	path string
	opt  Options

	// What is there stands on the disk and is read from it each time. The mutex
	// guards only what the two writers must know of each other and of readers, and the faults.
	mu        sync.Mutex
	saving    bool
	receiving bool
	served    raft.EntryID // what another node was given last
	faults    []error
}

// faultsMax bounds what Faults holds between two calls; more are dropped.
const faultsMax = 32

// OpenDir makes the directory if it is missing (its parent must be there) and
// removes what a crash inside Save left. Files that it doesn't know stay.
func OpenDir(fsys FS, path string, o Options) (*Dir, error) {
	d := &Dir{fs: fsys, path: path, opt: o.withDefaults()}
	if err := fsys.Mkdir(path); err != nil {
		return nil, fmt.Errorf("make snapshot directory: %w", err)
	}
	// Always: a crash may have come between an earlier start's Mkdir and its sync.
	if err := fsys.SyncDir(filepath.Dir(path)); err != nil {
		return nil, fmt.Errorf("sync %s: %w", filepath.Dir(path), err)
	}
	if err := d.sweep(); err != nil {
		return nil, err
	}
	return d, nil
}

// sweep removes temporary files, and partial ones but for the newest.
func (d *Dir) sweep() error {
	temps, err := d.list(tempSuffix)
	if err != nil {
		return err
	}
	parts, err := d.list(partSuffix)
	if err != nil {
		return err
	}
	for i, id := range parts {
		if i > 0 {
			if err := d.remove(d.file(id, partSuffix)); err != nil {
				return err
			}
		}
	}
	for _, id := range temps {
		if err := d.remove(d.file(id, tempSuffix)); err != nil {
			return err
		}
	}
	return nil
}

// List returns the complete snapshots by their names, newest first, unverified.
func (d *Dir) List() ([]raft.EntryID, error) { return d.list("") }

// Restore hands the content of the newest snapshot that is whole to load, and
// returns its description. The file is read once, from the disk: it is verified
// while load reads it, to io.EOF, and so load must take nothing over before that. One that
// turns out to be damaged is set aside under another name, Faults tells, and
// load is called again with the one before. What load returns of its own
// accord is returned as it is, and no other snapshot is tried; nor is one for
// an error of opening the newest, which says nothing about its content.
//
// The error wraps ErrNotFound if there never was a snapshot, and ErrDamaged if there
// are only ones that can't be used: then the log that starts after them has lost
// its beginning, and the node must fetch a snapshot from another.
func (d *Dir) Restore(load func(raft.SnapshotMeta, io.Reader) error) (raft.SnapshotMeta, error) {
	ids, err := d.list("")
	if err != nil {
		return raft.SnapshotMeta{}, err
	}
	var faults []error
	for _, id := range ids {
		f, err := d.openComplete(id)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return raft.SnapshotMeta{}, err // no damage: permissions, open files, a disk that is gone
		}
		if err == nil {
			meta, refused, damage := d.read(f, id, load)
			if damage == nil {
				return meta, refused
			}
			err = damage
		}
		d.fault(err)
		faults = append(faults, err)
		if errors.Is(err, ErrDamaged) {
			d.setAside(id)
		}
	}
	if aside, err := d.list(damagedSuffix); err == nil && faults == nil && len(aside) > 0 {
		faults = append(faults, fmt.Errorf("%s was set aside earlier", d.file(aside[0], damagedSuffix)))
	}
	if faults != nil {
		return raft.SnapshotMeta{}, fmt.Errorf("%s: no usable snapshot: %w: %w", d.path, errors.Join(faults...), ErrDamaged)
	}
	return raft.SnapshotMeta{}, fmt.Errorf("%s: %w", d.path, ErrNotFound)
}

// RestoreOr is what a node starts from: Restore, or the first configuration
// and no state. If there were snapshots and none can be used, the log
// starts behind them, and the core asks a leader for one.
func (d *Dir) RestoreOr(birth raft.Configuration, load func(raft.SnapshotMeta, io.Reader) error) (raft.SnapshotMeta, error) {
	meta, err := d.Restore(load)
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrDamaged) {
		return raft.SnapshotMeta{Config: birth}, nil
	}
	return meta, err
}

// Newest is Restore for who needs the description only; it reads all of the file too.
func (d *Dir) Newest() (raft.SnapshotMeta, error) { return d.Restore(verify) }

// verify is a load that only reads.
func verify(_ raft.SnapshotMeta, r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	return err
}

// read hands the content of one complete file, as the disk has it, to load, and closes it. err
// is what is wrong with the file; only if nothing is does it count what load says.
func (d *Dir) read(f File, id raft.EntryID, load func(raft.SnapshotMeta, io.Reader) error) (meta raft.SnapshotMeta, loadErr, err error) {
	defer f.Close()
	f.DropCache()
	c, err := openContent(f, id)
	if err == nil {
		meta = c.s.meta
		loadErr, err = load(meta, c), c.err
	}
	switch {
	case err == nil && loadErr == nil:
		return meta, fmt.Errorf("load %s: it was not read to its end", d.file(id, "")), nil
	case err == nil || err == io.EOF:
		return meta, loadErr, nil
	}
	return meta, nil, fmt.Errorf("verify %s: %w", d.file(id, ""), err)
}

// SetAside takes a snapshot out of use, for a caller that found its content
// wrong: it is kept under another name until a newer one is complete.
func (d *Dir) SetAside(id raft.EntryID) error {
	err := d.fs.Rename(d.file(id, ""), d.file(id, damagedSuffix))
	if err == nil {
		err = d.fs.SyncDir(d.path)
	}
	if err != nil {
		return fmt.Errorf("set snapshot %v aside: %w", id, err)
	}
	return nil
}

// setAside is SetAside where going on matters more: the next start meets the file again.
func (d *Dir) setAside(id raft.EntryID) {
	if err := d.SetAside(id); err != nil {
		d.fault(err)
	}
}

// Size returns the bytes of the newest complete file, 0 if there is none.
func (d *Dir) Size() (uint64, error) {
	ids, err := d.list("")
	if err != nil || len(ids) == 0 {
		return 0, err
	}
	return d.size(ids[0], "")
}

func (d *Dir) size(id raft.EntryID, suffix string) (uint64, error) {
	f, err := d.fs.Open(d.file(id, suffix), false)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	n, err := f.Size()
	return uint64(n), err
}

// Faults returns what went wrong beside the results since the last call:
// damaged files, files that could not be removed. For the log.
func (d *Dir) Faults() []error {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := d.faults
	d.faults = nil
	return out
}

func (d *Dir) fault(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.faults) < faultsMax {
		d.faults = append(d.faults, err)
	}
}

// publish gives a synced file its final name and makes that durable.
func (d *Dir) publish(id raft.EntryID, suffix string) error {
	if err := d.fs.Rename(d.file(id, suffix), d.file(id, "")); err != nil {
		return err
	}
	// After an error here the file may be there after a crash, or not. It is
	// whole, so it may stay; but nobody may rely on it, so the caller hears.
	return d.fs.SyncDir(d.path)
}

// retire removes what the new complete file made needless. That one is durable,
// so errors are faults only: what stays costs space, not safety.
func (d *Dir) retire(made raft.EntryID) {
	ids, err := d.list("")
	if err != nil {
		d.fault(err)
		return
	}
	d.mu.Lock()
	served := d.served
	d.mu.Unlock()
	var older uint64
	oldest := 0 // position of the oldest one that stays
	for i, id := range ids {
		if i > 0 {
			size, err := d.size(id, "")
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				d.fault(err)
			}
			older += size
		}
		if id == made || (i < d.opt.Keep || i == 1 && id == served) && older <= d.opt.KeepBytes {
			oldest = i
			continue
		}
		if err := d.remove(d.file(id, "")); err != nil {
			d.fault(err)
		}
	}
	aside, err := d.list(damagedSuffix)
	if err != nil {
		d.fault(err)
	}
	for _, id := range aside {
		if len(ids) > 0 && newestFirst(id, ids[oldest]) > 0 {
			if err := d.remove(d.file(id, damagedSuffix)); err != nil {
				d.fault(err)
			}
		}
	}
}

// remove removes a file of ours; one that is gone already is no error.
func (d *Dir) remove(path string) error {
	if err := d.fs.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", path, err)
	}
	return nil
}

// openComplete opens a complete file. The error wraps ErrNotFound (and
// fs.ErrNotExist, which transport looks for) if there is none.
func (d *Dir) openComplete(id raft.EntryID) (File, error) {
	f, err := d.fs.Open(d.file(id, ""), false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("snapshot %v: %w: %w", id, ErrNotFound, fs.ErrNotExist)
	}
	if err != nil {
		return nil, fmt.Errorf("open snapshot %v: %w", id, err)
	}
	return f, nil
}

const (
	nameSuffix    = ".snap"
	tempSuffix    = ".tmp"
	partSuffix    = ".part"
	damagedSuffix = ".damaged"
)

// file is the path of the snapshot up to id; suffix is empty for a complete one.
func (d *Dir) file(id raft.EntryID, suffix string) string {
	return filepath.Join(d.path, fmt.Sprintf("%016x-%016x%s%s", uint64(id.Term), uint64(id.Index), nameSuffix, suffix))
}

// list returns the snapshots that have a file with this suffix, newest first.
func (d *Dir) list(suffix string) ([]raft.EntryID, error) {
	names, err := d.fs.ReadDir(d.path)
	if err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	var ids []raft.EntryID
	for _, name := range names {
		if id, ok := parseName(name, suffix); ok {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, newestFirst)
	return ids, nil
}

// parseName takes exactly the names that file makes.
func parseName(name, suffix string) (raft.EntryID, bool) {
	const hex = 16
	stem, ok := strings.CutSuffix(name, nameSuffix+suffix)
	if !ok || len(stem) != 2*hex+1 || stem[hex] != '-' || strings.ToLower(stem) != stem {
		return raft.EntryID{}, false
	}
	term, err1 := strconv.ParseUint(stem[:hex], 16, 64)
	index, err2 := strconv.ParseUint(stem[hex+1:], 16, 64)
	if err1 != nil || err2 != nil || index == 0 {
		return raft.EntryID{}, false
	}
	return raft.EntryID{Term: raft.Term(term), Index: raft.Index(index)}, true
}

// newestFirst orders by index: that is how much of the log a state contains.
func newestFirst(a, b raft.EntryID) int {
	return cmp.Or(cmp.Compare(b.Index, a.Index), cmp.Compare(b.Term, a.Term))
}
