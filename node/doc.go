// Package node is one node around the core of package raft: it decides when
// the core is fed and flushed, what becomes of each client's request, when
// snapshots are taken, and which goroutine does what.
//
//	Conn.Submit ──> inbox ──> Replica.Handle, Flush ──> raft
//	Network ─────────^  ^            │
//	                    │            ├─ messages, packets ─> Network
//	                    │            ├─ Write ─> disk ───> Store
//	                    │            ├─ Job ───> applier ─> Machine ──> Sink.Deliver
//	                    └─ events ───┴─ fetch, save ─────> Snapshots
//
// A Replica is the whole mind of a node and has neither goroutine, channel nor
// clock: production wraps it in goroutines (run.go, the only file with a go
// statement), the simulator calls it from an event heap. What it drives is a
// Driver: each call returns at once, each answer comes back as an Event.
//
// A request ends in one of three outcomes that are never merged: applied,
// surely not applied, unknown. Requests of one connection take effect in their
// order.
//
// The package knows no implementation of its ports (ports.go).
//
// Read ports.go and api.go first, then Replica, then pump.go, tickets.go,
// apply.go and run.go.
package node
