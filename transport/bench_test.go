package transport

import (
	"bytes"
	"testing"

	"github.com/raftkv/raftkv/raft"
)

// benchAppend is an append with 64 entries of 256 bytes.
func benchAppend() raft.Message {
	m := raft.Message{Kind: raft.MsgAppend, To: 2, Term: 7, Boot: 1 << 60, Seq: 1e6, Prev: raft.EntryID{Term: 7, Index: 1e6}, Commit: 1e6, Round: 5000, Last: raft.EntryID{Term: 7, Index: 1e6 + 64}, ToBoot: 1 << 61}
	for i := range 64 {
		m.Entries = append(m.Entries, raft.Entry{
			EntryID: raft.EntryID{Term: 7, Index: raft.Index(1e6 + 1 + i)}, Type: raft.EntryCommand,
			Time: raft.Time(1.8e18 + float64(i)*1000), Data: bytes.Repeat([]byte{byte(i)}, 256),
		})
	}
	return m
}

func BenchmarkEncodeAppend64x256(b *testing.B) {
	m, enc, buf := benchAppend(), newEncoder(), []byte(nil)
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if buf, err = enc.appendMessage(beginFrame(buf[:0]), &m); err != nil {
			b.Fatal(err)
		}
		endFrame(buf, 0, frameEntries)
	}
	b.SetBytes(int64(len(buf)))
}

func BenchmarkDecodeAppend64x256(b *testing.B) {
	frame, dec := messagesFrame(b, frameEntries, benchAppend()), newDecoder()
	src := bytes.NewReader(frame)
	r := readerOf(nil, 1<<20)
	b.SetBytes(int64(len(frame)))
	b.ReportAllocs()
	for b.Loop() {
		src.Reset(frame)
		r.r.Reset(src)
		kind, body, err := r.next()
		if err != nil {
			b.Fatal(err)
		}
		if _, err := dec.messages(nil, body, kind == frameEntries, 1, 2); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncodeReply(b *testing.B) {
	m, enc, buf := sampleReply(), newEncoder(), []byte(nil)
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if buf, err = enc.appendMessage(buf[:0], &m); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeReply(b *testing.B) {
	frame, dec := messagesFrame(b, frameMessages, sampleReply()), newDecoder()
	ms := make([]raft.Message, 0, 1)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := dec.messages(ms[:0], frame[frameHeader:], false, 1, 2); err != nil {
			b.Fatal(err)
		}
	}
}

// bouncer answers each append and counts replies.
type bouncer struct {
	recorder
	t   *Transport
	got chan struct{}
}

func (p *bouncer) Received(ms []raft.Message) {
	for i := range ms {
		if ms[i].Kind == raft.MsgAppend {
			p.t.Send([]raft.Message{{Kind: raft.MsgAppendReply, To: ms[i].From, Term: ms[i].Term, Match: ms[i].Prev.Index + 64}})
		} else {
			p.got <- struct{}{}
		}
	}
}

func (p *bouncer) Packet(raft.NodeID, uint64, []byte) {}

func bouncers(b *testing.B) (*bouncer, *bouncer) {
	b.Helper()
	var out []*bouncer
	for id := range raft.NodeID(2) {
		n := listen(b, Config{})
		p := &bouncer{recorder: *newRecorder(), t: n.Transport, got: make(chan struct{}, 1024)}
		n.self = helloOf(id + 1)
		if err := n.Start(n.self, p); err != nil {
			b.Fatal(err)
		}
		out = append(out, p)
		if id == 1 {
			out[0].t.SetMembers(configuration(n.member()))
		}
	}
	out[0].expect(b, "connected 2", 1)
	out[1].expect(b, "connected 1", 1)
	return out[0], out[1]
}

// One append of 64 entries there, one reply back, over loopback TCP.
func BenchmarkRoundTrip64x256(b *testing.B) {
	p, _ := bouncers(b)
	ms := []raft.Message{benchAppend()}
	b.ReportAllocs()
	for b.Loop() {
		p.t.Send(ms)
		<-p.got
	}
}

// The same without entries: a heartbeat.
func BenchmarkRoundTripEmpty(b *testing.B) {
	p, _ := bouncers(b)
	ms := []raft.Message{{Kind: raft.MsgAppend, To: 2, Term: 7}}
	b.ReportAllocs()
	for b.Loop() {
		p.t.Send(ms)
		<-p.got
	}
}

// Sixteen appends under way, as a leader does.
func BenchmarkPipelined64x256(b *testing.B) {
	p, _ := bouncers(b)
	ms := []raft.Message{benchAppend()}
	b.SetBytes(64 * 256)
	b.ReportAllocs()
	for range 16 {
		p.t.Send(ms)
	}
	for b.Loop() {
		<-p.got
		p.t.Send(ms)
	}
}

// What the loop pays for one append to one peer, with a socket that takes everything.
func BenchmarkSend64x256(b *testing.B) {
	p, _ := bouncers(b)
	ms := []raft.Message{benchAppend()}
	b.ReportAllocs()
	for b.Loop() {
		p.t.Send(ms)
		b.StopTimer()
		<-p.got
		b.StartTimer()
	}
}
