// Package httpapi is the HTTP side of a node: the keys for programs that speak
// no Redis protocol, and /livez, /readyz, /status, /metrics and, where only this
// machine can reach it, /debug/pprof for people and monitors.
//
//	request ── guard (host, origin, content type, user) ── handler ── one command ──> node
//	                                                          └─ watch ──> feed
//
// A request of /v1 is one command at the node, the same that a Redis client
// would send: it goes through the same log, a follower forwards it, and it ends in one of
// the same three outcomes, which the answer names: applied, not-applied, unknown.
// docs/http.md has the routes, /v1/openapi.json describes them to programs.
//
// The listener opens before there is a node, so that probes can say what the
// start waits for; Attach gives it the node.
//
// Read New first, then api.go, then keys.go.
package httpapi
