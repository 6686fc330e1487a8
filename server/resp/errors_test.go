package resp

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Clients decide by the first word whether to send a write again. So no error may
// start with a word that the one table doesn't know.
func TestEveryErrorHasAKnownPrefix(t *testing.T) {
	known := make(map[string]bool)
	for _, p := range prefixes() {
		if p.outcome == "" || p.means == "" {
			t.Errorf("%s says nothing", p.prefix)
		}
		known[p.prefix] = true
	}
	// Words that texts begin with which are no errors.
	others := strings.Fields("PONG OK RESET QUEUED AUTH GET SET HELLO ADD ON OFF YES NO EX NX KEEPTTL PX XX MATCH COUNT PREFIX FILTERBY ASYNC SYNC NOSAVE SCHEDULE ID TYPE NORMAL MESSAGE LIB MEMBER SESSION WITH AND OVERFLOW REPLACE DB ENCODING ONCE LEN IDX BYTE BIT FULL ABORT FOLLOWER SETUSER CLIENT")
	word := regexp.MustCompile(`^([A-Z]{2,}) `)
	found := make(map[string]bool)
	for _, dir := range []string{".", "../../statemachine"} {
		files, err := filepath.Glob(dir + "/*.go")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			src, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			f, err := parser.ParseFile(token.NewFileSet(), name, src, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(f, func(n ast.Node) bool {
				if kv, ok := n.(*ast.KeyValueExpr); ok { // summary: "..." of the table
					if key, ok := kv.Key.(*ast.Ident); ok && slices.Contains([]string{"summary", "syntax", "cost"}, key.Name) {
						return false
					}
				}
				lit, ok := n.(*ast.BasicLit)
				if !ok || lit.Kind != token.STRING {
					return true
				}
				text, err := strconv.Unquote(lit.Value)
				if err != nil {
					t.Fatal(err)
				}
				m := word.FindStringSubmatch(text)
				if m == nil || slices.Contains(others, m[1]) {
					return true
				}
				found[m[1]] = true
				if !known[m[1]] {
					t.Errorf("%s: %q starts with a word that prefixes() doesn't know", name, text)
				}
				return true
			})
		}
	}
	for _, want := range []string{"ERR", "NOPERM", "NOAUTH", "MOVED", "WRONGPASS", "CLUSTERDOWN"} {
		if !found[want] {
			t.Errorf("%s was not found: this test doesn't see what it guards", want)
		}
	}
}

// Every outcome that a node can tell has one prefix, and unknown is never told as anything else.
func TestOutcomesAreTold(t *testing.T) {
	for _, o := range notApplied() {
		if o.err == nil {
			continue
		}
		if got := outcomeText(2, o.err, false); !strings.HasPrefix(got, o.prefix+" ") {
			t.Errorf("%v, not applied: %q, want %s", o.err, got, o.prefix)
		}
		if got := outcomeText(3, o.err, false); !strings.HasPrefix(got, unknownPrefix+" ") {
			t.Errorf("%v, unknown: %q", o.err, got)
		}
		if got := outcomeText(3, o.err, true); strings.HasPrefix(got, unknownPrefix) {
			t.Errorf("%v, a read: %q", o.err, got)
		}
	}
}
