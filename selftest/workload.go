package selftest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Workload is what clients do while a cluster is tormented. Half of them append
// inside sessions and repeat each attempt until it is answered; the others set,
// append and read without one, so that outcomes stay unknown.
type Workload struct {
	Endpoints []string
	Prefix    string        // of all keys: a workload needs keys that were never used
	Clients   int           // at least 5, at most 8 of them use one key
	Keys      int           // at most 20 at a time
	Seed      uint64        // of what they do
	Fresh     time.Duration // how long a set of keys is used; short histories are checked fast
	Pause     time.Duration // between two operations of one client

	// Wrong ways, for tests of the harness itself: Stop must find them.
	Naive bool // an append without a session is repeated until it is answered
	Stale bool // a client more for each node reads what that node holds, which may be old

	rec   *Recorder
	ctx   context.Context
	stop  context.CancelFunc
	all   sync.WaitGroup
	mu    sync.Mutex
	err   error
	acked map[string]map[string]bool // key, token, acknowledged
	tried map[string]map[string]bool // key, token, sent at least once
	open  map[string]int             // key as chosen, without its last number: unknown outcomes
	done  int
	fails int
}

// How long one attempt may take, and how long a session's append is repeated.
const (
	attemptTimeout = 4 * time.Second
	settleTimeout  = 60 * time.Second
)

// Start lets the clients loose.
func (w *Workload) Start(ctx context.Context) {
	w.rec = NewRecorder()
	w.ctx, w.stop = context.WithCancel(ctx)
	w.acked, w.tried = map[string]map[string]bool{}, map[string]map[string]bool{}
	w.open = map[string]int{}
	let := func(id int, run func(*worker)) {
		c := &worker{w: w, id: id, rand: rand.New(rand.NewPCG(w.Seed, uint64(id)))}
		// Owns one connection. Ends with Stop, which waits for it.
		w.all.Go(func() {
			defer c.hangUp()
			run(c)
		})
	}
	for i := range w.Clients {
		if i%2 == 0 {
			let(i, (*worker).runSession)
		} else {
			let(i, (*worker).runPlain)
		}
	}
	if w.Stale {
		for i, node := range w.Endpoints {
			let(w.Clients+i, func(c *worker) { c.runStale(node) })
		}
	}
}

// Result counts what a workload did.
type Result struct {
	Operations int // recorded
	Unknown    int // of these, with an unknown outcome
	Acked      int // tokens acknowledged
	Tokens     int // tokens sent
}

// add sums up.
func (r *Result) add(o Result) {
	r.Operations += o.Operations
	r.Unknown += o.Unknown
	r.Acked += o.Acked
	r.Tokens += o.Tokens
}

func (r Result) String() string {
	return fmt.Sprintf("%d operations (%d unknown), %d of %d appended tokens acknowledged", r.Operations, r.Unknown, r.Acked, r.Tokens)
}

// Acked is how many operations had a good answer so far: progress.
func (w *Workload) Acked() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.done
}

// Failed is how many attempts were refused, not answered, or found nobody.
func (w *Workload) Failed() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.fails
}

// count notes how an attempt ended.
func (w *Workload) count(o Outcome) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if o == OK {
		w.done++
	} else {
		w.fails++
	}
}

