package transport

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"pgregory.net/rapid"

	"github.com/raftkv/raftkv/internal/fuzztest"
	"github.com/raftkv/raftkv/raft"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func equalMessage(t testing.TB, got, want raft.Message) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("message is\n%+v, want\n%+v", got, want)
	}
}

func encodeBody(t testing.TB, v any) []byte {
	t.Helper()
	b, err := newEncoder().append(nil, v, 1)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func messagesFrame(t testing.TB, kind frameKind, ms ...raft.Message) []byte {
	t.Helper()
	enc, buf := newEncoder(), beginFrame(nil)
	for i := range ms {
		var err error
		if buf, err = enc.appendMessage(buf, &ms[i]); err != nil {
			t.Fatal(err)
		}
	}
	endFrame(buf, 0, kind)
	return buf
}

func readerOf(b []byte, max int) *frameReader {
	return &frameReader{r: bufio.NewReader(bytes.NewReader(b)), max: max}
}

func sampleHello() wireHello {
	return wireHello{
		Magic: helloMagic, MinVersion: 1, MaxVersion: 1, Version: 1, Purpose: uint8(purposeRaft), To: 2,
		Cluster: bytes.Repeat([]byte{0xc1}, 16), Node: bytes.Repeat([]byte{0xa1}, 16), ID: 1, Name: "n1", Addr: "127.0.0.1:6480",
		Boot: 77, MinLevel: 1, MaxLevel: 3, MaxFrame: 64 << 20, Heard: 12, DeadBoot: 88, DeadEpoch: 4, Epoch: 5,
	}
}

func sampleAppend() raft.Message {
	return raft.Message{
		Kind: raft.MsgAppend, From: 1, To: 2, Term: 3, Boot: 77, Seq: 12, Prev: raft.EntryID{Term: 2, Index: 4},
		Entries: []raft.Entry{
			command(2, 5, "set a 1"), {EntryID: raft.EntryID{Term: 3, Index: 6}, Type: raft.EntryNoop, Time: 900}, command(3, 7, "set b 2"),
		},
		Commit: 5, Round: 9, Last: raft.EntryID{Term: 3, Index: 7}, ToBoot: 88,
	}
}

func sampleOffer() raft.Message {
	return raft.Message{
		Kind: raft.MsgOffer, From: 1, To: 2, Term: 3, Boot: 77, Seq: 12, Commit: 5,
		Snapshot: &raft.SnapshotMeta{
			Last: raft.EntryID{Term: 3, Index: 5}, Time: 1005, Level: 1, Hash: [16]byte{7},
			Config: configuration(raft.Member{ID: 1, Name: "n1", Peer: "127.0.0.1:6480"}, raft.Member{ID: 2, Learner: true}),
		},
	}
}

func sampleReply() raft.Message {
	return raft.Message{
		Kind: raft.MsgAppendReply, From: 2, To: 1, Term: 3, Boot: 88, Seq: 4, Match: 4, Have: 4, Round: 9, Reject: true,
		Hint: raft.EntryID{Term: 2, Index: 4}, Fetch: raft.EntryID{Term: 1, Index: 2}, Fetched: 1 << 40, Full: true, Low: true, Refetch: true,
	}
}

// The bytes of each frame are fixed: another version of the program must read them.
func TestGoldenFrames(t *testing.T) {
	hello := sampleHello()
	frames := []struct {
		name string
		b    []byte
	}{
		{"hello", appendFrame(nil, frameHello, encodeBody(t, &hello))},
		{"refusal", appendFrame(nil, frameRefusal, encodeBody(t, &wireRefusal{Code: uint8(RefusedDuplicate), Advice: "no", Boot: 7, Epoch: 8}))},
		{"go", goFrame(300)},
		{"append", messagesFrame(t, frameEntries, sampleAppend())},
		{"offer", messagesFrame(t, frameMessages, sampleOffer())},
		{"two replies", messagesFrame(t, frameMessages, sampleReply(), raft.Message{Kind: raft.MsgVoteReply, Term: 4, Boot: 88, Granted: true, Transfer: true})},
		{"packet", appendFrame(nil, framePacket, []byte("forward"))},
		{"fetch", appendFrame(nil, frameFetch, encodeBody(t, &wireFetch{Term: 3, Index: 5, Offset: 4096}))},
		{"file", appendFrame(nil, frameFile, encodeBody(t, &wireFile{Size: 1 << 33}))},
		{"end", appendFrame(nil, frameEnd, nil)},
	}
	var text strings.Builder
	for _, f := range frames {
		fmt.Fprintf(&text, "%s %s\n", strings.ReplaceAll(f.name, " ", "_"), hex.EncodeToString(f.b))
	}
	name := filepath.Join("testdata", "frames.golden")
	if *update {
		if err := os.WriteFile(name, []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if text.String() != string(want) {
		t.Errorf("frames are\n%s, want\n%s", text.String(), want)
	}
}

// What stands in the golden file is read as what was meant, whatever the encoder does today.
func TestGoldenFramesDecode(t *testing.T) {
	file, err := os.ReadFile(filepath.Join("testdata", "frames.golden"))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]raft.Message{
		"append": {sampleAppend()}, "offer": {sampleOffer()},
		"two_replies": {sampleReply(), {Kind: raft.MsgVoteReply, Term: 4, Boot: 88, Granted: true, Transfer: true}},
	}
	for line := range strings.Lines(string(file)) {
		name, digits, _ := strings.Cut(strings.TrimSpace(line), " ")
		b, err := hex.DecodeString(digits)
		if err != nil {
			t.Fatal(err)
		}
		kind, body, err := readerOf(b, 1<<20).next()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if name == "hello" {
			got, err := decodeHello(newDecoder(), body)
			if want := sampleHello(); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("hello is %+v, %v, want %+v", got, err, want)
			}
		}
		for i, w := range want[name] {
			got, err := newDecoder().messages(nil, body, kind == frameEntries, w.From, w.To)
			if err != nil || len(got) != len(want[name]) {
				t.Fatalf("%s: %d messages, %v", name, len(got), err)
			}
			got[i].From, got[i].To = w.From, w.To
			equalMessage(t, got[i], w)
		}
	}
}

// A later version appends fields to what it sends: this one skips them.
func TestDecoderSkipsLaterFields(t *testing.T) {
	type later struct {
		//lint:ignore U1000 the codec reads its tag by reflection
		_struct bool `codec:",toarray"`
		wireMessage
		More  map[string][]uint64
		Other string
	}
	v := later{wireMessage: wireMessage{Kind: uint8(raft.MsgVote), Term: 9}, More: map[string][]uint64{"a": {1, 2}}, Other: "x"}
	b := encodeBody(t, &v)
	got, err := newDecoder().messages(nil, append(b, encodeBody(t, &wireMessage{Kind: uint8(raft.MsgVote), Term: 10})...), false, 1, 2)
	if err != nil || len(got) != 2 || got[0].Term != 9 || got[1].Term != 10 {
		t.Errorf("messages are %+v, %v", got, err)
	}
	unknown := encodeBody(t, &wireMessage{Kind: 200, Term: 9})
	if got, err := newDecoder().messages(nil, unknown, false, 1, 2); err != nil || len(got) != 0 {
		t.Errorf("a message of an unknown kind gave %+v, %v; it must be left out", got, err)
	}
}

// Any log's entries come back equal.
func TestEntriesRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		first := rapid.Uint64Range(1, math.MaxUint64-64).Draw(t, "first")
		term := rapid.Uint64Range(0, math.MaxUint64-64).Draw(t, "term")
		var es []raft.Entry
		for i := range rapid.IntRange(1, 20).Draw(t, "n") {
			term += rapid.Uint64Range(0, 3).Draw(t, "step")
			data := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "data")
			if len(data) == 0 {
				data = nil
			}
			es = append(es, raft.Entry{
				EntryID: raft.EntryID{Term: raft.Term(term), Index: raft.Index(first + uint64(i))},
				Type:    raft.EntryType(rapid.Byte().Draw(t, "type")),
				Time:    raft.Time(rapid.Int64().Draw(t, "time")), Data: data,
			})
		}
		b, err := appendEntries(nil, es)
		if err != nil {
			t.Fatal(err)
		}
		if len(b) > entriesSize(es) {
			t.Fatalf("%d bytes, entriesSize says %d", len(b), entriesSize(es))
		}
		got, err := decodeEntries(b)
		if err != nil || !reflect.DeepEqual(got, es) {
			t.Fatalf("got %v, %v, want %v", got, err, es)
		}
	})
}

