package node

import "github.com/raftkv/raftkv/raft"

// Conn is one client connection as a node sees it. Its requests take effect in
// the order in which they were submitted.
type Conn struct {
	sink Sink
	node *Node // nil in the simulator

	lane lane   // the loop's
	out  outbox // the applier's
	gone bool   // the inbox's: Close was called
}

// NewConn makes a connection for a Replica that is driven without a Node, as
// the simulator does. Servers use Node.Connect.
func NewConn(s Sink) *Conn { return &Conn{sink: s} }

// outbox gathers the replies of one batch of the applier.
type outbox struct {
	replies []Reply
	queued  bool
}

// op is one request on its way, whoever asked.
type op struct {
	conn     *Conn // nil if served or done is set
	req      Request
	place    uint64 // in the order in which the connection submitted its requests
	seq      uint64 // in the order in which they were started; a new one at each attempt
	deadline uint64 // tick
	err      error  // why its last attempt surely did nothing

	served *served // a command of another node, its k-th
	k      int
	done   func(raft.Index, error) // an operator's
}

// mode says where the open requests of a connection went. Requests of another
// mode wait until those have ended: this is what keeps their order.
type mode struct {
	leader raft.NodeID
	term   raft.Term
	kind   Kind // on the leader always Write: there all kinds may mix
}

// lane is what the loop knows of one connection.
//
//	waiting ──start──> open (writes, reads, stale) ──> applied | unknown
//	   ^                        │
//	   └── retried ── failed <──┘ surely not applied
//
// When a write surely did nothing, the lane is sealed: nothing more is started
// until the open writes have ended. Then the failed ones are retried, in order,
// if nothing behind them took or may take effect; else they are answered.
type lane struct {
	waiting ring[op]
	bytes   int    // of Data in waiting
	placed  uint64 // place of the last request that was submitted

	mode   mode
	writes int // open
	reads  int // open, linearizable
	stale  int // open, stale

	seq       uint64       // given to the last request that was started
	lastWrite uint64       // seq of the last write started
	readSeq   uint64       // highest seq of a read that may have been answered
	last      raft.EntryID // last local proposal
	lastRead  raft.Index   // index of the last read that went to the applier without asking elsewhere
	shown     raft.Index   // highest index that this connection was shown

	answeredBy uint64 // returns.batch that answered a write of it; 0 since it has come again

	notBefore uint64 // tick of the next attempt after a refused one

	sealed  bool
	broken  bool   // an open write became unknown
	failed  []op   // surely not applied
	settled uint64 // highest seq of a write that was applied or became unknown

	closed  bool
	dirty   bool // in Replica.dirty
	stalled bool // in Replica.stalled
	queued  bool // in Replica.replying
	replies []Reply
}

// putBack lets a request that was started wait again, at its place: what is put
// back may come in any order.
func (l *lane) putBack(o op) {
	l.waiting.pushFront(o)
	l.bytes += len(o.req.Data)
	for i := 0; i+1 < l.waiting.len() && l.waiting.at(i+1).place < o.place; i++ {
		a, b := l.waiting.at(i), l.waiting.at(i+1)
		*a, *b = *b, *a
	}
}

func (l *lane) open() int { return l.writes + l.reads + l.stale }
