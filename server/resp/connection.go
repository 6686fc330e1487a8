package resp

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	wire "github.com/raftkv/raftkv/resp"
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
		{name: "quit", arity: -1, flags: local, group: "connection", since: "1.0.0", cost: "O(1)",
			summary: "Answer all that came before, then close", local: quit},
		{name: "reset", arity: 1, flags: local, group: "connection", since: "6.2.0", cost: "O(1)",
			summary: "Make the connection as it was at its start", local: reset},
		{name: "auth", arity: -2, flags: local, group: "connection", since: "1.0.0", cost: "O(1)",
			syntax: "[username] password", summary: "There are no passwords", local: auth},
		{name: "hello", arity: -1, flags: local, group: "connection", since: "6.0.0", cost: "O(1)",
			syntax: "[protover [AUTH username password] [SETNAME name]]", summary: "Choose the version of the protocol", local: hello},
		{name: "readonly", arity: 1, flags: local, group: "cluster", since: "3.0.0", cost: "O(1)",
			summary: "From now on read this node's state as it is: not linearizable, perhaps old", local: func(c *conn, _ [][]byte) { c.stale = true; c.w.Status("OK") }},
		{name: "readwrite", arity: 1, flags: local, group: "cluster", since: "3.0.0", cost: "O(1)",
			summary: "From now on read linearizably, as at the start", local: func(c *conn, _ [][]byte) { c.stale = false; c.w.Status("OK") }},
		{name: "client", arity: -2, flags: local, group: "connection", since: "2.4.0", cost: "O(1)", summary: "About this connection", subs: []*command{
			{name: "setname", arity: 3, flags: local, since: "2.6.9", cost: "O(1)", syntax: "name", summary: "Name the connection", local: setName},
			{name: "getname", arity: 2, flags: local, since: "2.6.9", cost: "O(1)", summary: "Get its name", local: getName},
			{name: "setinfo", arity: 4, flags: local, since: "7.2.0", cost: "O(1)", syntax: "LIB-NAME name | LIB-VER version", summary: "Name the client library", local: setInfo},
			{name: "id", arity: 2, flags: local, since: "5.0.0", cost: "O(1)", summary: "Get its number", local: func(c *conn, _ [][]byte) { c.w.Int(int64(c.id)) }},
			{name: "info", arity: 2, flags: local, since: "6.2.0", cost: "O(1)", summary: "Describe it on one line", local: func(c *conn, _ [][]byte) { c.w.Verbatim(c.describe()) }},
			helpCommand(),
		}},
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
	switch len(args) {
	case 1:
		c.w.Status("PONG")
	case 2:
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
	c.w.Status("RESET")
	c.w.Proto = 2
	c.stale, c.name = false, ""
}

// auth answers as a Redis whose default user has no password.
func auth(c *conn, args [][]byte) {
	switch {
	case len(args) > 3:
		c.w.Error(errSyntax)
	case len(args) == 2:
		c.w.Error("ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?")
	case string(args[1]) == "default":
		c.w.Status("OK")
	default:
		c.w.Error(errPassword)
	}
}

const (
	errPassword = "WRONGPASS invalid username-password pair or user is disabled."
	errName     = "ERR Client names cannot contain spaces, newlines or special characters."
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
	var name []byte
	named := false
	for i := 2; i < len(args); i++ {
		switch {
		case is(args[i], "auth") && i+2 < len(args):
			if string(args[i+1]) != "default" {
				c.w.Error(errPassword)
				return
			}
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
	if named {
		c.name = clip(name, maxName)
	}
	c.w.Proto = proto
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
	c.w.BulkString("standalone")
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

func setName(c *conn, args [][]byte) {
	if !validName(args[2]) {
		c.w.Error(errName)
		return
	}
	c.name = clip(args[2], maxName)
	c.w.Status("OK")
}

func getName(c *conn, _ [][]byte) {
	if c.name == "" {
		c.w.Null()
		return
	}
	c.w.BulkString(c.name)
}

func setInfo(c *conn, args [][]byte) {
	var field *string
	switch {
	case is(args[2], "lib-name"):
		field = &c.libName
	case is(args[2], "lib-ver"):
		field = &c.libVer
	default:
		c.w.Error("ERR Unrecognized option '" + clip(args[2], 128) + "'")
		return
	}
	if !validName(args[3]) {
		c.w.Error("ERR " + strings.ToLower(string(args[2])) + " cannot contain spaces, newlines or special characters.")
		return
	}
	*field = clip(args[3], maxName)
	c.w.Status("OK")
}

// describe is the line of CLIENT INFO.
func (c *conn) describe() string {
	age := int(time.Since(c.since) / time.Second)
	flags := "N"
	if c.stale {
		flags = "r"
	}
	return fmt.Sprintf("id=%d addr=%v laddr=%v fd=-1 name=%s age=%d idle=0 flags=%s db=0 sub=0 psub=0 ssub=0 multi=-1 qbuf=%d qbuf-free=0"+
		" argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem=0 tot-mem=0 events=r cmd=client|info user=default redir=-1 resp=%s lib-name=%s lib-ver=%s\n",
		c.id, c.nc.RemoteAddr(), c.nc.LocalAddr(), c.name, age, flags, c.rd.Buffered(), strconv.Itoa(max(2, c.w.Proto)), c.libName, c.libVer)
}
