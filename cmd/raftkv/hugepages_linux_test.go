package main

import (
	"os"
	"os/exec"
	"runtime/debug"
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
	defer p.allow(false)
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

// Addresses are taken, not memory, also where they have been used before: Go would write zeros there.
func TestHeapGrowsWithoutWriting(t *testing.T) {
	if addressesCount() {
		t.Skip("addresses are bounded here")
	}
	const child = "RAFTKV_TEST_GROWS"
	for range 5 { // only a young heap has no other addresses, and where it is differs
		if os.Getenv(child) != "" {
			break
		}
		c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
		c.Env = append(os.Environ(), child+"=1")
		if out, err := c.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS") {
			t.Errorf("%v\n%s", err, out)
		}
	}
	if os.Getenv(child) == "" {
		return
	}
	const bytes = 64 << 20
	sink = make([]byte, 2*bytes)
	if err := unix.Madvise(sink, unix.MADV_NOHUGEPAGE); err != nil { // a fault for each small page
		t.Logf("a kernel without large pages: %v", err)
	}
	for i := 0; i < len(sink); i += smallPage {
		sink[i] = 1
	}
	sink = nil
	debug.FreeOSMemory()
	faults := func() int64 {
		var u unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
			t.Fatal(err)
		}
		return u.Minflt
	}
	before := faults()
	var p largePages
	p.grow(bytes)
	if n := faults() - before; n > bytes/smallPage/4 {
		t.Errorf("%d pages of %d were touched", n, bytes/smallPage)
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
