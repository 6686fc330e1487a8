package resp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/raftkv/raftkv/internal/fuzztest"
)

// drain reads src to its end and tells each request as a quoted line, each error
// as its text.
func drain(src io.Reader, lim Limits) (got []string) {
	r := NewReader(src, lim)
	for {
		args, ok, err := r.Next()
		var big *TooBigError
		switch {
		case errors.As(err, &big):
			got = append(got, "-"+err.Error())
		case err != nil:
			return append(got, "!"+err.Error())
		case ok:
			got = append(got, fmt.Sprintf("%q", args))
		default:
			if err := r.Fill(); err == io.ErrUnexpectedEOF {
				return append(got, "...")
			} else if err != nil {
				return got
			}
		}
	}
}

// The texts were read off a Redis 7.0.15 (BI-01).
func TestRequestsAreReadAsRedisReadsThem(t *testing.T) {
	long := strings.Repeat("A", 70000)
	for _, tc := range []struct {
		name, in string
		want     []string
	}{
		{"array", "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", []string{`["GET" "k"]`}},
		{"pipeline", "*1\r\n$4\r\nPING\r\nPING\r\n*1\r\n$4\r\nQUIT\r\n", []string{`["PING"]`, `["PING"]`, `["QUIT"]`}},
		{"empty argument", "*2\r\n$0\r\n\r\n$0\r\n\r\n", []string{`["" ""]`}},
		{"every byte", "*1\r\n$4\r\n\x00\r\n\xff\r\n", []string{`["\x00\r\n\xff"]`}},
		{"nothing is passed over", "*-1\r\n*0\r\n\r\n*-10\r\nping\r\n", []string{`["ping"]`}},
		{"bare line feed", "  get   x  \nping\r\n", []string{`["get" "x"]`, `["ping"]`}},
		{"two carriage returns", "ping\r\r\n", []string{`["ping"]`}},
		{"single quotes", `set x 'a\x41b\'c'` + "\r\n", []string{`["set" "x" "a\\x41b'c"]`}},
		{"double quotes", `set x "\x41\n\q\"\x4"` + "\r\n", []string{`["set" "x" "A\nq\"x4"]`}},
		{"quotes inside a word", `set a"b c"` + "\r\n", []string{`["set" "ab c"]`}},
		{"empty quotes", `"" ''` + "\r\n", []string{`["" ""]`}},
		{"unbalanced", `ping "a` + "\r\n", []string{"!Protocol error: unbalanced quotes in request"}},
		{"text behind a quote", `ping "a"b` + "\r\n", []string{"!Protocol error: unbalanced quotes in request"}},
		{"quote opened inside a word", `get a"b` + "\r\n", []string{"!Protocol error: unbalanced quotes in request"}},
		{"count is no number", "*abc\r\n", []string{"!Protocol error: invalid multibulk length"}},
		{"count with a sign", "*+1\r\n", []string{"!Protocol error: invalid multibulk length"}},
		{"count with a zero", "*01\r\n", []string{"!Protocol error: invalid multibulk length"}},
		{"count with a blank", "*1 \r\n", []string{"!Protocol error: invalid multibulk length"}},
		{"count without carriage return", "*1\n$4\r\nping\r\n", []string{"!Protocol error: invalid multibulk length"}},
		{"count of empty", "*\r\n", []string{"!Protocol error: invalid multibulk length"}},
		{"huge count", "*1000000000\r\n", []string{"!Protocol error: invalid multibulk length"}},
		{"count beyond 64 bits", "*99999999999999999999\r\n", []string{"!Protocol error: invalid multibulk length"}},
		{"not a bulk string", "*1\r\nfoo\r\n", []string{"!Protocol error: expected '$', got 'f'"}},
		{"array in array", "*2\r\n$3\r\nget\r\n*1\r\n", []string{"!Protocol error: expected '$', got '*'"}},
		{"negative length", "*1\r\n$-1\r\n", []string{"!Protocol error: invalid bulk length"}},
		{"length is no number", "*1\r\n$abc\r\n", []string{"!Protocol error: invalid bulk length"}},
		{"length above Redis's", "*1\r\n$536870913\r\n", []string{"!Protocol error: invalid bulk length"}},
		{"bytes behind a bulk string", "*1\r\n$4\r\nPINGxx*1\r\n", []string{"!Protocol error: expected line end after bulk string"}},
		{"long line", long, []string{"!Protocol error: too big inline request"}},
		{"long line with its end", long + "\n", []string{"!Protocol error: too big inline request"}},
		{"long count", "*" + strings.Repeat("1", 70000), []string{"!Protocol error: too big mbulk count string"}},
		{"long length", "*1\r\n$" + strings.Repeat("1", 70000), []string{"!Protocol error: too big bulk count string"}},
		{"error after requests", "ping\r\n*abc\r\nping\r\n", []string{`["ping"]`, "!Protocol error: invalid multibulk length"}},
		{"cut off in a line", "pin", []string{"..."}},
		{"cut off in an array", "*2\r\n$4\r\necho\r\n", []string{"..."}},
		{"cut off in a bulk string", "*1\r\n$4\r\nPI", []string{"..."}},
		{"signs of other kinds are words", "+PING\r\n$4\r\n", []string{`["+PING"]`, `["$4"]`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := drain(strings.NewReader(tc.in), Limits{}); !slices.Equal(got, tc.want) {
				t.Errorf("at once: %.200q\nwant     %.200q", got, tc.want)
			}
			if got := drain(iotest.OneByteReader(strings.NewReader(tc.in)), Limits{}); !slices.Equal(got, tc.want) {
				t.Errorf("byte by byte: %.200q\nwant          %.200q", got, tc.want)
			}
		})
	}
}

