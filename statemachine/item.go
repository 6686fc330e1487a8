package statemachine

import (
	"math/bits"
	"unsafe"
)

// item is one key. There may be a hundred million, so it has no slice and no string:
//
//	data | valueLen | keyLen | version | deadline | the key's bytes      up to 96 of them
//	data | valueLen | keyLen | version | deadline | a string             above, keyFar
//
// With a key of up to 16 bytes it takes 48 bytes.
type item struct {
	data     *byte // of the value; nil if it is empty
	valueLen uint32
	keyLen   uint32 // and the bits below
	version  uint64 // index of the entry that changed it last
	deadline int64  // in milliseconds of log time; 0 is none
}

// Bits of keyLen above the length of any key.
const (
	keyFar    = 1 << 31 // the key is in a string of its own
	valueRoom = 1 << 30 // the value has room behind it, up to roomFor its length
	valueLent = 1 << 29 // the value is a part of the entry of this version, see state.borrow
	keyBits   = keyFar | valueRoom | valueLent
)

// newItem makes an item with its own copy of the key.
func newItem(key []byte) *item {
	var it *item
	switch n := len(key); {
	case n == 0:
		return new(item) // nothing lies behind it
	case n <= 16:
		it = &new(struct {
			item
			room [16]byte
		}).item
	case n <= 32:
		it = &new(struct {
			item
			room [32]byte
		}).item
	case n <= 48:
		it = &new(struct {
			item
			room [48]byte
		}).item
	case n <= 64:
		it = &new(struct {
			item
			room [64]byte
		}).item
	case n <= 96:
		it = &new(struct {
			item
			room [96]byte
		}).item
	default:
		far := &farItem{key: string(key)}
		far.keyLen = uint32(n) | keyFar
		return &far.item
	}
	it.keyLen = uint32(len(key))
	copy(unsafe.Slice(it.room(), len(key)), key)
	return it
}

// farItem is an item with a key that is too long to lie behind it.
type farItem struct {
	item
	key string
}

// room is where the bytes of a short key begin. newItem alone writes there.
func (it *item) room() *byte { return (*byte)(unsafe.Add(unsafe.Pointer(it), unsafe.Sizeof(*it))) }

// key is the item's key. It keeps the whole item alive, which whoever holds the key mostly wants anyway.
func (it *item) key() string {
	switch {
	case it.keyLen&keyFar != 0:
		return (*farItem)(unsafe.Pointer(it)).key
	case it.keyLen&^keyBits == 0:
		return "" // nothing lies behind it
	}
	return unsafe.String(it.room(), it.keyLen&^keyBits)
}

// value is immutable, though APPEND may write behind it. It is never nil.
func (it *item) value() []byte {
	if it.valueLen == 0 {
		return []byte{}
	}
	return unsafe.Slice(it.data, it.valueLen)
}

// setValue gives the item a value, which it owns from now on, without any room behind it.
func (it *item) setValue(value []byte) {
	it.keyLen &^= valueRoom | valueLent
	it.valueLen = uint32(len(value))
	if it.data = nil; len(value) > 0 {
		it.data = unsafe.SliceData(value)
	}
}

// settle gives a value that is lent a copy of its own.
func (it *item) settle() {
	if it.keyLen&valueLent != 0 {
		it.setValue(own(it.value()))
	}
}

// extend adds to the value: behind it, if there is room, else in a larger copy.
func (it *item) extend(added []byte) {
	old := it.value()
	size := len(old) + len(added)
	if it.keyLen&valueRoom == 0 || size > roomFor(len(old)) {
		larger := make([]byte, size, roomFor(size))
		copy(larger, old)
		copy(larger[len(old):], added)
		it.setValue(larger)
		it.keyLen |= valueRoom
		return
	}
	copy(unsafe.Slice(it.data, size)[len(old):], added)
	it.valueLen = uint32(size)
}

// roomFor is how many bytes a value has that APPEND made so long: the next of four
// steps between powers of two. It needs no place in the item, because for all lengths
// that fit it is the same.
func roomFor(size int) int {
	unit := 1 << max(bits.Len(uint(size))-3, 3)
	return (size + unit - 1) / unit * unit
}

// record is what a key is at one moment.
type record struct {
	key      string
	value    []byte
	version  uint64
	deadline int64
}

func (it *item) record() record { return record{it.key(), it.value(), it.version, it.deadline} }
