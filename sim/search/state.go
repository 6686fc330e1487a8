package search

import (
	"fmt"
	"hash/maphash"
	"slices"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/rafttest"
)

// maxNet is far above what a budget puts under way: messages that answer each
// other without end come there.
const maxNet = 200

// state is a cluster, the messages under way, and what may still happen. It never
// changes once made; states share the nodes that no event has touched between them.
type state struct {
	c     *rafttest.Cluster // its Net is empty
	net   []*packet
	left  [kinds]uint8
	said  uint8       // proposals so far, on this way
	asked uint8       // reads so far, those of the prefix too
	open  raft.NodeID // in the middle of a turn: the next event is one of it; or none
	step  uint8       // of that turn
	nodes [][]uint64  // for each node, its hash under each order of the others
	forms forms
}

// packet is a message under way.
type packet struct {
	*rafttest.Envelope
	body uint64 // hash, without the names of sender and receiver
}

// forms is how states of one search are hashed.
type forms struct {
	seed  maphash.Seed
	names [][]raft.NodeID // permutations: names[p][i] is the name of node i+1. The first one changes nothing.
}

func newForms(b Budget) forms {
	f := forms{seed: maphash.MakeSeed(), names: [][]raft.NodeID{nil}}
	if b.symmetric() {
		f.names = [][]raft.NodeID{{1, 2, 3}, {1, 3, 2}, {2, 1, 3}, {2, 3, 1}, {3, 1, 2}, {3, 2, 1}}
	}
	return f
}

func (f *forms) rename(p int, id raft.NodeID) raft.NodeID {
	if f.names[p] == nil || id == 0 {
		return id
	}
	return f.names[p][id-1]
}

// boot leaves the count of starts and takes away the node's name that rafttest puts above it.
func boot(b uint64) uint64 { return b & (1<<32 - 1) }

// naming is how n sees the others: itself first, then a and b.
func naming(n, a, b raft.NodeID) raft.Naming {
	return raft.Naming{Boot: boot, ID: func(id raft.NodeID) raft.NodeID {
		switch id {
		case raft.None:
			return raft.None
		case n:
			return 1
		case a:
			return 2
		case b:
			return 3
		}
		panic(fmt.Sprintf("search: node %v has no name", id))
	}}
}

var sameNames = raft.Naming{Boot: boot, ID: func(id raft.NodeID) raft.NodeID { return id }}

// others are the two other nodes of three, ascending.
func others(n raft.NodeID) (a, b raft.NodeID) {
	switch n {
	case 1:
		return 2, 3
	case 2:
		return 1, 3
	}
	return 1, 2
}

func (s *state) branch(id raft.NodeID) *state {
	t := &state{
		c: s.c.Branch(id), net: slices.Clone(s.net), left: s.left, said: s.said, asked: s.asked, open: s.open, step: s.step,
		nodes: slices.Clone(s.nodes), forms: s.forms,
	}
	t.c.Sent = t.send
	return t
}

func (s *state) drop(i int) { s.net = slices.Delete(s.net, i, i+1) }

// send puts a message under way, unless one like it is.
func (s *state) send(e *rafttest.Envelope) {
	as := sameNames
	if len(s.forms.names) > 1 {
		as = naming(e.From, e.To, 6-e.From-e.To)
	}
	p := &packet{e, maphash.Bytes(s.forms.seed, e.Message.AppendState(nil, as))}
	for _, o := range s.net {
		if o.body == p.body && o.From == p.From && o.To == p.To {
			return
		}
	}
	s.net = append(s.net, p)
}

// flush takes all that the core of n has to say.
func (s *state) flush(n *rafttest.Node) {
	for range 100 {
		out := s.c.Flush(n)
		n.Ready, n.Lost = nil, nil // the checker has seen them
		if len(out.Messages)+len(out.Committed) == 0 && out.Write == nil {
			return
		}
	}
	panic(fmt.Sprintf("node %v never rests", n.ID))
}

// settled ends the step of n: rules of the whole cluster, messages that are for
// nothing now, the node's hashes.
func (s *state) settled(b *Budget, n *rafttest.Node) {
	s.check(b)
	s.net = slices.DeleteFunc(s.net, s.deaf)
	if len(s.net) > maxNet {
		panic(fmt.Sprintf("%d messages under way: something answers itself without end", len(s.net)))
	}
	s.rehash(n)
}

