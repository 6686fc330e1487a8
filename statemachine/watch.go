package statemachine

import (
	"encoding/binary"
	"slices"

	"github.com/zeebo/xxh3"
)

// WATCH asks for a token of each key, and the block that comes later carries it
// back: it runs only if nobody changed the key in between.
//
// A key that is there has its version for a token; every change moves that, and
// so does removing and making it anew. A key that is missing has none, and "still
// missing" would not do: somebody may have made it, the client may have read it,
// and somebody may have removed it again. So the state remembers when a key was
// last made, for keys in birthBuckets groups by their hash: another key of the
// same group may end a block in vain, but none runs that shouldn't.
//
//	version           the key is there
//	-1 - birth index  it is missing
//
// In a condition 0 is a token too: the key is missing, whatever happened before.

func bucket(k xxh3.Uint128) int { return int(k.Lo % birthBuckets) }

// birth is the element of a bucket in the state's hash.
func birth(bucket int, index uint64) sum {
	if index == 0 {
		return sum{}
	}
	return element([8]uint64{tagBirth, uint64(bucket), index})
}

// born notes that this entry made a key that was missing.
func (s *state) born(k xxh3.Uint128) {
	b := bucket(k)
	s.birthSum.sub(birth(b, s.births[b]))
	s.births[b] = uint64(s.applied.Index)
	s.birthSum.add(birth(b, s.births[b]))
}

// watchToken is what WATCH answers for a key.
func (s *state) watchToken(key []byte) int64 {
	if it, live := s.find(key); live {
		return int64(it.version)
	}
	return -1 - int64(s.births[bucket(xxh3.Hash128(key))])
}

// holds tells whether the condition is met.
func (s *state) holds(key []byte, token int64) bool {
	if token != 0 {
		return s.watchToken(key) == token
	}
	_, live := s.find(key)
	return !live
}

// watch answers the tokens of the keys.
func (m *Machine) watch(c *Command, dst []byte) []byte {
	dst = appendArray(dst, len(c.Args))
	for _, key := range c.Args {
		dst = appendInt(dst, m.st.watchToken(key))
	}
	return dst
}

// AppendToken appends the second half of a condition of OpBlock.
func AppendToken(dst []byte, token int64) []byte { return binary.AppendVarint(dst, token) }

// token reads what AppendToken wrote.
func token(b []byte) (int64, bool) {
	t, n := binary.Varint(b)
	return t, n > 0 && n == len(b)
}

// appendBirths appends the buckets that are not empty to a snapshot.
func (v *view) appendBirths(dst []byte) []byte {
	count := 0
	for _, index := range v.births {
		if index != 0 {
			count++
		}
	}
	dst = slices.Grow(dst, 4+count*8) // about: a bucket takes two bytes, an index a few
	dst = append(dst, sectionBirths)
	dst = binary.AppendUvarint(dst, uint64(count))
	for b, index := range v.births {
		if index != 0 {
			dst = binary.AppendUvarint(dst, uint64(b))
			dst = binary.AppendUvarint(dst, index)
		}
	}
	return dst
}

// births reads what appendBirths wrote: buckets ascend.
func (r *source) births(s *state) {
	next := uint64(0)
	for range r.bounded(birthBuckets, "number of buckets") {
		b, index := r.uvarint(), r.uvarint()
		if r.err != nil {
			return
		}
		if b < next || b >= birthBuckets || index == 0 || index > uint64(s.applied.Index) {
			r.fault(malformed("bucket %d: order, or index %d", b, index))
			return
		}
		s.births[b], next = index, b+1
		s.birthSum.add(birth(int(b), index))
	}
}
