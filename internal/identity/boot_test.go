package identity

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Boots ascend whatever the clock does, over a lost or damaged file if the clock
// is right, and two copies of one directory differ.
func TestBootsAscend(t *testing.T) {
	dir, copied := t.TempDir(), t.TempDir()
	now := time.Unix(1_700_000_000, 0)
	last := uint64(0)
	next := func(what string, at time.Time) {
		t.Helper()
		boot, err := NextBoot(dir, at)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if boot <= last {
			t.Errorf("%s: boot %x after %x", what, boot, last)
		}
		last = boot
	}
	next("first", now)
	for range 5 {
		next("same second", now)
	}
	next("clock set back", now.Add(-time.Hour))
	next("clock at zero", time.Time{})
	next("an hour later", now.Add(time.Hour))
	path := filepath.Join(dir, BootFile)
	if err := os.WriteFile(path, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	next("damaged file", now.Add(2*time.Hour))
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(copied, BootFile), b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	next("lost file", now.Add(3*time.Hour))
	twin, err := NextBoot(copied, now.Add(3*time.Hour))
	if err != nil || twin == last {
		t.Errorf("the copy has boot %x as well, %v", twin, err)
	}
	if _, err := NextBoot(filepath.Join(dir, "missing"), now); err == nil {
		t.Error("no error where nothing can be stored")
	}
}