// The leader's log is never like this; the sender must notice and not the receiver.
func TestEntriesMustFollowEachOther(t *testing.T) {
	for _, es := range [][]raft.Entry{
		{command(1, 5, "a"), command(1, 7, "b")},
		{command(2, 5, "a"), command(1, 6, "b")},
	} {
		if _, err := appendEntries(nil, es); !errors.Is(err, errBlock) {
			t.Errorf("%v: error %v, want %v", es, err, errBlock)
		}
	}
}

// Entries alias the frame, without room behind them that an append could spoil.
func TestEntriesAliasTheFrame(t *testing.T) {
	frame := messagesFrame(t, frameEntries, sampleAppend())
	_, body, err := readerOf(frame, 1<<20).next()
	if err != nil {
		t.Fatal(err)
	}
	ms, err := newDecoder().messages(nil, body, true, 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	lo := uintptr(unsafe.Pointer(&body[0]))
	for _, e := range ms[0].Entries {
		if len(e.Data) == 0 {
			continue
		}
		at := uintptr(unsafe.Pointer(&e.Data[0]))
		if at < lo || at >= lo+uintptr(len(body)) {
			t.Errorf("data of entry %v is a copy", e.EntryID)
		}
		if cap(e.Data) != len(e.Data) {
			t.Errorf("entry %v: capacity %d, length %d", e.EntryID, cap(e.Data), len(e.Data))
		}
	}
}

// Bytes that are no frames give an error that says so, and cost nothing.
func TestBadFrames(t *testing.T) {
	good := messagesFrame(t, frameEntries, sampleAppend())
	change := func(f func(b []byte)) []byte {
		b := bytes.Clone(good)
		f(b)
		return b
	}
	for _, tc := range []struct {
		name string
		b    []byte
		want error
		text string
	}{
		{"http", []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), errFrame, "an HTTP request"},
		{"tls", []byte{0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 0}, errFrame, "a TLS hello"},
		{"resp", []byte("*3\r\n$3\r\nSET\r\n"), errFrame, "client port"},
		{"oversized", change(func(b []byte) { binary.LittleEndian.PutUint32(b, 1<<20+1) }), errFrame, "limit is 1048576"},
		{"huge", change(func(b []byte) { binary.LittleEndian.PutUint32(b, math.MaxUint32) }), errFrame, "limit is 1048576"},
		{"version", change(func(b []byte) { b[4] = 9 }), errFrame, "frame version 9"},
		{"reserved", change(func(b []byte) { b[7] = 1 }), errFrame, "reserved"},
		{"kind is summed", change(func(b []byte) { b[5] = byte(framePacket) }), errFrame, "checksum"},
		{"flipped bit", change(func(b []byte) { b[len(b)-1] ^= 4 }), errFrame, "checksum"},
		{"flipped sum", change(func(b []byte) { b[9] ^= 4 }), errFrame, "checksum"},
		{"half a header", good[:7], io.ErrUnexpectedEOF, "inside a frame header"},
		{"half a body", good[:20], io.ErrUnexpectedEOF, "inside a frame"},
		{"no body", good[:12], io.ErrUnexpectedEOF, "inside a frame"},
		{"nothing", nil, io.EOF, "EOF"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, _, err := readerOf(tc.b, 1<<20).next()
			if !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("error is %v, want %v with %q", err, tc.want, tc.text)
			}
		})
	}
}

