package transport

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/raftkv/raftkv/raft"
)

// candidate is a connection whose handshake is done but for the decision of the
// lower NodeID.
type candidate struct {
	raw     net.Conn // the TCP socket: closing it never blocks
	nc      net.Conn // raw, or TLS over it
	fr      *frameReader
	hello   wireHello // the peer's
	version uint8
}

func (c *candidate) close() { c.raw.Close() }

// link is the standing connection with one peer. Its writer and its reader own
// the two halves; the peer's manager starts both and waits for both.
type link struct {
	*candidate
	conn    uint64 // number of the connection in Handler and SendPacket
	epoch   uint64 // its number at the node that decided on it
	peer    raft.NodeID
	self    raft.NodeID
	maxBody int
	q       *queue
	h       Handler
	stats   *peerCounters
	log     *rateLog
	timeout time.Duration // of one write
	plain   bool          // no TLS: what the kernel did not take, the peer can't have

	stood   time.Time            // when it began to stand
	clock   func() time.Duration // since the transport was made
	heardAt atomic.Int64         // last frame, by clock
	seq     *atomic.Uint64       // highest Message.Seq ever heard of the peer

	stop     chan struct{} // closed once: both halves end
	stopOnce sync.Once
	cause    error // why it ended; set before stop is closed
	halves   sync.WaitGroup

	unsent []packet // packets of which the writer wrote no byte; for the manager after halves
	lost   int      // messages that the writer held at its end
}

var errReplaced = errors.New("replaced by a newer connection")

// start runs both halves. first is written before anything else. ended is called
// when a half ends; it must not block.
func (l *link) start(first []byte, ended func()) {
	l.halves.Add(2)
	// Own the write half and the read half. Closing the socket stops both; the
	// manager waits on halves.
	go func() { defer l.halves.Done(); l.write(first); ended() }()
	go func() { defer l.halves.Done(); l.read(); ended() }()
}

// end closes the connection; the first cause stands.
func (l *link) end(cause error) {
	l.stopOnce.Do(func() {
		l.cause = cause
		close(l.stop)
		l.raw.Close()
	})
}
