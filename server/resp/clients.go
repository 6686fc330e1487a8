package resp

import (
	"fmt"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	wire "github.com/raftkv/raftkv/resp"
	"github.com/raftkv/raftkv/server/access"
)

// clientCommands are about connections: this one, and those of others.
func clientCommands() []command {
	const local = fLocal | fFast | fLoading | fConn
	const admin = fLocal | fLoading | fConn | fAdmin
	onOff := func(c *conn, args [][]byte) {
		if !is(args[2], "on") && !is(args[2], "off") {
			c.w.Error(errSyntax)
			return
		}
		c.w.Status("OK")
	}
	return []command{
		{name: "client", arity: -2, group: "connection", since: "2.4.0", cost: "O(1)", summary: "About connections", subs: append(trackingCommands(), []*command{
			{name: "getname", arity: 2, flags: local, since: "2.6.9", cost: "O(1)", summary: "Get the name of the connection", local: getName},
			{name: "getredir", arity: 2, flags: local, since: "6.0.0", cost: "O(1)", summary: "Messages of tracking go to no other connection: 0, or -1 without tracking", local: func(c *conn, _ [][]byte) {
				if c.track.on {
					c.w.Int(0)
					return
				}
				c.w.Int(-1)
			}},
			{name: "id", arity: 2, flags: local, since: "5.0.0", cost: "O(1)", summary: "Get its number", local: func(c *conn, _ [][]byte) { c.w.Int(int64(c.id)) }},
			{name: "info", arity: 2, flags: local, since: "6.2.0", cost: "O(1)", summary: "Describe it on one line", local: func(c *conn, _ [][]byte) {
				c.share()
				c.w.Verbatim(c.describe())
			}},
			{name: "kill", arity: -3, flags: admin, since: "2.4.0", cost: "O(n) in the connections",
				syntax:  "ip:port | [ID client-id] [TYPE NORMAL|PUBSUB|MASTER|REPLICA] [USER username] [ADDR ip:port] [LADDR ip:port] [SKIPME yes|no]",
				summary: "Close connections of this node", local: clientKill},
			{name: "list", arity: -2, flags: admin, since: "2.4.0", cost: "O(n) in the connections", syntax: "[TYPE NORMAL|PUBSUB|MASTER|REPLICA] [ID client-id [client-id ...]]",
				summary: "Describe the connections of this node, one a line", local: clientList},
			{name: "no-evict", arity: 3, flags: admin, since: "7.0.0", cost: "O(1)", syntax: "ON | OFF", summary: "Taken, and without effect: no client is evicted", local: onOff},
			{name: "no-touch", arity: 3, flags: local, since: "7.2.0", cost: "O(1)", syntax: "ON | OFF", summary: "Taken, and without effect: the last use of a key isn't kept", local: onOff},
			{name: "reply", arity: 3, flags: local, since: "3.2.0", cost: "O(1)", syntax: "ON | OFF | SKIP", summary: "Send replies, none, or all but the next one", local: clientReply},
			{name: "setinfo", arity: 4, flags: local, since: "7.2.0", cost: "O(1)", syntax: "LIB-NAME name | LIB-VER version", summary: "Name the client library", local: setInfo},
			{name: "setname", arity: 3, flags: local, since: "2.6.9", cost: "O(1)", syntax: "name", summary: "Name the connection", local: setName},
			{name: "unblock", arity: -3, flags: admin, since: "5.0.0", cost: "O(1)", syntax: "client-id [TIMEOUT | ERROR]", summary: "No command blocks: 0", local: func(c *conn, args [][]byte) {
				if _, ok := wire.ParseInt(args[2]); !ok {
					c.w.Error(errInteger)
					return
				}
				c.w.Int(0)
			}},
			helpCommand(),
		}...)},
	}
}

// shared is what other goroutines may know of a connection.
type shared struct {
	user  atomic.Pointer[access.User] // nil: not authenticated
	cmd   atomic.Pointer[command]     // the newest one
	at    atomic.Int64                // of the newest batch of requests, in nanoseconds since the Unix epoch
	proto atomic.Int32
	stale atomic.Bool
	subs  atomic.Int32
	psubs atomic.Int32

	mu                    sync.Mutex
	name, libName, libVer string
}

func (s *shared) setName(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.name = name
}

