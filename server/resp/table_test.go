package resp

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/statemachine"
)

var update = flag.Bool("update", false, "write docs/commands.md")

// What people read is what the server does.
func TestDocsAreUpToDate(t *testing.T) {
	const path = "../../docs/commands.md"
	if *update {
		if err := os.WriteFile(path, []byte(Docs()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != Docs() {
		t.Error("docs/commands.md is old: go test ./server/resp -update")
	}
}

// A repetition may be told these after its first attempt ran: they must not promise that nothing did.
func TestSessionsDoNotSpeakForEarlierAttempts(t *testing.T) {
	for _, name := range []string{statemachine.PrefixSessionExpired, statemachine.PrefixSeqReused} {
		at := slices.IndexFunc(prefixes(), func(p prefix) bool { return p.prefix == name })
		if at < 0 {
			t.Fatalf("%s has no row", name)
		}
		if row := prefixes()[at]; row.outcome != notNow || !strings.Contains(row.means, "earlier attempt") {
			t.Errorf("%s: %s; %s", name, row.outcome, row.means)
		}
	}
}

// Every command says all that COMMAND tells of it, and nothing that contradicts.
func TestTableIsComplete(t *testing.T) {
	tab := newTable()
	for name, c := range tab.byName {
		fault := func(text string) { t.Errorf("%s: %s", name, text) }
		if name != strings.ToLower(name) || name != c.fullName() {
			fault("name is not what it is found by")
		}
		if c.summary == "" || c.group == "" {
			fault("no summary or group")
		}
		if c.container() {
			if len(c.subs) == 0 {
				fault("neither parse, local nor subcommands")
			}
			continue
		}
		if c.parse != nil && c.local != nil {
			fault("both parse and local")
		}
		if c.arity == 0 || c.cost == "" {
			fault("no arity or cost")
		}
		if c.parse != nil && c.local == nil && c.name != "info" && (c.flags&fWrite != 0) == (c.flags&fRead != 0) {
			fault("goes to the node and is not exactly one of write and read")
		}
		if c.local != nil && c.flags&(fWrite|fRead) != 0 {
			fault("is local and says that it reads or writes")
		}
		if (c.keys[0] == 0) != (c.keys[2] == 0) || c.flags&fVariadic != 0 && c.keys[1] != -1 {
			fault("positions of keys")
		}
		least := max(c.arity, -c.arity)
		if c.fits(least-1) || !c.fits(least) || c.fits(least+1) != (c.arity < 0) {
			fault(fmt.Sprintf("arity %d", c.arity))
		}
	}
	for _, want := range strings.Fields("ping echo select quit reset command hello client config info role get set append strlen del unlink exists mget mset scan dbsize incr decr incrby decrby session once readonly readwrite raft") {
		if tab.byName[want] == nil {
			t.Errorf("no command %s", want)
		}
	}
}

// A cursor lives until the next but one was drawn from it, and no longer.
func TestCursors(t *testing.T) {
	c := newCursors()
	n := uint64(100)
	c.draw = func() uint64 { n++; return n }
	expect := func(id uint64, want string) {
		t.Helper()
		if got, ok := c.find(id); ok != (want != "") || got != want {
			t.Errorf("cursor %d: %q %v, want %q", id, got, ok, want)
		}
	}
	one := c.next(0, "a")
	two := c.next(one, "b")
	expect(one, "a") // the reply may have been lost
	expect(two, "b")
	three := c.next(two, "c")
	expect(one, "")
	expect(two, "b")
	expect(three, "c")
	expect(99, "")

	c.max = 2
	other := c.next(0, "z")
	expect(two, "")
	expect(other, "z")
	c.left = 5
	c.next(0, strings.Repeat("x", 10))
	if len(c.byID) != 1 || c.order.Len() != 1 {
		t.Errorf("%d cursors are kept above the bytes for them", len(c.byID))
	}
}

// A drawn cursor is exact in a double and never 0.
func TestDrawnCursors(t *testing.T) {
	c := newCursors()
	for range 1000 {
		if id := c.draw(); id == 0 || uint64(float64(id)) != id || id >= 1<<cursorBits {
			t.Fatal(id)
		}
	}
}