// allocated is how many bytes f allocates, among what else runs: the least of some tries.
func allocated(f func()) uint64 {
	least := uint64(math.MaxUint64)
	for range 5 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		least = min(least, after.TotalAlloc-before.TotalAlloc)
	}
	return least
}

// A length field alone makes nobody allocate more than eagerBody, whether it claims much or a
// little more than that.
func TestLengthFieldAllocatesLittle(t *testing.T) {
	header := appendFrame(nil, framePacket, nil)
	for _, kind := range []frameKind{framePacket, frameEntries, frameMessages, frameBlock} {
		for _, claimed := range []uint32{1 << 30, 8 << 20, 2 << 20, 1 << 20} {
			binary.LittleEndian.PutUint32(header, claimed)
			header[5] = byte(kind)
			n := allocated(func() {
				if _, _, err := readerOf(header, 1<<30).next(); err == nil {
					t.Fatal("half a frame was taken")
				}
			})
			if n > 1<<20+64<<10 { // not eagerBody: that may not grow unseen
				t.Errorf("kind %d: %d bytes allocated for 12 that came and claim %d", kind, n, claimed)
			}
		}
	}
}

// Nor does the number of entries that a block claims to have.
func TestCountOfEntriesAllocatesLittle(t *testing.T) {
	for _, claimed := range []uint64{100, 1 << 14, 1 << 20, 1 << 40, 1<<64 - 1} {
		b := binary.AppendUvarint(binary.AppendUvarint([]byte{blockVersion}, claimed), 1)
		b = append(b, make([]byte, 99*minEntry)...)
		n := allocated(func() {
			if es, err := decodeEntries(b); err == nil {
				t.Fatalf("%d entries came of %d bytes", len(es), len(b))
			}
		})
		if n > 64<<10 {
			t.Errorf("%d bytes allocated for %d that claim %d entries", n, len(b), claimed)
		}
	}
}

