package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/node"
	"github.com/raftkv/raftkv/server/access"
	"github.com/raftkv/raftkv/server/feed"
	"github.com/raftkv/raftkv/statemachine"
)

// good is a request of each operation that succeeds on a fresh store with the key
// k = "1" at version 1 and the session 2.
var good = map[string]string{
	"get":          "GET /v1/kv/k",
	"put":          "PUT /v1/kv/k\n\nvalue",
	"delete":       "DELETE /v1/kv/k",
	"append":       "POST /v1/kv/k/append\nContent-Type: application/octet-stream\n\nmore",
	"incr":         "POST /v1/kv/k/incr?delta=3",
	"cas":          "POST /v1/kv/k/cas\n\n{\"expect\": \"1\", \"value\": \"2\"}",
	"list":         "GET /v1/kv?prefix=k",
	"txn":          "POST /v1/txn\n\n{\"if\": [{\"key\": \"k\", \"version\": 1}], \"do\": [{\"op\": \"get\", \"key\": \"k\"}, {\"op\": \"incr\", \"key\": \"k\"}, {\"op\": \"append\", \"key\": \"k\", \"value\": \"0\"}, {\"op\": \"put\", \"key\": \"k\", \"value\": \"x\"}, {\"op\": \"incr\", \"key\": \"k\"}, {\"op\": \"delete\", \"key\": \"k\"}]}",
	"openSession":  "POST /v1/sessions",
	"sessionInfo":  "GET /v1/sessions/2",
	"closeSession": "DELETE /v1/sessions/2",
	"keepSession":  "POST /v1/sessions/2/keepalive",
	"watch":        "GET /v1/watch?from=1",
	"openAPI":      "GET /v1/openapi.json",
}

// stage is a fresh store and the request that a case changes.
type stage struct {
	t   *testing.T
	m   *memory
	api API
	s   *Server
	r   *http.Request
	op  string
	raw string // the good request as text
}

// use makes the request from changed text.
func (s *stage) use(text string) { s.r = request(s.t, text) }

// with adds a header to the good request.
func (s *stage) with(name, value string) { s.r.Header.Set(name, value) }

func (s *stage) ends(o node.Outcome, err error) {
	s.m.before = func(node.Request) *node.Reply { return &node.Reply{Outcome: o, Err: err} }
}

// answers makes the state machine refuse the command in these words.
func (s *stage) answers(text string) {
	s.m.before = func(node.Request) *node.Reply {
		return &node.Reply{Outcome: node.Applied, Index: 9, Result: statemachine.AppendResult(nil, statemachine.Result{Kind: statemachine.ResultError, Bytes: []byte(text)})}
	}
}

// provoke changes the stage so that the operation answers a status.
func provoke(s *stage, status string) {
	switch status {
	case "200", "201":
		if s.op == "watch" {
			// The client is about to go: the answer has what there is, and ends.
			ctx, cancel := context.WithCancel(s.t.Context())
			cancel()
			s.r = s.r.WithContext(ctx)
		}
	case "304":
		s.with("If-None-Match", `"1"`)
	case "400":
		s.r.URL.RawQuery += "&twice=1&twice=2"
	case "401":
		s.api.Users = access.NewStore(access.NewCatalog(nil), "secret", nil)
	case "403":
		if s.r.Method == "GET" {
			users := access.NewStore(access.NewCatalog([]access.Command{{Name: "ping"}, {Name: "echo"}}), "", nil)
			users.Replace([]statemachine.User{{Name: "default", Rules: "on nopass ~* &* -@all +ping", Version: 1}})
			s.api.Users = users
			return
		}
		s.with("Sec-Fetch-Site", "cross-site")
	case "404":
		s.use(strings.NewReplacer("/v1/kv/k", "/v1/kv/none", "/sessions/2", "/sessions/77").Replace(s.raw))
	case "405":
		s.r.Method = "PATCH"
	case "408":
		s.r.Body, s.r.ContentLength = brokenBody{}, 10
	case "409":
		if s.op == "txn" || s.op == "cas" {
			s.use(strings.NewReplacer(`"version": 1`, `"version": 5`, `"expect": "1"`, `"expect": "7"`).Replace(s.raw))
			return
		}
		s.with("Idempotency-Key", "2:5") // a gap
	case "410":
		s.m.hub.Observe(statemachine.Change{Kind: statemachine.ChangeRestore, Index: 50})
	case "412":
		s.with("If-Match", `"77"`)
	case "413":
		long := strings.Repeat("x", 200)
		s.use(strings.NewReplacer("/v1/kv/k", "/v1/kv/"+long, "prefix=k", "prefix="+long, `"key": "k"`, `"key": "`+long+`"`, "from=1", "from=1&prefix="+long).Replace(s.raw))
	case "415":
		s.with("Content-Type", "text/plain")
	case "421":
		s.r.Host = "evil.example"
	case "422":
		s.answers("ERR value is not an integer or out of range")
	case "429":
		s.s.api.Load().inFlight.used.Store(1 << 40)
		if s.op == "watch" {
			for range 8 {
				sub, err := s.m.hub.Subscribe(feed.Options{})
				if err != nil {
					s.t.Fatal(err)
				}
				s.t.Cleanup(sub.Close)
			}
		}
	case "503":
		s.ends(node.NotApplied, node.ErrNoLeader)
		switch s.op {
		case "watch":
			s.m.hub.Close()
		case "openAPI":
			s.s.api.Store(nil)
		}
	case "504":
		s.ends(node.Unknown, node.ErrTimeout)
	case "507":
		s.ends(node.NotApplied, node.ErrNoSpace)
	default:
		s.t.Fatalf("nothing provokes %s", status)
	}
}

