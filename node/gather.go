package node

import (
	"time"

	"github.com/raftkv/raftkv/raft"
)

const (
	// gatherOpen is how many writes must be open for new ones to wait for more.
	// With few clients there is nothing to gather.
	gatherOpen = 8
	// gatherBytes is how much waits at most: beyond it a write is large enough
	// for the disk to be the better place to wait at.
	gatherBytes = 256 << 10
	// awaitBytes is how much makes a batch too large to wait for clients.
	awaitBytes = 128 << 10
	// gatherTrust is how many batches in a row must have been answered to clients
	// that came again soon, before one more is waited for.
	gatherTrust = 4
	// gatherMost bounds how long commands wait for a batch that is usually answered sooner.
	gatherMost = 500 * time.Millisecond
)

// gathers tells whether new commands wait, so that more of them share a write and a
// message: what the disk has just taken is about to be committed and answered, and most
// clients send their next request as soon as they hear. Were the next write to
// start with the few that came meanwhile, two or three small batches would take turns
// for ever, where one large batch costs less and is no slower.
//
// It is over when everything that was written is committed and answered and, if
// the clients are of that kind, most of those have come again (returns). In any
// case it is over with the second tick, or when twice the time has passed that batches
// take: followers may have become slow, or be gone. Where the others are far, so that each batch
// takes longer than two ticks, to end it sooner would leave the clients in groups that never meet.
func (r *Replica) gathers() bool {
	expected := r.returns.awaited(r.now, r.given)
	return r.leads() && r.unwritten < gatherBytes &&
		(r.tick <= r.heldAt+1 || r.now-r.heldSince < min(2*r.returns.usual, gatherMost)) &&
		(r.applied < r.given && r.writes >= gatherOpen || expected)
}

// returns watches the connections whose writes a batch answered: how many of them
// send their next write before the time that the batch took has passed once
// more. While nearly all do, batch after batch, waiting for them costs nobody more
// than the half-full batch would that started without them. As soon as they
// don't, nobody waits any more: one who thinks, or one of thousands of whom each
// writes now and then, is not worth waiting for.
//
// One batch is watched at a time; others may come and go meanwhile.
type returns struct {
	batch    uint64        // number of the batch that is watched, or was last
	watching bool          // one is
	last     raft.Index    // its last entry
	began    time.Duration // when it went to the disk
	took     time.Duration // until all of it was answered; 0 as long as it is not
	ended    time.Duration // when that was
	answered int           // connections that it answered
	back     int           // of those, how many have sent a write again
	good     int           // batches in a row whose connections came back in time
	usual    time.Duration // what the last batches took, on average; the newest counts an eighth
}

// wrote notes that a batch up to last, of so many bytes, goes to the disk. A large one is full
// enough: to wait while the disk has nothing to do would cost more than it saves.
func (s *returns) wrote(now time.Duration, last raft.Index, bytes int) {
	if bytes >= awaitBytes {
		s.watching, s.good = false, 0
		return
	}
	if s.watching {
		return
	}
	*s = returns{batch: s.batch + 1, watching: true, last: last, began: now, good: s.good, usual: s.usual}
}

// answer notes that a write of a connection was answered.
func (s *returns) answer(l *lane, index raft.Index) {
	if s.watching && index <= s.last && l.answeredBy != s.batch {
		l.answeredBy = s.batch
		s.answered++
	}
}

// proposed notes that a connection sent a write.
func (s *returns) proposed(l *lane) {
	if s.watching && l.answeredBy == s.batch {
		l.answeredBy = 0
		s.back++
	}
}

// applied notes that everything up to index was answered.
func (s *returns) applied(now time.Duration, index raft.Index) {
	if s.watching && s.took == 0 && index >= s.last {
		s.took, s.ended = max(now-s.began, 1), now
		s.usual += (s.took - s.usual) / 8
	}
}

// awaited tells whether it is worth to wait for those that the batch up to last
// answered, which is the newest.
func (s *returns) awaited(now time.Duration, last raft.Index) bool {
	if !s.watching || s.took == 0 {
		return false
	}
	switch {
	case s.answered < gatherOpen, s.back < s.answered-s.answered/8 && now-s.ended >= s.took:
		s.watching, s.good = false, 0
	case s.back >= s.answered-s.answered/8:
		s.watching = false
		s.good++
	}
	return s.watching && s.good >= gatherTrust && s.last == last
}
