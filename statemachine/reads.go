package statemachine

import "unsafe"

// Bounds of one page of OpScan: the applier does nothing else meanwhile.
const (
	scanDefault = 10      // keys looked at, if the command says 0
	scanMax     = 10_000  // keys looked at
	scanBytes   = 1 << 20 // of keys answered, before the page ends early
)

// Query evaluates a command that changes nothing and appends the result to
// dst. Bytes that are no such command answer an error result.
func (m *Machine) Query(cmd, dst []byte) []byte {
	defer m.forget()
	c := &m.outer
	if len(cmd) > 0 && !Op(cmd[0]).known() {
		return appendErrorf(dst, "ERR operation %d is unknown at level %d", cmd[0], level)
	}
	if err := c.Decode(cmd); err != nil {
		return appendErrorf(dst, "ERR %v", err)
	}
	i := c.Op.info()
	if i.class != classRead || c.Flags&^i.flags != 0 {
		return appendErrorf(dst, "ERR '%v' with flags %#x is not a read", c.Op, uint16(c.Flags))
	}
	if !c.fits(i) {
		return appendErrorf(dst, "ERR wrong number of arguments for '%v' command", c.Op)
	}
	s := m.st
	switch c.Op {
	case OpGet:
		it, live := s.find(c.Args[0])
		return appendValue(dst, it, live)
	case OpStrlen:
		if it, live := s.find(c.Args[0]); live {
			return appendInt(dst, int64(len(it.value)))
		}
		return appendInt(dst, 0)
	case OpExists:
		n := int64(0)
		for _, key := range c.Args {
			if _, live := s.find(key); live {
				n++
			}
		}
		return appendInt(dst, n)
	case OpMGet:
		dst = appendArray(dst, len(c.Args))
		for _, key := range c.Args {
			it, live := s.find(key)
			dst = appendValue(dst, it, live)
		}
		return dst
	case OpScan:
		return m.scan(c, dst)
	case OpDBSize:
		return appendInt(dst, int64(s.tree.Len()-s.dueCount()))
	case OpUsers:
		return m.listUsers(c, dst)
	default: // OpSession
		if e := s.session(c.Num); e != nil {
			return appendInt(dst, int64(e.last))
		}
		return appendExpired(dst, c.Num)
	}
}

// scan answers a page of keys in ascending order of their bytes: an array of
// the key to go on after (empty: that was the last page) and the keys that match.
//
// An empty after starts at the beginning, so no page ends at the empty key. The
// count bounds the keys looked at, matching or not (Redis's COUNT); a page
// also ends after scanBytes of keys. A key that is there during the whole scan
// is answered exactly once; one that comes or goes meanwhile at most once.
// An empty or missing pattern takes every key.
func (m *Machine) scan(c *Command, dst []byte) []byte {
	after, pattern := c.Args[0], []byte(nil)
	if len(c.Args) == 2 {
		pattern = c.Args[1]
	}
	count := c.Num
	switch {
	case count < 0:
		return appendError(dst, errSyntax)
	case count == 0:
		count = scanDefault
	}
	count = min(count, scanMax)

	var next string // the last key looked at
	size, done := 0, true
	m.found = m.found[:0]
	m.st.tree.Ascend(&item{key: unsafe.String(unsafe.SliceData(after), len(after))}, func(it *item) bool {
		if len(after) > 0 && it.key == string(after) {
			return true
		}
		if (count <= 0 || size >= scanBytes) && next != "" {
			done = false
			return false
		}
		next = it.key
		count--
		if !m.st.due(it) && (len(pattern) == 0 || MatchGlob(pattern, it.key)) {
			m.found = append(m.found, it.key)
			size += len(it.key)
		}
		return true
	})
	if done {
		next = ""
	}
	dst = appendArray(dst, 1+len(m.found))
	dst = appendBytes(dst, next)
	for _, key := range m.found {
		dst = appendBytes(dst, key)
	}
	clear(m.found)
	return dst
}
