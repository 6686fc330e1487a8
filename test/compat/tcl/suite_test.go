package tcl

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// files are those of the suite that concern strings, keys and connections.
var files = strings.Fields(`
	unit/type/string unit/type/incr unit/keyspace unit/expire unit/multi unit/scan unit/protocol unit/quit unit/introspection-2
	unit/bitops unit/bitfield unit/info-command unit/pubsub unit/introspection unit/slowlog unit/other`)

// What the suite itself leaves out: tests of replication, of files, of memory
// limits, and those that need minutes.
const tags = "-needs:debug -needs:repl -needs:save -needs:config-maxmemory -needs:config-resetstat -slow"

// stresser is a test of unit/other that is left out through the follower. It pipelines
// 100,000 pairs of a write and a read on one connection. A follower sends a read
// only when the writes before it are answered: minutes.
const stresser = "PIPELINING stresser (also a regression for the old epoll bug)"

// fileTimeout is for one file; the longest needs about 10 s on a machine with nothing else to do.
const fileTimeout = 100 * time.Second

// verdict is what became of a test.
type verdict struct {
	passed, failed map[string]bool
	ignored        int
	why            map[string]string // of the failed ones, the first line of what the suite says
}

func TestSuite(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a minute, Debian's apt-get and tclsh")
	}
	list := readSkips(t)
	raftkv := build(t)
	source := fetch(t)
	for i, mode := range []struct {
		name  string
		nodes int
	}{{"one", 1}, {"follower", 3}} {
		t.Run(mode.name, func(t *testing.T) {
			t.Parallel()
			addr := cluster(t, raftkv, mode.nodes, fmt.Sprintf("127.35.%d.2", i+1))
			dir := unpack(t, source)
			for _, file := range files {
				t.Run(strings.ReplaceAll(file, "/", "_"), func(t *testing.T) {
					var without []string
					if mode.nodes > 1 {
						without = []string{"--skiptest", stresser}
					}
					v := run(t, dir, addr, file, 21111+200*i, without...)
					judge(t, v, list[file])
				})
			}
		})
	}
}

// judge compares what happened with the list.
func judge(t *testing.T, v verdict, listed map[string]skip) {
	if len(v.passed)+len(v.failed) == 0 {
		t.Error("no test ran")
	}
	asListed := 0
	for name := range v.failed {
		if _, ok := listed[name]; ok {
			asListed++
		} else {
			t.Errorf("%s: %s", name, v.why[name])
		}
	}
	for name, s := range listed {
		switch {
		case v.failed[name]:
		case !v.passed[name]:
			t.Errorf("%s: is listed, and didn't run", name)
		case !s.maybe:
			t.Errorf("%s: is listed and passes: take it from the list", name)
		}
	}
	t.Logf("%4d passed %3d failed as listed %3d left out by the suite", len(v.passed), asListed, v.ignored)
}

// skip is a line of skip.txt.
type skip struct {
	reason string
	maybe  bool // it may pass: what is in its way depends on time
}

// readSkips reads "file | test | reason" lines; a reason that starts with "at times:" may be out of the way.
func readSkips(t *testing.T) map[string]map[string]skip {
	b, err := os.ReadFile("skip.txt")
	if err != nil {
		t.Fatal(err)
	}
	list := map[string]map[string]skip{}
	for n, line := range strings.Split(string(b), "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		parts := strings.Split(line, " | ")
		if len(parts) != 3 || parts[2] == "" {
			t.Fatalf("skip.txt:%d: want file | test | reason", n+1)
		}
		if list[parts[0]] == nil {
			list[parts[0]] = map[string]skip{}
		}
		if _, twice := list[parts[0]][parts[1]]; twice {
			t.Errorf("skip.txt:%d: %s is there twice", n+1, parts[1])
		}
		list[parts[0]][parts[1]] = skip{parts[2], strings.HasPrefix(parts[2], "at times:")}
	}
	for file := range list {
		if !strings.Contains(" "+strings.Join(files, " ")+" ", " "+file+" ") {
			t.Errorf("skip.txt: %s is not run", file)
		}
	}
	return list
}

// build makes the binary from the tree that this module is in.
func build(t *testing.T) string {
	bin := filepath.Join(t.TempDir(), "raftkv")
	cmd := exec.Command("go", "build", "-o", bin, "./cmd/raftkv")
	cmd.Dir = "../../.."
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build raftkv: %v\n%s", err, out)
	}
	return bin
}

