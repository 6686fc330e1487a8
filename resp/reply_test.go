package resp

import (
	"bytes"
	"errors"
	"io"
	"math"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/raftkv/raftkv/internal/fuzztest"
)

func TestWriterInBothVersions(t *testing.T) {
	for _, tc := range []struct {
		name  string
		write func(*Writer)
		two   string
		three string
	}{
		{"status", func(w *Writer) { w.Status("OK") }, "+OK\r\n", "+OK\r\n"},
		{"error", func(w *Writer) { w.Error("ERR no") }, "-ERR no\r\n", "-ERR no\r\n"},
		{"a line end can't be smuggled in", func(w *Writer) { w.Error("ERR a\r\n+OK\n") }, "-ERR a  +OK \r\n", "-ERR a  +OK \r\n"},
		{"int", func(w *Writer) { w.Int(-3) }, ":-3\r\n", ":-3\r\n"},
		{"bulk", func(w *Writer) { w.Bulk([]byte("a\r\nb")) }, "$4\r\na\r\nb\r\n", "$4\r\na\r\nb\r\n"},
		{"empty bulk", func(w *Writer) { w.Bulk(nil) }, "$0\r\n\r\n", "$0\r\n\r\n"},
		{"null", func(w *Writer) { w.Null() }, "$-1\r\n", "_\r\n"},
		{"null array", func(w *Writer) { w.NullArray() }, "*-1\r\n", "_\r\n"},
		{"array", func(w *Writer) { w.Array(1); w.Int(1) }, "*1\r\n:1\r\n", "*1\r\n:1\r\n"},
		{"map", func(w *Writer) { w.Map(1); w.BulkString("k"); w.Int(1) }, "*2\r\n$1\r\nk\r\n:1\r\n", "%1\r\n$1\r\nk\r\n:1\r\n"},
		{"set", func(w *Writer) { w.Set(1); w.Int(1) }, "*1\r\n:1\r\n", "~1\r\n:1\r\n"},
		{"bool", func(w *Writer) { w.Bool(true); w.Bool(false) }, ":1\r\n:0\r\n", "#t\r\n#f\r\n"},
		{"double", func(w *Writer) { w.Double(1.5) }, "$3\r\n1.5\r\n", ",1.5\r\n"},
		{"infinite", func(w *Writer) { w.Double(math.Inf(-1)) }, "$4\r\n-inf\r\n", ",-inf\r\n"},
		{"verbatim", func(w *Writer) { w.Verbatim("hi") }, "$2\r\nhi\r\n", "=6\r\ntxt:hi\r\n"},
	} {
		for proto, want := range map[int]string{0: tc.two, 2: tc.two, 3: tc.three} {
			w := &Writer{Proto: proto}
			tc.write(w)
			if got := string(w.Bytes()); got != want {
				t.Errorf("%s in version %d: %q, want %q", tc.name, proto, got, want)
			}
		}
	}
}

func TestReplies(t *testing.T) {
	text := func(k Kind, s string) Value { return Value{Kind: k, Bytes: []byte(s)} }
	one := Value{Kind: KindInt, Int: 1}
	for in, want := range map[string]Value{
		"+OK\r\n":                    text(KindStatus, "OK"),
		"-ERR no\r\n":                text(KindError, "ERR no"),
		":-7\r\n":                    {Kind: KindInt, Int: -7},
		"$3\r\na\r\n\r\n":            text(KindBulk, "a\r\n"),
		"$0\r\n\r\n":                 text(KindBulk, ""),
		"$-1\r\n":                    {Kind: KindNull},
		"*-1\r\n":                    {Kind: KindNull},
		"_\r\n":                      {Kind: KindNull},
		"#t\r\n":                     {Kind: KindBool, Int: 1},
		"#f\r\n":                     {Kind: KindBool},
		",1.5\r\n":                   {Kind: KindDouble, Float: 1.5},
		"(123456789012345678901\r\n": text(KindBulk, "123456789012345678901"),
		"=6\r\ntxt:hi\r\n":           text(KindBulk, "hi"),
		"!6\r\nERR no\r\n":           text(KindError, "ERR no"),
		"*2\r\n:1\r\n*1\r\n:1\r\n":   {Kind: KindArray, Array: []Value{one, {Kind: KindArray, Array: []Value{one}}}},
		"%1\r\n:1\r\n:1\r\n":         {Kind: KindMap, Array: []Value{one, one}},
		"~1\r\n:1\r\n":               {Kind: KindArray, Array: []Value{one}},
		">1\r\n:1\r\n":               {Kind: KindPush, Array: []Value{one}},
		"|1\r\n+ttl\r\n:3\r\n:1\r\n": one,
		"*0\r\n":                     {Kind: KindArray},
		"$100000\r\n" + strings.Repeat("x", 100000) + "\r\n": text(KindBulk, strings.Repeat("x", 100000)),
	} {
		for name, src := range map[string]io.Reader{"at once": strings.NewReader(in), "byte by byte": iotest.OneByteReader(strings.NewReader(in))} {
			r := NewReplyReader(src, ReplyLimits{})
			got, err := r.Read()
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%.40q %s: %.100v, %v, want %.100v", in, name, got, err, want)
			}
			if _, err := r.Read(); err != io.EOF {
				t.Errorf("%.40q %s: then %v, want EOF", in, name, err)
			}
		}
	}
}

