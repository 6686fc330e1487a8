package main

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/raftkv/raftkv/node"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/transport"
)

var errRemoved = errors.New("this node was removed from the cluster; to let it join again as a new one, empty its data directory and run raftkv member add on a member")

// claims are who said something lately, and when last. What one node says is not
// enough: without TLS it is whoever answers at its address.
type claims struct {
	mu   sync.Mutex
	seen map[raft.NodeID]time.Time
}

// claimFor is how long a claim counts: many times the pause between two attempts
// to connect.
const claimFor = 15 * time.Second

// note adds one and returns who says so now.
func (s *claims) note(id raft.NodeID, now time.Time) map[raft.NodeID]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen == nil {
		s.seen = map[raft.NodeID]time.Time{}
	}
	s.seen[id] = now
	recent := map[raft.NodeID]bool{}
	for id, at := range s.seen {
		recent[id] = now.Sub(at) < claimFor
	}
	return recent
}

// onRefused is told by the transport what other nodes say. It is called on many
// goroutines. Against what this node's own committed log says, a removal is believed of a peer
// that showed a certificate, or of most of the other voters.
func (d *daemon) onRefused(id raft.NodeID, code transport.Code, advice string) {
	switch code {
	case transport.RefusedRemoved:
		if d.cfg.TLS.Peer.Cert != "" || outvoted(d.node.Status(), d.removals.note(id, time.Now())) {
			d.fail(exitWith(exitIdentity, fmt.Errorf("%w: %s", errRemoved, advice)))
		}
	case transport.RefusedCluster:
		if surrounded(d.node.Status().Members, d.strangers.note(id, time.Now())) {
			d.fail(exitWith(exitIdentity, fmt.Errorf("another cluster answers at the addresses of most voters: "+
				"node.data_dir is probably that of another cluster's node, or the peer addresses are wrong: %s", advice)))
		}
	}
}

// outvoted tells whether most of the voters other than this node are among those
// that say something.
func outvoted(s node.Status, say map[raft.NodeID]bool) bool {
	others, so := 0, 0
	for _, m := range s.Members {
		if m.Learner || m.ID == s.ID {
			continue
		}
		others++
		for id, says := range say {
			if says && id.String() == m.ID {
				so++
			}
		}
	}
	return so > others/2
}

// surrounded tells whether the strangers alone are a majority of the voters.
// Then this node is the one that is wrong here, and could never have a leader. A
// good node that only one wrong one refuses goes on.
func surrounded(members []node.MemberStatus, strangers map[raft.NodeID]bool) bool {
	voters, strange := 0, 0
	for _, m := range members {
		if m.Learner {
			continue
		}
		voters++
		for id, is := range strangers {
			if is && id.String() == m.ID {
				strange++
			}
		}
	}
	return voters > 0 && strange > voters/2
}
