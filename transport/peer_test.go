package transport

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/raftkv/raftkv/internal/tcpproxy"
	"github.com/raftkv/raftkv/internal/testenv"
	"github.com/raftkv/raftkv/raft"
)

// A process that ends is known to be gone at once, whoever decides on connections.
func TestGoneWhenRefused(t *testing.T) {
	for _, dead := range []int{0, 1} {
		a, b := pair(t, Config{Limits: Limits{GoneWindow: time.Hour}})
		nodes := []*testNode{a, b}
		nodes[dead].Close()
		nodes[1-dead].rec.expect(t, fmt.Sprintf("lost %v conn=1 gone=true", nodes[dead].self.ID), 1)
	}
}

// A connection that is cut while the process lives is lost, but nobody is gone.
func TestCutIsNotGone(t *testing.T) {
	// The window is long, so that the answer to the redial decides and not the load of the machine.
	a, b := run(t, Config{Limits: Limits{GoneWindow: time.Hour}}, helloOf(1)), run(t, Config{}, helloOf(2))
	proxy, err := tcpproxy.New(ownHost()+":0", b.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Close)
	m := b.member()
	m.Peer = proxy.Addr()
	a.SetMembers(configuration(m))
	const times = 5
	for i := range times {
		a.rec.expect(t, "connected 2", i+1)
		b.rec.expect(t, "connected 1", i+1)
		a.Send([]raft.Message{{Kind: raft.MsgVote, To: 2}})
		b.rec.until(t, "a message", func() bool { return len(b.rec.messages) == i+1 })
		proxy.Reset()
		a.rec.expect(t, "lost 2", i+1)
		b.rec.expect(t, "lost 1", i+1)
	}
	a.rec.expect(t, "connected 2", times+1)
	inOrder(t, a.rec.list("connected", "lost"))
	if n := len(a.rec.list("lost")); n != times {
		t.Errorf("%d losses of %d cuts", n, times)
	}
	for _, e := range a.rec.list("lost") {
		if strings.Contains(e, "gone=true") {
			t.Errorf("%s, but it lives", e)
		}
	}
	// And a proxy that refuses looks like a dead process.
	proxy.Refuse()
	a.rec.expect(t, "lost 2 conn="+fmt.Sprint(a.rec.conn)+" gone=true", 1)
	if err := proxy.Accept(); err != nil {
		t.Fatal(err)
	}
	a.rec.expect(t, "connected 2", times+2)
}

// inOrder checks that connections and losses alternate and name the same connection.
func inOrder(t *testing.T, events []string) {
	t.Helper()
	conn := ""
	for _, e := range events {
		f := strings.Fields(e)
		switch {
		case f[0] == "connected" && conn == "":
			conn = f[2]
		case f[0] == "lost" && conn == f[2]:
			conn = ""
		default:
			t.Fatalf("%q does not follow in %q", e, events)
		}
	}
}

// Both sides dial, both are cut again and again: they always end on one
// connection that works both ways.
func TestBothDialThroughFlaps(t *testing.T) {
	a, b := run(t, Config{}, helloOf(1)), run(t, Config{}, helloOf(2))
	var proxies []*tcpproxy.Proxy
	through := func(n *testNode) raft.Member {
		p, err := tcpproxy.New(ownHost()+":0", n.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Close)
		proxies = append(proxies, p)
		m := n.member()
		m.Peer = p.Addr()
		return m
	}
	a.SetMembers(configuration(through(b)))
	b.SetMembers(configuration(through(a)))
	for i := range 20 {
		want := fmt.Sprintf("round %d", i)
		testenv.Eventually(t, "a packet there and back", func() bool {
			a.SendPacket(2, 1, []byte(want))
			b.SendPacket(1, 1, []byte(want))
			has := func(r *recorder) bool {
				r.mu.Lock()
				defer r.mu.Unlock()
				return slices.ContainsFunc(r.packets, func(p []byte) bool { return string(p) == want })
			}
			return has(a.rec) && has(b.rec)
		})
		proxies[0].Reset()
		proxies[1].Reset()
	}
	inOrder(t, a.rec.list("connected", "lost"))
	inOrder(t, b.rec.list("connected", "lost"))
}

