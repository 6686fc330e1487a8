package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/raftkv/raftkv/node"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/server/feed"
	"github.com/raftkv/raftkv/statemachine"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is a node of one, in memory: the real state machine and feed, no log.
type memory struct {
	// before ends a request instead of running it, if it returns a reply.
	before func(node.Request) *node.Reply
	// submit is the error of Submit.
	submit func(context.Context) error

	mu      sync.Mutex
	machine *statemachine.Machine
	hub     *feed.Hub
	now     time.Time
	index   raft.Index
	status  node.Status
}

func newMemory(c feed.Config) *memory {
	m := &memory{
		machine: statemachine.New(statemachine.DefaultLimits()), hub: feed.New(c, 0), now: time.Unix(1_700_000_000, 0),
		status: node.Status{Name: "n1", LeaderName: "n2", Members: []node.MemberStatus{{Name: "n1", HTTP: "db1.example.org:6481"}}},
	}
	m.machine.Observe(m.hub.Observe)
	return m
}

func (m *memory) Connect(s node.Sink) Submitter { return way{m, s} }

func (m *memory) Status() node.Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.status
}

// pass lets time pass in the log.
func (m *memory) pass(d time.Duration) {
	m.mu.Lock()
	m.now = m.now.Add(d)
	m.mu.Unlock()
	m.apply(statemachine.Command{Op: statemachine.OpTick})
}

// apply applies one command of somebody else.
func (m *memory) apply(c statemachine.Command) {
	m.run(node.Request{Kind: node.Write, Data: statemachine.AppendCommand(nil, c)})
}

func (m *memory) run(r node.Request) node.Reply {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.before != nil {
		if rep := m.before(r); rep != nil {
			return *rep
		}
	}
	rep := node.Reply{Outcome: node.Applied}
	if r.Kind == node.Write {
		m.index++
		rep.Result = m.machine.Apply(raft.Entry{
			EntryID: raft.EntryID{Term: 1, Index: m.index}, Type: raft.EntryCommand, Time: raft.Time(m.now.UnixNano()), Data: r.Data,
		}, nil)
	} else {
		rep.Result = m.machine.Query(r.Data, nil)
	}
	rep.Index = m.index
	return rep
}

// content is every key with its value and version.
func (m *memory) content() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	query := func(c statemachine.Command) statemachine.Result {
		res, err := statemachine.DecodeResult(m.machine.Query(statemachine.AppendCommand(nil, c), nil))
		if err != nil {
			panic(err)
		}
		return res
	}
	var b strings.Builder
	for _, k := range query(statemachine.Command{Op: statemachine.OpKeys, Args: [][]byte{[]byte("*")}}).Array {
		v := query(statemachine.Command{Op: statemachine.OpGetV, Args: [][]byte{k.Bytes}})
		fmt.Fprintf(&b, "%q %q %d\n", k.Bytes, v.Array[0].Bytes, v.Array[1].Int)
	}
	return b.String()
}

type way struct {
	m *memory
	s node.Sink
}

func (w way) Close() {}

func (w way) Submit(ctx context.Context, rs []node.Request) error {
	if w.m.submit != nil {
		return w.m.submit(ctx)
	}
	for _, r := range rs {
		w.s.Deliver([]node.Reply{w.m.run(r)})
	}
	return nil
}

// newServer makes a server that listens nowhere in particular, for recorders.
func newServer(t testing.TB, a API) *Server {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := New(ln, Config{
		Live: func() error { return nil }, Ready: func() error { return nil }, Status: func(context.Context) (any, error) { return nil, nil },
		Metrics: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler),
	})
	if a.Backend != nil {
		s.Attach(a)
	}
	t.Cleanup(func() { ln.Close() })
	return s
}

// listen serves on a free port of the loopback until the test ends.
func listen(t testing.TB, a API) (s *Server, base string) {
	t.Helper()
	s = newServer(t, a)
	return s, run(t, s, a.Feed)
}

// run serves until the test ends.
func run(t testing.TB, s *Server, hub *feed.Hub) (base string) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- s.Serve() }() // ends with Shutdown below, which waits for it
	t.Cleanup(func() {
		hub.Close()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	return "http://" + s.Addr().String()
}

// request is one request as a test writes it: METHOD PATH, then headers one a line, an empty line, the body.
func request(t testing.TB, text string) *http.Request {
	t.Helper()
	head, body, _ := strings.Cut(text, "\n\n")
	lines := strings.Split(head, "\n")
	method, path, ok := strings.Cut(strings.TrimSpace(lines[0]), " ")
	if !ok {
		t.Fatalf("request %q", text)
	}
	r := httptest.NewRequest(method, "http://127.0.0.1"+path, strings.NewReader(body))
	if method == "POST" {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, l := range lines[1:] {
		name, value, _ := strings.Cut(l, ": ")
		switch name {
		case "Host":
			r.Host = value
		case "Content-Type":
			r.Header.Set(name, value)
		default:
			r.Header.Add(name, value)
		}
	}
	return r
}

// ask sends a request to the handler and returns the answer.
func ask(t testing.TB, s *Server, text string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	s.http.Handler.ServeHTTP(w, request(t, text))
	return w
}

// compact is a body of JSON on one line, another body as it is.
func compact(b []byte) string {
	var v any
	if json.Unmarshal(b, &v) != nil {
		return string(b)
	}
	out, _ := json.Marshal(v)
	return string(out)
}

// brokenBody is a body that ends in the middle.
type brokenBody struct{}

func (brokenBody) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
func (brokenBody) Close() error             { return nil }

var commandOpenSession = statemachine.Command{Op: statemachine.OpSessionOpen}

func newRecorder(s *Server, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.http.Handler.ServeHTTP(w, r)
	return w
}
