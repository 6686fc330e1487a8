package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/internal/testenv"
	"github.com/raftkv/raftkv/selftest"
)

// BI-09, PC-19: a wrong configuration ends with 78, and says everything that is
// wrong at once, each with file and line.
func TestWrongConfiguration(t *testing.T) {
	bothTiers(t)
	c := prepare(t, selftest.Options{Voters: 1, YAML: "raft: {tick: 10, election_ticks: 1}\nno_such_section: 1\nlog: {level: loud}\n"})
	n := c.Nodes[0]
	ends(t, n, 78, "no_such_section")
	log := n.Tail(20)
	for _, want := range []string{n.Config + ":7: raft.tick", n.Config + ":7: raft.election_ticks", n.Config + ":8: no_such_section", n.Config + ":9", "log.level", "loud"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log does not say %q:\n%s", want, log)
		}
	}
	if _, err := os.Stat(n.Data); err == nil {
		t.Errorf("%s was made by a node that must not start", n.Data)
	}
	if err := os.Remove(n.Config); err != nil {
		t.Fatal(err)
	}
	ends(t, n, 78, n.Config)
}

// An address that is not one of this machine is a wrong configuration too.
func TestAddressOfAnotherMachine(t *testing.T) {
	bothTiers(t)
	c := prepare(t, selftest.Options{Voters: 1, YAML: "redis: {listen: \"192.0.2.1:5001\"}\n"})
	ends(t, c.Nodes[0], 78, "192.0.2.1:5001")
}

// SE-03: what others could read or change is refused with 77, even for root.
func TestOpenToOthersIsRefused(t *testing.T) {
	parallel(t)
	for _, tc := range []struct {
		name, path string
		mode       os.FileMode
		remedy     string
	}{
		{"data directory", "", 0o777, "chmod go-w"},
		{"identity", "identity", 0o644, "chmod 600"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bothTiers(t)
			c := start(t, selftest.Options{Voters: 1})
			n := c.Nodes[0]
			n.Kill()
			path := filepath.Join(n.Data, tc.path)
			before, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, tc.mode); err != nil {
				t.Fatal(err)
			}
			ends(t, n, 77, tc.remedy)
			// What it asks for is enough.
			if err := os.Chmod(path, before.Mode()); err != nil {
				t.Fatal(err)
			}
			startOne(t, c, n)
		})
	}
}

// DE-24: files of another user, as after a restore by root, are refused with 77
// and the path. As root the daemon runs as nobody: root may read everything.
func TestFilesOfAnotherUser(t *testing.T) {
	parallel(t)
	for _, tc := range []struct{ name, path string }{
		{"data directory", ""}, {"identity", "identity"}, {"log", "log"}, {"snapshots", "snapshots"}, {"parent", ".."},
	} {
		t.Run(tc.name, func(t *testing.T) {
			parallel(t)
			dir, err := os.MkdirTemp("", "raftkv-user-") // t.TempDir lies in a directory that nobody may enter
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(dir) })
			o := selftest.Options{Voters: 1, Dir: dir, DataDir: func(int) string { return filepath.Join(dir, "parent", "data") }}
			root := os.Geteuid() == 0
			if root {
				testenv.Need(t, "setpriv")
				o.Wrap = func(_ int, argv []string) []string {
					return append([]string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"}, argv...)
				}
			}
			if err := os.Mkdir(filepath.Join(dir, "parent"), 0o755); err != nil {
				t.Fatal(err)
			}
			c := prepare(t, o)
			n := c.Nodes[0]
			own(t, dir, 65534)
			startAll(t, c)
			n.Kill()
			path := filepath.Join(n.Data, tc.path)
			if tc.path == ".." {
				if err := os.RemoveAll(n.Data); err != nil {
					t.Fatal(err)
				}
			}
			switch {
			case !root:
				err = os.Chmod(path, 0o500)
				if info, e := os.Stat(path); tc.path != ".." && e == nil && !info.IsDir() {
					err = os.Chmod(path, 0)
				} else if tc.path != ".." {
					err = os.Chmod(path, 0)
				}
				t.Cleanup(func() { os.Chmod(path, 0o700) })
				if err != nil {
					t.Fatal(err)
				}
			default:
				own(t, path, 0)
				if tc.path != ".." {
					if err := os.Chmod(path, 0o700); err != nil {
						t.Fatal(err)
					}
				}
			}
			ends(t, n, 77, filepath.Clean(path))
		})
	}
}

