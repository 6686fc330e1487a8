package main

import (
	"bytes"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// largePages lets the heap have pages of 2 MiB, where the system leaves that to its programs
// (transparent_hugepage/enabled is madvise; without such pages, or with never, it does nothing).
// Memory that is touched for the first time else costs a fault for each 4 KiB: on a virtual
// machine a quarter of the CPU of a start, and of that of writes while the heap grows.
type largePages struct {
	parts []heapPart
	off   bool
}

// heapPart is a range of the heap's addresses, which Go never unmaps.
type heapPart struct{ at, size uintptr }

// grow gives the heap size bytes of addresses that may have large pages. It takes no
// memory, and a full collection. Where addresses are counted like memory it does nothing: a heap
// that can't have them ends the process.
func (p *largePages) grow(size int) {
	if addressesCount() || tooLarge(size) {
		return
	}
	// Untouched, these are only addresses. make would write zeros to all of them, should a single one have been used
	// before: a second of the start, and all the memory. A Builder's room is not cleared.
	var room strings.Builder
	room.Grow(size)
	room.WriteByte(0)
	part := heapPart{uintptr(unsafe.Pointer(unsafe.StringData(room.String()))), uintptr(size)}
	runtime.KeepAlive(&room)
	p.parts = append(p.parts, part)
	advise(part, !p.off)
	room.Reset()
	// The addresses are the heap's now, and as good as given back: else Go would take them for
	// memory that it has too much of, and give back what is in use now and then.
	debug.FreeOSMemory()
	p.mend()
}

// allow tells whether there may be new ones. Those that are there stay, but at rest the kernel
// shall make none out of small pages: that would take back what the collector gave. When rest is over,
// what it has left in pieces is put together again.
func (p *largePages) allow(on bool) {
	if p.off == !on {
		return
	}
	p.off = !on
	for _, part := range p.parts {
		advise(part, on)
	}
	p.mend()
}

// mend puts together what was given back in pieces, where large pages may be now.
func (p *largePages) mend() {
	if p.off || neverLarge() {
		return
	}
	for _, part := range p.parts {
		collapse(part)
	}
}

const (
	largePage  = 2 << 20
	smallPage  = 4 << 10
	worthLarge = largePage / smallPage / 2 // small pages that are there; with fewer more memory would be taken than mended
)

// collapse puts the small pages of a part together where half of a large one is there. What the collector gives back
// comes out of large pages, nearly all of which have a hole then, and they stay in pieces however
// long the work after it lasts: it took half as much CPU again, or twice as much. It takes some
// 0.3 ms a page, and the rest of the process goes on meanwhile.
func collapse(p heapPart) {
	var there [largePage / smallPage]byte
	for at := (p.at + largePage - 1) &^ (largePage - 1); at+largePage <= p.at+p.size; at += largePage {
		if _, _, e := unix.Syscall(unix.SYS_MINCORE, at, largePage, uintptr(unsafe.Pointer(&there))); e != 0 {
			return
		}
		n := 0
		for _, b := range there {
			n += int(b & 1)
		}
		if n >= worthLarge {
			_, _, _ = unix.Syscall(unix.SYS_MADVISE, at, largePage, unix.MADV_COLLAPSE) // fails before Linux 6.1
		}
	}
}

// neverLarge tells whether the system wants no large pages: to be put together they don't need its leave.
func neverLarge() bool {
	how, err := os.ReadFile("/sys/kernel/mm/transparent_hugepage/enabled")
	return err != nil || bytes.Contains(how, []byte("[never]"))
}

// addressesCount tells whether the process is bounded in addresses (ulimit -v, LimitAS of
// systemd, a kernel that overcommits nothing).
func addressesCount() bool {
	var most unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_AS, &most) != nil || most.Cur != unix.RLIM_INFINITY {
		return true
	}
	how, err := os.ReadFile("/proc/sys/vm/overcommit_memory")
	return err != nil || bytes.HasPrefix(how, []byte("2"))
}

// tooLarge tells whether the kernel may refuse so many addresses at once, for it has not as much memory.
func tooLarge(size int) bool {
	var host unix.Sysinfo_t
	return unix.Sysinfo(&host) != nil || uint64(size) > uint64(host.Totalram)*uint64(host.Unit)/2
}

// advise fails where the kernel knows no large pages, and then nothing is lost.
func advise(p heapPart, large bool) {
	how := unix.MADV_NOHUGEPAGE
	if large {
		how = unix.MADV_HUGEPAGE
	}
	_, _, _ = unix.Syscall(unix.SYS_MADVISE, p.at, p.size, uintptr(how))
}
