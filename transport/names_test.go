package transport

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/raftkv/raftkv/internal/testenv"
	"github.com/raftkv/raftkv/raft"
)

// Members may be named, and may have addresses of IPv6.
func TestNamesAndIPv6(t *testing.T) {
	for _, host := range []string{"[::1]", "localhost"} {
		t.Run(host, func(t *testing.T) {
			if ln, err := net.Listen("tcp", host+":0"); err != nil {
				t.Skipf("not on this machine: %v", err)
			} else {
				ln.Close()
			}
			a, b := run(t, Config{Listen: host + ":0"}, helloOf(1)), run(t, Config{Listen: host + ":0"}, helloOf(2))
			member := func(n *testNode) raft.Member {
				m := n.member()
				m.Peer = fmt.Sprintf("%s:%d", host, n.Addr().(*net.TCPAddr).Port)
				return m
			}
			a.SetMembers(configuration(member(b)))
			b.SetMembers(configuration(member(a)))
			a.rec.expect(t, "connected 2", 1)
			b.rec.expect(t, "connected 1", 1)
		})
	}
}

// zone is a name server for all names. They stand for one address, or for none.
type zone struct{ at atomic.Pointer[string] }

func (z *zone) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go z.serve(ours) // owns its end; ends when the resolver closes the other
		return theirs, nil
	}}
}

// serve answers queries as DNS over TCP does (RFC 1035).
func (z *zone) serve(c net.Conn) {
	defer c.Close()
	for {
		var size [2]byte
		if _, err := io.ReadFull(c, size[:]); err != nil {
			return
		}
		query := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(c, query); err != nil {
			return
		}
		const header, typeA = 12, 1
		end := header + bytes.IndexByte(query[header:], 0) + 5 // of the one question: name, type, class
		answer := append([]byte{query[0], query[1], 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, query[header:end]...)
		switch at := z.at.Load(); {
		case at == nil:
			answer[3] |= 3 // no such name
		case binary.BigEndian.Uint16(query[end-4:]) == typeA:
			answer[7] = 1
			answer = append(answer, 0xc0, header, 0, typeA, 0, 1, 0, 0, 0, 0, 0, 4)
			answer = append(answer, net.ParseIP(*at).To4()...)
		}
		if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...)); err != nil {
			return
		}
	}
}

// A name that nobody knows is asked for again, and one that has come to mean another address leads there.
func TestNameIsAskedForAgain(t *testing.T) {
	hosts := []string{ownHost(), ownHost()}
	a := run(t, Config{Limits: Limits{RetryMin: 10 * time.Millisecond, RetryMax: 10 * time.Millisecond}}, helloOf(1))
	names := new(zone)
	a.dialer.Resolver = names.resolver()
	b := run(t, Config{Listen: hosts[0] + ":0"}, helloOf(2))
	port := b.Addr().(*net.TCPAddr).Port
	a.SetMembers(configuration(raft.Member{ID: 2, Peer: fmt.Sprintf("n2.example.:%d", port)}))
	testenv.Eventually(t, "a dial in vain", func() bool { return a.log.lines("peer not reached") == 1 })
	names.at.Store(&hosts[0])
	a.rec.expect(t, "connected 2", 1)

	b.Close()
	a.rec.expect(t, "lost 2", 1)
	moved := helloOf(2)
	moved.Boot++
	run(t, Config{Listen: fmt.Sprintf("%s:%d", hosts[1], port)}, moved)
	names.at.Store(&hosts[1])
	a.rec.expect(t, "connected 2", 2)
}
