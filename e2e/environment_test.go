package e2e

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/internal/testenv"
	"github.com/raftkv/raftkv/selftest"
)

// BI-16: no home directory, a time zone and a language that aren't there or that write i in
// another way, and a umask that hides nothing. A node runs, snapshots and starts again
// with what it wrote, and its files are for its owner only.
func TestOddEnvironment(t *testing.T) {
	parallel(t)
	for _, tool := range []string{"env", "sh"} {
		testenv.Need(t, tool)
	}
	c := start(t, selftest.Options{
		Voters: 1, Env: []string{"TZ=No/Where", "LANG=tr_TR.UTF-8", "LC_ALL=tr_TR.UTF-8", "TMPDIR=/no/such/directory"},
		Wrap: func(_ int, argv []string) []string {
			return append([]string{"env", "-u", "HOME", "sh", "-c", `umask 000; exec "$@"`, "sh"}, argv...)
		},
	})
	n := c.Nodes[0]
	if got := do(t, n, "incrby", "i", "2"); got != "2" { // İ and ı are other letters in Turkish
		t.Errorf("incrby answered %q", got)
	}
	do(t, n, "save")
	do(t, n, "INCRBY", "i", "3")
	n.Kill()
	startOne(t, c, n)
	if got := do(t, n, "GET", "i"); got != "5" {
		t.Errorf("i is %q, want 5", got)
	}
	files := 0
	err := filepath.WalkDir(n.Data, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		files++
		return nil
	})
	if err != nil || files < 5 {
		t.Errorf("%d files, %v", files, err)
	}
}

// listing is every file below a directory.
func listing(t *testing.T, dir string) string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil {
			names = append(names, path+" "+d.Type().String())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(names, "\n")
}

// BI-10: paths that are something else than what is asked for. Each is refused by its name, and
// nothing is made or changed; only a symbolic link to a directory is as good as one.
func TestWrongPaths(t *testing.T) {
	bothTiers(t)
	for _, tc := range []struct {
		name  string
		code  int
		spoil func(t *testing.T, n *selftest.Node) // before the first start
	}{
		{"data directory is a file", 78, func(t *testing.T, n *selftest.Node) {
			if err := os.WriteFile(n.Data, []byte("mine"), 0o600); err != nil {
				t.Fatal(err)
			}
		}},
		{"parent is a file", 78, func(t *testing.T, n *selftest.Node) {
			edit(t, n, n.Data, n.Log+"/below")
			n.Data = n.Log + "/below"
		}},
		{"data directory is a link to nothing", 78, func(t *testing.T, n *selftest.Node) {
			if err := os.Symlink(n.Data+".none", n.Data); err != nil {
				t.Fatal(err)
			}
		}},
		{"configuration is a directory", 78, func(t *testing.T, n *selftest.Node) {
			if err := os.Remove(n.Config); err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(n.Config, 0o700); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := prepare(t, selftest.Options{Voters: 1})
			n := c.Nodes[0]
			if err := os.WriteFile(n.Log, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			tc.spoil(t, n)
			before := listing(t, c.Dir)
			path := n.Data
			if strings.HasPrefix(tc.name, "configuration") {
				path = n.Config
			}
			ends(t, n, tc.code, path)
			if after := listing(t, c.Dir); after != before {
				t.Errorf("there was:\n%s\nand there is:\n%s", before, after)
			}
		})
	}
	t.Run("data directory is a link to a directory", func(t *testing.T) {
		c := prepare(t, selftest.Options{Voters: 1})
		n := c.Nodes[0]
		if err := os.Mkdir(n.Data+".real", 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(n.Data+".real", n.Data); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"1", "2"} {
			startOne(t, c, n)
			if got := do(t, n, "INCR", "starts"); got != want {
				t.Errorf("start %s counted %s", want, got)
			}
			n.Kill()
		}
	})
}

// edit replaces a text in the configuration of a node.
func edit(t *testing.T, n *selftest.Node, from, to string) {
	t.Helper()
	b, err := os.ReadFile(n.Config)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), from) {
		t.Fatalf("%s says nothing of %s", n.Config, from)
	}
	if err := os.WriteFile(n.Config, []byte(strings.ReplaceAll(string(b), from, to)), 0o600); err != nil {
		t.Fatal(err)
	}
}
