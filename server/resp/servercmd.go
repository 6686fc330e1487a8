package resp

import (
	"context"
	"slices"
	"strconv"
	"time"

	wire "github.com/raftkv/raftkv/resp"
	"github.com/raftkv/raftkv/server/access"
	"github.com/raftkv/raftkv/statemachine"
)

// nodeCommands are about this node as a whole.
func nodeCommands() []command {
	const local = fLocal | fLoading
	const admin = local | fAdmin
	return []command{
		{name: "bgsave", arity: -1, flags: admin, group: "server", since: "1.0.0", cost: "O(n) in the state", syntax: "[SCHEDULE]", summary: "Begin a snapshot of this node; writes are durable without", local: bgSave},
		{name: "save", arity: 1, flags: admin | fBlocks | fNoMulti, group: "server", since: "1.0.0", cost: "O(n) in the state", summary: "Write a snapshot of this node and wait for it", local: func(c *conn, _ [][]byte) {
			c.admin(func(ctx context.Context, a Admin) (string, error) { return a.Snapshot(ctx) })
			if c.w.Bytes()[0] != '-' {
				c.w.Reset(4 << 10)
				c.w.Status("OK")
			}
		}},
		{name: "function", arity: -2, group: "scripting", since: "7.0.0", cost: "O(1)", summary: "There are no functions", subs: []*command{
			{name: "flush", arity: -2, flags: local, since: "7.0.0", cost: "O(1)", syntax: "[ASYNC | SYNC]", summary: "There are none: OK", local: func(c *conn, args [][]byte) {
				if len(args) > 3 || len(args) == 3 && !is(args[2], "async") && !is(args[2], "sync") {
					c.w.Error("ERR FUNCTION FLUSH only supports SYNC|ASYNC option")
					return
				}
				c.w.Status("OK")
			}},
			helpCommand(),
		}},
		{name: "lastsave", arity: 1, flags: admin | fFast, group: "server", since: "1.0.0", cost: "O(1)", summary: "Get the log time of the newest snapshot, in seconds since the Unix epoch; 0 if there is none",
			local: func(c *conn, _ [][]byte) { c.w.Int(c.srv.backend.Status().SnapshotTime) }},
		{name: "monitor", arity: 1, flags: admin | fNoMulti, group: "server", since: "1.0.0", cost: "O(1)", summary: "See all requests of this node's clients, but those with passwords", local: monitor},
		{name: "shutdown", arity: -1, flags: admin | fNoMulti, group: "server", since: "1.0.0", cost: "waits for the cluster", syntax: "[NOSAVE | SAVE] [NOW] [FORCE] [ABORT]",
			summary: "End this node in order; whoever supervises it may start it again", local: shutdown},
		{name: "time", arity: 1, flags: local | fFast, group: "server", since: "2.6.0", cost: "O(1)", summary: "Get this node's clock: seconds and microseconds",
			local: func(c *conn, _ [][]byte) {
				now := time.Now().UnixMicro()
				c.w.Array(2)
				c.w.BulkString(strconv.FormatInt(now/1e6, 10))
				c.w.BulkString(strconv.FormatInt(now%1e6, 10))
			}},
		{name: "wait", arity: 3, flags: fRead, group: "generic", since: "3.0.0", cost: "O(1)", syntax: "numreplicas timeout",
			summary: "Tell how many other nodes surely have this connection's earlier writes on disk: a majority's worth always, without waiting for more", parse: parseWait, tell: tellWait},
	}
}

func bgSave(c *conn, args [][]byte) {
	switch {
	case len(args) > 2 || len(args) == 2 && !is(args[1], "schedule"):
		c.w.Error(errSyntax)
		return
	case c.srv.admin == nil:
		c.w.Error("ERR this server can't change the cluster")
		return
	case !c.srv.saving.CompareAndSwap(false, true):
		c.w.Error("ERR Background save already in progress")
		return
	}
	c.srv.all.Add(1)
	// Ends with the snapshot, or after AdminTimeout. Shutdown waits for it.
	go func() {
		defer c.srv.all.Done()
		defer c.srv.saving.Store(false)
		ctx, cancel := context.WithTimeout(context.Background(), c.srv.cfg.AdminTimeout)
		defer cancel()
		if _, err := c.srv.admin.Snapshot(ctx); err != nil {
			c.srv.cfg.Log.Warn("snapshot that a client asked for", "err", err)
		}
	}()
	c.w.Status("Background saving started")
}