func TestRepliesThatAreNone(t *testing.T) {
	lim := ReplyLimits{Bytes: 100, Elements: 10}
	for in, want := range map[string]error{
		"":                          io.EOF,
		"+OK":                       io.ErrUnexpectedEOF,
		"$3\r\nab":                  io.ErrUnexpectedEOF,
		"*2\r\n:1\r\n":              io.ErrUnexpectedEOF,
		"HTTP/1.1 200 OK\r\n":       ErrReply,
		"\r\n":                      ErrReply,
		"+OK\n":                     ErrReply,
		":x\r\n":                    ErrReply,
		"#x\r\n":                    ErrReply,
		",x\r\n":                    ErrReply,
		"$-2\r\n":                   ErrReply,
		"$3\r\nabcde":               ErrReply,
		"$101\r\n":                  ErrReply,
		"$99999999999999999999\r\n": ErrReply,
		"*11\r\n":                   ErrReply,
		"%6\r\n":                    ErrReply,
		"*-2\r\n":                   ErrReply,
		"=2\r\nab\r\n":              ErrReply,
		"*2\r\n$60\r\n" + strings.Repeat("x", 60) + "\r\n$60\r\n": ErrReply,
		strings.Repeat("*1\r\n", 40):                              ErrReply,
		strings.Repeat("|0\r\n", 40):                              ErrReply,
		"+" + strings.Repeat("x", 20000):                          ErrReply,
		"+" + strings.Repeat("x", 200) + "\r\n":                   ErrReply,
	} {
		if v, err := NewReplyReader(strings.NewReader(in), lim).Read(); !errors.Is(err, want) {
			t.Errorf("%.40q: %.100v, %v, want %v", in, v, err, want)
		}
	}
}

func TestClaimedReplyAllocatesNothing(t *testing.T) {
	for _, in := range []string{"$67108864\r\n", "*1048576\r\n", "*1\r\n*1000000\r\n", "%500000\r\n"} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := NewReplyReader(strings.NewReader(in), ReplyLimits{}).Read(); err != io.ErrUnexpectedEOF {
			t.Errorf("%q: %v", in, err)
		}
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 200<<10 {
			t.Errorf("%q: %d bytes allocated", in, n)
		}
	}
}

// What one side writes the other reads.
func FuzzRoundTrip(f *testing.F) {
	f.Add([]byte("set"), []byte(""), []byte("a\r\nb"))
	f.Fuzz(func(t *testing.T, a, b, c []byte) {
		r := NewReader(bytes.NewReader(AppendRequest(nil, a, b, c)), Limits{})
		for {
			args, ok, err := r.Next()
			if err != nil {
				t.Fatal(err)
			}
			if ok {
				if len(args) != 3 || !bytes.Equal(args[0], a) || !bytes.Equal(args[1], b) || !bytes.Equal(args[2], c) {
					t.Fatalf("%q", args)
				}
				break
			}
			if err := r.Fill(); err != nil {
				t.Fatal(err)
			}
		}
		w := Writer{Proto: 3}
		w.Bulk(a)
		w.Error(string(b))
		w.Int(int64(len(c)))
		rr := NewReplyReader(bytes.NewReader(w.Bytes()), ReplyLimits{})
		if v, err := rr.Read(); err != nil || !bytes.Equal(v.Bytes, a) {
			t.Fatalf("%v %v", v, err)
		}
		if v, err := rr.Read(); err == nil && v.Kind != KindError {
			t.Fatalf("%v", v)
		} else if err != nil {
			return // an error text longer than a line may be
		}
		if v, err := rr.Read(); err != nil || v.Int != int64(len(c)) {
			t.Fatalf("%v %v", v, err)
		}
	})
}

func FuzzReplyReader(f *testing.F) {
	for _, s := range []string{"+OK\r\n", "*2\r\n$1\r\na\r\n:1\r\n", "%1\r\n+a\r\n_\r\n", "|1\r\n+a\r\n:1\r\n#t\r\n", "=6\r\ntxt:hi\r\n", "$-1\r\n", ",inf\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		fuzztest.Bounded(t, len(in), 1<<20, 1<<10, func() {
			r := NewReplyReader(bytes.NewReader(in), ReplyLimits{Bytes: 1 << 20, Elements: 1000})
			for range len(in) + 1 {
				if _, err := r.Read(); err != nil {
					return
				}
			}
			t.Fatal("more replies than bytes")
		})
	})
}