// Where the other side decides, a go that comes late over an older connection
// does not push out a newer one, and one of a new process counts from anew.
func TestLateGoIsIgnored(t *testing.T) {
	n := run(t, Config{ElectionTimeout: 1}, helloOf(9))
	dial := func(boot, epoch uint64) *stranger {
		s, w := strange(t, n), greet(1, 9)
		w.Boot = boot
		s.send(t, frameHello, &w)
		if kind, _, err := s.fr.next(); kind != frameHello {
			t.Fatalf("frame %d, %v", kind, err)
		}
		s.send(t, frameGo, &wireGo{Epoch: epoch})
		return s
	}
	ended := func(s *stranger) {
		t.Helper()
		if _, _, err := s.fr.next(); !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the connection goes on: %v", err)
		}
	}
	first := dial(50, 7)
	n.rec.expect(t, "connected 1 conn=1", 1)
	ended(dial(50, 6))
	ended(dial(50, 7))
	first.Write(appendFrame(nil, framePacket, []byte("still here")))
	n.rec.expect(t, "packet 1 conn=1", 1)
	second := dial(50, 8)
	n.rec.expect(t, "lost 1 conn=1 gone=false", 1)
	n.rec.expect(t, "connected 1 conn=2", 1)
	ended(first)
	dial(51, 1)
	n.rec.expect(t, "connected 1 conn=3", 1)
	ended(second)
}

// A refusal by the other side is told to whoever runs this node; our own refusal
// of it, and what is no fault, is not.
func TestOnRefused(t *testing.T) {
	told := make(chan string, 100)
	a := run(t, Config{
		OnRefused: func(peer raft.NodeID, code Code, advice string) {
			told <- fmt.Sprintf("%v %d %s", peer, code, advice)
		},
		Removed: func(id raft.NodeID) bool { return id == 4 },
	}, helloOf(1))
	young := listen(t, Config{})
	b := run(t, Config{Removed: func(id raft.NodeID) bool { return id == 1 }}, helloOf(2))
	gone := run(t, Config{}, helloOf(4))
	a.SetMembers(configuration(raft.Member{ID: 3, Peer: young.Addr().String()}, gone.member()))
	testenv.Eventually(t, "dials of the young one", func() bool { return young.Stats().Refused > 1 })
	testenv.Eventually(t, "our refusals of the removed one", func() bool {
		p := a.Stats().Peers[1]
		return p.Refusal != "" && p.Dials > 1
	})
	a.SetMembers(configuration(b.member()))
	if got := <-told; !strings.HasPrefix(got, "2 4 ") || !strings.Contains(got, "was removed") {
		t.Errorf("told %q", got)
	}
}

// A restarted process takes the place of its old self.
func TestReconnectAfterRestart(t *testing.T) {
	a, b := pair(t, Config{Limits: Limits{GoneWindow: time.Hour}})
	addr := b.Addr().String()
	b.Close()
	a.rec.expect(t, "lost 2 conn=1 gone=true", 1)
	again := helloOf(2)
	again.Boot++
	b2 := run(t, Config{Listen: addr}, again)
	a.rec.expect(t, "connected 2", 2)
	b2.rec.expect(t, "connected 1", 1)
	if s := a.Stats().Peers[0]; s.Boot != again.Boot || s.Connects != 2 || !s.Connected || s.MaxLevel != 3 || s.Name != "n2" || s.Addr != addr {
		t.Errorf("stats are %+v", s)
	}
}

