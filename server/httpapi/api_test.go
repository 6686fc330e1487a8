package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/raftkv/raftkv/node"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/server/access"
	"github.com/raftkv/raftkv/server/feed"
	"github.com/raftkv/raftkv/statemachine"
)

func fresh(t testing.TB) (*memory, *Server) {
	m := newMemory(feed.Config{})
	return m, newServer(t, API{Backend: m, Feed: m.hub})
}

// step is a request, and what the answer must be: status, the body on one line
// (* at its end: it begins so), and headers "name: value".
type step struct {
	request string
	status  int
	body    string
	headers []string
}

func play(t *testing.T, s *Server, steps []step) {
	t.Helper()
	for _, st := range steps {
		w := ask(t, s, st.request)
		got := strings.TrimSpace(compact(w.Body.Bytes()))
		want, open := strings.CutSuffix(st.body, "*")
		if w.Code != st.status || got != want && !(open && strings.HasPrefix(got, want)) {
			t.Errorf("%q:\n got %d %s\nwant %d %s", st.request, w.Code, got, st.status, st.body)
		}
		for _, h := range st.headers {
			name, value, _ := strings.Cut(h, ": ")
			if got := w.Header().Get(name); got != value {
				t.Errorf("%q: %s is %q, want %q", st.request, name, got, value)
			}
		}
	}
}

// A session with the store, as a user of curl has it.
func TestConversation(t *testing.T) {
	_, s := fresh(t)
	play(t, s, []step{
		{"GET /v1/kv/a", 404, `{"code":"not_found","error":"key not found"}`, []string{"Raftkv-Index: 0", "Raftkv-Outcome: "}},
		{"PUT /v1/kv/a\n\nhello", 200, `{"index":1,"version":1}`, []string{"Raftkv-Index: 1", "Raftkv-Outcome: applied", `ETag: "1"`, "Raftkv-Node: n1", "Raftkv-Leader: n2"}},
		{"GET /v1/kv/a", 200, "hello", []string{"Content-Type: application/octet-stream", `ETag: "1"`, "Raftkv-Index: 1", "X-Content-Type-Options: nosniff"}},
		{"GET /v1/kv/a\nAccept: application/json", 200, `{"index":1,"key":"a","value":"hello","version":1}`, nil},
		{"GET /v1/kv/a\nAccept: text/html, */*;q=0.8", 200, "hello", nil},
		{"GET /v1/kv/a\nIf-None-Match: \"1\"", 304, "", []string{`ETag: "1"`}},
		{"GET /v1/kv/a\nIf-None-Match: \"2\"", 200, "hello", nil},
		{"HEAD /v1/kv/a", 200, "hello", []string{"Content-Length: 5"}}, // net/http leaves the body out
		{"GET /v1/kv/a?consistency=stale", 200, "hello", []string{"Raftkv-Age: 0.000", "Raftkv-Behind: 0"}},
		{"GET /v1/kv/a?consistency=maybe", 400, `{"code":"bad_request"*`, nil},
		{"POST /v1/kv/a/append\nContent-Type: application/octet-stream\n\n, you", 200, `{"index":2,"length":10}`, nil},
		{"PUT /v1/kv/a\nIf-Match: \"1\"\n\nx", 412, `{"code":"condition"*`, []string{"Raftkv-Outcome: not-applied"}},
		{"PUT /v1/kv/a\nIf-Match: \"2\"\n\nx", 200, `{"index":4,"version":4}`, []string{`ETag: "4"`}},
		{"PUT /v1/kv/a\nIf-None-Match: *\n\ny", 412, `{"code":"condition"*`, nil},
		{"PUT /v1/kv/b\nIf-Match: *\n\ny", 412, `{"code":"condition"*`, nil},
		{"PUT /v1/kv/b\nIf-None-Match: *\n\ny", 200, `{"index":7,"version":7}`, nil},
		{"PUT /v1/kv/b\nIf-Match: *\n\nz", 200, `{"index":8,"version":8}`, nil},
		{"DELETE /v1/kv/a\nIf-Match: \"2\"", 412, `{"code":"condition"*`, nil},
		{"DELETE /v1/kv/a\nIf-Match: \"4\"", 200, `{"deleted":1,"index":10}`, nil},
		{"DELETE /v1/kv/a", 404, `{"code":"not_found"*`, []string{"Raftkv-Outcome: not-applied"}},
		{"POST /v1/kv/n/incr", 200, `{"index":12,"value":1}`, nil},
		{"POST /v1/kv/n/incr?delta=-42", 200, `{"index":13,"value":-41}`, nil},
		{"POST /v1/kv/b/incr", 422, `{"code":"refused","error":"value is not an integer or out of range","outcome":"not-applied"}`, nil},
		{"POST /v1/kv/b/incr?delta=x", 400, `{"code":"bad_request"*`, nil},
		{"POST /v1/kv/b/cas\n\n{\"expect\": \"z\", \"value\": \"zz\"}", 200, `{"index":15,"version":15}`, nil},
		{"POST /v1/kv/b/cas\n\n{\"expect\": \"z\", \"value\": \"zzz\"}", 409, `{"code":"condition"*`, nil},
		{"POST /v1/kv/b/cas\n\n{\"version\": 15, \"value\": \"v\"}", 200, `{"index":17,"version":17}`, nil},
		{"POST /v1/kv/b/cas\n\n{\"version\": 15, \"value\": \"v\"}", 409, `{"code":"condition"*`, nil},
		{"POST /v1/kv/b/cas\n\n{\"value\": \"v\"}", 409, `{"code":"condition"*`, nil},
		{"POST /v1/kv/c/cas\n\n{\"version\": 0, \"value\": \"v\"}", 200, `{"index":20,"version":20}`, nil},
	})
}

