package raft_test

import (
	"fmt"
	"testing"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/rafttest"
)

// sweep is a cluster that is driven in small steps, so that something can happen between any two.
type sweep struct {
	*rafttest.Cluster
	steps int
	now   raft.Time
}

// step lets one thing happen: a message come, a write land, outputs be taken. It is false at rest.
func (s *sweep) step() bool {
	for _, n := range s.Nodes {
		if n.Core == nil {
			continue
		}
		sent, flight, applied := len(s.Net), len(n.Disk.Flight), n.App.Last
		if s.Flush(n); len(s.Net) != sent || len(n.Disk.Flight) != flight || n.App.Last != applied {
			s.steps++
			return true
		}
	}
	for _, n := range s.Nodes {
		if n.Core != nil && len(n.Disk.Flight) > 0 {
			s.Land(n, true)
			s.steps++
			return true
		}
	}
	if len(s.Net) > 0 {
		e := s.Net[0]
		s.Net = s.Net[1:]
		s.Receive(e)
		s.steps++
		return true
	}
	return false
}

func (s *sweep) settle() {
	for s.step() {
	}
}

// goesOn lets time pass until some node leads and commits an entry of its own.
func (s *sweep) goesOn(t *testing.T, what string) {
	t.Helper()
	want := raft.EntryID{}
	for range 3000 {
		for _, n := range s.Nodes {
			if n.Core != nil {
				s.Tick(n)
			}
		}
		s.settle()
		lead := s.Leader()
		if lead == nil {
			continue
		}
		if lead.Core.Status().Term != want.Term {
			s.now++
			id, err := s.Propose(lead, fmt.Sprint("after ", what), s.now)
			if err != nil {
				continue
			}
			want = id
		}
		if lead.App.Last.Index >= want.Index && want.Index > 0 {
			return
		}
	}
	t.Fatalf("%s: nobody leads and commits", what)
}

// MB-13: one of five voters is down for good while another member is promoted, or it itself
// removed, and the leader dies at any moment of that change, with its writes on the disk or not.
// The rest is a majority of the old and of the new voters: it elects a leader, every time.
func TestChangeWithANodeDown(t *testing.T) {
	for _, change := range []struct {
		what string
		id   raft.NodeID
		to   *raft.Member
	}{
		{"promote 6", 6, &raft.Member{ID: 6, Name: "n6"}},
		{"remove 5", 5, nil},
	} {
		moments := 0
		for over := false; !over; moments++ {
			for _, landed := range []int{0, 99} {
				s := &sweep{Cluster: rafttest.New(5)}
				s.goesOn(t, "birth")
				lead := s.Leader()
				s.Add(6, raft.SnapshotMeta{})
				if _, err := s.Change(lead, 6, &raft.Member{ID: 6, Name: "n6", Learner: true}); err != nil {
					t.Fatal(err)
				}
				s.settle()
				s.goesOn(t, "learner")
				lead = s.Leader()
				down := s.Node(5)
				id := change.id
				if down == lead {
					down = s.Node(4)
				}
				if change.to == nil {
					id = down.ID
				}
				s.Crash(down, 0)
				if _, err := s.Change(lead, id, change.to); err != nil {
					t.Fatal(err)
				}
				for range moments {
					over = !s.step()
				}
				s.Crash(lead, landed)
				s.goesOn(t, fmt.Sprintf("%s, the leader dies after %d steps", change.what, moments))
			}
		}
		t.Logf("%s: %d moments", change.what, moments)
		if moments < 10 {
			t.Errorf("%s: the leader died at %d moments only", change.what, moments)
		}
	}
}
