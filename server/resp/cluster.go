package resp

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/raftkv/raftkv/node"
	wire "github.com/raftkv/raftkv/resp"
	"github.com/raftkv/raftkv/statemachine"
)

// A cluster-aware client sees one shard with all slots: its master is the leader,
// its replicas are the other members. It then goes straight to the leader.

// clusterCommands are what such clients ask.
func clusterCommands() []command {
	const local = fLocal | fLoading
	return []command{
		{name: "cluster", arity: -2, group: "cluster", since: "3.0.0", cost: "O(n) in the members", summary: "The cluster in the words of Redis Cluster: one shard with all slots", subs: []*command{
			{name: "countkeysinslot", arity: 3, flags: fRead, since: "3.0.0", cost: "O(1)", syntax: "slot", summary: "Count the keys, which are all in one shard: slots are not told apart, so that slot 0 has all", parse: parseCountKeys, tell: tellCountKeys},
			{name: "info", arity: 2, flags: local, since: "3.0.0", cost: "O(n) in the members", summary: "Describe the cluster", local: clusterInfo},
			{name: "keyslot", arity: 3, flags: local, since: "3.0.0", cost: "O(n) in the key", syntax: "key", summary: "Get the hash slot of a key", local: func(c *conn, args [][]byte) { c.w.Int(int64(slotOf(args[2]))) }},
			{name: "myid", arity: 2, flags: local, since: "3.0.0", cost: "O(1)", summary: "Get this node's id", local: func(c *conn, _ [][]byte) { c.w.BulkString(clusterID(c.srv.backend.Status().ID)) }},
			{name: "nodes", arity: 2, flags: local, since: "3.0.0", cost: "O(n) in the members", summary: "List the members", local: clusterNodes},
			{name: "shards", arity: 2, flags: local, since: "7.0.0", cost: "O(n) in the members", summary: "List the one shard", local: clusterShards},
			{name: "slots", arity: 2, flags: local, since: "3.0.0", cost: "O(n) in the members", summary: "List the slots with the leader and the others", local: clusterSlots},
			helpCommand(),
		}},
	}
}

