package rafttest

import (
	"fmt"
	"slices"

	"github.com/raftkv/raftkv/raft"
)

// Cluster is some cores, their disks, and the messages between them.
type Cluster struct {
	Nodes []*Node     // ascending by ID
	Net   []*Envelope // sent and not yet delivered, in order of sending
	Check *Checker

	// Trace, if not nil, is told in one line what happens.
	Trace func(line string)
	// Config makes the configuration of a node that starts; ID and Boot are set
	// afterwards. Nil means raft.DefaultConfig.
	Config func(id raft.NodeID) raft.Config
	// Sent, if not nil, is called for each message instead of queueing it in Net.
	Sent func(*Envelope)
	// Disloyal nodes never hold on to a leader that they hear: nothing that keeps
	// data safe may rest on stickiness.
	Disloyal bool

	sent uint64
}

// Node is one core and what a driver keeps for it.
type Node struct {
	ID   raft.NodeID
	Core *raft.Raft // nil while it is down
	Disk Disk
	App  App
	Boot uint64

	Queue []raft.Entry  // committed, not yet applied
	Fetch *raft.Install // to be fetched
	Ready []raft.ReadReady
	Lost  []uint64
	Soft  raft.Soft

	// What the driver takes from Output. HoldWrites takes no writes at all.
	HoldWrites bool
	ApplyBytes int  // 0 is plenty
	HoldApply  bool // entries stay in Queue until Apply
	Gather     bool // a leader holds new commands back: Room.Hold

	Full bool // what SetFull said last
}

// Envelope is one message under way.
type Envelope struct {
	raft.Message
	Number  uint64
	entries []uint64 // sums, as they were when it was sent
}

// New makes a cluster of n voters 1 to n that have stored the same Birth and were started.
func New(n int) *Cluster { return NewWith(n, nil) }

// NewWith is New with a configuration of the cores.
func NewWith(n int, config func(raft.NodeID) raft.Config) *Cluster {
	c := &Cluster{Check: newChecker(), Config: config}
	var birth raft.Configuration
	for id := raft.NodeID(1); id <= raft.NodeID(n); id++ {
		birth.Members = append(birth.Members, raft.Member{ID: id, Name: fmt.Sprint("n", id)})
	}
	for _, m := range birth.Members {
		c.Add(m.ID, raft.SnapshotMeta{Config: birth})
	}
	return c
}

// Add makes a node with an empty disk, but for its Birth, and starts it. A node
// that joins later has an empty Birth.
func (c *Cluster) Add(id raft.NodeID, birth raft.SnapshotMeta) *Node {
	n := &Node{ID: id}
	n.Disk.Durable.Snapshot = birth
	c.Check.state(App{Config: birth.Config})
	c.Nodes = append(c.Nodes, n)
	slices.SortFunc(c.Nodes, func(a, b *Node) int { return int(a.ID) - int(b.ID) })
	if err := c.Start(n); err != nil {
		panic(err)
	}
	return n
}

// Node finds a node by its ID. It panics if there is none.
func (c *Cluster) Node(id raft.NodeID) *Node {
	for _, n := range c.Nodes {
		if n.ID == id {
			return n
		}
	}
	panic(fmt.Sprintf("rafttest: no node %v", id))
}

// Start makes a core from what the disk holds.
func (c *Cluster) Start(n *Node) error {
	cfg := raft.DefaultConfig()
	if c.Config != nil {
		cfg = c.Config(n.ID)
	}
	n.Boot++
	cfg.ID, cfg.Boot = n.ID, uint64(n.ID)<<32+n.Boot
	core, err := raft.New(cfg, n.Disk.Load())
	if err != nil {
		return err
	}
	n.Core = core
	n.App = App{Config: n.Disk.Durable.Snapshot.Config}
	if last := n.Disk.Durable.Snapshot.Last; last != (raft.EntryID{}) {
		n.App = c.Check.stateAt(last)
	}
	n.Queue, n.Fetch, n.Ready, n.Lost, n.Soft = nil, nil, nil, nil, raft.Soft{}
	n.Gather, n.Full = false, false
	c.Check.started(n)
	c.did(n, "start")
	return nil
}

