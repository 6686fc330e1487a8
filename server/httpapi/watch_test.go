package httpapi

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/raftkv/raftkv/internal/testenv"
	"github.com/raftkv/raftkv/server/feed"
	"github.com/raftkv/raftkv/statemachine"
)

// sse is one event as a client of server-sent events sees it.
type sse struct{ id, event, data string }

// stream is an open watch.
type stream struct {
	t    *testing.T
	body *bufio.Reader
	resp *http.Response
	id   string // the client's last event id
}

// open begins a watch, which must be taken.
func open(t *testing.T, base, query string, headers ...string) *stream {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", base+"/v1/watch"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != 200 {
		t.Fatalf("watch %s: %s", query, resp.Status)
	}
	return &stream{t: t, body: bufio.NewReader(resp.Body), resp: resp}
}

// block reads up to the next empty line. It is false at the end.
func (s *stream) block() (e sse, comment string, ok bool) {
	for {
		line, err := s.body.ReadString('\n')
		if err != nil {
			return e, comment, false
		}
		line = strings.TrimSuffix(line, "\n")
		name, value, _ := strings.Cut(line, ": ")
		switch {
		case line == "":
			return e, comment, true
		case name == "id":
			e.id, s.id = value, value
		case name == "event":
			e.event = value
		case name == "data":
			e.data = value
		case name == "":
			comment = value
		default:
			s.t.Errorf("line %q", line)
		}
	}
}

// next reads the next event, over signs of life.
func (s *stream) next() sse {
	s.t.Helper()
	for {
		e, _, ok := s.block()
		if !ok {
			s.t.Fatal("the watch ended")
		}
		if e.data != "" {
			return e
		}
	}
}

func (s *stream) want(events ...sse) {
	s.t.Helper()
	for _, w := range events {
		if got := s.next(); got != w {
			s.t.Fatalf("got  %+v\nwant %+v", got, w)
		}
	}
}

func set(m *memory, key, value string) {
	m.apply(statemachine.Command{Op: statemachine.OpSet, Args: [][]byte{[]byte(key), []byte(value)}})
}

// Changes come in the order of the log, with everything to show them and to go on behind them.
func TestWatch(t *testing.T) {
	m := newMemory(feed.Config{})
	_, base := listen(t, API{Backend: m, Feed: m.hub})
	set(m, "before", "x")
	w := open(t, base, "?prefix=a")
	if got := w.resp.Header.Get(headerIndex); got != "1" {
		t.Errorf("it begins behind index %s, want 1", got)
	}
	set(m, "a1", "x")
	set(m, "b", "x")
	m.apply(statemachine.Command{Op: statemachine.OpSet, Flags: statemachine.FlagIn, Num: 1500, Args: [][]byte{[]byte("a2"), []byte("\xff")}})
	m.apply(statemachine.Command{Op: statemachine.OpMSet, Args: [][]byte{[]byte("a3"), []byte("1"), []byte("b"), nil, []byte("a4"), []byte("2")}})
	m.apply(statemachine.Command{Op: statemachine.OpDel, Args: [][]byte{[]byte("a1")}})
	m.pass(2 * time.Second)
	m.apply(statemachine.Command{Op: statemachine.OpPublish, Args: [][]byte{[]byte("a"), []byte("not a key")}})
	m.apply(statemachine.Command{Op: statemachine.OpFlush})
	w.want(
		sse{"2.1", "put", `{"key":"a1","value":"x","version":2,"index":2,"command":"set"}`},
		sse{"4.1", "put", `{"key":"a2","value_base64":"/w==","version":4,"index":4,"command":"set","expires":1700000001500}`},
		sse{"5.1", "put", `{"key":"a3","value":"1","version":5,"index":5,"command":"set"}`},
		sse{"5.4", "put", `{"key":"a4","value":"2","version":5,"index":5,"command":"set"}`},
		sse{"6.0", "delete", `{"key":"a1","version":6,"index":6,"command":"del"}`},
		sse{"7.0", "delete", `{"key":"a2","version":7,"index":7,"command":"expired"}`},
		sse{"9.0", "flush", `{"index":9,"command":"flushall"}`},
	)
	k := open(t, base, "?prefix=a&keys=true&from=2")
	k.want(sse{"2.1", "put", `{"key":"a1","version":2,"index":2,"command":"set"}`})
}

