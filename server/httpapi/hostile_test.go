package httpapi

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/raftkv/raftkv/internal/fuzztest"
	"github.com/raftkv/raftkv/internal/testenv"
	"github.com/raftkv/raftkv/server/feed"
)

// raw sends bytes over TCP and returns the status of the answer, 0 if the server just closes.
func raw(t *testing.T, base, text string, more func(c net.Conn)) (int, string) {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	sent := make(chan struct{})
	go func() { // ends with the connection, at the latest
		defer close(sent)
		if more != nil {
			more(c)
		}
	}()
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		c.Close()
		<-sent
		return 0, ""
	}
	body, _ := io.ReadAll(resp.Body)
	c.Close()
	<-sent
	return resp.StatusCode, string(body)
}

// BI-08: whatever comes, the answer is an error or none, nothing is stored, and
// the server goes on.
func TestHostileRequests(t *testing.T) {
	m := newMemory(feed.Config{})
	_, base := listen(t, API{Backend: m, Feed: m.hub, ValueBytes: 1 << 20, CommandBytes: 1 << 20})
	ends := func(c net.Conn) { _ = c.(*net.TCPConn).CloseWrite() } // else it would be waited for
	endless := func(c net.Conn) {
		chunk := fmt.Sprintf("%x\r\n%s\r\n", 64<<10, strings.Repeat("x", 64<<10))
		for {
			if _, err := io.WriteString(c, chunk); err != nil {
				return
			}
		}
	}
	const host = " HTTP/1.1\r\nHost: localhost\r\n"
	const jsonPost = host + "Content-Type: application/json\r\n"
	for _, tc := range []struct {
		name, text string
		more       func(net.Conn)
		want       int // 0: closed without an answer
	}{
		{"a body of 1 GB", "PUT /v1/kv/a" + host + "Content-Length: 1073741824\r\n\r\n", nil, 413},
		{"an endless body", "PUT /v1/kv/a" + host + "Transfer-Encoding: chunked\r\n\r\n", endless, 413},
		{"an endless JSON", "POST /v1/txn" + jsonPost + "Transfer-Encoding: chunked\r\n\r\n", endless, 413},
		{"two lengths", "PUT /v1/kv/a" + host + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx", nil, 400},
		{"length and chunks", "GET /v1/kv/a" + host + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", nil, 404},
		{"negative length", "PUT /v1/kv/a" + host + "Content-Length: -1\r\n\r\n", nil, 400},
		{"bad chunk", "PUT /v1/kv/a" + host + "Transfer-Encoding: chunked\r\n\r\nzz\r\n", nil, 408},
		{"huge header", "GET /v1/kv/a" + host + "X: " + strings.Repeat("x", 64<<10) + "\r\n\r\n", nil, 431},
		{"many headers", "GET /v1/kv/a" + host + strings.Repeat("X: y\r\n", 8000) + "\r\n", nil, 431},
		{"two hosts", "GET /v1/kv/a" + host + "Host: localhost\r\n\r\n", nil, 400},
		{"no host", "GET /v1/kv/a HTTP/1.1\r\n\r\n", nil, 400},
		{"bad escape", "PUT /v1/kv/%zz" + host + "Content-Length: 1\r\n\r\nx", nil, 400},
		{"half an escape", "PUT /v1/kv/%2" + host + "Content-Length: 1\r\n\r\nx", nil, 400},
		{"long key", "PUT /v1/kv/" + strings.Repeat("k", 10<<10) + host + "Content-Length: 1\r\n\r\nx", nil, 200},
		{"bad JSON", "POST /v1/txn" + jsonPost + "Content-Length: 5\r\n\r\n{\"do\"", nil, 400},
		{"deep JSON", "POST /v1/txn" + jsonPost + "Content-Length: 100000\r\n\r\n" + strings.Repeat("[", 100_000), nil, 400},
		{"wrong method", "BREW /v1/kv/a" + host + "\r\n", nil, 405},
		{"no HTTP", "*1\r\n$4\r\nPING\r\n", nil, 400},
		{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", ends, 400},
		{"unknown action", "POST /v1/kv/a/explode" + jsonPost + "Content-Length: 0\r\n\r\n", nil, 404},
		{"unknown route", "GET /v1/nothing" + host + "\r\n", nil, 404},
		{"version 2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", nil, -1},
	} {
		got, body := raw(t, base, tc.text, tc.more)
		if tc.want == -1 { // any error of net/http's, or a close
			if got != 0 && got < 400 {
				t.Errorf("%s: %d %s", tc.name, got, body)
			}
			continue
		}
		if got != tc.want {
			t.Errorf("%s: %d, want %d: %s", tc.name, got, tc.want, body)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.index != 1 {
		t.Errorf("%d entries, want that of the long key alone", m.index)
	}
	if got := len(m.status.Members); got != 1 {
		t.Error(got)
	}
}

// Whoever sends slowly is cut off: a header, and a body, byte by byte.
func TestSlowSendersAreCutOff(t *testing.T) {
	m := newMemory(feed.Config{})
	s := newServer(t, API{Backend: m, Feed: m.hub})
	s.http.ReadHeaderTimeout, s.http.ReadTimeout = 50*time.Millisecond, 50*time.Millisecond
	s.api.Load().BodyTimeout = 50 * time.Millisecond
	done := make(chan error, 1)
	go func() { done <- s.Serve() }() // ends with Shutdown below
	base := "http://" + s.Addr().String()
	drip := func(c net.Conn) {
		for {
			if _, err := io.WriteString(c, "x"); err != nil {
				return
			}
			time.Sleep(5 * time.Millisecond) // this is the fault itself
		}
	}
	if got, _ := raw(t, base, "GET /v1/kv/a HTTP/1.1\r\nHost: localhost\r\nX: ", drip); got != 0 && got != 408 {
		t.Errorf("slow header: %d", got)
	}
	if got, _ := raw(t, base, "PUT /v1/kv/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n", drip); got != 0 && got != 408 {
		t.Errorf("slow body: %d", got)
	}
	if m.index != 0 {
		t.Error("half a body was stored")
	}
	testenv.Eventually(t, "the room of the bodies to be free", func() bool { return s.api.Load().bodies.used.Load() == 0 })
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Idle connections are bounded: one more is closed, and room comes back.
func TestConnectionsAreBounded(t *testing.T) {
	m := newMemory(feed.Config{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := New(ln, Config{
		Live: func() error { return nil }, Ready: func() error { return nil }, Status: func(context.Context) (any, error) { return nil, nil },
		Metrics: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler), Connections: 3,
	})
	s.Attach(API{Backend: m, Feed: m.hub})
	base := run(t, s, m.hub)
	var held []net.Conn
	for range 3 {
		c, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		held = append(held, c)
	}
	testenv.Eventually(t, "three connections", func() bool { return s.open.Load() == 3 })
	const get = "GET /v1/kv/a HTTP/1.1\r\nHost: localhost\r\n\r\n"
	if got, _ := raw(t, base, get, nil); got != 0 {
		t.Errorf("a fourth connection is answered with %d", got)
	}
	held[0].Close()
	testenv.Eventually(t, "room for one more", func() bool { return s.open.Load() <= 2 })
	if got, _ := raw(t, base, get, nil); got != 404 {
		t.Errorf("there is room again, and the answer is %d", got)
	}
}

// Bodies under way are bounded together.
func TestBodiesAreBounded(t *testing.T) {
	m := newMemory(feed.Config{})
	s := newServer(t, API{Backend: m, Feed: m.hub, BodyBytes: 1000})
	s.api.Load().bodies.take(600)
	play(t, s, []step{
		{"PUT /v1/kv/a\n\n" + strings.Repeat("x", 401), 429, `{"code":"busy"*`, []string{"Raftkv-Outcome: not-applied", "Retry-After: 1"}},
		{"PUT /v1/kv/a\n\n" + strings.Repeat("x", 400), 200, `{"index":1*`, nil},
		{"PUT /v1/kv/a\n\n" + strings.Repeat("x", 400), 200, `{"index":2*`, nil},
	})
	s.api.Load().bodies.give(600)
	if got := s.api.Load().bodies.used.Load(); got != 0 {
		t.Errorf("%d bytes are still reserved", got)
	}
}

// FuzzRequest: no method, path, header or body makes the server panic, answer without JSON,
// or say that nothing happened when something did.
func FuzzRequest(f *testing.F) {
	for _, text := range good {
		method, rest, _ := strings.Cut(text, " ")
		path, body, _ := strings.Cut(rest, "\n\n")
		path, _, _ = strings.Cut(path, "\n")
		f.Add(method, path, "Idempotency-Key", "2:1", []byte(body))
	}
	f.Add("PUT", "/v1/kv/%ff?ttl=1s", "If-Match", `"1"`, []byte("x"))
	f.Add("GET", "/v1/kv?prefix=%ff&after=x&limit=3", "Accept", "application/json", []byte(nil))
	f.Add("GET", "/v1/watch?after=1.0", "Last-Event-ID", "0", []byte(nil))
	f.Fuzz(func(t *testing.T, method, path, name, value string, body []byte) {
		if strings.HasPrefix(path, "/v1/watch") {
			return // it may go on for ever, and has its own tests
		}
		r, err := http.NewRequestWithContext(t.Context(), method, "http://localhost", strings.NewReader(string(body)))
		if err != nil {
			return
		}
		u, err := r.URL.Parse(path)
		if err != nil || u.Host != "localhost" {
			return
		}
		r.URL = u
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set(name, value)
		m := newMemory(feed.Config{Events: 16})
		set(m, "k", "1")
		m.apply(commandOpenSession)
		before := m.content()
		s := newServer(t, API{Backend: m, Feed: m.hub, CommandBytes: 1 << 16})
		var w *httptest.ResponseRecorder
		fuzztest.Bounded(t, len(path)+len(body), 4<<20, 1<<10, func() { w = newRecorder(s, r) })
		if w.Code >= 400 && strings.HasPrefix(u.Path, "/v1/") && !strings.HasPrefix(compact(w.Body.Bytes()), `{"code":`) && method != "HEAD" {
			t.Errorf("%d without JSON: %q", w.Code, w.Body)
		}
		if w.Code >= 400 && w.Code != 504 && r.Header.Get("Idempotency-Key") == "" && m.content() != before {
			t.Errorf("%d, and the state is another one: %q", w.Code, w.Body)
		}
	})
}

// A transaction of far too many operations is refused where its limit is passed, not
// when all of them are in memory.
func TestTxnOfManyOperationsIsCheap(t *testing.T) {
	_, s := fresh(t)
	const n = 500_000
	for _, list := range []string{"do", "if"} {
		r := request(t, `POST /v1/txn`+"\n\n"+`{"`+list+`":[`+strings.Repeat("{},", n)+`{}]}`)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		w := newRecorder(s, r)
		runtime.ReadMemStats(&after)
		if w.Code != 400 || !strings.Contains(w.Body.String(), "more than 1024") {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		// The body is copied a few times as it is read; one operation alone is 64 bytes and more.
		if got := after.TotalAlloc - before.TotalAlloc; got > 32*n {
			t.Errorf("%s: %d operations in %d bytes took %d bytes", list, n, r.ContentLength, got)
		}
	}
}
