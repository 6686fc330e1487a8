package main

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The heap grows into addresses that may have large pages, but for times of rest.
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
	if addressesCount() {
		t.Skip("addresses are bounded here")
	}
	var p largePages
	before := flagged("hg")
	p.grow(bytes)
	grown := flagged("hg")
	if grown == before {
		if _, err := os.Stat("/sys/kernel/mm/transparent_hugepage"); err != nil {
			t.Skip("a kernel without large pages")
		}
	}
	if grown-before < bytes>>10 {
		t.Errorf("%d KiB may have large pages, want %d more than %d", grown, bytes>>10, before)
	}
	if p.allow(false); flagged("hg") != before {
		t.Errorf("%d KiB may have large pages at rest, want %d", flagged("hg"), before)
	}
	if p.allow(true); flagged("hg") != grown {
		t.Errorf("%d KiB may have large pages after a rest, want %d", flagged("hg"), grown)
	}
}

// A machine with little memory is not asked for more addresses than it has: it may refuse them.
func TestHeapTakesNoMoreAddressesThanThereIsMemory(t *testing.T) {
	var p largePages
	if p.grow(1 << 46); len(p.parts) > 0 {
		t.Errorf("took %v", p.parts)
	}
}

// Where addresses are bounded the heap asks for none that it does not need: that would end the process.
func TestHeapTakesNoAddressesWhereTheyAreBounded(t *testing.T) {
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_AS, &was); err != nil {
		t.Fatal(err)
	}
	bound := unix.Rlimit{Cur: 64 << 30, Max: was.Max}
	if err := unix.Setrlimit(unix.RLIMIT_AS, &bound); err != nil {
		t.Skip(err)
	}
	defer unix.Setrlimit(unix.RLIMIT_AS, &was)
	var p largePages
	if p.grow(gcRoom); len(p.parts) > 0 {
		t.Errorf("took %v", p.parts)
	}
}