// A watch goes on where another one stopped: behind an event, at an index, by the
// header that browsers send, and within an entry.
func TestWatchGoesOn(t *testing.T) {
	m := newMemory(feed.Config{})
	_, base := listen(t, API{Backend: m, Feed: m.hub})
	for i := range 5 {
		set(m, "a", fmt.Sprint(i))
	}
	m.apply(statemachine.Command{Op: statemachine.OpMSet, Args: [][]byte{[]byte("x"), nil, []byte("y"), nil}})
	first := open(t, base, "?from=1")
	var ids []string
	for range 7 {
		ids = append(ids, first.next().id)
	}
	for i, id := range ids[:6] {
		for _, w := range []*stream{open(t, base, "?after="+id), open(t, base, "?from=1", "Last-Event-ID: "+id)} {
			if got := w.next().id; got != ids[i+1] {
				t.Errorf("after %s comes %s, want %s", id, got, ids[i+1])
			}
		}
	}
	if got := open(t, base, "?from=4").next(); !strings.Contains(got.data, `"value":"3"`) {
		t.Errorf("from 4: %+v", got)
	}
	ahead := open(t, base, "?from=8")
	set(m, "a", "7")
	set(m, "a", "8")
	if got := ahead.next(); !strings.Contains(got.data, `"index":8`) {
		t.Errorf("from 8: %+v", got)
	}
}

func TestWatchRefuses(t *testing.T) {
	m := newMemory(feed.Config{Events: 4, Subscribers: 1})
	s := newServer(t, API{Backend: m, Feed: m.hub})
	for range 9 {
		set(m, "a", "x")
	}
	var doc errorDoc
	w := ask(t, s, "GET /v1/watch?from=1")
	if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil || w.Code != 410 || doc.Oldest == 0 || doc.Code != "compacted" {
		t.Fatalf("from 1: %d %s", w.Code, w.Body)
	}
	for _, bad := range []string{"from=0", "from=x", "after=x", "from=1&after=2", "keys=perhaps", "prefix_base64=%"} {
		play(t, s, []step{{"GET /v1/watch?" + bad, 400, `{"code":"bad_request"*`, nil}})
	}
	play(t, s, []step{{"GET /v1/watch\nLast-Event-ID: x", 400, `{"code":"bad_request"*`, nil}})
	sub, err := m.hub.Subscribe(feed.Options{Now: true})
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	play(t, s, []step{{"GET /v1/watch", 429, `{"code":"busy"*`, []string{"Retry-After: 1"}}})
	m.hub.Close()
	play(t, s, []step{{"GET /v1/watch", 503, `{"code":"shutting_down"*`, nil}})
}

// What is told with the sign of life moves on though nothing matches, so that a
// watcher of a quiet prefix is not sent away as too old when it comes back.
func TestSignsOfLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(feed.Config{})
		s := newServer(t, API{Backend: m, Feed: m.hub, Heartbeat: 15 * time.Second})
		client, server := net.Pipe()
		done := make(chan struct{})
		go func() { defer close(done); s.http.Serve(&oneConn{conn: server, closed: make(chan struct{})}) }()
		go fmt.Fprint(client, "GET /v1/watch?prefix=quiet HTTP/1.1\r\nHost: localhost\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(client), nil)
		if err != nil {
			t.Fatal(err)
		}
		w := &stream{t: t, body: bufio.NewReader(resp.Body)}
		start := time.Now()
		if _, comment, ok := w.block(); !ok || comment != "alive" || w.id != "0" {
			t.Errorf("at once: %q, place %s", comment, w.id)
		}
		for i := range 3 {
			set(m, "loud", "x")
			if e, comment, ok := w.block(); !ok || comment != "alive" || e.data != "" {
				t.Fatalf("%+v %q", e, comment)
			}
			if want := fmt.Sprintf("%d.0", i+1); !strings.HasPrefix(w.id, fmt.Sprintf("%d.", i+1)) {
				t.Errorf("place %s, want %s", w.id, want)
			}
			if got := time.Since(start); got != time.Duration(i+1)*15*time.Second {
				t.Errorf("sign %d comes after %v", i, got)
			}
		}
		m.hub.Close()
		e, _, _ := w.block()
		var f farewell
		if err := json.Unmarshal([]byte(e.data), &f); err != nil || e.event != "end" || f.Code != "shutting_down" || f.After != w.id {
			t.Errorf("%+v (%v), it stood at %s", e, err, w.id)
		}
		client.Close()
		s.http.Close()
		<-done
	})
}