// own gives a tree to a user, if the test may.
func own(t *testing.T, path string, user int) {
	t.Helper()
	if os.Geteuid() != 0 {
		return
	}
	err := filepath.WalkDir(path, func(p string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chown(p, user, user)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// DE-14, PC-10: an identity file with a flipped byte is damaged data: 65.
func TestDamagedIdentity(t *testing.T) {
	bothTiers(t)
	c := start(t, selftest.Options{Voters: 1})
	n := c.Nodes[0]
	n.Kill()
	path := filepath.Join(n.Data, "identity")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 4
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	ends(t, n, 65, "identity")
}

// DE-14: with both meta pages of the log store gone nothing can be believed.
func TestBothMetaPagesDamaged(t *testing.T) {
	bothTiers(t)
	c := start(t, selftest.Options{Voters: 1})
	n := c.Nodes[0]
	n.Kill()
	files, err := filepath.Glob(filepath.Join(n.Data, "log", "*.db"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no log files: %v", err)
	}
	for _, path := range files {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for _, at := range []int64{40, 4096 + 40} {
			if _, err := f.WriteAt([]byte("garbage"), at); err != nil {
				t.Fatal(err)
			}
		}
	}
	ends(t, n, 65, "log")
}

// Nodes that would found different clusters end with 69 and say what differs.
func TestOtherListOfVoters(t *testing.T) {
	bothTiers(t)
	c := prepare(t, selftest.Options{})
	odd := c.Nodes[2]
	b, err := os.ReadFile(odd.Config)
	if err != nil {
		t.Fatal(err)
	}
	n2 := c.Nodes[1]
	lines := strings.Replace(string(b), n2.Name+", peer: \""+n2.Peer, n2.Name+", peer: \""+c.Host+":5999", 1)
	if lines == string(b) {
		t.Fatal("found nothing to change")
	}
	if err := os.WriteFile(odd.Config, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	first := c.Nodes[0]
	for _, n := range []*selftest.Node{first, odd} {
		if err := n.Start(); err != nil {
			t.Fatal(err)
		}
	}
	// Whoever sees it first ends; the other one then waits for it.
	until(t, "one of the two to end", func() (bool, error) { return first.Pid() == 0 || odd.Pid() == 0, nil })
	for _, n := range []*selftest.Node{first, odd} {
		if n.Pid() != 0 {
			continue
		}
		code, err := n.Wait(deadline(t))
		if last := n.Tail(3); err != nil || code != 69 || !strings.Contains(last, "voter 2 is n2 at") || !strings.Contains(last, c.Host+":5999") {
			t.Errorf("%s ended with %d, %v; want 69 and what differs:\n%s", n.Name, code, err, last)
		}
	}
}

// command runs raftkv as a person would and returns what it said and its code.
func command(t *testing.T, args ...string) (out string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), attempt)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	b, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return string(b), cmd.ProcessState.ExitCode()
}

// BI-10: a wrong command line ends with 2 and says how it goes; nothing is made.
func TestWrongUsage(t *testing.T) {
	bothTiers(t)
	dir := t.TempDir()
	for _, args := range [][]string{
		{"serve"}, {"serve", "--config"}, {"serve", "--config", "x", "surplus"}, {"serve", "--no-such-flag"}, {"nosuch"}, {"config"}, {"config", "check"},
		{"dump", "--no-such-flag"}, {"load", "a", "b"}, {"sim", "--seed", "x"}, {"dev", "surplus"}, {"selftest", "--no-such-flag"}, {"man"}, {"trace", "replay"},
		{"data", "check"},
	} {
		cmd := exec.CommandContext(deadline(t), binary, args...)
		cmd.Dir = dir
		out, _ := cmd.CombinedOutput() // the code says more
		if code := cmd.ProcessState.ExitCode(); code != 2 || !strings.Contains(string(out), "--help") {
			t.Errorf("raftkv %s: code %d, want 2; it said:\n%s", strings.Join(args, " "), code, out)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("there is %v now, %v", left, err)
	}
}

// BI-05, MB-11: the data directory of another cluster's node of the same name. The
// nodes it reaches refuse it; it says so and ends with 69, and has changed nothing there.
func TestDataDirectoryOfAnotherCluster(t *testing.T) {
	bothTiers(t)
	a, b := start(t, selftest.Options{}), start(t, selftest.Options{})
	fill(t, leader(t, a), "a", 10)
	n := a.Nodes[0]
	n.Kill()
	b.Close()
	if err := os.Rename(n.Data, n.Data+".old"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(b.Nodes[0].Data, n.Data); err != nil {
		t.Fatal(err)
	}
	ends(t, n, 69, "belongs to cluster")
	if got := do(t, leader(t, a), "DBSIZE"); got != "10" {
		t.Errorf("%s keys, want 10", got)
	}
}
