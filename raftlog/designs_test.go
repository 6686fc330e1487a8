package raftlog

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/raftkv/raftkv/raft"
)

// The designs that docs/decisions/0001-log-compaction.md compares, each with
// the codec, the state record and the bbolt settings of Bolt. Only Bolt is in
// the product; the others are kept so that the figures can be made again.

// designs names each with the function that makes it.
var designs = []struct {
	name string
	open func(dir string) (design, error)
}{
	{"segments", func(dir string) (design, error) { return openSegments(dir, false) }},
	{"segments-nofls", func(dir string) (design, error) { return openSegments(dir, true) }},
	{"buckets", func(dir string) (design, error) { return openOneFile(dir, 4096, false) }},
	{"deletes", func(dir string) (design, error) { return openOneFile(dir, 0, false) }},
	{"deletes-nofls", func(dir string) (design, error) { return openOneFile(dir, 0, true) }},
}

type design interface {
	Write(w *raft.Write) error
	Close() error
}

func openSegments(dir string, noFreelistSync bool) (design, error) {
	b, err := Open(dir, Options{noFreelistSync: noFreelistSync})
	if err != nil {
		return nil, err
	}
	_, err = b.Load()
	return b, err
}

// oneFile keeps the log in one bbolt file: with perBucket entries to a bucket,
// of which old ones are dropped whole, or in one bucket, from which as many
// entries are deleted as are appended, and half as many again to catch up.
type oneFile struct {
	db        *bbolt.DB
	perBucket raft.Index
	low, base raft.Index // entries low..base are there and may go
	buf       []byte
}

func openOneFile(dir string, perBucket raft.Index, noFreelistSync bool) (design, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	db, err := bbolt.Open(filepath.Join(dir, "log.db"), 0o600, &bbolt.Options{
		PageSize: pageSize, FreelistType: bbolt.FreelistMapType, NoStatistics: true,
		InitialMmapSize: 1 << 30, NoFreelistSync: noFreelistSync,
	})
	return &oneFile{db: db, perBucket: perBucket, low: 1}, err
}

func (d *oneFile) bucket(i raft.Index) []byte {
	if d.perBucket == 0 {
		return logBucket
	}
	key := keyOf(i / d.perBucket)
	return key[:]
}

func (d *oneFile) Write(w *raft.Write) error {
	if w.Base.Index > d.base {
		d.base = w.Base.Index
	}
	err := d.db.Update(func(tx *bbolt.Tx) error {
		d.buf = d.buf[:0]
		for i := range w.Entries {
			b, err := tx.CreateBucketIfNotExists(d.bucket(w.Entries[i].Index))
			if err != nil {
				return err
			}
			b.FillPercent = 1
			key, at := keyOf(w.Entries[i].Index), len(d.buf)
			d.buf = appendChunk(d.buf, saltOf(1), key[:], w.Entries[i:i+1])
			if err := b.Put(key[:], d.buf[at:]); err != nil {
				return err
			}
		}
		state, err := tx.CreateBucketIfNotExists(stateBucket)
		if err != nil {
			return err
		}
		if err := state.Put(stateKey, appendRecord(nil, saltOf(1), &record{seq: w.Seq, state: w.State})); err != nil {
			return err
		}
		if d.perBucket == 0 {
			b := tx.Bucket(logBucket)
			for range len(w.Entries) + (len(w.Entries)+1)/2 {
				if d.low > d.base {
					break
				}
				key := keyOf(d.low)
				if err := b.Delete(key[:]); err != nil {
					return err
				}
				d.low++
			}
			return nil
		}
		// One bucket a transaction: the others wait.
		if end := (d.low/d.perBucket + 1) * d.perBucket; end <= d.base+1 {
			if err := tx.DeleteBucket(d.bucket(d.low)); err != nil {
				return err
			}
			d.low = end
		}
		return nil
	})
	return err
}

func (d *oneFile) Close() error { return d.db.Close() }

// BenchmarkDesigns appends for a fixed volume while a "snapshot" moves the base
// to the middle of the log each time it has grown to the bound, as a node under
// steady load does; then it lets the log fall to nothing and appends on (the
// quiet time after a burst).
//
//	go test ./raftlog -run - -bench Designs -benchtime 1x
func BenchmarkDesigns(b *testing.B) {
	for _, size := range []int{256, 64 << 10} {
		for _, batch := range []int{1, 64} {
			for _, d := range designs {
				b.Run(fmt.Sprintf("%s/data=%d/batch=%d", d.name, size, batch), func(b *testing.B) {
					for range b.N {
						runDesign(b, d.open, size, batch)
					}
				})
			}
		}
	}
}

func runDesign(b *testing.B, open func(string) (design, error), size, batch int) {
	volume, bound := 96<<20, 48<<20
	if batch == 1 {
		volume, bound = 4000*(size+40), 2000*(size+40)
		if size > 1<<12 {
			volume, bound = 1500*(size+40), 500*(size+40)
		}
	}
	dir := b.TempDir()
	d, err := open(dir)
	if err != nil {
		b.Fatal(err)
	}
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(i * 7)
	}
	var last, base raft.Index
	seq := uint64(0)
	var steady, after []time.Duration
	write := func(into *[]time.Duration) {
		w := &raft.Write{State: raft.HardState{Term: 1}, Entries: make([]raft.Entry, batch)}
		for i := range w.Entries {
			last++
			w.Entries[i] = raft.Entry{EntryID: raft.EntryID{Term: 1, Index: last}, Type: raft.EntryCommand, Data: data}
		}
		if int(last-base)*(size+40) > bound {
			base = last - (last-base)/2
			w.Base = raft.EntryID{Term: 1, Index: base}
		}
		seq++
		w.Seq = seq
		start := time.Now()
		if err := d.Write(w); err != nil {
			b.Fatal(err)
		}
		*into = append(*into, time.Since(start))
	}
	start := time.Now()
	for wrote := 0; wrote < volume; wrote += batch * size {
		write(&steady)
	}
	rate := float64(last) / time.Since(start).Seconds()
	base = last
	seq++
	if err := d.Write(&raft.Write{Seq: seq, State: raft.HardState{Term: 1}, Base: raft.EntryID{Term: 1, Index: last}}); err != nil {
		b.Fatal(err)
	}
	for range 300 {
		write(&after)
	}
	bytes, err := diskUse(dir)
	if err != nil {
		b.Fatal(err)
	}
	if err := d.Close(); err != nil {
		b.Fatal(err)
	}
	report(b, steady, "")
	report(b, after, "quiet-")
	b.ReportMetric(rate, "entries/s")
	b.ReportMetric(float64(bytes)/(1<<20), "MiB")
	b.ReportMetric(0, "ns/op")
}

func diskUse(dir string) (n int64, err error) {
	names, err := os.ReadDir(dir)
	for _, name := range names {
		if info, err := name.Info(); err == nil {
			n += info.Size()
		}
	}
	return n, err
}

// report adds the usual quantiles to what b says.
func report(b *testing.B, ds []time.Duration, prefix string) {
	slices.Sort(ds)
	for _, q := range []struct {
		name string
		at   int
	}{{"p50", len(ds) / 2}, {"p99", len(ds) * 99 / 100}, {"max", len(ds) - 1}} {
		b.ReportMetric(float64(ds[q.at].Microseconds()), prefix+q.name+"-µs")
	}
}
