package resp_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/raftkv/raftkv/internal/testenv"
	"github.com/raftkv/raftkv/node"
	"github.com/raftkv/raftkv/server/resp"
	"github.com/raftkv/raftkv/server/resp/resptest"
	"github.com/raftkv/raftkv/statemachine"
)

// held is a backend that keeps requests until they are released, in any order.
type held struct {
	*resptest.Memory
	mu   sync.Mutex
	got  []node.Request
	sink node.Sink
	err  error
	full bool // Submit waits until its context ends
}

func (h *held) Connect(s node.Sink) resp.Submitter {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.sink == nil {
		h.sink = s
	}
	return h
}
func (h *held) Close() {}
func (h *held) Submit(ctx context.Context, reqs []node.Request) error {
	if h.full {
		<-ctx.Done()
		return ctx.Err()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.err != nil {
		return h.err
	}
	h.got = append(h.got, reqs...)
	return nil
}
func (h *held) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.got)
}

// release answers the requests i, each with the bytes of its slot's number.
func (h *held) release(order ...int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, i := range order {
		h.sink.Deliver([]node.Reply{{Slot: h.got[i].Slot, Outcome: node.Applied,
			Result: statemachine.AppendResult(nil, statemachine.Result{Kind: statemachine.ResultInt, Int: int64(h.got[i].Slot)})}})
	}
}

// Replies come in the order of requests, whoever answers first, and commands that
// are answered here keep their place.
func TestRepliesKeepTheOrderOfRequests(t *testing.T) {
	h := &held{Memory: resptest.NewMemory()}
	addr := resptest.Serve(t, resp.New(resp.Config{}, h, h))
	nc := dial(t, addr)
	io.WriteString(nc, "get a\r\nping\r\nset a 1\r\nfoo\r\nget a\r\nget a\r\n")
	testenv.Eventually(t, "all submitted", func() bool { return h.count() == 4 })
	h.release(3, 1, 2)
	h.release(0)
	want := crlf(":0", "+PONG", ":2", "-ERR unknown command 'foo', with args beginning with: ", ":4", ":5")
	got := make([]byte, len(want))
	if _, err := io.ReadFull(nc, got); err != nil || string(got) != want {
		t.Errorf("%v: %q, want %q", err, got, want)
	}
}

// One read of a pipeline is one batch.
func TestPipelineIsOneBatch(t *testing.T) {
	m := resptest.NewMemory()
	b := &batches{Memory: m}
	addr := resptest.Serve(t, resp.New(resp.Config{}, b, m))
	if got := talk(t, addr, strings.Repeat("incr n\r\n", 50)+"get n\r\n"); !strings.HasSuffix(got, ":50\r\n$2\r\n50\r\n") {
		t.Errorf("got %q", got)
	}
	if len(b.sizes) != 1 || b.sizes[0] != 51 {
		t.Errorf("batches of %v, want one of 51", b.sizes)
	}
}

type batches struct {
	*resptest.Memory
	sizes []int
}

func (b *batches) Connect(s node.Sink) resp.Submitter {
	return batchCounter{b.Memory.Connect(s), b}
}

type batchCounter struct {
	resp.Submitter
	b *batches
}

func (c batchCounter) Submit(ctx context.Context, reqs []node.Request) error {
	c.b.sizes = append(c.b.sizes, len(reqs))
	return c.Submitter.Submit(ctx, reqs)
}

// A client whose slots are used up isn't read; once there is room again it is,
// and nothing is lost (OL-01).
func TestFullPipelineIsNotRead(t *testing.T) {
	const limit, all = 16, 200
	h := &held{Memory: resptest.NewMemory()}
	addr := resptest.Serve(t, resp.New(resp.Config{Pipeline: limit}, h, h))
	nc := dial(t, addr)
	io.WriteString(nc, strings.Repeat("set a 1\r\n", all))
	var want strings.Builder
	for done := 0; done < all; done++ {
		testenv.Eventually(t, "next request submitted", func() bool { return h.count() > done })
		if n := h.count(); n > done+limit {
			t.Fatalf("%d requests are open, limit %d", n-done, limit)
		}
		h.release(done)
		fmt.Fprintf(&want, ":%d\r\n", done)
	}
	got := make([]byte, want.Len())
	if _, err := io.ReadFull(nc, got); err != nil || string(got) != want.String() {
		t.Errorf("%v: %q", err, got)
	}
}

