package node

import "sync/atomic"

// Metrics counts what a node did since its start. Anybody may read it at any time.
type Metrics struct {
	Proposals      atomic.Uint64 // commands that this node appended as leader
	Applied        atomic.Uint64 // entries applied
	Batches        atomic.Uint64 // jobs of the applier with entries
	Reads          atomic.Uint64 // linearizable reads asked
	ReadRounds     atomic.Uint64 // confirmations that they shared
	StaleReads     atomic.Uint64
	ReadsLost      atomic.Uint64 // reads whose confirmation was lost with the leadership
	Writes         atomic.Uint64 // writes to the store
	WriteEntries   atomic.Uint64 // entries in them
	WriteBytes     atomic.Uint64 // bytes of data in them
	WriteNanos     atomic.Uint64 // time that they took
	Messages       atomic.Uint64 // handed to the network
	Received       atomic.Uint64 // messages taken from peers
	Dropped        atomic.Uint64 // messages of peers that found no room in the inbox
	Forwarded      atomic.Uint64 // commands sent to a leader
	Served         atomic.Uint64 // commands of other nodes that were proposed here
	ServedRefused  atomic.Uint64 // commands and reads of other nodes that were refused
	ServedDropped  atomic.Uint64 // forwards dropped as repeated or late
	Malformed      atomic.Uint64 // packets that could not be read
	Refused        atomic.Uint64 // requests answered "not applied"
	Unknown        atomic.Uint64 // requests answered "unknown"
	Retried        atomic.Uint64 // attempts that surely did nothing and were made again
	Busy           atomic.Uint64 // requests refused for want of room
	TimeEntries    atomic.Uint64 // entries proposed only to let time pass
	Snapshots      atomic.Uint64 // saved
	SnapshotErrors atomic.Uint64
	Fetches        atomic.Uint64 // fetched from another node
	FetchErrors    atomic.Uint64
	Diverged       atomic.Uint64 // times that another node's state was found to be another one
	RoleChanges    atomic.Uint64
	Ticks          atomic.Uint64

	Waiting atomic.Int64 // gauge: requests that wait for a leader or an earlier one
	Open    atomic.Int64 // gauge: requests under way
	Differ  atomic.Int64 // gauge: members whose state was another one when it was compared last
}
