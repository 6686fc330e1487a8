package resp

import (
	"slices"
	"strconv"
	"strings"

	wire "github.com/raftkv/raftkv/resp"
	"github.com/raftkv/raftkv/server/access"
	"github.com/raftkv/raftkv/server/feed"
	"github.com/raftkv/raftkv/statemachine"
)

// Client-side caching (CLIENT TRACKING): a client is told when a key that it read
// has changed. A key is noted before its read is sent to the node, and stays noted:
// were it forgotten with the first change, one that comes while the read is
// under way would be the last that the client hears of, and it would keep what it
// read then for ever. What is told stands behind the replies that are due, for the
// same reason. A client's cache may be older than a linearizable read would be, as
// with Redis.

// tracking is what a connection asked for.
type tracking struct {
	on, bcast, optIn, optOut, noLoop bool
	caching                          int // CLIENT CACHING, for what comes next: +1 yes, -1 no
	prefixes                         []string
	bytes                            int // of the keys that are noted
}

// Bounds of the keys that are noted for one connection. Above one of them it is told to
// forget all that it has. One request or block alone, which is bounded itself, is noted whatever it holds.
const (
	maxTracked      = 100_000
	maxTrackedBytes = 16 << 20
)

// tracked are the keys that connections have read, and the connections that want
// to know of all keys with a prefix. hub.mu guards it.
type tracked struct {
	byKey map[string]map[*conn]struct{}
	keys  map[*conn]map[string]struct{}
	bcast map[*conn][]string
}

func newTracked() tracked {
	return tracked{make(map[string]map[*conn]struct{}), make(map[*conn]map[string]struct{}), make(map[*conn][]string)}
}

func (t *tracked) idle() bool { return len(t.keys) == 0 && len(t.bcast) == 0 }

// forget drops what is noted for a connection.
func (t *tracked) forget(c *conn) {
	for key := range t.keys[c] {
		if delete(t.byKey[key], c); len(t.byKey[key]) == 0 {
			delete(t.byKey, key)
		}
	}
}

// trackingCommands are subcommands of CLIENT.
func trackingCommands() []*command {
	const local = fLocal | fLoading | fConn
	return []*command{
		{name: "tracking", arity: -3, flags: local, since: "6.0.0", cost: "O(1)", syntax: "ON | OFF [PREFIX prefix [PREFIX prefix ...]] [BCAST] [OPTIN] [OPTOUT] [NOLOOP]",
			summary: "Be told when keys change that were read, in version 3 of the protocol. NOLOOP has no effect: own changes are told, too", local: clientTracking},
		{name: "caching", arity: 3, flags: local | fFast, since: "6.0.0", cost: "O(1)", syntax: "YES | NO", summary: "Track the keys of the next command, or don't", local: clientCaching},
		{name: "trackinginfo", arity: 2, flags: local | fFast, since: "6.2.0", cost: "O(1)", summary: "Tell what is tracked", local: trackingInfo},
	}
}

func clientTracking(c *conn, args [][]byte) {
	var t tracking
	for i := 3; i < len(args); i++ {
		switch {
		case is(args[i], "prefix") && i+1 < len(args):
			i++
			t.prefixes = append(t.prefixes, string(args[i]))
		case is(args[i], "bcast"):
			t.bcast = true
		case is(args[i], "optin"):
			t.optIn = true
		case is(args[i], "optout"):
			t.optOut = true
		case is(args[i], "noloop"):
			t.noLoop = true
		case is(args[i], "redirect"):
			c.w.Error("ERR REDIRECT is not supported; use version 3 of the protocol")
			return
		default:
			c.w.Error(errSyntax)
			return
		}
	}
	switch {
	case is(args[2], "off"):
		c.untrack()
		c.w.Status("OK")
		return
	case !is(args[2], "on"):
		c.w.Error(errSyntax)
		return
	case c.w.Proto != 3:
		c.w.Error("ERR tracking needs version 3 of the protocol: HELLO 3")
		return
	case len(t.prefixes) > 0 && !t.bcast:
		c.w.Error("ERR PREFIX option requires BCAST mode to be enabled")
		return
	case t.optIn && t.optOut:
		c.w.Error("ERR You can't specify both OPTIN mode and OPTOUT mode")
		return
	case t.bcast && (t.optIn || t.optOut):
		c.w.Error("ERR OPTIN and OPTOUT are not compatible with BCAST")
		return
	case c.track.on && c.track.bcast != t.bcast:
		c.w.Error("ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it with a different mode.")
		return
	}
	size := 0
	for _, p := range t.prefixes {
		if text := c.req.tooLong([]byte(p)); text != "" {
			c.w.Error(text)
			return
		}
		size += len(p)
	}
	for _, p := range c.track.prefixes {
		size += len(p)
	}
	if len(c.track.prefixes)+len(t.prefixes) > maxSubscriptions || size > maxSubscribedBytes {
		c.w.Error("ERR this connection asks for more than " + strconv.Itoa(maxSubscriptions) + " prefixes or " + strconv.Itoa(maxSubscribedBytes) + " bytes of them, the most it can have")
		return
	}
	t.on, t.prefixes, t.bytes = true, append(c.track.prefixes, t.prefixes...), c.track.bytes
	if err := c.srv.hub.track(c, &t); err != nil {
		c.w.Error("TRYAGAIN " + err.Error())
		return
	}
	c.track = t
	c.w.Status("OK")
}

