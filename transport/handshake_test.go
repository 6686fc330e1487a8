package transport

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/raftkv/raftkv/internal/testenv"
	"github.com/raftkv/raftkv/raft"
)

// stranger is a connection that a test drives by hand.
type stranger struct {
	net.Conn
	fr *frameReader
}

func strange(t testing.TB, n *testNode) *stranger {
	t.Helper()
	nc, err := net.Dial("tcp", n.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	if err := nc.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return &stranger{nc, &frameReader{r: bufio.NewReader(nc), max: 1 << 20}}
}

func (s *stranger) send(t testing.TB, kind frameKind, v any) {
	t.Helper()
	if _, err := s.Write(appendFrame(nil, kind, encodeBody(t, v))); err != nil {
		t.Fatal(err)
	}
}

// greet is the hello that node id would send to n.
func greet(id raft.NodeID, to raft.NodeID) wireHello {
	h := helloOf(id)
	return wireHello{
		Magic: helloMagic, MinVersion: 1, MaxVersion: 1, Purpose: uint8(purposeRaft), To: uint64(to),
		Cluster: h.Cluster[:], Node: h.Node[:], ID: uint64(id), Name: h.Name, Boot: h.Boot,
		MinLevel: 1, MaxLevel: 3, MaxFrame: 1 << 20,
	}
}

func (s *stranger) refusal(t testing.TB) *RefusedError {
	t.Helper()
	kind, body, err := s.fr.next()
	if err != nil || kind != frameRefusal {
		t.Fatalf("got frame %d, %v, want a refusal", kind, err)
	}
	var w wireRefusal
	if err := newDecoder().value(body, &w); err != nil {
		t.Fatal(err)
	}
	return w.error()
}

// Each refusal reaches the other side with its code and a sentence that says
// what to do, and is logged once however often it is tried.
func TestRefusals(t *testing.T) {
	removed := Config{Removed: func(id raft.NodeID) bool { return id == 7 }}
	for _, tc := range []struct {
		name   string
		cfg    Config
		hello  func(w *wireHello)
		code   Code
		advice string
		quiet  bool
	}{
		{"version", Config{}, func(w *wireHello) { w.MinVersion, w.MaxVersion = 8, 9 }, RefusedVersion, "upgrade the older", false},
		{"cluster", Config{}, func(w *wireHello) { w.Cluster = bytes.Repeat([]byte{9}, 16) }, RefusedCluster, "check the peer addresses of both", false},
		{"itself", Config{}, func(w *wireHello) {
			h := helloOf(5)
			w.Node, w.ID, w.Boot = h.Node[:], 5, h.Boot
		}, RefusedSelf, "reached itself", false},
		{"a copy of itself", Config{}, func(w *wireHello) {
			h := helloOf(5)
			w.Node, w.ID = h.Node[:], 5
		}, RefusedTwin, "is a copy", false},
		{"removed", removed, func(w *wireHello) { w.ID = 7 }, RefusedRemoved, "empty data directory", false},
		{"somebody else", Config{}, func(w *wireHello) { w.To = 6 }, RefusedTarget, "leads to node", false},
		{"no identity", Config{}, func(w *wireHello) { w.Node = nil }, RefusedBytes, "no valid identity", false},
		{"short uuid", Config{}, func(w *wireHello) { w.Cluster = w.Cluster[:15] }, RefusedBytes, "no valid identity", false},
		{"no boot", Config{}, func(w *wireHello) { w.Boot = 0 }, RefusedBytes, "no valid identity", false},
		{"purpose", Config{}, func(w *wireHello) { w.Purpose = 77 }, RefusedBytes, "unknown purpose 77", false},
		{"exchange without anybody to answer", Config{}, func(w *wireHello) { w.Purpose = uint8(purposeExchange) }, RefusedNotReady, "no exchanges", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := run(t, tc.cfg, helloOf(5))
			for range 3 {
				w := greet(9, 5)
				tc.hello(&w)
				s := strange(t, n)
				s.send(t, frameHello, &w)
				if r := s.refusal(t); r.Code != tc.code || !strings.Contains(r.Advice, tc.advice) {
					t.Errorf("refusal is %d %q, want %d with %q", r.Code, r.Advice, tc.code, tc.advice)
				}
				if _, _, err := s.fr.next(); !errors.Is(err, io.EOF) {
					t.Errorf("after the refusal: %v, want the end", err)
				}
			}
			if want := map[bool]int{false: 1, true: 0}[tc.quiet]; n.log.lines("peer refused") != want {
				t.Errorf("log has %d lines of the refusal, want %d:\n%s", n.log.lines("peer refused"), want, n.log)
			}
			if got := n.Stats(); got.Refused != 3 || len(got.Peers) != 0 {
				t.Errorf("stats are %+v", got)
			}
		})
	}
}

