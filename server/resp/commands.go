package resp

import (
	"slices"
	"strconv"
	"strings"

	"github.com/raftkv/raftkv/node"
	wire "github.com/raftkv/raftkv/resp"
	"github.com/raftkv/raftkv/statemachine"
)

// serverCommands describe this server.
func serverCommands() []command {
	const local = fLocal | fLoading
	return []command{
		{name: "command", arity: -1, flags: local, group: "server", since: "2.8.13", cost: "O(n) in the commands", summary: "Describe the commands", local: allCommands, subs: []*command{
			{name: "count", arity: 2, flags: local, since: "2.8.13", cost: "O(1)", summary: "Count the commands",
				local: func(c *conn, _ [][]byte) { c.w.Int(int64(len(c.srv.table.list))) }},
			{name: "docs", arity: -2, flags: local, since: "7.0.0", cost: "O(n)", syntax: "[command-name [command-name ...]]", summary: "Document commands", local: commandDocs},
			{name: "info", arity: -2, flags: local, since: "2.8.13", cost: "O(n)", syntax: "[command-name [command-name ...]]", summary: "Describe commands", local: commandInfo},
			{name: "getkeys", arity: -3, flags: local, since: "2.8.13", cost: "O(n)", syntax: "command [arg [arg ...]]", summary: "List the keys in a request", local: func(c *conn, args [][]byte) { commandKeys(c, args, false) }},
			{name: "getkeysandflags", arity: -3, flags: local, since: "7.0.0", cost: "O(n)", syntax: "command [arg [arg ...]]", summary: "List the keys in a request, and what is done with them", local: func(c *conn, args [][]byte) { commandKeys(c, args, true) }},
			{name: "list", arity: -2, flags: local, since: "7.0.0", cost: "O(n)", syntax: "[FILTERBY MODULE module-name | ACLCAT category | PATTERN pattern]", summary: "List the names of commands", local: commandList},
			helpCommand(),
		}},
		{name: "config", arity: -2, flags: local | fAdmin, group: "server", since: "2.0.0", cost: "O(n)", summary: "Settings that clients of Redis ask for", subs: []*command{
			{name: "get", arity: -3, flags: local | fAdmin, since: "2.0.0", cost: "O(n)", syntax: "parameter [parameter ...]", summary: "Get settings by pattern", local: configGet},
			{name: "resetstat", arity: 2, flags: local | fAdmin, since: "2.0.0", cost: "O(1)", summary: "Set the counters of INFO to zero", local: configResetStat},
			{name: "rewrite", arity: 2, flags: local | fAdmin, since: "2.8.0", cost: "O(1)", summary: "Refused: the YAML file belongs to people", local: func(c *conn, _ [][]byte) {
				c.w.Error("ERR this node doesn't write its configuration file; change the YAML by hand")
			}},
			{name: "set", arity: -4, flags: local | fAdmin, since: "2.0.0", cost: "O(n)", syntax: "parameter value [parameter value ...]",
				summary: "Change settings of this node until it ends: notify-keyspace-events, slowlog-log-slower-than, slowlog-max-len, timeout", local: configSet},
			helpCommand(),
		}},
		{name: "info", arity: -1, flags: local, group: "server", since: "1.0.0", cost: "O(1)", syntax: "[section [section ...]]",
			summary: "Describe this node: " + strings.Join(sectionNames(), " "), parse: parseInfo, tell: tellInfo},
		{name: "role", arity: 1, flags: local | fFast, group: "server", since: "2.8.12", cost: "O(1)",
			summary: "Tell whether this node leads (master) or follows (slave), as it knows", local: role},
	}
}

func allCommands(c *conn, _ [][]byte) {
	c.w.Array(len(c.srv.table.list))
	for _, cmd := range c.srv.table.list {
		describe(&c.w, cmd)
	}
}

// describe writes a command as COMMAND INFO does.
func describe(w *wire.Writer, cmd *command) {
	w.Array(10)
	w.BulkString(cmd.fullName())
	w.Int(int64(cmd.arity))
	var names []string
	for _, f := range flagNames {
		if cmd.flags&f.flag != 0 {
			names = append(names, f.name)
		}
	}
	statuses(w, names)
	for _, k := range cmd.keys {
		w.Int(int64(k))
	}
	statuses(w, cmd.categories())
	w.Set(0) // tips
	if cmd.keys[0] == 0 {
		w.Set(0)
	} else {
		w.Set(1)
		describeKeys(w, cmd)
	}
	w.Array(len(cmd.subs))
	for _, s := range cmd.subs {
		describe(w, s)
	}
}

func statuses(w *wire.Writer, list []string) {
	w.Set(len(list))
	for _, s := range list {
		w.Status(s)
	}
}

// dangerous are commands that Redis calls so, beside those of administrators:
// they tell much, take long, or destroy.
var dangerous = map[string]bool{"info": true, "keys": true, "role": true, "flushall": true, "flushdb": true}

func (c *command) categories() []string {
	var names []string
	add := func(ok bool, name string) {
		if ok {
			names = append(names, "@"+name)
		}
	}
	add(c.flags&fWrite != 0 && c.flags&fPubSub == 0, "write")
	add(c.flags&fRead != 0, "read")
	add(c.group == "string", "string")
	add(c.group == "generic", "keyspace")
	add(c.flags&fPubSub != 0, "pubsub")
	add(c.flags&fConn != 0, "connection")
	add(c.flags&fAdmin != 0, "admin")
	add(c.flags&fAdmin != 0 || dangerous[c.fullName()], "dangerous")
	add(c.flags&fFast != 0, "fast")
	add(c.flags&fFast == 0, "slow")
	return names
}

