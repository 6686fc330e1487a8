package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

type fake struct{ live, ready error }

func serve(t *testing.T, addr string, f *fake, debug bool) string {
	t.Helper()
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	reg := prometheus.NewRegistry()
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: "raftkv_test_total", Help: "For the test."})
	reg.MustRegister(c)
	c.Add(42)
	s := New(ln, Config{
		Live: func() error { return f.live }, Ready: func() error { return f.ready },
		Status:  func(context.Context) (any, error) { return map[string]any{"name": "n1", "role": "leader"}, nil },
		Metrics: reg, Debug: debug, Log: slog.New(slog.DiscardHandler),
		Trace: func() ([]byte, error) { return []byte("trace"), nil },
	})
	done := make(chan error, 1)
	go func() { done <- s.Serve() }() // owns the listener; ends with Shutdown below, which waits for it
	t.Cleanup(func() {
		if err := s.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return "http://" + ln.Addr().String()
}

func get(t *testing.T, method, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func TestProbesSayWhy(t *testing.T) {
	f := &fake{}
	base := serve(t, "127.0.0.1:0", f, false)
	for _, tc := range []struct {
		path        string
		live, ready error
		code        int
		want        string
	}{
		{"/livez", nil, errors.New("x"), 200, "ok"},
		{"/livez", errors.New("the loop stands still"), nil, 503, "the loop stands still"},
		{"/readyz", nil, nil, 200, "ok"},
		{"/readyz", nil, errors.New("no leader at present"), 503, "no leader at present"},
	} {
		f.live, f.ready = tc.live, tc.ready
		code, body := get(t, "GET", base+tc.path)
		if code != tc.code || !strings.Contains(body, tc.want) {
			t.Errorf("GET %s: %d %s, want %d with %q", tc.path, code, body, tc.code, tc.want)
		}
	}
}

func TestStatusAndMetrics(t *testing.T) {
	base := serve(t, "127.0.0.1:0", &fake{}, false)
	code, body := get(t, "GET", base+"/status")
	var s struct{ Name, Role string }
	if err := json.Unmarshal([]byte(body), &s); err != nil || code != 200 || s.Role != "leader" || s.Name != "n1" {
		t.Errorf("GET /status: %d %q, %v", code, body, err)
	}
	if code, body := get(t, "GET", base+"/metrics"); code != 200 || !strings.Contains(body, "raftkv_test_total 42") {
		t.Errorf("GET /metrics: %d %s", code, body)
	}
}

func TestErrorsAreJSON(t *testing.T) {
	base := serve(t, "127.0.0.1:0", &fake{}, false)
	for _, tc := range []struct {
		method, path string
		code         int
	}{{"GET", "/nope", 404}, {"POST", "/status", 405}, {"DELETE", "/livez", 405}} {
		code, body := get(t, tc.method, base+tc.path)
		var e struct{ Error string }
		if err := json.Unmarshal([]byte(body), &e); err != nil || code != tc.code || e.Error == "" {
			t.Errorf("%s %s: %d %q, want %d with an error in JSON (%v)", tc.method, tc.path, code, body, tc.code, err)
		}
	}
}

// Profiles show memory and stop the world: other machines don't get them unasked.
func TestDebugIsForLoopback(t *testing.T) {
	if code, _ := get(t, "GET", serve(t, "127.0.0.1:0", &fake{}, false)+"/debug/pprof/cmdline"); code != 200 {
		t.Errorf("on loopback: %d, want 200", code)
	}
	if code, body := get(t, "GET", serve(t, "127.0.0.1:0", &fake{}, false)+"/debug/trace"); code != 200 || body != "trace" {
		t.Errorf("the trace on loopback: %d %q", code, body)
	}
	public := func(debug bool) string {
		base := serve(t, "0.0.0.0:0", &fake{}, debug)
		return "http://127.0.0.1" + base[strings.LastIndex(base, ":"):]
	}
	if code, _ := get(t, "GET", public(false)+"/debug/pprof/cmdline"); code != 404 {
		t.Errorf("on all addresses: %d, want 404", code)
	}
	if code, _ := get(t, "GET", public(false)+"/debug/trace"); code != 404 {
		t.Errorf("the trace on all addresses: %d, want 404", code)
	}
	if code, _ := get(t, "GET", public(true)+"/debug/pprof/cmdline"); code != 200 {
		t.Errorf("on all addresses with debug: %d, want 200", code)
	}
}
