package sim

import (
	"github.com/raftkv/raftkv/node"
	"github.com/raftkv/raftkv/statemachine"
)

// readsNeverGoBack: a linearizable read sees everything that any client had
// been shown before it was asked, a write comes after it (thesis 6.4, raft paper
// 8); a read of a node's own state sees at least what its connection was shown.
// What a read answers is what the log makes of the keys at the read's index.
func readsNeverGoBack(w *world) *rule {
	r := &rule{name: "reads never go back", source: "thesis 6.4; raft paper 8"}
	r.replied = func(o *op, p *node.Reply) {
		if p.Outcome != node.Applied {
			return
		}
		switch o.kind {
		case node.Write:
			if p.Index <= o.floor {
				r.broken(w, "%v was applied at %d, before it was asked %d had been shown", o, p.Index, o.floor)
			}
		case node.Read:
			w.count.Reads++
			if p.Index < o.floor {
				r.broken(w, "%v read at %d, before it was asked %d had been shown", o, p.Index, o.floor)
			}
		case node.StaleRead:
			w.count.Stale++
			if p.Index < o.shown {
				r.broken(w, "%v read at %d, its connection had been shown %d", o, p.Index, o.shown)
			}
		}
		if o.kind != node.Write {
			var c statemachine.Command
			if err := c.Decode(o.cmd); err != nil {
				r.broken(w, "%v: %v", o, err)
			}
			if wrong := w.truth.model.judge(w.truth.moment(p.Index), &c, p.Result); wrong != "" {
				r.broken(w, "%v at %d: %s", o, p.Index, wrong)
			}
		}
		if o.kind != node.StaleRead {
			w.truth.floor = max(w.truth.floor, p.Index)
		}
	}
	return r
}
