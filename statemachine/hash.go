package statemachine

import (
	"encoding/binary"
	"math"
	"math/bits"

	"github.com/zeebo/xxh3"
)

// The state's hash is that of a multiset: the sum, modulo 2^128, of the hash of
// each element. A change subtracts the elements that go and adds those that
// come, so that it costs the same however large the state is, and the order of
// changes doesn't matter. It finds faults; it resists no attacker.
//
// An element is eight words: a tag and what the tag says. The definition belongs
// to the level: another definition needs another level.
const (
	tagKey     = 1 // key hash, version, deadline, length of the value
	tagChunk   = 2 // key hash, number of the chunk, hash of the chunk
	tagSession = 3 // id, last sequence number, index and time of the last use
	tagKept    = 4 // session, sequence number, hashes of request and result
	tagSetting = 5 // hash of the name, value
	tagInstant = 6 // index, term, time, level
	tagUser    = 7 // hash of the name, version, hash of the rules
	tagBirth   = 8 // bucket, index; none while the index is 0
)

// chunkBytes cuts values for hashing, so that APPEND hashes what it adds and
// not the whole value again.
const chunkBytes = 4096

// sum is a number modulo 2^128.
type sum struct{ hi, lo uint64 }

func (s *sum) add(o sum) {
	var carry uint64
	s.lo, carry = bits.Add64(s.lo, o.lo, 0)
	s.hi, _ = bits.Add64(s.hi, o.hi, carry)
}

func (s *sum) sub(o sum) {
	var borrow uint64
	s.lo, borrow = bits.Sub64(s.lo, o.lo, 0)
	s.hi, _ = bits.Sub64(s.hi, o.hi, borrow)
}

func (s sum) bytes() (b [16]byte) {
	binary.BigEndian.PutUint64(b[:8], s.hi)
	binary.BigEndian.PutUint64(b[8:], s.lo)
	return b
}

// element hashes one element. Words that a tag doesn't use are zero.
func element(words [8]uint64) sum {
	var b [64]byte
	for i, w := range words {
		binary.LittleEndian.PutUint64(b[8*i:], w)
	}
	h := xxh3.Hash128(b[:])
	return sum{h.Hi, h.Lo}
}

// sum is the sum of all elements of the key.
func (it *item) sum() sum {
	k := xxh3.HashString128(it.key())
	s := it.head(k)
	s.add(it.chunks(k, 0))
	return s
}

// head is the element that changes with every write to the key.
func (it *item) head(k xxh3.Uint128) sum {
	return element([8]uint64{tagKey, k.Hi, k.Lo, it.version, uint64(it.deadline), uint64(len(it.value()))})
}

// chunks is the sum of the elements of the value from this chunk on.
func (it *item) chunks(k xxh3.Uint128, first int) sum { return it.chunksIn(k, first, math.MaxInt) }

// chunksIn is the sum of the elements of these chunks, as far as they exist.
func (it *item) chunksIn(k xxh3.Uint128, first, last int) sum {
	var s sum
	for i, at := first, first*chunkBytes; at < len(it.value()) && i <= last; i, at = i+1, at+chunkBytes {
		h := xxh3.Hash128(it.value()[at:min(at+chunkBytes, len(it.value()))])
		s.add(element([8]uint64{tagChunk, k.Hi, k.Lo, uint64(i), h.Hi, h.Lo}))
	}
	return s
}

// head is the element that changes with every use of the session.
func (s *session) head() sum {
	return element([8]uint64{tagSession, s.id, s.last, s.used, uint64(s.usedAt)})
}

// keptSum is the element of the i-th kept result.
func (s *session) keptSum(i int) sum {
	k := &s.kept[i]
	r := xxh3.HashString128(k.result)
	return element([8]uint64{tagKept, s.id, s.first() + uint64(i), k.request.Hi, k.request.Lo, r.Hi, r.Lo})
}

// sum is the sum of all elements of the session.
func (s *session) sum() sum {
	t := s.head()
	for i := range s.kept {
		t.add(s.keptSum(i))
	}
	return t
}

// sum is the sum of all settings.
func (l *Limits) sum() sum {
	var t sum
	for _, s := range l.table() {
		n := xxh3.HashString128(s.Name)
		t.add(element([8]uint64{tagSetting, n.Hi, n.Lo, uint64(*s.at)}))
	}
	return t
}

// hash completes the running sum with what changes at every entry.
func (s *state) hash() [16]byte {
	t := s.running
	t.add(s.lasting)
	t.add(s.birthSum)
	t.add(s.settings)
	t.add(element([8]uint64{tagInstant, uint64(s.applied.Index), uint64(s.applied.Term), uint64(s.now), uint64(s.level)}))
	return t.bytes()
}

// recompute is hash from what is stored, without the running sums.
func (s *state) recompute() [16]byte {
	fresh := state{applied: s.applied, now: s.now, level: s.level, settings: s.limits.sum()}
	for bucket, index := range s.births {
		fresh.birthSum.add(birth(bucket, index))
	}
	s.tree.Scan(func(it *item) bool {
		fresh.running.add(it.sum())
		return true
	})
	s.sessions.Scan(func(_ uint64, e *session) bool {
		fresh.lasting.add(e.sum())
		return true
	})
	for i := range s.users {
		fresh.lasting.add(s.users[i].sum())
	}
	return fresh.hash()
}