// Stop ends the clients and checks what they saw: every acknowledged token is
// there exactly once, no other one twice, and the history is linearizable. The cluster must
// serve. picture is where a picture of a failure goes.
func (w *Workload) Stop(picture string) (Result, error) {
	w.stop()
	w.all.Wait()
	var res Result
	res.Operations, res.Unknown = w.rec.Len()
	errs := []error{w.err}
	reader := &worker{w: w, id: w.Clients, rand: rand.New(rand.NewPCG(w.Seed, 99))}
	defer reader.hangUp()
	for key, tried := range w.tried {
		value, err := reader.final(key)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		found := Tokens(value)
		for token := range tried {
			res.Tokens++
			acked := w.acked[key][token]
			if acked {
				res.Acked++
			}
			switch n := found[token]; {
			case acked && n == 0:
				errs = append(errs, fmt.Errorf("key %s: acknowledged token %s is lost", key, token))
			case n > 1:
				errs = append(errs, fmt.Errorf("key %s: token %s is there %d times", key, token, n))
			}
		}
		for token := range found {
			if !tried[token] {
				errs = append(errs, fmt.Errorf("key %s: token %s was never sent", key, token))
			}
		}
	}
	if res.Acked == 0 {
		errs = append(errs, errors.New("no token was acknowledged: nothing was tested"))
	}
	errs = append(errs, w.rec.Check(time.Minute, picture))
	return res, errors.Join(errs...)
}

func (w *Workload) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = errors.Join(w.err, err)
}

func (w *Workload) note(key, token string, acked bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	at := w.tried
	if acked {
		at = w.acked
	}
	if at[key] == nil {
		at[key] = map[string]bool{}
	}
	at[key][token] = true
}

// worker is one client.
type worker struct {
	w    *Workload
	id   int
	rand *rand.Rand
	conn *Conn
	n    int
}

func (c *worker) hangUp() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

// do makes one attempt at any node.
func (c *worker) do(ctx context.Context, args ...string) (string, Outcome, error) {
	if c.conn == nil {
		d, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		conn, err := Dial(d, c.w.Endpoints[c.rand.IntN(len(c.w.Endpoints))])
		if err != nil {
			c.w.count(NotApplied)
			return "", NotApplied, err
		}
		c.conn = conn
	}
	v, outcome, err := c.conn.Do(attemptTimeout, args...)
	var reply *ErrorReply
	if err != nil && !errors.As(err, &reply) || outcome == NotApplied && c.rand.IntN(4) == 0 {
		c.hangUp()
	}
	c.w.count(outcome)
	return v.Text(), outcome, err
}

