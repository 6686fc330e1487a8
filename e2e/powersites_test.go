package e2e

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/raftkv/raftkv/selftest"
)

// PL-02: TestPowerCut and TestPowerCutOfSingleNode on XFS, which orders its
// journal and its data in another way than ext4.
func TestPowerCutOnXFS(t *testing.T) {
	parallel(t)
	t.Run("cluster", func(t *testing.T) {
		parallel(t)
		var disks []*disk
		for range 3 {
			disks = append(disks, newDiskOf(t, "xfs", 320))
		}
		c := onTheseDisks(t, selftest.Options{YAML: small + lowSpace}, disks)
		startAll(t, c)
		cuts := 0
		torment(t, c, func(w *selftest.Workload) {
			for range 3 {
				for _, victims := range [][]*selftest.Node{{leader(t, c)}, {follower(t, c)}, c.Nodes} {
					cut(t, c, disks, victims...)
					cuts += len(victims)
					if err := c.Start(); err != nil {
						t.Fatal(err)
					}
					progress(t, w)
				}
			}
		})
		t.Logf("%d power cuts", cuts)
	})
	t.Run("alone", func(t *testing.T) {
		parallel(t)
		acked, lost, _ := cutter{cycles: 10}.run(t, newDiskOf(t, "xfs", 320))
		judgeCuts(t, 10, acked, lost)
	})
	t.Run("a lying disk is found", func(t *testing.T) {
		parallel(t)
		needStrace(t)
		acked, lost, refused := cutter{cycles: 5, wrap: func(_ int, argv []string) []string {
			return strace(argv, "fdatasync,fsync,msync,sync_file_range:retval=0")
		}}.run(t, newDiskOf(t, "xfs", 320))
		t.Logf("%d keys acknowledged, %d lost; refused: %s", acked, lost, refused)
		if lost == 0 && refused == "" {
			t.Error("a lying disk lost nothing: the harness sees nothing")
		}
	})
}

func judgeCuts(t *testing.T, cycles, acked, lost int) {
	t.Helper()
	t.Logf("%d power cuts, %d writes acknowledged, %d lost", cycles, acked, lost)
	if lost > 0 {
		t.Errorf("%d acknowledged writes are lost", lost)
	}
	if acked == 0 {
		t.Error("nothing was acknowledged: nothing was tested")
	}
}

// sizes are those of the segments of a node's log, by name.
func sizes(t *testing.T, n *selftest.Node) map[string]int64 {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(n.Data, "log", "log-*"))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]int64{}
	for _, f := range files {
		if info, err := os.Stat(f); err == nil { // it may be retired just now
			out[f] = info.Size()
		}
	}
	return out
}

// segmentBytes is the size of a segment of the log (raftlog.Options).
const segmentBytes = 16 << 20

// PL-10 and PL-11: the power goes while the file of the log grows, since one write
// is larger than a segment, and while the log goes on in another segment.
func TestPowerCutWhereTheLogGrows(t *testing.T) {
	parallel(t)
	for _, tc := range []struct {
		name, kind string
		a          acker
		changed    func(before, now map[string]int64) bool
	}{
		{"file grows", "ext4", acker{size: 7_900_000, keys: 3, twice: true}, grown},
		{"file grows", "xfs", acker{size: 7_900_000, keys: 3, twice: true}, grown},
		{"next segment", "ext4", acker{size: 400_000, keys: 4}, rotated},
		{"next segment", "xfs", acker{size: 400_000, keys: 4}, rotated},
	} {
		t.Run(tc.name+" on "+tc.kind, func(t *testing.T) {
			parallel(t)
			const cycles = 4
			hits := 0
			k := cutter{cycles: cycles, a: tc.a, yaml: lowSpace + quick + "snapshot: {log_bytes: 24MiB, keep_entries: 1}\n"}
			k.moment = func(n *selftest.Node) {
				before := sizes(t, n)
				until(t, tc.name, func() (bool, error) { return tc.changed(before, sizes(t, n)), nil })
				<-time.After(time.Duration(rand.IntN(20)) * time.Millisecond) // the moment of the fault
				hits++
			}
			acked, lost, _ := k.run(t, newDiskOf(t, tc.kind, 400))
			judgeCuts(t, cycles, acked, lost)
			if hits != cycles {
				t.Errorf("%d of %d cuts came while the log grew", hits, cycles)
			}
		})
	}
}

// grown tells whether a segment has become larger than it was made.
func grown(before, now map[string]int64) bool {
	for f, size := range now {
		if size > segmentBytes && size > before[f] {
			return true
		}
	}
	return false
}

// rotated tells whether a segment is there that was not.
func rotated(before, now map[string]int64) bool {
	for f := range now {
		if _, ok := before[f]; !ok {
			return true
		}
	}
	return false
}
