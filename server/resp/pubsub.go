package resp

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"

	wire "github.com/raftkv/raftkv/resp"
	"github.com/raftkv/raftkv/server/access"
	"github.com/raftkv/raftkv/server/feed"
	"github.com/raftkv/raftkv/statemachine"
)

// Messages come from the feed of applied changes, so that subscribers of all nodes
// get all messages in one order, that of the log. One goroutine reads the feed,
// while there are subscribers, and gives each message to those that want it:
//
//	feed ──distribute──> hub ──> ring.pushes of each subscriber ──> its writer

// pubsubCommands are about channels.
func pubsubCommands() []command {
	const flags = fLocal | fLoading | fPubSub
	names := func(args [][]byte) [][]byte { return args[1:] }
	return []command{
		{name: "subscribe", arity: -2, flags: flags, group: "pubsub", since: "2.0.0", cost: "O(n) in the channels", syntax: "channel [channel ...]",
			summary: "Get the messages of channels, from any node", channels: names, local: func(c *conn, args [][]byte) { c.subscribe(args, false) }},
		{name: "psubscribe", arity: -2, flags: flags, group: "pubsub", since: "2.0.0", cost: "O(n) in the patterns", syntax: "pattern [pattern ...]",
			summary: "Get the messages of channels that fit a pattern, from any node", channels: names, local: func(c *conn, args [][]byte) { c.subscribe(args, true) }},
		{name: "unsubscribe", arity: -1, flags: flags, group: "pubsub", since: "2.0.0", cost: "O(n) in the channels", syntax: "[channel [channel ...]]",
			summary: "Get no more messages of channels, or of none at all", local: func(c *conn, args [][]byte) { c.unsubscribe(args, false) }},
		{name: "punsubscribe", arity: -1, flags: flags, group: "pubsub", since: "2.0.0", cost: "O(n) in the patterns", syntax: "[pattern [pattern ...]]",
			summary: "The same for patterns", local: func(c *conn, args [][]byte) { c.unsubscribe(args, true) }},
		{name: "publish", arity: 3, flags: fWrite | fFast | fPubSub, group: "pubsub", since: "2.0.0", cost: "O(n) in the subscribers", syntax: "channel message",
			summary:  "Send a message to the subscribers of all nodes; answers how many of them are connected to this one",
			channels: func(args [][]byte) [][]byte { return args[1:2] }, parse: parsePublish, tell: tellPublish},
		{name: "pubsub", arity: -2, group: "pubsub", since: "2.8.0", cost: "O(n)", summary: "The subscribers that are connected to this node", subs: []*command{
			{name: "channels", arity: -2, flags: flags, since: "2.8.0", cost: "O(n) in the channels", syntax: "[pattern]", summary: "List the channels that have subscribers", local: pubsubChannels},
			{name: "numpat", arity: 2, flags: flags, since: "2.8.0", cost: "O(1)", summary: "Count the patterns that are subscribed to",
				local: func(c *conn, _ [][]byte) { _, n := c.srv.hub.size(); c.w.Int(int64(n)) }},
			{name: "numsub", arity: -2, flags: flags, since: "2.8.0", cost: "O(n) in the channels", syntax: "[channel [channel ...]]", summary: "Count the subscribers of channels", local: pubsubNumSub},
			helpCommand(),
		}},
	}
}

// Bounds of the channels and patterns of one connection, and of the prefixes that it tracks.
const (
	maxSubscriptions   = 10_000
	maxSubscribedBytes = 16 << 20
)

// hub knows who wants which messages.
type hub struct {
	srv *Server

	mu       sync.RWMutex
	channels map[string]subscribers
	patterns map[string]subscribers
	tracked  tracked
	reading  *reading // nil while nobody subscribes
}

// subscribers of one channel or pattern, and from when on.
type subscribers map[*conn]since

// since says which messages are behind a subscription.
type since struct {
	slot uint64     // they are sent behind the replies before this slot
	at   feed.Place // they were made behind this place of the feed
}

