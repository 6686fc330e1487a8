package node

// ring is a queue in a slice that grows by doubling and never shrinks below
// what a burst needed.
type ring[T any] struct {
	buf  []T // its length is a power of two, or zero
	head int
	n    int
}

func (r *ring[T]) len() int { return r.n }

// at returns the i-th element from the front.
func (r *ring[T]) at(i int) *T { return &r.buf[(r.head+i)&(len(r.buf)-1)] }

func (r *ring[T]) grow() {
	if r.n < len(r.buf) {
		return
	}
	next := make([]T, max(8, 2*len(r.buf)))
	for i := range r.n {
		next[i] = *r.at(i)
	}
	r.buf, r.head = next, 0
}

func (r *ring[T]) push(v T) {
	r.grow()
	r.n++
	*r.at(r.n - 1) = v
}

func (r *ring[T]) pushFront(v T) {
	r.grow()
	r.head = (r.head - 1 + len(r.buf)) & (len(r.buf) - 1)
	r.n++
	*r.at(0) = v
}

// pop takes the front element. The ring must not be empty.
func (r *ring[T]) pop() T {
	var zero T
	p := r.at(0)
	v := *p
	*p = zero // what it refers to can be freed
	r.head = (r.head + 1) & (len(r.buf) - 1)
	r.n--
	return v
}

// filter keeps the elements for which keep is true, in order.
func (r *ring[T]) filter(keep func(*T) bool) {
	kept := 0
	for i := range r.n {
		if keep(r.at(i)) {
			if kept != i {
				*r.at(kept) = *r.at(i)
			}
			kept++
		}
	}
	var zero T
	for i := kept; i < r.n; i++ {
		*r.at(i) = zero
	}
	r.n = kept
}

// shrink gives the memory of a burst back once the ring is empty.
func (r *ring[T]) shrink(limit int) {
	if r.n == 0 && len(r.buf) > limit {
		*r = ring[T]{}
	}
}
