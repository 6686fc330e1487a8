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

// strangers are the voters at whose addresses nodes of another cluster answer,
// and when they last did.
type strangers struct {
	mu   sync.Mutex
	seen map[raft.NodeID]time.Time
}

// strangerFor is how long such an answer counts: many times the pause between
// two attempts to connect.
const strangerFor = 15 * time.Second

// note adds one and returns who are strangers now.
func (s *strangers) note(id raft.NodeID, now time.Time) map[raft.NodeID]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen == nil {
		s.seen = map[raft.NodeID]time.Time{}
	}
	s.seen[id] = now
	recent := map[raft.NodeID]bool{}
	for id, at := range s.seen {
		recent[id] = now.Sub(at) < strangerFor
	}
	return recent
}

// onRefused is told by the transport what other nodes say. It is called on many goroutines.
func (d *daemon) onRefused(id raft.NodeID, code transport.Code, advice string) {
	switch code {
	case transport.RefusedRemoved:
		d.fail(exitWith(exitIdentity, fmt.Errorf("%w: %s", errRemoved, advice)))
	case transport.RefusedCluster:
		if surrounded(d.node.Status().Members, d.strangers.note(id, time.Now())) {
			d.fail(exitWith(exitIdentity, fmt.Errorf("another cluster answers at the addresses of most voters: "+
				"node.data_dir is probably that of another cluster's node, or the peer addresses are wrong: %s", advice)))
		}
	}
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
