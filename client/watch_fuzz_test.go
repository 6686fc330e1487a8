package client

import (
	"bufio"
	"bytes"
	"testing"

	"github.com/raftkv/raftkv/internal/fuzztest"
)

// Whatever a node sends for a watch, it ends with an error, and what was yielded was sent.
func FuzzWatch(f *testing.F) {
	for _, s := range []string{
		"id: 7.0\nevent: put\ndata: {\"key\":\"a\",\"value\":\"1\",\"version\":7,\"index\":7,\"command\":\"set\",\"expires\":1700000000000}\n\n",
		"id: 7.1\nevent: put\ndata: {\"key_base64\":\"/w==\",\"value_base64\":\"/wA=\",\"version\":7,\"index\":7,\"command\":\"set\"}\n\n: alive\n\n",
		"id: 8\n\nid: 9.0\nevent: delete\ndata: {\"key\":\"a\",\"version\":9,\"index\":9,\"command\":\"expired\"}\n\nid: 9.1\nevent: flush\ndata: {\"index\":9}\n\n",
		"event: end\ndata: {\"code\":\"compacted\",\"error\":\"gone\",\"oldest\":5}\n\n", "event: end\ndata: {\"error\":\"shutdown\"}\n\n", "event: put\ndata: {}\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		fuzztest.Bounded(t, len(in), 256<<10, 1<<10, func() {
			changes := 0
			w := &watcher{yield: func(c Change, err error) bool {
				changes++
				if err != nil || c.Kind < Changed || c.Kind > Flushed {
					t.Errorf("yielded %+v, %v", c, err)
				}
				return true
			}}
			more, err := w.read(bufio.NewReaderSize(bytes.NewReader(in), 16), func() {})
			if !more || err == nil {
				t.Errorf("ended with %v, %v", more, err)
			}
			if changes > bytes.Count(in, []byte("\n\n")) {
				t.Errorf("%d changes in %q", changes, in)
			}
		})
	})
}