// Keys are bytes: slashes, dots, escapes, zero and what is not UTF-8 come back as
// they went in, and name nothing else.
func TestKeysAreBytes(t *testing.T) {
	_, s := fresh(t)
	paths := []string{"a/b/c", "a//b", "a/../b", "..", ".", "%00", "%ff%fe", "a%2Fb", "a%2F%2Fb", "%2e%2e%2fx", "append", "x/append", "%20", "%25", "a+b", "k%3Fq", "ü"}
	for i, p := range paths {
		if w := ask(t, s, fmt.Sprintf("PUT /v1/kv/%s\n\n%d", p, i)); w.Code != 200 {
			t.Fatalf("PUT %s: %d %s", p, w.Code, w.Body)
		}
	}
	// a/b/c, a//b and a%2F%2Fb: the last two are one key.
	same := map[string]int{"a//b": 8}
	for i, p := range paths {
		if j, ok := same[p]; ok {
			i = j
		}
		if w := ask(t, s, "GET /v1/kv/"+p); w.Code != 200 || w.Body.String() != fmt.Sprint(i) {
			t.Errorf("GET %s: %d %s, want %d", p, w.Code, w.Body, i)
		}
	}
	w := ask(t, s, "GET /v1/kv?prefix=%ff&keys=true")
	if want := `{"key_base64":"//4="}`; !strings.HasPrefix(w.Body.String(), want) {
		t.Errorf("list of keys that are no text: %s, want %s", w.Body, want)
	}
	play(t, s, []step{
		{"GET /v1/kv/%ff%fe\nAccept: application/json", 200, `{"index":*`, nil},
		{"GET /v1/kv/", 400, `{"code":"bad_request","error":"the key is empty*`, nil},
		{"GET /v1/kv?prefix_base64=!!", 400, `{"code":"bad_request"*`, nil},
		{"PUT /v1/kv/bin\n\n\xff\x00", 200, `{"index":*`, nil},
		{"GET /v1/kv/bin\nAccept: application/json", 200, `{"index":18,"key":"bin","value_base64":"/wA=","version":18}`, nil},
		{"POST /v1/kv/bin/cas\n\n{\"expect_base64\": \"/wA=\", \"value_base64\": \"AA==\"}", 200, `{"index":19*`, nil},
		{"GET /v1/kv/bin", 200, "\x00", nil},
	})
}

