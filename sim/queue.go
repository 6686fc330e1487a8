package sim

import "time"

// event is something that will happen.
type event struct {
	at   time.Duration
	made uint64 // events of the same time run in the order of their making
	do   func()
}

func (e *event) before(o *event) bool {
	return e.at < o.at || e.at == o.at && e.made < o.made
}

// queue is a heap of events with four children a node: half as deep as a binary
// one, and the queue is what a run spends most of its own time in.
type queue struct {
	heap []event
	made uint64
}

func (q *queue) push(at time.Duration, do func()) {
	q.made++
	q.heap = append(q.heap, event{at, q.made, do})
	h := q.heap
	for i := len(h) - 1; i > 0; {
		up := (i - 1) / 4
		if h[up].before(&h[i]) {
			break
		}
		h[up], h[i] = h[i], h[up]
		i = up
	}
}

// pop takes the next event. The queue must not be empty.
func (q *queue) pop() event {
	h := q.heap
	top, n := h[0], len(h)-1
	h[0], h[n] = h[n], event{}
	h = h[:n]
	q.heap = h
	for i := 0; ; {
		least := i
		for c := 4*i + 1; c <= 4*i+4 && c < n; c++ {
			if h[c].before(&h[least]) {
				least = c
			}
		}
		if least == i {
			return top
		}
		h[i], h[least] = h[least], h[i]
		i = least
	}
}
