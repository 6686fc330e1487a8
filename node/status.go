package node

import (
	"fmt"

	"github.com/raftkv/raftkv/raft"
)

// Status is what people ask about a node.
type Status struct {
	Name          string         `json:"name"`
	ID            string         `json:"id"`
	Cluster       string         `json:"cluster"`
	Version       string         `json:"version"`
	Role          string         `json:"role"`
	Leader        string         `json:"leader"`      // id, empty if none is known
	LeaderName    string         `json:"leader_name"` // empty if it is not in the configuration
	Term          uint64         `json:"term"`
	Vote          string         `json:"vote"` // empty if none was given in this term
	LastIndex     uint64         `json:"last_index"`
	StableIndex   uint64         `json:"stable_index"`
	CommitIndex   uint64         `json:"commit_index"`
	AppliedIndex  uint64         `json:"applied_index"`
	StateHash     string         `json:"state_hash"` // at applied_index; equal on all nodes at equal index
	Lag           uint64         `json:"lag"`        // entries that are committed and not applied
	LogBytes      int            `json:"log_bytes"`
	LogFirstIndex uint64         `json:"log_first_index"`
	SnapshotIndex uint64         `json:"snapshot_index"`
	SnapshotBytes uint64         `json:"snapshot_bytes"` // zero if it was there at start
	SnapshotTime  int64          `json:"snapshot_time"`  // its log time, in seconds since the Unix epoch; 0: there is none
	Ready         bool           `json:"ready"`
	Fence         string         `json:"fence,omitempty"`
	Refetch       bool           `json:"refetch,omitempty"`      // no usable snapshot here: waits for one of the leader's
	Forgotten     int            `json:"forgotten,omitempty"`    // members that came back with less than they had acknowledged
	Level         uint32         `json:"level"`                  // of commands and meanings in force
	MaxLevel      uint32         `json:"max_level"`              // that this binary knows
	AgreedIndex   uint64         `json:"agreed_index,omitempty"` // newest entry at which a majority of the voters was seen to have this node's state
	Differ        []string       `json:"differ,omitempty"`       // members whose state was another one when it was compared last
	LowSpace      bool           `json:"low_space,omitempty"`
	Transfer      string         `json:"transfer,omitempty"` // leadership is being handed to it
	Members       []MemberStatus `json:"members"`
	UptimeSeconds float64        `json:"uptime_seconds"`
	// SilenceSeconds is how long this node has neither led nor followed a leader, to a
	// fraction of an election timeout: what it shows may be older by so much, and by Lag.
	SilenceSeconds float64 `json:"silence_seconds"`
	Boot           string  `json:"boot"`
}

// MemberStatus is one member. Match, next and active are known on the leader only.
type MemberStatus struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Peer    string `json:"peer"`
	Client  string `json:"client"`
	HTTP    string `json:"http"`
	Learner bool   `json:"learner"`
	Match   uint64 `json:"match"`
	Next    uint64 `json:"next"`
	Active  bool   `json:"active"`
	Fetched uint64 `json:"fetched,omitempty"` // bytes of the snapshot that it is fetching
	Full    bool   `json:"full,omitempty"`    // it takes no entries: space or memory
	Low     bool   `json:"low,omitempty"`     // its disk is short of space
}

func idText(id raft.NodeID) string {
	if id == raft.None {
		return ""
	}
	return id.String()
}

// Status tells the state of the node. UptimeSeconds counts ticks.
func (r *Replica) Status() Status {
	c := r.core.Status()
	s := Status{
		Name:          r.cfg.Name,
		ID:            idText(c.ID),
		Cluster:       r.cfg.Cluster,
		Version:       r.cfg.Version,
		Role:          c.Role.String(),
		Leader:        idText(c.Leader),
		Term:          uint64(c.Term),
		Vote:          idText(c.Vote),
		LastIndex:     uint64(c.Last.Index),
		StableIndex:   uint64(c.Stable),
		CommitIndex:   uint64(c.Commit),
		AppliedIndex:  uint64(r.applied),
		StateHash:     fmt.Sprintf("%x", r.hash),
		LogBytes:      c.LogBytes,
		LogFirstIndex: uint64(c.Base.Index) + 1,
		SnapshotIndex: uint64(r.snap.meta.Last.Index),
		SnapshotBytes: r.snap.bytes,
		SnapshotTime:  int64(r.snap.meta.Time) / 1_000_000_000,
		Ready:         r.isReady.Load(),
		Refetch:       c.Refetch,
		Forgotten:     c.Forgotten,
		Level:         r.level.inForce, MaxLevel: r.cfg.MaxLevel,
		AgreedIndex:    uint64(r.compare.agreed),
		LowSpace:       r.space.Low,
		Transfer:       idText(c.Transfer),
		Members:        make([]MemberStatus, 0, len(c.Config.Members)),
		UptimeSeconds:  float64(r.tick) * r.cfg.Tick.Seconds(),
		SilenceSeconds: float64(r.tick-r.inTouch) * r.cfg.Tick.Seconds(),
		Boot:           fmt.Sprintf("%x", r.cfg.Raft.Boot),
	}
	if c.Ready {
		s.SilenceSeconds = 0
	}
	if c.Commit > r.applied {
		s.Lag = uint64(c.Commit - r.applied)
	}
	for _, id := range r.compare.differ {
		s.Differ = append(s.Differ, idText(id))
	}
	switch c.Fence {
	case raft.FenceOneBack:
		s.Fence = "one write may be forgotten"
	case raft.FenceForever:
		s.Fence = "the disk is an older copy; remove this node and let it rejoin"
	}
	if m, ok := c.Config.Find(c.Leader); ok {
		s.LeaderName = m.Name
	}
	for _, m := range c.Config.Members {
		t := MemberStatus{
			ID: idText(m.ID), Name: m.Name, Peer: m.Peer, Client: m.Client, HTTP: m.HTTP, Learner: m.Learner,
			Active: m.ID == c.ID,
		}
		for _, f := range c.Followers {
			if f.ID == m.ID {
				t.Match, t.Next, t.Fetched, t.Full, t.Low = uint64(f.Match), uint64(f.Next), f.Fetched, f.Full, f.Low
				t.Active = t.Active || f.Active
			}
		}
		if m.ID == c.ID {
			t.Full, t.Low = r.space.Full, r.space.Low
			t.Match, t.Next = uint64(c.Stable), uint64(c.Last.Index)+1
		}
		s.Members = append(s.Members, t)
	}
	return s
}
