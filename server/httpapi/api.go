package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/raftkv/raftkv/node"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/server/access"
	"github.com/raftkv/raftkv/server/feed"
	"github.com/raftkv/raftkv/statemachine"
)

// Backend is the node behind the API. Its methods may be called from any goroutine.
type Backend interface {
	// Connect opens the way of one request's command.
	Connect(s node.Sink) Submitter
	// Status is the node as it was a moment ago. It doesn't block.
	Status() node.Status
}

// Submitter takes the command of one request.
type Submitter interface {
	Submit(ctx context.Context, reqs []node.Request) error
	Close()
}

// API is what /v1 needs. A zero limit stands for its default.
type API struct {
	Backend Backend
	Feed    *feed.Hub
	// Users decides who may do what. nil: everybody may do everything.
	Users *access.Store

	KeyBytes      int           // longest key; default 64 KiB
	ValueBytes    int           // longest value; default 8 MiB
	CommandBytes  int           // longest body of a transaction; default 16 MiB
	Requests      int           // requests under way at a time, watchers apart; default 1,024
	BodyBytes     int64         // of all bodies under way together; default 256 MiB
	SubmitTimeout time.Duration // a request that the node has no room for so long is refused as busy; default 100 ms
	WriteTimeout  time.Duration // a watcher or reader that takes no byte for so long is cut off; default 30 s
	BodyTimeout   time.Duration // for a body to arrive; default 30 s
	Heartbeat     time.Duration // between signs of life to a watcher; default 15 s
	// Hosts are the names, beside IP addresses, localhost and the addresses of
	// members, that a Host header may have: other names are a browser's that was led here.
	Hosts []string
}

func (a API) withDefaults() API {
	def(&a.KeyBytes, 64<<10)
	def(&a.ValueBytes, 8<<20)
	def(&a.CommandBytes, 16<<20)
	def(&a.Requests, 1024)
	def(&a.BodyBytes, 256<<20)
	def(&a.SubmitTimeout, 100*time.Millisecond)
	def(&a.WriteTimeout, 30*time.Second)
	def(&a.BodyTimeout, 30*time.Second)
	def(&a.Heartbeat, 15*time.Second)
	return a
}

