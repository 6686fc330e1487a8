package transport

import (
	"cmp"
	"slices"
	"sync/atomic"

	"github.com/raftkv/raftkv/raft"
)

// Stats is a copy of the counters, all since Listen.
type Stats struct {
	Accepted  uint64 // connections that came in
	Refused   uint64 // of these, refused with a reason
	Garbage   uint64 // of these, closed in the handshake: not our protocol, not authenticated, too slow
	Exchanges uint64 // answered
	Fetches   uint64 // snapshots served, wholly or in part
	Homeless  uint64 // messages to nodes that are neither members nor connected
	Peers     []PeerStats
}

// PeerStats is about one peer. Counters start anew when a stranger's connection ends.
type PeerStats struct {
	ID     raft.NodeID
	Name   string
	Member bool
	Dialed string // where it is dialled, empty for strangers

	Connected bool
	Conn      uint64 // number of the connection
	Boot      uint64 // of the process at the other end; this and what follows to Addr is 0 while not connected
	Version   uint8  // of the protocol that is spoken
	MinLevel  uint32 // levels of commands that it knows
	MaxLevel  uint32
	Addr      string // where it says that it is reached

	BytesIn, BytesOut       uint64
	MessagesIn, MessagesOut uint64
	PacketsIn, PacketsOut   uint64
	Dropped                 uint64 // messages for which there was no room or no connection
	PacketsRefused          uint64 // by SendPacket, with an error
	Unknown                 uint64 // frames of a kind that this binary does not know
	Dials                   uint64
	Connects                uint64 // connections that stood; all but the first are reconnects
	Queued, QueuedBytes     int    // what waits now
	Refusal                 string // why the last dial was refused, empty once connected
}

type counters struct {
	accepted, refused, garbage, exchanges, fetches, homeless atomic.Uint64
}

type peerCounters struct {
	bytesIn, bytesOut, messagesIn, messagesOut, packetsIn, packetsOut atomic.Uint64
	dropped, refused, unknown, dials, connects                        atomic.Uint64

	connected atomic.Pointer[link]
	refusal   atomic.Pointer[string]
}

// Stats returns the counters; peers ascend by id.
func (t *Transport) Stats() Stats {
	c := &t.counters
	s := Stats{
		Accepted: c.accepted.Load(), Refused: c.refused.Load(), Garbage: c.garbage.Load(),
		Exchanges: c.exchanges.Load(), Fetches: c.fetches.Load(), Homeless: c.homeless.Load(),
	}
	for _, p := range *t.peers.Load() {
		s.Peers = append(s.Peers, p.view())
	}
	slices.SortFunc(s.Peers, func(a, b PeerStats) int { return cmp.Compare(a.ID, b.ID) })
	return s
}

func (p *peer) view() PeerStats {
	c, to := &p.stats, p.target.Load()
	v := PeerStats{
		ID: p.id, Name: to.name, Member: to.member(), Dialed: to.addr,
		BytesIn: c.bytesIn.Load(), BytesOut: c.bytesOut.Load(),
		MessagesIn: c.messagesIn.Load(), MessagesOut: c.messagesOut.Load(),
		PacketsIn: c.packetsIn.Load(), PacketsOut: c.packetsOut.Load(),
		Dropped: c.dropped.Load(), PacketsRefused: c.refused.Load(), Unknown: c.unknown.Load(),
		Dials: c.dials.Load(), Connects: c.connects.Load(),
	}
	v.Queued, v.QueuedBytes = p.q.depth()
	if l := c.connected.Load(); l != nil {
		v.Connected, v.Conn, v.Name = true, l.conn, l.hello.Name
		v.Boot, v.Version, v.Addr = l.hello.Boot, l.version, l.hello.Addr
		v.MinLevel, v.MaxLevel = l.hello.MinLevel, l.hello.MaxLevel
	}
	if r := c.refusal.Load(); r != nil {
		v.Refusal = *r
	}
	return v
}

// PeerLevel is the newest level of commands that the process at the other end of a
// standing connection knows; 0 while there is no connection.
func (t *Transport) PeerLevel(id raft.NodeID) uint32 {
	p := (*t.peers.Load())[id]
	if p == nil {
		return 0
	}
	l := p.stats.connected.Load()
	if l == nil {
		return 0
	}
	return l.hello.MaxLevel
}
