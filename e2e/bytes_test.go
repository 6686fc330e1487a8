package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/resp"
	"github.com/raftkv/raftkv/selftest"
)

// awkward are keys and values with every byte, with line ends, empty, and as long as
// a key may be.
func awkward() map[string]string {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	out := map[string]string{
		string(all): string(all), "": "the value of the empty key", "empty value": "", "\r\n": "a\r\nb\r\n\x00", "\x00": "\x00", "%00/../x?y#z": "\xff\xfe",
		strings.Repeat("k", 64<<10): strings.Repeat("\x00\r\n\xff", 1<<18),
	}
	for _, b := range all {
		out["one"+string([]byte{b})] = string([]byte{b})
	}
	return out
}

// overHTTP makes a request for a key at a node: GET or PUT, which may be made again while there is no leader.
func overHTTP(t *testing.T, method string, n *selftest.Node, key, value string) (code int, body string) {
	t.Helper()
	until(t, fmt.Sprintf("%s to answer an HTTP %s of %s", n.Name, method, shown(key)), func() (bool, error) {
		req, err := http.NewRequestWithContext(deadline(t), method, "http://"+n.HTTP+"/v1/kv/"+url.PathEscape(key), strings.NewReader(value))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/octet-stream")
		req.Header.Set("Accept", "application/octet-stream")
		answer, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		b, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		code, body = answer.StatusCode, string(b)
		return code != http.StatusServiceUnavailable && code != http.StatusGatewayTimeout, fmt.Errorf("%d %s", code, body)
	})
	return code, body
}

// inURL tells whether the HTTP side takes a key in a path (docs/http.md).
func inURL(key string) bool { return key != "" && len(key) < 8<<10 }

// holds makes sure that a node answers every one of the keys with its value, over both
// protocols where they take the key, and knows no other keys.
func holds(t *testing.T, when string, n *selftest.Node, want map[string]string) {
	t.Helper()
	conn, err := selftest.Dial(deadline(t), n.Client)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	get := func(key string) (v resp.Value) {
		t.Helper()
		until(t, fmt.Sprintf("%s to answer GET %s", n.Name, shown(key)), func() (bool, error) {
			var err error
			v, _, err = conn.Do(attempt, "GET", key)
			return err == nil, err
		})
		return v
	}
	for key, value := range want {
		if v := get(key); v.Kind == resp.KindNull || v.Text() != value {
			t.Errorf("%s: GET %s at %s: %s; want %s", when, shown(key), n.Name, shown(v.Text()), shown(value))
		}
		if !inURL(key) {
			continue
		}
		if code, body := overHTTP(t, http.MethodGet, n, key, ""); code != http.StatusOK || body != value {
			t.Errorf("%s: HTTP GET %s at %s: %d %s, want %s", when, shown(key), n.Name, code, shown(body), shown(value))
		}
	}
	if v := get("missing"); v.Kind != resp.KindNull {
		t.Errorf("%s: GET of a key that is not there: %q", when, v.Text())
	}
	if code, _ := overHTTP(t, http.MethodGet, n, "missing", ""); code != http.StatusNotFound {
		t.Errorf("%s: HTTP GET of a key that is not there: %d", when, code)
	}
	if got := do(t, n, "DBSIZE"); got != fmt.Sprint(len(want)) {
		t.Errorf("%s: %s keys at %s, want %d", when, got, n.Name, len(want))
	}
}

// shown is the beginning of a text.
func shown(s string) string { return fmt.Sprintf("%.40q (%d bytes)", s, len(s)) }

// BI-11: keys and values are bytes, whatever these are: written over one protocol and
// read over both, at the leader and at a follower, after a restart that reads them
// from the log, after one that reads them from a snapshot, and by a node that
// fetched that. An empty value is not a missing one.
func TestBytesStayAsTheyAre(t *testing.T) {
	parallel(t)
	c := start(t, selftest.Options{YAML: "snapshot: {keep_entries: 1}\n"})
	lead, other := leader(t, c), follower(t, c)
	away := third(c, lead, other)
	away.Kill()
	want := awkward()
	half := false
	for key, value := range want {
		if half = !half; half || !inURL(key) {
			do(t, other, "SET", key, value)
		} else if code, body := overHTTP(t, http.MethodPut, lead, key, value); code != http.StatusOK {
			t.Fatalf("HTTP PUT %s: %d %s", shown(key), code, body)
		}
	}
	holds(t, "at the leader", lead, want)
	holds(t, "at a follower", other, want)
	again := func() {
		t.Helper()
		c.Close()
		for _, n := range []*selftest.Node{lead, other} {
			if err := n.Start(); err != nil {
				t.Fatal(err)
			}
		}
		ready(t, c)
	}
	again()
	holds(t, "from the log", lead, want)
	for _, n := range []*selftest.Node{lead, other} {
		s, err := n.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		do(t, n, "SAVE")
		compacted(t, n, s.LogFirstIndex)
	}
	again()
	holds(t, "from a snapshot", other, want)
	startOne(t, c, away)
	caughtUp(t, away, leader(t, c))
	fetched(t, away)
	holds(t, "fetched", away, want)
	sameState(t, c)
}
