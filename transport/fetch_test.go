package transport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/raftkv/raftkv/internal/testenv"
	"github.com/raftkv/raftkv/raft"
)

var snapshotID = raft.EntryID{Term: 3, Index: 9}

// sourceOf serves content as snapshotID.
func sourceOf(content []byte) func(raft.EntryID, uint64) (io.ReadCloser, uint64, error) {
	return func(last raft.EntryID, offset uint64) (io.ReadCloser, uint64, error) {
		if last != snapshotID {
			return nil, 0, fmt.Errorf("open snapshot: %w", fs.ErrNotExist)
		}
		return io.NopCloser(bytes.NewReader(content[min(int(offset), len(content)):])), uint64(len(content)), nil
	}
}

func fetchAll(t testing.TB, n *testNode, from raft.NodeID, last raft.EntryID, offset uint64) (string, error) {
	t.Helper()
	r, err := n.Fetch(t.Context(), from, last, offset)
	if err != nil {
		return "", err
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	return string(b), err
}

// serving makes a node that knows a server of snapshots.
func serving(t testing.TB, client, server Config) (a, b *testNode) {
	a, b = run(t, client, helloOf(1)), run(t, server, helloOf(2))
	a.SetMembers(configuration(b.member()))
	return a, b
}

// A node that joins may have to fetch from one that it knows by its connection
// alone: the snapshot is what would tell it of that member. Seen where two members
// had been replaced and the first of them led.
func TestFetchFromAStranger(t *testing.T) {
	a, b := run(t, Config{}, helloOf(1)), run(t, Config{Source: sourceOf([]byte("state"))}, helloOf(2))
	b.SetMembers(configuration(a.member()))
	testenv.Eventually(t, "the file of a node that has connected", func() bool {
		got, err := fetchAll(t, a, 2, snapshotID, 0)
		return err == nil && got == "state"
	})
}

// A file comes whole from any offset, whatever its size is to that of a block.
func TestFetch(t *testing.T) {
	for _, size := range []int{0, 1, blockSize - 1, blockSize, blockSize + 1, 3*blockSize + 17} {
		content := bytes.Repeat([]byte("abcdefg"), size/7+1)[:size]
		a, b := serving(t, Config{}, Config{Source: sourceOf(content)})
		for _, offset := range []int{0, size / 2, size} {
			got, err := fetchAll(t, a, 2, snapshotID, uint64(offset))
			if err != nil || got != string(content[offset:]) {
				t.Errorf("%d bytes from %d: got %d, %v", size, offset, len(got), err)
			}
		}
		a.Close()
		b.Close()
	}
}

// What can't be fetched is told in a way that the caller can act on.
func TestFetchRefusals(t *testing.T) {
	a, b := serving(t, Config{}, Config{Source: sourceOf([]byte("12345"))})
	other := raft.EntryID{Term: 3, Index: 8}
	if _, err := a.Fetch(t.Context(), 2, other, 0); !errors.Is(err, ErrNoSnapshot) || !strings.Contains(err.Error(), "snapshot 3/8 from node 2") {
		t.Errorf("another snapshot: %v", err)
	}
	if _, err := a.Fetch(t.Context(), 2, snapshotID, 6); !errors.Is(err, ErrNoSnapshot) {
		t.Errorf("beyond the end: %v", err)
	}
	if _, err := a.Fetch(t.Context(), 3, snapshotID, 0); err == nil || !strings.Contains(err.Error(), "no member") {
		t.Errorf("from a stranger: %v", err)
	}
	b.Close()
	if _, err := a.Fetch(t.Context(), 2, snapshotID, 0); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("from a dead node: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.Fetch(ctx, 2, snapshotID, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// A source that fails in the middle, or ends too early, is never taken for the end of the file.
func TestFetchIsNeverShort(t *testing.T) {
	for name, source := range map[string]io.Reader{
		"fails": io.MultiReader(strings.NewReader("123"), iotest.ErrReader(errors.New("bad sector"))),
		"short": strings.NewReader("123"),
		"long":  strings.NewReader("1234567"),
	} {
		t.Run(name, func(t *testing.T) {
			a, _ := serving(t, Config{}, Config{Source: func(raft.EntryID, uint64) (io.ReadCloser, uint64, error) {
				return io.NopCloser(source), 5, nil
			}})
			got, err := fetchAll(t, a, 2, snapshotID, 0)
			if err == nil || len(got) > 5 {
				t.Errorf("%q was taken for the whole file or part of it: %v", got, err)
			}
			if name == "fails" && !strings.Contains(err.Error(), "bad sector") {
				t.Errorf("error is %v", err)
			}
		})
	}
}

// gatedReader gives some bytes and then waits until it is closed.
type gatedReader struct {
	io.Reader
	gate   chan struct{}
	closed chan struct{}
}

func (g *gatedReader) Read(b []byte) (int, error) {
	if n, err := g.Reader.Read(b); err == nil {
		return n, nil
	}
	<-g.gate
	return 0, io.EOF
}

func (g *gatedReader) Close() error { close(g.closed); return nil }

// A fetch that makes no progress ends, and so does one whose context ends or whose transport closes.
func TestFetchThatStalls(t *testing.T) {
	for _, how := range []string{"idle", "context", "close", "reader closed"} {
		t.Run(how, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var g *gatedReader
			begin := func(idle time.Duration) (a *testNode, r io.ReadCloser, err error) {
				g = &gatedReader{Reader: bytes.NewReader(make([]byte, 2*blockSize)), gate: make(chan struct{}), closed: make(chan struct{})}
				a, _ = serving(t, Config{Limits: Limits{FetchIdle: idle}}, Config{Source: func(raft.EntryID, uint64) (io.ReadCloser, uint64, error) {
					return g, 10 * blockSize, nil
				}})
				if r, err = a.Fetch(ctx, 2, snapshotID, 0); err == nil {
					t.Cleanup(func() { r.Close() })
					_, err = io.ReadFull(r, make([]byte, 2*blockSize))
				}
				return a, r, err
			}
			idle := time.Duration(0) // the default
			if how == "idle" {
				idle = 100 * time.Millisecond
			}
			a, r, err := begin(idle)
			for how == "idle" && errors.Is(err, os.ErrDeadlineExceeded) { // a busy machine needs longer for what is there
				close(g.gate)
				idle *= 4
				a, r, err = begin(idle)
			}
			if err != nil {
				t.Fatal(err)
			}
			want := error(context.DeadlineExceeded)
			switch how {
			case "idle":
				want = nil // any
			case "context":
				cancel()
				want = context.Canceled
			case "close":
				go a.Close()
				want = errClosed
			case "reader closed":
				r.Close()
				want = fs.ErrClosed
			}
			if _, err := r.Read(make([]byte, 1)); err == nil || err == io.EOF || want != nil && !errors.Is(err, want) {
				t.Errorf("error is %v, want %v", err, want)
			}
			close(g.gate)
			<-g.closed // the source's file is closed in any case
		})
	}
}

// Served snapshots are bounded in number.
func TestFetchesAreBounded(t *testing.T) {
	gate := make(chan struct{})
	a, _ := serving(t, Config{}, Config{Limits: Limits{MaxFetches: 1}, Source: func(raft.EntryID, uint64) (io.ReadCloser, uint64, error) {
		return &gatedReader{Reader: bytes.NewReader(nil), gate: gate, closed: make(chan struct{})}, 0, nil
	}})
	r, err := a.Fetch(t.Context(), 2, snapshotID, 0)
	if err != nil {
		t.Fatal(err)
	}
	var refused *RefusedError
	if _, err := a.Fetch(t.Context(), 2, snapshotID, 0); !errors.As(err, &refused) || refused.Code != RefusedBusy {
		t.Errorf("second fetch: %v", err)
	}
	close(gate)
	if _, err := io.ReadAll(r); err != nil {
		t.Error(err)
	}
	r.Close()
	testenv.Eventually(t, "the place to be free", func() bool {
		r, err := a.Fetch(t.Context(), 2, snapshotID, 0)
		if err == nil {
			r.Close()
		}
		return err == nil
	})
}

// The rate bounds what was sent since the beginning, without long silence.
func TestAhead(t *testing.T) {
	for _, tc := range []struct {
		sent, rate int
		passed     time.Duration
		want       time.Duration
	}{
		{1000, 0, 0, 0},
		{1000, 1000, 0, time.Second},
		{1000, 1000, 400 * time.Millisecond, 600 * time.Millisecond},
		{1000, 1000, time.Second, 0},
		{1000, 1000, time.Hour, 0},
		{1 << 40, 1, 0, time.Minute},
	} {
		if got := ahead(tc.sent, tc.rate, tc.passed, time.Minute); got != tc.want {
			t.Errorf("ahead(%d, %d, %v) = %v, want %v", tc.sent, tc.rate, tc.passed, got, tc.want)
		}
	}
}

func TestFetchWithRate(t *testing.T) {
	content := bytes.Repeat([]byte("x"), 2*blockSize)
	a, _ := serving(t, Config{}, Config{Source: sourceOf(content), Limits: Limits{FetchRate: 100 * blockSize}})
	if got, err := fetchAll(t, a, 2, snapshotID, 0); err != nil || got != string(content) {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
}

// An exchange needs no identity on either side.
func TestExchange(t *testing.T) {
	b := listen(t, Config{Exchange: func(body []byte) []byte { return bytes.ToUpper(body) }})
	a := listen(t, Config{})
	addr := b.Addr().String()
	for _, body := range [][]byte{nil, []byte("born?"), bytes.Repeat([]byte("x"), maxExchange)} {
		got, err := a.Exchange(t.Context(), addr, body)
		if err != nil || !bytes.Equal(got, bytes.ToUpper(body)) {
			t.Errorf("%d bytes: got %d, %v", len(body), len(got), err)
		}
	}
	testenv.Eventually(t, "three in the counter", func() bool { return b.Stats().Exchanges == 3 })
	if _, err := a.Exchange(t.Context(), addr, make([]byte, maxExchange+1)); err == nil {
		t.Error("a request that is too large was sent")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.Exchange(ctx, addr, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	b.Close()
	if _, err := a.Exchange(t.Context(), addr, nil); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dead node: %v", err)
	}
	if got, err := a.Exchange(t.Context(), listen(t, Config{Exchange: func([]byte) []byte { return make([]byte, maxExchange+1) }}).Addr().String(), nil); err == nil {
		t.Errorf("a reply of %d bytes was taken", len(got))
	}
}

// One that never answers ends with the caller's context.
func TestExchangeEndsWithContext(t *testing.T) {
	asked, gate := make(chan struct{}), make(chan struct{})
	b := listen(t, Config{Exchange: func([]byte) []byte { close(asked); <-gate; return nil }})
	defer close(gate)
	a := listen(t, Config{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-asked; cancel() }()
	if _, err := a.Exchange(ctx, b.Addr().String(), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
}