// OL-05: over a limit is an answer, and the next request is in order.
func TestRequestOverALimitIsSkipped(t *testing.T) {
	lim := Limits{Bulk: 10, Total: 100, Args: 50}
	big := "*3\r\n$3\r\nset\r\n$1\r\nk\r\n$11\r\nhello world\r\n"
	many := "*30\r\n" + strings.Repeat("$2\r\nab\r\n", 30)
	for _, tc := range []struct {
		name, in string
		want     []string
	}{
		{"at the limit", "*1\r\n$10\r\n0123456789\r\n", []string{`["0123456789"]`}},
		{"argument", big + "ping\r\n", []string{"-argument of 11 bytes is above the limit of 10 bytes", `["ping"]`}},
		{"arguments behind it", "*3\r\n$11\r\nhello world\r\n$1\r\na\r\n$40\r\n" + strings.Repeat("b", 40) + "\r\nping\r\n",
			[]string{"-argument of 11 bytes is above the limit of 10 bytes", `["ping"]`}},
		{"twice", big + big, []string{"-argument of 11 bytes is above the limit of 10 bytes", "-argument of 11 bytes is above the limit of 10 bytes"}},
		{"sum", many + "ping\r\n", []string{fmt.Sprintf("-request of %d bytes is above the limit of 100 bytes", len(many)), `["ping"]`}},
		{"too many arguments", "*51\r\n", []string{"!Protocol error: invalid multibulk length"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := drain(strings.NewReader(tc.in), lim); !slices.Equal(got, tc.want) {
				t.Errorf("at once: %q\nwant     %q", got, tc.want)
			}
			if got := drain(iotest.OneByteReader(strings.NewReader(tc.in)), lim); !slices.Equal(got, tc.want) {
				t.Errorf("byte by byte: %q\nwant          %q", got, tc.want)
			}
		})
	}
}

// BI-02: a length that is only claimed costs nothing.
func TestClaimedLengthAllocatesNothing(t *testing.T) {
	lim := Limits{Bulk: maxBulk, Total: 1 << 30, Args: 1 << 30}
	for _, in := range []string{"*1000000000\r\n", "*1\r\n$536870912\r\n", "*1000000000\r\n$536870912\r\n"} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if got := drain(strings.NewReader(in), lim); !slices.Equal(got, []string{"..."}) {
			t.Errorf("%q: %q", in, got)
		}
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 100<<10 {
			t.Errorf("%q: %d bytes allocated", in, n)
		}
	}
}

