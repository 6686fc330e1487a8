// Package search tries out everything that can happen to a small cluster.
//
// The cores are the ones that ship, with the disks and the checker of rafttest.
// From one state, which a prefix of commands prepares, each event that a Budget
// has left leads to a state of its own: a message is delivered, or delivered and
// kept; a disk ends a write, or becomes full; a node crashes, with or without its write in
// flight, and starts again; a timer runs out; a client asks for something. A message that
// is never delivered is a lost one, a write that never ends is one of a hung disk, and a node
// to which nothing is delivered is a slow one, so these need no events.
//
// A node takes output behind each event, as a loop of node does that is quick. With Burst
// it takes several first, in the order of the loop's inbox; with Gather a leader holds
// new commands back; with Lazy its applier takes its time. What else a loop may do makes no
// difference: a disk that has ended a write and not yet said so is a disk that will.
//
// The search is breadth first, so what breaks
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
