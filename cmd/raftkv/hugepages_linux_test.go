package main

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"unsafe"

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

// After a rest the large pages that have lost little are whole again; those that have lost most of theirs are let be, and so
// is what was never touched.
func TestPiecesAreMadeLargeAgain(t *testing.T) {
	if neverLarge() {
		t.Skip("no large pages here")
	}
	room, err := unix.Mmap(-1, 0, 4*largePage, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(room)
	at := uintptr(unsafe.Pointer(unsafe.SliceData(room)))
	pages := room[(largePage-at%largePage)%largePage:][:3*largePage]
	part := heapPart{uintptr(unsafe.Pointer(unsafe.SliceData(pages))), uintptr(len(pages))}
	for i := 0; i < 2*largePage; i += smallPage {
		pages[i] = byte(i / smallPage)
	}
	if err := unix.Madvise(pages[:largePage], unix.MADV_COLLAPSE); err != nil {
		t.Skip("this kernel makes no large pages at once: ", err)
	}
	given := func(page, i int) bool { return i%16 == 0 || page == 1 && i%4 != 1 }
	there := func(page int) (n int) {
		var in [largePage / smallPage]byte
		at := part.at + uintptr(page*largePage)
		if _, _, e := unix.Syscall(unix.SYS_MINCORE, at, largePage, uintptr(unsafe.Pointer(&in))); e != 0 {
			t.Fatal(e)
		}
		for _, b := range in {
			n += int(b & 1)
		}
		return n
	}
	for page := range 2 {
		for i := range largePage / smallPage {
			if given(page, i) {
				small := pages[page*largePage+i*smallPage:][:smallPage]
				if err := unix.Madvise(small, unix.MADV_DONTNEED); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	before := [3]int{there(0), there(1), there(2)}
	p := largePages{parts: []heapPart{part}, off: true}
	p.allow(true)
	after := [3]int{there(0), there(1), there(2)}
	if want := [3]int{largePage / smallPage, before[1], 0}; before[0] == want[0] || after != want {
		t.Errorf("of each large page there were %v small ones, and then %v, want %v", before, after, want)
	}
	for page := range 2 {
		for i := range largePage / smallPage {
			if got, want := pages[page*largePage+i*smallPage], byte(page*largePage/smallPage+i); !given(page, i) && got != want {
				t.Fatalf("page %d, %d: %d, want %d", page, i, got, want)
			}
		}
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
