package access

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/raftkv/raftkv/internal/fuzztest"
	"github.com/raftkv/raftkv/statemachine"
)

func catalog() *Catalog {
	return NewCatalog([]Command{
		{"get", []string{"read", "string", "fast"}}, {"set", []string{"write", "string", "slow"}}, {"del", []string{"write", "keyspace", "slow"}},
		{"config", []string{"slow"}}, {"config|get", []string{"admin", "slow", "dangerous"}}, {"config|set", []string{"admin", "slow", "dangerous"}},
		{"client", []string{"slow"}}, {"client|id", []string{"slow", "connection"}}, {"client|kill", []string{"admin", "slow", "dangerous", "connection"}},
	})
}

// The lines stand as redis-cli 7.0.15 shows them, but for the order of rules, which
// Redis draws from its bits.
func TestRulesReadAndTold(t *testing.T) {
	pw := "#30c952fab122c3f9759f02a6d95c3758b246b4fee239957b2d4fee46e26170c4"
	for _, tc := range []struct{ words, want string }{
		{"", "off resetchannels -@all"},
		{"on >pw", "on " + pw + " resetchannels -@all"},
		{"on >pw >pw #" + pw[1:], "on " + pw + " resetchannels -@all"},
		{"on >pw nopass", "on nopass resetchannels -@all"},
		{"nopass >pw", "off " + pw + " resetchannels -@all"},
		{">pw <pw", "off resetchannels -@all"},
		{">pw !" + pw[1:], "off resetchannels -@all"},
		{">pw resetpass", "off resetchannels -@all"},
		{"~a* %R~b* %W~c* %RW~d %r~e", "off ~a* %R~b* %W~c* ~d %R~e resetchannels -@all"},
		{"%R~a %W~a", "off ~a resetchannels -@all"},
		{"~a allkeys", "off ~* resetchannels -@all"},
		{"~a ~*", "off ~* resetchannels -@all"},
		{"allkeys resetkeys ~a", "off ~a resetchannels -@all"},
		{"&a &b* &a", "off resetchannels &a &b* -@all"},
		{"&a allchannels", "off &* -@all"},
		{"+get -get +get", "off resetchannels -@all +get"},
		{"+@read +client|id -get", "off resetchannels -@all +@read +client|id -get"},
		{"+get allcommands -config|set", "off resetchannels +@all -config|set"},
		{"+GET +@READ", "off resetchannels -@all +get +@read"},
		{"+@all nocommands", "off resetchannels -@all"},
		{"on nopass ~* &* +@all", "on nopass ~* &* +@all"},
		{"on nopass ~* &* +@all reset", "off resetchannels -@all"},
		{"sanitize-payload clearselectors", "off resetchannels -@all"},
	} {
		u, err := newUser(catalog(), "al").SetRules(strings.Fields(tc.words))
		if err != nil {
			t.Errorf("%q: %v", tc.words, err)
			continue
		}
		if got := u.Rules(); got != tc.want {
			t.Errorf("%q: %q, want %q", tc.words, got, tc.want)
		}
		again, err := parse(u.catalog, "al", u.Rules(), 7)
		if err != nil || again.Rules() != tc.want || again.full != u.full {
			t.Errorf("%q read again: %v, %v", tc.words, again, err)
		}
	}
}

// Only ASCII's spaces are refused in a pattern, so that only they end a word of what is stored.
func TestPatternsMayHaveUnicodeSpaces(t *testing.T) {
	for _, space := range []string{"\u00a0", "\u0085", "\u2003", "\u3000", "\xa0"} {
		u, err := newUser(catalog(), "al").SetRules([]string{"on", "nopass", "~a" + space + "b", "&" + space, "+get"})
		if err != nil {
			t.Errorf("%q: %v", space, err)
			continue
		}
		again, err := parse(u.catalog, "al", u.Rules(), 7)
		if err != nil || again.Rules() != u.Rules() || !again.Key([]byte("a"+space+"b"), Read) || again.Key([]byte("a"), Read) {
			t.Errorf("%q read again: %v, %v", u.Rules(), again, err)
		}
	}
}

func TestRulesRefused(t *testing.T) {
	base, err := newUser(catalog(), "al").SetRules([]string{"on", "~a"})
	if err != nil {
		t.Fatal(err)
	}
	for word, want := range map[string]error{
		"foo": errSyntax, "": errSyntax, "%X~a": errSyntax, "%RR~a": errSyntax, "%~a": errSyntax, "%R": errSyntax, "~a b": errSyntax, "&a b": errSyntax,
		"+nosuch": errUnknown, "-nosuch": errUnknown, "+@nosuch": errUnknown, "+get|x": errUnknown, "#abc": errHash, "#" + strings.Repeat("G", 64): errHash,
		"#" + strings.Repeat("A", 64): errHash, "<pw": errNoPassword, "(+get": errSelector,
	} {
		if _, err := base.SetRules([]string{"off", word}); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", word, err, want)
		}
	}
	if _, err := base.SetRules([]string{"allkeys", "~b"}); !errors.Is(err, errAfterStar) {
		t.Error(err)
	}
	if _, err := base.SetRules([]string{"allchannels", "&b"}); !errors.Is(err, errAfterAll) {
		t.Error(err)
	}
	if !base.On() || len(base.keys) != 1 {
		t.Error("a refused change changed the user")
	}
	_, err = base.SetRules([]string{"<secret"})
	if err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("the message holds the password: %v", err)
	}
	for _, list := range []string{"~%d", "&%d", ">%d"} {
		var words []string
		for i := range maxRules + 1 {
			words = append(words, fmt.Sprintf(list, i))
		}
		if _, err := base.SetRules(append([]string{"resetkeys"}, words...)); !errors.Is(err, errTooMany) {
			t.Errorf("%d of %s: %v", len(words), list, err)
		}
	}
}

