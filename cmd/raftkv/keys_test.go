package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/internal/fuzztest"
	"github.com/raftkv/raftkv/server/feed"
	"github.com/raftkv/raftkv/server/httpapi/apitest"
	"github.com/raftkv/raftkv/server/resp/resptest"
)

// versions are indexes, which the sessions of each command move.
var versions = regexp.MustCompile(`"version": ?[0-9]+`)

// The commands that came after put and get: output, exit codes, all three forms.
func TestMoreKeyCommands(t *testing.T) {
	addr, _ := apitest.Serve(t, resptest.NewMemory(), feed.Config{}, nil)
	for _, tc := range []struct {
		args string
		code exitCode
		out  string
	}{
		{"incr n", exitOK, "1\n"},
		{"incr n 41", exitOK, "42\n"},
		{"incr n -o json", exitOK, "{\n  \"key\": \"n\",\n  \"value\": 43\n}\n"},
		{"incr n x", exitUsage, ""},
		{"put t text", exitOK, "OK\n"},
		{"incr t", exitFail, ""},
		{"exists n t none", exitOK, "2\n"},
		{"exists none", exitNotFound, "0\n"},
		{"exists", exitUsage, ""},
		{"len t", exitOK, "4\n"},
		{"len", exitOK, "2\n"},
		{"len -o json", exitOK, "{\n  \"keys\": 2\n}\n"},
		{"get t --version -o json", exitOK, "{\n  \"key\": \"t\",\n  \"value\": \"text\",\n  \"version\":VERSION\n}\n"},
		{"get none --version", exitNotFound, ""},
		{"cas t text new", exitOK, "OK\n"},
		{"cas t text text", exitCondition, ""},
		{"cas t new text", exitOK, "OK\n"},
		{"cas fresh 1 --missing", exitOK, "OK\n"},
		{"cas fresh 2 --missing", exitCondition, ""},
		{"cas fresh 2 --version 1", exitCondition, ""},
		{"cas fresh 2", exitUsage, ""},
		{"cas fresh 1 2 --missing", exitUsage, ""},
		{"cas fresh 1 2 --ttl 0s", exitUsage, ""},
		{"ttl fresh", exitOK, "forever\n"},
		{"ttl fresh -o json", exitOK, "{\n  \"expires\": false,\n  \"key\": \"fresh\"\n}\n"},
		{"ttl none", exitNotFound, ""},
		{"expire fresh 1h", exitOK, "OK\n"},
		{"expire fresh forever", exitOK, "OK\n"},
		{"expire none 1h", exitNotFound, ""},
		{"expire fresh 1", exitUsage, ""},
		{"expire fresh 1us", exitUsage, ""},
		{"del fresh", exitOK, "1\n"},
		{"scan", exitOK, "n\nt\n"},
		{"scan --values", exitOK, "n  43\nt  text\n"},
		{"scan --values -o plain", exitOK, "n\t43\nt\ttext\n"},
		{"scan t --values -o json", exitOK, "{\"key\":\"t\",\"value\":\"text\"}\n"},
		{"scan --limit 1", exitOK, "n\n"},
		{"scan --after n", exitOK, "t\n"},
		{"scan --match [n]", exitOK, "n\n"},
		{"scan x --match y", exitUsage, ""},
		{"scan --limit -1", exitUsage, ""},
		{"txn put a 1 incr a 4 append b x get a del t get t", exitOK, "OK\n5\n1\n5\n1\n(nil)\n"},
		{"txn if a 0 put a 2", exitCondition, ""},
		{"txn get a get t -o json", exitOK, "{\"found\":true,\"op\":\"get\",\"value\":\"5\",\"version\":VERSION}\n{\"found\":false,\"op\":\"get\"}\n"},
		{"txn incr b 1 put c 1", exitFail, "(error) ERR value is not an integer or out of range\nOK\n"},
		{"txn put a", exitUsage, ""},
		{"txn if a 1", exitUsage, ""},
		{"txn if a x put a 1", exitUsage, ""},
		{"txn zap a", exitUsage, ""},
		{"watch --from 1 --after 2", exitUsage, ""},
		{"watch --after nonsense", exitFail, ""},
	} {
		code, out, errOut := with("", addr, strings.Fields(tc.args)...)
		if code != tc.code || versions.ReplaceAllString(out, `"version":VERSION`) != tc.out {
			t.Errorf("%s: code %d, %q, want %d, %q (%s)", tc.args, code, out, tc.code, tc.out, errOut)
		}
	}
	// What is no plain text is quoted for people, and in base64 for programs.
	if code, _, errOut := with("\x1b\xff", addr, "put", "e\nf", "-"); code != exitOK {
		t.Fatal(errOut)
	}
	if _, out, _ := with("", addr, "scan", "e", "--values"); out != `"e\nf"  "\x1b\xff"`+"\n" {
		t.Errorf("for people: %q", out)
	}
	if _, out, _ := with("", addr, "scan", "e", "--values", "-o", "json"); out != `{"key":"e\nf","value_base64":"G/8="}`+"\n" {
		t.Errorf("for programs: %q", out)
	}
}