// reading is one life of the goroutine that reads the feed.
type reading struct {
	sub    *feed.Subscription
	cancel context.CancelFunc
}

func newHub(s *Server) *hub {
	return &hub{srv: s, channels: make(map[string]subscribers), patterns: make(map[string]subscribers), tracked: newTracked()}
}

func (h *hub) of(pattern bool) map[string]subscribers {
	if pattern {
		return h.patterns
	}
	return h.channels
}

// add subscribes a connection. The feed is read before it returns, so that no
// message that is made from now on is missed.
func (h *hub) add(c *conn, name string, pattern bool, slot uint64) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.read(); err != nil {
		return err
	}
	m := h.of(pattern)
	if m[name] == nil {
		m[name] = make(subscribers)
	}
	m[name][c] = since{slot, h.srv.cfg.Feed.Newest()}
	return nil
}

// remove ends subscriptions of a connection.
func (h *hub) remove(c *conn, pattern bool, names ...string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	m := h.of(pattern)
	for _, name := range names {
		if delete(m[name], c); len(m[name]) == 0 {
			delete(m, name)
		}
	}
	h.rest()
}

// read makes sure that the feed is read. The caller holds mu.
func (h *hub) read() error {
	if h.reading != nil {
		return nil
	}
	sub, err := h.srv.cfg.Feed.Subscribe(feed.Options{Now: true, Match: h.wants})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &reading{sub, cancel}
	h.reading = r
	h.srv.all.Add(1)
	// Owns its subscription to the feed. Ends with the last subscriber, or with the
	// feed. Shutdown waits for it.
	go func() {
		defer h.srv.all.Done()
		defer sub.Close()
		h.distribute(ctx, r)
	}()
	return nil
}

// rest ends that if nobody needs it. The caller holds mu.
func (h *hub) rest() {
	if h.reading != nil && len(h.channels) == 0 && len(h.patterns) == 0 && h.tracked.idle() {
		h.reading.cancel()
		h.reading = nil
	}
}

// wants tells whether an event of the feed may become a message.
func (h *hub) wants(e *feed.Event) bool {
	return e.Kind != statemachine.ChangeNote || h.srv.events.Load().wants(&e.Change)
}

// distribute gives messages to subscribers until nobody is one.
func (h *hub) distribute(ctx context.Context, r *reading) {
	var events []*feed.Event
	for {
		var err error
		clear(events)
		events, err = r.sub.Next(ctx, events[:0])
		for _, e := range events {
			if !h.deliver(r, e) {
				return
			}
		}
		if err == nil {
			continue
		}
		if ctx.Err() == nil && !errors.Is(err, feed.ErrClosed) {
			// Messages were lost: a snapshot jumped over them, or we were too slow. A
			// connection that ends says so; going on would hide it.
			h.srv.cfg.Log.Warn("messages were lost; subscribers are disconnected", "err", err)
			h.cutAll(r)
		}
		return
	}
}

// deliver makes the messages of one event. It returns false if another goroutine does by now.
func (h *hub) deliver(r *reading, e *feed.Event) bool {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.reading != r {
		return false
	}
	if e.Kind == statemachine.ChangeMessage {
		h.message(e.At, e.Key, e.Value)
		return true
	}
	h.invalidate(e)
	set := h.srv.events.Load()
	if !set.wants(&e.Change) {
		return true
	}
	if set.keyspace {
		h.message(e.At, append([]byte("__keyspace@0__:"), e.Key...), []byte(e.Event))
	}
	if set.keyevent {
		h.message(e.At, []byte("__keyevent@0__:"+e.Event), e.Key)
	}
	return true
}

