package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/raftkv/raftkv/node"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/server/feed"
	"github.com/raftkv/raftkv/statemachine"
)

// change is one event of a watch.
type change struct {
	Key         *string `json:"key,omitempty"`
	KeyBase64   *string `json:"key_base64,omitempty"`
	Value       *string `json:"value,omitempty"`
	ValueBase64 *string `json:"value_base64,omitempty"`
	Version     uint64  `json:"version,omitempty"`
	Index       uint64  `json:"index"`
	Command     string  `json:"command"`           // what happened, in Redis's words: set, append, del, expired
	Expires     int64   `json:"expires,omitempty"` // milliseconds since the Unix epoch
}

// farewell is the last event of a watch that the server ends.
type farewell struct {
	Error  string `json:"error"`
	Code   string `json:"code"` // slow, compacted, shutting_down, no_permission, unauthorized
	After  string `json:"after"`
	Oldest uint64 `json:"oldest,omitempty"`
}

// watching is a watch under way.
type watching struct {
	*exchange
	sub    *feed.Subscription
	prefix string
	told   feed.Place // up to here everything was appended to buf
	buf    bytes.Buffer
	keys   bool // without values
}

// watch sends the changes of keys that begin with a prefix as server-sent events,
// from any place that is still kept. The id of an event is its place.
func (x *exchange) watch() *failure {
	prefix, f := x.bytesArg("prefix")
	if f != nil {
		return f
	}
	s := &watching{exchange: x, prefix: string(prefix)}
	if s.keys, f = x.flag("keys"); f != nil {
		return f
	}
	if f := x.mayRead(s.prefix, "scan", "get"); f != nil {
		return f
	}
	o, f := x.place()
	if f != nil {
		return f
	}
	o.Match = func(e *feed.Event) bool {
		return e.Kind == statemachine.ChangeFlush || e.Kind == statemachine.ChangeKey && bytes.HasPrefix(e.Key, prefix)
	}
	sub, err := x.Feed.Subscribe(o)
	if err != nil {
		return feedFailure(err)
	}
	defer sub.Close()
	s.sub = sub
	return s.run()
}

// place is where a watch begins: behind the newest event that the client has
// (Last-Event-ID, after), with the changes of an index (from), or now.
func (x *exchange) place() (o feed.Options, f *failure) {
	from, after := x.args.Get("from"), x.args.Get("after")
	last := x.r.Header.Get("Last-Event-ID")
	switch {
	case last != "": // a browser that connects again repeats the old query with it
		after = last
	case from != "" && after != "":
		return o, badRequest("from and after exclude each other")
	case from != "":
		n, err := strconv.ParseUint(from, 10, 64)
		if err != nil || n == 0 {
			return o, badRequest("from %.40q is not an index above zero", from)
		}
		return feed.Options{After: feed.End(raft.Index(n - 1))}, nil
	case after == "":
		return feed.Options{Now: true}, nil
	}
	p, err := feed.ParsePlace(after)
	if err != nil {
		return o, badRequest("%v", err)
	}
	return feed.Options{After: p}, nil
}

func feedFailure(err error) *failure {
	if e, ok := errors.AsType[*feed.CompactedError](err); ok {
		return &failure{status: http.StatusGone, code: "compacted", text: err.Error(), outcome: node.NotApplied, oldest: e.Oldest}
	}
	f := busy("%v", err)
	if errors.Is(err, feed.ErrClosed) {
		f.status, f.code = http.StatusServiceUnavailable, "shutting_down"
	}
	return f
}

