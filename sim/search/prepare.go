package search

import (
	"fmt"
	"strings"

	"github.com/raftkv/raftkv/raft/rafttest"
)

// named tells whether the prefix changes who is a member: the nodes' names are in
// the log then.
func (b Budget) named() bool {
	for line := range strings.SplitSeq(b.Prefix, "\n") {
		switch cmd, _, _ := strings.Cut(strings.TrimSpace(line), " "); cmd {
		case "learner", "promote", "demote", "remove", "join":
			return true
		}
	}
	return false
}

// head is the scenario that leads to where the search begins. Appends carry one
// entry each, so that logs can part anywhere.
func (b Budget) head() string {
	var out strings.Builder
	fmt.Fprintf(&out, "cluster %d writes=%d append=1 disloyal=1\n", b.Nodes, b.Writes)
	for line := range strings.SplitSeq(strings.TrimSpace(b.Prefix), "\n") {
		if line = strings.TrimSpace(line); line != "" {
			fmt.Fprintln(&out, line)
		}
	}
	return out.String()
}

// hold are the commands after which disks, and lazy appliers, do nothing by themselves.
func (b Budget) hold(c *rafttest.Cluster) string {
	var out strings.Builder
	for _, n := range c.Nodes {
		fmt.Fprintf(&out, "hold %v\n", n.ID)
		if b.Lazy {
			fmt.Fprintf(&out, "apply %v off\n", n.ID)
		}
	}
	return out.String()
}

// prepare plays the prefix.
func prepare(b Budget) (s *state, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	var script rafttest.Script
	for line := range strings.SplitSeq(b.head(), "\n") {
		script.Play(line)
	}
	c := script.C
	s = &state{c: c, forms: newForms(b), asked: uint8(script.Reads)}
	for k, n := range b.Limit {
		s.left[k] = n
	}
	sent := c.Net
	c.Net = nil
	for _, e := range sent {
		s.send(e)
	}
	for _, n := range c.Nodes {
		if n.Core == nil {
			return nil, fmt.Errorf("node %v is down", n.ID)
		}
		n.Ready, n.Lost, n.HoldApply = nil, nil, b.Lazy
		s.rehash(n)
	}
	return s, nil
}
