package raftlog_test

import (
	"testing"

	"github.com/raftkv/raftkv/raftlog"
	"github.com/raftkv/raftkv/raftlog/raftlogtest"
)

// boltDisk is a directory. Opening it closes the store before, which a process
// that died would do by dying; deaths in the middle are crash_test.go's.
type boltDisk struct {
	dir  string
	opts raftlog.Options
	open *raftlog.Bolt
}

func (d *boltDisk) Open(t testing.TB) raftlog.Store {
	t.Helper()
	if d.open != nil {
		d.open.Close()
	} else {
		t.Cleanup(func() { d.open.Close() })
	}
	b, err := raftlog.Open(d.dir, d.opts)
	if err != nil {
		t.Fatal(err)
	}
	d.open = b
	return b
}

type memDisk struct{ m *raftlog.Mem }

func (d *memDisk) Open(testing.TB) raftlog.Store {
	d.m.Crash(0)
	return d.m
}

func TestStores(t *testing.T) {
	t.Run("bolt", func(t *testing.T) {
		raftlogtest.Run(t, func(t testing.TB) raftlogtest.Disk {
			return &boltDisk{dir: t.TempDir() + "/log", opts: raftlog.Options{SegmentBytes: 1 << 20}}
		})
	})
	// Segments so small that every way over a border is walked.
	t.Run("small segments", func(t *testing.T) {
		raftlogtest.Run(t, func(t testing.TB) raftlogtest.Disk {
			return &boltDisk{dir: t.TempDir() + "/log", opts: raftlog.Options{SegmentBytes: 64 << 10, Spares: 1}}
		})
	})
	t.Run("mem", func(t *testing.T) {
		raftlogtest.Run(t, func(t testing.TB) raftlogtest.Disk {
			return &memDisk{m: raftlog.NewMem()}
		})
	})
}
