package statemachine

import "strings"

// Bounds of one page of OpScan: the applier does nothing else meanwhile.
const (
	scanDefault = 10      // keys looked at, if the command says 0
	scanMax     = 10_000  // keys looked at
	scanBytes   = 1 << 20 // of keys answered, before the page ends early
)

// maxReply bounds the reply of one read, in bytes: a small request can ask for
// a large value thousands of times.
const maxReply = 256 << 20

// Query evaluates a command that changes nothing and appends the result to
// dst. Bytes that are no such command answer an error result.
func (m *Machine) Query(cmd, dst []byte) []byte {
	defer m.forget()
	c := &m.outer
	if len(cmd) > 0 && !Op(cmd[0]).known() {
		return appendErrorf(dst, "ERR operation %d is unknown at level %d", cmd[0], level)
	}
	i, err := decodeKnown(cmd, c)
	switch {
	case err == nil && i.class != classRead:
		return appendErrorf(dst, "ERR '%v' is not a read", c.Op)
	case err == nil && i.block:
		err = inspectBlock(c, &m.nested)
	}
	if err != nil {
		return appendError(dst, "ERR "+strings.TrimPrefix(err.Error(), "ERR "))
	}
	return m.read(c, dst)
}

// read evaluates a read that passed decodeKnown.
func (m *Machine) read(c *Command, dst []byte) []byte {
	s := m.st
	switch c.Op {
	case OpGet:
		it, live := s.find(c.Args[0])
		return appendValue(dst, it, live)
	case OpExists:
		n := int64(0)
		for _, key := range c.Args {
			if _, live := s.find(key); live {
				n++
			}
		}
		return appendInt(dst, n)
	case OpMGet:
		return m.mget(c, dst)
	case OpScan:
		return m.scan(c, dst)
	case OpKeys:
		return m.keys(c, dst)
	case OpRandomKey:
		return m.randomKey(c, dst)
	case OpDBSize:
		return appendInt(dst, int64(s.tree.Len()-s.dueCount()))
	case OpUsers:
		return m.listUsers(c, dst)
	case OpWatch:
		return m.watch(c, dst)
	case OpReadBlock:
		return m.block(c, dst)
	case OpLCS:
		return m.lcs(c, dst)
	case OpSession:
		if e := s.session(c.Num); e != nil {
			return appendInt(dst, int64(e.last))
		}
		return appendExpired(dst, c.Num)
	}
	it, live := s.find(c.Args[0])
	if !live {
		it = nil
	}
	return m.readOne(c, it, dst)
}

// readOne evaluates a read of one key; it is nil if the key is missing.
func (m *Machine) readOne(c *Command, it *item, dst []byte) []byte {
	var value []byte
	if it != nil {
		value = it.value()
	}
	switch c.Op {
	case OpStrlen:
		return appendInt(dst, int64(len(value)))
	case OpGetRange:
		from, end := span(c.Num, int64(c.Seq), int64(len(value)))
		return appendBytes(dst, value[from:end])
	case OpGetBit:
		return appendInt(dst, bitAt(value, c.Num))
	case OpBitCount:
		return appendInt(dst, bitCount(c, value))
	case OpBitPos:
		return appendInt(dst, bitPos(c, it))
	case OpReadField:
		return m.readField(c, value, dst)
	case OpTTL:
		switch {
		case it == nil:
			return appendInt(dst, -2)
		case it.deadline == 0:
			return appendInt(dst, -1)
		}
		// Rounded as the deadline was: never more than was asked for.
		return appendInt(dst, max(it.deadline-m.st.nextMillis(), 0))
	case OpDeadline:
		switch {
		case it == nil:
			return appendInt(dst, -2)
		case it.deadline == 0:
			return appendInt(dst, -1)
		}
		return appendInt(dst, it.deadline)
	}
	if it == nil {
		return appendNil(dst)
	}
	switch c.Op {
	case OpEncoding:
		return appendBytes(dst, encoding(value))
	case OpMemory:
		return appendInt(dst, it.memory())
	default: // OpGetV
		dst = appendArray(dst, 2)
		dst = appendBytes(dst, value)
		return appendInt(dst, int64(it.version))
	}
}

