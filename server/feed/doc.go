// Package feed hands on what happened to the keys: every applied change, in the
// order of the log, to whoever watches. Messages of PUBLISH pass through it too.
//
//	applier ──Observe──> ring of recent events ──> subscriptions, each at its own place
//	                     oldest ...... newest
//
// Observe never waits: not for a subscriber, not for a lock. It writes one slot
// of the ring and rings one bell. Subscribers read the ring by themselves, on their own
// goroutines, without a lock, so that a hundred of them cost the applier what
// one does, and a queue of their own none of them has: the ring is everybody's. It
// is bounded by events and by bytes. A subscriber that falls too far behind is
// cut off with the place to go on from; one that asks for what the ring has
// lost, or that a snapshot of the leader's jumped over, is told so.
//
// Places are the same on every node: the index of the entry, and the number of
// the change within it. A subscriber may therefore go on at another node.
//
// Read Hub first, then Subscription.
package feed
