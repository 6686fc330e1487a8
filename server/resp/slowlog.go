package resp

import (
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	wire "github.com/raftkv/raftkv/resp"
)

// slowlog keeps the requests that took long, from the moment that they were read
// to that of the reply: waiting for the disks of a majority included, which is
// what a user feels.
type slowlog struct {
	threshold atomic.Int64 // microseconds from which on a request is kept; 0: each one, below: none
	keep      atomic.Int64 // most entries

	mu   sync.Mutex
	next int64
	list []slow // newest last
}

type slow struct {
	id   int64
	at   time.Time
	took time.Duration
	args [][]byte
	peer string
	name string
}

// As in Redis.
const (
	slowArgs     = 32
	slowArgBytes = 128
	slowKeep     = 128
	maxSlow      = 10_000
)

func (l *slowlog) trim() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := int64(len(l.list)) - l.keep.Load(); n > 0 {
		l.list = append([]slow(nil), l.list[n:]...)
	}
}

// begin notes a request, if there is a threshold.
func (l *slowlog) begin(c *conn, args [][]byte) *slow {
	e := &slow{at: time.Now(), peer: c.nc.RemoteAddr().String()}
	for i, a := range args {
		if i == slowArgs-1 && len(args) > slowArgs {
			e.args = append(e.args, []byte("... ("+strconv.Itoa(len(args)-i)+" more arguments)"))
			break
		}
		kept := append([]byte(nil), a[:min(len(a), slowArgBytes)]...)
		if more := len(a) - slowArgBytes; more > 0 {
			kept = append(kept, "... ("+strconv.Itoa(more)+" more bytes)"...)
		}
		e.args = append(e.args, kept)
	}
	c.shared.mu.Lock()
	e.name = c.shared.name
	c.shared.mu.Unlock()
	return e
}

// end keeps a request that is answered now, if it took long.
func (l *slowlog) end(e *slow) {
	threshold := l.threshold.Load()
	e.took = time.Since(e.at)
	if threshold < 0 || e.took < time.Duration(threshold)*time.Microsecond {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	e.id = l.next
	l.next++
	l.list = append(l.list, *e)
	if n := int64(len(l.list)) - l.keep.Load(); n > 0 {
		l.list = l.list[n:]
	}
}

// slowCommands tell what took long.
func slowCommands() []command {
	const flags = fLocal | fLoading | fAdmin
	return []command{
		{name: "slowlog", arity: -2, group: "server", since: "2.2.12", cost: "O(n)", summary: "Requests that took long at this node, if CONFIG SET slowlog-log-slower-than asks for them", subs: []*command{
			{name: "get", arity: -2, flags: flags, since: "2.2.12", cost: "O(n)", syntax: "[count]", summary: "Get the newest ones; the time includes the log and the disks of a majority", local: slowGet},
			{name: "len", arity: 2, flags: flags, since: "2.2.12", cost: "O(1)", summary: "Count them", local: func(c *conn, _ [][]byte) {
				l := &c.srv.slowlog
				l.mu.Lock()
				defer l.mu.Unlock()
				c.w.Int(int64(len(l.list)))
			}},
			{name: "reset", arity: 2, flags: flags, since: "2.2.12", cost: "O(n)", summary: "Forget them", local: func(c *conn, _ [][]byte) {
				l := &c.srv.slowlog
				l.mu.Lock()
				defer l.mu.Unlock()
				l.list = nil
				c.w.Status("OK")
			}},
			helpCommand(),
		}},
	}
}

func slowGet(c *conn, args [][]byte) {
	count := int64(10)
	if len(args) > 2 {
		n, ok := wire.ParseInt(args[2])
		if !ok || n < -1 || len(args) > 3 {
			c.w.Error("ERR count should be greater than or equal to -1")
			return
		}
		count = n
	}
	l := &c.srv.slowlog
	l.mu.Lock()
	list := append([]slow(nil), l.list...)
	l.mu.Unlock()
	if count < 0 || count > int64(len(list)) {
		count = int64(len(list))
	}
	c.w.Array(int(count))
	for i := range int(count) {
		e := &list[len(list)-1-i]
		c.w.Array(6)
		c.w.Int(e.id)
		c.w.Int(e.at.Unix())
		c.w.Int(e.took.Microseconds())
		c.w.Array(len(e.args))
		for _, a := range e.args {
			c.w.Bulk(a)
		}
		c.w.BulkString(e.peer)
		c.w.BulkString(e.name)
	}
}
