package raft

import "slices"

// window is what the leader knows of one other member's log.
//
//	1 ........ match ........ have ........ next ........ last
//	 on its disk  |  in memory  |  in flight  |  not yet sent
//
// Invariants (verify checks them):
//
//	match < next <= last+1
//	sent ascends, and every element lies in match+1..next-1
//	while probing, next is a guess, nothing is sent, one append at most is under way
type window struct {
	id    NodeID
	match Index // highest index known to be on its disk and equal to ours
	have  Index // the same, in its memory
	next  Index // first index to send
	tried Index // highest index that was ever sent; what lies above have may be lost
	probe bool  // next is a guess: ask before sending more

	sent      []sent
	sentBytes int
	limit     int // most bytes under way; adapts
	timely    int // bytes acknowledged in time since the limit last changed

	sentAppended uint64 // lead.appended when all of the log was last sent

	asked     bool   // probing: an append or offer is under way since the last heartbeat
	beat      bool   // a heartbeat is due
	told      Index  // commit in the newest message to it
	sentRound uint64 // read round in the newest message to it
	round     uint64 // highest round it echoed
	boot      uint64 // its boot, as its last reply says
	silent    int    // ticks since its last reply
	stuck     int    // ticks since it last got something of what was sent, or had everything
	fetch     EntryID
	fetched   uint64
	full      bool
	low       bool
	refetch   bool
}

// sent is one append under way.
type sent struct {
	last  Index
	bytes int
	tick  uint64
}

// room tells whether one more append may be sent.
func (w *window) room(cfg *Config) bool {
	return len(w.sent) < cfg.MaxInflight && (w.sentBytes < w.limit || len(w.sent) == 0)
}

func (w *window) push(last Index, bytes int, tick uint64) {
	w.sent = append(w.sent, sent{last, bytes, tick})
	w.sentBytes += bytes
	w.next = last + 1
}

// matched records that the member's disk agrees with ours up to match. Replies
// may be late or repeated; one that tells nothing new changes nothing.
func (w *window) matched(match Index, tick uint64, cfg *Config) {
	if match <= w.match {
		return
	}
	w.match = match
	w.have = max(w.have, match)
	w.next = max(w.next, match+1)
	n := 0
	for n < len(w.sent) && w.sent[n].last <= match {
		w.adapt(w.sent[n], tick, cfg)
		w.sentBytes -= w.sent[n].bytes
		n++
	}
	w.sent = slices.Delete(w.sent, 0, n)
}

// adapt halves the window when an acknowledgement takes half an election
// timeout, and doubles it after a full window of timely ones.
func (w *window) adapt(s sent, tick uint64, cfg *Config) {
	if tick-s.tick >= uint64(cfg.ElectionTicks/2) {
		w.limit = max(w.limit/2, 1)
		w.timely = 0
		return
	}
	if w.timely += s.bytes; w.timely >= w.limit {
		w.limit = min(2*w.limit, cfg.MaxInflightBytes)
		w.timely = 0
	}
}

// restart makes next a guess again.
func (w *window) restart(next Index) {
	w.next = max(next, w.match+1)
	w.probe, w.asked = true, false
	w.sent, w.sentBytes = nil, 0
}

// active tells whether the member counts as one that the leader reaches
// (check-quorum): it answers, and what is sent to it arrives.
func (w *window) active(cfg *Config) bool {
	return w.silent < cfg.ElectionTicks && w.stuck < cfg.ElectionTicks
}

func (w *window) verify(last Index) {
	assert3(w.match < w.next, "member %v: match %d, next %d", w.id, w.match, w.next)
	assert3(w.next <= last+1, "member %v: next %d, last %d", w.id, w.next, last)
	assert2(!w.probe || len(w.sent) == 0, "member %v: probing with %d sent", w.id, len(w.sent))
	for i, s := range w.sent {
		assert3(s.last > w.match, "member %v: sent %d, match %d", w.id, s.last, w.match)
		assert3(s.last < w.next, "member %v: sent %d, next %d", w.id, s.last, w.next)
		assert2(i == 0 || w.sent[i-1].last < s.last, "member %v: sent does not ascend at %d", w.id, i)
	}
}