// A dial that its own side gave up, read late: both of two nodes dial, one
// connection stands, and the process of the other dial dies before its hello is
// read. It must not pass for a sign of life.
func TestDialGivenUpIsNoConnection(t *testing.T) {
	a := run(t, Config{}, helloOf(1))
	ln, err := net.Listen("tcp", ownHost()+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	dead, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	raw, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	dead.Close()
	if _, err := raw.Read(make([]byte, 1)); err != io.EOF {
		t.Fatalf("the end of the dial: %v", err)
	}
	c := &candidate{raw: raw, nc: raw, fr: &frameReader{r: bufio.NewReader(raw), max: maxHandshake}, hello: greet(2, 1)}
	if r := a.admit(c, func() {}); r != nil {
		t.Fatalf("%v", r)
	}
	// What counts as a connection does so before admit returns.
	if got := a.rec.list("connected", "lost"); len(got) != 0 {
		t.Errorf("a dial that was over came to count: %q", got)
	}
	// And one that is alive does count.
	deafPeer(t, a, 2)
}

// A removed node's connection ends when SetMembers is told, and it isn't let in again.
func TestRemovedNodeIsCut(t *testing.T) {
	gone := make(chan struct{})
	a := run(t, Config{Removed: func(id raft.NodeID) bool {
		select {
		case <-gone:
			return id == 2
		default:
			return false
		}
	}}, helloOf(1))
	b := run(t, Config{}, helloOf(2))
	join(t, a, b)
	a.SetMembers(configuration(a.member())) // not committed yet
	a.Send([]raft.Message{{Kind: raft.MsgVote, To: 2}})
	b.rec.until(t, "a message over the connection that stays", func() bool { return len(b.rec.messages) == 1 })
	close(gone)
	a.SetMembers(configuration(a.member()))
	a.rec.expect(t, "lost 2 conn=1 gone=false", 1)
	testenv.Eventually(t, "b to learn why", func() bool { return strings.Contains(b.Stats().Peers[0].Refusal, "was removed") })
}

// Packets arrive in their order, on the connection that SendPacket named at both ends.
func TestPacketsKeepOrder(t *testing.T) {
	a, b := pair(t, Config{})
	const n = 2000
	for i := range n {
		conn, err := a.SendPacket(2, uint64(i), binary.LittleEndian.AppendUint64(nil, uint64(i)))
		if err != nil || conn != 1 {
			t.Fatalf("packet %d: conn %d, %v", i, conn, err)
		}
	}
	b.rec.until(t, "all packets", func() bool { return len(b.rec.packets) == n })
	for i, p := range b.rec.packets {
		if got := binary.LittleEndian.Uint64(p); got != uint64(i) {
			t.Fatalf("packet %d is number %d", i, got)
		}
	}
	a.rec.until(t, "nothing", func() bool { return a.rec.count("unsent") == 0 })
}

func TestPacketsAreRefusedAloud(t *testing.T) {
	a := run(t, Config{}, helloOf(1))
	if _, err := a.SendPacket(2, 1, nil); !errors.Is(err, ErrNotConnected) {
		t.Errorf("to nobody: %v", err)
	}
	a.SetMembers(configuration(raft.Member{ID: 2, Peer: ownHost() + ":1"}))
	if _, err := a.SendPacket(2, 1, nil); !errors.Is(err, ErrNotConnected) {
		t.Errorf("to one that is not reached: %v", err)
	}
	_, w := deafPeer(t, a, 9)
	if _, err := a.SendPacket(9, 1, make([]byte, w.MaxFrame+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("larger than the peer's frames: %v", err)
	}
}

// deafPeer makes a connection of a peer that never reads.
func deafPeer(t *testing.T, n *testNode, id raft.NodeID) (*stranger, wireHello) {
	t.Helper()
	s, w := strange(t, n), greet(id, n.self.ID)
	s.send(t, frameHello, &w)
	if kind, _, err := s.fr.next(); kind != frameHello {
		t.Fatalf("frame %d, %v", kind, err)
	}
	n.rec.expect(t, "connected "+id.String(), 1)
	return s, w
}

// A peer that takes connections and never reads costs its queue and no more;
// others go on meanwhile; it is given up after the write timeout (NP-16). Each
// packet for it was refused, or is unsent, or may have been written.
func TestPeerThatNeverReads(t *testing.T) {
	const maxBytes = 1 << 20
	a := run(t, Config{Limits: Limits{QueueBytes: maxBytes, QueueMessages: 100, WriteTimeout: 500 * time.Millisecond}}, helloOf(1))
	deafPeer(t, a, 9)
	b := run(t, Config{}, helloOf(2))
	a.SetMembers(configuration(b.member()))
	a.rec.expect(t, "connected 2", 1)

	// Fill the socket, then the queue.
	data := bytes.Repeat([]byte("x"), 64<<10)
	taken, full := 0, 0
	for token := uint64(0); full < 50 && (full == 0 || len(a.rec.list("lost 9")) == 0); token++ {
		a.Send([]raft.Message{{Kind: raft.MsgAppend, To: 9, Entries: []raft.Entry{command(1, 1, string(data))}}})
		switch _, err := a.SendPacket(9, token, data); {
		case err == nil:
			taken++
		case errors.Is(err, ErrQueueFull):
			full++
		case full > 0 && len(a.rec.list("lost 9")) > 0: // given up already: a busy machine was away for that long
		default:
			t.Fatalf("after %d packets: %v", taken, err)
		}
		for _, p := range a.Stats().Peers {
			if p.ID == 9 && (p.QueuedBytes > 2*maxBytes || p.Queued > 200) {
				t.Fatalf("queue holds %d in %d bytes", p.Queued, p.QueuedBytes)
			}
		}
	}
	a.Send([]raft.Message{{Kind: raft.MsgVote, To: 2}})
	b.rec.until(t, "a message to the other peer", func() bool { return len(b.rec.messages) == 1 })
	a.rec.expect(t, "lost 9", 1)
	unsent := a.rec.list("unsent 9")
	if len(unsent) == 0 || len(unsent) > taken {
		t.Errorf("%d packets unsent of %d taken", len(unsent), taken)
	}
	// Unsent are the last ones, in order, each once, and they come before Lost.
	for i, e := range unsent {
		var token int
		fmt.Sscanf(e, "unsent 9 %d", &token)
		if i > 0 {
			var before int
			fmt.Sscanf(unsent[i-1], "unsent 9 %d", &before)
			if token <= before {
				t.Fatalf("unsent out of order: %v", unsent)
			}
		}
	}
	if e := a.rec.list("unsent 9", "lost 9"); !strings.HasPrefix(e[len(e)-1], "lost") {
		t.Errorf("the loss comes before %q", e[len(e)-1])
	}
	for _, p := range a.Stats().Peers {
		// Each packet is one or the other: what was begun and what is unsent.
		if p.ID == 9 && (p.Dropped == 0 || p.Queued != 0 || p.PacketsOut+uint64(len(unsent)) != uint64(taken)) {
			t.Errorf("%d packets taken, %d unsent, stats are %+v", taken, len(unsent), p)
		}
	}
}

// A handler that is slow stops the reading of its peer only, and nothing is lost of it.
func TestSlowHandlerPushesBack(t *testing.T) {
	a, b := run(t, Config{}, helloOf(1)), run(t, Config{}, helloOf(2))
	b.rec.block = make(chan struct{})
	join(t, a, b)
	for i := range 300 {
		a.Send([]raft.Message{{Kind: raft.MsgAppendReply, To: 2, Match: raft.Index(i)}})
	}
	if conn, err := b.SendPacket(1, 1, []byte("answer")); err != nil || conn == 0 {
		t.Fatal(err)
	}
	a.rec.expect(t, "packet 2", 1) // the other direction is free
	close(b.rec.block)
	b.rec.until(t, "all messages", func() bool { return len(b.rec.messages) == 300 })
	for i, m := range b.rec.messages {
		if m.Match != raft.Index(i) {
			t.Fatalf("message %d is number %d", i, m.Match)
		}
	}
}

// A frozen link is noticed by its writes; when it thaws the late bytes of the old
// connection do no harm (NP-13, NP-17).
func TestFrozenLink(t *testing.T) {
	limits := Limits{WriteTimeout: 100 * time.Millisecond, HandshakeTimeout: 200 * time.Millisecond}
	a, b := run(t, Config{Limits: limits}, helloOf(1)), run(t, Config{Limits: limits}, helloOf(2))
	proxy, err := tcpproxy.New(ownHost()+":0", b.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Close)
	m := b.member()
	m.Peer = proxy.Addr()
	a.SetMembers(configuration(m))
	a.rec.expect(t, "connected 2", 1)
	b.rec.expect(t, "connected 1", 1)
	proxy.Hold(true, false)
	data := string(bytes.Repeat([]byte("x"), 1<<20))
	testenv.Eventually(t, "the loss", func() bool {
		a.Send([]raft.Message{{Kind: raft.MsgAppend, To: 2, Entries: []raft.Entry{command(1, 1, data)}}})
		return len(a.rec.list("lost 2 conn=1 gone=false")) == 1
	})
	proxy.Hold(false, false)
	a.rec.expect(t, "connected 2", 2)
	b.rec.expect(t, "connected 1", 2)
	inOrder(t, b.rec.list("connected", "lost"))
}

// Send must not wait for anything: not for a peer that isn't there either.
func TestSendToNobody(t *testing.T) {
	a := run(t, Config{}, helloOf(1))
	a.SetMembers(configuration(raft.Member{ID: 2, Peer: ownHost() + ":1"}))
	a.Send([]raft.Message{{Kind: raft.MsgVote, To: 2}, {Kind: raft.MsgVote, To: 3}})
	if s := a.Stats(); s.Homeless != 1 || s.Peers[0].Dropped != 1 {
		t.Errorf("stats are %+v", s)
	}
}

// The local configuration's address wins over the one in the log.
func TestAddressOfConfigurationWins(t *testing.T) {
	b := run(t, Config{}, helloOf(2))
	a := run(t, Config{Addr: func(m raft.Member) string { return b.Addr().String() }}, helloOf(1))
	a.SetMembers(configuration(raft.Member{ID: 2, Peer: "wrong.invalid:1"}))
	a.rec.expect(t, "connected 2", 1)
}

// A new address is tried at once.
func TestAddressChange(t *testing.T) {
	a, b := run(t, Config{Limits: Limits{RetryMin: time.Hour, RetryMax: time.Hour}}, helloOf(1)), run(t, Config{}, helloOf(2))
	a.SetMembers(configuration(raft.Member{ID: 2, Peer: ownHost() + ":1"}))
	testenv.Eventually(t, "a dial in vain", func() bool { return a.log.lines("peer not reached") == 1 })
	a.SetMembers(configuration(b.member()))
	a.rec.expect(t, "connected 2", 1)
}
