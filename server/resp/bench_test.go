package resp_test

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/server/resp"
	"github.com/raftkv/raftkv/server/resp/resptest"
)

// The whole way of a command through server and state machine, over a real
// socket. Allocations are those of both ends; the client's side makes none.
func BenchmarkServer(b *testing.B) {
	value := strings.Repeat("v", 64)
	for _, tc := range []struct{ name, in, out string }{
		{"set", fmt.Sprintf("*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$64\r\n%s\r\n", value), "+OK\r\n"},
		{"get", "*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n", fmt.Sprintf("$64\r\n%s\r\n", value)},
		{"ping", "*1\r\n$4\r\nPING\r\n", "+PONG\r\n"},
	} {
		for _, depth := range []int{1, 50} {
			b.Run(fmt.Sprintf("%s/pipeline=%d", tc.name, depth), func(b *testing.B) {
				addr, _ := resptest.Start(b, resptest.NewMemory(), resp.Config{})
				talk(b, addr, "set key "+value+"\r\n")
				nc := dial(b, addr)
				in := []byte(strings.Repeat(tc.in, depth))
				out := make([]byte, len(tc.out)*depth)
				b.ReportAllocs()
				b.ResetTimer()
				for n := 0; n < b.N; n += depth {
					if _, err := nc.Write(in); err != nil {
						b.Fatal(err)
					}
					if _, err := io.ReadFull(nc, out); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
