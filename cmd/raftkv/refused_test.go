package main

import (
	"testing"
	"time"

	"github.com/raftkv/raftkv/node"
	"github.com/raftkv/raftkv/raft"
)

func TestSurrounded(t *testing.T) {
	members := func(voters, learners int) (out []node.MemberStatus) {
		for i := range voters + learners {
			out = append(out, node.MemberStatus{ID: raft.NodeID(i + 1).String(), Learner: i >= voters})
		}
		return out
	}
	for _, tc := range []struct {
		name    string
		members []node.MemberStatus
		strange []raft.NodeID
		want    bool
	}{
		{"one wrong node does not end a good one", members(3, 0), []raft.NodeID{2}, false},
		{"all others of three", members(3, 0), []raft.NodeID{2, 3}, true},
		{"of two nobody knows who is wrong", members(2, 0), []raft.NodeID{2}, false},
		{"two of five", members(5, 0), []raft.NodeID{2, 3}, false},
		{"three of five", members(5, 0), []raft.NodeID{2, 3, 4}, true},
		{"learners don't count", members(3, 2), []raft.NodeID{2, 4, 5}, false},
		{"nor do nodes that are no members", members(3, 0), []raft.NodeID{2, 8, 9}, false},
		{"no members are known yet", nil, []raft.NodeID{2, 3}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var s claims
			var seen map[raft.NodeID]bool
			for _, id := range tc.strange {
				seen = s.note(id, time.Unix(1000, 0))
			}
			if got := surrounded(tc.members, seen); got != tc.want {
				t.Errorf("surrounded by %v: %v, want %v", tc.strange, got, tc.want)
			}
		})
	}
}

// A node that said something and was put right since counts no more.
func TestClaimsAreForgotten(t *testing.T) {
	var s claims
	s.note(2, time.Unix(1000, 0))
	seen := s.note(3, time.Unix(1000, 0).Add(claimFor))
	if seen[2] || !seen[3] {
		t.Errorf("strangers %v, want 3 alone", seen)
	}
}

// A removal is believed of most of the other voters, not of whoever answers at
// the address of one.
func TestOutvoted(t *testing.T) {
	status := func(voters, learners int, self raft.NodeID) node.Status {
		s := node.Status{ID: self.String()}
		for i := range voters + learners {
			s.Members = append(s.Members, node.MemberStatus{ID: raft.NodeID(i + 1).String(), Learner: i >= voters})
		}
		return s
	}
	for _, tc := range []struct {
		name string
		s    node.Status
		say  []raft.NodeID
		want bool
	}{
		{"one of two others", status(3, 0, 1), []raft.NodeID{2}, false},
		{"both others", status(3, 0, 1), []raft.NodeID{2, 3}, true},
		{"the only other", status(2, 0, 1), []raft.NodeID{2}, true},
		{"two of four others", status(5, 0, 1), []raft.NodeID{2, 3}, false},
		{"three of four others", status(5, 0, 1), []raft.NodeID{2, 3, 5}, true},
		{"a learner is told by most voters", status(3, 1, 4), []raft.NodeID{1, 2}, true},
		{"a learner by one", status(3, 1, 4), []raft.NodeID{1}, false},
		{"learners don't count", status(3, 2, 1), []raft.NodeID{2, 4, 5}, false},
		{"nor do nodes that are no members", status(3, 0, 1), []raft.NodeID{2, 8, 9}, false},
		{"no members are known yet", status(0, 0, 1), []raft.NodeID{2}, false},
		{"alone", status(1, 0, 1), []raft.NodeID{2}, false},
	} {
		say := map[raft.NodeID]bool{}
		for _, id := range tc.say {
			say[id] = true
		}
		if got := outvoted(tc.s, say); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}
