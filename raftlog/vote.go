package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/raftkv/raftkv/internal/smallfile"
	"github.com/raftkv/raftkv/raft"
)

// ballot is the second copy of what must never be forgotten. With one damaged
// meta page bbolt silently opens one transaction back, possibly past a vote.
// It is synced after bbolt's commit and before Write returns, and only when
// term, vote or fence change.
//
//	term 8 | vote 8 | seq 8 | fence 1      little-endian, in a small file of kind "raftvote"
type ballot struct {
	term  raft.Term
	vote  raft.NodeID
	seq   uint64 // of the Write that it belongs to
	fence raft.Fence
}

const (
	voteFile = "vote"
	voteKind = "raftvote"
	voteSize = 25
)

func writeBallot(dir string, v ballot) error {
	return smallfile.Write(filepath.Join(dir, voteFile), voteKind, appendBallot(nil, v))
}

func appendBallot(b []byte, v ballot) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(v.term))
	b = binary.LittleEndian.AppendUint64(b, uint64(v.vote))
	b = binary.LittleEndian.AppendUint64(b, v.seq)
	return append(b, byte(v.fence))
}

// readBallot returns an error that wraps fs.ErrNotExist if there is no file,
// ErrCorrupt if it is damaged.
func readBallot(dir string) (ballot, error) {
	path := filepath.Join(dir, voteFile)
	b, err := smallfile.Read(path, voteKind)
	switch {
	case errors.Is(err, smallfile.ErrDamaged):
		return ballot{}, fmt.Errorf("%w: %w", err, ErrCorrupt)
	case errors.Is(err, smallfile.ErrVersion):
		return ballot{}, fmt.Errorf("%w: %w", err, ErrVersion)
	case errors.Is(err, fs.ErrNotExist):
		return ballot{}, err
	case err != nil:
		return ballot{}, diskError(err)
	}
	v, err := decodeBallot(b)
	if err != nil {
		return ballot{}, fmt.Errorf("read %s: %w", path, err)
	}
	return v, nil
}

func decodeBallot(b []byte) (ballot, error) {
	if len(b) != voteSize || raft.Fence(b[24]) > raft.FenceForever {
		return ballot{}, fmt.Errorf("%d bytes, want %d, or no such fence: %w", len(b), voteSize, ErrCorrupt)
	}
	return ballot{
		term:  raft.Term(binary.LittleEndian.Uint64(b)),
		vote:  raft.NodeID(binary.LittleEndian.Uint64(b[8:])),
		seq:   binary.LittleEndian.Uint64(b[16:]),
		fence: raft.Fence(b[24]),
	}, nil
}

// newer tells whether v knows of something that bbolt's record has forgotten.
func (v ballot) newer(r *record) bool {
	return v.seq > r.seq || v.term > r.state.Term ||
		v.term == r.state.Term && v.vote != raft.None && r.state.Vote == raft.None
}
