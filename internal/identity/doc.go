// Package identity keeps who this node is and which cluster it belongs to, and
// brings a cluster into being.
//
//	empty ──── Birth that names this UUID ────> voter of the cluster from its birth
//	  │
//	  └─ a member says: this UUID was added ──> joined: a learner at first
//
// A data directory draws a random UUID once; the NodeID of the core comes from
// it. Empty nodes with the same list of voters find each other: the first
// listed gathers the UUIDs of all, stores Birth, and answers with it from then
// on. Each other node asks the listed ones until one of them has a Birth that
// names it. So any holder hands it on, and a half-formed cluster completes
// itself.
//
// Promised, whatever stops or fails in between: a directory holds at most one
// Birth, ever, and only one that names its UUID with its name, or one that a
// member of that cluster sent to exactly this UUID. A node that lost its disk has
// a new UUID, so the old Birth doesn't fit it: it waits to be added.
//
// Nothing here knows of terms, logs or sockets: messages are bytes, and an
// Exchanger carries them. Not defended against: peers that lie (that is mutual
// TLS's work), and a data directory that was copied while its node was off.
//
// Read Identity first, then decide in decide.go, then Bootstrap. The bytes are
// described in docs/formats-identity.md.
package identity
