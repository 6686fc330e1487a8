package node

import (
	"fmt"
	"testing"

	"github.com/raftkv/raftkv/raft"
)

// discard is a Sink that counts.
type discard struct{ n int }

func (d *discard) Deliver(replies []Reply) { d.n += len(replies) }

// BenchmarkWrites measures writes through Replica and Applier of a single node,
// in pipelines of so many, without disk and network.
func BenchmarkWrites(b *testing.B) {
	for _, pipeline := range []int{1, 16, 256} {
		b.Run(fmt.Sprint(pipeline), func(b *testing.B) { bench(b, Write, pipeline) })
	}
}

// BenchmarkReads is the same for linearizable reads.
func BenchmarkReads(b *testing.B) { bench(b, Read, 256) }

func bench(b *testing.B, k Kind, pipeline int) {
	c := newCluster(b, 1, func(cfg *Config) {
		cfg.SnapshotEntries = 10_000
		cfg.TraceEvents, cfg.TraceBytes = 8192, 4<<20 // as the daemon has them
	})
	h := c.elect(1)
	h.m = nil
	h.a.m = &quiet{machine{}}
	d := &discard{}
	conn := NewConn(d)
	requests := make([]Request, pipeline)
	for i := range requests {
		requests[i] = Request{Kind: k, Data: []byte("0123456789abcdef"), Slot: uint64(i)}
	}
	sub := &Submitted{Conn: conn, Requests: requests}
	h.disk = nil
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N / pipeline {
		h.r.Handle(sub)
		for h.turn() {
		}
	}
	b.StopTimer()
	if d.n != b.N/pipeline*pipeline {
		b.Fatalf("%d replies, want %d", d.n, b.N/pipeline*pipeline)
	}
}

// turn flushes, and does at once what was asked of disk and applier.
func (h *host) turn() bool {
	h.r.Flush()
	h.c.msgs = nil
	some := len(h.writes)+len(h.jobs) > 0
	for _, w := range h.writes {
		h.r.Handle(Wrote{Seq: w.Seq})
	}
	h.writes = h.writes[:0]
	for _, j := range h.jobs {
		h.a.Do(j)
		h.r.Handle(JobDone{Job: j})
	}
	h.jobs = h.jobs[:0]
	return some
}

// quiet is a machine that costs nothing.
type quiet struct{ machine }

func (q *quiet) Apply(e raft.Entry, dst []byte) []byte {
	q.applied = e.EntryID
	return append(dst, "ok"...)
}

func (q *quiet) Query(_, dst []byte) []byte { return append(dst, "value"...) }
