package selftest

import (
	"fmt"
	"time"

	"github.com/raftkv/raftkv/internal/tcpproxy"
)

// Links puts a proxy on each way between two nodes of a cluster, so that pairs
// can be cut in one or both directions, without root. It works because a peer
// address in a node's own YAML wins over the one in the log.
type Links struct {
	nodes []*Node
	// by dialler and target; the two of a pair carry one link, whoever dialled
	ways map[[2]*Node]*tcpproxy.Proxy
	cut  map[[2]*Node]bool // from, to
}

// NewLinks gives each node of a cluster that was born its own way to each other
// one. No node may run; the next start uses the ways. Before its birth a cluster
// would refuse to form, since the nodes' lists of voters differ then.
func NewLinks(c *Cluster) (*Links, error) {
	l := &Links{nodes: c.Nodes, ways: map[[2]*Node]*tcpproxy.Proxy{}, cut: map[[2]*Node]bool{}}
	for _, from := range c.Nodes {
		from.peers = map[string]string{}
		for _, to := range c.Nodes {
			if from == to {
				continue
			}
			p, err := tcpproxy.New(c.Host+":0", to.Peer)
			if err != nil {
				l.Close()
				return nil, err
			}
			l.ways[[2]*Node{from, to}] = p
			from.peers[to.Name] = p.Addr()
		}
		if err := from.configure(false); err != nil {
			l.Close()
			return nil, fmt.Errorf("configure %s: %w", from.Name, err)
		}
	}
	return l, nil
}

// CutOneWay lets nothing pass from one node to another any more.
func (l *Links) CutOneWay(from, to *Node) {
	l.cut[[2]*Node{from, to}] = true
	l.set(from, to)
}

// Cut lets nothing pass between two nodes any more. No connection is closed:
// neither is told.
func (l *Links) Cut(a, b *Node) {
	l.CutOneWay(a, b)
	l.CutOneWay(b, a)
}

// Isolate cuts a node from all others.
func (l *Links) Isolate(n *Node) {
	for _, o := range l.nodes {
		if o != n {
			l.Cut(n, o)
		}
	}
}

// Split cuts every node of one side from every node of the other. Those on no
// side reach both.
func (l *Links) Split(one, other []*Node) {
	for _, a := range one {
		for _, b := range other {
			l.Cut(a, b)
		}
	}
}

// Slow lets every byte between two nodes take so long, each way, and lets no more than
// bytesPerSecond pass, each way (0: any number). Heal leaves that alone.
func (l *Links) Slow(a, b *Node, delay time.Duration, bytesPerSecond int) {
	l.ways[[2]*Node{a, b}].Slow(delay, bytesPerSecond)
	l.ways[[2]*Node{b, a}].Slow(delay, bytesPerSecond)
}

// SlowAll is Slow for each pair.
func (l *Links) SlowAll(delay time.Duration, bytesPerSecond int) {
	for _, p := range l.ways {
		p.Slow(delay, bytesPerSecond)
	}
}

// Moved is how many bytes went between two nodes so far.
func (l *Links) Moved(a, b *Node) int {
	return l.ways[[2]*Node{a, b}].Moved() + l.ways[[2]*Node{b, a}].Moved()
}

// Heal ends all cuts. What was held arrives late.
func (l *Links) Heal() {
	clear(l.cut)
	for _, a := range l.nodes {
		for _, b := range l.nodes {
			if a != b {
				l.set(a, b)
			}
		}
	}
}

// Reset ends the connections between two nodes, in the middle of whatever they carry.
func (l *Links) Reset(a, b *Node) {
	l.ways[[2]*Node{a, b}].Reset()
	l.ways[[2]*Node{b, a}].Reset()
}

// set tells both proxies of a pair, since either node may have dialled.
func (l *Links) set(a, b *Node) {
	there, back := l.cut[[2]*Node{a, b}], l.cut[[2]*Node{b, a}]
	l.ways[[2]*Node{a, b}].Hold(there, back)
	l.ways[[2]*Node{b, a}].Hold(back, there)
}

// Taken is how many connections the nodes made so far.
func (l *Links) Taken() int {
	n := 0
	for _, p := range l.ways {
		n += p.Taken()
	}
	return n
}

// Close ends all ways.
func (l *Links) Close() {
	for _, p := range l.ways {
		p.Close()
	}
}
