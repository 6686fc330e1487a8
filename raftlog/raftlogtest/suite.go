package raftlogtest

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raftlog"
)

// Disk is one implementation under test: a place where a store can be opened,
// left and opened again.
type Disk interface {
	// Open returns the store with what is durable. The store before it is left
	// without a Close: its process died.
	Open(t testing.TB) raftlog.Store
}

// Run runs the suite. newDisk returns an empty disk each time.
func Run(t *testing.T, newDisk func(t testing.TB) Disk) {
	for _, tc := range []struct {
		name string
		test func(*testing.T, Disk)
	}{
		{"empty log", testEmpty},
		{"everything of a write comes back", testWholeWrite},
		{"entries replace all from their first on", testTruncation},
		{"base drops the prefix", testBase},
		{"reset drops the log", testReset},
		{"state alone", testStateAlone},
		{"empty data and big data", testData},
		{"a write that does not fit is refused for good", testMisuse},
		{"load gives independent copies", testLoadCopies},
		{"random writes equal the model", testRandom},
	} {
		t.Run(tc.name, func(t *testing.T) { tc.test(t, newDisk(t)) })
	}
}

func id(term raft.Term, index raft.Index) raft.EntryID { return raft.EntryID{Term: term, Index: index} }

func entry(term raft.Term, index raft.Index, data string) raft.Entry {
	e := raft.Entry{EntryID: id(term, index), Type: raft.EntryCommand, Time: raft.Time(1000 + index)}
	if data != "" {
		e.Data = []byte(data)
	}
	return e
}

// mustLoad opens the store and loads it.
func mustLoad(t testing.TB, d Disk) (raftlog.Store, raft.Durable) {
	t.Helper()
	s := d.Open(t)
	got, err := s.Load()
	if err != nil {
		t.Fatalf("load: %v", err)
	}
	return s, got
}

// check writes all of ws, reopens, and compares with the model.
func check(t testing.TB, d Disk, ws ...*raft.Write) {
	t.Helper()
	s, got := mustLoad(t, d)
	m := Model{D: got}
	for _, w := range ws {
		if err := s.Write(w); err != nil {
			t.Fatalf("write %d: %v", w.Seq, err)
		}
		m.Apply(w)
	}
	_, got = mustLoad(t, d)
	if diff := Diff(got, m.D); diff != "" {
		t.Fatal(diff)
	}
}

func testEmpty(t *testing.T, d Disk) {
	for range 3 {
		_, got := mustLoad(t, d)
		if diff := Diff(got, raft.Durable{}); diff != "" {
			t.Fatal(diff)
		}
	}
}

func testWholeWrite(t *testing.T, d Disk) {
	check(t, d, &raft.Write{
		Seq: 9, State: raft.HardState{Term: 3, Vote: 0xabcdef0123456789, Commit: 2}, Fence: raft.FenceForever,
		Entries: []raft.Entry{entry(1, 1, "a"), entry(1, 2, "b"), entry(3, 3, "c")},
		Base:    id(1, 1),
	})
}

func testTruncation(t *testing.T, d Disk) {
	st := func(term raft.Term) raft.HardState { return raft.HardState{Term: term} }
	check(t, d,
		&raft.Write{Seq: 1, State: st(1), Entries: []raft.Entry{entry(1, 1, "a"), entry(1, 2, "b"), entry(1, 3, "c"), entry(1, 4, "d")}},
		&raft.Write{Seq: 2, State: st(2), Entries: []raft.Entry{entry(2, 2, "B")}})
	// From the very first entry, and again with the same ids.
	check(t, d,
		&raft.Write{Seq: 3, State: st(3), Entries: []raft.Entry{entry(3, 1, "x")}},
		&raft.Write{Seq: 4, State: st(3), Entries: []raft.Entry{entry(3, 2, "y")}},
		&raft.Write{Seq: 5, State: st(4), Entries: []raft.Entry{entry(4, 1, "z"), entry(4, 2, "y"), entry(4, 3, "")}})
}

