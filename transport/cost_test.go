package transport

import (
	"bytes"
	"testing"

	"github.com/raftkv/raftkv/raft"
)

// What an append of 64 entries costs in allocations at either end: few, whatever the
// number of entries. Their data lie in the body of the frame.
func TestCostOfAnAppend(t *testing.T) {
	m, enc, buf := benchAppend(), newEncoder(), []byte(nil)
	encode := func() {
		var err error
		if buf, err = enc.appendMessage(beginFrame(buf[:0]), &m); err != nil {
			t.Fatal(err)
		}
		endFrame(buf, 0, frameEntries)
	}
	encode()
	if allocs := testing.AllocsPerRun(100, encode); allocs > 2 {
		t.Errorf("%v allocations to encode an append, want at most 2", allocs)
	}
	frame, dec := messagesFrame(t, frameEntries, m), newDecoder()
	src, r := bytes.NewReader(frame), readerOf(nil, 1<<20)
	ms := make([]raft.Message, 0, 1)
	decode := func() {
		src.Reset(frame)
		r.r.Reset(src)
		kind, body, err := r.next()
		if err == nil {
			_, err = dec.messages(ms, body, kind == frameEntries, 1, 2)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	decode()
	if allocs := testing.AllocsPerRun(100, decode); allocs > 2 {
		t.Errorf("%v allocations to decode an append, want at most 2", allocs)
	}
}
