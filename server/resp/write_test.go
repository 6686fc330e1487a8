package resp_test

import (
	"bufio"
	"io"
	"runtime"
	"testing"

	"github.com/raftkv/raftkv/internal/testenv"
	"github.com/raftkv/raftkv/server/resp"
	"github.com/raftkv/raftkv/server/resp/resptest"
)

// A connection that is at rest holds no room for writing replies: with it, it would
// take twice as much. Both ends of the connections are in this process.
func TestConnectionsAtRestAreSmall(t *testing.T) {
	const n, bound = 300, 17 << 10
	addr, s := resptest.Start(t, resptest.NewMemory(), resp.Config{})
	alive := func() uint64 {
		var m runtime.MemStats
		for range 3 {
			runtime.GC() // what lies in a sync.Pool goes with the second one
		}
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	ask := func() {
		nc := dial(t, addr)
		io.WriteString(nc, "set a 1\r\nget a\r\n")
		r := bufio.NewReaderSize(nc, 64)
		for range 3 {
			if _, err := r.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		}
	}
	ask() // what is made once
	before := alive()
	for range n {
		ask()
	}
	testenv.Eventually(t, "a connection at rest to take little", func() bool {
		return (alive()-before)/n <= bound // the last ones may still be on their way to rest
	})
	t.Logf("%d bytes a connection", (alive()-before)/n)
	if s.Connections() != n+1 {
		t.Errorf("%d connections, want %d", s.Connections(), n+1)
	}
}
