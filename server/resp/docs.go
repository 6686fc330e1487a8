package resp

import (
	"fmt"
	"strings"
)

// Docs is docs/commands.md: what clients can say, made from the table of commands.
func Docs() string {
	var b strings.Builder
	b.WriteString(`# Commands

Made from the table in server/resp by ` + "`go test ./server/resp -update`" + `. Any node takes any command; a follower forwards what
needs the leader. Replies follow Redis ` + redisVersion + ` to the letter, in version 2 or 3 of the protocol (HELLO). Names are case-blind.

- **write**: goes through the log; once answered it is on the disks of a majority.
- **read**: linearizable; after READONLY this node's own state, which may be old.
- **local**: answered by this node alone, also without a leader.

| command | kind | since Redis | cost | what it does |
|---|---|---|---|---|
`)
	row := func(c *command) {
		name := strings.ToUpper(strings.ReplaceAll(c.fullName(), "|", " "))
		if c.syntax != "" {
			name += " " + c.syntax
		}
		kind := "local"
		switch {
		case c.flags&fWrite != 0:
			kind = "write"
		case c.flags&fRead != 0:
			kind = "read"
		case c.fullName() == "acl|setuser": // it reads before it writes
			kind = "write"
		case c.flags&(fBlocks|fAdmin) == fBlocks|fAdmin && c.fullName() != "raft|snapshot": // that one works on this node alone
			kind = "change of the cluster"
		}
		since := c.since
		if since == "" {
			since = "-"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", strings.ReplaceAll(name, "|", "\\|"), kind, since, c.cost, c.summary)
	}
	for _, c := range newTable().list {
		if !c.container() {
			row(c)
		}
		for _, s := range c.subs {
			if s.name != "help" {
				row(s)
			}
		}
	}
	b.WriteString(`
Each group of subcommands has HELP. Anything else is answered with Redis's "unknown command".

## When there is no result

A request ends as applied (its reply), surely not applied, or unknown. The prefix of the error says which.

| prefix | outcome | means |
|---|---|---|
`)
	for _, p := range prefixes() {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", p.prefix, p.outcome, p.means)
	}
	b.WriteString(`
A read has no effect: its outcome is never unknown, and it may be asked again.

## Limits

| what | setting | default | beyond it |
|---|---|---|---|
`)
	c := Config{}.withDefaults()
	for _, r := range [][4]string{
		{"key", "limits.key_bytes", size(c.KeyBytes), "an error that names the limit; the connection goes on"},
		{"value", "limits.value_bytes", size(c.ValueBytes), "the same; the value is read and thrown away"},
		{"request", "limits.command_bytes", size(c.CommandBytes), "the same"},
		{"arguments of a request", "-", "65,536", "protocol error; the connection is closed"},
		{"line (inline request, header)", "-", "64 KiB", "protocol error; the connection is closed"},
		{"bulk string", "-", "512 MiB", "protocol error; the connection is closed"},
		{"connections", "redis.clients", fmt.Sprint(c.Clients), "`ERR max number of clients reached`"},
		{"arguments of a request before AUTH", "-", "10 of 16 KiB", "protocol error; the connection is closed"},
		{"time without AUTH, if it is needed", "-", c.AuthTimeout.String(), "the connection is closed"},
		{"wrong passwords from one address", "-", "10 a minute", "its tries are let in four a second, right ones too; refused as BUSY if that would take above 5 s"},
		{"subscriptions of a connection; prefixes that it tracks", "-", fmt.Sprintf("%d of %s", maxSubscriptions, size(maxSubscribedBytes)), "an error; the connection goes on"},
		{"bytes of messages that a subscriber leaves", "redis.output_bytes", size(c.OutputBytes), "the connection is closed"},
		{"keys that are tracked for a connection", "-", fmt.Sprintf("%d of %s", maxTracked, size(maxTrackedBytes)), "it is told to forget all of them"},
		{"commands that wait for replies, a connection", "redis.pipeline", fmt.Sprint(c.Pipeline), "the connection isn't read"},
		{"bytes of requests and replies, a connection", "redis.output_bytes", size(c.OutputBytes), "the connection isn't read; closed at four times as much"},
		{"no byte of a reply taken", "redis.write_timeout", c.WriteTimeout.String(), "the connection is closed"},
		{"pattern of keys or channels from its first `*`, `?` or `[` on", "-", size(maxPatternBytes), "an error; the connection goes on"},
		{"COUNT of a scan", "-", fmt.Sprint(maxScanCount), "taken as this"},
		{"scans under way, a node", "-", fmt.Sprint(maxCursors), "the oldest is told `ERR invalid cursor`"},
	} {
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", r[0], r[1], r[2], r[3])
	}
	b.WriteString(`
## Where this differs from Redis

- One database, values are strings, nothing is evicted.
- SCAN goes through the keys in the order of their bytes: a key that is there all the time is answered exactly once. Its cursor is a
  number that this node keeps for a place; another node, or the same one after a restart, answers ` + "`ERR invalid cursor`" + `. RAFT SCAN has
  the key itself as its cursor and may go on anywhere.
- A bulk string must end with a line end: Redis skips two bytes unseen.
- Expiry follows the time in the log, so that all nodes agree.
- Log time is up to 10 ms behind the clock; a time to live is told by it.
- A block between MULTI and EXEC is one entry of the log. EXEC may answer nil though nobody touched the watched keys, if one of them
  was missing and another key that has the same 12 bits of a hash was made meanwhile. PING and the like in a block run when its outcome is known.
- EXEC ONCE answers a repetition with the first result if the commands are the same and the watched keys are as they were. If these
  have changed since, be it by the first attempt, it answers SEQREUSED: that number ran, this attempt did nothing. Read what there is, and go on
  with the next number. RANDOMKEY in such a block draws by session and number.
- ` + "`BITFIELD key OVERFLOW SAT SET i5 0 -9223372036854775808`" + ` stores the smallest number; Redis stores the largest there.
- OBJECT ENCODING goes by the value alone; OBJECT IDLETIME and FREQ are errors.
- READONLY and READWRITE work without Redis Cluster. CLUSTER shows one shard whose master is the leader.
- Users live in the log: there is no file of users, and no selectors. A change holds at a node once that has applied it; the node that
  was asked knows it when it answers. Rules are told in the order in which they were given.
- Messages go through the log: subscribers of all nodes get them in one order. A subscriber that messages were lost for (a snapshot
  jumped over them) is disconnected, so that it knows.
- SUBSCRIBE, CLIENT, SLOWLOG, MONITOR, INFO and CONFIG are about the node that is asked. CONFIG SET lasts until the node ends.
- SLOWLOG is off until CONFIG SET slowlog-log-slower-than asks for it, and its times include the log and the disks of a majority.
- WAIT doesn't wait: what was answered is on a majority's disks already.
- SHUTDOWN answers OK, because handing over takes a moment.

## What is left out

| what | why |
|---|---|
| lists, sets, sorted sets, hashes, streams, HyperLogLog, geo; SORT | values are strings |
| EVAL, SCRIPT, FUNCTION LOAD, FCALL, modules | what runs must be the same on every node, for ever |
| BLPOP and the like | there is nothing to wait for; watches are at /v1/watch and in keyspace notifications |
| SWAPDB, MOVE, SELECT of another number | there is one database |
| REPLICAOF, PSYNC, FAILOVER, CLUSTER that changes anything | Raft does it: RAFT MEMBER, RAFT TRANSFER |
| DUMP, RESTORE, MIGRATE | ` + "`raftkv dump`" + ` and ` + "`raftkv load`" + ` move keys as lines of JSON |
| DEBUG, MEMORY but USAGE, LATENCY, CONFIG SET of most settings | settings are of the file; metrics say the rest |

Redis 7.0.15's own tests run against this server in test/compat/tcl; what they need beyond it is listed there in skip.txt.
`)
	return b.String()
}

func size(n int) string {
	if n%(1<<20) == 0 {
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d KiB", n>>10)
}
