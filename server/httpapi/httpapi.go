package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Config is what the HTTP side shows, and how.
type Config struct {
	// Live tells why the node is beyond help (its loop stands still), or nil.
	Live func() error
	// Ready tells why it can't serve linearizable reads at present, or nil.
	Ready func() error
	// Status is turned into JSON as it is.
	Status func(context.Context) (any, error)
	// Metrics are served on /metrics.
	Metrics prometheus.Gatherer
	// Trace is what the flight recorder knows, for /debug/trace.
	Trace func() ([]byte, error)
	// Debug serves /debug even where other machines reach this port.
	Debug bool
	// Connections is how many there may be at a time; one more is closed. Default 10,000.
	Connections int
	Log         *slog.Logger
}

// Limits on whoever connects.
const (
	headerTimeout  = 5 * time.Second
	requestTimeout = 10 * time.Second
	writeTimeout   = 90 * time.Second // a CPU profile takes 30 s by default
	idleTimeout    = 2 * time.Minute
	headerBytes    = 16 << 10
	bodyBytes      = 64 << 10
)

// Server answers on one listener.
type Server struct {
	http http.Server
	ln   net.Listener
	api  atomic.Pointer[api] // nil until Attach
	open atomic.Int64        // connections
	stop chan struct{}       // closed when nobody waits for answers any more
}

// New makes a server for ln, which it owns from now on. Call Serve.
func New(ln net.Listener, cfg Config) *Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", probe(cfg.Live))
	mux.HandleFunc("GET /readyz", probe(cfg.Ready))
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, r *http.Request) {
		s, err := cfg.Status(r.Context())
		if err != nil {
			fail(w, http.StatusServiceUnavailable, err.Error())
			return
		}
		reply(w, http.StatusOK, s)
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(cfg.Metrics, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(cfg.Log.Handler(), slog.LevelWarn), MaxRequestsInFlight: 4, Timeout: requestTimeout,
	}))
	if cfg.Debug || loopback(ln.Addr()) {
		mux.HandleFunc("GET /debug/trace", func(w http.ResponseWriter, _ *http.Request) {
			b, err := cfg.Trace()
			if err != nil {
				fail(w, http.StatusServiceUnavailable, err.Error())
				return
			}
			w.Header().Set("Content-Type", "application/octet-stream")
			w.Header().Set("Content-Disposition", `attachment; filename="raftkv.rkvtrace"`)
			w.Header().Set("Cache-Control", "no-store")
			_, _ = w.Write(b) // the client may be gone; nobody is left to tell
		})
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusOK, map[string]any{"service": "raftkv", "paths": []string{"/livez", "/readyz", "/status", "/metrics", "/v1/openapi.json"}})
	})
	s := &Server{ln: ln, stop: make(chan struct{})}
	rest := errorsAsJSON(mux)
	s.http = http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !strings.HasPrefix(r.URL.Path, "/v1/") {
				rest.ServeHTTP(w, r)
				return
			}
			if a := s.api.Load(); a != nil {
				a.serveV1(w, r)
				return
			}
			w.Header().Set("Retry-After", "1")
			w.Header().Set(headerOutcome, outcomeNotApplied)
			reply(w, http.StatusServiceUnavailable, errorDoc{Error: "the node is still starting; /readyz says what it waits for", Code: "not_ready", Outcome: outcomeNotApplied})
		}),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       requestTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    headerBytes,
		ErrorLog:          slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug),
	}
	most := int64(cfg.Connections)
	def(&most, 10_000)
	s.http.ConnState = func(c net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			if s.open.Add(1) > most {
				c.Close() // it is counted until the server has noticed
			}
		case http.StateClosed, http.StateHijacked:
			s.open.Add(-1)
		}
	}
	return s
}

// Attach gives /v1 its node. Until then it answers 503.
func (s *Server) Attach(a API) { s.api.Store(newAPI(a, s.stop)) }

// Serve answers until Close. It returns nil after Close.
func (s *Server) Serve() error {
	if err := s.http.Serve(s.ln); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve HTTP on %v: %w", s.ln.Addr(), err)
	}
	return nil
}

// Addr is where the server listens.
func (s *Server) Addr() net.Addr { return s.ln.Addr() }

// Shutdown lets requests under way finish until ctx ends, then closes them. Close
// the feed first, which ends the watches. It is called once.
func (s *Server) Shutdown(ctx context.Context) error {
	defer close(s.stop)
	if err := s.http.Shutdown(ctx); err != nil {
		return s.http.Close()
	}
	return nil
}

// loopback tells whether only this machine reaches addr.
func loopback(addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

func probe(check func() error) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if err := check(); err != nil {
			fail(w, http.StatusServiceUnavailable, err.Error())
			return
		}
		reply(w, http.StatusOK, map[string]string{"status": "ok"})
	}
}

func fail(w http.ResponseWriter, code int, text string) {
	reply(w, code, map[string]string{"error": text})
}

func reply(w http.ResponseWriter, code int, v any) {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		code, b = http.StatusInternalServerError, []byte(`{"error": "answer can't be encoded"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_, _ = w.Write(append(b, '\n')) // the client may be gone; nobody is left to tell
}

// errorsAsJSON gives the mux's own answers (404, 405) the form of all others,
// and bounds bodies, which nobody here reads.
func errorsAsJSON(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, bodyBytes)
		if _, pattern := mux.Handler(r); pattern == "" {
			rec := &status{header: http.Header{}}
			mux.ServeHTTP(rec, r)
			for k, v := range rec.header {
				if k != "Content-Type" {
					w.Header()[k] = v
				}
			}
			if rec.code == 0 || rec.code >= 400 {
				fail(w, max(rec.code, 404), fmt.Sprintf("%s %s: %s", r.Method, r.URL.Path, http.StatusText(max(rec.code, 404))))
				return
			}
			w.WriteHeader(rec.code)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// status keeps what the mux would answer, without its body.
type status struct {
	header http.Header
	code   int
}

func (s *status) Header() http.Header         { return s.header }
func (s *status) WriteHeader(code int)        { s.code = code }
func (s *status) Write(b []byte) (int, error) { return len(b), nil }