func TestWhatAUserMay(t *testing.T) {
	user := func(words string) *User {
		u, err := newUser(catalog(), "al").SetRules(strings.Fields(words))
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	for _, tc := range []struct {
		words, command string
		want           bool
	}{
		{"", "get", false}, {"+get", "get", true}, {"+get", "set", false}, {"+@read", "get", true}, {"+@read -get", "get", false}, {"-get +@read", "get", true},
		{"+@all", "nosuch", false}, {"+@all", "config|set", true}, {"+@all -@dangerous", "config|set", false}, {"+@all -@dangerous", "config", true},
		{"+config", "config|get", true}, {"+config -config|set", "config|set", false}, {"+config|get", "config|set", false}, {"+client|id", "client|id", true}, {"+client|id", "client|kill", false},
		{"~* &* +@all", "nosuch", true}, // it may do everything
	} {
		if got := user(tc.words).Allows(tc.command); got != tc.want {
			t.Errorf("%q allows %s: %v", tc.words, tc.command, got)
		}
	}
	for _, tc := range []struct {
		words, key string
		need       Need
		want       bool
	}{
		{"", "a", 0, false}, {"~a*", "abc", Read | Write, true}, {"~a*", "b", Read, false}, {"%R~a", "a", Read, true}, {"%R~a", "a", Write, false}, {"%W~a", "a", Write, true},
		{"%W~a", "a", Read | Write, false}, {"%W~a", "a", 0, true}, {"%R~a %W~a*", "a", Read | Write, false}, {"~*", "x", Read | Write, true}, {"~[ab]?", "bx", Read, true},
	} {
		if got := user(tc.words).Key([]byte(tc.key), tc.need); got != tc.want {
			t.Errorf("%q: key %s for %d: %v", tc.words, tc.key, tc.need, got)
		}
	}
	for _, tc := range []struct {
		words, prefix string
		want          bool
	}{
		{"~*", "", true}, {"~a*", "", false}, {"~a*", "a", true}, {"~a*", "abc", true}, {"~a", "a", false}, {"%W~a*", "a", false}, {"%R~a*", "a", true}, {"~a?*", "ab", false},
	} {
		if got := user(tc.words).Prefix(tc.prefix); got != tc.want {
			t.Errorf("%q: prefix %q: %v", tc.words, tc.prefix, got)
		}
	}
	for _, tc := range []struct {
		words, channel string
		pattern, want  bool
	}{
		{"", "c", false, false}, {"&c*", "cd", false, true}, {"&c*", "c*", true, true}, {"&c*", "cd*", true, false}, {"&*", "x*", true, true}, {"&c", "d", false, false},
	} {
		if got := user(tc.words).Channel([]byte(tc.channel), tc.pattern); got != tc.want {
			t.Errorf("%q: channel %s: %v", tc.words, tc.channel, got)
		}
	}
}

// A newer binary may have stored a command that this one doesn't know; what it knows still holds.
func TestStoredRulesOfAnotherVersion(t *testing.T) {
	s := NewStore(catalog(), "", nil)
	s.Replace([]statemachine.User{{Name: "al", Rules: "on nopass ~* resetchannels -@all +get +newer +@future", Version: 3}, {Name: "bo", Rules: "on nopass what", Version: 4}})
	if u := s.Now().Find("al"); !u.Allows("get") || u.Allows("newer") || u.Rules() != "on nopass ~* resetchannels -@all +get +newer +@future" {
		t.Errorf("%s", u.Rules())
	}
	if u := s.Now().Find("bo"); u.On() || u.Allows("get") || u.Version() != 4 {
		t.Errorf("what can't be read gives rights: %s", u.Rules())
	}
}

func TestDefaultUser(t *testing.T) {
	s := NewStore(catalog(), "", nil)
	if u := s.Now().Open(); u == nil || !u.Full() {
		t.Fatal("without a password default is closed")
	}
	changes := 0
	s.OnChange(func() { changes++ })
	s.Replace([]statemachine.User{{Name: DefaultUser, Rules: "off", Version: 1}, {Name: "al", Rules: "on", Version: 2}})
	if s.Now().Open() != nil || changes != 1 || len(s.Now().List()) != 2 {
		t.Error("default of the log is not taken")
	}
	locked := NewStore(catalog(), "secret", nil)
	if locked.Now().Open() != nil {
		t.Error("default needs no password")
	}
	if u, err := locked.Authenticate(context.Background(), nil, DefaultUser, "secret"); err != nil || !u.Full() {
		t.Error(err)
	}
	locked.Replace([]statemachine.User{{Name: "al", Rules: "on nopass", Version: 2}, {Name: "zo", Rules: "off nopass", Version: 2}})
	var names []string
	for _, u := range locked.Now().List() {
		names = append(names, u.Name())
	}
	if got := strings.Join(names, " "); got != "al default zo" || locked.Now().Open() != nil {
		t.Errorf("users %s", got)
	}
	for _, tc := range [][2]string{{DefaultUser, "wrong"}, {"al", ""}, {"zo", "x"}, {"nobody", "secret"}, {DefaultUser, ""}} {
		_, err := locked.Authenticate(context.Background(), nil, tc[0], tc[1])
		if (err == nil) != (tc[0] == "al") || err != nil && err != ErrWrongPassword {
			t.Errorf("%v: %v", tc, err)
		}
	}
}

// Whoever guesses from one address is let in four times a second, right or wrong; others don't notice.
func TestGuessingIsSlow(t *testing.T) {
	s := NewStore(catalog(), "secret", nil)
	now, slept := time.Unix(1000, 0), time.Duration(0)
	s.gate.now = func() time.Time { return now }
	s.gate.sleep = func(_ context.Context, d time.Duration) error { slept = d; return nil }
	bad, good := &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 1}, &net.TCPAddr{IP: net.IPv4(10, 0, 0, 2), Port: 1}
	try := func(a net.Addr, password string) (time.Duration, error) {
		slept = 0
		_, err := s.Authenticate(context.Background(), a, DefaultUser, password)
		return slept, err
	}
	for range freeTries {
		if d, err := try(bad, "x"); d != 0 || err != ErrWrongPassword {
			t.Fatal(d, err)
		}
	}
	for i := range 21 {
		if d, err := try(bad, "x"); d != time.Duration(i)*tryPause || err != ErrWrongPassword {
			t.Fatalf("try %d after %v: %v", i, d, err)
		}
	}
	if _, err := try(bad, "secret"); err != ErrTooManyTries {
		t.Errorf("above the wait: %v", err)
	}
	if d, err := try(good, "secret"); d != 0 || err != nil {
		t.Errorf("another address: %v, %v", d, err)
	}
	now = now.Add(2 * time.Second)
	if d, err := try(bad, "secret"); d == 0 || err != nil {
		t.Errorf("the right one is told by its speed: %v, %v", d, err)
	}
	now = now.Add(forgetTime + time.Second)
	if d, err := try(bad, "secret"); d != 0 || err != nil {
		t.Errorf("a minute later: %v, %v", d, err)
	}
	for i := range maxHosts + 10 {
		try(&net.TCPAddr{IP: net.IPv4(10, byte(i>>16), byte(i>>8), byte(i)), Port: 1}, "x")
	}
	if n := len(s.gate.hosts); n > maxHosts {
		t.Errorf("%d addresses are remembered", n)
	}
}

