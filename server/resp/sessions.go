package resp

import (
	"strconv"

	wire "github.com/raftkv/raftkv/resp"
	"github.com/raftkv/raftkv/statemachine"
)

// sessionCommands give exactly-once writes: a session is one stream of numbered
// writes, and a repeated one is answered with what it was answered before.
func sessionCommands() []command {
	session := func(op statemachine.Op) func(*request) string {
		return func(r *request) string {
			r.cmd.Op = op
			if len(r.args) > 2 {
				id, ok := sessionID(r.args[2])
				if !ok {
					return errInteger
				}
				r.cmd.Num = id
			}
			return ""
		}
	}
	return []command{
		{name: "session", arity: -2, group: "session", summary: "Sessions make writes take effect exactly once", subs: []*command{
			{name: "open", arity: 2, flags: fWrite | fFast | fNoMulti, cost: "O(1)",
				summary: "Open a session; answers its id", parse: session(statemachine.OpSessionOpen)},
			{name: "keepalive", arity: 3, flags: fWrite | fFast | fNoMulti, syntax: "session", cost: "O(1)",
				summary: "Keep a session from expiring", parse: session(statemachine.OpSessionKeep)},
			{name: "close", arity: 3, flags: fWrite | fFast | fNoMulti, syntax: "session", cost: "O(1)",
				summary: "Close a session", parse: session(statemachine.OpSessionClose)},
			{name: "info", arity: 3, flags: fRead | fFast, syntax: "session", cost: "O(1)",
				summary: "Get the last sequence number that ran", parse: session(statemachine.OpSession)},
			helpCommand(),
		}},
		{name: "once", arity: -4, flags: fWrite | fGrows | fNoMulti, group: "session", cost: "that of the command",
			syntax:  "session sequence command [argument ...]",
			summary: "Run a write as number sequence of a session: the same number runs once, however often it is sent", parse: parseOnce},
	}
}

// sessionAndSeq reads the session and the number of a write. text is the error reply.
func sessionAndSeq(session, number []byte) (id int64, seq uint64, text string) {
	id, ok := sessionID(session)
	if !ok {
		return 0, 0, errInteger
	}
	seq, err := strconv.ParseUint(string(number), 10, 64)
	if err != nil || seq == 0 {
		return 0, 0, "ERR sequence number is not a positive integer"
	}
	return id, seq, ""
}

func sessionID(b []byte) (int64, bool) {
	id, ok := wire.ParseInt(b)
	return id, ok && id > 0
}

// parseOnce wraps the command behind the session and the number.
func parseOnce(r *request) string {
	id, seq, text := sessionAndSeq(r.args[1], r.args[2])
	if text != "" {
		return text
	}
	outer := r.args
	r.args = outer[3:]
	cmd, text := r.srv.table.lookup(r.args)
	if text != "" {
		return text
	}
	if cmd.flags&fWrite == 0 || cmd.group == "session" {
		return "ERR '" + cmd.fullName() + "' can't run inside ONCE, which takes a write of keys"
	}
	if text := may(r.user, cmd, r.args); text != "" {
		return text
	}
	if text := cmd.parse(r); text != "" {
		return text
	}
	if r.cmd.Op.ReadOnly() { // BITFIELD with GET alone
		return "ERR '" + cmd.fullName() + "' without a write can't run inside ONCE"
	}
	r.told = cmd
	r.inner = statemachine.AppendCommand(r.inner[:0], r.cmd)
	r.cmd = statemachine.Command{Op: statemachine.OpOnce, Num: id, Seq: seq, Args: append(r.cmd.Args[:0], r.inner)}
	return ""
}