// run sends events until the client goes, is too slow or no longer allowed to see
// them, or the server stops.
func (s *watching) run() *failure {
	ctx, cancel := context.WithCancel(s.r.Context())
	defer cancel()
	s.head()
	h := s.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // a proxy that gathers would hold events back
	h.Set(headerIndex, strconv.FormatUint(uint64(s.sub.After().Index), 10))
	if s.r.Method == http.MethodHead {
		s.w.WriteHeader(http.StatusOK)
		return nil
	}
	_ = http.NewResponseController(s.w).SetReadDeadline(time.Time{}) // it sends nothing more, and that is no fault
	s.w.WriteHeader(http.StatusOK)
	s.sign()
	s.told = s.sub.After()
	var events []*feed.Event
	for s.flush() {
		wait, stop := context.WithTimeout(ctx, s.Heartbeat)
		var err error
		events, err = s.sub.Next(wait, events[:0])
		stop()
		for _, e := range events {
			if !s.allowed() {
				return nil
			}
			s.event(e)
			s.told = e.At
			if s.buf.Len() >= watchChunk && !s.flush() {
				return nil
			}
		}
		s.told = s.sub.After()
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return nil // the client went
		case errors.Is(err, context.DeadlineExceeded):
			if !s.allowed() {
				return nil
			}
			s.sign()
		default:
			s.part(reason(err))
			return nil
		}
	}
	return nil
}

// allowed tells whether the user may still see the events. If not, it ends the watch.
func (s *watching) allowed() bool {
	f := s.stillMay(s.prefix, "scan", "get")
	if f != nil {
		s.part(farewell{Error: f.text, Code: f.code})
	}
	return f == nil
}

// watchChunk is how many bytes of events are gathered for one write.
const watchChunk = 64 << 10

// event appends one event.
func (s *watching) event(e *feed.Event) {
	c := change{Version: e.Version, Index: uint64(e.Index), Command: e.Event, Expires: e.Deadline}
	name := "put"
	switch {
	case e.Kind == statemachine.ChangeFlush:
		name, c.Command, c.Version = "flush", "flushall", 0
	case e.Deleted:
		name = "delete"
	}
	if name != "flush" {
		c.Key, c.KeyBase64 = text(e.Key)
	}
	if name == "put" && !s.keys {
		c.Value, c.ValueBase64 = text(e.Value)
	}
	s.say(e.At.String(), name, c)
}

// say appends an event with a document. JSON has no line breaks, so that it is one line of data.
func (s *watching) say(id, name string, doc any) {
	b, err := json.Marshal(doc)
	if err != nil {
		b = []byte(`{"error":"event can't be encoded"}`)
	}
	if id != "" {
		s.buf.WriteString("id: " + id + "\n")
	}
	s.buf.WriteString("event: " + name + "\ndata: ")
	s.buf.Write(b)
	s.buf.WriteString("\n\n")
}

// sign is a comment that shows life, with the place up to which there was nothing
// to tell: a client that comes back goes on from there.
func (s *watching) sign() {
	s.buf.WriteString(": alive\nid: " + s.sub.After().String() + "\n\n")
}

// part sends what is left, why the server ends the watch, and where to go on.
func (s *watching) part(f farewell) {
	f.After = s.told.String()
	s.say("", "end", f)
	s.flush()
}

// reason is why a watch ends whose subscription has ended.
func reason(err error) farewell {
	f := farewell{Error: err.Error(), Code: "shutting_down"}
	var compacted *feed.CompactedError
	var slow *feed.SlowError
	switch {
	case errors.As(err, &slow):
		f.Code = "slow"
	case errors.As(err, &compacted):
		f.Code, f.Oldest = "compacted", uint64(compacted.Oldest)
	}
	return f
}

// flush sends what was gathered. It is false when the client takes nothing any more.
func (s *watching) flush() bool {
	if s.buf.Len() == 0 {
		return true
	}
	c := http.NewResponseController(s.w)
	_ = c.SetWriteDeadline(time.Now().Add(s.WriteTimeout))
	_, err := s.w.Write(s.buf.Bytes())
	if err == nil {
		err = c.Flush()
	}
	if s.buf.Reset(); s.buf.Cap() > 4*watchChunk {
		s.buf = bytes.Buffer{}
	}
	return err == nil
}
