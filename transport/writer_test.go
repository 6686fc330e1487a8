package transport

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/raftkv/raftkv/internal/testenv"
	"github.com/raftkv/raftkv/raft"
)

// sink is a connection that takes each write when the test lets it.
type sink struct {
	net.Conn // nil: only what is below is called
	writes   chan []byte
	take     chan int // bytes of the next write to take; fewer than it has fails it
	closed   chan struct{}
}

func (s *sink) Write(b []byte) (int, error) {
	select {
	case s.writes <- bytes.Clone(b):
	case <-s.closed:
		return 0, net.ErrClosed
	}
	select {
	case n := <-s.take:
		if n < len(b) {
			return n, errors.New("cut")
		}
	case <-s.closed:
		return 0, net.ErrClosed
	}
	return len(b), nil
}
func (s *sink) SetWriteDeadline(time.Time) error { return nil }
func (s *sink) Close() error                     { close(s.closed); return nil }

type writerTest struct {
	*link
	s    *sink
	log  *syncBuffer
	done chan struct{}
}

// startWriter runs a write half alone.
func startWriter(t *testing.T, maxBody int) *writerTest {
	w := &writerTest{s: &sink{writes: make(chan []byte), take: make(chan int), closed: make(chan struct{})}, log: new(syncBuffer), done: make(chan struct{})}
	w.link = &link{
		candidate: &candidate{raw: w.s, nc: w.s}, conn: 5, peer: 2, maxBody: maxBody, plain: true,
		q: newQueue(1000, 64<<20), stats: new(peerCounters), log: newRateLog(slog.New(slog.NewTextHandler(w.log, nil))),
		timeout: time.Second, stop: make(chan struct{}),
	}
	w.q.open(5, maxBody)
	go func() { w.write(nil); close(w.done) }()
	t.Cleanup(func() { w.end(nil); <-w.done })
	return w
}

// kinds reads the frames of one write as text.
func kinds(t *testing.T, b []byte) (out []string) {
	t.Helper()
	r := readerOf(b, 64<<20)
	for range 1000 {
		kind, body, err := r.next()
		if err != nil {
			break
		}
		switch kind {
		case framePacket:
			out = append(out, "packet")
		default:
			ms, err := newDecoder().messages(nil, body, kind == frameEntries, 1, 2)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range ms {
				out = append(out, map[raft.Kind]string{raft.MsgAppend: "append", raft.MsgAppendReply: "reply", raft.MsgOffer: "offer"}[m.Kind])
			}
		}
	}
	return out
}

func (w *writerTest) append(n int) {
	m := raft.Message{Kind: raft.MsgAppend, To: 2}
	if n > 0 {
		m.Entries = []raft.Entry{command(1, 1, strings.Repeat("x", n))}
	}
	w.q.put(&m)
}

func (w *writerTest) reply() { w.q.put(&raft.Message{Kind: raft.MsgAppendReply, To: 2}) }

// While one write is under way the next one fills; an acknowledgement overtakes
// the appends that wait, appends and heartbeats keep their order, and packets get
// their turn.
func TestUrgentOvertakesAppends(t *testing.T) {
	w := startWriter(t, 64<<20)
	w.append(chunk)
	first := <-w.s.writes
	w.append(chunk)
	w.append(0)
	w.append(chunk)
	w.q.putPacket(packet{1, make([]byte, 2*chunk)})
	w.reply()
	w.q.putPacket(packet{2, []byte("x")})
	var got [][]string
	got = append(got, kinds(t, first))
	w.s.take <- 1 << 30
	for range 2 {
		b := <-w.s.writes
		got = append(got, kinds(t, b))
		if len(got) == 2 {
			w.reply() // comes while more than a chunk is left
		}
		w.s.take <- 1 << 30
	}
	want := [][]string{{"append"}, {"reply", "packet", "append"}, {"reply", "packet", "append", "append"}}
	for i := range want {
		if strings.Join(got[i], " ") != strings.Join(want[i], " ") {
			t.Errorf("write %d is %v, want %v", i, got[i], want[i])
		}
	}
}

// Small messages share a frame and a write.
func TestManyMessagesOneWrite(t *testing.T) {
	w := startWriter(t, 64<<20)
	w.append(1)
	<-w.s.writes
	for range 50 {
		w.reply()
		w.append(10)
	}
	w.s.take <- 1 << 30
	b := <-w.s.writes
	if n := len(kinds(t, b)); n != 100 {
		t.Errorf("%d messages in the write, want 100", n)
	}
	frames := 0
	for r := readerOf(b, 64<<20); ; frames++ {
		if _, _, err := r.next(); err != nil {
			break
		}
	}
	if frames != 2 {
		t.Errorf("%d frames, want 2: replies, appends", frames)
	}
	w.s.take <- 1 << 30
	testenv.Eventually(t, "the room to be given back", func() bool { n, size := w.q.depth(); return n == 0 && size == 0 })
}

// A message that no frame may hold is dropped with a line; what is around it goes on.
func TestMessageLargerThanAFrame(t *testing.T) {
	w := startWriter(t, frameFloor)
	w.append(1)
	<-w.s.writes
	w.append(10)
	w.append(frameFloor)
	w.append(20)
	w.s.take <- 1 << 30
	if got := kinds(t, <-w.s.writes); len(got) != 2 {
		t.Errorf("written %v, want two appends", got)
	}
	w.s.take <- 1 << 30
	if w.stats.dropped.Load() != 1 || w.log.lines("raise the frame limit") != 1 {
		t.Errorf("dropped %d, log:\n%s", w.stats.dropped.Load(), w.log)
	}
}