func clientCaching(c *conn, args [][]byte) {
	yes := is(args[2], "yes")
	switch {
	case !c.track.on:
		c.w.Error("ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled")
	case !yes && !is(args[2], "no"):
		c.w.Error(errSyntax)
	case yes && !c.track.optIn:
		c.w.Error("ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.")
	case !yes && !c.track.optOut:
		c.w.Error("ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.")
	default:
		c.track.caching = -1
		if yes {
			c.track.caching = 1
		}
		c.w.Status("OK")
	}
}

func trackingInfo(c *conn, _ [][]byte) {
	t, flags := &c.track, []string{"off"}
	if t.on {
		flags[0] = "on"
	}
	for _, f := range []struct {
		is   bool
		name string
	}{{t.bcast, "bcast"}, {t.optIn, "optin"}, {t.optOut, "optout"}, {t.caching == 1, "caching-yes"}, {t.caching == -1, "caching-no"}, {t.noLoop, "noloop"}} {
		if f.is {
			flags = append(flags, f.name)
		}
	}
	redirect := int64(-1)
	if t.on {
		redirect = 0
	}
	c.w.Map(3)
	c.w.BulkString("flags")
	statuses(&c.w, flags)
	c.w.BulkString("redirect")
	c.w.Int(redirect)
	c.w.BulkString("prefixes")
	c.w.Array(len(t.prefixes))
	for _, p := range t.prefixes {
		c.w.BulkString(p)
	}
}

// track begins to tell a connection of changes.
func (h *hub) track(c *conn, t *tracking) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.read(); err != nil {
		return err
	}
	if t.bcast {
		h.tracked.bcast[c] = slices.Clone(t.prefixes)
	} else if h.tracked.keys[c] == nil {
		h.tracked.keys[c] = make(map[string]struct{})
	}
	return nil
}

// untrack ends that.
func (c *conn) untrack() {
	if !c.track.on {
		return
	}
	c.track = tracking{}
	h := c.srv.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tracked.forget(c)
	delete(h.tracked.keys, c)
	delete(h.tracked.bcast, c)
	h.rest()
}

// noteKeys notes the keys of a read, or of the reads of a block, that is about to
// be sent, if the client may keep what it will hear.
func (c *conn) noteKeys(list ...queued) {
	t := &c.track
	if t.bcast || t.optIn && t.caching != 1 || t.optOut && t.caching == -1 {
		return
	}
	each := func(f func(key []byte)) {
		for _, q := range list {
			if q.cmd.flags&fRead == 0 {
				continue
			}
			q.cmd.eachKey(q.args, func(i int, _ access.Need) bool {
				f(q.args[i])
				return true
			})
		}
	}
	h := c.srv.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	mine := h.tracked.keys[c]
	count, size := 0, 0
	each(func(key []byte) {
		if _, has := mine[string(key)]; !has {
			count, size = count+1, size+len(key)
		}
	})
	if len(mine) > 0 && (len(mine)+count > maxTracked || t.bytes+size > maxTrackedBytes) {
		h.tracked.forget(c)
		clear(mine)
		t.bytes = 0
		// Behind all replies that have a place, sent or not: they were noted, and are no more.
		c.push(c.next+uint64(len(c.slots)), invalidateAll)
	}
	each(func(name []byte) {
		key := string(name)
		if _, has := mine[key]; has {
			return
		}
		mine[key] = struct{}{}
		t.bytes += len(key)
		if h.tracked.byKey[key] == nil {
			h.tracked.byKey[key] = make(map[*conn]struct{})
		}
		h.tracked.byKey[key][c] = struct{}{}
	})
}

// invalidateAll tells a client to forget all that it keeps.
var invalidateAll = func() []byte {
	w := wire.Writer{Proto: 3}
	w.Push(2)
	w.BulkString("invalidate")
	w.Null()
	return w.Bytes()
}()

// invalidate tells of a change to whoever tracks the key.
func (h *hub) invalidate(e *feed.Event) {
	if h.tracked.idle() {
		return
	}
	switch e.Kind {
	case statemachine.ChangeFlush:
		for c := range h.tracked.keys {
			c.pushBehind(invalidateAll)
		}
		for c := range h.tracked.bcast {
			c.pushBehind(invalidateAll)
		}
	case statemachine.ChangeKey:
		var b []byte
		tell := func(c *conn) {
			if b == nil {
				w := wire.Writer{Proto: 3}
				w.Push(2)
				w.BulkString("invalidate")
				w.Array(1)
				w.Bulk(e.Key)
				b = w.Bytes()
			}
			c.pushBehind(b)
		}
		for c := range h.tracked.byKey[string(e.Key)] {
			tell(c)
		}
		for c, prefixes := range h.tracked.bcast {
			if len(prefixes) == 0 || slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(string(e.Key), p) }) {
				tell(c)
			}
		}
	}
}

// pushBehind is push behind all replies that are due.
func (c *conn) pushBehind(b []byte) {
	c.ring.mu.Lock()
	tail := c.ring.tail
	c.ring.mu.Unlock()
	c.push(tail, b)
}