// Before Start a node has no identity to greet with.
func TestRefusesPeersBeforeStart(t *testing.T) {
	n := listen(t, Config{})
	w := greet(9, 5)
	s := strange(t, n)
	s.send(t, frameHello, &w)
	if r := s.refusal(t); r.Code != RefusedNotReady {
		t.Errorf("refusal is %v", r)
	}
}

// A dialler that is refused knows why, and says so in status and once in the log.
func TestDiallerLearnsWhy(t *testing.T) {
	other := helloOf(2)
	other.Cluster = [16]byte{99}
	a, b := run(t, Config{}, helloOf(1)), run(t, Config{}, other)
	a.SetMembers(configuration(b.member()))
	testenv.Eventually(t, "the refusal", func() bool { return strings.Contains(a.Stats().Peers[0].Refusal, "belongs to cluster") })
	testenv.Eventually(t, "more dials", func() bool { return a.Stats().Peers[0].Dials > 3 })
	if n := a.log.lines("connection with peer refused"); n != 1 {
		t.Errorf("%d lines in the log, want 1:\n%s", n, a.log)
	}
	if n := b.log.lines("peer refused"); n != 1 {
		t.Errorf("%d lines in the other's log, want 1:\n%s", n, b.log)
	}
}

// An id that is in no configuration is heard, and answered: our configuration may be old.
func TestUnknownIdIsHeard(t *testing.T) {
	a, b := run(t, Config{}, helloOf(1)), run(t, Config{}, helloOf(2))
	a.SetMembers(configuration(b.member())) // b knows nobody
	b.rec.expect(t, "connected 1", 1)
	a.rec.expect(t, "connected 2", 1)
	a.Send([]raft.Message{{Kind: raft.MsgVote, To: 2, Term: 4}})
	b.rec.until(t, "the vote request", func() bool { return len(b.rec.messages) == 1 })
	b.Send([]raft.Message{{Kind: raft.MsgVoteReply, To: 1, Term: 4}})
	a.rec.until(t, "the reply", func() bool { return len(a.rec.messages) == 1 })
	a.Close()
	b.rec.expect(t, "lost 1", 1)
	testenv.Eventually(t, "the stranger to be forgotten", func() bool { return len(b.Stats().Peers) == 0 })
}

// Strangers are bounded.
func TestStrangersAreBounded(t *testing.T) {
	n := run(t, Config{Limits: Limits{MaxStrangers: 2}}, helloOf(1))
	for id := range raft.NodeID(3) {
		s, w := strange(t, n), greet(10+id, 1)
		s.send(t, frameHello, &w)
		kind, _, err := s.fr.next()
		if want := []frameKind{frameHello, frameHello, frameRefusal}[id]; err != nil || kind != want {
			t.Errorf("stranger %d got frame %d, %v, want %d", id, kind, err, want)
		}
	}
}

// Two processes under one identity that both speak are told apart from a restart
// by the old connection: it stands and spoke lately.
func TestTwins(t *testing.T) {
	dial := func(t *testing.T, n *testNode, boot uint64) (*stranger, frameKind) {
		s, w := strange(t, n), greet(9, 1)
		w.Boot = boot
		s.send(t, frameHello, &w)
		kind, body, err := s.fr.next()
		if err != nil {
			t.Fatal(err)
		}
		if kind == frameRefusal {
			var w wireRefusal
			if err := newDecoder().value(body, &w); err != nil || Code(w.Code) != RefusedTwin {
				t.Fatalf("refused with %+v, %v", w, err)
			}
		}
		return s, kind
	}
	t.Run("both speak", func(t *testing.T) {
		n := run(t, Config{ElectionTimeout: time.Hour}, helloOf(1))
		dial(t, n, 50)
		if _, kind := dial(t, n, 51); kind != frameRefusal {
			t.Errorf("the twin got frame %d", kind)
		}
		if n.log.lines("two processes run with the identity") != 1 {
			t.Errorf("log:\n%s", n.log)
		}
	})
	t.Run("the old one is silent", func(t *testing.T) {
		n := run(t, Config{ElectionTimeout: 1}, helloOf(1))
		dial(t, n, 50)
		if _, kind := dial(t, n, 51); kind != frameHello {
			t.Errorf("the new process got frame %d", kind)
		}
		n.rec.expect(t, "lost 9", 1)
		n.rec.expect(t, "connected 9", 2)
	})
	t.Run("the old one has ended", func(t *testing.T) {
		n := run(t, Config{ElectionTimeout: time.Hour}, helloOf(1))
		s, _ := dial(t, n, 50)
		s.Close()
		n.rec.expect(t, "lost 9", 1)
		if _, kind := dial(t, n, 51); kind != frameHello {
			t.Errorf("the new process got frame %d", kind)
		}
	})
}

