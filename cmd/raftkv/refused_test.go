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
			var s strangers
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

// A node that answered as a stranger and was put right since counts no more.
func TestStrangersAreForgotten(t *testing.T) {
	var s strangers
	s.note(2, time.Unix(1000, 0))
	seen := s.note(3, time.Unix(1000, 0).Add(strangerFor))
	if seen[2] || !seen[3] {
		t.Errorf("strangers %v, want 3 alone", seen)
	}
}
