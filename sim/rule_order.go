package sim

import (
	"github.com/raftkv/raftkv/node"
	"github.com/raftkv/raftkv/raft"
)

// orderOfConnections: requests of one connection take effect in their order,
// each is answered at most once, and a read sees none of its connection's later
// writes (ARCHITECTURE, Outcomes and forwarding). That holds for a read of the node's own state as well, wherever it
// stands among others: it may be old, but its connection goes back in nothing.
func orderOfConnections(w *world) *rule {
	r := &rule{name: "order of a connection", source: "ARCHITECTURE, Outcomes and forwarding"}
	r.replied = func(o *op, p *node.Reply) {
		if o.answered {
			r.broken(w, "%v is answered twice", o)
		}
		if p.Outcome != node.Applied {
			return
		}
		for _, x := range o.c.placed {
			switch later := x.slot > o.slot; {
			case x.write && o.kind == node.Write && later != (x.index > p.Index),
				x.write && o.kind != node.Write && (later && x.index <= p.Index || !later && x.index > p.Index),
				!x.write && o.kind == node.Write && (later && x.index < p.Index || !later && x.index >= p.Index),
				!x.write && o.kind != node.Write && (later && x.index < p.Index || !later && x.index > p.Index):
				r.broken(w, "%v took effect at %d, slot %d of its connection at %d", o, p.Index, x.slot, x.index)
			}
			if !x.write && o.kind != node.Write && x.stale != (o.kind == node.StaleRead) {
				w.count.Answers["read behind one of another level"]++
			}
		}
		o.c.place(placed{o.slot, p.Index, o.kind == node.Write, o.kind == node.StaleRead})
	}
	return r
}

// placed is where a request of a connection took effect.
type placed struct {
	slot  uint64
	index raft.Index
	write bool
	stale bool // a read of the node's own state
}
