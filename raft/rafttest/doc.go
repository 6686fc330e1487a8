// Package rafttest runs a cluster of bare cores in memory, one step at a time.
//
// A Cluster is deterministic: nothing in it moves unless its owner says so. Each
// Node has a fake Disk, whose writes are done, or lost in a crash, on command;
// messages wait in Net until they are delivered, dropped or repeated. After every
// step the core's own Verify runs, and a Checker compares all nodes with what has
// ever been promised, elected, committed and read. What is wrong panics.
//
// Read Cluster first, then Checker.
package rafttest