// wait pauses, and is false when the workload ends.
func (c *worker) wait(d time.Duration) bool {
	select {
	case <-c.w.ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// mostOpen is how many writes with an unknown outcome one key may have, about.
// Each may have taken effect at any time since, or not: the check of a history
// looks at all ways to place them, whose number grows exponentially.
const mostOpen = 3

// key chooses one of the kind that clients use now. Kinds are apart, so that
// tokens stay countable. A key with too many open writes is followed by another.
func (c *worker) key(kind string) string {
	generation := c.w.rec.Now() / int64(c.w.Fresh)
	base := fmt.Sprintf("%s%s-%d-%d", c.w.Prefix, kind, generation, c.rand.IntN(max(1, c.w.Keys/2)))
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	return fmt.Sprintf("%s-%d", base, c.w.open[base]/mostOpen)
}

// noteOpen counts a write whose outcome is unknown.
func (w *Workload) noteOpen(key string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open[key[:strings.LastIndexByte(key, '-')]]++
}

func (c *worker) token() string {
	c.n++
	return fmt.Sprintf("<%d.%d>", c.id, c.n)
}

// runPlain sets, appends and reads without a session.
func (c *worker) runPlain() {
	for c.wait(c.w.Pause) {
		call := c.w.rec.Now()
		switch c.rand.IntN(4) {
		case 0:
			key, value := c.key("reg"), c.token()
			_, outcome, _ := c.do(c.w.ctx, "SET", key, value)
			c.record(call, action{"set", key, value}, outcome, "")
		case 1:
			key, value := c.key("tok"), c.token()
			c.w.note(key, value, false)
			text, outcome, err := "", Unknown, error(nil)
			if c.w.Naive {
				if text, err = c.settle("APPEND", key, value); err == nil {
					outcome = OK
				}
			} else {
				text, outcome, _ = c.do(c.w.ctx, "APPEND", key, value)
			}
			if outcome == OK {
				c.w.note(key, value, true)
			}
			c.record(call, action{"append", key, value}, outcome, text)
		default:
			key := c.key([]string{"reg", "tok"}[c.rand.IntN(2)])
			text, outcome, _ := c.do(c.w.ctx, "GET", key)
			c.record(call, action{"get", key, ""}, outcome, text)
		}
	}
}

// runStale reads what one node holds, also while that node is cut off.
func (c *worker) runStale(node string) {
	for c.wait(c.w.Pause) {
		if c.conn == nil {
			d, cancel := context.WithTimeout(c.w.ctx, time.Second)
			conn, err := Dial(d, node)
			cancel()
			if err != nil {
				continue
			}
			c.conn = conn
			if _, outcome, _ := conn.Do(attemptTimeout, "READONLY"); outcome != OK {
				c.hangUp()
				continue
			}
		}
		key, call := c.key([]string{"reg", "tok"}[c.rand.IntN(2)]), c.w.rec.Now()
		text, outcome, _ := c.do(c.w.ctx, "GET", key)
		c.record(call, action{"get", key, ""}, outcome, text)
	}
}

func (c *worker) record(call int64, in action, outcome Outcome, text string) {
	out := seen{unknown: outcome == Unknown}
	if outcome == NotApplied || outcome == Unknown && in.verb == "get" {
		return // nothing happened, and nothing was seen
	}
	if out.unknown {
		c.w.noteOpen(in.key)
	}
	if outcome == OK {
		out.value = text
		if in.verb == "append" {
			n, err := strconv.Atoi(text)
			if err != nil {
				c.w.fail(fmt.Errorf("APPEND answered %q", text))
			}
			out.value, out.length = "", n
		}
	}
	c.w.rec.add(c.id, call, in, out)
}

// runSession appends inside one session. Each attempt is repeated under the
// same number until it is answered: then it took effect once.
func (c *worker) runSession() {
	session := ""
	for seq := 1; c.wait(c.w.Pause); {
		if session == "" {
			text, outcome, _ := c.do(c.w.ctx, "SESSION", "OPEN")
			if outcome == OK {
				session, seq = text, 1
			}
			continue
		}
		if c.rand.IntN(3) == 0 {
			key, call := c.key("tok"), c.w.rec.Now()
			text, outcome, _ := c.do(c.w.ctx, "GET", key)
			c.record(call, action{"get", key, ""}, outcome, text)
			continue
		}
		key, value, call := c.key("tok"), c.token(), c.w.rec.Now()
		c.w.note(key, value, false)
		text, err := c.settle("ONCE", session, strconv.Itoa(seq), "APPEND", key, value)
		if err != nil {
			c.w.fail(fmt.Errorf("session %s, number %d: %w", session, seq, err))
			return
		}
		c.w.note(key, value, true)
		c.record(call, action{"append", key, value}, OK, text)
		seq++
	}
}

// settle repeats a command of a session until it is answered.
func (c *worker) settle(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.w.ctx), settleTimeout)
	defer cancel()
	for {
		text, outcome, err := c.do(ctx, args...)
		var reply *ErrorReply
		switch {
		case outcome == OK:
			return text, nil
		case errors.As(err, &reply) && !retryable(reply.Prefix()):
			return "", err
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("not answered within %v: %w", settleTimeout, err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// retryable lists the errors that say "again, later".
func retryable(prefix string) bool {
	switch prefix {
	case "UNKNOWNOUTCOME", "CLUSTERDOWN", "TRYAGAIN", "BUSY", "LOADING", "NOSPACE":
		return true
	}
	return false
}

// final reads a key once the torment is over.
func (c *worker) final(key string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), settleTimeout)
	defer cancel()
	for {
		call := c.w.rec.Now()
		text, outcome, err := c.do(ctx, "GET", key)
		if outcome == OK {
			c.record(call, action{"get", key, ""}, OK, text)
			return text, nil
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("read %s at the end: %w", key, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