// message pushes a message to whoever wants it. It is encoded once for all of them.
func (h *hub) message(at feed.Place, channel, text []byte) {
	send := func(to subscribers, encode func(w *wire.Writer)) {
		var encoded [4][]byte // by version
		for c, s := range to {
			if !s.at.Before(at) {
				continue
			}
			proto := c.shared.proto.Load()
			if encoded[proto] == nil {
				w := wire.Writer{Proto: int(proto)}
				encode(&w)
				encoded[proto] = w.Bytes()
			}
			c.push(s.slot, encoded[proto])
		}
	}
	send(h.channels[string(channel)], func(w *wire.Writer) {
		w.Push(3)
		w.BulkString("message")
		w.Bulk(channel)
		w.Bulk(text)
	})
	for pattern, to := range h.patterns {
		if statemachine.MatchGlob([]byte(pattern), string(channel)) {
			send(to, func(w *wire.Writer) {
				w.Push(4)
				w.BulkString("pmessage")
				w.BulkString(pattern)
				w.Bulk(channel)
				w.Bulk(text)
			})
		}
	}
}

// push hands bytes to the writer. A client that doesn't take them is cut off.
func (c *conn) push(from uint64, b []byte) {
	if !c.ring.push(from, b) {
		return
	}
	c.srv.stats.slow.Add(1)
	c.srv.cfg.Log.Warn("client takes no messages; connection closed", "remote", c.nc.RemoteAddr().String())
	c.kill()
}

// cutAll ends the connections of all subscribers, and the reading: who subscribes
// next begins another, though some of the old ones may not have left yet.
func (h *hub) cutAll(r *reading) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.reading != r {
		return
	}
	r.cancel()
	h.reading = nil
	for _, m := range []map[string]subscribers{h.channels, h.patterns} {
		for _, to := range m {
			for c := range to {
				c.kill()
			}
		}
	}
	for c := range h.tracked.keys {
		c.kill()
	}
	for c := range h.tracked.bcast {
		c.kill()
	}
}

// revoke ends the connections whose user may no longer have what it subscribed to, as Redis does.
func (h *hub) revoke(users *access.Users) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for _, pattern := range []bool{false, true} {
		for name, to := range h.of(pattern) {
			for c := range to {
				u := c.shared.user.Load()
				if u == nil {
					continue
				}
				if u = users.Find(u.Name()); u == nil || !u.Channel([]byte(name), pattern) {
					c.kill()
				}
			}
		}
	}
}

// receivers is how many get a message of this channel here.
func (h *hub) receivers(channel []byte) (n int) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	n = len(h.channels[string(channel)])
	for pattern, to := range h.patterns {
		if statemachine.MatchGlob([]byte(pattern), string(channel)) {
			n += len(to)
		}
	}
	return n
}

// size is the number of channels and patterns.
func (h *hub) size() (channels, patterns int) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return len(h.channels), len(h.patterns)
}

func parsePublish(r *request) string {
	r.cmd.Op = statemachine.OpPublish
	r.cmd.Args = append(r.cmd.Args, r.args[1], r.args[2])
	r.aux = uint64(r.srv.hub.receivers(r.args[1]))
	return r.tooLong(r.args[1])
}

func tellPublish(_ *Server, w *wire.Writer, _ statemachine.Result, sl *slot) { w.Int(int64(sl.aux)) }

// names are what a connection subscribed to.
type names map[string]struct{}

func (c *conn) subscribed() int { return len(c.subs) + len(c.psubs) }

// confirm writes that a subscription began or ended.
func (c *conn) confirm(kind string, name []byte) {
	c.w.Push(3)
	c.w.BulkString(kind)
	if name == nil {
		c.w.Null()
	} else {
		c.w.Bulk(name)
	}
	c.w.Int(int64(c.subscribed()))
}

