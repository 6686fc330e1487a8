package load

import (
	"math/bits"
	"time"
)

// Histogram counts durations with an error of at most one part in 32. The zero
// value is empty. One goroutine uses it.
//
// Buckets: below 32 ns one each; above, 32 for each power of two, up to some 18
// minutes; what is longer counts as that.
type Histogram struct {
	counts [(topBits - subBits + 1) << subBits]uint32
	n      uint64
	sum    time.Duration
	max    time.Duration
}

const (
	subBits = 5
	topBits = 40
)

func bucket(d time.Duration) int {
	v := min(uint64(max(d, 0)), 1<<topBits-1)
	if v < 1<<subBits {
		return int(v)
	}
	shift := bits.Len64(v) - subBits - 1
	return (shift+1)<<subBits + int(v>>shift) - 1<<subBits
}

// upper is the largest duration in a bucket.
func upper(b int) time.Duration {
	if b < 1<<subBits {
		return time.Duration(b)
	}
	shift := b>>subBits - 1
	return time.Duration((uint64(b&(1<<subBits-1))+1<<subBits+1)<<shift - 1)
}

// Record counts one duration.
func (h *Histogram) Record(d time.Duration) {
	h.counts[bucket(d)]++
	h.n++
	h.sum += d
	h.max = max(h.max, d)
}

// Add counts what o has counted.
func (h *Histogram) Add(o *Histogram) {
	for i, n := range o.counts {
		h.counts[i] += n
	}
	h.n += o.n
	h.sum += o.sum
	h.max = max(h.max, o.max)
}

// Quantile returns a duration that at least the part q of all does not exceed, at
// most one part in 32 too long. It is 0 if nothing was recorded.
func (h *Histogram) Quantile(q float64) time.Duration {
	want := uint64(q * float64(h.n))
	if float64(want) < q*float64(h.n) {
		want++
	}
	want = max(want, 1)
	var seen uint64
	for b, n := range h.counts {
		if seen += uint64(n); n > 0 && seen >= want {
			return min(upper(b), h.max)
		}
	}
	return h.max
}

// Mean is the mean, Max the longest.
func (h *Histogram) Mean() time.Duration {
	if h.n == 0 {
		return 0
	}
	return h.sum / time.Duration(h.n)
}

// Max is the longest duration, exactly.
func (h *Histogram) Max() time.Duration { return h.max }
