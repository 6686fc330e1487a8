package raft_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/raftkv/raftkv/raft"
)

// BenchmarkLeader proposes batches on a leader of three, takes the output, and
// answers for its disk and both followers: ns and allocations per entry, core only.
func BenchmarkLeader(b *testing.B) {
	for _, batch := range []int{1, 64, 256} {
		b.Run(fmt.Sprint("batch=", batch), func(b *testing.B) {
			r := leaderOfThree(b)
			data := make([]byte, 100)
			room := raft.Room{Write: true, Apply: 1 << 30}
			var snapshot raft.SnapshotMeta
			b.ReportAllocs()
			b.ResetTimer()
			for done := 0; done < b.N; done += batch {
				for range batch {
					if _, err := r.Propose(data, 1); err != nil {
						b.Fatal(err)
					}
				}
				last := answer(r, r.Output(room))
				if o := r.Output(room); len(o.Committed) < batch {
					b.Fatalf("%d committed, want %d", len(o.Committed), batch)
				}
				r.Applied(last.Index)
				if last.Index > snapshot.Last.Index+100_000 {
					snapshot.Last = last
					r.Compact(snapshot, last.Index-1000)
				}
			}
		})
	}
}

// answer plays the disk and both followers, who have everything at once.
func answer(r *raft.Raft, o raft.Output) (last raft.EntryID) {
	if o.Write != nil {
		r.Wrote(o.Write.Seq)
	}
	for _, m := range o.Messages {
		last = m.Last
		reply := raft.Message{Kind: raft.MsgAppendReply, From: m.To, To: 1, Term: m.Term, Boot: 1, Match: last.Index, Have: last.Index, Last: last}
		if m.Kind == raft.MsgAppend {
			r.Receive(reply)
		}
	}
	return last
}

func leaderOfThree(b testing.TB) *raft.Raft {
	cfg := raft.DefaultConfig()
	cfg.ID, cfg.Boot = 1, 1
	var d raft.Durable
	d.Snapshot.Config.Members = []raft.Member{{ID: 1}, {ID: 2}, {ID: 3}}
	r, err := raft.New(cfg, d)
	if err != nil {
		b.Fatal(err)
	}
	room := raft.Room{Write: true, Apply: 1 << 30}
	for r.Role() == raft.Follower {
		r.Tick()
	}
	r.Output(room)
	r.Receive(raft.Message{Kind: raft.MsgPreVoteReply, From: 2, To: 1, Term: 1, Granted: true})
	answer(r, r.Output(room))
	r.Receive(raft.Message{Kind: raft.MsgVoteReply, From: 2, To: 1, Term: 1, Granted: true})
	answer(r, r.Output(room))
	r.Output(room)
	if r.Role() != raft.Leader || r.Commit() != 1 {
		b.Fatalf("%v, commit %d", r.Role(), r.Commit())
	}
	return r
}

// BenchmarkFollower takes appends of a batch each, writes and acknowledges them.
func BenchmarkFollower(b *testing.B) {
	for _, batch := range []int{1, 64, 256} {
		b.Run(fmt.Sprint("batch=", batch), func(b *testing.B) {
			cfg := raft.DefaultConfig()
			cfg.ID, cfg.Boot = 1, 1
			r, err := raft.New(cfg, raft.Durable{})
			if err != nil {
				b.Fatal(err)
			}
			room := raft.Room{Write: true, Apply: 1 << 30}
			entries := make([]raft.Entry, batch)
			prev := raft.EntryID{}
			var snapshot raft.SnapshotMeta
			b.ReportAllocs()
			b.ResetTimer()
			for done := 0; done < b.N; done += batch {
				from := prev
				for i := range entries {
					prev = raft.EntryID{Term: 1, Index: prev.Index + 1}
					entries[i] = raft.Entry{EntryID: prev, Type: raft.EntryCommand}
				}
				r.Receive(raft.Message{Kind: raft.MsgAppend, From: 2, To: 1, Term: 1, Prev: from, Entries: entries, Commit: prev.Index})
				if o := r.Output(room); o.Write != nil {
					r.Wrote(o.Write.Seq)
				}
				if o := r.Output(room); o.Write != nil { // the first time the term goes to the disk
					r.Wrote(o.Write.Seq)
				}
				r.Applied(r.Commit())
				if prev.Index > snapshot.Last.Index+100_000 {
					snapshot.Last = prev
					r.Compact(snapshot, prev.Index-1000)
				}
			}
		})
	}
}

// BenchmarkLongest is the longest time that the core takes for a batch of 64, while the log grows
// to 400,000 entries: what everything else waits for meanwhile.
func BenchmarkLongest(b *testing.B) {
	data := make([]byte, 256)
	room := raft.Room{Write: true, Apply: 1 << 30}
	var longest time.Duration
	for range b.N {
		r := leaderOfThree(b)
		for range 400_000 / 64 {
			began := time.Now()
			for range 64 {
				if _, err := r.Propose(data, 1); err != nil {
					b.Fatal(err)
				}
			}
			last := answer(r, r.Output(room))
			r.Output(room)
			r.Applied(last.Index)
			longest = max(longest, time.Since(began))
		}
	}
	b.ReportMetric(float64(longest.Microseconds()), "longest-us")
}
