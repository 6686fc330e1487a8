// Package client talks to a raftkv cluster. It promises that a write takes effect
// exactly once, however often it had to be sent, and that an error says which of
// three things is true: the write surely did nothing (ErrNotApplied), nobody knows
// (ErrUnknown), or the cluster answered and the answer is no (*ReplyError,
// ErrNotFound, ErrCondition).
//
//	Put, Append ... ── session ──┐
//	  (one of a small pool)      ├── link ──> one connection to one endpoint
//	Get, Scan ... ───────────────┘   (pipelined; another endpoint when it fails)
//
// Any node takes any request, so the client stays with one endpoint while that
// answers. All callers share its connection; a caller waits only for its own
// reply. Each write runs as the next number of a session: one call has a session
// for itself, so that its number on the wire is never out of order, and a retry
// carries the same number (thesis 6.3).
//
// There is no global state: a Client owns its goroutines and Close ends them.
//
// Read Client first, then write (session.go), then link.
package client
