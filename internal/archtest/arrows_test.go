package archtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/raftkv/raftkv/"

type pkg struct {
	ImportPath  string
	Dir         string
	GoFiles     []string
	Imports     []string
	TestImports []string
}

// packages asks the go command for every package of the module.
func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,GoFiles,Imports", "./...")
	cmd.Dir = "../.."
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.Bytes())
	}
	var pkgs []pkg
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
	if len(pkgs) < 10 {
		t.Fatalf("go list found %d packages, want the whole module", len(pkgs))
	}
	return pkgs
}

// room is a package's folder below the module, "" for one outside.
func room(path string) string {
	r, ok := strings.CutPrefix(path, module)
	if !ok {
		return ""
	}
	return r
}

// Each room may import these rooms of ours and no others. cmd may import
// everything and is not listed; a room that is missing here may import nothing.
var arrows = map[string][]string{
	"raft":                    {},
	"raft/rafttest":           {"raft"},
	"sim/search":              {"raft", "raft/rafttest"},
	"raftlog":                 {"raft", "internal/smallfile"},
	"raftlog/raftlogtest":     {"raft", "raftlog"},
	"snapshot":                {"raft"},
	"statemachine":            {"raft"},
	"transport":               {"raft"},
	"transport/transporttest": {"raft", "transport"},
	"node":                    {"raft"},
	"config":                  {},
	"resp":                    {},
	"client":                  {"internal/prefix", "resp"},
	"server/resp":             {"server/feed", "server/access", "node", "statemachine", "resp", "raft"},
	"server/resp/resptest":    {"server/feed", "server/access", "node", "raft", "resp", "server/resp", "statemachine"},
	"server/access":           {"statemachine"},
	"server/feed":             {"statemachine", "raft"},
	"server/httpapi":          {"internal/prefix", "server/access", "server/feed", "node", "statemachine", "raft"},
	"server/httpapi/apitest":  {"server/httpapi", "server/feed", "server/resp", "server/resp/resptest", "node"},
	"sim":                     {"internal/linear", "node", "raft", "raftlog", "server/feed", "snapshot", "statemachine"},
	"sim/cores":               {"raft", "raft/rafttest"},
	"selftest":                {"internal/linear", "resp", "internal/tcpproxy"},
	"internal/tcpproxy":       {},
	"e2e":                     {},
	"internal/archtest":       {},
	"internal/identity":       {"raft", "internal/smallfile"},
	"internal/load":           {"resp"},
	"internal/mutants":        {},
	"internal/fuzztest":       {},
	"internal/smallfile":      {},
	"internal/testcert":       {},
	"internal/linear":         {},
	"internal/prefix":         {},
	"internal/testenv":        {},
}

func TestArrows(t *testing.T) {
	checked := 0
	for _, p := range packages(t) {
		from := room(p.ImportPath)
		if strings.HasPrefix(from, "cmd/") {
			continue
		}
		allowed, known := arrows[from]
		if !known {
			t.Errorf("room %q is not on the map: add it to arrows here and to docs/ARCHITECTURE.md", from)
			continue
		}
		for _, to := range p.Imports {
			if r := room(to); r != "" {
				checked++
				if !slices.Contains(allowed, r) {
					t.Errorf("%s imports %s: not an arrow of the architecture", from, r)
				}
			}
		}
	}
	if checked == 0 {
		t.Fatal("no arrow was checked")
	}
}

// One library, one room.
func TestLibrariesStayInTheirRoom(t *testing.T) {
	owners := map[string]string{
		"go.etcd.io/bbolt":                   "raftlog",
		"github.com/hashicorp/go-msgpack/v2": "transport",
		"github.com/spf13/viper":             "config",
		"github.com/spf13/cobra":             "cmd/raftkv",
		"github.com/tidwall/btree":           "statemachine",
		"github.com/peterh/liner":            "cmd/raftkv",
	}
	seen := map[string]bool{}
	for _, p := range packages(t) {
		for _, imp := range p.Imports {
			for lib, owner := range owners {
				if imp != lib && !strings.HasPrefix(imp, lib+"/") {
					continue
				}
				seen[lib] = true
				if room(p.ImportPath) != owner {
					t.Errorf("%s imports %s, which belongs to %s", p.ImportPath, imp, owner)
				}
			}
		}
	}
	for lib := range owners {
		if !seen[lib] {
			t.Errorf("nobody imports %s: this test does not see what it guards", lib)
		}
	}
}

func TestDeterministicRoomsImportNoWorld(t *testing.T) {
	forbidden := map[string][]string{
		"raft":         {"os", "io", "net", "time", "context", "sync", "sync/atomic", "log", "log/slog", "math/rand", "runtime", "unsafe"},
		"statemachine": {"os", "net", "time", "context", "sync", "sync/atomic", "log", "log/slog", "math/rand", "math/rand/v2", "runtime"},
	}
	found := 0
	for _, p := range packages(t) {
		for _, imp := range p.Imports {
			list, ok := forbidden[room(p.ImportPath)]
			if ok {
				found++
			}
			if slices.Contains(list, imp) {
				t.Errorf("%s imports %s", room(p.ImportPath), imp)
			}
		}
	}
	if found == 0 {
		t.Fatal("no import was checked")
	}
}