// Reads whose replies may be large are not all asked for at once.
func TestReadsAreBoundedByTheBytesOfTheirReplies(t *testing.T) {
	const value, all, limit = 128 << 10, 300, 2 << 20
	m := resptest.NewMemory()
	b := &batches{Memory: m}
	addr := resptest.Serve(t, resp.New(resp.Config{OutputBytes: limit}, b, m))
	nc := dial(t, addr)
	go fmt.Fprintf(nc, "*3\r\n$3\r\nset\r\n$1\r\na\r\n$%d\r\n%s\r\n%s", value, strings.Repeat("v", value), strings.Repeat("get a\r\n", all))
	want := int64(len("+OK\r\n") + all*(len("$131072\r\n\r\n")+value))
	if n, err := io.Copy(io.Discard, io.LimitReader(nc, want)); n != want {
		t.Fatalf("%d of %d bytes came: %v", n, want, err)
	}
	for i, n := range b.sizes {
		if n > 64 {
			t.Errorf("batch %d: %d reads at once", i, n)
		}
	}
}

// OL-01: a client that floods and never reads is cut off, and costs no more than its budget.
func TestClientThatNeverReadsIsClosed(t *testing.T) {
	m := resptest.NewMemory()
	addr, s := resptest.Start(t, m, resp.Config{WriteTimeout: 50 * time.Millisecond, OutputBytes: 1 << 20})
	talk(t, addr, fmt.Sprintf("set a %s\r\n", strings.Repeat("v", 60000)))
	nc := dial(t, addr)
	nc.(*net.TCPConn).SetReadBuffer(4 << 10)
	in := strings.Repeat("get a\r\n", 1000)
	for {
		if _, err := io.WriteString(nc, in); err != nil {
			break
		}
	}
	testenv.Eventually(t, "connection closed", func() bool { return s.Connections() == 0 })
	if s.Stats().Slow != 1 {
		t.Errorf("%d slow clients counted", s.Stats().Slow)
	}
}

// Replies far above the budget end the connection even while nothing is written.
func TestFloodOfRepliesIsCutOff(t *testing.T) {
	h := &held{Memory: resptest.NewMemory()}
	s := resp.New(resp.Config{OutputBytes: 1000}, h, h)
	addr := resptest.Serve(t, s)
	nc := dial(t, addr)
	io.WriteString(nc, "set a 1\r\nset b 1\r\n")
	testenv.Eventually(t, "submitted", func() bool { return h.count() == 2 })
	h.sink.Deliver([]node.Reply{{Slot: 1, Outcome: node.Applied,
		Result: statemachine.AppendResult(nil, statemachine.Result{Kind: statemachine.ResultBytes, Bytes: make([]byte, 5000)})}})
	testenv.Eventually(t, "connection closed", func() bool { return s.Connections() == 0 })
}

// OL-03: no room at the node is a clear error, and surely nothing was done.
func TestBusyNode(t *testing.T) {
	h := &held{Memory: resptest.NewMemory(), full: true}
	addr := resptest.Serve(t, resp.New(resp.Config{SubmitTimeout: time.Millisecond}, h, h))
	want := crlf("+PONG", "-BUSY node is busy; try again later", "-BUSY node is busy; try again later")
	if got := talk(t, addr, "ping\r\nset a 1\r\nset b 1\r\n"); got != want {
		t.Errorf("got %q", got)
	}
	h = &held{Memory: resptest.NewMemory(), err: node.ErrShutdown}
	addr = resptest.Serve(t, resp.New(resp.Config{}, h, h))
	if got, want := talk(t, addr, "set a 1\r\nping\r\nget a\r\n"), crlf("-TRYAGAIN node is shutting down", "+PONG", "-TRYAGAIN node is shutting down"); got != want {
		t.Errorf("got %q", got)
	}
}