func TestTimeToLive(t *testing.T) {
	m, s := fresh(t)
	play(t, s, []step{
		{"PUT /v1/kv/a?ttl=90s\n\nx", 200, `{*`, nil},
		{"PUT /v1/kv/a?keepttl=true\n\ny", 200, `{*`, nil},
		{"PUT /v1/kv/b?ttl=90s\n\nx", 200, `{*`, nil},
		{"PUT /v1/kv/b\n\ny", 200, `{*`, nil},
	})
	m.pass(89 * time.Second)
	play(t, s, []step{{"GET /v1/kv/a", 200, "y", nil}})
	m.pass(2 * time.Second)
	play(t, s, []step{{"GET /v1/kv/a", 404, `{*`, nil}, {"GET /v1/kv/b", 200, "y", nil}})
	for _, bad := range []string{"ttl=90", "ttl=-1s", "ttl=1us", "ttl=x", "ttl=9s&keepttl=true", "keepttl=perhaps"} {
		play(t, s, []step{{"PUT /v1/kv/a?" + bad + "\n\nx", 400, `{"code":"bad_request"*`, []string{"Raftkv-Outcome: not-applied"}}})
	}
}

func TestTransactions(t *testing.T) {
	m, s := fresh(t)
	play(t, s, []step{
		{`POST /v1/txn` + "\n\n" + `{"if":[{"key":"a","version":0}],"do":[{"op":"put","key":"a","value":"1"},{"op":"incr","key":"a","delta":4},{"op":"append","key":"b","value_base64":"/w=="},{"op":"get","key":"b"},{"op":"delete","key":"none"},{"op":"incr","key":"b"}]}`,
			200, `{"index":1,"results":[{},{"number":5},{"length":1},{"value_base64":"/w==","version":1},{"deleted":0},{"error":"ERR value is not an integer or out of range"}]}`, []string{"Raftkv-Outcome: applied"}},
		{`POST /v1/txn` + "\n\n" + `{"if":[{"key":"a","version":0}],"do":[{"op":"delete","key":"a"}]}`, 409, `{"code":"condition"*`, nil},
		{"GET /v1/kv/a", 200, "5", nil},
	})
	before := m.index
	play(t, s, []step{
		{`POST /v1/txn` + "\n\n" + `{"if":[{"key":"a","version":1}],"do":[{"op":"get","key":"a"},{"op":"get","key":"none"}]}`, 200, `{"index":2,"results":[{"value":"5","version":1},{}]}`, []string{"Raftkv-Outcome: "}},
	})
	if m.index != before {
		t.Error("a transaction that only reads went through the log")
	}
	for _, bad := range []string{
		``, `{`, `{"do":[]}`, `{"do":[{"op":"get"}]}`, `{"do":[{"op":"put","key":"a"}]}`, `{"do":[{"op":"get","key":"a","value":"x"}]}`, `{"do":[{"op":"zap","key":"a"}]}`,
		`{"if":[{"key":"a"}],"do":[{"op":"get","key":"a"}]}`, `{"do":[{"op":"get","key":"a","key_base64":"YQ=="}]}`, `{"do":[{"op":"get","key":"a"}]} x`, `{"more":1,"do":[{"op":"get","key":"a"}]}`,
		`{"do":[{"op":"delete","key":"a","ttl":"1s"}]}`, `{"do":[{"op":"delete","key":"a","delta":1}]}`, `{"do":[{"op":"get","key_base64":"?"}]}`, `{"do":[` + strings.Repeat(`{"op":"get","key":"a"},`, maxTxnOps) + `{"op":"get","key":"a"}]}`,
	} {
		w := ask(t, s, "POST /v1/txn\n\n"+bad)
		if w.Code != 400 || w.Header().Get(headerOutcome) != outcomeNotApplied {
			t.Errorf("%.80s: %d %s", bad, w.Code, w.Body)
		}
	}
	if m.index != before {
		t.Error("a wrong transaction went through the log")
	}
}