// fetch gets Redis's sources from Debian, once, and returns the archive.
func fetch(t *testing.T) string {
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(cache, "raftkv-compat")
	archive := filepath.Join(dir, "redis_7.0.15.orig.tar.gz")
	if _, err := os.Stat(archive); err == nil {
		return archive
	}
	if err := os.MkdirAll(filepath.Join(dir, "lists", "partial"), 0o755); err != nil {
		t.Fatal(err)
	}
	list, err := filepath.Abs("redis.sources")
	if err != nil {
		t.Fatal(err)
	}
	// apt-get checks Debian's signatures. Lists of its own, so that nothing of the machine changes.
	apt := func(args ...string) {
		cmd := exec.Command("apt-get", append([]string{"-q", "-o", "Dir::Etc::sourcelist=" + list, "-o", "Dir::Etc::sourceparts=/dev/null",
			"-o", "Dir::State::Lists=" + filepath.Join(dir, "lists")}, args...)...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
		}
	}
	apt("update")
	apt("source", "--download-only", "redis")
	if _, err := os.Stat(archive); err != nil {
		t.Fatalf("Debian's source package is of another version: %v", err)
	}
	return archive
}

// unpack makes a copy of the suite, which writes into its own directory.
func unpack(t *testing.T, archive string) string {
	dir := t.TempDir()
	out, err := exec.Command("tar", "xzf", archive, "-C", dir, "--strip-components=1", "--wildcards", "redis-7.0.15/tests").CombinedOutput()
	if err != nil {
		t.Fatalf("unpack the suite: %v\n%s", err, out)
	}
	return dir
}

// cluster starts nodes and returns the address of the last one that follows, or of the only one.
func cluster(t *testing.T, raftkv string, nodes int, host string) string {
	run, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(run, raftkv, "dev", "--nodes", fmt.Sprint(nodes), "--host", host, "--base-port", "7300", "--dir", filepath.Join(memoryDir(t), "cluster"))
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	// The suite knows of no leader, and so of none that a busy machine elects: its writes would end as unknown.
	cmd.Env = append(os.Environ(), "RAFTKV_RAFT_ELECTION_TICKS=500")
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 30 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		cmd.Wait()
		if t.Failed() {
			t.Logf("the cluster said:\n%s", said.String())
		}
	})
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	var err error
	for ; ctx.Err() == nil; <-look.C {
		leader, follower := "", ""
		for n := range nodes {
			addr := fmt.Sprintf("%s:%d", host, 7301+n)
			var role string
			if role, err = roleOf(addr); err != nil {
				break
			}
			if role == "master" {
				leader = addr
			} else {
				follower = addr
			}
		}
		switch {
		case err != nil || leader == "":
		case nodes == 1:
			return leader
		case follower != "":
			return follower
		}
	}
	t.Fatalf("no leader within a minute: %v", err)
	return ""
}

// memoryDir is a directory whose syncs cost nothing, where there is one: nothing here is killed, and the
// suite writes its thousands of keys one after the other.
func memoryDir(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "raftkv-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// roleOf is the first element of what ROLE answers.
func roleOf(addr string) (string, error) {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	fmt.Fprint(c, "ROLE\r\n")
	r := bufio.NewReader(c)
	var line string
	for range 3 { // *n, $n, the word
		if line, err = r.ReadString('\n'); err != nil {
			return "", err
		}
	}
	return strings.TrimSpace(line), nil
}

var (
	colours = regexp.MustCompile(`\x1b\[[0-9;]*m`)
	okLine  = regexp.MustCompile(`^\[ok\]: (.*) \(\d+ ms\)$`)
	errLine = regexp.MustCompile(`^\[err\]: (.*) in tests/.*$`)
)

// run runs one file of the suite. It ends a run that died: the suite would wait for ever.
func run(t *testing.T, dir, addr, file string, port int, more ...string) verdict {
	host, clientPort, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), fileTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "tclsh", append([]string{"tests/test_helper.tcl", "--host", host, "--port", clientPort, "--baseport", fmt.Sprint(port),
		"--singledb", "--ignore-encoding", "--ignore-digest", "--durable", "--tags", tags, "--single", file}, more...)...)
	cmd.Dir = dir
	// The suite is a server and a client, which are to end together.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatalf("start the suite (Debian: tcl): %v", err)
	}
	v := verdict{passed: map[string]bool{}, failed: map[string]bool{}, why: map[string]string{}}
	var all []string
	last, died := "", false
	scan := bufio.NewScanner(pipe)
	scan.Buffer(nil, 16<<20)
	for scan.Scan() {
		line := colours.ReplaceAllString(scan.Text(), "")
		all = append(all, line)
		if last != "" && v.why[last] == "" {
			v.why[last] = line
		}
		last = ""
		if m := okLine.FindStringSubmatch(line); m != nil {
			v.passed[m[1]] = true
		} else if m := errLine.FindStringSubmatch(line); m != nil {
			v.failed[m[1]], last = true, m[1]
		} else if strings.HasPrefix(line, "[ignore]") {
			v.ignored++
		} else if strings.HasPrefix(line, "[exception]") {
			died = true
			cancel()
		}
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	if died || ctx.Err() != nil || err != nil && !errors.As(err, &exit) {
		t.Errorf("the suite ended early (%v):\n%s", err, strings.Join(all[max(0, len(all)-40):], "\n"))
	}
	for name := range v.failed { // a test of this name passed before and failed now, or the other way round
		delete(v.passed, name)
	}
	return v
}
