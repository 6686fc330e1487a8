package main

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

// The heap that a start grows into may have large pages, until the start is over.
func TestHeapGrowsWhereLargePagesMayBe(t *testing.T) {
	flagged := func(flag string) (kib int) {
		b, err := os.ReadFile("/proc/self/smaps")
		if err != nil {
			t.Skip(err)
		}
		size := 0
		for _, line := range strings.Split(string(b), "\n") {
			f := strings.Fields(line)
			switch {
			case len(f) == 3 && f[0] == "Size:":
				size, _ = strconv.Atoi(f[1])
			case len(f) > 0 && f[0] == "VmFlags:" && strings.Contains(line+" ", " "+flag+" "):
				kib += size
			}
		}
		return kib
	}
	const bytes = 64 << 20
	before := flagged("hg")
	end := growHeap(bytes)
	grown := flagged("hg")
	if grown == before {
		if _, err := os.Stat("/sys/kernel/mm/transparent_hugepage"); err != nil {
			t.Skip("a kernel without large pages")
		}
	}
	if grown-before < bytes>>10 {
		t.Errorf("%d KiB may have large pages, want %d more than %d", grown, bytes>>10, before)
	}
	if end(); flagged("hg") != before {
		t.Errorf("%d KiB may have large pages after the start", flagged("hg"))
	}
}