// CS-01, CS-02: a repeated request is answered as the first one was, whatever happened since.
func TestIdempotencyKey(t *testing.T) {
	_, s := fresh(t)
	play(t, s, []step{
		{"POST /v1/sessions", 201, `{"index":1,"session":1}`, []string{"Location: /v1/sessions/1"}},
		{"POST /v1/kv/a/append\nIdempotency-Key: 1:1\n\nx", 200, `{"index":2,"length":1}`, nil},
		{"POST /v1/kv/a/append\nIdempotency-Key: 1:1\n\nx", 200, `{"index":3,"length":1}`, nil},
		{"PUT /v1/kv/a\n\nother", 200, `{*`, nil},
		{"POST /v1/kv/a/append\nIdempotency-Key: \"1:1\"\n\nx", 200, `{"index":5,"length":1}`, nil},
		{"POST /v1/kv/a/append\nIdempotency-Key: 1:1\n\ny", 409, `{"code":"seq_reused"*`, []string{"Raftkv-Outcome: unknown"}},
		{"POST /v1/kv/a/append\nIdempotency-Key: 1:3\n\ny", 409, `{"code":"seq_gap"*`, []string{"Raftkv-Outcome: not-applied"}},
		{"POST /v1/kv/a/append\nIdempotency-Key: 9:1\n\ny", 409, `{"code":"session_expired"*`, []string{"Raftkv-Outcome: unknown"}},
		{"PUT /v1/kv/a\nIdempotency-Key: 1:2\nIf-None-Match: *\n\ny", 412, `{"code":"condition"*`, nil},
		{"PUT /v1/kv/a\nIdempotency-Key: 1:2\nIf-None-Match: *\n\ny", 412, `{"code":"condition"*`, nil},
		// The index is that of the repetition: no version is claimed.
		{"PUT /v1/kv/a\nIdempotency-Key: 1:3\n\ny", 200, `{"index":11}`, []string{"ETag: "}},
		{"GET /v1/kv/a", 200, "y", nil},
		{"GET /v1/sessions/1", 200, `{"index":11,"last":3,"session":1}`, nil},
		{"POST /v1/sessions/1/keepalive", 200, `{"index":12,"session":1}`, nil},
		{"DELETE /v1/sessions/1", 200, `{"index":13,"session":1}`, nil},
		{"GET /v1/sessions/1", 404, `{"code":"session_expired"*`, nil},
		{"POST /v1/sessions/1/keepalive", 404, `{"code":"session_expired"*`, []string{"Raftkv-Outcome: not-applied"}},
		{"GET /v1/sessions/x", 404, `{"code":"not_found"*`, nil},
	})
	for _, bad := range []string{"1", "1:", ":1", "x:1", "1:0", "0:1", "-1:1", "1:1:1", "1:-1"} {
		play(t, s, []step{{"PUT /v1/kv/a\nIdempotency-Key: " + bad + "\n\nz", 400, `{"code":"bad_request"*`, nil}})
	}
	play(t, s, []step{{"PUT /v1/kv/a\nIdempotency-Key: 1:1\nIdempotency-Key: 1:2\n\nz", 400, `{"code":"bad_request"*`, nil}})
}

// The three outcomes are told apart, whatever the reason.
func TestOutcomesAreNamed(t *testing.T) {
	m, s := fresh(t)
	for _, tc := range []struct {
		outcome        node.Outcome
		err            error
		status         int
		code           string
		write, retried string
	}{
		{node.NotApplied, node.ErrNoLeader, 503, "no_leader", outcomeNotApplied, "1"},
		{node.NotApplied, node.ErrNotReady, 503, "not_ready", outcomeNotApplied, "1"},
		{node.NotApplied, node.ErrShutdown, 503, "shutting_down", outcomeNotApplied, "1"},
		{node.NotApplied, &raft.NotLeaderError{}, 503, "try_again", outcomeNotApplied, "1"},
		{node.NotApplied, raft.ErrTransfer, 503, "try_again", outcomeNotApplied, "1"},
		{node.NotApplied, node.ErrBusy, 429, "busy", outcomeNotApplied, "1"},
		{node.NotApplied, raft.ErrBusy, 429, "busy", outcomeNotApplied, "1"},
		{node.NotApplied, node.ErrNoSpace, 507, "no_space", outcomeNotApplied, "1"},
		{node.NotApplied, node.ErrTimeout, 504, "timeout", outcomeNotApplied, "1"},
		{node.NotApplied, nil, 503, "try_again", outcomeNotApplied, "1"},
		{node.Unknown, node.ErrTimeout, 504, "unknown_outcome", outcomeUnknown, ""},
		{node.Unknown, node.ErrLostLead, 504, "unknown_outcome", outcomeUnknown, ""},
		{node.Unknown, node.ErrShutdown, 504, "unknown_outcome", outcomeUnknown, ""},
	} {
		m.before = func(node.Request) *node.Reply { return &node.Reply{Outcome: tc.outcome, Err: tc.err} }
		w := ask(t, s, "PUT /v1/kv/a\n\nx")
		var doc errorDoc
		if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil || w.Code != tc.status || doc.Code != tc.code || doc.Outcome != tc.write ||
			w.Header().Get(headerOutcome) != tc.write || w.Header().Get("Retry-After") != tc.retried {
			t.Errorf("write, %v, %v: %d %v %s (%v)", tc.outcome, tc.err, w.Code, w.Header(), w.Body, err)
		}
		// A read does nothing: that is never unknown.
		w = ask(t, s, "GET /v1/kv/a")
		if h := w.Header().Get(headerOutcome); h != "" || w.Code < 400 || strings.Contains(w.Body.String(), "may have taken effect") {
			t.Errorf("read, %v, %v: %d %q %s", tc.outcome, tc.err, w.Code, h, w.Body)
		}
	}
	m.before = nil
	// No room at the node: nothing was taken.
	m.submit = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	play(t, s, []step{{"PUT /v1/kv/a\n\nx", 429, `{"code":"busy"*`, []string{"Raftkv-Outcome: not-applied"}}})
	m.submit = func(context.Context) error { return node.ErrShutdown }
	play(t, s, []step{{"PUT /v1/kv/a\n\nx", 503, `{"code":"shutting_down"*`, []string{"Raftkv-Outcome: not-applied"}}})
}

