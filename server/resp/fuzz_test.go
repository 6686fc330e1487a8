package resp_test

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	"github.com/raftkv/raftkv/internal/fuzztest"
	wire "github.com/raftkv/raftkv/resp"
	"github.com/raftkv/raftkv/server/resp"
	"github.com/raftkv/raftkv/server/resp/resptest"
)

// Whatever a client says, the server lives, and what it answers are replies (BI-14).
func FuzzServer(f *testing.F) {
	for _, s := range []string{
		"set a 1\r\nget a\r\n", "*2\r\n$3\r\nGET\r\n$1\r\na\r\n", "hello 3\r\nmget a b\r\n", "scan 0 match a* count 2\r\n", "once 1 1 append a b\r\n",
		"session open\r\nonce 1 1 incr a\r\n", "command docs\r\n", "client setinfo lib-name \"a b\"\r\n", "raft member add a b dryrun\r\n", "*1\r\n$-1\r\n", "config get * s*\r\ninfo all\r\n",
		"raft scan \"\" count 1\r\n", "*1\r\n$100\r\n", "reset\r\nquit\r\nping\r\n", "role\r\ncommand info get nope\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		addr, _ := resptest.Start(t, resptest.NewMemory(), resp.Config{KeyBytes: 100, ValueBytes: 1000, CommandBytes: 5000, Pipeline: 5, OutputBytes: 10000})
		// A command of a few bytes may have a long answer (COMMAND DOCS): only what goes
		// by a length, an offset or a count that the client claims is found here.
		fuzztest.Bounded(t, len(in), 32<<20, 256<<10, func() { converse(t, addr, in) })
	})
}

// converse says all of in to a server and reads what it answers, to the end.
func converse(t *testing.T, addr string, in []byte) {
	nc := dial(t, addr)
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	done := make(chan struct{})
	go func() {
		defer close(done)
		io.Copy(nc, bytes.NewReader(in))
		nc.(*net.TCPConn).CloseWrite()
	}()
	r := wire.NewReplyReader(nc, wire.ReplyLimits{})
	for {
		_, err := r.Read()
		if err == io.EOF {
			break
		}
		if ne, ok := err.(net.Error); ok && !ne.Timeout() {
			break // an attack was cut off
		}
		if err == io.ErrUnexpectedEOF {
			break
		}
		if err != nil {
			t.Fatalf("%q: %v", in, err)
		}
	}
	<-done
}
