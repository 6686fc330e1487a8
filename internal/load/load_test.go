package load

import (
	"bufio"
	"context"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/raftkv/raftkv/resp"
)

// server answers requests of the Redis protocol and counts what it said.
type server struct {
	ln                     net.Listener
	ok, refused, swallowed atomic.Uint64
	readonly               atomic.Uint64
}

// serve answers until answer says to end the connection.
func serve(t *testing.T, answer func(s *server, n uint64, args [][]byte) (reply string, end bool)) *server {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	s := &server{ln: ln}
	var n atomic.Uint64
	go func() { // ends with the listener
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { // ends with the connection
				defer nc.Close()
				in, out := resp.NewReader(nc, resp.Limits{}), bufio.NewWriter(nc)
				for in.Fill() == nil {
					for {
						args, more, err := in.Next()
						if err != nil || !more {
							break
						}
						reply, end := answer(s, n.Add(1), args)
						if end {
							return
						}
						_, _ = io.WriteString(out, reply)
					}
					out.Flush()
				}
			}()
		}
	}()
	return s
}

func config(s *server) Config {
	return Config{
		Endpoints: []string{s.ln.Addr().String()}, Clients: 4, Pipeline: 3, Keys: 100, Value: 16, Reads: 50,
		Duration: 150 * time.Millisecond, Timeout: 10 * time.Second, Seed: 1,
		Dial: func(ctx context.Context, endpoint string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", endpoint)
		},
	}
}

// What a server said is what is counted, each kind for itself. Only what was
// under way at the end may be missing.
func TestEveryAnswerIsCounted(t *testing.T) {
	s := serve(t, func(s *server, n uint64, args [][]byte) (string, bool) {
		switch {
		case string(args[0]) == "READONLY": // a client that is refused that comes again
			s.readonly.Add(1)
			return "+OK\r\n", false
		case n%5 == 0:
			s.refused.Add(1)
			return "-BUSY try later\r\n", false
		case string(args[0]) == "GET":
			s.ok.Add(1)
			return "$-1\r\n", false
		}
		if len(args) != 3 || len(args[2]) != 16 || !strings.HasPrefix(string(args[1]), "key:") {
			t.Errorf("request %q", args)
		}
		s.ok.Add(1)
		return "+OK\r\n", false
	})
	c := config(s)
	c.Stale, c.Duration = true, time.Second // each kind of answer comes within it on any machine
	r, err := Run(t.Context(), c, nil)
	if err != nil {
		t.Fatal(err)
	}
	all := r.Total()
	inFlight := uint64(c.Clients * c.Pipeline)
	near := func(what string, got, said uint64) {
		if got == 0 || got > said || got+inFlight < said {
			t.Errorf("%s: %d counted, the server said it %d times", what, got, said)
		}
	}
	near("answers", all.OK, s.ok.Load())
	near("refusals", all.Refused["BUSY"], s.refused.Load())
	if get := &r.Counts[Get]; get.OK == 0 || get.Missing != get.OK || r.Counts[Set].Missing != 0 {
		t.Errorf("GETs %d, missing %d, of SETs %d", get.OK, get.Missing, r.Counts[Set].Missing)
	}
	if all.Unknown+all.Unread+r.Reconnects != 0 || all.Latency.n != all.OK {
		t.Errorf("unknown %d, unread %d, reconnects %d, latencies %d of %d", all.Unknown, all.Unread, r.Reconnects, all.Latency.n, all.OK)
	}
	if s.readonly.Load() == 0 || !slices.Equal(all.Words(), []string{"BUSY"}) {
		t.Errorf("READONLY %d times, words %v", s.readonly.Load(), all.Words())
	}
}

// A SET that was sent and not answered may have taken effect: it is neither
// done nor refused. The client goes on with a new connection.
func TestLostConnectionsAreUnknown(t *testing.T) {
	s := serve(t, func(s *server, n uint64, _ [][]byte) (string, bool) {
		if n%50 == 0 {
			s.swallowed.Add(1)
			return "", true
		}
		s.ok.Add(1)
		return "+OK\r\n", false
	})
	c := config(s)
	c.Reads, c.Pipeline = 0, 1
	r, err := Run(t.Context(), c, nil)
	if err != nil {
		t.Fatal(err)
	}
	all := r.Total()
	if n := s.swallowed.Load(); all.Unknown == 0 || all.Unknown > n || all.Unknown+uint64(c.Clients) < n || r.Reconnects < all.Unknown || r.FirstError == "" {
		t.Errorf("%d unknown, %d reconnects (%q), the server closed %d", all.Unknown, r.Reconnects, r.FirstError, n)
	}
	if all.OK == 0 || all.Errors() != all.Unknown {
		t.Errorf("%d done, %d errors, %d unknown", all.OK, all.Errors(), all.Unknown)
	}
}

// A server that doesn't answer does not keep a run from being broken off.
func TestBreakingOff(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := serve(t, func(_ *server, n uint64, _ [][]byte) (string, bool) {
		if n >= 10 {
			cancel()
			return "", false
		}
		return "+OK\r\n", false
	})
	c := config(s)
	c.Duration, c.Timeout = time.Hour, time.Hour
	r, err := Run(ctx, c, nil)
	if err != nil {
		t.Fatal(err)
	}
	if n := r.Total().Errors(); n != 0 {
		t.Errorf("%d errors of a run that was broken off", n)
	}
}

func TestNobodyThere(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	c := config(&server{ln: ln})
	if _, err := Run(t.Context(), c, nil); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("error %v, want that nobody is there", err)
	}
}

func TestCheckNamesEveryFault(t *testing.T) {
	err := (&Config{Reads: 101, Value: -1, Warm: -1}).Check()
	for _, want := range []string{"endpoints", "clients", "pipeline", "keys", "value", "reads", "duration", "warm-up", "timeout"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name %s", err, want)
		}
	}
}

// A quantile is never too short, and at most one part in 32 too long.
func TestQuantiles(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var parts [3]Histogram
	var all []time.Duration
	for i := range 20_000 {
		d := time.Duration(1) << r.IntN(39)
		d += time.Duration(r.Int64N(int64(d)))
		if i < 100 {
			d = time.Duration(i)
		}
		parts[i%len(parts)].Record(d)
		all = append(all, d)
	}
	var h Histogram
	for i := range parts {
		h.Add(&parts[i])
	}
	slices.Sort(all)
	for _, q := range []float64{0, 0.001, 0.25, 0.5, 0.9, 0.99, 0.999, 1} {
		exact := all[max(0, int(q*float64(len(all)))-1)]
		if got := h.Quantile(q); got < exact || got > exact+exact/32 {
			t.Errorf("quantile %g: %v, exactly %v", q, got, exact)
		}
	}
	if h.Max() != all[len(all)-1] || h.Mean() <= 0 {
		t.Errorf("max %v, want %v; mean %v", h.Max(), all[len(all)-1], h.Mean())
	}
	var long Histogram
	long.Record(1 << 62)
	if long.Quantile(0.5) == 0 || long.Max() != 1<<62 || (&Histogram{}).Quantile(0.5) != 0 {
		t.Errorf("beyond the last bucket: %v, max %v", long.Quantile(0.5), long.Max())
	}
}
