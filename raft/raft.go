package raft

// Raft is one node's part of the protocol. It is a value without clock,
// goroutine or I/O; its owner calls it from one goroutine.
type Raft struct {
	cfg Config
}

// New makes a core from what the disk holds.
func New(cfg Config, d Durable) (*Raft, error) { panic("in work") }

// Tick tells that one tick of time has passed.
func (r *Raft) Tick() { panic("in work") }

// Receive takes a message of another core. Any message may come, at any time.
func (r *Raft) Receive(m Message) { panic("in work") }

// Propose appends data to the leader's log. Errors: *NotLeaderError, ErrBusy, ErrTransfer.
func (r *Raft) Propose(data []byte, now Time) (EntryID, error) { panic("in work") }

// ChangeMember adds or changes (m) or removes (nil) one member. Errors:
// *NotLeaderError, ErrNotReady, ErrPending, ErrTransfer, *ChangeError.
func (r *Raft) ChangeMember(id NodeID, m *Member) (EntryID, error) { panic("in work") }

// CheckChange says what ChangeMember would answer, and changes nothing.
func (r *Raft) CheckChange(id NodeID, m *Member) error { panic("in work") }

// Read asks for a confirmation of leadership under id, which is fresh at each
// attempt, and returns the read index, fixed now: a read may be evaluated once
// that is applied, and answered once id has come in Output.Reads. If it comes in
// Output.Lost instead, what was evaluated must be thrown away. Error: *NotLeaderError.
func (r *Raft) Read(id uint64) (Index, error) { panic("in work") }

// Transfer hands leadership to a voter. Errors: *NotLeaderError, *ChangeError.
func (r *Raft) Transfer(to NodeID) error { panic("in work") }

// Wrote tells that the disk finished every write up to seq.
func (r *Raft) Wrote(seq uint64) { panic("in work") }

// Applied tells that entries up to i are applied: it frees what is only kept for that.
func (r *Raft) Applied(i Index) { panic("in work") }

// Compact tells of a durable snapshot of this node; entries below keepFrom may go.
func (r *Raft) Compact(s SnapshotMeta, keepFrom Index) { panic("in work") }

// Installed tells that a fetched snapshot is durable. It returns true if the
// state machine must be replaced by it, before anything of a later Output.Committed is applied.
func (r *Raft) Installed(s SnapshotMeta) (replace bool) { panic("in work") }

// Fetching tells how many bytes of an offered snapshot are here.
func (r *Raft) Fetching(s EntryID, bytes uint64) { panic("in work") }

// Unreachable tells that a node's connection was reset and redialling refused:
// its process is gone. A follower of it starts a pre-vote at once.
func (r *Raft) Unreachable(id NodeID) { panic("in work") }

// SetFull tells whether this node's disk is short of space: it takes no entries then.
func (r *Raft) SetFull(full bool) { panic("in work") }

// SetFence raises the fence, for instance when a peer has heard more of this
// node than its disk knows. The next Write stores it.
func (r *Raft) SetFence(f Fence) { panic("in work") }

// Output derives what to do now. Call it after a batch of inputs.
func (r *Raft) Output(room Room) Output { panic("in work") }

// Status is the state of the core, for people.
func (r *Raft) Status() Status { panic("in work") }

// Status is a copy of what people ask about a core.
type Status struct {
	ID        NodeID
	Role      Role
	Term      Term
	Vote      NodeID
	Leader    NodeID
	Last      EntryID // end of the log in memory
	Stable    Index   // end of the log on disk
	Commit    Index
	Handed    Index   // committed entries handed to the applier
	Base      EntryID // the log starts after it
	LogBytes  int     // of the retained log in memory
	Ready     bool    // leader that has committed an entry of its term, or follower that heard one lately
	Fence     Fence
	Transfer  NodeID // leadership is being handed to it
	Config    Configuration
	Committed Configuration // newest one that is committed
	Followers []FollowerStatus
}

// FollowerStatus is what a leader knows of one member.
type FollowerStatus struct {
	ID      NodeID
	Match   Index
	Next    Index
	Active  bool   // answered within an election timeout
	Fetched uint64 // bytes of the snapshot that it is fetching
	Full    bool
}
