package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/raftkv/raftkv/resp"
)

// DefaultEndpoints are those of the cluster that "raftkv dev" makes, then the
// default port of a node on this machine.
func DefaultEndpoints() []string {
	return []string{"127.0.0.1:5001", "127.0.0.1:5002", "127.0.0.1:5003", "127.0.0.1:6479"}
}

// Config says where the cluster is. A zero field stands for its default.
type Config struct {
	// Endpoints are host:port of nodes, in the order of preference. One that can be
	// reached suffices; under redis.follower: moved only the leader takes requests, so
	// that all nodes should be here. Default: DefaultEndpoints.
	Endpoints []string
	// Timeout bounds a call whose context has no deadline, retries included. Default 10 s.
	Timeout time.Duration
	// AttemptTimeout is how long one node may be silent before another is asked. It
	// should be above the server's limits.request_timeout: a node that sees no leader
	// takes so long to say so. Default 6 s.
	AttemptTimeout time.Duration
	// DialTimeout bounds connecting to one node. Default 1 s.
	DialTimeout time.Duration
	// StatusTimeout is how long Status waits for one node, which answers from memory:
	// short, so that one that hangs does not make the others' rows old. Default 2 s.
	StatusTimeout time.Duration
	// Sessions is how many writes may be under way at once; more wait. Default 64.
	Sessions int
	// BackoffMin and BackoffMax bound the pause before a retry, which doubles and is
	// drawn at random below that. Defaults 10 ms and 500 ms.
	BackoffMin, BackoffMax time.Duration
	// User and Password are told to each node. An empty User with a Password is
	// "default"; without both nothing is told.
	User, Password string
	// TLS, if set, encrypts connections. An empty ServerName is the endpoint's host.
	TLS *tls.Config
	// Dial connects to an endpoint. Default: TCP. TLS comes on top of it.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
}

func (c Config) withDefaults() Config {
	def := func(v *time.Duration, d time.Duration) {
		if *v <= 0 {
			*v = d
		}
	}
	if len(c.Endpoints) == 0 {
		c.Endpoints = DefaultEndpoints()
	}
	def(&c.Timeout, 10*time.Second)
	def(&c.AttemptTimeout, 6*time.Second)
	def(&c.DialTimeout, time.Second)
	def(&c.StatusTimeout, 2*time.Second)
	def(&c.BackoffMin, 10*time.Millisecond)
	def(&c.BackoffMax, 500*time.Millisecond)
	if c.Sessions <= 0 {
		c.Sessions = 64
	}
	if c.Dial == nil {
		c.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", addr)
		}
	}
	return c
}

// Client talks to one cluster. Its methods may be called from any goroutine. Each
// ends with its context; without a deadline there, with Config.Timeout.
type Client struct {
	cfg Config

	ctx    context.Context // ends with Close
	cancel context.CancelCauseFunc
	all    sync.WaitGroup // goroutines of links

	dialing chan struct{} // capacity 1: one caller at a time dials
	places  chan struct{} // capacity Sessions: held while a session is in use

	mu      sync.Mutex
	link    *link
	at      int    // endpoint to try next
	cluster string // UUID of the cluster that was found first
	idle    []*session
	closed  bool

	http httpSide
}

// New makes a Client. It connects with the first call.
func New(cfg Config) (*Client, error) {
	cfg = cfg.withDefaults()
	for _, e := range cfg.Endpoints {
		_, port, err := net.SplitHostPort(e)
		if n := 0; err == nil {
			if n, err = net.LookupPort("tcp", port); err == nil && n == 0 {
				err = fmt.Errorf("port %q", port)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("endpoint %q is not host:port: %w", e, err)
		}
	}
	c := &Client{cfg: cfg, dialing: make(chan struct{}, 1), places: make(chan struct{}, cfg.Sessions)}
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	c.initHTTP()
	return c, nil
}

// closeTimeout bounds the farewell to the server.
const closeTimeout = 500 * time.Millisecond

// Close closes the sessions that are idle, ends all calls with ErrClosed and waits
// for the goroutines of the client. Wait for your writes first: one that is under
// way ends as unknown.
func (c *Client) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	idle, l := c.idle, c.link
	c.idle = nil
	c.mu.Unlock()
	if l != nil {
		// A session that stays open costs the server memory until it expires.
		ctx, cancel := context.WithTimeout(c.ctx, closeTimeout)
		var wait sync.WaitGroup
		for _, s := range idle {
			if s.id != 0 {
				wait.Go(func() { l.do(ctx, s.request("SESSION", "CLOSE"), closeTimeout) })
			}
		}
		wait.Wait()
		cancel()
	}
	c.cancel(ErrClosed)
	c.mu.Lock()
	if c.link != nil {
		c.link.fail(ErrClosed)
	}
	c.mu.Unlock()
	c.dialing <- struct{}{} // nobody dials any more
	c.mu.Lock()
	if c.link != nil {
		c.link.fail(ErrClosed)
	}
	c.mu.Unlock()
	<-c.dialing
	c.all.Wait()
	c.http.client.CloseIdleConnections()
	return nil
}