func describeKeys(w *wire.Writer, cmd *command) {
	w.Map(3)
	w.BulkString("flags")
	statuses(w, keyFlags(cmd, cmd.needs(nil).first))
	w.BulkString("begin_search")
	w.Map(2)
	w.BulkString("type")
	w.BulkString("index")
	w.BulkString("spec")
	w.Map(1)
	w.BulkString("index")
	w.Int(int64(cmd.keys[0]))
	w.BulkString("find_keys")
	w.Map(2)
	w.BulkString("type")
	w.BulkString("range")
	w.BulkString("spec")
	w.Map(3)
	last := cmd.keys[1]
	if last > 0 {
		last -= cmd.keys[0] // relative to the first
	}
	w.BulkString("lastkey")
	w.Int(int64(last))
	w.BulkString("keystep")
	w.Int(int64(cmd.keys[2]))
	w.BulkString("limit")
	w.Int(0)
}

func commandInfo(c *conn, args [][]byte) {
	if len(args) == 2 {
		allCommands(c, args)
		return
	}
	c.w.Array(len(args) - 2)
	for _, name := range args[2:] {
		if cmd := c.srv.table.find(name); cmd != nil {
			describe(&c.w, cmd)
		} else {
			c.w.NullArray()
		}
	}
}

func commandList(c *conn, args [][]byte) {
	keep := func(string) bool { return true }
	switch {
	case len(args) == 2:
	case len(args) == 5 && is(args[2], "filterby") && is(args[3], "module"):
		keep = func(string) bool { return false } // there are no modules
	case len(args) == 5 && is(args[2], "filterby") && is(args[3], "aclcat"):
		in, _ := c.srv.access.Catalog().In(string(args[4]))
		keep = func(name string) bool { return slices.Contains(in, name) }
	case len(args) == 5 && is(args[2], "filterby") && is(args[3], "pattern"):
		keep = func(name string) bool { return statemachine.MatchGlob([]byte(strings.ToLower(string(args[4]))), name) }
	default:
		c.w.Error(errSyntax)
		return
	}
	var names []string
	for _, cmd := range c.srv.table.list {
		if keep(cmd.name) {
			names = append(names, cmd.name)
		}
		for _, s := range cmd.subs {
			if keep(s.fullName()) {
				names = append(names, s.fullName())
			}
		}
	}
	c.w.Array(len(names))
	for _, n := range names {
		c.w.BulkString(n)
	}
}

func commandDocs(c *conn, args [][]byte) {
	var list []*command
	if len(args) == 2 {
		list = c.srv.table.list
	}
	for _, name := range args[2:] {
		if cmd := c.srv.table.find(name); cmd != nil {
			list = append(list, cmd)
		}
	}
	documents(&c.w, list)
}

// documents writes commands as COMMAND DOCS does. The arguments are one text,
// which redis-cli shows as a hint.
func documents(w *wire.Writer, list []*command) {
	w.Map(len(list))
	for _, cmd := range list {
		w.BulkString(cmd.fullName())
		n := 4
		if cmd.syntax != "" {
			n++
		}
		if len(cmd.subs) > 0 {
			n++
		}
		w.Map(n)
		since := cmd.since
		if since == "" {
			since = "raftkv"
		}
		for _, kv := range [][2]string{{"summary", cmd.summary}, {"since", since}, {"group", cmd.group}, {"complexity", cmd.cost}} {
			w.BulkString(kv[0])
			w.BulkString(kv[1])
		}
		if cmd.syntax != "" {
			w.BulkString("arguments")
			w.Array(1)
			w.Map(2)
			w.BulkString("name")
			w.BulkString(cmd.syntax)
			w.BulkString("type")
			w.BulkString("string")
		}
		if len(cmd.subs) > 0 {
			w.BulkString("subcommands")
			documents(w, cmd.subs)
		}
	}
}

func role(c *conn, _ [][]byte) {
	st := c.srv.backend.Status()
	if st.Role == "leader" {
		var others []node.MemberStatus
		for _, m := range st.Members {
			if m.ID != st.ID {
				others = append(others, m)
			}
		}
		c.w.Array(3)
		c.w.BulkString("master")
		c.w.Int(int64(st.CommitIndex))
		c.w.Array(len(others))
		for _, m := range others {
			host, port := splitAddr(m.Client)
			c.w.Array(3)
			c.w.BulkString(host)
			c.w.BulkString(port)
			c.w.BulkString(strconv.FormatUint(m.Match, 10))
		}
		return
	}
	host, port, state := "", "0", "connect"
	if m, ok := leaderOf(&st); ok {
		host, port = splitAddr(m.Client)
		state = "connected"
	}
	n, _ := strconv.Atoi(port)
	c.w.Array(5)
	c.w.BulkString("slave")
	c.w.BulkString(host)
	c.w.Int(int64(n))
	c.w.BulkString(state)
	c.w.Int(int64(st.AppliedIndex))
}

// leaderOf is the member that leads, as far as this node knows.
func leaderOf(s *node.Status) (node.MemberStatus, bool) {
	for _, m := range s.Members {
		if s.Leader != "" && m.ID == s.Leader {
			return m, true
		}
	}
	return node.MemberStatus{}, false
}

// parseInfo asks for the number of keys as this node has them: INFO must be
// answered without a leader, too.
func parseInfo(r *request) string {
	r.cmd.Op, r.stale = statemachine.OpDBSize, true
	r.aux = sectionMask(r.args[1:])
	return ""
}