// A second dial of the same process is a duplicate, unless it says that the first is over.
func TestDuplicateConnection(t *testing.T) {
	n := run(t, Config{}, helloOf(1))
	dial := func(w wireHello) (frameKind, []byte) {
		s := strange(t, n)
		s.send(t, frameHello, &w)
		kind, body, err := s.fr.next()
		if err != nil {
			t.Fatal(err)
		}
		return kind, bytes.Clone(body)
	}
	w := greet(9, 1)
	dial(w)
	kind, body := dial(w)
	var r wireRefusal
	if err := newDecoder().value(body, &r); kind != frameRefusal || err != nil || Code(r.Code) != RefusedDuplicate || r.Boot != n.self.Boot {
		t.Fatalf("second dial got frame %d, %+v, %v", kind, r, err)
	}
	w.DeadBoot, w.DeadEpoch = r.Boot, r.Epoch-1
	if kind, _ := dial(w); kind != frameRefusal {
		t.Errorf("a dial that knows of an older end got frame %d", kind)
	}
	w.DeadBoot, w.DeadEpoch = r.Boot+1, r.Epoch
	if kind, _ := dial(w); kind != frameRefusal {
		t.Errorf("a dial that speaks of another process got frame %d", kind)
	}
	w.DeadBoot, w.DeadEpoch = r.Boot, r.Epoch
	if kind, _ := dial(w); kind != frameHello {
		t.Errorf("a dial that knows the first to be over got frame %d", kind)
	}
	n.rec.expect(t, "lost 9 conn=1 gone=false", 1)
	n.rec.expect(t, "connected 9", 2)
	if n.log.lines("peer refused") != 0 {
		t.Errorf("duplicates are no fault, but in the log:\n%s", n.log)
	}
}

// What is not our protocol is closed within the handshake timeout, with one line
// in the log for each host, and the node goes on (BI-03).
func TestGarbageIsClosed(t *testing.T) {
	w := greet(9, 1)
	hello := appendFrame(nil, frameHello, encodeBody(t, &w))
	magic := greet(9, 1)
	magic.Magic = "other"
	for _, tc := range []struct {
		name string
		send []byte
		hang bool // and then stay silent, else close for writing
	}{
		{"http", []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), true},
		{"tls", []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), true},
		{"resp", []byte("*1\r\n$4\r\nPING\r\n"), true},
		{"random", []byte("\xd1\x02\x9a\x88\x01\x71\x13\x90\x44\x00\x11\x12\x13\x14"), true},
		{"half a hello", hello[:len(hello)-3], true},
		{"half a header", hello[:5], true},
		{"nothing", nil, true},
		{"port scan", nil, false},
		{"hello too large", appendFrame(nil, frameHello, make([]byte, maxHandshake+1)), true},
		{"flipped bit", append(bytes.Clone(hello[:len(hello)-1]), hello[len(hello)-1]^1), true},
		{"another magic", appendFrame(nil, frameHello, encodeBody(t, &magic)), true},
		{"no hello", appendFrame(nil, framePacket, []byte("x")), true},
		{"msgpack bomb", appendFrame(nil, frameHello, []byte{0xdd, 0xff, 0xff, 0xff, 0xff}), true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := run(t, Config{Limits: Limits{HandshakeTimeout: 50 * time.Millisecond}}, helloOf(1))
			for range 3 {
				s := strange(t, n)
				if _, err := s.Write(tc.send); err != nil {
					t.Fatal(err)
				}
				if !tc.hang {
					s.Close()
					continue
				}
				if _, err := io.Copy(io.Discard, s); err != nil && !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("connection was not closed: %v", err)
				}
			}
			testenv.Eventually(t, "three closed connections", func() bool { return n.Stats().Garbage == 3 })
			if got := n.log.lines("closed in its handshake"); got != 1 {
				t.Errorf("%d lines in the log, want 1:\n%s", got, n.log)
			}
			if e := n.rec.list(""); len(e) > 0 {
				t.Errorf("the handler was told %v", e)
			}
		})
	}
}

