// Package transport carries Raft messages, packets and snapshot files between
// nodes: msgpack in checksummed frames over TCP, with mutual TLS if configured.
//
// Two nodes keep one connection, used in both directions. Either may dial; the
// one with the lower NodeID decides which connection stands (see peer.go), so
// both agree on it, and "the connection over which I sent the request" and "the
// one over which its answer comes" are the same one. Snapshot files and the
// small exchanges of nodes without an identity have connections of their own.
//
//	Send, SendPacket --> queue --> writer --> socket --> reader --> Handler
//	(never block)      bounded,  encodes,              decodes,
//	                   per peer  flushes once          one allocation a frame
//
// Messages may be lost: what finds no room or no connection is dropped and
// counted. Packets are never lost silently: refused, reported as unsent, or
// written once to one connection. Nothing here knows terms, leaders or logs.
//
// Read Config, Handler and Transport first, then peer.go (who dials, what
// stands), handshake.go (who is let in), writer.go and reader.go (the hot path).
// The bytes are described in docs/formats-transport.md.
package transport
