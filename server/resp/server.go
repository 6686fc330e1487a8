package resp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	wire "github.com/raftkv/raftkv/resp"
	"github.com/raftkv/raftkv/server/access"
)

// Server serves any number of listeners. Its methods may be called from any goroutine.
type Server struct {
	cfg     Config
	backend Backend
	admin   Admin
	table   *table
	cursors *cursors
	access  *access.Store
	denied  denied
	hub     *hub
	events  atomic.Pointer[eventSet]
	stats   stats
	since   atomic.Pointer[Stats] // what CONFIG RESETSTAT sets INFO's counters back to
	idle    atomic.Int64          // Config.IdleTimeout, or what CONFIG SET made of it
	slowlog slowlog
	saving  atomic.Bool // BGSAVE
	browser seldom      // telling of HTTP requests

	monitored atomic.Bool
	monitorMu sync.Mutex
	monitors  map[*conn]uint64 // the slot behind which they see requests
	ok        []byte
	pong      []byte

	mu      sync.Mutex
	lns     map[net.Listener]struct{}
	conns   map[*conn]struct{}
	stopped bool
	lastID  uint64
	all     sync.WaitGroup // one for each connection
}

// seldom is for a line of the log that anybody can cause: it may be written once a minute.
type seldom struct{ last atomic.Pointer[time.Time] }

// seldomPause is Redis's, for the same line.
const seldomPause = time.Minute

func (s *seldom) may(now time.Time) bool {
	last := s.last.Load()
	return (last == nil || now.Sub(*last) >= seldomPause) && s.last.CompareAndSwap(last, &now)
}

// stats are counters for INFO and metrics.
type stats struct {
	accepted, refused, commands, protocol, slow atomic.Uint64
}

// Stats are the counters of a Server since its start.
type Stats struct {
	Accepted       uint64 // connections taken
	Refused        uint64 // connections above Config.Clients
	Commands       uint64 // commands that were understood
	ProtocolErrors uint64 // connections closed because of what they said
	Slow           uint64 // connections closed because they took no replies
	Connections    int    // now
}

// New makes a Server. a may be nil: then changes of the cluster are refused.
func New(cfg Config, b Backend, a Admin) *Server {
	cfg = cfg.withDefaults()
	s := &Server{
		cfg: cfg, access: cfg.Access, backend: b, admin: a,
		table: newTable(), cursors: newCursors(), ok: []byte(replyOK), pong: []byte(replyPong),
		lns: make(map[net.Listener]struct{}), conns: make(map[*conn]struct{}),
	}
	s.hub = newHub(s)
	events, ok := parseEvents(cfg.Events)
	if !ok {
		panic("resp: classes of events " + cfg.Events)
	}
	s.events.Store(events)
	s.monitors = make(map[*conn]uint64)
	s.since.Store(&Stats{})
	s.idle.Store(int64(cfg.IdleTimeout))
	s.slowlog.threshold.Store(-1)
	s.slowlog.keep.Store(slowKeep)
	s.access.OnChange(s.usersChanged)
	return s
}

// ErrClosed is what Serve returns after Shutdown.
var ErrClosed = errors.New("server is shut down")

// Serve takes connections until Shutdown, then returns ErrClosed. It closes ln. An
// accept that is refused for lack of descriptors or memory is tried again.
func (s *Server) Serve(ln net.Listener) error {
	defer ln.Close()
	s.mu.Lock()
	if s.stopped {
		s.mu.Unlock()
		return ErrClosed
	}
	s.lns[ln] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.lns, ln)
		s.mu.Unlock()
	}()
	pause := time.Duration(0)
	for {
		nc, err := ln.Accept()
		if err != nil {
			if s.isStopped() {
				return ErrClosed
			}
			if errors.Is(err, net.ErrClosed) {
				return fmt.Errorf("accept clients on %v: %w", ln.Addr(), err)
			}
			// Out of descriptors, most likely: wait for some to come back, and say it once.
			if pause == 0 {
				s.cfg.Log.Error("clients can't connect; trying on", "listen", ln.Addr().String(), "err", err)
			}
			pause = min(max(5*time.Millisecond, 2*pause), time.Second)
			time.Sleep(pause)
			continue
		}
		pause = 0
		s.take(nc)
	}
}

// take starts a connection, or refuses it.
func (s *Server) take(nc net.Conn) {
	s.mu.Lock()
	full := len(s.conns) >= s.cfg.Clients
	if s.stopped || full {
		s.mu.Unlock()
		if full {
			s.stats.refused.Add(1)
			// A fresh socket has room for one line: this doesn't block.
			nc.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
			nc.Write([]byte("-ERR max number of clients reached\r\n"))
		}
		nc.Close()
		return
	}
	s.lastID++
	c := newConn(s, nc, s.lastID)
	s.conns[c] = struct{}{}
	s.all.Add(1)
	s.mu.Unlock()
	s.stats.accepted.Add(1)
	// Owns the reading half of the socket and, in the end, all of it. Stops when the
	// client leaves, is cut off, or the server stops. Shutdown waits for it.
	go func() {
		defer s.all.Done()
		c.serve()
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	}()
}

func (s *Server) isStopped() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopped
}

// Shutdown closes the listeners, reads no more requests, sends the replies that
// are still due and closes the connections. When ctx ends it closes what is left
// and returns ctx's error.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.stopped = true
	for ln := range s.lns {
		ln.Close()
	}
	for c := range s.conns {
		c.stop()
	}
	s.mu.Unlock()
	// Ends with the last connection, which the close below brings about.
	done := make(chan struct{})
	go func() { s.all.Wait(); close(done) }()
	var err error
	select {
	case <-done:
	case <-ctx.Done():
		err = ctx.Err()
		s.mu.Lock()
		for c := range s.conns {
			c.kill()
		}
		s.mu.Unlock()
		<-done
	}
	return err
}

// Connections is how many clients are connected.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// Stats returns the counters.
func (s *Server) Stats() Stats {
	return Stats{
		Accepted: s.stats.accepted.Load(), Refused: s.stats.refused.Load(), Commands: s.stats.commands.Load(),
		ProtocolErrors: s.stats.protocol.Load(), Slow: s.stats.slow.Load(), Connections: s.Connections(),
	}
}

// addr is the address of a listener.
func (s *Server) addr() (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ln := range s.lns {
		return ln.Addr().String(), true
	}
	return "", false
}

func (s *Server) limits() wire.Limits {
	return wire.Limits{Bulk: max(s.cfg.ValueBytes, s.cfg.KeyBytes), Total: s.cfg.CommandBytes}
}