// share tells others of the command under way, as flush does.
func (c *conn) share() {
	c.shared.cmd.Store(c.newest)
	c.shared.at.Store(time.Now().UnixNano())
}

func (c *conn) setProto(proto int) {
	if proto != 3 {
		c.untrack()
	}
	c.w.Proto = proto
	c.shared.proto.Store(int32(proto))
	c.judge()
}

func (c *conn) setStale(stale bool) {
	c.stale = stale
	c.shared.stale.Store(stale)
	c.w.Status("OK")
}

// mute is what CLIENT REPLY asked for.
type mute struct {
	off  bool
	skip int // 2: the reply after this one, 1: this one
}

// take tells whether the reply that is about to get its slot is wanted.
func (m *mute) take() bool {
	if m.skip > 0 {
		m.skip--
		return true
	}
	return m.off
}

func clientReply(c *conn, args [][]byte) {
	switch {
	case is(args[2], "on"):
		c.mute = mute{}
		c.w.Status("OK")
	case is(args[2], "off"):
		c.mute = mute{off: true}
	case is(args[2], "skip"):
		if !c.mute.off {
			c.mute.skip = 2
		}
	default:
		c.w.Error(errSyntax)
	}
}

func setName(c *conn, args [][]byte) {
	if !validName(args[2]) {
		c.w.Error(errName)
		return
	}
	c.shared.setName(clip(args[2], maxName))
	c.w.Status("OK")
}

func getName(c *conn, _ [][]byte) {
	c.shared.mu.Lock()
	name := c.shared.name
	c.shared.mu.Unlock()
	if name == "" {
		c.w.Null()
		return
	}
	c.w.BulkString(name)
}

func setInfo(c *conn, args [][]byte) {
	var field *string
	switch {
	case is(args[2], "lib-name"):
		field = &c.shared.libName
	case is(args[2], "lib-ver"):
		field = &c.shared.libVer
	default:
		c.w.Error("ERR Unrecognized option '" + clip(args[2], 128) + "'")
		return
	}
	if !validName(args[3]) {
		c.w.Error("ERR " + strings.ToLower(string(args[2])) + " cannot contain spaces, newlines or special characters.")
		return
	}
	c.shared.mu.Lock()
	*field = clip(args[3], maxName)
	c.shared.mu.Unlock()
	c.w.Status("OK")
}

// describe is the line of CLIENT INFO and LIST. Any goroutine may call it. What
// Redis says of its buffers is not known here, and 0.
func (c *conn) describe() string {
	now := time.Now()
	flags, cmd, user := "N", "NULL", "(superuser)"
	if c.shared.stale.Load() {
		flags = "r"
	}
	subs, psubs := c.shared.subs.Load(), c.shared.psubs.Load()
	if subs+psubs > 0 {
		flags = "P"
	}
	if last := c.shared.cmd.Load(); last != nil {
		cmd = last.fullName()
	}
	if u := c.shared.user.Load(); u != nil {
		user = u.Name()
	}
	c.shared.mu.Lock()
	name, libName, libVer := c.shared.name, c.shared.libName, c.shared.libVer
	c.shared.mu.Unlock()
	slots, bytes := c.ring.load()
	return fmt.Sprintf("id=%d addr=%v laddr=%v fd=-1 name=%s age=%d idle=%d flags=%s db=0 sub=%d psub=%d ssub=0 multi=-1 qbuf=0 qbuf-free=0"+
		" argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=%d omem=%d tot-mem=%d events=r cmd=%s user=%s redir=-1 resp=%d lib-name=%s lib-ver=%s\n",
		c.id, c.nc.RemoteAddr(), c.nc.LocalAddr(), name, int(now.Sub(c.since)/time.Second), int(now.Sub(time.Unix(0, c.shared.at.Load()))/time.Second),
		flags, subs, psubs, slots, bytes, bytes, cmd, user, c.shared.proto.Load(), libName, libVer)
}

// load is how many replies are due and how many bytes are held for them.
func (r *ring) load() (slots, bytes int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return int(r.tail-r.head) + len(r.pushes), r.bytes + r.pushBytes
}

