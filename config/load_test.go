package config

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/raftkv/raftkv/internal/fuzztest"
)

// Every way to write a wrong file has a file, and its report is kept beside it.
func TestBadFiles(t *testing.T) {
	files, _ := filepath.Glob("testdata/*.bad.yaml")
	if len(files) < 30 {
		t.Fatalf("only %d files of testdata/*.bad.yaml", len(files))
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			_, err := Load(Options{File: file})
			var faults Faults
			if !errors.As(err, &faults) {
				t.Fatalf("Load gave %v, want Faults", err)
			}
			golden(t, strings.TrimSuffix(file, ".yaml")+".txt", []byte(err.Error()+"\n"))
		})
	}
}

// Each key that has bounds is refused outside of them, at both ends, and taken at them.
func TestBounds(t *testing.T) {
	for _, f := range schema() {
		if f.min == "" {
			continue
		}
		for _, tc := range []struct {
			n    int64
			want string
		}{
			{f.number(f.min) - 1, "too small"},
			{f.number(f.min), ""},
			{f.number(f.max), ""},
			{f.number(f.max) + 1, "too large"},
		} {
			v := reflect.ValueOf(tc.n).Convert(f.typ).Interface()
			if got := f.bounds(v); got != tc.want {
				t.Errorf("%s = %v: %q, want %q", f.key, v, got, tc.want)
			}
		}
		if what := f.bounds(f.get(ptr(Default()))); what != "" {
			t.Errorf("default of %s is %s", f.key, what)
		}
	}
}

func ptr[T any](v T) *T { return &v }

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "n1.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const small = `node: {name: n1, data_dir: data}
cluster:
  voters:
    - {name: n1, peer: 127.0.0.1:7480, client: 127.0.0.1:7479, http: 127.0.0.1:7481}
    - {name: n2, peer: 127.0.0.2:7480, client: 127.0.0.2:7479, http: 127.0.0.2:7481}
    - {name: n3, peer: 127.0.0.3:7480, client: 127.0.0.3:7479, http: 127.0.0.3:7481}