// Every operation and every status of the document comes out of the handlers, and
// every answer is as the document says: headers, content type and body.
func TestOpenAPIIsTrue(t *testing.T) {
	d := loadOpenAPI(t)
	ops := map[string]bool{}
	answers := 0
	for path, entry := range d.at(d.root, "paths") {
		for method, op := range entry.(map[string]any) {
			if method == "parameters" {
				continue
			}
			id, _ := d.at(op)["operationId"].(string)
			if good[id] == "" {
				t.Errorf("%s %s: operation %q has no request here", method, path, id)
				continue
			}
			if ops[id] {
				t.Errorf("operation %q stands twice", id)
			}
			ops[id] = true
			for status, answer := range d.at(op, "responses") {
				t.Run(id+"/"+status, func(t *testing.T) {
					s := &stage{t: t, op: id, raw: good[id], m: newMemory(feed.Config{Subscribers: 8})}
					s.m.apply(statemachine.Command{Op: statemachine.OpSet, Args: [][]byte{[]byte("k"), []byte("1")}})
					s.m.apply(statemachine.Command{Op: statemachine.OpSessionOpen})
					s.api = API{Backend: s.m, Feed: s.m.hub, KeyBytes: 100}
					s.s = newServer(t, s.api)
					s.use(s.raw)
					provoke(s, status)
					if s.api.Users != nil {
						s.s.Attach(s.api)
					}
					if strings.ToUpper(method) != s.r.Method && status != "405" {
						t.Fatalf("the request here is a %s", s.r.Method)
					}
					w := httptest.NewRecorder()
					s.s.http.Handler.ServeHTTP(w, s.r)
					if got := fmt.Sprint(w.Code); got != status {
						t.Fatalf("%s, want %s: %s", got, status, w.Body)
					}
					if err := d.answer(d.at(answer), w.Result()); err != nil {
						t.Errorf("%v\n%v\n%s", err, w.Header(), w.Body)
					}
				})
				answers++
			}
		}
	}
	for id := range good {
		if !ops[id] {
			t.Errorf("operation %s is not in the document", id)
		}
	}
	if answers < 100 {
		t.Errorf("%d answers were checked, there were more once", answers)
	}
}

// answer tells what of an answer is not as the document says.
func (d openAPI) answer(want map[string]any, got *http.Response) error {
	for name, h := range d.at(want["headers"]) {
		v := got.Header.Get(name)
		if v == "" {
			if name == headerNode && got.StatusCode == http.StatusServiceUnavailable {
				continue // there is no node yet
			}
			return fmt.Errorf("header %s is missing", name)
		}
		if d.at(h, "schema")["type"] == "integer" && strings.Trim(v, "0123456789") != "" {
			return fmt.Errorf("header %s: %q is no integer", name, v)
		}
	}
	body, err := io.ReadAll(got.Body)
	if err != nil {
		return err
	}
	content := d.at(want["content"])
	if content == nil {
		if len(body) > 0 {
			return fmt.Errorf("a body of %d bytes that is not described", len(body))
		}
		return nil
	}
	t := got.Header.Get("Content-Type")
	if content[t] == nil {
		return fmt.Errorf("content type %q, described are %v", t, slices.Collect(maps.Keys(content)))
	}
	schema := d.at(content[t])["schema"]
	var docs [][]byte
	switch t {
	case "application/json":
		docs = append(docs, body)
	case "application/x-ndjson":
		docs = bytes.Split(bytes.TrimSpace(body), []byte("\n"))
	case "text/event-stream":
		for line := range bytes.Lines(body) {
			if data, ok := bytes.CutPrefix(line, []byte("data: ")); ok {
				docs = append(docs, data)
			}
		}
	default:
		return nil // bytes are bytes
	}
	if len(docs) == 0 {
		return fmt.Errorf("nothing to check in %q", body)
	}
	for _, b := range docs {
		var v any
		if err := json.Unmarshal(b, &v); err != nil {
			return fmt.Errorf("%q: %w", b, err)
		}
		if err := d.check(schema, v, "body"); err != nil {
			return err
		}
	}
	return nil
}
