//go:build faults

package main

import (
	"bytes"
	"os"
	"strconv"

	"github.com/raftkv/raftkv/node"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/statemachine"
)

// faulty gives a node the faults that no test can provoke from outside. It is in
// no binary but the one that package e2e builds for itself. What a command holds says
// which node shall do what:
//
//	fault-diverge@NAME   applies it wrongly
//	fault-stall@NAME     its loop stands still when it proposes it
//	fault-panic@NAME     its loop panics when it proposes it
//	fault-poison         it panics when it applies it, on every node
//
// The variable FAULT_LEVEL is the level of commands that this binary says it knows.
func faulty(c *node.Config, m node.Machine) node.Machine {
	if n, err := strconv.ParseUint(os.Getenv("FAULT_LEVEL"), 10, 32); err == nil {
		m.(*statemachine.Machine).PretendLevel(uint32(n))
	}
	check, stall, fall := c.Check, []byte("fault-stall@"+c.Name), []byte("fault-panic@"+c.Name)
	c.Check = func(cmd []byte) error {
		switch {
		case bytes.Contains(cmd, stall):
			select {}
		case bytes.Contains(cmd, fall):
			panic("fault-panic")
		}
		return check(cmd)
	}
	return &faultyMachine{Machine: m, diverge: []byte("fault-diverge@" + c.Name)}
}

type faultyMachine struct {
	node.Machine
	diverge []byte
}

func (m *faultyMachine) Apply(e raft.Entry, dst []byte) []byte {
	if bytes.Contains(e.Data, []byte("fault-poison")) {
		panic("fault-poison")
	}
	if i := bytes.Index(e.Data, m.diverge); i >= 0 {
		e.Data = bytes.Clone(e.Data)
		e.Data[i] = 'F'
	}
	return m.Machine.Apply(e, dst)
}