`

func load(t *testing.T, text string, flags ...Flag) (*Loaded, error) {
	t.Helper()
	return Load(Options{File: write(t, text), Flags: flags})
}

func TestAddressesFollowFromVoters(t *testing.T) {
	l, err := load(t, small)
	if err != nil {
		t.Fatal(err)
	}
	if l.Peer.Listen != "127.0.0.1:7480" || l.Peer.Advertise != "127.0.0.1:7480" ||
		l.Redis.Listen != "127.0.0.1:7479" || l.HTTP.Listen != "127.0.0.1:7481" {
		t.Errorf("addresses %+v %+v %+v", l.Redis, l.Peer, l.HTTP)
	}
	if len(l.Warnings) != 0 {
		t.Errorf("warnings: %q", l.Warnings)
	}
}

// A joining node isn't in the list: its addresses come from listen, and those from the defaults.
func TestJoiningNode(t *testing.T) {
	l, err := load(t, strings.Replace(small, "name: n1, data_dir", "name: n4, data_dir", 1)+"  join: true\npeer: {listen: 127.0.0.4:7480}\n")
	if err != nil {
		t.Fatal(err)
	}
	if l.Peer.Advertise != "127.0.0.4:7480" || l.Redis.Listen != defaultRedis || l.Redis.Advertise != defaultRedis {
		t.Errorf("addresses %+v %+v", l.Redis, l.Peer)
	}
}

// Flags win over the environment, that over the file, and that over defaults.
func TestPrecedence(t *testing.T) {
	t.Setenv("RAFTKV_RAFT_TICK", "30ms")
	t.Setenv("RAFTKV_RAFT_ELECTION_TICKS", "60")
	t.Setenv("RAFTKV_LOG_LEVEL", "") // counts as not set
	l, err := load(t, small+"raft: {tick: 20ms, election_ticks: 70, heartbeat_ticks: 6}\nlog: {level: debug}\n",
		Flag{Name: "--set", Key: "raft.tick", Value: "40ms"})
	if err != nil {
		t.Fatal(err)
	}
	want := Default().Raft
	want.Tick, want.ElectionTicks, want.HeartbeatTicks = 40*time.Millisecond, 60, 6
	if l.Raft != want || l.Log.Level != "debug" {
		t.Errorf("got %+v %+v", l.Raft, l.Log)
	}
	for key, want := range map[string]string{
		"raft.tick": "flag --set", "raft.election_ticks": "environment RAFTKV_RAFT_ELECTION_TICKS",
		"raft.append_bytes": "", "log.level": ".yaml:8", "raft.heartbeat_ticks": ".yaml:7",
	} {
		if got := l.Origin[key]; !strings.HasSuffix(got, want) || (want == "") != (got == "") {
			t.Errorf("origin of %s is %q, want ...%q", key, got, want)
		}
	}
}

// Every key can be set by its variable, and no two keys share one.
func TestEveryKeyHasAVariable(t *testing.T) {
	vars := map[string]string{}
	for _, f := range schema() {
		if other, ok := vars[f.env()]; ok {
			t.Errorf("%s and %s share %s", f.key, other, f.env())
		}
		vars[f.env()] = f.key
	}
	for _, f := range schema() {
		t.Run(f.key, func(t *testing.T) {
			value, want := "", any(nil)
			switch {
			case f.isList():
				value = "n1=h:7480/h:7479/h:7481,n2=h:1/h:2/h:3"
				want = []Voter{{"n1", "h:7480", "h:7479", "h:7481"}, {"n2", "h:1", "h:2", "h:3"}}
			case f.one != nil:
				value = f.one[1]
			case f.is == "name":
				value = "n2"
			case f.is == "listen", f.is == "advertise":
				value = "127.0.0.77:7777"
			case f.is == "path":
				value = "elsewhere" // relative to the working directory, not to the file
			case f.typ.Kind() == reflect.Bool:
				value = "true"
			default:
				value = f.max
			}
			if want == nil {
				want, _ = f.parse(value)
			}
			t.Setenv(f.env(), value)
			v := loader{v: newViper(), origin: map[string]origin{}, bad: map[string]bool{}}
			v.environment()
			c := v.merge(Default())
			if got := f.get(&c); !reflect.DeepEqual(got, want) || len(v.faults) > 0 {
				t.Errorf("%s=%s gave %v, faults %v", f.env(), value, got, v.faults)
			}
		})
	}
}

// A fault of a variable names the variable, one of a flag the flag, and both
// come together with those of the file.
func TestFaultsOfEverySourceAtOnce(t *testing.T) {
	t.Setenv("RAFTKV_RAFT_TICK", "10")
	t.Setenv("RAFTKV_RAFT_HEARTBEAT_TICKS", "20")
	t.Setenv("RAFTKV_CLUSTER_VOTERS", "n1")
	path := write(t, small+"log: {level: loud}\n")
	_, err := Load(Options{File: path, Flags: []Flag{
		{"--log-format", "log.format", "xml"}, {"--set", "raft.tik", "1ms"}, {"--set", "limits.key_bytes", "big"},
	}})
	if err == nil {
		t.Fatal("no error")
	}
	want := strings.ReplaceAll(`FILE:7: log.level = "loud": unknown word; allowed: debug, info, warn, error