// The version that get prints is the one that cas takes.
func TestCasByVersion(t *testing.T) {
	addr, _ := apitest.Serve(t, resptest.NewMemory(), feed.Config{}, nil)
	with("", addr, "put", "k", "1")
	_, version, errOut := with("", addr, "get", "k", "--version")
	version = strings.TrimSpace(version)
	if code, out, errOut := with("", addr, "cas", "k", "2", "--version", version); code != exitOK || out != "OK\n" {
		t.Fatalf("version %q: %d %s", version, code, errOut)
	}
	if code, _, _ := with("", addr, "cas", "k", "3", "--version", version); code != exitCondition {
		t.Errorf("an old version: %d", code)
	}
	if _, out, _ := with("", addr, "get", "k"); out != "2" {
		t.Errorf("%q (%s)", out, errOut)
	}
}

// Changes are printed as they come, in all three forms, each once.
func TestWatchPrints(t *testing.T) {
	addr, _ := apitest.Serve(t, resptest.NewMemory(), feed.Config{}, nil)
	with("", addr, "put", "a", "x y")
	with("\xff", addr, "put", "b", "-")
	with("", addr, "del", "a")
	var records []record
	_, out, errOut := with("", addr, "watch", "--from", "1", "--limit", "3", "-o", "json")
	for _, l := range strings.Split(strings.TrimSpace(out), "\n") {
		var r record
		if err := json.Unmarshal([]byte(l), &r); err != nil {
			t.Fatalf("%q: %v (%s)", l, err, errOut)
		}
		records = append(records, r)
	}
	if len(records) != 3 || records[0].Event != "changed" || *records[0].Key != "a" || *records[0].Value != "x y" || *records[1].ValueBase64 != "/w==" || records[2].Event != "deleted" || records[2].Value != nil {
		t.Fatalf("%s", out)
	}
	i := records[0].Index
	for output, want := range map[string]string{
		"table": fmt.Sprintf("%d  changed  a  x y\n", i), "plain": fmt.Sprintf("%d\tchanged\ta\tx y\n", i),
	} {
		if _, out, _ := with("", addr, "watch", "--from", fmt.Sprint(i), "--limit", "1", "-o", output); out != want {
			t.Errorf("%s: %q, want %q", output, out, want)
		}
	}
	if _, out, _ := with("", addr, "watch", "--after", records[0].Place, "--limit", "1", "--keys", "b"); out != fmt.Sprintf("%d  changed  b\n", records[1].Index) {
		t.Errorf("behind the first: %q", out)
	}
}

// Changes that are gone: exit 6, and the message says from where there are some.
func TestWatchOfTheForgotten(t *testing.T) {
	addr, _ := apitest.Serve(t, resptest.NewMemory(), feed.Config{Events: 2}, nil)
	for range 5 {
		with("", addr, "incr", "n")
	}
	if code, out, errOut := with("", addr, "watch", "--from", "1"); code != exitCondition || out != "" || !strings.Contains(errOut, "no longer kept") {
		t.Errorf("%d %q %q", code, out, errOut)
	}
}

