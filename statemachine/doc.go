// Package statemachine is the replicated state: keys, sessions and cluster
// settings, changed by committed entries only.
//
//	entry ──> advance time ──> remove what is due ──> run the command ──> result
//
// A Machine is a function of its entries: the same entries give the same bytes
// on every node. So there is no clock (time comes in the entry), no randomness,
// no goroutine, no float64, and no map iteration. One goroutine owns a Machine.
// No committed bytes make it panic, with one exception that is meant to stop the
// node: an entry that this binary doesn't know, see Machine.Apply.
//
// The state is in memory whole: a hash map for point operations, beside it an
// ordered index of keys, an index of deadlines, and the sessions. Each change
// also moves a multiset hash, so that nodes can compare states at an index.
//
// Freeze fixes a point-in-time view that Step encodes bit by bit while Apply
// goes on: a write first puts aside what the view still needs.
//
// Observe tells one listener of every visible change as it happens, in the order
// of the log.
//
// It knows nothing of Raft but its types, and nothing of clients or files.
//
// Read Command and Machine.Apply first, then state.go, sessions.go, freeze.go.
// The bytes are in docs/formats-statemachine.md.
package statemachine
