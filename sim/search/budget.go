package search

import "fmt"

// Kind is a kind of event.
type Kind uint8

// The kinds of events. All but Deliver, Land, Fetched, Applied and Release are bounded by a Budget.
const (
	Deliver   Kind = iota // a message arrives
	Land                  // a disk ends its oldest write
	Again                 // a message arrives and may arrive again
	Crash                 // a node dies and starts; of its writes in flight some are durable
	Forget                // a node dies and starts one write back, behind a fence
	Bid                   // an election timeout, and all others grant the pre-vote
	Timeout               // an election timeout
	Beat                  // a heartbeat, or the next request of a bid
	Deaf                  // a leader steps down because nobody answers
	Hang                  // a leader steps down because its disk hangs and the others go on
	Gone                  // a node hears that the process of its leader is gone
	Full                  // a node's disk becomes short of space, or has some again
	Propose               // a client writes to a leader
	Read                  // a client reads from a leader
	Snapshot              // a node makes a snapshot of all that it has applied, and drops its log
	Fetched               // a node has fetched the snapshot that it was offered
	Unfetched             // a node has not: the fetch failed
	Applied               // an applier has applied all that it was given; with Budget.Lazy
	Transfer              // a leader is asked to hand over to any one voter
	GiveUp                // a leader no longer waits for who shall take over
	Change                // a leader is asked for one of Budget.Changes
	Gather                // a leader begins to hold new commands back
	Release               // and no longer does
	Burst                 // no event: how often one comes of which a node takes no output before its next one
	kinds
)

func (k Kind) String() string {
	if k >= kinds {
		return fmt.Sprintf("kind %d", k)
	}
	return [...]string{
		"deliver", "land", "again", "crash", "forget", "bid", "timeout", "beat", "deaf", "hang", "gone", "full",
		"propose", "read", "snapshot", "fetched", "unfetched", "applied", "transfer", "giveup", "change", "gather", "release", "burst",
	}[k]
}

// Budget bounds a search: where it starts and how often what may happen.
type Budget struct {
	Name   string
	Nodes  int // voters at the beginning
	Writes int // writes that a disk has in flight at most
	// Prefix prepares the state from which everything is tried: commands, one a
	// line, as a trace prints them, and what Player.Play knows beside them.
	Prefix string
	// Limit is how often an event of this kind may happen on the way. Kinds that
	// are missing do not happen; Deliver, Land, Fetched, Applied and Release have no limit.
	Limit map[Kind]uint8
	// Lazy appliers take their time: each Applied is an event.
	Lazy bool
	// Changes are the changes of membership that may be asked for, as commands
	// without the node that is asked: "learner 4".
	Changes []string
	// States is how many distinct states may be seen before the search is cut.
	States int
}

// symmetric tells whether the nodes are alike but for their names. Who hears that its
// leader is gone stands the sooner the lower its name is.
func (b Budget) symmetric() bool {
	return b.Nodes == 3 && b.Limit[Change] == 0 && b.Limit[Gone] == 0 && !b.named()
}