// Crash stops a node; of its writes in flight the first landed are durable.
func (c *Cluster) Crash(n *Node, landed int) {
	n.Disk.Crash(landed)
	n.Core = nil
	if c.Trace != nil {
		c.Trace(fmt.Sprintf("%v crash, disk %v last=%v", n.ID, n.Disk.Durable.State, n.Disk.Last()))
	}
}

// Do runs f on the core of a node that is up and verifies everything.
func (c *Cluster) Do(n *Node, f func(*raft.Raft)) {
	f(n.Core)
	c.verify(n)
}

func (c *Cluster) verify(n *Node) {
	n.Core.Verify()
	c.Check.stepped(c, n)
}

func (c *Cluster) did(n *Node, format string, args ...any) {
	if c.Disloyal {
		n.Core.Expire(raft.TimerLoyalty)
	}
	if c.Trace != nil {
		c.Trace(fmt.Sprintf("%v ", n.ID) + fmt.Sprintf(format, args...))
	}
	c.verify(n)
}

// Flush takes Output once and does what it says: messages into Net, the write
// to the disk, committed entries to the app or its queue.
func (c *Cluster) Flush(n *Node) raft.Output {
	room := raft.Room{Write: !n.HoldWrites, Apply: 1 << 30, Install: n.Fetch == nil, Hold: n.Gather}
	if n.ApplyBytes > 0 {
		room.Apply = n.ApplyBytes
	}
	out := n.Core.Output(room)
	if c.Trace != nil && !empty(out) {
		c.Trace(fmt.Sprintf("%v out %v", n.ID, out))
	}
	c.verify(n)
	for _, m := range out.Messages {
		c.Check.sent(c, n, m)
		c.sent++
		e := &Envelope{Message: m, Number: c.sent, entries: sums(m.Entries)}
		if c.Sent != nil {
			c.Sent(e)
		} else {
			c.Net = append(c.Net, e)
		}
	}
	if out.Write != nil {
		n.Disk.Submit(*out.Write)
	}
	if len(out.Committed) > 0 {
		n.Queue = append(n.Queue, out.Committed...)
	}
	for _, d := range out.Reads {
		c.Check.readReady(n, d)
	}
	for _, id := range out.Lost {
		c.Check.readLost(n, id)
	}
	c.Check.quiet(n)
	n.Ready, n.Lost = append(n.Ready, out.Reads...), append(n.Lost, out.Lost...)
	if out.Install != nil {
		n.Fetch = out.Install
	}
	if out.Soft != nil {
		n.Soft = *out.Soft
	}
	n.Gather = n.Gather && n.Core.Role() == raft.Leader
	if !n.HoldApply {
		c.Apply(n, len(n.Queue))
	}
	return out
}

func empty(o raft.Output) bool {
	return len(o.Messages)+len(o.Committed)+len(o.Reads)+len(o.Lost) == 0 && o.Write == nil && o.Install == nil && o.Soft == nil
}

// Apply applies the first k entries that wait in the queue and tells the core.
func (c *Cluster) Apply(n *Node, k int) {
	if k == 0 {
		return
	}
	for _, e := range n.Queue[:k] {
		n.App = n.App.apply(e)
		c.Check.state(n.App)
	}
	n.Queue = n.Queue[k:]
	c.Do(n, func(r *raft.Raft) { r.Applied(n.App.Last.Index) })
}

// Land makes the oldest write durable, and tells the core if confirm is set.
func (c *Cluster) Land(n *Node, confirm bool) {
	seq := n.Disk.Land()
	if confirm {
		c.Wrote(n, seq)
	}
}

// Wrote confirms writes to the core.
func (c *Cluster) Wrote(n *Node, seq uint64) {
	n.Core.Wrote(seq)
	c.did(n, "wrote %d", seq)
}

// Receive hands a message to its receiver, if that is up.
func (c *Cluster) Receive(e *Envelope) {
	check(slices.Equal(e.entries, sums(e.Entries)), "entries of a message changed after it was sent: %v", e.Message)
	i := slices.IndexFunc(c.Nodes, func(n *Node) bool { return n.ID == e.To })
	if i < 0 || c.Nodes[i].Core == nil {
		return
	}
	n := c.Nodes[i]
	n.Core.Receive(e.Message)
	c.did(n, "got %v", e.Message)
}

func sums(es []raft.Entry) []uint64 {
	if len(es) == 0 {
		return nil
	}
	s := make([]uint64, len(es))
	for i := range es {
		s[i] = sum(es[i])
	}
	return s
}

