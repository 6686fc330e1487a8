package archtest

import (
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"path/filepath"
	"strings"
	"testing"
)

// parse reads the shipped files of a room.
func parse(t *testing.T, room string) (*token.FileSet, []*ast.File) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join("../..", room, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	fset := token.NewFileSet()
	var files []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	if len(files) == 0 {
		t.Fatalf("no files in %s", room)
	}
	return fset, files
}

// The core and the state machine are functions of their inputs: no goroutine,
// no channel, no select, and in the core no range over a map, whose order differs from run to run.
func TestDeterministicRoomsStartNothing(t *testing.T) {
	for _, room := range []string{"raft", "statemachine"} {
		fset, files := parse(t, room)
		for _, f := range files {
			ast.Inspect(f, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.GoStmt, *ast.SelectStmt, *ast.SendStmt, *ast.ChanType:
					t.Errorf("%v: %T in a deterministic room", fset.Position(n.Pos()), n)
				case *ast.Ident:
					if room == "statemachine" && (n.Name == "float64" || n.Name == "float32") {
						t.Errorf("%v: %s in the state machine", fset.Position(n.Pos()), n.Name)
					}
				}
				return true
			})
		}
	}
}

func TestCoreRangesOverNoMap(t *testing.T) {
	fset, files := parse(t, "raft")
	info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}}
	conf := types.Config{Importer: importer.ForCompiler(fset, "source", nil)}
	if _, err := conf.Check("raft", fset, files, info); err != nil {
		t.Fatal(err)
	}
	ranges := 0
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			if r, ok := n.(*ast.RangeStmt); ok {
				ranges++
				if _, isMap := info.Types[r.X].Type.Underlying().(*types.Map); isMap {
					t.Errorf("%v: range over a map in the core", fset.Position(r.Pos()))
				}
			}
			return true
		})
	}
	if ranges == 0 {
		t.Fatal("no range statement was checked")
	}
}

// Only run.go starts goroutines in node.
func TestNodeStartsGoroutinesInOnePlace(t *testing.T) {
	fset, files := parse(t, "node")
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			if g, ok := n.(*ast.GoStmt); ok {
				if name := filepath.Base(fset.Position(g.Pos()).Filename); name != "run.go" {
					t.Errorf("%v: go statement outside run.go", fset.Position(g.Pos()))
				}
			}
			return true
		})
	}
}

// A package-level variable that is written to after its declaration is shared
// state that no goroutine owns.
func TestNoPackageLevelMutableState(t *testing.T) {
	for _, room := range []string{"raft", "raftlog", "snapshot", "statemachine", "transport", "node", "resp", "client", "config"} {
		fset, files := parse(t, room)
		vars := map[string]bool{}
		for _, f := range files {
			for _, d := range f.Decls {
				g, ok := d.(*ast.GenDecl)
				if !ok || g.Tok != token.VAR {
					continue
				}
				for _, s := range g.Specs {
					for _, name := range s.(*ast.ValueSpec).Names {
						vars[name.Name] = true
					}
				}
			}
		}
		for _, f := range files {
			ast.Inspect(f, func(n ast.Node) bool {
				a, ok := n.(*ast.AssignStmt)
				if !ok || a.Tok != token.ASSIGN {
					return true
				}
				for _, l := range a.Lhs {
					if id, ok := l.(*ast.Ident); ok && vars[id.Name] && id.Name != "_" && !shadowed(f, id) {
						t.Errorf("%v: assignment to package-level %s", fset.Position(l.Pos()), id.Name)
					}
				}
				return true
			})
		}
	}
}

// shadowed tells whether a local of the same name is declared in the function around id.
func shadowed(f *ast.File, id *ast.Ident) bool {
	found := false
	for _, d := range f.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || id.Pos() < fn.Pos() || id.Pos() > fn.End() {
			continue
		}
		ast.Inspect(fn, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.AssignStmt:
				if n.Tok == token.DEFINE {
					for _, l := range n.Lhs {
						if x, ok := l.(*ast.Ident); ok && x.Name == id.Name {
							found = true
						}
					}
				}
			case *ast.ValueSpec:
				for _, x := range n.Names {
					found = found || x.Name == id.Name
				}
			case *ast.Field:
				for _, x := range n.Names {
					found = found || x.Name == id.Name
				}
			}
			return true
		})
	}
	return found
}
