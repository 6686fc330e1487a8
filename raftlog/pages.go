package raftlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
)

// Our own reader of bbolt's file format. bbolt checksums its two meta pages and
// believes all others: a damaged one makes it panic, run in circles, or hand
// out pages that are in use. So a segment is read here first, page by page and
// with plain reads (a read error of a mapped file would kill the process), and
// bbolt opens only what has been found to be a tree.
//
// Layout (bbolt 1.5, internal/common; numbers little-endian, as on every
// machine that we build for):
//
//	page    id 8 | flags 2 | count 2 | overflow 4 | elements ...
//	leaf    flags 4 | pos 4 | ksize 4 | vsize 4      pos counts from the element
//	branch  pos 4 | ksize 4 | page id 8
//	meta    magic 4 | version 4 | page size 4 | flags 4 | root 8 | sequence 8 |
//	        free list 8 | page count 8 | txid 8 | FNV-1a-64 of the 56 bytes before 8
//	bucket  root 8 | sequence 8 | a page if root is 0      the value of a leaf element with flag 1
//	free    ids 8 each; count 0xffff: the first is the count
const (
	pageSize      = 4096
	pageHeader    = 16
	elementSize   = 16
	metaSize      = 64
	boltMagic     = 0xED0CDAED
	boltVersion   = 2
	flagBranch    = 0x01
	flagLeaf      = 0x02
	flagFreelist  = 0x10
	bucketElement = 0x01
	noFreelist    = ^uint64(0)
	maxDepth      = 32 // of a tree; one of 4-KiB pages and 64-bit keys has fewer levels
)

// meta is one of the two meta pages.
type meta struct {
	root, freelist, pages, txid uint64
}

// readMeta checks one meta page.
func readMeta(p []byte) (meta, error) {
	if len(p) < pageHeader+metaSize {
		return meta{}, fmt.Errorf("%d bytes, the file is cut off", len(p))
	}
	b := p[pageHeader:]
	if got := binary.LittleEndian.Uint32(b); got != boltMagic {
		return meta{}, fmt.Errorf("magic number %08x, want %08x", got, boltMagic)
	}
	h := fnv.New64a()
	h.Write(b[:56])
	if want, got := binary.LittleEndian.Uint64(b[56:]), h.Sum64(); got != want {
		return meta{}, fmt.Errorf("checksum %016x, want %016x", got, want)
	}
	if v, size := binary.LittleEndian.Uint32(b[4:]), binary.LittleEndian.Uint32(b[8:]); v != boltVersion || size != pageSize {
		return meta{}, fmt.Errorf("bbolt format %d with pages of %d bytes, want %d and %d", v, size, boltVersion, pageSize)
	}
	return meta{
		root:     binary.LittleEndian.Uint64(b[16:]),
		freelist: binary.LittleEndian.Uint64(b[32:]),
		pages:    binary.LittleEndian.Uint64(b[40:]),
		txid:     binary.LittleEndian.Uint64(b[48:]),
	}, nil
}

// pages is the image of a segment file.
type pages struct {
	meta meta
	bad  error // what is wrong with the other meta page; nil if nothing
	b    []byte
	used []bool // pages of the trees walked so far
}