// When a write is cut, packets of which no byte went out are unsent, in order;
// the one that was cut through, and those before it, are not.
func TestCutWrite(t *testing.T) {
	for _, plain := range []bool{true, false} {
		w := startWriter(t, 1<<20)
		w.plain = plain
		w.append(1)
		<-w.s.writes
		for token := range uint64(4) {
			w.q.putPacket(packet{token, make([]byte, 100)})
		}
		w.s.take <- 1 << 30
		<-w.s.writes
		w.q.putPacket(packet{4, nil}) // never taken from the queue
		// The first packet whole, one byte of the second.
		w.s.take <- frameHeader + 100 + 1
		<-w.done
		var got []uint64
		_, queued := w.q.drain()
		for _, p := range append(w.unsent, queued...) {
			got = append(got, p.token)
		}
		want := []uint64{2, 3, 4}
		if !plain {
			want = []uint64{4} // under TLS nothing of a broken write is called unsent
		}
		if len(got) != len(want) {
			t.Fatalf("plain=%v: unsent %v, want %v", plain, got, want)
		}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("plain=%v: unsent %v, want %v", plain, got, want)
			}
		}
	}
}

// When a connection ends, all packets of which nothing was written are reported
// in their order, wherever they were, and then the loss.
func TestUnsentInOrder(t *testing.T) {
	n := run(t, Config{}, helloOf(1))
	m := &manager{peer: newPeer(n.Transport, n.identity(), 2)}
	w := startWriter(t, 1<<20)
	w.candidate.hello = greet(2, 1)
	m.link, m.q = w.link, w.q
	w.halves.Add(1)
	go func() { <-w.done; w.halves.Done() }()

	w.q.putPacket(packet{0, make([]byte, chunk)})
	<-w.s.writes
	for token := uint64(1); token <= 4; token++ {
		w.q.putPacket(packet{token, make([]byte, chunk)})
	}
	w.s.take <- 1 << 30
	<-w.s.writes // of 1, while the writer holds 2 to 4
	w.q.putPacket(packet{5, nil})
	w.s.take <- 0 // the kernel takes no byte
	<-w.done
	m.finish(errReplaced)
	m.report(false)
	want := "unsent 2 1, unsent 2 2, unsent 2 3, unsent 2 4, unsent 2 5, lost 2 conn=5 gone=false"
	if got := strings.Join(n.rec.list(""), ", "); got != want {
		t.Errorf("calls are %s, want %s", got, want)
	}
}

// What was told as unsent or dropped when a connection broke is never sent on the next one.
func TestDrainedQueueIsEmpty(t *testing.T) {
	q := newQueue(10, 1000)
	q.open(1, 1000)
	if _, err := q.putPacket(packet{token: 7, data: []byte("x")}); err != nil || !q.put(&raft.Message{Kind: raft.MsgAppend}) || !q.put(&raft.Message{Kind: raft.MsgVote}) {
		t.Fatalf("no room in an empty queue: %v", err)
	}
	q.shut()
	if dropped, unsent := q.drain(); dropped != 2 || len(unsent) != 1 || unsent[0].token != 7 {
		t.Fatalf("dropped %d, unsent %v", dropped, unsent)
	}
	q.open(2, 1000)
	var b batch
	q.take(&b)
	if n := len(b.urgent) + len(b.bulk) + len(b.packets); n != 0 {
		t.Errorf("%d are sent on the next connection", n)
	}
	if count, bytes := q.depth(); count != 0 || bytes != 0 {
		t.Errorf("an empty queue counts %d in %d bytes", count, bytes)
	}
}

// The queue is bounded by count and by bytes, messages and packets each, and one
// thing larger than the limit still gets through.
func TestQueueBounds(t *testing.T) {
	q := newQueue(3, 1000)
	vote := &raft.Message{Kind: raft.MsgVote}
	if q.put(vote) {
		t.Error("taken without a connection")
	}
	q.open(1, 10000)
	big := &raft.Message{Kind: raft.MsgAppend, Entries: []raft.Entry{command(1, 1, strings.Repeat("x", 5000))}}
	if !q.put(big) {
		t.Error("an empty queue refused a large message")
	}
	if q.put(vote) {
		t.Error("taken beyond the bytes")
	}
	for i := range 3 {
		if _, err := q.putPacket(packet{uint64(i), make([]byte, 300)}); err != nil {
			t.Errorf("packet %d: %v", i, err)
		}
	}
	if _, err := q.putPacket(packet{3, nil}); !errors.Is(err, ErrQueueFull) {
		t.Errorf("fourth packet: %v", err)
	}
	// What the writer holds still counts.
	var b batch
	q.take(&b)
	if q.put(vote) || len(b.bulk) != 1 || len(b.packets) != 3 {
		t.Errorf("taken although the writer holds %d and %d", len(b.bulk), len(b.packets))
	}
	q.release(usage{1, messageCost(big)}, usage{3, 900})
	for i := range 3 {
		if !q.put(vote) {
			t.Errorf("vote %d refused", i)
		}
	}
	if q.put(vote) {
		t.Error("taken beyond the count")
	}
}