func TestBeforeThereIsANode(t *testing.T) {
	s := newServer(t, API{})
	play(t, s, []step{{"PUT /v1/kv/a\n\nx", 503, `{"code":"not_ready"*`, []string{"Raftkv-Outcome: not-applied", "Retry-After: 1"}}})
}

// SE-06: what a browser can be made to send changes nothing and reads nothing.
func TestBrowsersAreKeptOut(t *testing.T) {
	m, s := fresh(t)
	for _, tc := range []struct {
		request string
		status  int
	}{
		// A page whose name leads to this machine (DNS rebinding).
		{"GET /v1/kv/a\nHost: evil.example:6481", 421},
		{"PUT /v1/kv/a\nHost: evil.example\n\nx", 421},
		{"GET /v1/watch\nHost: evil.example", 421},
		{"GET /v1/kv/a\nHost: ", 421},
		{"GET /v1/kv/a\nHost: 127.0.0.1.evil.example", 421},
		// Names that are ours.
		{"GET /v1/kv/a\nHost: localhost:6481", 404},
		{"GET /v1/kv/a\nHost: [::1]:6481", 404},
		{"GET /v1/kv/a\nHost: DB1.example.org:6481", 404},
		{"GET /v1/kv/a\nHost: db1.example.org.", 404},
		// Forms and scripts of another origin.
		{"POST /v1/kv/a/incr\nContent-Type: text/plain", 415},
		{"POST /v1/kv/a/incr\nContent-Type: application/x-www-form-urlencoded", 415},
		{"POST /v1/kv/a/incr\nContent-Type: multipart/form-data; boundary=x", 415},
		{"POST /v1/kv/a/incr\nContent-Type: ", 415},
		{"POST /v1/kv/a/incr\nContent-Type: text/plain; application/json", 415},
		{"POST /v1/kv/a/incr\nSec-Fetch-Site: cross-site", 403},
		{"PUT /v1/kv/a\nOrigin: https://evil.example\n\nx", 403},
		{"DELETE /v1/kv/a\nOrigin: null", 403},
		{"POST /v1/kv/a/incr\nSec-Fetch-Site: same-origin", 200},
	} {
		w := ask(t, s, tc.request)
		if w.Code != tc.status {
			t.Errorf("%q: %d, want %d: %s", tc.request, w.Code, tc.status, w.Body)
		}
		if w.Header().Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%q: another origin may read the answer", tc.request)
		}
	}
	if m.index != 1 {
		t.Errorf("%d entries, only the last request was ours", m.index)
	}
	other := newServer(t, API{Backend: m, Feed: m.hub, Hosts: []string{"kv.example"}})
	play(t, other, []step{{"GET /v1/kv/none\nHost: kv.example:80", 404, `{*`, nil}})
}

