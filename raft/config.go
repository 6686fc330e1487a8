package raft

import "errors"

// Config is what a core needs to know of its node. New refuses one that is out of bounds.
type Config struct {
	ID   NodeID // not None
	Boot uint64 // of this start of the process: above those of all earlier ones, not zero; a copy of the directory draws another
	Seed uint64 // of the election jitter: any value; different on each node

	// ElectionTicks is how long a follower waits for a leader before it stands
	// itself, before jitter of as much again. At least 3 heartbeats.
	ElectionTicks  int
	HeartbeatTicks int // pause between heartbeats, at least 1
	// StartTicks is how long a node that starts waits for a leader before it makes
	// its first bid, times its place among the voters, which keeps them from splitting
	// the vote. It costs nothing where there is a leader: nobody who hears one grants
	// a pre-vote. Zero: an election timeout, as ever.
	StartTicks int

	MaxAppendBytes      int // entries in one message, at least one entry
	MaxInflight         int // messages under way to one follower, at least 1
	MaxInflightBytes    int // bytes under way to one follower, at least one message
	MaxWriteBytes       int // entries in one Write, at least one entry
	MaxWrites           int // writes under way to the disk: 1 in production, the simulator uses 3
	MaxUncommittedBytes int // proposals above commit; at the bound Propose says ErrBusy
	MaxRetainedBytes    int // the whole log in memory; at the bound a leader says ErrBusy and a follower takes no entries
}

// DefaultConfig has every field but ID, Boot and Seed, for a tick of 10 ms.
func DefaultConfig() Config {
	return Config{
		ElectionTicks:       50,
		HeartbeatTicks:      5,
		MaxAppendBytes:      1 << 20,
		MaxInflight:         64,
		MaxInflightBytes:    16 << 20,
		MaxWriteBytes:       8 << 20,
		MaxWrites:           1,
		MaxUncommittedBytes: 64 << 20,
		MaxRetainedBytes:    1 << 30,
	}
}

// Validate reports every field that is out of bounds.
func (c Config) Validate() error {
	var errs []error
	check := func(ok bool, what string) {
		if !ok {
			errs = append(errs, errors.New("raft config: "+what))
		}
	}
	check(c.ID != None, "no ID")
	check(c.Boot != 0, "no Boot")
	check(c.HeartbeatTicks >= 1, "HeartbeatTicks below 1")
	check(c.StartTicks >= 0, "StartTicks below 0")
	check(c.ElectionTicks >= 3*c.HeartbeatTicks, "ElectionTicks below 3 heartbeats")
	check(c.MaxAppendBytes >= 1, "MaxAppendBytes below 1")
	check(c.MaxInflight >= 1, "MaxInflight below 1")
	check(c.MaxInflightBytes >= 1, "MaxInflightBytes below 1")
	check(c.MaxWriteBytes >= 1, "MaxWriteBytes below 1")
	check(c.MaxWrites >= 1, "MaxWrites below 1")
	check(c.MaxUncommittedBytes >= 1, "MaxUncommittedBytes below 1")
	check(c.MaxRetainedBytes >= 1, "MaxRetainedBytes below 1")
	return errors.Join(errs...)
}
