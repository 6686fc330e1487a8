package transport

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"time"

	"github.com/raftkv/raftkv/raft"
)

// Config is what a Transport needs of its process. Only Listen must be set.
type Config struct {
	Listen    string // host:port to listen on; port 0 lets the system choose
	Advertise string // host:port where others reach this node; empty: the listener's own address
	DialFrom  string // source IP of outgoing connections; empty: the system chooses

	// Addr says where a member is dialled, so that an address in the local
	// configuration can win over the one in the log. Nil: Member.Peer.
	Addr func(raft.Member) string

	TLS    *TLS // nil: plain TCP, nobody is authenticated
	Limits Limits
	Logger *slog.Logger // nil: slog.Default()

	// ElectionTimeout is how recently two processes must have spoken under one
	// identity to be taken for twins. Default 500ms.
	ElectionTimeout time.Duration

	// Source opens the snapshot that ends in last at offset and tells the size of
	// the whole file in bytes. An error that wraps fs.ErrNotExist says that this
	// node hasn't it. Called on the goroutine of one fetch. Nil: this node serves none.
	Source func(last raft.EntryID, offset uint64) (file io.ReadCloser, size uint64, err error)

	// Exchange answers a small request of a node that may have no identity yet.
	// It is called on many goroutines at once, from Listen on. Nil: refused.
	Exchange func(body []byte) []byte

	// Removed tells whether the committed configuration lists id as removed. It is
	// called on several goroutines, from Start on. Nil: nobody is removed.
	Removed func(id raft.NodeID) bool

	// OnRefused is told when another node refuses this one for good: its advice is a
	// sentence for people. Called on a goroutine of the transport; it must not block.
	OnRefused func(peer raft.NodeID, code Code, advice string)
}

// TLS names the PEM files of mutual TLS. They are read again when they change.
// Both sides must show a certificate that the CA signed; the host in an address
// is not compared, so the CA should sign the nodes of this cluster only, or
// ServerName must be set.
type TLS struct {
	Cert, Key, CA string
	ServerName    string // if set, each certificate must be valid for this DNS name
}

// Limits bounds what peers can cost. A zero field stands for its default.
type Limits struct {
	// MaxFrame is the most bytes of one frame, default 64 MiB. It must hold the
	// largest entry; the lower one of the two sides counts.
	MaxFrame int
	// QueueMessages and QueueBytes bound what waits for one peer: messages and
	// packets each by both. Defaults 4096 and 64 MiB. Bytes of entries are shared
	// with the log, not copies.
	QueueMessages int
	QueueBytes    int
	// HandshakeTimeout is the time from accept or dial to the last byte of the
	// handshake, default 3s. So long an idle stranger keeps a socket.
	HandshakeTimeout time.Duration
	// WriteTimeout is how long a peer may take no bytes before its connection is
	// given up, default 5s. Also the kernel's limit for unacknowledged bytes.
	WriteTimeout time.Duration
	// RetryMin and RetryMax bound the pause between two dials. The first redial of
	// a connection that worked is made at once. Defaults 10ms and 1s.
	RetryMin, RetryMax time.Duration
	// GoneWindow is how long Lost may be held back to learn whether a redial is
	// refused. Default 200ms.
	GoneWindow time.Duration
	// MaxPending is how many accepted connections may be in their handshake at
	// once, default 128; MaxStrangers how many nodes that are not members may be
	// connected, default 64; MaxFetches how many snapshots are served at once, default 4.
	MaxPending, MaxStrangers, MaxFetches int
	// FetchIdle is how long a snapshot fetch may make no progress, default 15s.
	FetchIdle time.Duration
	// FetchRate bounds one served snapshot, in bytes a second. Default 0: no bound.
	FetchRate int
}

func (l Limits) withDefaults() Limits {
	set := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	setTime := func(p *time.Duration, v time.Duration) {
		if *p == 0 {
			*p = v
		}
	}
	set(&l.MaxFrame, 64<<20)
	set(&l.QueueMessages, 4096)
	set(&l.QueueBytes, 64<<20)
	setTime(&l.HandshakeTimeout, 3*time.Second)
	setTime(&l.WriteTimeout, 5*time.Second)
	setTime(&l.RetryMin, 10*time.Millisecond)
	setTime(&l.RetryMax, time.Second)
	setTime(&l.GoneWindow, 200*time.Millisecond)
	set(&l.MaxPending, 128)
	set(&l.MaxStrangers, 64)
	set(&l.MaxFetches, 4)
	setTime(&l.FetchIdle, 15*time.Second)
	return l
}

// frameFloor is the least MaxFrame: a handshake and an offer fit.
const frameFloor = 64 << 10

// Validate reports every field that is out of bounds.
func (c Config) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("transport: "+format, args...))
		}
	}
	hostPort := func(field, s string) {
		if _, _, err := net.SplitHostPort(s); err != nil {
			check(false, "%s %q is not host:port", field, s)
		}
	}
	hostPort("Listen", c.Listen)
	if c.Advertise != "" {
		hostPort("Advertise", c.Advertise)
	}
	check(c.DialFrom == "" || net.ParseIP(c.DialFrom) != nil, "DialFrom %q is not an IP address", c.DialFrom)
	if c.TLS != nil {
		check(c.TLS.Cert != "" && c.TLS.Key != "" && c.TLS.CA != "", "TLS needs all of Cert, Key and CA")
	}
	l := c.Limits.withDefaults()
	check(l.MaxFrame >= frameFloor && l.MaxFrame <= 1<<30, "MaxFrame %d is not in 64 KiB to 1 GiB", l.MaxFrame)
	check(l.QueueMessages > 0 && l.QueueBytes > 0, "queue limits must be positive")
	check(l.HandshakeTimeout > 0 && l.WriteTimeout > 0 && l.FetchIdle > 0, "timeouts must be positive")
	check(l.RetryMin > 0 && l.RetryMax >= l.RetryMin, "RetryMin %v and RetryMax %v must be positive and ascend", l.RetryMin, l.RetryMax)
	check(l.GoneWindow > 0, "GoneWindow must be positive")
	check(l.MaxPending > 0 && l.MaxStrangers > 0 && l.MaxFetches > 0, "MaxPending, MaxStrangers and MaxFetches must be positive")
	check(l.FetchRate >= 0, "FetchRate is negative")
	check(c.ElectionTimeout >= 0, "ElectionTimeout is negative")
	return errors.Join(errs...)
}
