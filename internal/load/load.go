// Package load drives a server of the Redis protocol with a closed loop of
// clients and says how quick it was, and what went wrong.
//
// Each client has one connection and sends its next requests when the last ones are
// answered. So a server that stands still is asked nothing meanwhile, and what its
// latency would have been to others does not show: compare latencies at equal rates.
//
// Read Config first, then Run.
package load

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"
)

// Config is one run. Check tells what is wrong with it.
type Config struct {
	Endpoints []string // host:port; clients are spread over them
	// Dial connects a client. The connection is ready for commands: whoever has to
	// authenticate did so.
	Dial func(ctx context.Context, endpoint string) (net.Conn, error)

	Clients  int // connections
	Pipeline int // requests that each sends at once
	Keys     int // so many different keys, each with the same chance
	Value    int // bytes of a value
	Reads    int // percent of GETs; the rest are SETs
	// Stale sends READONLY first: reads may be old and are served by every node.
	Stale bool

	Warm     time.Duration // not measured, before
	Duration time.Duration // measured
	Timeout  time.Duration // of one answer; then the connection is given up
	Seed     uint64        // of keys and kinds
}

// Bounds of a Config.
const (
	MaxClients  = 100_000
	MaxPipeline = 100_000
	MaxValue    = 512 << 20
)

// Check reports every field that is out of bounds.
func (c *Config) Check() error {
	var errs []error
	check := func(ok bool, what string) {
		if !ok {
			errs = append(errs, errors.New(what))
		}
	}
	check(len(c.Endpoints) > 0, "no endpoints")
	check(c.Clients >= 1 && c.Clients <= MaxClients, "clients not in 1..100000")
	check(c.Pipeline >= 1 && c.Pipeline <= MaxPipeline, "pipeline not in 1..100000")
	check(c.Keys >= 1, "keys below 1")
	check(c.Value >= 0 && c.Value <= MaxValue, "value not in 0..512 MiB")
	check(c.Reads >= 0 && c.Reads <= 100, "reads not in 0..100")
	check(c.Duration > 0, "duration not above zero")
	check(c.Warm >= 0, "warm-up below zero")
	check(c.Timeout > 0, "timeout not above zero")
	return errors.Join(errs...)
}

// Kind is what a request does.
type Kind int

// The kinds of requests.
const (
	Set Kind = iota
	Get
	kinds
)

func (k Kind) String() string { return [...]string{"SET", "GET"}[k] }

// Count is what became of the requests of one kind.
type Count struct {
	OK      uint64            // answered, and not by an error; their latencies are in Latency
	Missing uint64            // of those, GETs that found no key
	Refused map[string]uint64 // error replies by their first word: surely not done, unless that says otherwise
	// Unknown counts SETs that were sent and not answered: nobody can tell whether
	// they took effect. Unread are the same of GETs.
	Unknown uint64
	Unread  uint64
	Latency Histogram
}

// Errors is how many requests were not answered as asked.
func (c *Count) Errors() uint64 {
	n := c.Unknown + c.Unread
	for _, r := range c.Refused {
		n += r
	}
	return n
}

func (c *Count) add(o *Count) {
	c.OK += o.OK
	c.Missing += o.Missing
	c.Unknown += o.Unknown
	c.Unread += o.Unread
	for word, n := range o.Refused {
		if c.Refused == nil {
			c.Refused = map[string]uint64{}
		}
		c.Refused[word] += n
	}
	c.Latency.Add(&o.Latency)
}

// Result is what a run measured.
type Result struct {
	Elapsed time.Duration
	Counts  [kinds]Count
	// Reconnects counts connections that were lost or could not be made; FirstError says why the first was.
	Reconnects uint64
	FirstError string
}

// Total sums the kinds.
func (r *Result) Total() *Count {
	var c Count
	for k := range r.Counts {
		c.add(&r.Counts[k])
	}
	return &c
}

// Run drives the load until its time is over or ctx ends, and returns what it
// measured until then. tell, if not nil, is called a few times a second with what was
// done so far, from one goroutine. Errors of single requests and connections are
// in the Result; Run itself fails if the Config is wrong or no client ever connected.
func Run(ctx context.Context, c Config, tell func(elapsed time.Duration, ok, errs uint64)) (*Result, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	clients := make([]*client, c.Clients)
	var all sync.WaitGroup
	value := randomBytes(c.Seed, c.Value+valueSpread)
	from := time.Now().Add(c.Warm)
	to := from.Add(c.Duration)
	for i := range clients {
		k := &client{
			cfg: &c, endpoint: c.Endpoints[i%len(c.Endpoints)], values: value,
			rand: rand.New(rand.NewPCG(c.Seed, uint64(i))), from: from, to: to,
		}
		clients[i] = k
		all.Add(1)
		// Owns its connection. Ends with the time or the context; waited for below.
		go func() { defer all.Done(); k.run(ctx) }()
	}
	ended := make(chan struct{})
	// Turns the end of the clients into a channel; ends with them.
	go func() { all.Wait(); close(ended) }()
	tick := time.NewTicker(tellEvery)
	defer tick.Stop()
	for running := true; running; {
		select {
		case <-ended:
			running = false
		case now := <-tick.C:
			if tell == nil || now.Before(from) {
				continue
			}
			var ok, errs uint64
			for _, k := range clients {
				ok += k.okSoFar.Load()
				errs += k.errsSoFar.Load()
			}
			tell(now.Sub(from), ok, errs)
		}
	}
	r := &Result{Elapsed: min(time.Since(from), c.Duration)}
	connected := false
	for _, k := range clients {
		for kind := range k.counts {
			r.Counts[kind].add(&k.counts[kind])
		}
		r.Reconnects += k.reconnects
		if r.FirstError == "" && k.firstError != nil {
			r.FirstError = k.firstError.Error()
		}
		connected = connected || k.connected
	}
	if !connected {
		return nil, errors.New("no client could connect: " + r.FirstError)
	}
	return r, nil
}

// tellEvery is the pause between two calls of tell.
const tellEvery = 200 * time.Millisecond

// valueSpread is how much longer than a value the bytes are that values are cut
// out of: so that a batch of them can't be compressed to one.
const valueSpread = 1 << 20

func randomBytes(seed uint64, n int) []byte {
	b := make([]byte, n)
	var key [32]byte
	key[0] = byte(seed)
	_, _ = rand.NewChaCha8(key).Read(b) // never fails
	return b
}

// Words lists the kinds of refusals, the commonest first.
func (c *Count) Words() []string {
	var words []string
	for w := range c.Refused {
		words = append(words, w)
	}
	slices.SortFunc(words, func(a, b string) int {
		if c.Refused[a] != c.Refused[b] {
			return int(int64(c.Refused[b]) - int64(c.Refused[a]))
		}
		return slices.Compare([]byte(a), []byte(b))
	})
	return words
}