// Connections in their handshake are bounded; the place is free again afterwards.
func TestPendingHandshakesAreBounded(t *testing.T) {
	n := run(t, Config{Limits: Limits{MaxPending: 2}}, helloOf(1))
	idle := []*stranger{strange(t, n), strange(t, n)}
	testenv.Eventually(t, "two pending", func() bool { return n.Stats().Accepted == 2 })
	if _, err := io.Copy(io.Discard, strange(t, n)); err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the third was not closed: %v", err)
	}
	idle[0].Close()
	testenv.Eventually(t, "the place to be free", func() bool {
		s, w := strange(t, n), greet(9, 1)
		if _, err := s.Write(appendFrame(nil, frameHello, encodeBody(t, &w))); err != nil {
			return false
		}
		kind, _, err := s.fr.next()
		return err == nil && kind == frameHello
	})
}

// A standing connection on which nonsense comes is ended, and no message of the
// broken frame gets through.
func TestNonsenseOnAStandingConnection(t *testing.T) {
	bad := func(f func(b []byte)) []byte {
		b := messagesFrame(t, frameEntries, sampleAppend())
		f(b)
		return b
	}
	for _, tc := range []struct {
		name string
		b    []byte
	}{
		{"bad sum", bad(func(b []byte) { b[20] ^= 1 })},
		{"too large", bad(func(b []byte) { b[3] = 0x7f })},
		{"entries in a frame without", appendFrame(nil, frameMessages, messagesFrame(t, frameEntries, sampleAppend())[frameHeader:])},
		{"bad msgpack", appendFrame(nil, frameMessages, []byte{0xc1, 0xc1})},
		{"bad block", appendFrame(nil, frameEntries, encodeBody(t, &wireMessage{Kind: 1, Entries: blob{9, 9, 9}}))},
		{"bad snapshot", appendFrame(nil, frameMessages, encodeBody(t, &wireMessage{Kind: 3, Snapshot: blob{9, 9, 9}}))},
		{"half a frame", bad(func([]byte) {})[:30]},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := run(t, Config{}, helloOf(1))
			s, w := strange(t, n), greet(9, 1)
			s.send(t, frameHello, &w)
			if kind, _, err := s.fr.next(); kind != frameHello {
				t.Fatalf("frame %d, %v", kind, err)
			}
			if _, err := s.Write(tc.b); err != nil {
				t.Fatal(err)
			}
			s.Conn.(*net.TCPConn).CloseWrite()
			n.rec.expect(t, "lost 9 conn=1 gone=false", 1)
			if len(n.rec.messages) > 0 {
				t.Errorf("the handler got %+v", n.rec.messages)
			}
		})
	}
}

// The hello brings back the highest Seq that was heard, over reconnects.
func TestHeardSeq(t *testing.T) {
	a, b := pair(t, Config{})
	a.Send([]raft.Message{{Kind: raft.MsgVote, To: 2, Seq: 40}, {Kind: raft.MsgVote, To: 2, Seq: 12}})
	b.rec.until(t, "both", func() bool { return len(b.rec.messages) == 2 })
	addr := a.Addr().String()
	a.Close()
	b.rec.expect(t, "lost 1", 1)
	again := helloOf(1)
	again.Boot++
	a2 := run(t, Config{Listen: addr}, again)
	a2.SetMembers(configuration(b.member()))
	a2.rec.expect(t, "heard 2 40", 1)
	b.rec.expect(t, "heard 1 0", 2)
}

func TestListenTells(t *testing.T) {
	a := listen(t, Config{})
	_, err := Listen(Config{Listen: a.Addr().String()})
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), a.Addr().String()) {
		t.Errorf("error is %v", err)
	}
	_, err = Listen(Config{Listen: "nonsense", Advertise: "x", DialFrom: "y", TLS: &TLS{}, Limits: Limits{MaxFrame: 1, RetryMin: time.Hour}})
	for _, want := range []string{`Listen "nonsense"`, `Advertise "x"`, `DialFrom "y"`, "all of Cert", "MaxFrame 1", "RetryMin 1h"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v lacks %q", err, want)
		}
	}
	if err := a.Start(Hello{}, a.rec); err == nil {
		t.Error("started without an identity")
	}
}
