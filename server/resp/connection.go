package resp

import (
	"bytes"
	"strings"

	wire "github.com/raftkv/raftkv/resp"
	"github.com/raftkv/raftkv/server/access"
)

// redisVersion is the version of Redis whose texts and forms are followed.
const redisVersion = "7.0.15"

// connectionCommands are answered by the connection itself.
func connectionCommands() []command {
	const local = fLocal | fFast | fLoading | fConn
	return []command{
		{name: "ping", arity: -1, flags: local, group: "connection", since: "1.0.0", cost: "O(1)",
			syntax: "[message]", summary: "Answer PONG, or the message", local: ping},
		{name: "echo", arity: 2, flags: local, group: "connection", since: "1.0.0", cost: "O(1)",
			syntax: "message", summary: "Answer the message", local: func(c *conn, args [][]byte) { c.w.Bulk(args[1]) }},
		{name: "select", arity: 2, flags: local, group: "connection", since: "1.0.0", cost: "O(1)",
			syntax: "index", summary: "Choose the database; there is only 0", local: selectDB},
		{name: "quit", arity: -1, flags: local | fNoAuth | fNow, group: "connection", since: "1.0.0", cost: "O(1)",
			summary: "Answer all that came before, then close", local: quit},
		{name: "reset", arity: 1, flags: local | fNoAuth | fNow, group: "connection", since: "6.2.0", cost: "O(1)",
			summary: "Make the connection as it was at its start", local: reset},
		{name: "auth", arity: -2, flags: local | fNoAuth | fBlocks, group: "connection", since: "1.0.0", cost: "O(1)",
			syntax: "[username] password", summary: "Become a user: default, if no name is given", local: auth},
		{name: "hello", arity: -1, flags: local | fNoAuth | fBlocks, group: "connection", since: "6.0.0", cost: "O(1)",
			syntax: "[protover [AUTH username password] [SETNAME name]]", summary: "Choose the version of the protocol", local: hello},
		{name: "readonly", arity: 1, flags: local, group: "cluster", since: "3.0.0", cost: "O(1)",
			summary: "From now on read this node's state as it is: not linearizable, perhaps old", local: func(c *conn, _ [][]byte) { c.setStale(true) }},
		{name: "readwrite", arity: 1, flags: local, group: "cluster", since: "3.0.0", cost: "O(1)",
			summary: "From now on read linearizably, as at the start", local: func(c *conn, _ [][]byte) { c.setStale(false) }},
	}
}

// helpCommand lists the subcommands of its parent.
func helpCommand() *command {
	return &command{name: "help", arity: 2, flags: fLocal | fFast | fLoading, cost: "O(1)", summary: "List the subcommands", local: func(c *conn, args [][]byte) {
		parent := c.srv.table.find(args[0])
		lines := []string{strings.ToUpper(parent.name) + " <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"}
		for _, s := range parent.subs {
			lines = append(lines, strings.TrimSpace(strings.ToUpper(s.name)+" "+s.syntax), "    "+s.summary+".")
		}
		c.w.Array(len(lines))
		for _, l := range lines {
			c.w.Status(l)
		}
	}}
}

func ping(c *conn, args [][]byte) {
	switch {
	case len(args) <= 2 && c.onlySubscriber():
		// Looks like a message, which is all that such a client reads.
		c.w.Array(2)
		c.w.BulkString("pong")
		c.w.Bulk(bytes.Join(args[1:], nil))
	case len(args) == 1:
		c.w.Status("PONG")
	case len(args) == 2:
		c.w.Bulk(args[1])
	default:
		c.w.Error("ERR wrong number of arguments for 'ping' command")
	}
}

func selectDB(c *conn, args [][]byte) {
	n, ok := wire.ParseInt(args[1])
	switch {
	case !ok:
		c.w.Error(errInteger)
	case n < -1<<31 || n > 1<<31-1:
		c.w.Error("ERR value is out of range, value must between -2147483648 and 2147483647")
	case n != 0:
		c.w.Error("ERR DB index is out of range")
	default:
		c.w.Status("OK")
	}
}

func quit(c *conn, _ [][]byte) {
	c.w.Status("OK")
	c.last = true
}

func reset(c *conn, _ [][]byte) {
	c.unsubscribeAll()
	c.unmonitor()
	c.untrack()
	c.w.Status("RESET")
	c.setProto(2)
	c.stale = false
	c.shared.stale.Store(false)
	c.shared.setName("")
	c.mute = mute{}
	c.endMulti()
	c.setUser(c.users.Open())
}

// auth takes a password, or a name and a password.
func auth(c *conn, args [][]byte) {
	name, password := []byte(access.DefaultUser), args[1]
	switch {
	case len(args) > 3:
		c.w.Error(errSyntax)
		return
	case len(args) == 3:
		name, password = args[1], args[2]
	case c.users.Open() != nil:
		// Redis warns whoever forgot to set a password.
		c.w.Error("ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?")
		return
	}
	if c.authenticate(name, password) {
		c.w.Status("OK")
	}
}

const (
	errHelloAuth = "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time"
	errName      = "ERR Client names cannot contain spaces, newlines or special characters."
)

func hello(c *conn, args [][]byte) {
	proto := c.w.Proto
	if len(args) > 1 {
		n, ok := wire.ParseInt(args[1])
		if !ok {
			c.w.Error("ERR Protocol version is not an integer or out of range")
			return
		}
		if n < 2 || n > 3 {
			c.w.Error("NOPROTO unsupported protocol version")
			return
		}
		proto = int(n)
	}
	var name, user, password []byte
	named, auth := false, false
	for i := 2; i < len(args); i++ {
		switch {
		case is(args[i], "auth") && i+2 < len(args):
			auth, user, password = true, args[i+1], args[i+2]
			i += 2
		case is(args[i], "setname") && i+1 < len(args):
			i++
			if name, named = args[i], true; !validName(name) {
				c.w.Error(errName)
				return
			}
		default:
			c.w.Error("ERR Syntax error in HELLO option '" + string(args[i]) + "'")
			return
		}
	}
	if auth && !c.authenticate(user, password) {
		return
	}
	if c.user == nil {
		c.w.Error(errHelloAuth)
		return
	}
	if named {
		c.shared.setName(clip(name, maxName))
	}
	c.setProto(proto)
	st := c.srv.backend.Status()
	c.w.Map(7)
	c.w.BulkString("server")
	c.w.BulkString("redis")
	c.w.BulkString("version")
	c.w.BulkString(redisVersion)
	c.w.BulkString("proto")
	c.w.Int(int64(proto))
	c.w.BulkString("id")
	c.w.Int(int64(c.id))
	c.w.BulkString("mode")
	c.w.BulkString(c.srv.mode())
	c.w.BulkString("role")
	if st.Role == "leader" {
		c.w.BulkString("master")
	} else {
		c.w.BulkString("replica")
	}
	c.w.BulkString("modules")
	c.w.Array(0)
}

// maxName bounds what a connection says of itself, in bytes.
const maxName = 256

// validName is Redis's rule: printable, no blanks.
func validName(b []byte) bool {
	for _, ch := range b {
		if ch < '!' || ch > '~' {
			return false
		}
	}
	return true
}
