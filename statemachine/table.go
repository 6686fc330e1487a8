package statemachine

import "hash/maphash"

// table finds items by their keys. Go's map has 24 bytes for each of its places, of
// which half are free after it grew; here it is 10, of which at most a third are.
//
//	hash of the key: | depth bits: which part |  ...  | 16 bits: tag, and the first place to look at |
//
//	part    tags   0 .. 0 t1 t2 0 .. 0 t3 0      0 is a free place
//	        items         i1 i2        i3
//
// A full part is divided in two by one more bit of the hash, so that no write
// pays for more than the keys of one part. What is looked up has no order that
// anybody sees, and the seed of the hash differs between processes, so that nobody can
// choose keys that all meet in one place.
//
// Invariants (check in the tests verifies them):
//
//	parts has 2^depth elements; 2^(depth-d) neighbours are the same part of depth d
//	from the first place of an item's tag to its place none is free
//	a part is never full
type table struct {
	seed  maphash.Seed
	depth uint
	parts []*part
	count int
}

// part is an open-addressing hash table with linear probing.
type part struct {
	depth uint // its items have so many top bits of their hashes in common
	count int
	tags  []uint16
	items []*item
}

// partSizes are the places that a part may have. The pointers to its items, with
// the 8 bytes that Go puts before them, fill a size class of its allocator.
var partSizes = [...]int{7, 15, 31, 63, 127, 255, 511, 607, 767, 863, 1023}

// fullAt is how many items a part of so many places takes. Where more are taken, a
// missing key is looked for in ever more places.
func fullAt(places int) int { return places * 13 / 16 }

// newTable makes a table with room for so many items.
func newTable(items int) table {
	t := table{seed: maphash.MakeSeed()}
	most := fullAt(partSizes[len(partSizes)-1])
	for items>>t.depth > most*7/8 { // chance makes some parts fuller than others
		t.depth++
	}
	each := items >> t.depth
	if t.depth > 0 {
		each += each / 8
	}
	t.parts = make([]*part, 1<<t.depth)
	for i := range t.parts {
		t.parts[i] = newPart(t.depth, each)
	}
	return t
}

// newPart makes a part for at least so many items, which must fit into the largest.
func newPart(depth uint, items int) *part {
	size := partSizes[len(partSizes)-1]
	for _, n := range partSizes {
		if fullAt(n) >= items {
			size = n
			break
		}
	}
	return &part{depth: depth, tags: make([]uint16, size), items: make([]*item, size)}
}

// tagOf is what a part keeps of a hash; 0 is a free place.
func tagOf(hash uint64) uint16 { return max(uint16(hash), 1) }

// home is where a tag is looked for first.
func (p *part) home(tag uint16) int { return int(uint32(tag) * uint32(len(p.tags)) >> 16) }

func (p *part) after(i int) int {
	if i++; i < len(p.tags) {
		return i
	}
	return 0
}

func (t *table) partOf(hash uint64) *part { return t.parts[hash>>(64-t.depth)] }

// get returns the item with this key, or nil.
func (t *table) get(key []byte) *item {
	hash := maphash.Bytes(t.seed, key)
	p, tag := t.partOf(hash), tagOf(hash)
	for i := p.home(tag); p.tags[i] != 0; i = p.after(i) {
		if p.tags[i] == tag && p.items[i].key() == string(key) {
			return p.items[i]
		}
	}
	return nil
}

// add puts in an item whose key is missing.
func (t *table) add(it *item) {
	hash := t.hash(it)
	p := t.partOf(hash)
	for p.count >= fullAt(len(p.tags)) {
		t.grow(hash)
		p = t.partOf(hash)
	}
	p.add(tagOf(hash), it)
	t.count++
}

func (t *table) hash(it *item) uint64 { return maphash.String(t.seed, it.key()) }

func (p *part) add(tag uint16, it *item) {
	i := p.home(tag)
	for p.tags[i] != 0 {
		i = p.after(i)
	}
	p.tags[i], p.items[i] = tag, it
	p.count++
}

// remove takes out an item that is there.
func (t *table) remove(it *item) {
	hash := t.hash(it)
	p := t.partOf(hash)
	i := p.home(tagOf(hash))
	for p.items[i] != it {
		i = p.after(i)
	}
	// Those behind it move up, so that no free place comes before one of them.
	for j := p.after(i); p.tags[j] != 0; j = p.after(j) {
		home := p.home(p.tags[j])
		if i <= j && (home <= i || home > j) || i > j && home <= i && home > j {
			p.tags[i], p.items[i] = p.tags[j], p.items[j]
			i = j
		}
	}
	p.tags[i], p.items[i] = 0, nil
	p.count--
	t.count--
}

// larger is a copy of the part with more places. The tags suffice for it: no key is looked at.
func (p *part) larger() *part {
	q := newPart(p.depth, p.count+1)
	for i, tag := range p.tags {
		if tag != 0 {
			q.add(tag, p.items[i])
		}
	}
	return q
}

// grow gives the part of a hash more places, or divides it.
func (t *table) grow(hash uint64) {
	p := t.partOf(hash)
	if len(p.tags) < partSizes[len(partSizes)-1] {
		*p = *p.larger()
		return
	}
	if p.depth == t.depth {
		parts := make([]*part, 2*len(t.parts))
		for i, q := range t.parts {
			parts[2*i], parts[2*i+1] = q, q
		}
		t.parts = parts
		t.depth++
	}
	halves := [2]*part{newPart(p.depth+1, p.count/2+p.count/16), newPart(p.depth+1, p.count/2+p.count/16)}
	for i, tag := range p.tags {
		if tag == 0 {
			continue
		}
		it := p.items[i]
		half := halves[t.hash(it)>>(63-p.depth)&1]
		if half.count >= fullAt(len(half.tags)) {
			*half = *half.larger() // they were divided unevenly
		}
		half.add(tag, it)
	}
	first := hash >> (64 - p.depth) << (t.depth - p.depth)
	each := uint64(1) << (t.depth - p.depth - 1)
	for i := range each {
		t.parts[first+i], t.parts[first+each+i] = halves[0], halves[1]
	}
}
