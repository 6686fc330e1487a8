package sim

import (
	"github.com/raftkv/raftkv/node"
	"github.com/raftkv/raftkv/raft"
)

// refusedStaysRefused: an attempt that was answered "surely not applied" never
// shows up (ARCHITECTURE, Outcomes). An attempt may have been made again inside
// the node, and a session's write by its client: so what counts is that a command is never in
// the committed log more often than it was sent without being refused.
func refusedStaysRefused(w *world) *rule {
	r := &rule{name: "surely not applied never shows up", source: "ARCHITECTURE, Outcomes"}
	check := func(cmd []byte) {
		if k := w.truth.tries[string(cmd)]; k != nil && k.applied > k.sent-k.refused {
			r.broken(w, "command %q was sent %d times and refused %d times, and is applied %d times", cmd, k.sent, k.refused, k.applied)
		}
	}
	r.replied = func(o *op, p *node.Reply) {
		if o.kind == node.Write && p.Outcome == node.NotApplied {
			w.truth.tries[string(o.cmd)].refused++
			check(o.cmd)
		}
		if p.Outcome == node.Unknown && o.kind != node.Write {
			r.broken(w, "%v ends unknown: it has no effect", o)
		}
	}
	r.applied = func(_ *host, _ *fact, e *raft.Entry, _ []byte) {
		if e.Type == raft.EntryCommand {
			check(e.Data)
		}
	}
	return r
}
