package rafttest

import (
	"encoding/binary"

	"github.com/raftkv/raftkv/raft"
)

// App is a state machine that remembers nothing but a hash of all that it was given, in order.
type App struct {
	Last   raft.EntryID
	Time   raft.Time
	Hash   [16]byte
	Config raft.Configuration
}

// apply returns the state after e.
func (a App) apply(e raft.Entry) App {
	check(e.Index == a.Last.Index+1, "entry %v applied behind %v", e.EntryID, a.Last)
	check(e.Time >= a.Time, "time of entry %v goes back", e.EntryID)
	a.Last, a.Time = e.EntryID, e.Time
	h := binary.LittleEndian.Uint64(a.Hash[:])
	h = (h^sum(e))*0x9E3779B97F4A7C15 + uint64(e.Index)
	binary.LittleEndian.PutUint64(a.Hash[:], h^h>>29)
	if e.Type == raft.EntryConfig {
		c, err := raft.DecodeConfiguration(e.Data)
		check(err == nil, "configuration in %v: %v", e.EntryID, err)
		a.Config = c
	}
	return a
}

// Meta describes a snapshot of the state.
func (a App) Meta() raft.SnapshotMeta {
	return raft.SnapshotMeta{Last: a.Last, Config: a.Config, Time: a.Time, Level: 1, Hash: a.Hash}
}

// sum is FNV-1a over everything in an entry.
func sum(e raft.Entry) uint64 {
	h := uint64(0xcbf29ce484222325)
	mix := func(v uint64) { h = (h ^ v) * 0x100000001b3 }
	mix(uint64(e.Term))
	mix(uint64(e.Index))
	mix(uint64(e.Type))
	mix(uint64(e.Time))
	for _, b := range e.Data {
		mix(uint64(b))
	}
	return h
}
