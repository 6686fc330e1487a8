package rafttest

import (
	"encoding/binary"
	"maps"
	"slices"

	"github.com/raftkv/raftkv/raft"
)

// Branch copies the cluster, so that one node may go on from here twice. That
// node and what the checker knows are copied; the other nodes are shared and must
// not be touched by either.
func (c *Cluster) Branch(id raft.NodeID) *Cluster {
	b := *c
	b.Nodes = slices.Clone(c.Nodes)
	b.Net = slices.Clip(c.Net)
	b.Check = c.Check.clone()
	for i, n := range b.Nodes {
		if n.ID == id {
			b.Nodes[i] = n.clone()
		}
	}
	return &b
}

func (n *Node) clone() *Node {
	k := *n
	if n.Core != nil {
		k.Core = n.Core.Clone()
	}
	d := &k.Disk
	d.Durable.Entries, d.Flight, d.before = slices.Clip(d.Durable.Entries), slices.Clip(d.Flight), slices.Clip(d.before)
	k.Queue, k.Ready, k.Lost = slices.Clip(n.Queue), slices.Clip(n.Ready), slices.Clip(n.Lost)
	return &k
}

func (k *Checker) clone() *Checker {
	c := &Checker{
		leaders:   make(map[raft.Term]*reign, len(k.leaders)),
		entries:   maps.Clone(k.entries),
		committed: slices.Clip(k.committed),
		votes:     maps.Clone(k.votes),
		states:    maps.Clone(k.states),
		nodes:     make(map[raft.NodeID]*seen, len(k.nodes)),
		reads:     maps.Clone(k.reads),
	}
	for t, g := range k.leaders {
		r := *g
		r.log = slices.Clip(g.log)
		c.leaders[t] = &r
	}
	for id, s := range k.nodes {
		v := *s
		c.nodes[id] = &v
	}
	return c
}

// AppendState appends all of a node that decides what it can still do, and what
// may still be found wrong with it. What stood on the disk one write ago belongs
// to it where a Forget may come.
func (n *Node) AppendState(b []byte, c *Checker, as raft.Naming, forget bool) []byte {
	d := &n.Disk
	if n.Core != nil {
		b = n.Core.AppendState(b, as)
	}
	b = num(b, uint64(d.Durable.Fence), flag(d.Ghost), flag(n.Core != nil), flag(n.Gather), flag(n.HoldApply))
	b = appendHard(b, d.Durable.State, as)
	b = appendIDs(b, d.Durable.Base, d.Durable.Entries)
	b = num(b, uint64(d.Durable.Snapshot.Last.Index), uint64(len(d.Flight)))
	for _, w := range d.Flight {
		b = num(appendHard(b, w.State, as), flag(w.Reset), uint64(w.Fence))
		b = appendIDs(b, w.Base, w.Entries)
	}
	if forget {
		b = num(b, uint64(len(d.before)))
		for _, o := range d.before {
			b = appendIDs(b, o.base, o.entries)
		}
	}
	b = appendIDs(b, n.App.Last, n.Queue)
	if n.Fetch != nil {
		b = num(b, uint64(as.ID(n.Fetch.From)), uint64(n.Fetch.Meta.Last.Index))
	}
	return num(b, uint64(c.nodes[n.ID].leads))
}

func num(b []byte, vs ...uint64) []byte {
	for _, v := range vs {
		b = binary.AppendUvarint(b, v)
	}
	return b
}

func flag(f bool) uint64 {
	if f {
		return 1
	}
	return 0
}

func appendHard(b []byte, s raft.HardState, as raft.Naming) []byte {
	return num(b, uint64(s.Term), uint64(as.ID(s.Vote)), uint64(s.Commit))
}

// appendIDs appends which entries these are. What is in them follows: the checker
// has compared the contents.
func appendIDs(b []byte, base raft.EntryID, es []raft.Entry) []byte {
	b = num(b, uint64(base.Term), uint64(base.Index), uint64(len(es)))
	for _, e := range es {
		b = num(b, uint64(e.Term), uint64(e.Index))
	}
	return b
}

// AppendState appends what the checker knows and the nodes do not show, without
// names: what was committed and when, what the leaders had whose terms can still
// be heard of, and the reads that wait. who is told the leaders, in order.
func (k *Checker) AppendState(b []byte, c *Cluster, who func(raft.Term, raft.NodeID)) []byte {
	b = num(b, uint64(len(k.committed)))
	for _, m := range k.committed {
		b = num(b, uint64(m.EntryID.Term), uint64(m.term), m.sum)
	}
	oldest := raft.Term(1 << 62)
	for _, n := range c.Nodes {
		oldest = min(oldest, n.Disk.Durable.State.Term)
	}
	for t := oldest; t <= k.Term(); t++ {
		g := k.leaders[t]
		b = num(b, flag(g != nil))
		if g == nil {
			continue
		}
		who(t, g.id)
		b = num(b, uint64(g.base.Term), uint64(g.base.Index), uint64(len(g.log)))
		for _, e := range g.log {
			b = num(b, uint64(e.Term), uint64(e.Index))
		}
	}
	// The id of a read is drawn from one count in a search, so it names its node too.
	reads := make([]string, 0, len(k.reads))
	for q, a := range k.reads {
		reads = append(reads, string(num(nil, q.id, uint64(a.index), uint64(a.floor))))
	}
	slices.Sort(reads)
	for _, r := range reads {
		b = append(b, r...)
	}
	return b
}

// DurableOn counts the disks of voters that hold the newest committed entry.
func (c *Cluster) DurableOn(voters []raft.NodeID) (have int) {
	k := c.Check
	if len(k.committed) == 0 {
		return len(voters)
	}
	id := k.committed[len(k.committed)-1].EntryID
	for _, n := range c.Nodes {
		if slices.Contains(voters, n.ID) && (n.Disk.Ghost || n.Disk.Holds(id)) {
			have++
		}
	}
	return have
}
