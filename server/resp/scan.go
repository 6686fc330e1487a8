package resp

import (
	"container/list"
	"math/rand/v2"
	"sync"
)

// cursors remembers where scans of this node stand. Redis cursors are numbers,
// and a key doesn't fit into one, so the number stands for a place that is kept
// here. It is drawn at random: one of another node, or from before a restart, is
// refused and not mistaken. Any connection may go on with it, since clients use
// pools. It stays valid until the next but one was drawn from it, so that a lost
// reply can be asked for again.
//
// Limits: at most max places and maxBytes of keys; beyond, the place that was not used for the
// longest time goes, and its scan is told "invalid cursor".
type cursors struct {
	mu    sync.Mutex
	max   int
	left  int // bytes of keys that are still free
	byID  map[uint64]*list.Element
	order *list.List // of cursor, oldest use first
	draw  func() uint64
}

type cursor struct {
	id    uint64
	prev  uint64 // the one that it came from
	after string
}

const (
	maxCursors     = 4096
	maxCursorBytes = 16 << 20
	// cursorBits keeps a cursor exact in clients that hold numbers as doubles.
	cursorBits = 53
)

func newCursors() *cursors {
	return &cursors{
		max: maxCursors, left: maxCursorBytes,
		byID: make(map[uint64]*list.Element), order: list.New(),
		draw: func() uint64 { return rand.Uint64()>>(64-cursorBits) | 1<<(cursorBits-1) },
	}
}

// find is the key after which the scan goes on.
func (c *cursors) find(id uint64) (after string, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.byID[id]
	if e == nil {
		return "", false
	}
	c.order.MoveToBack(e)
	return e.Value.(cursor).after, true
}

// next keeps a place and returns its number. prev is the cursor that led here.
func (c *cursors) next(prev uint64, after string) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.byID[prev]; e != nil {
		c.drop(c.byID[e.Value.(cursor).prev])
	}
	id := c.draw()
	for c.byID[id] != nil {
		id = c.draw()
	}
	c.byID[id] = c.order.PushBack(cursor{id, prev, after})
	c.left -= len(after)
	for c.order.Len() > c.max || c.left < 0 && c.order.Len() > 1 {
		c.drop(c.order.Front())
	}
	return id
}

func (c *cursors) drop(e *list.Element) {
	if e == nil {
		return
	}
	old := c.order.Remove(e).(cursor)
	c.left += len(old.after)
	delete(c.byID, old.id)
}