func (c *conn) subscribe(args [][]byte, pattern bool) {
	mine, kind := &c.subs, "subscribe"
	if pattern {
		mine, kind = &c.psubs, "psubscribe"
	}
	behind := c.next + uint64(len(c.slots)) + 1 // the slot of this reply, and what comes before
	for _, name := range args[1:] {
		if _, has := (*mine)[string(name)]; !has {
			text := c.req.tooLong(name)
			if text == "" && pattern {
				text = patternTooLong(name)
			}
			if text == "" && c.subBytes+len(name) > maxSubscribedBytes {
				text = "ERR this connection has subscriptions to names of " + strconv.Itoa(c.subBytes) + " bytes, and can't have more than " + strconv.Itoa(maxSubscribedBytes)
			}
			if text != "" {
				c.w.Error(text)
				break
			}
			if c.subscribed() >= maxSubscriptions {
				c.w.Error("ERR this connection has " + strconv.Itoa(maxSubscriptions) + " subscriptions, the most it can have")
				break
			}
			if err := c.srv.hub.add(c, string(name), pattern, behind); err != nil {
				c.w.Error("TRYAGAIN " + err.Error())
				break
			}
			if *mine == nil {
				*mine = make(names)
			}
			(*mine)[string(name)] = struct{}{}
			c.subBytes += len(name)
		}
		c.confirm(kind, name)
	}
	c.subscriptionsChanged()
}

func (c *conn) unsubscribe(args [][]byte, pattern bool) {
	mine, kind := c.subs, "unsubscribe"
	if pattern {
		mine, kind = c.psubs, "punsubscribe"
	}
	list := args[1:]
	if len(list) == 0 {
		for name := range mine {
			list = append(list, []byte(name))
		}
		slices.SortFunc(list, bytes.Compare)
	}
	if len(list) == 0 {
		c.confirm(kind, nil)
	}
	for _, name := range list {
		if _, has := mine[string(name)]; has {
			delete(mine, string(name))
			c.subBytes -= len(name)
			c.srv.hub.remove(c, pattern, string(name))
		}
		c.confirm(kind, name)
	}
	c.subscriptionsChanged()
}

// unsubscribeAll ends all subscriptions without a word.
func (c *conn) unsubscribeAll() {
	if c.subscribed() == 0 {
		return
	}
	for pattern, mine := range map[bool]names{false: c.subs, true: c.psubs} {
		var list []string
		for name := range mine {
			list = append(list, name)
		}
		c.srv.hub.remove(c, pattern, list...)
	}
	c.subs, c.psubs, c.subBytes = nil, nil, 0
	c.subscriptionsChanged()
}

func (c *conn) subscriptionsChanged() {
	c.shared.subs.Store(int32(len(c.subs)))
	c.shared.psubs.Store(int32(len(c.psubs)))
	c.judge()
}

// onlySubscriber tells whether the connection takes commands about subscriptions
// only: in version 2 a reply could not be told from a message.
func (c *conn) onlySubscriber() bool { return c.w.Proto != 3 && c.subscribed() > 0 }

// takesWhileSubscribed tells whether a command is one of those.
func takesWhileSubscribed(cmd *command) bool {
	switch cmd.name {
	case "subscribe", "psubscribe", "unsubscribe", "punsubscribe", "ping", "quit", "reset":
		return cmd.parent == nil
	}
	return false
}

func pubsubChannels(c *conn, args [][]byte) {
	if len(args) > 3 {
		c.w.Error(arityText(c.srv.table.byName["pubsub|channels"]))
		return
	}
	if len(args) == 3 {
		if text := patternTooLong(args[2]); text != "" {
			c.w.Error(text)
			return
		}
	}
	h := c.srv.hub
	var list []string
	h.mu.RLock()
	for name := range h.channels {
		if len(args) == 2 || statemachine.MatchGlob(args[2], name) {
			list = append(list, name)
		}
	}
	h.mu.RUnlock()
	slices.Sort(list)
	c.w.Array(len(list))
	for _, name := range list {
		c.w.BulkString(name)
	}
}

func pubsubNumSub(c *conn, args [][]byte) {
	c.w.Array(2 * len(args[2:]))
	h := c.srv.hub
	h.mu.RLock()
	defer h.mu.RUnlock()
	for _, name := range args[2:] {
		c.w.Bulk(name)
		c.w.Int(int64(len(h.channels[string(name)])))
	}
}
