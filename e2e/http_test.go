package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/raftkv/raftkv/client"
	"github.com/raftkv/raftkv/internal/tcpproxy"
	"github.com/raftkv/raftkv/selftest"
)

// appender appends numbered tokens, each once, until the test stops it.
type appender struct {
	key    string
	append func(ctx context.Context, token string) error // until it is settled
	acked  atomic.Int64
	seen   atomic.Int64 // by the watch
}

func (a *appender) run(t *testing.T, stop <-chan struct{}) {
	for i := 1; ; i++ {
		select {
		case <-stop:
			return
		default:
		}
		if err := a.append(t.Context(), fmt.Sprintf("<%s.%d>", a.key, i)); err != nil {
			t.Errorf("%s: %v", a.key, err)
			return
		}
		a.acked.Add(1)
		// Each change carries the whole value: who appends faster than the watch takes
		// makes it slower and slower.
		err := selftest.Until(deadline(t), "the watch to follow "+a.key, func() (bool, error) {
			select {
			case <-stop:
				return true, nil
			default:
				return a.seen.Load() >= a.acked.Load()-20, nil
			}
		})
		if err != nil {
			t.Error(err)
			return
		}
	}
}

// httpAppender speaks HTTP by hand, as any program could: a session, ascending
// numbers, and each request again at another node until it is answered.
func httpAppender(key string, nodes []string) *appender {
	hc := &http.Client{Transport: &http.Transport{}, Timeout: 5 * time.Second}
	session, seq, at := int64(0), 0, rand.IntN(len(nodes))
	post := func(ctx context.Context, path, once, body string) (int, []byte, error) {
		at++
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+nodes[at%len(nodes)]+path, strings.NewReader(body))
		if err != nil {
			return 0, nil, err
		}
		r.Header.Set("Content-Type", "application/octet-stream")
		if once != "" {
			r.Header.Set("Idempotency-Key", once)
		}
		resp, err := hc.Do(r)
		if err != nil {
			return 0, nil, err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		return resp.StatusCode, b, err
	}
	settle := func(ctx context.Context, want int, path, once, body string) (b []byte, err error) {
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		var wrong error // an answer that no other try would better
		err = selftest.Until(ctx, fmt.Sprintf("%s %s to be settled", path, once), func() (bool, error) {
			var status int
			status, b, err = post(ctx, path, once, body)
			switch {
			case err != nil || status == want:
				return err == nil, err
			case status != 503 && status != 504 && status != 429:
				wrong = fmt.Errorf("%s %s: status %d: %s", path, once, status, b)
				return true, nil
			}
			return false, fmt.Errorf("status %d: %s", status, b)
		})
		return b, errors.Join(err, wrong)
	}
	return &appender{key: key, append: func(ctx context.Context, token string) error {
		if session == 0 {
			b, err := settle(ctx, 201, "/v1/sessions", "", "")
			if err != nil {
				return err
			}
			var doc struct{ Session int64 }
			if err := json.Unmarshal(b, &doc); err != nil || doc.Session == 0 {
				return fmt.Errorf("session: %s, %w", b, err)
			}
			session = doc.Session
		}
		seq++
		_, err := settle(ctx, 200, "/v1/kv/"+key+"/append", fmt.Sprintf("%d:%d", session, seq), token)
		return err
	}}
}