// connections are all of this server that nobody has killed, by their number. One
// that was killed is gone for other commands, as in Redis, before its goroutines have ended.
func (s *Server) connections() []*conn {
	s.mu.Lock()
	list := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		if c.ctx.Err() == nil {
			list = append(list, c)
		}
	}
	s.mu.Unlock()
	sort.Slice(list, func(i, j int) bool { return list[i].id < list[j].id })
	return list
}

// ofType tells whether a connection is of a type of CLIENT LIST; ok is false if there is no such type.
func (c *conn) ofType(t []byte) (match, ok bool) {
	switch {
	case is(t, "normal"):
		return c.shared.subs.Load()+c.shared.psubs.Load() == 0, true
	case is(t, "pubsub"):
		return c.shared.subs.Load()+c.shared.psubs.Load() > 0, true
	case is(t, "master"), is(t, "replica"), is(t, "slave"):
		return false, true
	}
	return false, false
}

func clientList(c *conn, args [][]byte) {
	keep := func(*conn) bool { return true }
	switch {
	case len(args) == 2:
	case len(args) == 4 && is(args[2], "type"):
		if _, ok := c.ofType(args[3]); !ok {
			c.w.Error("ERR Unknown client type '" + clip(args[3], 128) + "'")
			return
		}
		keep = func(o *conn) bool { match, _ := o.ofType(args[3]); return match }
	case len(args) > 3 && is(args[2], "id"):
		ids := make(map[int64]bool)
		for _, a := range args[3:] {
			id, ok := wire.ParseInt(a)
			if !ok || id < 1 {
				c.w.Error("ERR Invalid client ID")
				return
			}
			ids[id] = true
		}
		keep = func(o *conn) bool { return ids[int64(o.id)] }
	default:
		c.w.Error(errSyntax)
		return
	}
	c.share()
	var b strings.Builder
	for _, o := range c.srv.connections() {
		if keep(o) {
			b.WriteString(o.describe())
		}
	}
	c.w.Verbatim(b.String())
}

func clientKill(c *conn, args [][]byte) {
	addr := func(o *conn) string { return o.nc.RemoteAddr().String() }
	if len(args) == 3 {
		for _, o := range c.srv.connections() {
			if addr(o) == string(args[2]) {
				c.end(o)
				c.w.Status("OK")
				return
			}
		}
		c.w.Error("ERR No such client")
		return
	}
	var filters []func(*conn) bool
	skipMe := true
	for i := 2; i < len(args); i += 2 {
		if i+1 == len(args) {
			c.w.Error(errSyntax)
			return
		}
		v := string(args[i+1])
		switch {
		case is(args[i], "id"):
			id, ok := wire.ParseInt(args[i+1])
			if !ok || id < 1 {
				c.w.Error("ERR client-id should be greater than 0")
				return
			}
			filters = append(filters, func(o *conn) bool { return o.id == uint64(id) })
		case is(args[i], "type"):
			if _, ok := c.ofType(args[i+1]); !ok {
				c.w.Error("ERR Unknown client type '" + clip(args[i+1], 128) + "'")
				return
			}
			filters = append(filters, func(o *conn) bool { match, _ := o.ofType([]byte(v)); return match })
		case is(args[i], "user"):
			if c.srv.access.Now().Find(v) == nil {
				c.w.Error("ERR No such user '" + clip(args[i+1], 128) + "'")
				return
			}
			filters = append(filters, func(o *conn) bool { u := o.shared.user.Load(); return u != nil && u.Name() == v })
		case is(args[i], "addr"):
			filters = append(filters, func(o *conn) bool { return addr(o) == v })
		case is(args[i], "laddr"):
			filters = append(filters, func(o *conn) bool { return o.nc.LocalAddr().String() == v })
		case is(args[i], "skipme") && (is(args[i+1], "yes") || is(args[i+1], "no")):
			skipMe = is(args[i+1], "yes")
		default:
			c.w.Error(errSyntax)
			return
		}
	}
	n := int64(0)
next:
	for _, o := range c.srv.connections() {
		if o == c && skipMe {
			continue
		}
		for _, f := range filters {
			if !f(o) {
				continue next
			}
		}
		c.end(o)
		n++
	}
	c.w.Int(n)
}

// end closes a connection; its own one behind the reply.
func (c *conn) end(o *conn) {
	if o == c {
		c.last = true
		return
	}
	o.kill()
}
