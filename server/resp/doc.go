// Package resp serves clients over the Redis protocol. It turns requests into
// commands of the state machine and results into replies; what becomes of a
// command it leaves to the node behind it.
//
//	            ┌─ reader ── parse ──> one batch a read ──> Submitter
//	connection ─┤             │ takes slots                    │
//	            └─ writer <───┴── ring of reply slots <── Deliver (never blocks)
//
// Each connection has two goroutines. The reader takes what one read brings,
// gives each command the next slot and submits all of them in one call. Replies
// fill their slots in any order; the writer sends what is complete from the front
// and flushes once a wake-up. A command that is answered here (PING) takes a slot
// like any other, so that replies are always in the order of requests.
//
// A connection whose slots or bytes are used up isn't read until the client has
// taken replies; one that takes none for Config.WriteTimeout is closed.
//
// Everything that is known of a command stands in one table (table.go): parsing,
// arity, flags, COMMAND's answers, docs/commands.md and tests are made from it.
//
// Read command first, then conn.read, ring and conn.write.
package resp