func shutdown(c *conn, args [][]byte) {
	for _, a := range args[1:] {
		switch {
		case is(a, "abort"):
			c.w.Error("ERR No shutdown in progress.")
			return
		case !is(a, "nosave") && !is(a, "save") && !is(a, "now") && !is(a, "force"):
			c.w.Error(errSyntax)
			return
		}
	}
	if c.srv.cfg.Stop == nil {
		c.w.Error("ERR this server can't be shut down by a client")
		return
	}
	c.srv.cfg.Log.Warn("shut down by a client", "remote", c.nc.RemoteAddr().String(), "user", c.user.Name())
	c.srv.cfg.Stop()
	c.w.Status("OK") // Redis answers nothing, because it is gone; we are busy handing over
}

// parseWait is a read, so that it comes behind the earlier writes of the connection.
func parseWait(r *request) string {
	n, ok := wire.ParseInt(r.args[1])
	timeout, ok2 := wire.ParseInt(r.args[2])
	switch {
	case !ok || n < 0:
		return errInteger
	case !ok2:
		return "ERR timeout is not an integer or out of range"
	case timeout < 0:
		return "ERR timeout is negative"
	}
	r.cmd.Op, r.stale = statemachine.OpDBSize, false
	return ""
}

// tellWait counts the nodes that have all that was committed. The leader knows;
// others know that a majority has it.
func tellWait(s *Server, w *wire.Writer, _ statemachine.Result, _ *slot) {
	st := s.backend.Status()
	voters, have := 0, 0
	for _, m := range st.Members {
		if !m.Learner {
			voters++
		}
		if m.ID != st.ID && m.Match >= st.CommitIndex && m.Match > 0 {
			have++
		}
	}
	w.Int(int64(max(have, voters/2)))
}

// commandKeys is COMMAND GETKEYS, with flags or without.
func commandKeys(c *conn, args [][]byte, flags bool) {
	cmd := c.srv.table.find(args[2])
	if cmd == nil || cmd.parent != nil {
		c.w.Error("ERR Invalid command specified")
		return
	}
	inner := args[2:]
	if len(cmd.subs) > 0 && len(inner) > 1 {
		if sub := cmd.sub(inner[1]); sub != nil {
			cmd = sub
		}
	}
	if !cmd.fits(len(inner)) {
		c.w.Error("ERR Invalid number of arguments specified for command")
		return
	}
	type key struct {
		name []byte
		need access.Need
	}
	var keys []key
	cmd.eachKey(inner, func(i int, n access.Need) bool {
		keys = append(keys, key{inner[i], n})
		return true
	})
	if len(keys) == 0 {
		c.w.Error("ERR The command has no key arguments")
		return
	}
	c.w.Array(len(keys))
	for _, k := range keys {
		if !flags {
			c.w.Bulk(k.name)
			continue
		}
		c.w.Array(2)
		c.w.Bulk(k.name)
		statuses(&c.w, keyFlags(cmd, k.need))
	}
}

// overwrites are commands that don't mind what was there, with one of their keys
// that they only write.
var overwrites = []string{"set", "mset", "setex", "psetex", "setnx", "msetnx", "rename", "renamenx", "copy", "bitop"}

// keyFlags are Redis's words for what a command does with a key.
func keyFlags(cmd *command, n access.Need) []string {
	names := []string{"RO"}
	if n&access.Write != 0 {
		names[0] = "RW"
		switch {
		case cmd.name == "del" || cmd.name == "unlink":
			names[0] = "RM"
		case n == access.Write && slices.Contains(overwrites, cmd.name):
			names[0] = "OW"
		}
	}
	if n&access.Read != 0 {
		names = append(names, "access")
	}
	if n&access.Write != 0 {
		what := "update"
		switch cmd.name {
		case "del", "unlink", "getdel":
			what = "delete"
		case "rename", "renamenx":
			if n&access.Read != 0 {
				what = "delete"
			}
		case "append", "setnx", "msetnx":
			what = "insert"
		}
		names = append(names, what)
	}
	return names
}
