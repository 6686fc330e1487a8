package node

const (
	// gatherOpen is how many writes must be open for new ones to wait for more.
	// With few clients there is nothing to gather.
	gatherOpen = 8
	// gatherBytes is how much waits at most: beyond it a write is large enough
	// for the disk to be the better place to wait at.
	gatherBytes = 256 << 10
)

// gathers tells whether new commands wait, so that more of them share a write and a
// message: what the disk has just taken is about to be committed and answered, and most
// clients send their next request as soon as they hear. Were the next write to
// start with the few that came meanwhile, two or three small batches would take turns
// for ever, where one large batch costs less and is no slower.
//
// It is over when everything that was written is committed and answered, and in any
// case with the second tick: followers may be slow, or gone.
func (r *Replica) gathers() bool {
	return r.leads() && r.writes >= gatherOpen && r.unwritten < gatherBytes && r.tick <= r.heldAt+1 &&
		r.applied < r.given
}