// slotOf is the hash slot of Redis Cluster: CRC16 of the key, or of what stands
// between its first { and the next }.
func slotOf(key []byte) int {
	if i := bytes.IndexByte(key, '{'); i >= 0 {
		if n := bytes.IndexByte(key[i+1:], '}'); n > 0 {
			key = key[i+1 : i+1+n]
		}
	}
	crc := uint16(0)
	for _, c := range key {
		crc ^= uint16(c) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return int(crc) % hashSlots
}

// hashSlots of a cluster: all of them are the one shard's.
const hashSlots = 16384

// clusterID makes 40 hexadecimal digits of a node's id, which clients expect.
func clusterID(id string) string {
	hex := strings.Map(func(r rune) rune {
		if '0' <= r && r <= '9' || 'a' <= r && r <= 'f' {
			return r
		}
		return -1
	}, strings.ToLower(id))
	return strings.Repeat("0", max(0, 40-len(hex))) + hex[:min(len(hex), 40)]
}

// inOrder are the members, the leader first if there is one.
func inOrder(st *node.Status) (list []node.MemberStatus, led bool) {
	m, led := leaderOf(st)
	if led {
		list = append(list, m)
	}
	for _, o := range st.Members {
		if !led || o.ID != m.ID {
			list = append(list, o)
		}
	}
	return list, led
}

func clusterSlots(c *conn, _ [][]byte) {
	st := c.srv.backend.Status()
	list, led := inOrder(&st)
	if !led {
		c.w.Array(0) // clients ask again, or another node
		return
	}
	c.w.Array(1)
	c.w.Array(2 + len(list))
	c.w.Int(0)
	c.w.Int(hashSlots - 1)
	for _, m := range list {
		host, port := splitAddr(m.Client)
		n, _ := strconv.Atoi(port)
		c.w.Array(4)
		c.w.BulkString(host)
		c.w.Int(int64(n))
		c.w.BulkString(clusterID(m.ID))
		c.w.Array(0)
	}
}

func clusterShards(c *conn, _ [][]byte) {
	st := c.srv.backend.Status()
	list, led := inOrder(&st)
	c.w.Array(1)
	c.w.Map(2)
	c.w.BulkString("slots")
	c.w.Array(2)
	c.w.Int(0)
	c.w.Int(hashSlots - 1)
	c.w.BulkString("nodes")
	c.w.Array(len(list))
	for i, m := range list {
		host, port := splitAddr(m.Client)
		n, _ := strconv.Atoi(port)
		role, offset := "replica", m.Match
		if led && i == 0 {
			role = "master"
		}
		if m.ID == st.ID {
			offset = st.AppliedIndex
		}
		c.w.Map(7)
		c.w.BulkString("id")
		c.w.BulkString(clusterID(m.ID))
		c.w.BulkString(portName(c.srv))
		c.w.Int(int64(n))
		c.w.BulkString("ip")
		c.w.BulkString(host)
		c.w.BulkString("endpoint")
		c.w.BulkString(host)
		c.w.BulkString("role")
		c.w.BulkString(role)
		c.w.BulkString("replication-offset")
		c.w.Int(int64(offset))
		c.w.BulkString("health")
		c.w.BulkString("online")
	}
}

func portName(s *Server) string {
	if s.cfg.Encrypted {
		return "tls-port"
	}
	return "port"
}

func clusterNodes(c *conn, _ [][]byte) {
	st := c.srv.backend.Status()
	list, led := inOrder(&st)
	var b strings.Builder
	for i, m := range list {
		flags, master, slots := "slave", "-", ""
		switch {
		case led && i == 0:
			flags, slots = "master", fmt.Sprintf(" 0-%d", hashSlots-1)
		case led:
			master = clusterID(list[0].ID)
		}
		if m.ID == st.ID {
			flags = "myself," + flags
		}
		_, peer := splitAddr(m.Peer)
		fmt.Fprintf(&b, "%s %s@%s %s %s 0 0 %d connected%s\n", clusterID(m.ID), m.Client, peer, flags, master, st.Term, slots)
	}
	c.w.Verbatim(b.String())
}

func clusterInfo(c *conn, _ [][]byte) {
	st := c.srv.backend.Status()
	_, led := inOrder(&st)
	state, ok := "fail", 0
	if led {
		state, ok = "ok", hashSlots
	}
	var b strings.Builder
	for _, kv := range []struct {
		key   string
		value any
	}{
		{"cluster_enabled", 1}, {"cluster_state", state}, {"cluster_slots_assigned", hashSlots}, {"cluster_slots_ok", ok}, {"cluster_slots_pfail", 0}, {"cluster_slots_fail", hashSlots - ok},
		{"cluster_known_nodes", len(st.Members)}, {"cluster_size", 1}, {"cluster_current_epoch", st.Term}, {"cluster_my_epoch", st.Term},
	} {
		fmt.Fprintf(&b, "%s:%v\r\n", kv.key, kv.value)
	}
	c.w.Verbatim(b.String())
}

func parseCountKeys(r *request) string {
	n, ok := wire.ParseInt(r.args[2])
	if !ok || n < 0 || n >= hashSlots {
		return "ERR Invalid or out of range slot"
	}
	r.cmd.Op, r.aux = statemachine.OpDBSize, uint64(n)
	return ""
}

func tellCountKeys(_ *Server, w *wire.Writer, res statemachine.Result, sl *slot) {
	if sl.aux != 0 {
		w.Int(0)
		return
	}
	w.Int(res.Int)
}

// moved is the answer to a command on keys in mode moved, if another node leads:
// where that is. Without a leader the node itself says so, in its own words.
func (c *conn) moved(cmd *command, args [][]byte) (text string, ok bool) {
	about := cmd.name
	if cmd.parent != nil {
		about = cmd.parent.name
	}
	if cmd.flags&(fWrite|fRead) == 0 || about == "info" || about == "acl" || about == "cluster" || about == "raft" {
		return "", false
	}
	st := c.srv.backend.Status()
	m, led := leaderOf(&st)
	if !led || m.ID == st.ID {
		return "", false
	}
	slot := 0
	if cmd.keys[0] > 0 && cmd.keys[0] < len(args) {
		slot = slotOf(args[cmd.keys[0]])
	}
	return fmt.Sprintf("MOVED %d %s", slot, m.Client), true
}