// oneConn is a listener with one connection to give.
type oneConn struct {
	conn   net.Conn
	closed chan struct{}
}

func (l *oneConn) Accept() (net.Conn, error) {
	if c := l.conn; c != nil {
		l.conn = nil
		return c, nil
	}
	<-l.closed
	return nil, net.ErrClosed
}
func (l *oneConn) Close() error   { close(l.closed); return nil }
func (l *oneConn) Addr() net.Addr { return &net.TCPAddr{} }

// A watcher that lags is cut off, told where to go on, and goes on there.
func TestSlowWatcherIsCut(t *testing.T) {
	m := newMemory(feed.Config{Events: 1024, Lag: 100})
	_, base := listen(t, API{Backend: m, Feed: m.hub})
	w := open(t, base, "?from=1")
	w.block() // it is there, and reads nothing for a while
	value := strings.Repeat("x", 64<<10)
	for range 800 { // more than the sockets hold and the lag allows
		set(m, "k", value)
	}
	seen := 0
	for {
		e := w.next()
		if e.event == "end" {
			var f farewell
			err := json.Unmarshal([]byte(e.data), &f)
			// Cut off before its first event, it stands at the end of entry 0, which has no part.
			at, bad := feed.ParsePlace(f.After)
			if err != nil || bad != nil || f.Code != "slow" || int(at.Index) != seen {
				t.Fatalf("after %d events: %+v (%v, %v)", seen, e, err, bad)
			}
			if _, _, ok := w.block(); ok {
				t.Fatal("it goes on behind its end")
			}
			next := open(t, base, "?after="+f.After).next()
			if want := fmt.Sprintf(`"index":%d,`, seen+1); !strings.Contains(next.data, want) {
				t.Errorf("it goes on with %.80s, want %s", next.id, want)
			}
			return
		}
		if seen++; !strings.Contains(e.data, fmt.Sprintf(`"index":%d,`, seen)) {
			t.Fatalf("event %d is %s", seen, e.id)
		}
	}
}

// A watcher that takes nothing at all holds nothing but its socket, and not for ever.
func TestStuckWatcherIsClosed(t *testing.T) {
	m := newMemory(feed.Config{Events: 1 << 14, Bytes: 1 << 30})
	_, base := listen(t, API{Backend: m, Feed: m.hub, WriteTimeout: 50 * time.Millisecond})
	open(t, base, "")
	value := strings.Repeat("x", 1<<20)
	for range 40 { // more than the sockets hold
		set(m, "k", value)
	}
	testenv.Eventually(t, "the watcher to be gone", func() bool { return m.hub.Stats().Subscribers == 0 })
}

// A leader's snapshot jumps over changes: the watcher is told, not left in the dark.
func TestWatchOverAGap(t *testing.T) {
	m := newMemory(feed.Config{})
	_, base := listen(t, API{Backend: m, Feed: m.hub})
	w := open(t, base, "")
	w.block()
	m.hub.Observe(statemachine.Change{Kind: statemachine.ChangeRestore, Index: 500})
	e := w.next()
	if e.event != "end" || !strings.Contains(e.data, `"code":"compacted"`) || !strings.Contains(e.data, `"oldest":501`) {
		t.Errorf("%+v", e)
	}
}