environment RAFTKV_CLUSTER_VOTERS: cluster.voters = "n1": voter 1 is not name=peer/client/http; allowed: name=peer/client/http, separated by commas
environment RAFTKV_RAFT_TICK: raft.tick = "10": a duration needs a unit; allowed: a duration from 1ms to 1s
flag --set: raft.tik: unknown key, did you mean raft.tick?; allowed: a key that raftkv config print shows, such as raft.tick
flag --set: limits.key_bytes = "big": not a size; allowed: bytes from 16 to 1MiB
flag --log-format: log.format = "xml": unknown word; allowed: auto, text, json
FILE: raft.election_ticks = "50": below 3 heartbeats of 20 ticks; allowed: at least 60`, "FILE", path)
	if err.Error() != want {
		t.Errorf("got:\n%s\nwant:\n%s", err, want)
	}
}

func TestRelativePathsStartAtTheFile(t *testing.T) {
	path := write(t, small+"tls:\n  peer: {cert: c.pem, key: /etc/k.pem, ca: ca.pem}\n")
	l, err := Load(Options{File: path})
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(path)
	if l.Node.DataDir != filepath.Join(dir, "data") || l.TLS.Peer.Cert != filepath.Join(dir, "c.pem") ||
		l.TLS.Peer.Key != "/etc/k.pem" || l.TLS.Peer.CA != filepath.Join(dir, "ca.pem") {
		t.Errorf("paths %q %+v", l.Node.DataDir, l.TLS.Peer)
	}
}

func TestFormsThatAreFine(t *testing.T) {
	for name, text := range map[string]string{
		"CRLF":                strings.ReplaceAll(small, "\n", "\r\n"),
		"byte order mark":     "\ufeff" + small,
		"empty section":       small + "raft:\nlog:\n  # level: debug\n",
		"document start":      "---\n" + small + "...\n",
		"quoted duration":     small + "raft: {tick: '10ms'}\n",
		"empty optional text": small + "redis: {listen: , advertise: ''}\n",
		"IPv6":                strings.NewReplacer("127.0.0.1:7480", `"[::1]:7480"`, "127.0.0.1:7479", `"[::1]:7479"`, "127.0.0.1:7481", `"[::1]:7481"`).Replace(small),
		"host names":          strings.ReplaceAll(small, "127.0.0.1:", "node-1.example.:"),
	} {
		if _, err := load(t, text); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFileThatCannotBeRead(t *testing.T) {
	if _, err := Load(Options{File: filepath.Join(t.TempDir(), "none.yaml")}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	if _, err := Load(Options{File: t.TempDir()}); err == nil || !strings.Contains(err.Error(), "is a directory") {
		t.Errorf("directory: %v", err)
	}
	_, err := load(t, strings.Repeat("# long\n", maxFile/7+1))
	if err == nil || !strings.HasSuffix(err.Error(), "n1.yaml: longer than 1MiB") {
		t.Errorf("long file: %v", err)
	}
	// It has no end: it must not be read to the end.
	if _, err := Load(Options{File: "/dev/zero"}); err == nil {
		t.Error("endless file: no error")
	}
}

func TestReportIsBounded(t *testing.T) {
	var b strings.Builder
	for i := range 5000 {
		b.WriteString("x" + strings.Repeat("y", i%50) + strings.Repeat("z", i/50) + ": 1\n")
	}
	_, err := load(t, b.String())
	var faults Faults
	if !errors.As(err, &faults) || len(faults) != maxFaults+1 {
		t.Errorf("%d faults, want %d", len(faults), maxFaults+1)
	}
}

func TestWarnings(t *testing.T) {
	t.Setenv("RAFTKV_RAFT_TIK", "1ms")
	t.Setenv("RAFTKV_ENDPOINTS", "h:1")
	t.Setenv("RAFTKV_PASSWORD", "secret")
	text := strings.NewReplacer("127.0.0.1:7480", "192.0.2.1:7480", "127.0.0.1:7479", "192.0.2.1:7479").Replace(small)
	text = text[:strings.Index(text, "    - {name: n3")] + "redis: {listen: 127.0.0.1:7479}\n"
	l, err := load(t, text)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"peer.listen = 192.0.2.1:7480 is open to others and not encrypted; set tls.peer, or keep it behind a firewall",
		"redis.listen = 127.0.0.1:7479 is reached from this machine only, but others are told 192.0.2.1:7479",
		"cluster.voters has 2 nodes: it survives no more losses than 1 would",
		"environment RAFTKV_RAFT_TIK sets no key, did you mean RAFTKV_RAFT_TICK?",
	}
	if !slices.Equal(l.Warnings, want) {
		t.Errorf("got %q\nwant %q", l.Warnings, want)
	}
}

// Both sides of clients are as open as they listen.
func TestWarningsOfOpenSides(t *testing.T) {
	c := Example()
	c.Redis.Listen, c.HTTP.Listen = ":6479", "192.0.2.1:6481"
	c.Redis.Advertise, c.HTTP.Advertise, c.Peer.Listen = c.Redis.Listen, c.HTTP.Listen, defaultPeer
	for _, side := range []string{"redis.listen = :6479", "http.listen = 192.0.2.1:6481"} {
		for _, what := range []string{"everybody who reaches it can read and write", "is open to others and not encrypted"} {
			if !slices.ContainsFunc(c.warnings(), func(w string) bool { return strings.HasPrefix(w, side) && strings.Contains(w, what) }) {
				t.Errorf("no warning that %s %s: %q", side, what, c.warnings())
			}
		}
	}
	c.Redis.PasswordFile, c.TLS.Client.Cert = "f", "f"
	if ws := c.warnings(); len(ws) != 0 {
		t.Errorf("with password and TLS: %q", ws)
	}
}

// What Print writes is a configuration again, the same one.
func TestPrintIsReadBack(t *testing.T) {
	c := Example()
	c.Node.Name, c.Cluster.Voters[0].Name = "1e3", "1e3" // a text that YAML takes for a number
	c.Node.DataDir = "/tmp/a: b # c"
	c.HTTP.Listen = "[::]:6481"
	c.Raft.Tick = 1500 * time.Microsecond
	c.Limits.KeyBytes = 1000
	c.resolve()
	var b bytes.Buffer
	if err := c.Print(&b, nil); err != nil {
		t.Fatal(err)
	}
	l, err := load(t, b.String())
	if err != nil {
		t.Fatalf("%v in\n%s", err, b.String())
	}
	if !reflect.DeepEqual(l.Config, c) {
		t.Errorf("got %+v\nwant %+v", l.Config, c)
	}
}

func TestPrintNamesOrigins(t *testing.T) {
	t.Setenv("RAFTKV_RAFT_TICK", "20ms")
	l, err := load(t, small)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := l.Print(&b, l.Origin); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), "  tick: 20ms # from environment RAFTKV_RAFT_TICK\n") {
		t.Errorf("no origin in\n%s", b.String())
	}
	if !strings.Contains(b.String(), "\n  election_ticks: 50\n") {
		t.Errorf("a default has an origin in\n%s", b.String())
	}
}

// The sample for a cluster of three machines is what Print says of it.
func TestSampleHasEveryKey(t *testing.T) {
	c := Default()
	c.Node = Node{Name: "n1", DataDir: "/var/lib/raftkv"}
	for _, n := range []string{"1", "2", "3"} {
		c.Cluster.Voters = append(c.Cluster.Voters, Voter{"n" + n, "192.0.2." + n + ":6480", "192.0.2." + n + ":6479", "192.0.2." + n + ":6481"})
	}
	var b bytes.Buffer
	b.WriteString("# One node of three. Copy it to the three machines as raftkv.yaml and change node.name: all else is\n" +
		"# the same. Keys at their defaults may be left out; only node and cluster.voters are required.\n" +
		"# Each key can be set by a variable too: RAFTKV_RAFT_TICK is raft.tick.\n" +
		"# raftkv config check FILE tells every fault at once.\n\n")
	if err := c.Print(&b, nil); err != nil {
		t.Fatal(err)
	}
	golden(t, "../deploy/raftkv.yaml", b.Bytes())
	l, err := Load(Options{File: "../deploy/raftkv.yaml"})
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(l.Raft, Default().Raft) || l.Peer.Listen != "192.0.2.1:6480" {
		t.Errorf("sample gives %+v", l.Config)
	}
	for _, f := range schema() {
		if l.Origin[f.key] == "" {
			t.Errorf("%s is not in the sample", f.key)
		}
	}
}

// The configuration is logged whole, once.
func TestLogValueHasEveryKey(t *testing.T) {
	var b bytes.Buffer
	slog.New(slog.NewTextHandler(&b, nil)).Info("configuration", "config", Example())
	for _, f := range schema() {
		if !strings.Contains(b.String(), " config."+f.key+"=") {
			t.Errorf("%s is not in %s", f.key, b.String())
		}
	}
}

// Viper folds keys to lower case and splits them at dots: ours must survive that.
func TestKeysSurviveViper(t *testing.T) {
	for _, k := range keys() {
		if k != strings.ToLower(k) || strings.ContainsAny(k, " -") {
			t.Errorf("key %q", k)
		}
	}
}

func TestExampleIsValid(t *testing.T) {
	if err := Example().Validate(); err != nil {
		t.Error(err)
	}
	c := Example()
	c.Raft.ElectionTicks = 3
	before := c
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "raft.election_ticks") {
		t.Errorf("fault not found: %v", err)
	}
	if !reflect.DeepEqual(before, c) {
		t.Error("Validate changed the configuration")
	}
}

func TestBytes(t *testing.T) {
	for in, want := range map[string]Bytes{"0": 0, "1": 1, "1KiB": 1 << 10, "8 MiB": 8 << 20, "1GiB": 1 << 30, "2TiB": 2 << 40, "-1KiB": -1024} {
		got, err := parseBytes(in)
		if err != nil || got != want {
			t.Errorf("%q is %d, %v; want %d", in, got, err, want)
		}
		if back, err := parseBytes(got.String()); err != nil || back != want {
			t.Errorf("%v read back is %v, %v", got, back, err)
		}
	}
	for _, in := range []string{"", "KiB", "1kb", "1 K", "01", "1_0", "0x1", "1e3", "+1", "--1", "8388608TiB", "9223372036854775808", "1.5MiB"} {
		if n, err := parseBytes(in); err == nil {
			t.Errorf("%q is %d, want an error", in, n)
		}
	}
}

// No text, however wrong, is more than a list of faults.
func FuzzParseFile(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.bad.yaml")
	for _, file := range append(files, "../deploy/raftkv.yaml") {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var p *fileValues
		fuzztest.Bounded(t, len(b), 4<<20, 4<<10, func() { p = parseFile("x.yaml", b) })
		l := loader{v: newViper(), origin: map[string]origin{}, bad: map[string]bool{}}
		if err := l.take(p); err != nil {
			t.Fatal(err)
		}
		c := l.merge(Default())
		c.resolve()
		err := append(l.faults, l.place(c.check(l.bad))...).err()
		if err == nil {
			var out bytes.Buffer
			if err := c.Print(&out, nil); err != nil {
				t.Fatal(err)
			}
			again := parseFile("x.yaml", out.Bytes())
			if len(again.faults) > 0 {
				t.Fatalf("printed text has faults: %v", again.faults)
			}
			return
		}
		if strings.Count(err.Error(), "\n") > maxFaults+1 {
			t.Fatalf("a fault is longer than a line: %q", err)
		}
	})
}

// What config print shows must be YAML that is read back, and YAML is Unicode.
func TestValuesAreUTF8(t *testing.T) {
	_, err := Load(Options{Flags: []Flag{{"--set", "node.data_dir", "/data/\xa0"}}})
	if err == nil || !strings.Contains(err.Error(), "flag --set: node.data_dir") || !strings.Contains(err.Error(), "not UTF-8") {
		t.Errorf("err = %v", err)
	}
}

// Whatever a flag or a variable says for a key: a fault of one line, or a configuration
// that is printed and read as itself.
func FuzzParseValue(f *testing.F) {
	keys := schema()
	values := []string{"10ms", "8 MiB", "true", "n1=h:1/h:2/h:3,n2=h:4/h:5/h:6", "3", "127.0.0.1:7000"}
	for i := range keys {
		f.Add(uint8(i), values[i%len(values)])
	}
	f.Fuzz(func(t *testing.T, which uint8, value string) {
		key := keys[int(which)%len(keys)].key
		var l *Loaded
		var err error
		fuzztest.Bounded(t, len(value), 4<<20, 1<<10, func() { l, err = Load(Options{Flags: []Flag{{"--set", key, value}}}) })
		if err != nil {
			if strings.Count(err.Error(), "\n") > maxFaults+1 {
				t.Errorf("a fault is longer than a line: %q", err)
			}
			return
		}
		var out bytes.Buffer
		if err := l.Print(&out, nil); err != nil {
			t.Fatal(err)
		}
		if again := parseFile("x.yaml", out.Bytes()); len(again.faults) > 0 {
			t.Errorf("%s is %q: printed text has faults: %v", key, value, again.faults)
		}
	})
}
