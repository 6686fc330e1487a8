package transport

import (
	"fmt"
	"time"

	"github.com/raftkv/raftkv/raft"
)

const (
	// chunk is about how much is written at once. Between two chunks urgent
	// messages get their turn.
	chunk = 256 << 10
	// keepBuffer is the largest buffer that is kept for the next time.
	keepBuffer = 4 << 20
)

// writer is the state of a link's write half.
type writer struct {
	*link
	enc *encoder

	b       batch // taken from the queue; urgent is empty between two chunks
	bulk    int   // so many of b.bulk are encoded
	packets int   // so many of b.packets are encoded

	buf      []byte   // the chunk: whole frames
	sent     []packet // the packets in buf
	starts   []int    // where their frames begin
	inBuf    usage    // of the messages in buf
	inBufPkt usage
}

// write drains the queue into the socket until the link ends. Whatever has come
// since the last time is encoded and flushed at once: batches grow by themselves
// when the socket is slow.
func (l *link) write(first []byte) {
	w := &writer{link: l, enc: newEncoder(), buf: append(make([]byte, 0, 16<<10), first...)}
	defer w.leave()
	for {
		if len(w.buf) > 0 && !w.flush() {
			return
		}
		w.q.take(&w.b)
		if len(w.b.urgent)+len(w.b.packets)+len(w.b.bulk) > 0 {
			w.fill()
			continue
		}
		select {
		case <-w.q.wake:
		case <-w.stop:
			return
		}
	}
}

// fill encodes the next chunk: all that is urgent, then about a chunk of packets,
// then about a chunk of appends, so that neither of the two starves the other.
func (w *writer) fill() {
	w.encode(w.b.urgent, 1<<30)
	w.b.urgent = w.b.urgent[:0]

	for w.packets < len(w.b.packets) && len(w.buf) < chunk {
		p := &w.b.packets[w.packets]
		w.starts = append(w.starts, len(w.buf))
		w.sent = append(w.sent, *p)
		w.buf = appendFrame(w.buf, framePacket, p.data)
		w.inBufPkt.count++
		w.inBufPkt.bytes += len(p.data)
		*p = packet{}
		w.packets++
	}
	if w.packets == len(w.b.packets) {
		w.b.packets, w.packets = w.b.packets[:0], 0
	}

	w.bulk += w.encode(w.b.bulk[w.bulk:], len(w.buf)+chunk)
	if w.bulk == len(w.b.bulk) {
		w.b.bulk, w.bulk = w.b.bulk[:0], 0
	}
}

// encode appends frames of messages from ms to buf until it is at least end long,
// and returns how many of ms it dealt with.
func (w *writer) encode(ms []raft.Message, end int) (done int) {
	for done < len(ms) && len(w.buf) < end {
		start, kind := len(w.buf), frameMessages
		w.buf = beginFrame(w.buf)
		for done < len(ms) {
			m := &ms[done]
			cost := messageCost(m)
			// The first message of a frame may be as large as a frame can be.
			if size := len(w.buf) - start - frameHeader; size > 0 && size+cost > min(chunk, w.maxBody) {
				break
			}
			w.inBuf.count++
			w.inBuf.bytes += cost
			if w.message(m, start) && len(m.Entries) > 0 {
				kind = frameEntries
			}
			*m = raft.Message{} // let go of the entries
			done++
		}
		if len(w.buf) == start+frameHeader {
			w.buf = w.buf[:start] // every message in it was dropped
			continue
		}
		endFrame(w.buf, start, kind)
	}
	return done
}

// message appends m to the frame that begins at start, or drops it.
func (w *writer) message(m *raft.Message, start int) bool {
	before := len(w.buf)
	buf, err := w.enc.appendMessage(w.buf, m)
	if err == nil && len(buf)-start-frameHeader > w.maxBody {
		err = fmt.Errorf("frame of %d bytes, limit is %d: raise the frame limit of both nodes", len(buf)-start-frameHeader, w.maxBody)
	}
	if err != nil {
		w.buf = w.buf[:before]
		w.stats.dropped.Add(1)
		w.log.warn("encode "+w.peer.String(), "message to peer dropped", "peer", w.peer, "index", m.Prev.Index+1, "error", err)
		return false
	}
	w.buf = buf
	w.stats.messagesOut.Add(1)
	return true
}

// flush writes buf and tells whether the link goes on.
func (w *writer) flush() bool {
	err := w.nc.SetWriteDeadline(time.Now().Add(w.timeout))
	n := 0
	if err == nil {
		n, err = w.nc.Write(w.buf)
	}
	w.stats.bytesOut.Add(uint64(n))
	if err != nil {
		w.end(fmt.Errorf("write to peer: %w", err))
		w.cut(n)
		return false
	}
	w.stats.packetsOut.Add(uint64(len(w.sent)))
	w.q.release(w.inBuf, w.inBufPkt)
	w.inBuf, w.inBufPkt = usage{}, usage{}
	clear(w.sent)
	w.sent, w.starts = w.sent[:0], w.starts[:0]
	if cap(w.buf) > keepBuffer {
		w.buf = nil
	}
	w.buf = w.buf[:0]
	return true
}

// cut sorts the packets of a chunk of which only n bytes went out.
func (w *writer) cut(n int) {
	for i, start := range w.starts {
		// A packet whose first byte the kernel did not take can't arrive. Under TLS
		// the count is of records: be careful and call everything sent.
		if w.plain && start >= n {
			w.unsent = append(w.unsent, w.sent[i])
		} else {
			w.stats.packetsOut.Add(1)
		}
	}
}

// leave hands what was not written to the manager.
func (w *writer) leave() {
	w.unsent = append(w.unsent, w.b.packets[w.packets:]...)
	w.lost = len(w.b.urgent) + len(w.b.bulk) - w.bulk
}