func TestCatalogTellsCategories(t *testing.T) {
	c := catalog()
	if got, ok := c.In("DANGEROUS"); !ok || strings.Join(got, " ") != "client|kill config|get config|set" {
		t.Errorf("%v %v", got, ok)
	}
	if got, ok := c.In("geo"); !ok || len(got) != 0 {
		t.Errorf("%v %v", got, ok)
	}
	if _, ok := c.In("nosuch"); ok || len(c.Categories()) != 21 {
		t.Error("categories")
	}
}

// Rules that a client gives, or that are stored, are refused or make a user whose rules,
// told and read again, are the same.
func FuzzRules(f *testing.F) {
	for _, w := range []string{
		"on nopass ~* &* +@all", "on >pw ~a* %R~b* %W~c* %RW~d &x +@read +client|id -get", "reset allkeys resetkeys allchannels resetchannels allcommands nocommands",
		">pw <pw #" + strings.Repeat("0a", 32) + " !" + strings.Repeat("0a", 32), "(~a +get) clearselectors", "+nosuch|thing -@nosuch", "~\u00a0 ~\\",
	} {
		f.Add(w)
	}
	cat := catalog()
	f.Fuzz(func(t *testing.T, rules string) {
		check := func(u *User, err error) {
			if err != nil {
				if _, ok := errors.AsType[*RuleError](err); !ok {
					t.Errorf("%v is no *RuleError", err)
				}
				return
			}
			again, err := parse(cat, "al", u.Rules(), 7)
			if err != nil {
				t.Fatalf("%q makes %q, which can't be read: %v", rules, u.Rules(), err)
			}
			if again.Rules() != u.Rules() || again.Full() != u.Full() || !slices.Equal(again.commands, u.commands) {
				t.Errorf("%q makes %q and then %q", rules, u.Rules(), again.Rules())
			}
			u.Key([]byte("ab"), Read)
			u.Channel([]byte("ab"), false)
			u.Prefix("a")
		}
		fuzztest.Bounded(t, len(rules), 256<<10, 4<<10, func() {
			check(newUser(cat, "al").SetRules(strings.Fields(rules)))
			check(parse(cat, "al", rules, 7))
		})
	})
}
