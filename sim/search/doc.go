// Package search tries out everything that can happen to a small cluster.
//
// The cores are the ones that ship, with the disks and the checker of rafttest.
// From one state, which a prefix of commands prepares, each event that a Budget
// has left leads to a state of its own: a message is delivered, or delivered and
// kept; a disk ends a write; a node crashes, with or without its write in flight,
// and starts again; a timer runs out; a client asks for something. A message that
// is never delivered is a lost one, and a node to which nothing is delivered is a
// slow one, so these need no events. The search is breadth first, so what breaks
// a rule is shown by as few events as it takes, in the commands of the scenarios
// in raft/testdata.
//
// What makes it small enough: ticks are not counted, the moments at which they do
// something are events; stickiness never holds, which allows more than it forbids;
// bids skip the pre-vote unless the budget says otherwise; messages with the same
// text are one; messages that their receiver will ignore for ever are dropped;
// states that differ by the names of the nodes are one. Two states are taken for
// the same when 64 bits of their hashes are.
//
// Read Budget first, then Run, then state.
package search