// bound gives a call its deadline and ties it to the client's life.
func (c *Client) bound(ctx context.Context) (context.Context, func()) {
	cancelTime := func() {}
	if _, ok := ctx.Deadline(); !ok {
		ctx, cancelTime = context.WithTimeout(ctx, c.cfg.Timeout)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(c.ctx, func() { cancel(ErrClosed) })
	return ctx, func() { stop(); cancel(nil); cancelTime() }
}

// attempt sends a request once. sent: it may have reached a server.
func (c *Client) attempt(ctx context.Context, req []byte) (v resp.Value, sent bool, l *link, err error) {
	if l, err = c.connect(ctx); err != nil {
		return v, false, nil, err
	}
	v, sent, err = l.do(ctx, req, c.cfg.AttemptTimeout)
	return v, sent, l, err
}

// connect returns the link, or makes one to the next endpoint that serves.
func (c *Client) connect(ctx context.Context) (*link, error) {
	if l := c.current(); l != nil {
		return l, nil
	}
	select {
	case c.dialing <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { <-c.dialing }()
	if l := c.current(); l != nil {
		return l, nil
	}
	var errs []error
	for range c.cfg.Endpoints {
		c.mu.Lock()
		endpoint := c.cfg.Endpoints[c.at%len(c.cfg.Endpoints)]
		c.mu.Unlock()
		l, err := c.dial(ctx, endpoint)
		if err == nil {
			c.mu.Lock()
			c.link = l
			c.mu.Unlock()
			return l, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if isDenied(err) {
			return nil, err // the other nodes know the same users, and a wrong password should not be tried often
		}
		errs = append(errs, err)
		c.mu.Lock()
		c.at++
		c.mu.Unlock()
	}
	return nil, &unreachableError{errs}
}

// unreachableError means that no endpoint serves.
type unreachableError struct{ errs []error }

func (e *unreachableError) Error() string {
	text := "no node can be reached"
	for _, err := range e.errs {
		text += "; " + err.Error()
	}
	return text
}

func (e *unreachableError) Unwrap() []error { return e.errs }

func (c *Client) current() *link {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.link != nil && c.link.failed() {
		c.link = nil
		c.at++
	}
	return c.link
}

// dial connects to one endpoint and makes sure that it belongs to the cluster that
// this client has talked to: a session of one cluster must never meet another.
func (c *Client) dial(ctx context.Context, endpoint string) (*link, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.cfg.DialTimeout, fmt.Errorf("no answer from %s within %v", endpoint, c.cfg.DialTimeout))
	defer cancel()
	l, err := c.greet(ctx, endpoint)
	if err != nil {
		return nil, err
	}
	v, _, err := l.do(ctx, resp.AppendRequest(nil, "RAFT", "ID"), c.cfg.DialTimeout)
	cluster := v.Text()
	switch {
	case err != nil:
	case v.Kind == resp.KindError:
		err = fmt.Errorf("%s: %w", endpoint, &ReplyError{cluster})
	case v.Kind != resp.KindBulk:
		err = fmt.Errorf("%s is not a raftkv node", endpoint)
	case cluster == "":
		err = fmt.Errorf("%s is not part of a cluster yet", endpoint)
	default:
		c.mu.Lock()
		if c.cluster == "" {
			c.cluster = cluster
		}
		if c.cluster != cluster {
			err = fmt.Errorf("%s belongs to another cluster (%s, not %s)", endpoint, cluster, c.cluster)
		}
		c.mu.Unlock()
	}
	if err != nil {
		l.fail(err)
		return nil, err
	}
	return l, nil
}

// greet connects to one endpoint, and tells user and password if there are any.
func (c *Client) greet(ctx context.Context, endpoint string) (*link, error) {
	nc, err := c.cfg.Dial(ctx, endpoint)
	if err != nil {
		return nil, err
	}
	if c.cfg.TLS != nil {
		t := c.cfg.TLS
		if t.ServerName == "" {
			t = t.Clone()
			t.ServerName, _, _ = net.SplitHostPort(endpoint)
		}
		secure := tls.Client(nc, t)
		if err := secure.HandshakeContext(ctx); err != nil {
			nc.Close()
			return nil, fmt.Errorf("TLS with %s: %w", endpoint, err)
		}
		nc = secure
	}
	l, err := c.open(nc, endpoint)
	if err != nil || c.cfg.User == "" && c.cfg.Password == "" {
		return l, err
	}
	user := c.cfg.User
	if user == "" {
		user = "default"
	}
	v, _, err := l.do(ctx, resp.AppendRequest(nil, "AUTH", user, c.cfg.Password), c.cfg.DialTimeout)
	if err == nil && v.Kind == resp.KindError {
		err = fmt.Errorf("%s: %w", endpoint, &ReplyError{v.Text()})
	}
	if err != nil {
		l.fail(err)
		return nil, err
	}
	return l, nil
}

// open makes a link of a connection, unless the client is closed: its goroutines
// are then no more waited for.
func (c *Client) open(nc net.Conn, endpoint string) (*link, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		nc.Close()
		return nil, ErrClosed
	}
	return newLink(nc, endpoint, &c.all), nil
}

// leave makes the next attempt go to another endpoint.
func (c *Client) leave(l *link) {
	c.mu.Lock()
	if l == nil || c.link != l {
		c.mu.Unlock()
		return
	}
	c.link = nil
	c.at++
	c.mu.Unlock()
	l.retire()
}

// retries says when to try again. One belongs to one call.
type retries struct {
	c       *Client
	most    time.Duration // of the next pause
	started time.Time     // of the attempt under way
	longest time.Duration // of the attempts so far
}

func (c *Client) retry() *retries {
	return &retries{c: c, most: min(c.cfg.BackoffMin, c.cfg.BackoffMax), started: time.Now()}
}

// again waits before the next try, at random up to a bound that doubles. It tells
// whether there is one. settled: nothing of what was tried may still take effect.
// Then a try that would end in the middle, and leave its outcome unknown, is not begun.
func (r *retries) again(ctx context.Context, settled bool) bool {
	r.longest = max(r.longest, time.Since(r.started))
	pause := rand.N(r.most) + 1
	if most := r.c.cfg.BackoffMax; r.most < most/2 {
		r.most *= 2
	} else {
		r.most = most
	}
	if deadline, ok := ctx.Deadline(); ok {
		left := time.Until(deadline)
		if settled && pause+r.longest >= left {
			return false
		}
		pause = min(pause, left/2)
	}
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
	r.started = time.Now()
	return ctx.Err() == nil
}

// read sends a request that changes nothing until it is answered.
func (c *Client) read(ctx context.Context, op string, req []byte) (resp.Value, error) {
	return c.readWith(ctx, op, func(ctx context.Context) (resp.Value, *link, error) {
		v, _, l, err := c.ask(ctx, req)
		return v, l, err
	})
}

// readWith sends what changes nothing until it is answered. An error reply is an error of send.
func (c *Client) readWith(ctx context.Context, op string, send func(context.Context) (resp.Value, *link, error)) (resp.Value, error) {
	ctx, done := c.bound(ctx)
	defer done()
	var last error
	tries := c.retry()
	for {
		v, l, err := send(ctx)
		if err == nil {
			return v, nil
		}
		var e *ReplyError
		if isDenied(err) {
			return v, fmt.Errorf("%s: %w", op, err)
		}
		if errors.As(err, &e) {
			switch judge(e) {
			case elsewhere:
				c.leave(l)
			case again, unclear:
			default:
				return v, fmt.Errorf("%s: %w", op, e)
			}
		}
		if ctx.Err() != nil {
			return v, ended(ctx, op, ErrNotApplied, last, err).ofRead()
		}
		last = err
		if !tries.again(ctx, true) {
			return v, ended(ctx, op, ErrNotApplied, last, nil).ofRead()
		}
	}
}

var errNoTime = errors.New("no time for another try")

// ended is the error of a call that has no time left: with its outcome, and the
// last thing that went wrong.
func ended(ctx context.Context, op string, kind, last, err error) *callError {
	cause := context.Cause(ctx)
	if cause == nil {
		cause = errNoTime
	}
	if last == nil && err != nil && !errors.Is(err, cause) {
		last = err
	}
	kinds := []error{kind}
	var e *ReplyError
	var u *unreachableError
	if kind == ErrNotApplied && (errors.As(last, &e) && judge(e) == elsewhere && e.Code() != movedCode || errors.As(last, &u)) {
		kinds = append(kinds, ErrNoLeader)
	}
	if errors.Is(cause, context.DeadlineExceeded) {
		cause = &lateError{cause}
	}
	switch {
	case last != nil && cause == errNoTime:
		cause = last // it says more
	case last != nil:
		cause = fmt.Errorf("%w; last: %w", cause, last)
	}
	return &callError{op: op, kinds: kinds, cause: cause}
}