// The shell knows the same words.
func TestShellWords(t *testing.T) {
	addr, _ := apitest.Serve(t, resptest.NewMemory(), feed.Config{}, nil)
	in := "put a 1\nincr n 5\nincrby n -2\nscan\ntxn incr a 1 get n\ntxn if a 99 put a 0\nscan 0 COUNT 100\n"
	code, out, errOut := with(in, addr, "shell", "-o", "plain")
	if want := "OK\n5\n3\na\nn\n2\n3\n0\na\nn\n"; out != want || code != exitCondition || !strings.HasPrefix(errOut, "line 6: ") {
		t.Errorf("%d\n%q, want\n%q\n%q", code, out, want, errOut)
	}
}

// Every command has its page, none has a line that troff would take for a request, and each names its flags.
func TestManualPages(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "man1")
	code, out, errOut := with("", "x", "man", dir)
	if code == exitOK {
		t.Fatal("man takes no endpoints")
	}
	var o, e strings.Builder
	if code := run([]string{"man", dir}, nil, &o, &e); code != exitOK {
		t.Fatal(code, out, errOut, e.String())
	}
	pages, err := filepath.Glob(filepath.Join(dir, "*.1"))
	if err != nil || len(pages) < 30 {
		t.Fatalf("%d pages, %v", len(pages), err)
	}
	requests := map[string]bool{".TH": true, ".SH": true, ".B": true, ".BR": true, ".TP": true, ".nf": true, ".fi": true}
	for _, p := range pages {
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		for i, l := range strings.Split(string(b), "\n") {
			word, _, _ := strings.Cut(l, " ")
			if strings.HasPrefix(l, ".") && !requests[word] || strings.HasPrefix(l, "'") {
				t.Errorf("%s:%d: %s", filepath.Base(p), i+1, l)
			}
		}
	}
	put, err := os.ReadFile(filepath.Join(dir, "raftkv-put.1"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`.TH RAFTKV\-PUT 1`, `\fB\-\-nx\fR`, `raftkv put greeting hello`, `.BR raftkv (1)`} {
		if !strings.Contains(string(put), want) {
			t.Errorf("the page of put lacks %q", want)
		}
	}
}

// Shells complete the commands.
func TestShellCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		var o, e strings.Builder
		if code := run([]string{"completion", shell}, nil, &o, &e); code != exitOK || !strings.Contains(o.String(), "raftkv") {
			t.Errorf("%s: %d %.200s", shell, code, e.String())
		}
	}
	var o, e strings.Builder
	if code := run([]string{"__complete", "sc"}, nil, &o, &e); code != exitOK || !strings.HasPrefix(o.String(), "scan\t") {
		t.Errorf("sc is completed to %q (%d %s)", o.String(), code, e.String())
	}
}

func TestMeterText(t *testing.T) {
	for _, tc := range []struct {
		done, all int64
		want      string
	}{
		{5, 0, "5"}, {0, 10, "[..............................]   0 %"}, {5, 10, "[###############...............]  50 %"}, {99, 10, "[##############################] 100 %"},
	} {
		if got := meterText(tc.done, tc.all); got != tc.want {
			t.Errorf("%d of %d: %q, want %q", tc.done, tc.all, got, tc.want)
		}
	}
}

// Lines end in any order; what is done is what is done from the first one on.
func TestMarks(t *testing.T) {
	m := &marks{next: 3, open: map[int64]bool{}}
	for _, step := range []struct{ n, upTo int64 }{{4, 2}, {6, 2}, {3, 4}, {5, 6}, {7, 7}} {
		if m.mark(step.n); m.upTo() != step.upTo {
			t.Errorf("after line %d: done up to %d, want %d", step.n, m.upTo(), step.upTo)
		}
	}
}