// What is thrown away is not kept meanwhile.
func TestSkippedBytesAreNotBuffered(t *testing.T) {
	const size = 64 << 20
	r := NewReader(io.MultiReader(strings.NewReader(fmt.Sprintf("*1\r\n$%d\r\n", size)),
		io.LimitReader(zeros{}, size), strings.NewReader("\r\nping\r\n")), Limits{})
	var texts []string
	for {
		args, ok, err := r.Next()
		if err != nil {
			texts = append(texts, err.Error())
			continue
		}
		if ok {
			texts = append(texts, string(args[0]))
			continue
		}
		if len(r.buf) > maxIdle {
			t.Fatalf("buffer of %d bytes", len(r.buf))
		}
		if err := r.Fill(); err != nil {
			break
		}
	}
	if want := []string{fmt.Sprintf("argument of %d bytes is above the limit of %d bytes", size, 8<<20), "ping"}; !slices.Equal(texts, want) {
		t.Errorf("got %q, want %q", texts, want)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// A large request must not keep its room for ever.
func TestLargeBufferIsGivenBack(t *testing.T) {
	var in []byte
	in = AppendRequest(in, "set", "k", strings.Repeat("v", 1<<20))
	src := bytes.NewReader(in)
	r := NewReader(src, Limits{})
	for {
		args, ok, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if ok {
			if len(args) != 3 || len(args[2]) != 1<<20 {
				t.Fatal("another request came out")
			}
			break
		}
		if err := r.Fill(); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Fill(); err != io.EOF {
		t.Fatal(err)
	}
	if len(r.buf) > maxIdle {
		t.Errorf("buffer of %d bytes is kept", len(r.buf))
	}
}

func TestParseInt(t *testing.T) {
	for in, want := range map[string]string{
		"0": "0", "7": "7", "-7": "-7", "9223372036854775807": "9223372036854775807",
		"-9223372036854775808": "-9223372036854775808",
		"9223372036854775808":  "no", "-9223372036854775809": "no", "18446744073709551616": "no", "99999999999999999999": "no",
		"": "no", "-": "no", "-0": "no", "+1": "no", "01": "no", "-01": "no", " 1": "no", "1 ": "no", "1.0": "no", "0x1": "no",
		"000000000000000000000": "no",
	} {
		got := "no"
		if v, ok := ParseInt([]byte(in)); ok {
			got = fmt.Sprint(v)
		}
		if got != want {
			t.Errorf("ParseInt(%q) = %s, want %s", in, got, want)
		}
	}
}

// However the bytes are cut, the same requests come out, and the buffer stays in
// proportion to what came in (BI-14).
func FuzzReader(f *testing.F) {
	for _, s := range []string{
		"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", "ping\r\n", "*1\r\n$-1\r\n", "*3\r\n$3\r\nset\r\n$1\r\nk\r\n$40\r\n0123456789012345678901234567890123456789\r\nping\r\n",
		`set "a\x41" 'b'` + "\n", "*-1\r\n*0\r\n", "*1\r\n$4\r\nPINGxx", "*100000\r\n$1\r\na\r\n",
	} {
		f.Add([]byte(s), uint8(1))
		f.Add([]byte(s), uint8(5))
	}
	lim := Limits{Inline: 200, Bulk: 30, Total: 300, Args: 40}
	f.Fuzz(func(t *testing.T, in []byte, cut uint8) {
		var whole []string
		fuzztest.Bounded(t, len(in), 256<<10, 1<<10, func() { whole = drain(bytes.NewReader(in), lim) })
		parts := drain(&chunks{b: in, n: int(cut)%16 + 1}, lim)
		// A line that is too long is noticed as soon as it is, which may be before the
		// reader knows that its end follows.
		if !slices.Equal(whole, parts) && !strings.Contains(strings.Join(append(whole, parts...), " "), "too big") {
			t.Errorf("whole %q\nparts %q", whole, parts)
		}
		r := NewReader(bytes.NewReader(in), lim)
		for {
			if _, ok, err := r.Next(); err != nil && errors.As(err, new(*ProtocolError)) {
				break
			} else if err == nil && !ok && r.Fill() != nil {
				break
			}
			if len(r.buf) > 4*len(in)+2*minBuffer || cap(r.spans) > len(in)+64 {
				t.Fatalf("%d bytes in, buffer %d, spans %d", len(in), len(r.buf), cap(r.spans))
			}
		}
	})
}

type chunks struct {
	b []byte
	n int
}

func (c *chunks) Read(p []byte) (int, error) {
	if len(c.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.b[:min(c.n, len(c.b))])
	c.b = c.b[n:]
	return n, nil
}

func BenchmarkReader(b *testing.B) {
	var in []byte
	const batch = 100
	for i := range batch {
		in = AppendRequest(in, "SET", fmt.Sprintf("key:%012d", i), "xxxxxxxxxxxxxxxx")
	}
	src := bytes.NewReader(in)
	r := NewReader(src, Limits{})
	b.ReportAllocs()
	b.SetBytes(int64(len(in) / batch))
	for n := 0; n < b.N; {
		args, ok, err := r.Next()
		switch {
		case err != nil:
			b.Fatal(err)
		case ok:
			if len(args) != 3 {
				b.Fatal(len(args))
			}
			n++
		default:
			if src.Len() == 0 {
				src.Reset(in)
			}
			if err := r.Fill(); err != nil {
				b.Fatal(err)
			}
		}
	}
}
