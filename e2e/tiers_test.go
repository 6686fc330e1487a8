package e2e

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// What a test that says bothTiers calls must not ask for the tier: .ci/run would leave out what only tier 2 does.
func TestBothTiersIsTrue(t *testing.T) {
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	calls := map[string]map[string]bool{} // by function of this package: the names that it mentions
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			said := map[string]bool{}
			ast.Inspect(fn, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.SelectorExpr:
					if x, ok := n.X.(*ast.Ident); ok && x.Name == "testenv" {
						said["testenv."+n.Sel.Name] = true
						return false
					}
				case *ast.Ident:
					said[n.Name] = true
				}
				return true
			})
			calls[fn.Name.Name] = said
		}
	}
	// asks is the name by which a function asks for the tier, itself or through others.
	var asks func(fn string, seen map[string]bool) string
	asks = func(fn string, seen map[string]bool) string {
		seen[fn] = true
		for name := range calls[fn] {
			if strings.HasPrefix(name, "testenv.") && name != "testenv.SameInBoth" && name != "testenv.Anew" {
				return fn + " says " + name
			}
			if calls[name] != nil && !seen[name] {
				if how := asks(name, seen); how != "" {
					return how
				}
			}
		}
		return ""
	}
	both := 0
	for fn := range calls {
		if !strings.HasPrefix(fn, "Test") || !calls[fn]["bothTiers"] {
			continue
		}
		both++
		if how := asks(fn, map[string]bool{"bothTiers": true}); how != "" {
			t.Errorf("%s says bothTiers, and %s", fn, how)
		}
	}
	if both < 20 || asks("TestKillNineLosesNothing", map[string]bool{}) == "" {
		t.Errorf("%d tests say bothTiers; this test sees nothing", both)
	}
}
