package resp

import (
	"context"
	"encoding/json"

	wire "github.com/raftkv/raftkv/resp"
)

// raftCommands are for people and tools that run a cluster; Redis has none of them.
func raftCommands() []command {
	const admin = fLocal | fAdmin | fBlocks
	return []command{
		{name: "raft", arity: -2, group: "raft", summary: "The cluster: status, members, leadership", subs: []*command{
			{name: "status", arity: 2, flags: fLocal | fLoading, cost: "O(1)", summary: "Describe this node as JSON",
				local: func(c *conn, _ [][]byte) { c.json(c.srv.backend.Status()) }},
			{name: "members", arity: 2, flags: fLocal | fLoading, cost: "O(1)", summary: "List the members as JSON, as this node knows them",
				local: func(c *conn, _ [][]byte) { c.json(c.srv.backend.Status().Members) }},
			{name: "id", arity: 2, flags: fLocal | fLoading, cost: "O(1)", summary: "Get the cluster's UUID; empty before its birth",
				local: func(c *conn, _ [][]byte) { c.w.BulkString(c.srv.backend.Status().Cluster) }},
			{name: "scan", arity: -3, flags: fRead, cost: "O(count)", syntax: "after [MATCH pattern] [COUNT count]",
				summary: "List the keys after a key in the order of their bytes: the key to go on after (empty: no more), then the keys. On any node, unlike SCAN",
				parse:   parseRaftScan},
			{name: "member", arity: -4, flags: admin, cost: "waits for the cluster",
				syntax:  "ADD name peer-address [DRYRUN] | PROMOTE name [DRYRUN] | REMOVE name [DRYRUN]",
				summary: "Add a learner, make it a voter, or remove a member; DRYRUN only says what would happen", local: member},
			{name: "transfer", arity: -2, flags: admin, cost: "waits for the cluster", syntax: "[name]",
				summary: "Hand leadership to a node, or to the best one", local: transfer},
			{name: "snapshot", arity: 2, flags: admin, cost: "O(n) in the state", summary: "Write a snapshot of this node now",
				local: func(c *conn, _ [][]byte) {
					c.admin(func(ctx context.Context, a Admin) (string, error) { return a.Snapshot(ctx) })
				}},
			helpCommand(),
		}},
	}
}

// member changes the membership.
func member(c *conn, args [][]byte) {
	verb, args := args[2], args[3:]
	dry := false
	if n := len(args); n > 1 && is(args[n-1], "dryrun") {
		dry, args = true, args[:n-1]
	}
	name := string(args[0])
	switch {
	case is(verb, "add") && len(args) == 2:
		peer := string(args[1])
		c.admin(func(ctx context.Context, a Admin) (string, error) { return a.AddMember(ctx, name, peer, dry) })
	case is(verb, "promote") && len(args) == 1:
		c.admin(func(ctx context.Context, a Admin) (string, error) { return a.Promote(ctx, name, dry) })
	case is(verb, "remove") && len(args) == 1:
		c.admin(func(ctx context.Context, a Admin) (string, error) { return a.Remove(ctx, name, dry) })
	default:
		c.w.Error(errSyntax)
	}
}

func transfer(c *conn, args [][]byte) {
	name := ""
	if len(args) > 3 {
		c.w.Error(errSyntax)
		return
	}
	if len(args) == 3 {
		name = string(args[2])
	}
	c.admin(func(ctx context.Context, a Admin) (string, error) { return a.Transfer(ctx, name) })
}

// admin runs a change of the cluster and writes its outcome.
func (c *conn) admin(do func(context.Context, Admin) (string, error)) {
	if c.srv.admin == nil {
		c.w.Error("ERR this server can't change the cluster")
		return
	}
	ctx, cancel := context.WithTimeout(c.ctx, c.srv.cfg.AdminTimeout)
	defer cancel()
	said, err := do(ctx, c.srv.admin)
	if err != nil {
		c.w.Error(adminText(err, c.srv.backend.Status()))
		return
	}
	c.w.BulkString(said)
}

func (c *conn) json(v any) {
	b, err := json.Marshal(v)
	if err != nil {
		c.w.Error("ERR " + err.Error())
		return
	}
	c.w.Bulk(b)
}

// parseRaftScan is SCAN with the key itself as the cursor.
func parseRaftScan(r *request) string {
	var pattern []byte
	count := int64(100)
	for i := 3; i < len(r.args); i += 2 {
		if i+1 >= len(r.args) {
			return errSyntax
		}
		switch {
		case is(r.args[i], "match"):
			pattern = r.args[i+1]
		case is(r.args[i], "count"):
			n, ok := wire.ParseInt(r.args[i+1])
			if !ok {
				return errInteger
			}
			if n < 1 {
				return errSyntax
			}
			count = min(n, maxScanCount)
		default:
			return errSyntax
		}
	}
	r.scan(string(r.args[2]), pattern, count)
	if text := patternTooLong(pattern); text != "" {
		return text
	}
	return r.tooLong(r.args[2])
}