func testBase(t *testing.T, d Disk) {
	st := raft.HardState{Term: 2}
	check(t, d,
		&raft.Write{Seq: 1, State: st, Entries: []raft.Entry{entry(1, 1, "a"), entry(1, 2, "b"), entry(2, 3, "c")}},
		&raft.Write{Seq: 2, State: st, Base: id(1, 2)},
		&raft.Write{Seq: 3, State: st, Base: id(1, 2), Entries: []raft.Entry{entry(2, 4, "d")}})
	check(t, d, &raft.Write{Seq: 4, State: st, Base: id(2, 4)}) // all of it
	check(t, d, &raft.Write{Seq: 5, State: st, Entries: []raft.Entry{entry(2, 5, "e")}})
	check(t, d, // base moves over what the same write brings
		&raft.Write{Seq: 6, State: st, Base: id(2, 6), Entries: []raft.Entry{entry(2, 6, "f"), entry(2, 7, "g")}})
}

func testReset(t *testing.T, d Disk) {
	st := raft.HardState{Term: 5}
	check(t, d,
		&raft.Write{Seq: 1, State: st, Entries: []raft.Entry{entry(1, 1, "a"), entry(1, 2, "b")}},
		&raft.Write{Seq: 2, State: raft.HardState{Term: 5, Commit: 100}, Reset: true, Base: id(4, 100)})
	check(t, d, &raft.Write{Seq: 3, State: st, Entries: []raft.Entry{entry(5, 101, "c")}})
	check(t, d, // back to a lower index, with entries
		&raft.Write{Seq: 4, State: st, Reset: true, Base: id(2, 50), Entries: []raft.Entry{entry(3, 51, "d")}},
		&raft.Write{Seq: 5, State: st, Reset: true, Base: id(2, 50)},
		&raft.Write{Seq: 6, State: st, Entries: []raft.Entry{entry(5, 51, "e")}})
}

func testStateAlone(t *testing.T, d Disk) {
	check(t, d,
		&raft.Write{Seq: 1, State: raft.HardState{Term: 1, Vote: 7}},
		&raft.Write{Seq: 2, State: raft.HardState{Term: 2}},
		&raft.Write{Seq: 3, State: raft.HardState{Term: 2, Vote: 9}, Fence: raft.FenceOneBack},
		&raft.Write{Seq: 4, State: raft.HardState{Term: 2, Vote: 9}})
}

func testData(t *testing.T, d Disk) {
	big := make([]byte, 3<<20)
	for i := range big {
		big[i] = byte(i * 31)
	}
	es := []raft.Entry{entry(1, 1, ""), entry(1, 2, "x"), entry(1, 3, ""), entry(1, 4, string(big)), entry(1, 5, "")}
	es[0].Type, es[2].Time = raft.EntryNoop, -1
	check(t, d, &raft.Write{Seq: 1, State: raft.HardState{Term: 1}, Entries: es})
	check(t, d, &raft.Write{Seq: 2, State: raft.HardState{Term: 1}, Entries: []raft.Entry{entry(1, 6, string(big)), entry(1, 7, "z")}})
}

