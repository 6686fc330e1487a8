package raft_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/raftkv/raftkv/internal/testenv"
	"github.com/raftkv/raftkv/raft"
)

// No message, however wrong, may end the process or hang it: a faulty peer is an
// error of the peer. What is promised is not checked here, since a liar can break
// that in every Raft.
func TestHostileMessagesDoNoHarm(t *testing.T) {
	rounds := 300
	if testenv.Full() {
		rounds = 20_000
	}
	first, step := testenv.Turn(2)
	for seed := uint64(first); seed < uint64(rounds); seed += uint64(step) {
		hostile(t, seed, 400, rand.New(rand.NewPCG(seed, 3)))
	}
}

func hostile(t *testing.T, seed uint64, steps int, rnd *rand.Rand) {
	var trace []string
	defer func() {
		if p := recover(); p != nil {
			t.Fatalf("seed %d: %v\nlast inputs:\n%s", seed, p, trace[max(0, len(trace)-6):])
		}
	}()
	cfg := raft.DefaultConfig()
	cfg.ID, cfg.Boot, cfg.Seed, cfg.MaxWrites = 1, 1, seed, 1+rnd.IntN(3)
	cfg.MaxAppendBytes, cfg.MaxRetainedBytes = 1+rnd.IntN(500), 500+rnd.IntN(5000)
	d := raft.Durable{State: raft.HardState{Term: raft.Term(rnd.IntN(4))}}
	for id := raft.NodeID(1); id <= raft.NodeID(1+rnd.IntN(4)); id++ {
		d.Snapshot.Config.Members = append(d.Snapshot.Config.Members, raft.Member{ID: id})
	}
	r, err := raft.New(cfg, d)
	if err != nil {
		t.Fatal(err)
	}
	fetch := (*raft.Install)(nil)
	var flight []uint64
	for range steps {
		switch rnd.IntN(12) {
		case 0:
			for range rnd.IntN(120) {
				r.Tick()
			}
		case 1:
			_, _ = r.Propose([]byte("x"), 1)
		case 2:
			if len(flight) > 0 {
				r.Wrote(flight[0])
				flight = flight[1:]
			}
		case 3:
			if fetch != nil {
				if r.Installed(fetch.Meta) {
					r.Applied(fetch.Meta.Last.Index)
				}
				fetch = nil
			}
		case 4:
			_, _ = r.Read(rnd.Uint64())
		case 5:
			r.Applied(r.Status().Handed)
		default:
			m := lie(rnd, r.Term())
			trace = append(trace, fmt.Sprintf("%v %+v\n", r.Status().Role, m))
			r.Receive(m)
		}
		if rnd.IntN(3) > 0 {
			o := r.Output(raft.Room{Write: true, Apply: 1000, Install: fetch == nil})
			if o.Write != nil {
				flight = append(flight, o.Write.Seq)
			}
			if o.Install != nil {
				fetch = o.Install
			}
		}
	}
}

// lie makes a message near the truth, or far from it.
func lie(rnd *rand.Rand, now raft.Term) raft.Message {
	term := func() raft.Term {
		switch rnd.IntN(20) {
		case 0:
			return raft.Term(rnd.Uint64())
		case 1:
			return 0
		case 2:
			return now + 1
		}
		return now - min(now, raft.Term(rnd.IntN(2)))
	}
	index := func() raft.Index {
		if rnd.IntN(30) == 0 {
			return raft.Index(rnd.Uint64())
		}
		return raft.Index(rnd.IntN(12))
	}
	eid := func() raft.EntryID {
		return raft.EntryID{Term: raft.Term(rnd.IntN(int(min(now, 5)) + 1)), Index: index()}
	}
	m := raft.Message{
		Kind: raft.Kind(rnd.IntN(10)), From: raft.NodeID(rnd.IntN(6)), To: 1, Term: term(), Boot: uint64(rnd.IntN(3)),
		Prev: eid(), Commit: index(), Round: uint64(rnd.IntN(4)), Last: eid(), ToBoot: uint64(rnd.IntN(2)),
		Match: index(), Have: index(), Reject: rnd.IntN(2) == 0, Hint: eid(), Fetch: eid(), Full: rnd.IntN(4) == 0, Refetch: rnd.IntN(4) == 0,
		Granted: rnd.IntN(2) == 0, Transfer: rnd.IntN(2) == 0,
	}
	prev := m.Prev
	for range rnd.IntN(5) {
		e := raft.Entry{EntryID: raft.EntryID{Term: prev.Term + raft.Term(rnd.IntN(2)), Index: prev.Index + 1}, Type: raft.EntryType(1 + rnd.IntN(3))}
		if e.Type == raft.EntryConfig {
			e.Data = raft.AppendConfiguration(nil, raft.Configuration{Members: []raft.Member{{ID: raft.NodeID(1 + rnd.IntN(3))}, {ID: 5}}})
		}
		if rnd.IntN(20) == 0 {
			e.Index, e.Term = index(), term()
		}
		m.Entries = append(m.Entries, e)
		prev = e.EntryID
	}
	if m.Kind == raft.MsgOffer && rnd.IntN(5) > 0 {
		m.Snapshot = &raft.SnapshotMeta{Last: eid(), Config: raft.Configuration{Members: []raft.Member{{ID: 1}, {ID: 2}}}}
	}
	return m
}