// span turns Redis's inclusive range, whose ends count from the end of n when
// they are negative, into a half-open one. An empty one is 0, 0.
func span(start, stop, n int64) (from, end int64) {
	if start < 0 && stop < 0 && start > stop {
		return 0, 0
	}
	return clamp(start, stop, n)
}

// clamp is span for BITPOS, which takes the ends one by one: -1 to -2 of one byte is that byte.
func clamp(start, stop, n int64) (from, end int64) {
	if start < 0 {
		start = max(start+n, 0)
	}
	if stop < 0 {
		stop = max(stop+n, 0)
	}
	stop = min(stop, n-1)
	if start > stop {
		return 0, 0
	}
	return start, stop + 1
}

// mget answers the values of keys. The sizes are summed up first: many times the
// same large value is a small request.
func (m *Machine) mget(c *Command, dst []byte) []byte {
	size := 0
	for _, key := range c.Args {
		if it, live := m.st.find(key); live {
			size += len(it.value())
		}
	}
	if size > maxReply {
		return appendErrorf(dst, "ERR the values of these keys are %d bytes, a reply can have %d", size, maxReply)
	}
	dst = appendArray(dst, len(c.Args))
	for _, key := range c.Args {
		it, live := m.st.find(key)
		dst = appendValue(dst, it, live)
	}
	return dst
}

// keys answers all keys that match, in ascending order.
func (m *Machine) keys(c *Command, dst []byte) []byte {
	pattern, size := c.Args[0], 0
	every := string(pattern) == "*"
	m.found = m.found[:0]
	m.st.tree.Scan(func(it *item) bool {
		if !m.st.due(it) && (every || MatchGlob(pattern, it.key())) {
			m.found = append(m.found, it.key())
			size += len(it.key())
		}
		return size <= maxReply
	})
	if size > maxReply {
		dst = appendErrorf(dst, "ERR the keys are more than %d bytes; use SCAN", maxReply)
	} else {
		dst = appendArray(dst, len(m.found))
		for _, key := range m.found {
			dst = appendBytes(dst, key)
		}
	}
	m.found = nil // it may be far larger than a page of scan
	return dst
}

// randomKey answers a key that the seed chooses. Those that are due are not
// answered, however many there are: it draws again, and in the end takes the first that can be seen.
func (m *Machine) randomKey(c *Command, dst []byte) []byte {
	tree, seed := m.st.tree, uint64(c.Num)
	if tree.Len() == m.st.dueCount() {
		return appendNil(dst)
	}
	for range 100 {
		it, _ := tree.GetAt(int(seed % uint64(tree.Len())))
		if !m.st.due(it) {
			return appendBytes(dst, it.key())
		}
		seed = seed*6364136223846793005 + 1442695040888963407 // Knuth's MMIX
	}
	var first string
	tree.Scan(func(it *item) bool {
		first = it.key()
		return m.st.due(it)
	})
	return appendBytes(dst, first)
}

// encoding is the name of what Redis keeps such a value as.
func encoding(value []byte) string {
	if _, ok := parseInteger(value); ok {
		return "int"
	}
	if len(value) <= 44 {
		return "embstr"
	}
	return "raw"
}

// memory is about what the key takes, indexes included. The room behind the value doesn't count:
// it differs between nodes, and the answer may be kept in a session, which is state.
func (it *item) memory() int64 {
	const overhead = 64 + 48 + 24 // the item; its places in the map, and in the tree
	n := int64(len(it.key())+len(it.value())) + overhead
	if it.deadline != 0 {
		n += 24 // its place among the timers
	}
	return n
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
	m.st.tree.Ascend(newItem(after), func(it *item) bool {
		if len(after) > 0 && it.key() == string(after) {
			return true
		}
		if (count <= 0 || size >= scanBytes) && next != "" {
			done = false
			return false
		}
		next = it.key()
		count--
		if !m.st.due(it) && (len(pattern) == 0 || MatchGlob(pattern, it.key())) {
			m.found = append(m.found, it.key())
			size += len(it.key())
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