// Large bodies come whole although they are read in steps.
func TestLargeBody(t *testing.T) {
	want := bytes.Repeat([]byte("0123456789abcdef"), 3<<20/16)
	for _, kind := range []frameKind{framePacket, frameBlock} {
		_, got, err := readerOf(appendFrame(nil, kind, want), 4<<20).next()
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("kind %d: %d bytes, %v, want %d", kind, len(got), err, len(want))
		}
	}
}

// msgpack bombs give errors (BI-04).
func TestMessagePackBombs(t *testing.T) {
	huge := []byte{0xff, 0xff, 0xff, 0xff}
	for name, b := range map[string][]byte{
		"array32": append([]byte{0xdd}, huge...),
		"map32":   append([]byte{0xdf}, huge...),
		"bin32":   append([]byte{0xc6}, huge...),
		"ext32":   append([]byte{0xc9}, append(huge, blobTag)...),
		"str32":   append([]byte{0xdb}, huge...),
		"deep":    bytes.Repeat([]byte{0x91}, 10000),
		"deep in a skipped field": append(append([]byte{0xdc, 0, 30}, bytes.Repeat([]byte{0}, 21)...),
			bytes.Repeat([]byte{0x91}, 10000)...),
		"bin32 as entries":  append(append([]byte{0xdc, 0, 21}, bytes.Repeat([]byte{0}, 20)...), append([]byte{0xc6}, huge...)...),
		"array as entries":  append(append([]byte{0xdc, 0, 21}, bytes.Repeat([]byte{1}, 20)...), append([]byte{0xdd}, huge...)...),
		"negative numbers":  append([]byte{0xdc, 0, 21}, bytes.Repeat([]byte{0xff}, 21)...),
		"array16 cut short": {0xdc, 0, 21, 1},
	} {
		t.Run(name, func(t *testing.T) {
			n := allocated(func() {
				d, hello := newDecoder(), wireHello{}
				if ms, err := d.messages(nil, b, true, 1, 2); err == nil && len(ms) > 0 {
					t.Fatalf("taken as %+v", ms)
				}
				if err := d.value(b, &hello); err == nil {
					t.Fatalf("taken as %+v", hello)
				}
			})
			if n > 1<<20 {
				t.Errorf("%d bytes allocated", n)
			}
		})
	}
}

