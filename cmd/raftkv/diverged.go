package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/raftkv/raftkv/internal/smallfile"
	"github.com/raftkv/raftkv/node"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/snapshot"
)

// A node whose state was found to be wrong leaves this file: a small file with
// the entry (8 bytes, big endian) that a snapshot of another node must reach.
// It stays until such a snapshot is here, however often the process ends before.
const (
	divergedFile = "diverged"
	divergedKind = "diverged"
)

func (d *daemon) divergedPath() string { return filepath.Join(d.cfg.Node.DataDir, divergedFile) }

// noteDiverged makes sure that the next start does not use this state, and says so.
func (d *daemon) noteDiverged(e *node.DivergedError) string {
	err := smallfile.Write(d.divergedPath(), divergedKind, binary.BigEndian.AppendUint64(nil, uint64(e.Index)))
	if err != nil {
		return fmt.Sprintf("ending at once; the next start would use this state again, because that could not be noted (%v): empty %s and add the node anew: ",
			err, d.cfg.Node.DataDir)
	}
	return "ending at once; the next start sets the snapshots here aside and fetches the state from another node: "
}

// divergedAt is the entry that a fetched snapshot must reach, 0 if the own state is good.
func (d *daemon) divergedAt() (raft.Index, error) {
	b, err := smallfile.Read(d.divergedPath(), divergedKind)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return 0, nil
	case err == nil && len(b) != 8:
		err = fmt.Errorf("%s: %d bytes, want 8: %w", d.divergedPath(), len(b), smallfile.ErrDamaged)
		fallthrough
	case errors.Is(err, smallfile.ErrDamaged), errors.Is(err, smallfile.ErrVersion):
		return 0, exitWith(exitDamaged, fmt.Errorf("the state here is wrong, and from where on can't be read: %w; empty %s and add the node anew", err, d.cfg.Node.DataDir))
	case err != nil:
		return 0, err
	}
	index := raft.Index(binary.BigEndian.Uint64(b))
	d.refetching = true
	d.log.Warn("the state here was found to be wrong; it is fetched from another node", "index", uint64(index))
	return max(index, 1), nil
}

// setAside keeps all snapshots under other names.
func setAside(s *snapshot.Dir) error {
	ids, err := s.List()
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := s.SetAside(id); err != nil {
			return err
		}
	}
	return nil
}

// checkRefetch removes the note once a good state is here. It is called now and then.
func (d *daemon) checkRefetch() {
	if !d.refetching || d.node.Status().Refetch {
		return
	}
	err := os.Remove(d.divergedPath())
	if err == nil {
		err = smallfile.SyncDir(d.cfg.Node.DataDir)
	}
	if err != nil {
		d.log.Warn("the state is good again, but the next start will fetch it once more", "error", err)
	}
	d.refetching = false
	d.log.Info("the state was fetched from another node")
}
