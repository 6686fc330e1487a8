package statemachine

import (
	"bytes"
	"testing"
	"unsafe"
)

func TestItemKeepsKeysOfAllLengths(t *testing.T) {
	for n := range 200 {
		key := bytes.Repeat([]byte{byte(n)}, n)
		it := newItem(key)
		it.setValue([]byte("value"))
		it.extend([]byte("s"))
		want := string(key)
		clear(key)
		if it.key() != want || string(it.value()) != "values" {
			t.Errorf("key of %d bytes became %q, its value %q", n, it.key(), it.value())
		}
	}
	if size := unsafe.Sizeof(item{}); size != 32 {
		t.Errorf("an item takes %d bytes", size)
	}
}

// The room behind a value is known from its length alone: for each length that fits
// it must be what it was when it was made, and it must not be so small that a value which
// grows byte by byte is copied each time.
func TestRoomIsTheSameForAllLengthsThatFit(t *testing.T) {
	copies := 0
	for size, room := 1, 0; size < 1<<16; size++ {
		now := roomFor(size)
		if size <= room && now != room {
			t.Fatalf("the room of %d bytes is %d, it was made as %d", size, now, room)
		}
		if size > room {
			room = now
			copies++
		}
		if now < size || now > size+max(size/4, 8) {
			t.Fatalf("the room of %d bytes is %d", size, now)
		}
	}
	if copies > 60 {
		t.Errorf("%d copies on the way to 64 KiB", copies)
	}
}

// What does not fit into the room is copied, to the last byte: another value may lie behind it.
func TestExtendStaysWithinItsRoom(t *testing.T) {
	it := newItem([]byte("k"))
	it.extend([]byte("x"))
	for size := 2; size < 1<<12; size++ {
		old, room := it.value(), roomFor(size-1)
		it.extend([]byte("x"))
		if moved := &old[0] != &it.value()[0]; moved != (size > room) {
			t.Fatalf("%d bytes, room for %d: moved %v", size, room, moved)
		}
	}
}

// A value that was set, copied or restored has nothing behind it that is its own.
func TestExtendWritesOnlyIntoItsOwnRoom(t *testing.T) {
	it := newItem([]byte("k"))
	array := []byte("0123456789")
	it.setValue(array[:4])
	it.extend([]byte("x"))
	if string(array) != "0123456789" || string(it.value()) != "0123x" {
		t.Errorf("array %q, value %q", array, it.value())
	}
	old := it.value()
	it.extend([]byte("yz"))
	if string(old) != "0123x" || string(it.value()) != "0123xyz" || &old[0] != &it.value()[0] {
		t.Errorf("old %q, value %q", old, it.value())
	}
	it.setValue(nil)
	if it.value() == nil || len(it.value()) != 0 {
		t.Errorf("no value is %v", it.value())
	}
}