// check holds what is not a rule for one node: while the members stay the same,
// what was committed stays on the disks of a majority.
func (s *state) check(b *Budget) {
	if b.Limit[Change] > 0 || b.named() {
		return
	}
	voters := s.c.Nodes[0].Core.Status().Committed.Voters()
	if have := s.c.DurableOn(voters); have <= len(voters)/2 {
		panic(fmt.Sprintf("committed entry %d is on %d disks of %d: committed stays committed", s.c.Check.Committed(), have, len(voters)))
	}
}

// deaf tells whether the receiver will do nothing about p, now and whatever comes:
// its disk knows a term in which p is void.
func (s *state) deaf(p *packet) bool {
	term := s.c.Node(p.To).Disk.Durable.State.Term
	switch p.Kind {
	case raft.MsgAppendReply, raft.MsgTimeoutNow, raft.MsgPreVoteReply:
		return p.Term < term || p.Kind == raft.MsgPreVoteReply && p.Term == term
	case raft.MsgVoteReply:
		return p.Term < term || p.Term == term && !p.Granted
	}
	return false
}

// rehash computes the hashes of a node that has changed.
func (s *state) rehash(n *rafttest.Node) {
	i := slices.Index(s.c.Nodes, n)
	for len(s.nodes) < len(s.c.Nodes) {
		s.nodes = append(s.nodes, nil)
	}
	var buf [1024]byte
	turn := byte(0xff)
	if s.open == n.ID {
		turn = s.step
	}
	of := func(as raft.Naming) uint64 {
		return maphash.Bytes(s.forms.seed, n.AppendState(append(buf[:0], turn), s.c.Check, as, s.left[Forget] > 0))
	}
	if len(s.forms.names) == 1 {
		s.nodes[i] = []uint64{of(sameNames)}
		return
	}
	a, b := others(n.ID)
	s.nodes[i] = []uint64{of(naming(n.ID, a, b)), of(naming(n.ID, b, a))}
}

// key is a state for comparisons: the cluster without its messages, and those.
// States that differ by the names of nodes have equal keys.
type key struct {
	cluster uint64
	net     []uint64 // ascending
	left    [kinds]uint8
}

// covers tells whether all that can come of o can come of k: it is the same
// cluster, with the same messages under way or more (those may be lost), and with
// the same events left or more.
func (k *key) covers(o *key) bool {
	for i := range k.left {
		if k.left[i] < o.left[i] {
			return false
		}
	}
	if len(k.net) < len(o.net) {
		return false
	}
	i := 0
	for _, m := range o.net {
		for i < len(k.net) && k.net[i] < m {
			i++
		}
		if i == len(k.net) || k.net[i] != m {
			return false
		}
	}
	return true
}

func (s *state) key() key {
	type reign struct {
		term raft.Term
		id   raft.NodeID
	}
	var reigns []reign
	var buf [1024]byte
	b := append(buf[:0], s.said, s.asked)
	b = s.c.Check.AppendState(b, s.c, func(t raft.Term, id raft.NodeID) { reigns = append(reigns, reign{t, id}) })
	base := maphash.Bytes(s.forms.seed, b)
	least, at := ^uint64(0), 0
	for p := range s.forms.names {
		h := base
		for i, n := range s.c.Nodes {
			k := 0
			if len(s.nodes[i]) > 1 {
				if x, y := others(n.ID); s.forms.rename(p, x) > s.forms.rename(p, y) {
					k = 1
				}
			}
			h += mix(s.nodes[i][k], uint64(s.forms.rename(p, n.ID)))
		}
		for _, r := range reigns {
			h += mix(uint64(r.term), uint64(s.forms.rename(p, r.id))<<24)
		}
		if h < least {
			least, at = h, p
		}
	}
	k := key{cluster: least, left: s.left, net: make([]uint64, len(s.net))}
	for i, m := range s.net {
		k.net[i] = mix(m.body, uint64(s.forms.rename(at, m.From))<<8|uint64(s.forms.rename(at, m.To))<<16)
	}
	slices.Sort(k.net)
	return k
}

// mix is a hash of two numbers (the finish of splitmix64).
func mix(a, b uint64) uint64 {
	x := a ^ b*0x9E3779B97F4A7C15
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}
