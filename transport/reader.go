package transport

import (
	"errors"
	"fmt"
	"io"

	"github.com/raftkv/raftkv/raft"
)

// readBatch is how many messages are handed over at once at most: what is already
// here goes up as one event.
const readBatch = 256

// read decodes frames and hands them over until the link ends. While the handler
// blocks nothing is read, and the peer's writer feels it.
func (l *link) read() {
	dec := newDecoder()
	var ms []raft.Message
	var wire wireRefusal
	deliver := func() {
		if len(ms) > 0 {
			l.h.Received(ms)
			ms = nil // the handler keeps the slice
		}
	}
	for {
		kind, body, err := l.fr.next()
		if err != nil {
			deliver()
			if errors.Is(err, io.EOF) {
				err = fmt.Errorf("peer closed the connection: %w", err)
			} else {
				err = fmt.Errorf("read from peer: %w", err)
			}
			l.end(err)
			return
		}
		l.stats.bytesIn.Add(uint64(len(body) + frameHeader))
		l.heardAt.Store(int64(l.clock()))
		switch kind {
		case frameMessages, frameEntries:
			before := len(ms)
			ms, err = dec.messages(ms, body, kind == frameEntries, l.peer, l.self)
			if err != nil {
				l.end(fmt.Errorf("read from peer: %w", err))
				return
			}
			l.note(ms[before:])
			if len(ms) >= readBatch || !l.fr.buffered() {
				deliver()
			}
		case framePacket:
			l.stats.packetsIn.Add(1)
			l.h.Packet(l.peer, l.conn, body)
		case frameRefusal:
			deliver()
			err := dec.value(body, &wire)
			if err == nil {
				err = wire.error()
			}
			l.end(err)
			return
		default:
			// A kind of a later version that keeps to this protocol version: not for us.
			l.stats.unknown.Add(1)
		}
		if len(ms) > 0 && !l.fr.buffered() {
			deliver()
		}
	}
}

// note counts messages and remembers the highest Seq.
func (l *link) note(ms []raft.Message) {
	l.stats.messagesIn.Add(uint64(len(ms)))
	highest := l.seq.Load()
	for i := range ms {
		highest = max(highest, ms[i].Seq)
	}
	// Only one link of a peer stands at a time, and its reader is the only writer.
	if highest > l.seq.Load() {
		l.seq.Store(highest)
	}
}
