package statemachine

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
)

// check verifies the invariants of table.
func (t *table) check(tb interface {
	Helper()
	Fatalf(string, ...any)
}) {
	tb.Helper()
	if len(t.parts) != 1<<t.depth {
		tb.Fatalf("%d parts at depth %d", len(t.parts), t.depth)
	}
	count := 0
	for at := 0; at < len(t.parts); {
		p := t.parts[at]
		each := 1 << (t.depth - p.depth)
		for i := range each {
			if at%each != 0 || t.parts[at+i] != p {
				tb.Fatalf("part %d of depth %d is not that of its neighbour %d", at, p.depth, at+i)
			}
		}
		held := 0
		for i, tag := range p.tags {
			if (tag == 0) != (p.items[i] == nil) {
				tb.Fatalf("place %d has tag %d, item %v", i, tag, p.items[i])
			}
			if tag == 0 {
				continue
			}
			held++
			hash := t.hash(p.items[i])
			if tagOf(hash) != tag || t.partOf(hash) != p {
				tb.Fatalf("item %q is in the wrong place", p.items[i].key())
			}
			for j := p.home(tag); j != i; j = p.after(j) {
				if p.tags[j] == 0 {
					tb.Fatalf("item %q is behind a free place", p.items[i].key())
				}
			}
		}
		if held != p.count || held > fullAt(len(p.tags)) {
			tb.Fatalf("a part of %d places holds %d items, counted %d", len(p.tags), held, p.count)
		}
		count += held
		at += each
	}
	if count != t.count {
		tb.Fatalf("%d items, counted %d", count, t.count)
	}
}

// A table and Go's map stay the same while keys come and go, through all sizes of a
// part and several divisions.
func TestTableIsAMap(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	tab, want := newTable(0), map[string]*item{}
	for step := range 40_000 {
		key := binary.BigEndian.AppendUint16(nil, uint16(random.IntN(12_000)))
		remove := step%10 < 3
		if step > 25_000 {
			remove = step%10 < 8 // until little is left
		}
		it := tab.get(key)
		if it != want[string(key)] {
			t.Fatalf("seed %d, step %d: key %x is %v, want %v", seed, step, key, it, want[string(key)])
		}
		switch {
		case remove && it != nil:
			tab.remove(it)
			delete(want, string(key))
		case !remove && it == nil:
			it = newItem(key)
			tab.add(it)
			want[string(key)] = it
		}
		if step%1000 == 0 {
			tab.check(t)
		}
	}
	tab.check(t)
	if len(tab.parts) < 8 || tab.count != len(want) {
		t.Errorf("seed %d: %d parts, %d items, want %d", seed, len(tab.parts), tab.count, len(want))
	}
	for key, it := range want {
		if tab.get([]byte(key)) != it {
			t.Errorf("seed %d: key %x is lost", seed, key)
		}
	}
}

// A table with room for its items takes them without growing, and wastes little, at any size.
func TestTableHasTheRoomThatIsAskedFor(t *testing.T) {
	for _, n := range []int{0, 1, 5, 6, 100, 700, 831, 832, 3000, 10_000, 60_000} {
		tab := newTable(n)
		parts := len(tab.parts)
		for i := range n {
			tab.add(newItem(fmt.Append(nil, i)))
		}
		tab.check(t)
		places := 0
		for _, p := range tab.parts {
			places += len(p.tags)
		}
		if len(tab.parts) > parts || places > max(7, 5*n/2) {
			t.Errorf("%d items: %d parts, made for it %d; %d places", n, len(tab.parts), parts, places)
		}
	}
}