func FuzzDecodeFrame(f *testing.F) {
	hello := sampleHello()
	f.Add(appendFrame(nil, frameHello, encodeBody(f, &hello)))
	f.Add(messagesFrame(f, frameEntries, sampleAppend()))
	f.Add(append(messagesFrame(f, frameMessages, sampleReply()), appendFrame(nil, framePacket, []byte("x"))...))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		fuzztest.Bounded(t, len(b), 512<<10, 64, func() {
			r := readerOf(b, 1<<16)
			for {
				kind, body, err := r.next()
				if err != nil {
					return
				}
				// What was read as a frame is written the same.
				if again := appendFrame(nil, kind, body); !bytes.Contains(b, again) {
					t.Fatalf("frame %x is not in the input", again)
				}
			}
		})
	})
}

func FuzzDecodeHello(f *testing.F) {
	hello := sampleHello()
	f.Add(encodeBody(f, &hello))
	f.Add(encodeBody(f, &wireHello{Magic: helloMagic}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var w wireHello
		var err error
		fuzztest.Bounded(t, len(b), 256<<10, 64, func() { w, err = decodeHello(newDecoder(), b) })
		if err != nil {
			return
		}
		again, err := decodeHello(newDecoder(), encodeBody(t, &w))
		if err != nil || !reflect.DeepEqual(w.hello(), again.hello()) {
			t.Fatalf("%+v became %+v, %v", w, again, err)
		}
	})
}

func FuzzDecodeMessages(f *testing.F) {
	for _, frame := range [][]byte{
		messagesFrame(f, frameEntries, sampleAppend()), messagesFrame(f, frameMessages, sampleOffer()),
		messagesFrame(f, frameEntries, sampleReply(), sampleAppend()),
	} {
		f.Add(frame[frameHeader:])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var ms []raft.Message
		var err error
		// The smallest message takes a few bytes and becomes a struct of 400.
		fuzztest.Bounded(t, len(b), 512<<10, 1<<10, func() { ms, err = newDecoder().messages(nil, b, true, 1, 2) })
		if err != nil {
			return
		}
		for i := range ms {
			frame := messagesFrame(t, frameEntries, ms[i])
			again, err := newDecoder().messages(nil, frame[frameHeader:], true, 1, 2)
			if err != nil || len(again) != 1 || !reflect.DeepEqual(again[0], ms[i]) {
				t.Fatalf("%+v became %+v, %v", ms[i], again, err)
			}
		}
	})
}

// The small bodies of handshakes, fetches and refusals: each is what it says, written
// again, or an error.
func FuzzDecodeBodies(f *testing.F) {
	f.Add(encodeBody(f, &wireFetch{Term: 3, Index: 9, Offset: 1 << 20}))
	f.Add(encodeBody(f, &wireFile{Size: 1 << 30}))
	f.Add(encodeBody(f, &wireGo{Epoch: 7}))
	f.Add(encodeBody(f, &wireRefusal{Code: 2, Advice: "upgrade it", Boot: 3, Epoch: 4}))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, fresh := range []func() any{
			func() any { return new(wireFetch) }, func() any { return new(wireFile) }, func() any { return new(wireGo) }, func() any { return new(wireRefusal) },
		} {
			v, again := fresh(), fresh()
			var err error
			fuzztest.Bounded(t, len(b), 256<<10, 64, func() { err = newDecoder().value(b, v) })
			if err != nil {
				if !errors.Is(err, errMessage) {
					t.Error(err)
				}
				continue
			}
			if err := newDecoder().value(encodeBody(t, v), again); err != nil || !reflect.DeepEqual(v, again) {
				t.Errorf("%+v became %+v, %v", v, again, err)
			}
			if w, ok := v.(*wireRefusal); ok && len(w.error().Error()) > 2000 {
				t.Errorf("an error of %d bytes", len(w.error().Error()))
			}
		}
	})
}
