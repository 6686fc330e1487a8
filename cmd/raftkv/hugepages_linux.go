package main

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// growHeap makes the heap grow by about so many bytes of addresses where the kernel may
// give pages of 2 MiB, until end is called. Memory that is touched for the first time
// else costs a fault for each 4 KiB: a quarter of a large start on a virtual machine.
// It takes no memory, and without such pages it does nothing.
func growHeap(bytes int) (end func()) {
	room := make([]byte, bytes) // untouched: only addresses
	at, size := uintptr(unsafe.Pointer(unsafe.SliceData(room))), uintptr(len(room))
	if unix.Madvise(room, unix.MADV_HUGEPAGE) != nil {
		return func() {}
	}
	room = nil
	runtime.GC() // the addresses are the heap's now
	return func() {
		// Large pages stay. But the kernel shall make no new ones of small ones: that would take back what the collector gave.
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, at, size, unix.MADV_NOHUGEPAGE)
	}
}