func def[T int | int64 | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// api serves /v1 with one node.
type api struct {
	API
	origins  *http.CrossOriginProtection
	inFlight *budget // requests
	bodies   *budget // bytes
	scans    *budget
	stop     <-chan struct{} // closed when the server shuts down
}

// maxScans is how many lists may be written at a time: each holds a page in memory.
const maxScans = 32

func newAPI(a API, stop <-chan struct{}) *api {
	a = a.withDefaults()
	return &api{
		API: a, stop: stop, origins: http.NewCrossOriginProtection(),
		inFlight: newBudget(int64(a.Requests)), bodies: newBudget(a.BodyBytes), scans: newBudget(maxScans),
	}
}

// The headers that are ours.
const (
	headerIndex   = "Raftkv-Index"   // of the entry, or that was applied when the read was evaluated
	headerLeader  = "Raftkv-Leader"  // name of the node that leads
	headerNode    = "Raftkv-Node"    // name of the node that answers
	headerOutcome = "Raftkv-Outcome" // applied, not-applied, unknown
	headerAge     = "Raftkv-Age"     // of a stale read: seconds since this node last heard a leader
	headerBehind  = "Raftkv-Behind"  // of a stale read: entries known to be committed that it doesn't show
)

// exchange is one request and its answer.
type exchange struct {
	*api
	w    http.ResponseWriter
	r    *http.Request
	args url.Values
	user *access.User // nil: may do everything
	// users is whom user was found among; nil: that isn't known. open: it needed no password.
	users *access.Users
	open  bool
	free  func() // gives back what the body took
}

// serveV1 routes what begins with /v1. It goes by the escaped path, and so the
// key is whatever the client wrote: ServeMux would "clean" a//b to another key.
func (a *api) serveV1(w http.ResponseWriter, r *http.Request) {
	x := &exchange{api: a, w: w, r: r, free: func() {}}
	defer func() { x.free() }()
	if f := x.enter(); f != nil {
		x.fail(f)
		return
	}
	path := r.URL.EscapedPath()
	if path != "/v1/watch" {
		if !a.inFlight.take(1) {
			x.fail(busy("too many requests are under way (%d)", a.Requests))
			return
		}
		defer a.inFlight.give(1)
	}
	if f := x.route(path); f != nil {
		x.fail(f)
	}
}

// route runs the handler of the path and method.
func (x *exchange) route(path string) *failure {
	type methods map[string]func() *failure
	pick := func(m methods) *failure {
		method := x.r.Method
		if method == http.MethodHead {
			method = http.MethodGet
		}
		if h := m[method]; h != nil {
			return h()
		}
		var allowed []string
		for _, name := range []string{"GET", "PUT", "POST", "DELETE"} {
			if m[name] != nil {
				allowed = append(allowed, name)
			}
		}
		x.w.Header().Set("Allow", strings.Join(allowed, ", "))
		return &failure{status: http.StatusMethodNotAllowed, code: "method", text: x.r.Method + " is not allowed here, " + strings.Join(allowed, ", ") + " is", outcome: node.NotApplied}
	}
	switch path {
	case "/v1/kv":
		return pick(methods{"GET": x.list})
	case "/v1/txn":
		return pick(methods{"POST": x.txn})
	case "/v1/watch":
		return pick(methods{"GET": x.watch})
	case "/v1/sessions":
		return pick(methods{"POST": x.openSession})
	case "/v1/openapi.json":
		return pick(methods{"GET": x.openAPI})
	}
	if rest, ok := strings.CutPrefix(path, "/v1/kv/"); ok {
		action := ""
		if x.r.Method == http.MethodPost {
			if at := strings.LastIndexByte(rest, '/'); at >= 0 {
				rest, action = rest[:at], rest[at+1:]
			}
		}
		key, f := x.key(rest)
		if f != nil {
			return f
		}
		switch action {
		case "append":
			return x.append(key)
		case "cas":
			return x.cas(key)
		case "incr":
			return x.incr(key)
		}
		if x.r.Method != http.MethodPost {
			return pick(methods{"GET": func() *failure { return x.get(key) }, "PUT": func() *failure { return x.put(key) }, "DELETE": func() *failure { return x.delete(key) }})
		}
		return notFound("there is no action %.40q on a key; there are append, cas and incr", action)
	}
	if rest, ok := strings.CutPrefix(path, "/v1/sessions/"); ok {
		id, action, _ := strings.Cut(rest, "/")
		n, err := strconv.ParseInt(id, 10, 64)
		if err != nil || n <= 0 {
			return notFound("session %.40q is not a number above zero", id)
		}
		switch action {
		case "":
			return pick(methods{"GET": func() *failure { return x.sessionInfo(n) }, "DELETE": func() *failure { return x.closeSession(n) }})
		case "keepalive":
			return pick(methods{"POST": func() *failure { return x.keepSession(n) }})
		}
	}
	return notFound("there is no %s; GET /v1/openapi.json lists what there is", path)
}

// run sends one command to the node and waits for what becomes of it.
func (x *exchange) run(kind node.Kind, cmd statemachine.Command) (statemachine.Result, raft.Index, *failure) {
	var none statemachine.Result
	sink := make(sink, 1)
	way := x.Backend.Connect(sink)
	defer way.Close()
	ctx, cancel := context.WithTimeoutCause(x.r.Context(), x.SubmitTimeout, node.ErrBusy)
	err := way.Submit(ctx, []node.Request{{Kind: kind, Data: statemachine.AppendCommand(nil, cmd)}})
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	cancel()
	reply := node.Reply{Outcome: node.NotApplied, Err: err}
	if err == nil {
		// The node answers within limits.request_timeout, whatever becomes of it. Nobody
		// else knows the outcome, so the wait doesn't end with a client that has gone.
		select {
		case reply = <-sink:
		case <-x.stop:
			reply = node.Reply{Outcome: node.Unknown, Err: node.ErrShutdown}
		}
	}
	if reply.Outcome != node.Applied {
		return none, 0, outcomeFailure(reply, kind != node.Write)
	}
	res, err := statemachine.DecodeResult(reply.Result)
	if err != nil {
		return none, 0, &failure{status: http.StatusInternalServerError, code: "internal", text: "the node answered what can't be read: " + err.Error(), outcome: reply.Outcome}
	}
	h := x.w.Header()
	h.Set(headerIndex, strconv.FormatUint(uint64(reply.Index), 10))
	if kind == node.Write {
		h.Set(headerOutcome, outcomeApplied)
	}
	if res.Kind == statemachine.ResultError {
		return none, reply.Index, replyFailure(string(res.Bytes))
	}
	return res, reply.Index, nil
}

// sink takes the one reply of a request.
type sink chan node.Reply

// Deliver implements node.Sink. It never blocks: there is room for the only reply.
func (s sink) Deliver(replies []node.Reply) {
	for _, r := range replies {
		select {
		case s <- r:
		default:
		}
	}
}

// read runs a command that changes nothing, with the consistency that was asked for.
func (x *exchange) read(cmd statemachine.Command) (statemachine.Result, raft.Index, *failure) {
	switch c := x.args.Get("consistency"); c {
	case "", "linearizable":
		return x.run(node.Read, cmd)
	case "stale":
		st := x.Backend.Status()
		x.w.Header().Set(headerAge, strconv.FormatFloat(st.SilenceSeconds, 'f', 3, 64))
		x.w.Header().Set(headerBehind, strconv.FormatUint(st.Lag, 10))
		return x.run(node.StaleRead, cmd)
	default:
		return statemachine.Result{}, 0, badRequest("consistency %.40q is not linearizable or stale", c)
	}
}

// write runs a command of the log, inside a session if the client names one.
func (x *exchange) write(cmd statemachine.Command) (statemachine.Result, raft.Index, *failure) {
	once := x.r.Header.Values("Idempotency-Key")
	if len(once) == 0 {
		return x.run(node.Write, cmd)
	}
	id, seq, ok := strings.Cut(strings.Trim(once[0], `"`), ":")
	session, err1 := strconv.ParseInt(id, 10, 64)
	number, err2 := strconv.ParseUint(seq, 10, 64)
	if !ok || err1 != nil || err2 != nil || session <= 0 || number == 0 || len(once) > 1 {
		return statemachine.Result{}, 0, badRequest("Idempotency-Key %.60q is not SESSION:NUMBER; POST /v1/sessions opens a session, numbers start at 1", once[0])
	}
	if f := x.may("once"); f != nil {
		return statemachine.Result{}, 0, f
	}
	inner := statemachine.AppendCommand(nil, cmd)
	return x.run(node.Write, statemachine.Command{Op: statemachine.OpOnce, Num: session, Seq: number, Args: [][]byte{inner}})
}

// repeatable tells whether the write may be a repetition: the index of its entry
// is then not that of the change.
func (x *exchange) repeatable() bool { return x.r.Header.Get("Idempotency-Key") != "" }

// tell writes a document.
func (x *exchange) tell(status int, doc any) *failure {
	x.head()
	reply(x.w, status, doc)
	return nil
}

// head sets what every answer has.
func (x *exchange) head() {
	st := x.Backend.Status()
	h := x.w.Header()
	h.Set(headerNode, st.Name)
	if st.LeaderName != "" {
		h.Set(headerLeader, st.LeaderName)
	}
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	// A value is whatever somebody stored. Shown by a browser, it must not run here.
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
}

// fail writes what went wrong.
func (x *exchange) fail(f *failure) {
	x.head()
	h := x.w.Header()
	outcome := ""
	if f.outcome != 0 && x.r.Method != http.MethodGet && x.r.Method != http.MethodHead {
		outcome = outcomeNames[f.outcome]
		h.Set(headerOutcome, outcome)
	}
	if f.retry {
		h.Set("Retry-After", "1")
	}
	reply(x.w, f.status, errorDoc{Error: f.text, Code: f.code, Outcome: outcome, Oldest: uint64(f.oldest)})
}

// decode reads a JSON body strictly.
func (x *exchange) decode(into any, limit int) *failure {
	body, f := x.body(limit)
	if f != nil {
		return f
	}
	d := json.NewDecoder(strings.NewReader(string(body)))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return badRequest("body is not the JSON that is wanted: %v", err)
	}
	if d.More() {
		return badRequest("body goes on behind its JSON")
	}
	return nil
}
