//go:build !faults

package main

import "github.com/raftkv/raftkv/node"

// faulty is the machine itself. Only a binary that tests build with the tag
// faults has another one, see faults.go.
func faulty(_ *node.Config, m node.Machine) node.Machine { return m }