// Bid makes a node stand for the next term as if all others had granted its
// pre-vote, which promises nothing. It is false if the node may not stand.
func (c *Cluster) Bid(n *Node) bool {
	if !n.Core.Expire(raft.TimerElection) {
		return false
	}
	for _, o := range c.Nodes {
		if o != n && n.Core.Role() == raft.PreCandidate {
			n.Core.Receive(raft.Message{Kind: raft.MsgPreVoteReply, From: o.ID, To: n.ID, Term: n.Core.Term() + 1, Granted: true})
		}
	}
	c.did(n, "bid")
	return true
}

// Expire lets one timer of a node run out. It is false where that changes nothing.
func (c *Cluster) Expire(n *Node, t raft.Timer) bool {
	if !n.Core.Expire(t) {
		return false
	}
	c.did(n, "timer %d", t)
	return true
}

// Tick lets one tick pass on a node.
func (c *Cluster) Tick(n *Node) { c.Do(n, (*raft.Raft).Tick) }

// Propose appends data on a node that leads.
func (c *Cluster) Propose(n *Node, data string, now raft.Time) (id raft.EntryID, err error) {
	id, err = n.Core.Propose([]byte(data), now)
	c.did(n, "propose %v %v", id, err)
	return id, err
}

// Read asks a node for a read under id.
func (c *Cluster) Read(n *Node, id uint64) (raft.Index, error) {
	index, err := n.Core.Read(id)
	if err == nil {
		c.Check.readAsked(n, id, index)
	}
	c.did(n, "read %d at %d %v", id, index, err)
	return index, err
}

// Change adds, changes or removes a member on a node that leads.
func (c *Cluster) Change(n *Node, id raft.NodeID, m *raft.Member) (at raft.EntryID, err error) {
	at, err = n.Core.ChangeMember(id, m)
	c.did(n, "change %v %v: %v %v", id, m, at, err)
	return at, err
}

// Snapshot makes a durable snapshot of the app, and lets the core drop entries below keepFrom.
func (c *Cluster) Snapshot(n *Node, keepFrom raft.Index) {
	meta := n.App.Meta()
	if meta.Last.Index < n.Disk.Durable.Snapshot.Last.Index {
		return
	}
	n.Disk.Durable.Snapshot = meta
	n.Core.Compact(meta, keepFrom)
	c.did(n, "snapshot %v keep from %d", meta.Last, keepFrom)
}

// Fetched ends the fetch under way: the snapshot is durable, the core decides what becomes of it.
func (c *Cluster) Fetched(n *Node) {
	meta := n.Fetch.Meta
	n.Fetch = nil
	state := c.Check.stateAt(meta.Last)
	check(state.Hash == meta.Hash, "snapshot %v has another state than the cluster had there", meta.Last)
	if meta.Last.Index > n.Disk.Durable.Snapshot.Last.Index {
		n.Disk.Durable.Snapshot = meta
	}
	replace := n.Core.Installed(meta)
	if replace {
		check(meta.Last.Index >= n.App.Last.Index, "snapshot %v replaces a state at %v", meta.Last, n.App.Last)
		n.App, n.Queue = state, nil
		n.Core.Applied(meta.Last.Index)
	}
	c.did(n, "installed %v replace=%v", meta.Last, replace)
}

// Unfetched ends the fetch under way without a snapshot.
func (c *Cluster) Unfetched(n *Node) {
	n.Fetch = nil
	n.Core.Fetching(raft.EntryID{}, 0)
	c.did(n, "fetched nothing")
}

// SetFull tells a node whether its disk is short of space.
func (c *Cluster) SetFull(n *Node, full bool) {
	n.Full = full
	n.Core.SetFull(full)
	c.did(n, "full %v", full)
}

// Unreachable tells a node that the process of another one is gone.
func (c *Cluster) Unreachable(n *Node, id raft.NodeID) {
	n.Core.Unreachable(id)
	c.did(n, "unreachable %v", id)
}

// Leader is the node that leads the highest term, or nil.
func (c *Cluster) Leader() *Node {
	var best *Node
	for _, n := range c.Nodes {
		if n.Core != nil && n.Core.Role() == raft.Leader && (best == nil || n.Core.Term() > best.Core.Term()) {
			best = n
		}
	}
	return best
}
