package resp

import (
	"math"

	wire "github.com/raftkv/raftkv/resp"
	"github.com/raftkv/raftkv/statemachine"
)

// deadlineCommands are those on how long keys live.
func deadlineCommands() []command {
	one := [3]int{1, 1, 1}
	expire := func(name, unit, since string, flag statemachine.Flags, scale int64, summary string) command {
		return command{name: name, arity: -3, flags: fWrite | fFast, keys: one, group: "generic", since: since, cost: "O(log n)",
			syntax: "key " + unit + " [NX | XX | GT | LT]", summary: summary, parse: parseExpire(name, flag, scale)}
	}
	ask := func(name, since string, op statemachine.Op, seconds bool, summary string) command {
		c := command{name: name, arity: 2, flags: fRead | fFast, keys: one, group: "generic", since: since, cost: "O(1)",
			syntax: "key", summary: summary + "; -1: none, -2: no such key", parse: oneKey(op)}
		if seconds {
			c.tell = tellSeconds
		}
		return c
	}
	return []command{
		expire("expire", "seconds", "1.0.0", statemachine.FlagIn, 1000, "Let a key live so long from now"),
		expire("pexpire", "milliseconds", "2.6.0", statemachine.FlagIn, 1, "Let a key live so long from now"),
		expire("expireat", "unix-time-seconds", "1.2.0", statemachine.FlagAt, 1000, "Let a key live until then"),
		expire("pexpireat", "unix-time-milliseconds", "2.6.0", statemachine.FlagAt, 1, "Let a key live until then"),
		ask("ttl", "1.0.0", statemachine.OpTTL, true, "Get the seconds that a key has to live"),
		ask("pttl", "2.6.0", statemachine.OpTTL, false, "Get the milliseconds that a key has to live"),
		ask("expiretime", "7.0.0", statemachine.OpDeadline, true, "Get the Unix time at which a key expires, in seconds"),
		ask("pexpiretime", "7.0.0", statemachine.OpDeadline, false, "Get the Unix time at which a key expires, in milliseconds"),
		{name: "persist", arity: 2, flags: fWrite | fFast, keys: one, group: "generic", since: "2.2.0", cost: "O(log n)",
			syntax: "key", summary: "Let a key live for ever", parse: oneKey(statemachine.OpPersist)},
	}
}

func parseExpire(name string, flag statemachine.Flags, scale int64) func(*request) string {
	return func(r *request) string {
		r.cmd.Flags = flag
		for _, arg := range r.args[3:] {
			switch {
			case is(arg, "nx"):
				r.cmd.Flags |= statemachine.FlagNX
			case is(arg, "xx"):
				r.cmd.Flags |= statemachine.FlagXX
			case is(arg, "gt"):
				r.cmd.Flags |= statemachine.FlagGT
			case is(arg, "lt"):
				r.cmd.Flags |= statemachine.FlagLT
			default:
				return "ERR Unsupported option " + clip(arg, 128)
			}
		}
		const others = statemachine.FlagXX | statemachine.FlagGT | statemachine.FlagLT
		const both = statemachine.FlagGT | statemachine.FlagLT
		if r.cmd.Flags&statemachine.FlagNX != 0 && r.cmd.Flags&others != 0 {
			return "ERR NX and XX, GT or LT options at the same time are not compatible"
		}
		if r.cmd.Flags&both == both {
			return "ERR GT and LT options at the same time are not compatible"
		}
		n, ok := wire.ParseInt(r.args[2])
		if !ok {
			return errInteger
		}
		if n > math.MaxInt64/scale || n < math.MinInt64/scale {
			return errExpireIn + name + "' command"
		}
		r.cmd.Num = n * scale
		return oneKey(statemachine.OpExpire)(r)
	}
}

// tellSeconds turns milliseconds into seconds, but not -1 and -2.
func tellSeconds(_ *Server, w *wire.Writer, res statemachine.Result, _ *slot) {
	if res.Int >= 0 {
		res.Int = millisecondsToSeconds(res.Int)
	}
	w.Int(res.Int)
}