// readPages reads the metas of f and all pages in use. It uses buf if that is
// large enough. What isn't a bbolt file wraps ErrCorrupt.
func readPages(f *os.File, buf []byte) (*pages, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, diskError(err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("it is no regular file: %w", ErrCorrupt)
	}
	var head [2 * pageSize]byte
	n, err := f.ReadAt(head[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, diskError(err)
	}
	m0, err0 := readMeta(head[:min(n, pageSize)])
	m1, err1 := readMeta(head[min(n, pageSize):n])
	p := &pages{}
	switch {
	case err0 != nil && err1 != nil:
		return nil, fmt.Errorf("both meta pages are damaged (file of %d bytes): page 0: %w; page 1: %w: %w", info.Size(), err0, err1, ErrCorrupt)
	case err0 != nil:
		p.meta, p.bad = m1, fmt.Errorf("meta page 0: %w", err0)
	case err1 != nil:
		p.meta, p.bad = m0, fmt.Errorf("meta page 1: %w", err1)
	case m0.txid > m1.txid:
		p.meta = m0
	default:
		p.meta = m1
	}
	if p.meta.pages < 4 || p.meta.pages > uint64(info.Size())/pageSize {
		return nil, fmt.Errorf("file of %d bytes, %d pages of %d are in use: it is cut off: %w", info.Size(), p.meta.pages, pageSize, ErrCorrupt)
	}
	size := int(p.meta.pages) * pageSize
	if cap(buf) < size {
		buf = make([]byte, size)
	}
	p.b = buf[:size]
	if _, err := f.ReadAt(p.b, 0); err != nil {
		return nil, diskError(err)
	}
	p.used = make([]bool, p.meta.pages)
	p.used[0], p.used[1] = true, true
	return p, nil
}

// page returns the page id with its overflow, after marking it as used.
func (p *pages) page(id uint64) ([]byte, error) {
	if id < 2 || id >= p.meta.pages {
		return nil, fmt.Errorf("page %d of %d: %w", id, p.meta.pages, ErrCorrupt)
	}
	b := p.b[id*pageSize:]
	if self := binary.LittleEndian.Uint64(b); self != id {
		return nil, fmt.Errorf("page %d calls itself %d: %w", id, self, ErrCorrupt)
	}
	n := uint64(binary.LittleEndian.Uint32(b[12:])) + 1
	if n > p.meta.pages-id {
		return nil, fmt.Errorf("page %d of %d pages: %w", id, n, ErrCorrupt)
	}
	for i := id; i < id+n; i++ {
		if p.used[i] {
			return nil, fmt.Errorf("page %d is used twice: %w", i, ErrCorrupt)
		}
		p.used[i] = true
	}
	return b[:n*pageSize], nil
}

// element is one of a leaf page.
type element struct {
	key, value []byte
	bucket     bool
}

// walk calls f with each element of the tree at root, by ascending key.
func (p *pages) walk(root uint64, f func(element) error) error {
	return p.walkIn(root, nil, nil, 0, f)
}

// walkIn walks a tree whose keys lie in [low, end); nil means without bound.
func (p *pages) walkIn(id uint64, low, end []byte, depth int, f func(element) error) error {
	if depth > maxDepth {
		return fmt.Errorf("page %d: the tree is deeper than %d: %w", id, maxDepth, ErrCorrupt)
	}
	b, err := p.page(id)
	if err != nil {
		return err
	}
	count := int(binary.LittleEndian.Uint16(b[10:]))
	switch flags := binary.LittleEndian.Uint16(b[8:]); {
	case flags == flagLeaf:
		if count == 0 && depth > 0 {
			return fmt.Errorf("page %d is empty: %w", id, ErrCorrupt)
		}
		return walkLeaf(id, b, low, end, f)
	case flags != flagBranch || count == 0:
		return fmt.Errorf("page %d has flags %04x and %d elements: %w", id, flags, count, ErrCorrupt)
	}
	child := func(i int) (key []byte, id uint64, err error) {
		at := pageHeader + i*elementSize
		if at+elementSize > len(b) {
			return nil, 0, fmt.Errorf("page of %d bytes with %d elements: %w", len(b), count, ErrCorrupt)
		}
		e := b[at:]
		key, err = cut(e, uint64(binary.LittleEndian.Uint32(e)), uint64(binary.LittleEndian.Uint32(e[4:])))
		return key, binary.LittleEndian.Uint64(e[8:]), err
	}
	for i := range count {
		key, childID, err := child(i)
		if err != nil {
			return fmt.Errorf("page %d, element %d: %w", id, i, err)
		}
		next := end
		if i+1 < count {
			if next, _, err = child(i + 1); err != nil {
				return fmt.Errorf("page %d, element %d: %w", id, i+1, err)
			}
		}
		if !inOrder(low, key, next) {
			return fmt.Errorf("page %d, element %d: key %x out of order: %w", id, i, key, ErrCorrupt)
		}
		if err := p.walkIn(childID, key, next, depth+1, f); err != nil {
			return err
		}
		low = next
	}
	return nil
}

// walkLeaf calls f with each element of a leaf page.
func walkLeaf(id uint64, b, low, end []byte, f func(element) error) error {
	count := int(binary.LittleEndian.Uint16(b[10:]))
	if pageHeader+count*elementSize > len(b) {
		return fmt.Errorf("page %d of %d bytes with %d elements: %w", id, len(b), count, ErrCorrupt)
	}
	var before []byte
	for i := range count {
		e := b[pageHeader+i*elementSize:]
		flags, pos := binary.LittleEndian.Uint32(e), uint64(binary.LittleEndian.Uint32(e[4:]))
		ksize, vsize := uint64(binary.LittleEndian.Uint32(e[8:])), uint64(binary.LittleEndian.Uint32(e[12:]))
		key, err := cut(e, pos, ksize)
		if err != nil {
			return fmt.Errorf("page %d, element %d: %w", id, i, err)
		}
		value, err := cut(e, pos+ksize, vsize)
		if err != nil {
			return fmt.Errorf("page %d, element %d (key %x): %w", id, i, key, err)
		}
		if i > 0 && bytes.Compare(before, key) >= 0 || !inOrder(low, key, end) || flags > bucketElement {
			return fmt.Errorf("page %d, element %d: key %x with flags %x out of order: %w", id, i, key, flags, ErrCorrupt)
		}
		before = key
		if err := f(element{key: key, value: value, bucket: flags == bucketElement}); err != nil {
			return err
		}
	}
	return nil
}

// cut returns size bytes of b from pos on.
func cut(b []byte, pos, size uint64) ([]byte, error) {
	if pos < elementSize || pos+size > uint64(len(b)) {
		return nil, fmt.Errorf("bytes %d to %d of %d: %w", pos, pos+size, len(b), ErrCorrupt)
	}
	return b[pos : pos+size : pos+size], nil
}

// inOrder tells whether low <= key < end; a nil bound is none.
func inOrder(low, key, end []byte) bool {
	return bytes.Compare(low, key) <= 0 && (end == nil || bytes.Compare(key, end) < 0)
}

// bucket calls f with each element of the bucket that has this value in its parent.
func (p *pages) bucket(value []byte, f func(element) error) error {
	if len(value) < 16 {
		return fmt.Errorf("bucket of %d bytes: %w", len(value), ErrCorrupt)
	}
	if root := binary.LittleEndian.Uint64(value); root != 0 {
		return p.walk(root, f)
	}
	inline := value[16:]
	if len(inline) < pageHeader || binary.LittleEndian.Uint16(inline[8:]) != flagLeaf {
		return fmt.Errorf("bucket of %d bytes is no leaf: %w", len(value), ErrCorrupt)
	}
	return walkLeaf(0, inline, nil, nil, f)
}

// checkFree checks the free list, after all trees were walked: bbolt would
// write over a page that is in use and listed.
func (p *pages) checkFree() error {
	if p.meta.freelist == noFreelist {
		return nil
	}
	b, err := p.page(p.meta.freelist)
	if err != nil {
		return fmt.Errorf("free list: %w", err)
	}
	if flags := binary.LittleEndian.Uint16(b[8:]); flags != flagFreelist {
		return fmt.Errorf("free list: page %d has flags %04x: %w", p.meta.freelist, flags, ErrCorrupt)
	}
	count, ids := uint64(binary.LittleEndian.Uint16(b[10:])), b[pageHeader:]
	if count == 0xffff {
		count, ids = binary.LittleEndian.Uint64(ids), ids[8:]
	}
	if count > uint64(len(ids))/8 {
		return fmt.Errorf("free list: %d pages do not fit into %d bytes: %w", count, len(ids), ErrCorrupt)
	}
	for i := range count {
		id := binary.LittleEndian.Uint64(ids[i*8:])
		if id >= p.meta.pages || p.used[id] {
			return fmt.Errorf("free list: page %d of %d is in use or listed twice: %w", id, p.meta.pages, ErrCorrupt)
		}
		p.used[id] = true
	}
	return nil
}