// The same users as over the Redis protocol.
func TestUsers(t *testing.T) {
	m := newMemory(feed.Config{})
	var cmds []access.Command
	for _, name := range []string{"get", "set", "setv", "del", "append", "incrby", "scan", "once", "multi", "exec", "watch", "session|open"} {
		cmds = append(cmds, access.Command{Name: name})
	}
	users := access.NewStore(access.NewCatalog(cmds), "secret", nil)
	hash := func(u *access.User, words ...string) string {
		u, err := u.SetRules(words)
		if err != nil {
			t.Fatal(err)
		}
		return u.Rules()
	}
	users.Replace([]statemachine.User{{Name: "ann", Version: 1, Rules: hash(users.New("ann"), "on", ">pw:1", "~ann/*", "%R~pub/*", "+get", "+set", "+scan")}})
	s := newServer(t, API{Backend: m, Feed: m.hub, Users: users})
	as := func(user, password string) string {
		r, _ := http.NewRequest("GET", "/", nil)
		r.SetBasicAuth(user, password)
		return "\nAuthorization: " + r.Header.Get("Authorization")
	}
	ann := as("ann", "pw:1")
	for _, tc := range []struct {
		request string
		status  int
	}{
		{"GET /v1/kv/ann/x", 401},
		{"GET /v1/kv/ann/x" + as("ann", "wrong"), 401},
		{"GET /v1/kv/ann/x" + as("bob", "pw:1"), 401},
		{"GET /v1/kv/ann/x\nAuthorization: Digest x", 401},
		{"GET /v1/kv/ann/x\nAuthorization: Basic !", 401},
		{"GET /v1/kv/ann/x\nAuthorization: Bearer ", 401},
		{"GET /v1/kv/ann/x" + ann, 404},
		{"GET /v1/kv/ann/x\nAuthorization: Bearer ann:pw:1", 404},
		{"GET /v1/kv/bob/x\nAuthorization: Bearer secret", 404},
		{"GET /v1/kv/bob/x" + as("default", "secret"), 404},
		{"PUT /v1/kv/ann/x" + ann + "\n\nv", 200},
		{"GET /v1/kv/bob/x" + ann, 403},
		{"PUT /v1/kv/bob/x" + ann + "\n\nv", 403},
		{"GET /v1/kv/pub/x" + ann, 404},
		{"PUT /v1/kv/pub/x" + ann + "\n\nv", 403},
		{"DELETE /v1/kv/ann/x" + ann, 403},
		{"POST /v1/kv/ann/x/append" + ann, 403},
		{"PUT /v1/kv/ann/x\nIdempotency-Key: 1:1" + ann + "\n\nv", 403},
		{"GET /v1/kv?prefix=ann/" + ann, 200},
		{"GET /v1/kv?prefix=an" + ann, 403},
		{"GET /v1/kv" + ann, 403},
		{"GET /v1/watch?prefix=bob" + ann, 403},
		{"POST /v1/txn" + ann + "\n\n{\"do\":[{\"op\":\"get\",\"key\":\"ann/x\"}]}", 403},
		{"POST /v1/sessions" + ann, 403},
	} {
		w := ask(t, s, tc.request)
		if w.Code != tc.status {
			t.Errorf("%q: %d, want %d: %s", tc.request, w.Code, tc.status, w.Body)
		}
		if w.Code == 401 && w.Header().Get("WWW-Authenticate") == "" {
			t.Errorf("%q: no challenge", tc.request)
		}
		if strings.Contains(w.Body.String(), "pw:1") || strings.Contains(w.Body.String(), "secret") {
			t.Errorf("%q: a password is told: %s", tc.request, w.Body)
		}
	}
}

// listed is what a list said: its keys or lines, and its last line.
func listed(t *testing.T, s *Server, query string) (items []item, last end) {
	t.Helper()
	w := ask(t, s, "GET /v1/kv"+query)
	if w.Code != 200 {
		t.Fatalf("list %s: %d %s", query, w.Code, w.Body)
	}
	lines := strings.Split(strings.TrimSpace(w.Body.String()), "\n")
	for _, l := range lines[:len(lines)-1] {
		var it item
		if err := json.Unmarshal([]byte(l), &it); err != nil {
			t.Fatalf("%q: %v", l, err)
		}
		items = append(items, it)
	}
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil || !last.End || last.Count != len(items) {
		t.Fatalf("last line of %d: %s (%v)", len(lines), lines[len(lines)-1], err)
	}
	return items, last
}

