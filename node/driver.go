package node

import "github.com/raftkv/raftkv/raft"

// Driver is what a Replica drives. Its methods return at once and are called
// from Handle and Flush only; what they lead to comes back as an Event, later.
// No more is asked of a port than the limits allow, so none of them is ever full.
type Driver interface {
	// WriteLog makes a write durable, in the order of calls; Wrote answers. At
	// most raft.Config.MaxWrites are under way. There is no answer for a write
	// that failed: the process ends.
	WriteLog(w *raft.Write)
	// Apply hands a job to the Applier, in the order of calls; JobDone answers.
	// At most Config.MaxJobs are under way, and one more after Stop. The job belongs to the applier until then.
	Apply(j *Job)
	// Fetch makes another node's snapshot durable; FetchProgress and Fetched
	// answer. One is under way at most.
	Fetch(from raft.NodeID, meta raft.SnapshotMeta)
	// StopFetch breaks the fetch off; Fetched still comes.
	StopFetch()

	// Fatal tells that the node must not go on.
	Fatal(err error)

	// The rest is as in Network.
	Send(ms []raft.Message)
	SendPacket(to raft.NodeID, token uint64, b []byte) (conn uint64, err error)
	SetMembers(c raft.Configuration)
}

// Job is one turn of the applier: what its fields say, in their order.
// Replica makes it, Applier works it off, Replica takes it back.
type Job struct {
	thaw    bool // give up the frozen view
	reads   []read
	restore *raft.SnapshotMeta // replace the state by this snapshot,
	before  int                // after so many of the reads
	entries []raft.Entry
	tickets []Ticket     // of the entries, ascending
	release []uint64     // reads whose leadership is confirmed
	drop    []uint64     // reads that must be forgotten without an answer
	verify  []raft.Index // entries at which the state's hash is wanted, ascending
	now     uint64       // tick: released reads whose deadline has come are answered
	freeze  bool         // fix a view for a snapshot

	// Filled by the applier.
	done        []doneRead
	last        raft.EntryID // what is applied
	hash        [16]byte     // of the state at last
	deadline    raft.Time    // next time at which the state changes by itself
	hasDeadline bool
	restoreErr  error
	freezeErr   error
	level       uint32   // of the machine
	verified    []report // at the entries of verify; from is not set
	results     [][]byte // of the tickets of other nodes' commands, in order
}

// Entries tells how many entries the job applies, and Bytes about how much
// data that is: a simulator makes the job's duration from it.
func (j *Job) Entries() int { return len(j.entries) }

// Bytes is the size of the entries' data.
func (j *Job) Bytes() int {
	n := 0
	for i := range j.entries {
		n += len(j.entries[i].Data)
	}
	return n
}

// Restores tells whether the job replaces the state by a snapshot.
func (j *Job) Restores() bool { return j.restore != nil }

func (j *Job) empty() bool {
	return !j.thaw && j.restore == nil && len(j.reads) == 0 && len(j.entries) == 0 &&
		len(j.release) == 0 && len(j.drop) == 0 && j.now == 0 && !j.freeze
}

// reset makes the job as new, but for the room of its slices.
func (j *Job) reset() {
	clear(j.reads)
	clear(j.tickets)
	clear(j.done)
	clear(j.results)
	*j = Job{
		reads:    j.reads[:0],
		tickets:  j.tickets[:0],
		release:  j.release[:0],
		drop:     j.drop[:0],
		verify:   j.verify[:0],
		done:     j.done[:0],
		results:  j.results[:0],
		verified: j.verified[:0],
	}
}

// read is one read on its way through the applier. It is evaluated at the first
// applied index that is at least index, and answered once group is released.
type read struct {
	conn     *Conn
	slot     uint64
	data     []byte
	index    raft.Index
	group    uint64 // 0: a stale read, which needs no release
	deadline uint64 // tick
}

// doneRead tells the loop that a read was answered.
type doneRead struct {
	conn  *Conn
	index raft.Index // at which it was evaluated, zero if it was not
	stale bool
}
