package raft

import "slices"

// read waits for a majority to say, after it came, that we still lead
// (ReadIndex, thesis 6.4).
type read struct {
	id    uint64
	index Index
	round uint64 // 0: joins the next one that is opened
}

// Read asks for a confirmation of leadership under id, which is fresh at each
// attempt, and returns the read index, fixed now: a read may be evaluated once
// that is applied, and answered once id has come in Output.Reads. If it comes in
// Output.Lost instead, what was evaluated must be thrown away. Error: *NotLeaderError.
func (r *Raft) Read(id uint64) (Index, error) {
	if r.role != Leader {
		return 0, &NotLeaderError{r.leader}
	}
	// Until its no-op is committed a leader does not know what is (thesis 6.4).
	index := max(r.commit, r.lead.noop)
	r.lead.reads = append(r.lead.reads, read{id: id, index: index})
	return index, nil
}

// openRound gives the reads that came since a round of their own. One is under
// way at a time: what comes meanwhile shares the next.
func (r *Raft) openRound() {
	l := &r.lead
	if l.confirmed < l.round || len(l.reads) == 0 {
		return
	}
	l.round++
	for i := range l.reads {
		l.reads[i].round = l.round
	}
	r.confirmReads() // alone, we are the majority
}

// confirmReads releases the reads whose round a majority of the voters echoed.
func (r *Raft) confirmReads() {
	l := &r.lead
	if l.confirmed == l.round {
		return
	}
	var few [8]Index // on the stack: this runs with every reply
	rounds := few[:0]
	for i := range r.config().Members {
		m := &r.config().Members[i]
		if m.Learner {
			continue
		}
		if m.ID == r.cfg.ID {
			rounds = append(rounds, Index(l.round))
		} else if w := r.window(m.ID); w != nil {
			rounds = append(rounds, Index(w.round))
		}
	}
	l.confirmed = max(l.confirmed, uint64(committed(rounds)))
	n := 0
	for n < len(l.reads) && l.reads[n].round != 0 && l.reads[n].round <= l.confirmed {
		l.ready = append(l.ready, ReadReady{l.reads[n].id, l.reads[n].index})
		n++
	}
	l.reads = slices.Delete(l.reads, 0, n)
}

// dropReads gives up what waits, because leadership went.
func (r *Raft) dropReads() {
	for _, d := range r.lead.ready {
		r.lost = append(r.lost, d.ID)
	}
	for _, d := range r.lead.reads {
		r.lost = append(r.lost, d.id)
	}
}
