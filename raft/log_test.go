package raft

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// logPair is one of each.
type logPair struct {
	l raftLog
	p plainLog
}

// plainLog is a log in one slice.
type plainLog struct {
	base    EntryID
	entries []Entry
}

func (p *plainLog) last() EntryID {
	if n := len(p.entries); n > 0 {
		return p.entries[n-1].EntryID
	}
	return p.base
}

// TestLogInBlocks does the same at random to logs and to plain slices, whose lengths reach over
// several blocks, and compares. What happens to a log must not show in its clones, nor in what it handed out.
func TestLogInBlocks(t *testing.T) {
	type kept struct {
		what      string
		is, being []Entry
	}
	for seed := range uint64(12) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		pairs := []*logPair{{}}
		var old []kept
		term, n := Term(1), 0
		for step := range 400 {
			what := fmt.Sprintf("seed %d, step %d", seed, step)
			l := pairs[rnd.IntN(len(pairs))]
			p := &l.p
			// some is a number of entries, at least one; often up to the end of a block, or all.
			some := func() int {
				n := 0
				switch rnd.IntN(4) {
				case 0:
					for _, b := range l.l.blocks[:1+rnd.IntN(len(l.l.blocks))] {
						n += len(b)
					}
				default:
					n = 1 + rnd.IntN(len(p.entries))
				}
				return n
			}
			switch k := rnd.IntN(10); {
			case k < 5 || len(p.entries) == 0:
				for range rnd.IntN(2 * blockLen / 3) {
					n++
					e := Entry{EntryID: EntryID{term, p.last().Index + 1}, Type: EntryCommand, Time: Time(n), Data: fmt.Append(nil, n)}
					l.l.append(e)
					p.entries = append(p.entries, e)
				}
			case k < 6:
				p.entries = slices.Clone(p.entries[:some()%len(p.entries)])
				l.l.truncate(p.last().Index + 1)
				term++
			case k < 7:
				drop := some() - 1
				at := p.entries[drop]
				p.base = at.EntryID
				l.l.compact(p.base)
				if l.l.baseTime != at.Time {
					t.Fatalf("%s: base is of time %d, want %d", what, l.l.baseTime, at.Time)
				}
				p.entries = slices.Clone(p.entries[drop+1:])
			case k < 8:
				other := &logPair{l.l.clone(), plainLog{p.base, slices.Clone(p.entries)}}
				if len(pairs) < 4 {
					pairs = append(pairs, other)
				} else {
					pairs[rnd.IntN(4)] = other
				}
			case k < 9 && rnd.IntN(4) == 0:
				again := raftLog{base: l.l.base, baseTime: l.l.baseTime, bytes: l.l.bytes}
				again.load(slices.Clone(p.entries))
				l.l = again
			default:
				from := rnd.IntN(len(p.entries))
				to := from + rnd.IntN(len(p.entries)-from)
				bytes := rnd.IntN(3 * blockLen * entryOverhead)
				end := from + 1
				for sum := p.entries[from].size(); end <= to; end++ {
					if sum += p.entries[end].size(); sum > bytes {
						break
					}
				}
				got := l.l.slice(p.entries[from].Index, p.entries[to].Index, bytes)
				if !slices.EqualFunc(got, p.entries[from:end], equalEntries) || cap(got) != len(got) {
					t.Fatalf("%s: slice of %d entries with room for %d, want %d", what, len(got), cap(got), end-from)
				}
				old = append(old, kept{what, slices.Clone(got), got})
			}
			l.compare(t, what)
			if step%20 == 0 {
				for _, x := range pairs {
					x.compare(t, what+", another log")
				}
			}
		}
		for _, k := range old {
			if !slices.EqualFunc(k.is, k.being, equalEntries) {
				t.Fatalf("%s: entries that were handed out are written over", k.what)
			}
		}
	}
}

// compare looks at a whole log.
func (x *logPair) compare(t *testing.T, what string) {
	t.Helper()
	l, p := &x.l, &x.p
	if l.last() != p.last() || len(l.all()) != len(p.entries) || !slices.EqualFunc(l.all(), p.entries, equalEntries) {
		t.Fatalf("%s: log is of %d entries up to %v, want %d up to %v", what, len(l.all()), l.last(), len(p.entries), p.last())
	}
	bytes := 0
	for i := range p.entries {
		e := &p.entries[i]
		if bytes += e.size(); l.at(e.Index).EntryID != e.EntryID {
			t.Fatalf("%s: %v at the place of %v", what, l.at(e.Index).EntryID, e.EntryID)
		}
	}
	if l.bytes != bytes || l.bytesAbove(l.base.Index) != bytes {
		t.Fatalf("%s: %d bytes, counted %d, want %d", what, l.bytes, l.bytesAbove(l.base.Index), bytes)
	}
	for i, b := range l.blocks {
		if len(b) == 0 || len(b) > blockLen || i > 0 && i < len(l.blocks)-1 && len(b) != blockLen {
			t.Fatalf("%s: block %d of %d has %d entries", what, i, len(l.blocks), len(b))
		}
	}
}

func equalEntries(a, b Entry) bool {
	return a.EntryID == b.EntryID && a.Type == b.Type && a.Time == b.Time && string(a.Data) == string(b.Data)
}

// Two clones whose logs are cut off at the end of a block that they share go on in blocks of their own.
func TestClonedLogsCutAtABlockGoOnApart(t *testing.T) {
	var l raftLog
	next := func(l *raftLog, data string) {
		l.append(Entry{EntryID: EntryID{1, l.last().Index + 1}, Data: []byte(data)})
	}
	for range blockLen + blockLen/2 {
		next(&l, "")
	}
	l.compact(EntryID{1, blockLen / 3})
	c := l.clone()
	for _, x := range []*raftLog{&l, &c} {
		x.truncate(blockLen + 1)
	}
	next(&l, "original")
	next(&c, "clone")
	if got := string(l.at(blockLen + 1).Data); got != "original" {
		t.Errorf("the entry of the original is that of the %s", got)
	}
}