// Lists are in the order of bytes, go on where they were cut, and have each key once.
func TestListPages(t *testing.T) {
	m, s := fresh(t)
	const n = 300 // several pages
	for i := range n {
		m.apply(statemachine.Command{Op: statemachine.OpSet, Args: [][]byte{fmt.Appendf(nil, "p/%03d", i), fmt.Appendf(nil, "v%d", i)}})
	}
	for _, other := range []string{"p", "p-", "p0", "q", "*", "p/\xff"} {
		m.apply(statemachine.Command{Op: statemachine.OpSet, Args: [][]byte{[]byte(other), nil}})
	}
	items, last := listed(t, s, "?prefix=p/0")
	if len(items) != 100 || *items[7].Key != "p/007" || *items[7].Value != "v7" || items[7].Version != 8 || last.Next != nil || last.Index != uint64(m.index) {
		t.Errorf("%d items, the end is %+v", len(items), last)
	}
	all, after := 0, ""
	for {
		items, last := listed(t, s, "?prefix=p/&keys=true&limit=70&after="+after)
		for _, it := range items {
			if it.Value != nil || it.Version != 0 {
				t.Fatalf("keys alone were asked for: %+v", it)
			}
			if it.Key != nil && *it.Key != fmt.Sprintf("p/%03d", all) {
				t.Fatalf("key %d is %s", all, *it.Key)
			}
			all++
		}
		if last.Next == nil {
			break
		}
		after = *last.Next
	}
	if all != n+1 {
		t.Errorf("%d keys in all, want %d", all, n+1)
	}
	if items, last := listed(t, s, "?prefix=p/29&limit=10"); len(items) != 10 || last.Next != nil {
		t.Errorf("a list that ends just at its limit: %d items, %+v", len(items), last)
	}
	if items, _ := listed(t, s, "?prefix=*"); len(items) != 1 {
		t.Errorf("a prefix is no pattern: %d items", len(items))
	}
	for _, bad := range []string{"?limit=0", "?limit=x", "?keys=x", "?prefix=%zz"} {
		play(t, s, []step{{"GET /v1/kv" + bad, 400, `{"code":"bad_request"*`, nil}})
	}
}

// Values are large at times: they come in steps that fit into memory, each once.
func TestListOfLargeValues(t *testing.T) {
	m, s := fresh(t)
	big := bytes.Repeat([]byte("x"), 7<<20)
	for i := range 12 { // one step answers ten of them
		m.apply(statemachine.Command{Op: statemachine.OpSet, Args: [][]byte{fmt.Appendf(nil, "k%02d", i), big}})
	}
	w := ask(t, s, "GET /v1/kv?prefix=k")
	lines := bytes.Split(bytes.TrimSpace(w.Body.Bytes()), []byte("\n"))
	if len(lines) != 13 || !bytes.Contains(lines[12], []byte(`"end":true`)) || bytes.Contains(lines[12], []byte("error")) {
		t.Fatalf("%d lines, the last is %.200s", len(lines), lines[len(lines)-1])
	}
	for i, l := range lines[:12] {
		if !bytes.HasPrefix(l, fmt.Appendf(nil, `{"key":"k%02d","value":"xx`, i)) || len(l) < len(big) {
			t.Errorf("line %d: %d bytes, %.60s", i, len(l), l)
		}
	}
}

// A list that fails in the middle says so in its last line, and where to go on.
func TestListThatBreaks(t *testing.T) {
	m, s := fresh(t)
	for i := range 200 {
		m.apply(statemachine.Command{Op: statemachine.OpSet, Args: [][]byte{fmt.Appendf(nil, "k%03d", i), nil}})
	}
	asked := 0
	m.before = func(node.Request) *node.Reply {
		if asked++; asked > 4 {
			return &node.Reply{Outcome: node.NotApplied, Err: node.ErrNoLeader}
		}
		return nil
	}
	items, last := listed(t, s, "")
	if last.Code != "no_leader" || last.Error == "" || last.Next == nil || *last.Next != *items[len(items)-1].Key || len(items) == 0 || len(items) == 200 {
		t.Errorf("%d items, %+v", len(items), last)
	}
	m.before = func(node.Request) *node.Reply { return &node.Reply{Outcome: node.NotApplied, Err: errors.New("x")} }
	play(t, s, []step{{"GET /v1/kv", 503, `{"code":"try_again"*`, nil}})
}
