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

	"github.com/raftkv/raftkv/node"
	"github.com/raftkv/raftkv/server/access"
	"github.com/raftkv/raftkv/server/feed"
	"github.com/raftkv/raftkv/statemachine"
)

// people is a store of users, and a way to change them as the log would.
type people struct {
	t *testing.T
	*access.Store
	version uint64
}

func newPeople(t *testing.T) *people {
	var cmds []access.Command
	for _, name := range []string{"get", "scan", "set", "multi", "exec"} {
		cmds = append(cmds, access.Command{Name: name})
	}
	return &people{t, access.NewStore(access.NewCatalog(cmds), "", nil), 0}
}

// are makes the users those of these rules, "name rule…", and default.
func (p *people) are(list ...string) {
	p.t.Helper()
	var users []statemachine.User
	for _, l := range list {
		words := strings.Fields(l)
		u := p.New(words[0])
		if words[0] == access.DefaultUser {
			words = append(words[:1:1], append([]string{"reset"}, words[1:]...)...)
		}
		u, err := u.SetRules(words[1:])
		if err != nil {
			p.t.Fatal(err)
		}
		p.version++
		users = append(users, statemachine.User{Name: words[0], Version: p.version, Rules: u.Rules()})
	}
	p.Replace(users)
}

const bearerAnn = "Authorization: Bearer ann:pw"

// ways are those in which a reader loses its rights, and what it is told.
var ways = []struct{ name, header, before, after, code string }{
	{"user is deleted", bearerAnn, "ann on >pw ~a/* +scan +get", "bob on", "unauthorized"},
	{"user is off", bearerAnn, "ann on >pw ~a/* +scan +get", "ann off >pw ~a/* +scan +get", "unauthorized"},
	{"other keys", bearerAnn, "ann on >pw ~a/* +scan +get", "ann on >pw ~b/* +scan +get", "no_permission"},
	{"less commands", bearerAnn, "ann on >pw ~a/* +scan +get", "ann on >pw ~a/* +scan", "no_permission"},
	{"default needs a password", "X: none", "default on nopass ~* +@all", "default on >secret ~* +@all", "unauthorized"},
	{"default has other keys", "X: none", "default on nopass ~* +@all", "default on nopass ~b +@all", "no_permission"},
}

// A watch ends with the rights of its user, before the next change is sent.
func TestWatchEndsWithItsRights(t *testing.T) {
	for _, tc := range ways {
		t.Run(tc.name, func(t *testing.T) {
			m, p := newMemory(feed.Config{}), newPeople(t)
			p.are(tc.before)
			_, base := listen(t, API{Backend: m, Feed: m.hub, Users: p.Store})
			w := open(t, base, "?prefix=a/", tc.header)
			set(m, "a/1", "seen")
			w.want(sse{"1.1", "put", `{"key":"a/1","value":"seen","version":1,"index":1,"command":"set"}`})
			p.are(tc.before, "carl on") // no change for it
			set(m, "a/2", "seen")
			w.want(sse{"2.1", "put", `{"key":"a/2","value":"seen","version":2,"index":2,"command":"set"}`})
			p.are(tc.after)
			set(m, "a/3", "secret")
			set(m, "a/4", "secret")
			e := w.next()
			var f farewell
			if err := json.Unmarshal([]byte(e.data), &f); err != nil || e.event != "end" || f.Code != tc.code || f.After != "2.1" {
				t.Fatalf("%+v (%v)", e, err)
			}
			if e, _, ok := w.block(); ok {
				t.Errorf("it goes on behind its end: %+v", e)
			}
		})
	}
}

// A watch of a quiet prefix ends with the next sign of life.
func TestQuietWatchEndsWithItsRights(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := newMemory(feed.Config{}), newPeople(t)
		lost := ways[4] // a pipe has no address, which a password would be tried from
		p.are(lost.before)
		s := newServer(t, API{Backend: m, Feed: m.hub, Users: p.Store, Heartbeat: 15 * time.Second})
		client, server := net.Pipe()
		done := make(chan struct{})
		// Ends with the server, which is closed below.
		go func() { defer close(done); s.http.Serve(&oneConn{conn: server, closed: make(chan struct{})}) }()
		go fmt.Fprint(client, "GET /v1/watch?prefix=a/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(client), nil)
		if err != nil {
			t.Fatal(err)
		}
		w := &stream{t: t, body: bufio.NewReader(resp.Body)}
		if _, comment, ok := w.block(); !ok || comment != "alive" {
			t.Fatalf("at once: %q", comment)
		}
		p.are(lost.after)
		if e, comment, _ := w.block(); e.event != "end" || !strings.Contains(e.data, `"code":"unauthorized"`) {
			t.Errorf("%+v %q", e, comment)
		}
		client.Close()
		m.hub.Close()
		s.http.Close()
		<-done
	})
}

// A list looks at the rights of its user before each step.
func TestListEndsWithItsRights(t *testing.T) {
	for _, tc := range ways {
		t.Run(tc.name, func(t *testing.T) {
			m, p := newMemory(feed.Config{}), newPeople(t)
			p.are(tc.before)
			s := newServer(t, API{Backend: m, Feed: m.hub, Users: p.Store})
			for i := range 2 * valuesPage {
				set(m, fmt.Sprintf("a/%03d", i), "x")
			}
			asked := 0
			m.before = func(node.Request) *node.Reply {
				if asked++; asked == 2 { // the values of the first page
					p.are(tc.after)
				}
				return nil
			}
			w := ask(t, s, "GET /v1/kv?prefix=a/\n"+tc.header)
			lines := strings.Split(strings.TrimSpace(w.Body.String()), "\n")
			var last end
			if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil || last.Code != tc.code || last.Count != valuesPage || asked != 2 {
				t.Errorf("%d steps, the end is %s (%v)", asked, lines[len(lines)-1], err)
			}
		})
	}
}

// The body of one who may run no transaction isn't read.
func TestTxnOfOneWhoMayNot(t *testing.T) {
	m, p := newMemory(feed.Config{}), newPeople(t)
	p.are("ann on >pw ~* +get +exec")
	s := newServer(t, API{Backend: m, Feed: m.hub, Users: p.Store})
	r := request(t, "POST /v1/txn\n"+bearerAnn)
	r.Body = brokenBody{}
	if w := newRecorder(s, r); w.Code != 403 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