func testMisuse(t *testing.T, d Disk) {
	s, _ := mustLoad(t, d)
	st := raft.HardState{Term: 5, Vote: 1}
	seq := uint64(10)
	first := &raft.Write{Seq: seq, State: st, Base: id(2, 2), Entries: []raft.Entry{
		entry(2, 1, ""), entry(2, 2, ""), entry(3, 3, ""), entry(3, 4, ""), entry(5, 5, "")}}
	if err := s.Write(first); err != nil {
		t.Fatal(err)
	}
	m := Model{}
	m.Apply(first)
	for name, w := range map[string]*raft.Write{
		"seq again":              {Seq: seq, State: st},
		"seq back":               {Seq: seq - 1, State: st},
		"term back":              {Seq: 11, State: raft.HardState{Term: 4}},
		"second vote":            {Seq: 11, State: raft.HardState{Term: 5, Vote: 2}},
		"vote taken back":        {Seq: 11, State: raft.HardState{Term: 5}},
		"no such fence":          {Seq: 11, State: st, Fence: 3},
		"gap":                    {Seq: 11, State: st, Entries: []raft.Entry{entry(5, 7, "")}},
		"entry at base":          {Seq: 11, State: st, Entries: []raft.Entry{entry(5, 2, "")}},
		"hole among entries":     {Seq: 11, State: st, Entries: []raft.Entry{entry(5, 6, ""), entry(5, 8, "")}},
		"terms descend":          {Seq: 11, State: st, Entries: []raft.Entry{entry(5, 6, ""), entry(4, 7, "")}},
		"terms descend in log":   {Seq: 11, State: st, Entries: []raft.Entry{entry(2, 4, "")}},
		"term zero":              {Seq: 11, State: st, Reset: true, Entries: []raft.Entry{entry(0, 1, "")}},
		"entry of a later term":  {Seq: 11, State: st, Entries: []raft.Entry{entry(6, 6, "")}},
		"base back":              {Seq: 11, State: st, Base: id(2, 1)},
		"base beyond":            {Seq: 11, State: st, Base: id(5, 6)},
		"base of another term":   {Seq: 11, State: st, Base: id(2, 3)},
		"base of a new term":     {Seq: 11, State: st, Base: id(3, 4), Entries: []raft.Entry{entry(5, 4, "")}},
		"commit beyond":          {Seq: 11, State: raft.HardState{Term: 5, Vote: 1, Commit: 6}},
		"reset to a later term":  {Seq: 11, State: st, Reset: true, Base: id(6, 9)},
		"commit beyond reset":    {Seq: 11, State: raft.HardState{Term: 5, Vote: 1, Commit: 9}, Reset: true, Base: id(4, 8)},
		"gap after reset":        {Seq: 11, State: st, Reset: true, Base: id(4, 8), Entries: []raft.Entry{entry(5, 10, "")}},
		"old entry after reset":  {Seq: 11, State: st, Reset: true, Base: id(4, 8), Entries: []raft.Entry{entry(5, 6, "")}},
		"old term after a reset": {Seq: 11, State: st, Reset: true, Base: id(4, 8), Entries: []raft.Entry{entry(3, 9, "")}},
	} {
		s, got := mustLoad(t, d)
		if diff := Diff(got, m.D); diff != "" {
			t.Fatalf("%s: before it: %s", name, diff)
		}
		err := s.Write(w)
		if !errors.Is(err, raftlog.ErrMisuse) {
			t.Fatalf("%s: error %v, want ErrMisuse", name, err)
		}
		good := &raft.Write{Seq: 12, State: st}
		if again := s.Write(good); again == nil || again.Error() != err.Error() {
			t.Errorf("%s: the next write returned %v, want %v again", name, again, err)
		}
	}
	if _, got := mustLoad(t, d); Diff(got, m.D) != "" {
		t.Error("a refused write left traces: " + Diff(got, m.D))
	}
}

func testLoadCopies(t *testing.T, d Disk) {
	check(t, d, &raft.Write{Seq: 1, State: raft.HardState{Term: 1}, Entries: []raft.Entry{entry(1, 1, "a"), entry(1, 2, "b")}})
	s, one := mustLoad(t, d)
	two, err := s.Load()
	if err != nil {
		t.Fatal(err)
	}
	one.Entries[0] = entry(9, 9, "changed")
	one.Entries = append(one.Entries[:1], entry(9, 9, "changed"))
	if two.Entries[0].Index != 1 || two.Entries[1].Index != 2 {
		t.Error("two loads share their entries")
	}
	check(t, d, &raft.Write{Seq: 2, State: raft.HardState{Term: 1}, Entries: []raft.Entry{entry(1, 3, "c")}})
}

func testRandom(t *testing.T, d Disk) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 1))
	g := NewGen(seed)
	s, _ := mustLoad(t, d)
	for step := range 700 {
		w := g.Next()
		if err := s.Write(w); err != nil {
			t.Fatalf("seed %d, step %d: %v", seed, step, err)
		}
		if rng.IntN(20) > 0 {
			continue
		}
		var got raft.Durable
		s, got = mustLoad(t, d)
		if diff := Diff(got, g.D); diff != "" {
			t.Fatalf("seed %d, step %d: %s", seed, step, diff)
		}
	}
}