// What dump writes load reads, byte by byte and with what time is left.
func TestDumpAndLoad(t *testing.T) {
	addr, _ := apitest.Serve(t, resptest.NewMemory(), feed.Config{}, nil)
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	for i := range 70 {
		if code, _, errOut := with(string(every[i:]), addr, "put", fmt.Sprintf("k/%02d", i), "-"); code != exitOK {
			t.Fatal(errOut)
		}
	}
	with("", addr, "put", "k/"+string(every[1:]), "v")
	with("", addr, "put", "k/short", "v", "--ttl", "100h")
	with("", addr, "put", "other", "v")
	file := filepath.Join(t.TempDir(), "d")
	code, _, errOut := with("", addr, "dump", file, "--prefix", "k/")
	if code != exitOK || errOut != "dumped 72 keys\n" {
		t.Fatalf("%d %s", code, errOut)
	}
	if code, _, errOut := with("", addr, "dump", file); code != exitFail || !strings.Contains(errOut, "exists") {
		t.Errorf("a file that is there: %d %s", code, errOut)
	}
	_, before, _ := with("", addr, "scan", "k/", "--values", "-o", "json")
	other, _ := apitest.Serve(t, resptest.NewMemory(), feed.Config{}, nil)
	if code, _, errOut := with("", other, "load", file); code != exitOK || errOut != "loaded 72 keys\n" {
		t.Fatalf("%d %s", code, errOut)
	}
	if _, after, _ := with("", other, "scan", "--values", "-o", "json"); after != before || len(after) < 70*100 {
		t.Errorf("%d bytes came back as %d", len(before), len(after))
	}
	if _, out, _ := with("", other, "ttl", "k/short"); !strings.HasPrefix(out, "99h") {
		t.Errorf("it lives %q", out)
	}
	if code, _, errOut := with(`{"key":"gone","value":"x","expires":1}`, other, "load"); code != exitOK {
		t.Error(errOut)
	}
	if code, _, _ := with("", other, "exists", "gone"); code != exitNotFound {
		t.Error("what has expired came back")
	}
}

// A line that can't be loaded stops it, names itself, and says where to go on.
func TestLoadStopsAndGoesOn(t *testing.T) {
	addr, _ := apitest.Serve(t, resptest.NewMemory(), feed.Config{}, nil)
	var b strings.Builder
	for i := range 100 {
		if i == 60 {
			b.WriteString("{\"key\": broken}\n")
			continue
		}
		json.NewEncoder(&b).Encode(recordOf(fmt.Sprintf("k%02d", i), []byte{byte(i), 0xff}))
	}
	code, _, errOut := with(b.String(), addr, "load")
	if code != exitFail || !strings.Contains(errOut, "line 61: ") || !strings.Contains(errOut, "--skip 60") {
		t.Fatalf("%d %s", code, errOut)
	}
	code, _, errOut = with(b.String(), addr, "load", "--skip", "61")
	if code != exitOK || errOut != "loaded 39 keys\n" {
		t.Fatalf("%d %s", code, errOut)
	}
	if _, out, _ := with("", addr, "len"); out != "99\n" {
		t.Errorf("%s keys are there, want 99", out)
	}
	for i, bad := range []string{`{"value":"x"}`, `{"key":"a"}`, `{"key":"a","key_base64":"YQ==","value":"x"}`, `{"key_base64":"?","value":"x"}`, `[]`} {
		if code, _, errOut := with(bad, addr, "load"); code != exitFail || !strings.Contains(errOut, "line 1: ") || !strings.Contains(errOut, "--skip 0") {
			t.Errorf("%d: %d %s", i, code, errOut)
		}
	}
}

// A line of a file that load reads is refused or a key and a value, and what dump
// writes of those is read as the same.
func FuzzLoadLine(f *testing.F) {
	for _, s := range []string{
		`{"key":"a","value":"1"}`, `{"key_base64":"/w==","value_base64":"/wA=","expires":1700000000000}`, `{"key":"a","key_base64":"YQ==","value":""}`,
		`{"key":"\ud800","value":"\u0000"}`, `{"key":null}`, `{"key":"a","value":"<&>\u2028"}`, "{}", "[1]",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		fuzztest.Bounded(t, len(line), 64<<10, 256, func() {
			var r, again record
			if json.Unmarshal(line, &r) != nil {
				return
			}
			key, value, err := r.pair()
			if err != nil {
				return
			}
			var out bytes.Buffer
			if err := printLine(&out, recordOf(key, []byte(value))); err != nil {
				t.Fatal(err)
			}
			if bytes.Count(out.Bytes(), []byte("\n")) != 1 {
				t.Errorf("%q stands on more than one line", out.Bytes())
			}
			if err := json.Unmarshal(out.Bytes(), &again); err != nil {
				t.Fatal(err)
			}
			if k, v, err := again.pair(); err != nil || k != key || v != value {
				t.Errorf("%q and %q became %q and %q, %v", key, value, k, v, err)
			}
		})
	})
}
