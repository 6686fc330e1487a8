package sim

import "time"

// event is when something will happen. It holds no pointer: the queue moves
// events about all the time, and the garbage collector would watch each move.
type event struct {
	at   time.Duration
	made uint64 // events of the same time run in the order of their making
	deed int32  // in queue.deeds
}

func (e *event) before(o *event) bool {
	return e.at < o.at || e.at == o.at && e.made < o.made
}

// deed is what will happen.
type deed struct {
	do    func()
	owner *host // void unless this host's process still runs; nil: nobody's
	run   int   // the process
	waits bool  // while the process is paused
}

// queue is a heap of events with four children a node: half as deep as a binary
// one.
type queue struct {
	heap  []event
	made  uint64
	deeds []deed
	free  []int32 // places in deeds
}

func (q *queue) push(at time.Duration, d deed) {
	n := int32(len(q.deeds))
	if k := len(q.free); k > 0 {
		n, q.free = q.free[k-1], q.free[:k-1]
		q.deeds[n] = d
	} else {
		q.deeds = append(q.deeds, d)
	}
	q.made++
	e := event{at, q.made, n}
	q.heap = append(q.heap, e)
	h, i := q.heap, len(q.heap)-1
	for i > 0 {
		up := (i - 1) / 4
		if h[up].before(&e) {
			break
		}
		h[i] = h[up]
		i = up
	}
	h[i] = e
}

// pop takes the next event. The queue must not be empty.
func (q *queue) pop() (event, deed) {
	h := q.heap
	top, n := h[0], len(h)-1
	last := h[n]
	h = h[:n]
	q.heap = h
	for i := 0; n > 0; {
		least, c := -1, 4*i+1
		for end := min(c+4, n); c < end; c++ {
			if least < 0 || h[c].before(&h[least]) {
				least = c
			}
		}
		if least < 0 || last.before(&h[least]) {
			h[i] = last
			break
		}
		h[i] = h[least]
		i = least
	}
	d := q.deeds[top.deed]
	q.deeds[top.deed] = deed{}
	q.free = append(q.free, top.deed)
	return top, d
}
