package raftlog

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/raftkv/raftkv/raft"
)

// BenchmarkWrite is the disk's part of every Put: one Write of so many 256-byte entries.
//
//	go test ./raftlog -run - -bench Write -benchmem
//	strace -f -c -e trace=fdatasync,fsync,pwrite64 go test ./raftlog -run - -bench Write/entries=1$ -benchtime 2000x
func BenchmarkWrite(b *testing.B) {
	for _, n := range []int{1, 64, 256} {
		b.Run(fmt.Sprintf("entries=%d", n), func(b *testing.B) {
			s, err := Open(filepath.Join(b.TempDir(), "log"), Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			if _, err := s.Load(); err != nil {
				b.Fatal(err)
			}
			data := make([]byte, 256)
			var last raft.Index
			w := &raft.Write{State: raft.HardState{Term: 1}, Entries: make([]raft.Entry, n)}
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				for i := range w.Entries {
					last++
					w.Entries[i] = raft.Entry{EntryID: raft.EntryID{Term: 1, Index: last}, Type: raft.EntryCommand, Data: data}
				}
				w.Base = raft.EntryID{}
				if last%100000 < raft.Index(n) && last > 50000 {
					w.Base = raft.EntryID{Term: 1, Index: last - 50000}
				}
				w.Seq++
				if err := s.Write(w); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(last)/b.Elapsed().Seconds(), "entries/s")
		})
	}
}

// BenchmarkBurst leaves 512 MiB of log behind, drops it, and goes on with single
// small entries: what a big file costs when it is quiet again (DE-19).
//
//	go test ./raftlog -run - -bench Burst -benchtime 1x
func BenchmarkBurst(b *testing.B) {
	for _, d := range designs {
		b.Run(d.name, func(b *testing.B) {
			for range b.N {
				runBurst(b, d.open)
			}
		})
	}
}

func runBurst(b *testing.B, open func(string) (design, error)) {
	dir := b.TempDir()
	d, err := open(dir)
	if err != nil {
		b.Fatal(err)
	}
	w := &raft.Write{State: raft.HardState{Term: 1}}
	var last raft.Index
	put := func(n, size int) {
		data := make([]byte, size)
		w.Entries = w.Entries[:0]
		for range n {
			last++
			w.Entries = append(w.Entries, raft.Entry{EntryID: raft.EntryID{Term: 1, Index: last}, Type: raft.EntryCommand, Data: data})
		}
		w.Seq++
		if err := d.Write(w); err != nil {
			b.Fatal(err)
		}
	}
	for range 512 << 20 / (256 * 4096) {
		put(256, 4096)
	}
	var steady []time.Duration
	w.Base = raft.EntryID{Term: 1, Index: last}
	for i := range 3000 {
		start := time.Now()
		put(1, 256)
		if i >= 1000 {
			steady = append(steady, time.Since(start))
		}
	}
	bytes, err := diskUse(dir)
	if err != nil {
		b.Fatal(err)
	}
	if err := d.Close(); err != nil {
		b.Fatal(err)
	}
	start := time.Now()
	d, err = open(dir)
	if err != nil {
		b.Fatal(err)
	}
	reopened := time.Since(start)
	if err := d.Close(); err != nil {
		b.Fatal(err)
	}
	report(b, steady, "")
	b.ReportMetric(float64(bytes)/(1<<20), "MiB")
	b.ReportMetric(float64(reopened.Milliseconds()), "reopen-ms")
	b.ReportMetric(0, "ns/op")
	os.RemoveAll(dir)
}