// CS-01, CS-02, over HTTP and with the Go client: answers are lost after the request
// was carried out, and leaders die. Each token is there once, and a watch through the
// same proxies sees each append, once and in order.
func TestOnceOverHTTPAndTheClient(t *testing.T) {
	parallel(t)
	c := start(t, selftest.Options{YAML: small})
	var on atomic.Bool
	proxies := map[string]*tcpproxy.Proxy{} // by the address behind it
	var over []string                       // HTTP, through proxies
	for _, n := range c.Nodes {
		for _, addr := range []string{n.Client, n.HTTP} {
			p, err := tcpproxy.New(c.Host+":0", addr)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(p.Close)
			p.Bite(func() bool { return on.Load() && rand.IntN(6) == 0 })
			proxies[addr] = p
		}
		over = append(over, proxies[n.HTTP].Addr())
	}
	kv, err := client.New(client.Config{
		Endpoints: c.Endpoints(), Timeout: time.Minute, AttemptTimeout: 5 * time.Second,
		Dial: func(ctx context.Context, addr string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", proxies[addr].Addr())
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer kv.Close()
	all := []*appender{
		httpAppender("tok-h1", over), httpAppender("tok-h2", over),
		{key: "tok-c", append: func(ctx context.Context, token string) error {
			_, err := kv.Append(ctx, "tok-c", []byte(token))
			return err
		}},
		{key: "tok-t", append: func(ctx context.Context, token string) error {
			_, err := kv.Txn().Append("tok-t", []byte(token)).Incr("count-t", 1).Commit(ctx)
			return err
		}},
	}
	stop := make(chan struct{})
	end := sync.OnceFunc(func() { close(stop) })
	var workers, watching sync.WaitGroup
	t.Cleanup(func() { end(); workers.Wait(); watching.Wait() }) // where it fails, too: a test that is over must not fail once more
	for _, a := range all {
		workers.Go(func() { a.run(t, stop) })
	}
	var seen map[string]string // values, as the watch saw them last
	whole, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	watching.Go(func() {
		seen = watchAppends(whole, t, kv, func(key string) {
			for _, a := range all {
				if a.key == key {
					a.seen.Add(1)
				}
			}
		})
	})

	// The watch has to keep up: a node that starts again has the changes since its
	// snapshot only, so none has old ones once all were started again.
	advance := func() {
		t.Helper()
		for _, a := range all {
			from := a.acked.Load()
			until(t, a.key+" to get on", func() (bool, error) { return a.acked.Load() >= from+5 && a.seen.Load() >= from, nil })
		}
	}
	lost := func() (n int) {
		for _, p := range proxies {
			n += p.Bitten()
		}
		return n
	}
	advance()
	on.Store(true)
	until(t, "an answer to be lost", func() (bool, error) { return lost() > 0, nil })
	advance()
	for range rounds(2, 6) {
		victim := leader(t, c)
		victim.Kill()
		advance()
		if err := victim.Start(); err != nil {
			t.Fatal(err)
		}
		advance()
	}
	on.Store(false)
	advance()
	end()
	workers.Wait()
	final, tokens := map[string]string{}, int64(0)
	for _, a := range all {
		value, err := kv.Get(t.Context(), a.key)
		if err != nil {
			t.Fatal(err)
		}
		final[a.key] = string(value)
		tokens += a.acked.Load()
		for i := int64(1); i <= a.acked.Load(); i++ {
			if n := strings.Count(string(value), fmt.Sprintf("<%s.%d>", a.key, i)); n != 1 {
				t.Errorf("token %d of %s is there %d times", i, a.key, n)
			}
		}
	}
	if n, err := kv.Incr(t.Context(), "count-t", 0); err != nil || n != all[3].acked.Load() {
		t.Errorf("%d transactions are counted, %d were acknowledged (%v)", n, all[3].acked.Load(), err)
	}
	if err := kv.Put(t.Context(), "tok-end", nil); err != nil {
		t.Fatal(err)
	}
	watching.Wait()
	for key, value := range final {
		if seen[key] != value {
			t.Errorf("the watch saw %d bytes of %s, there are %d", len(seen[key]), key, len(value))
		}
	}
	t.Logf("%d tokens, %d answers were lost", tokens, lost())
	sameState(t, c)
}

// watchAppends follows all tokens from the first entry on: each change must add one
// token to what was there before, and is told. It ends with the key tok-end.
func watchAppends(ctx context.Context, t *testing.T, kv *client.Client, tell func(key string)) map[string]string {
	seen := map[string]string{}
	for ch, err := range kv.Watch(ctx, client.WatchOptions{Prefix: "tok-", From: 1}) {
		if err != nil {
			t.Errorf("watch: %v", err)
			break
		}
		if ch.Key == "tok-end" {
			break
		}
		added, ok := strings.CutPrefix(string(ch.Value), seen[ch.Key])
		if !ok || strings.Count(added, "<") != 1 {
			t.Errorf("%s at %s: %q came behind %d bytes", ch.Key, ch.Place, added, len(seen[ch.Key]))
			break
		}
		seen[ch.Key] = string(ch.Value)
		tell(ch.Key)
	}
	return seen
}

// overHTTPS checks that the HTTP side lets in whom the other one does: users and TLS are
// the same. al may read k, and nothing else.
func overHTTPS(t *testing.T, c *selftest.Cluster, pool *x509.CertPool, dial func(user, password string) *client.Client) {
	t.Helper()
	hc := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}, Timeout: attempt}
	defer hc.CloseIdleConnections()
	for _, n := range c.Nodes {
		for _, tc := range []struct {
			method, scheme, user, password string
			want                           int
		}{
			{"GET", "https", "al", "al-secret", 200},
			{"GET", "https", "al", "wrong", 401},
			{"GET", "https", "", "", 401},
			{"PUT", "https", "al", "al-secret", 403},
			{"GET", "http", "al", "al-secret", 400}, // net/http says so itself, in clear text
		} {
			var resp *http.Response
			var b []byte
			until(t, n.Name+" to answer over HTTPS", func() (bool, error) {
				r, err := http.NewRequest(tc.method, tc.scheme+"://"+n.HTTP+"/v1/kv/k", strings.NewReader(""))
				if err != nil {
					t.Fatal(err)
				}
				if tc.user != "" {
					r.SetBasicAuth(tc.user, tc.password)
				}
				if resp, err = hc.Do(r); err != nil {
					t.Fatalf("%v at %s: %v", tc, n.Name, err)
				}
				defer resp.Body.Close()
				b, err = io.ReadAll(resp.Body)
				return resp.StatusCode != http.StatusServiceUnavailable, err // no leader just now
			})
			if resp.StatusCode != tc.want || tc.want == 200 && string(b) != "v" {
				t.Errorf("%v at %s: %d %s", tc, n.Name, resp.StatusCode, b)
			}
		}
	}
	full := dial("", "door-secret")
	if res, err := full.Txn().Incr("https", 5).Get("https").Commit(t.Context()); err != nil || string(res[1].Value) != "5" {
		t.Errorf("a transaction: %+v, %v", res, err)
	}
	for ch, err := range full.Watch(deadline(t), client.WatchOptions{Prefix: "https", From: 1}) {
		if err != nil || string(ch.Value) != "5" {
			t.Errorf("a watch: %+v, %v", ch, err)
		}
		break
	}
	if _, err := dial("al", "al-secret").Txn().Incr("https", 5).Commit(t.Context()); !errors.Is(err, client.ErrNotApplied) {
		t.Errorf("al's transaction: %v", err)
	}
}
