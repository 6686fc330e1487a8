package resp_test

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/server/resp"
	"github.com/raftkv/raftkv/server/resp/resptest"
)

func TestTracking(t *testing.T) {
	addr, _ := resptest.Start(t, resptest.NewMemory(), resp.Config{})
	k, other := newTalker(t, addr), newTalker(t, addr)
	heard := func(want string) {
		t.Helper()
		if got := k.hear(); got != want {
			t.Errorf("heard %q, want %q", got, want)
		}
	}
	k.expect("-ERR tracking needs version 3 of the protocol: HELLO 3", "client tracking on")
	k.say("hello 3")
	k.expect("-ERR You can't specify both OPTIN mode and OPTOUT mode", "client tracking on optin optout")
	k.expect("-ERR PREFIX option requires BCAST mode to be enabled", "client tracking on prefix a")
	k.expect("+OK", "client tracking on")
	k.expect("_", "get a") // not there, and noted all the same
	k.expect("[_ _]", "mget b c")
	other.expect("+OK", "mset a 1 c 1 d 1")
	heard(">[invalidate [a]]")
	heard(">[invalidate [c]]")
	other.expect("+OK", "flushall")
	heard(">[invalidate _]")
	k.expect("[flags [+on] redirect :0 prefixes []]", "client trackinginfo")
	k.expect("-ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it with a different mode.", "client tracking on bcast")
	k.expect("+OK", "client tracking off")
	other.expect("+OK", "set a 1")
	k.expect("1", "get a")

	k.expect("+OK", "client tracking on optin")
	k.expect("1", "get a")
	k.expect("+OK", "client caching yes")
	k.expect("_", "get b")
	k.expect("_", "get c") // behind what YES was for
	other.expect("+OK", "mset a 1 b 1 c 1")
	heard(">[invalidate [b]]")
	k.expect("-ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.", "client caching no")
	// As valkey-go does it.
	io.WriteString(k.nc, "client caching yes\r\nmulti\r\npttl x\r\nget x\r\nexec\r\n")
	for _, want := range []string{"+OK", "+OK", "+QUEUED", "+QUEUED", "[:-2 _]"} {
		heard(want)
	}
	other.expect("+OK", "set x 1")
	heard(">[invalidate [x]]")
	k.expect("+OK", "client tracking off")

	k.expect("+OK", "client tracking on bcast prefix a: prefix b:")
	other.expect("+OK", "mset a:1 1 c:1 1 b:1 1")
	heard(">[invalidate [a:1]]")
	heard(">[invalidate [b:1]]")
	k.expect("+RESET", "reset")
	other.expect("+OK", "set a:1 2")
	k.expect("nil", "get a:9")
}

// What is told of a change stands behind the replies that are due: else a client
// would keep an old value that it reads after it was told.
func TestChangesAreToldBehindReplies(t *testing.T) {
	m := resptest.NewMemory()
	addr, _ := resptest.Start(t, m, resp.Config{})
	k, other := newTalker(t, addr), newTalker(t, addr)
	k.say("hello 3")
	k.expect("+OK", "client tracking on")
	old := 0
	for i := range 50 {
		key := fmt.Sprint("k", i)
		fmt.Fprintf(k.nc, "get %s\r\n", key)
		other.expect("+OK", "set "+key+" 1")
		// Either the read knows of the change, which may then be told before it, behind it or
		// not at all, or it came first and the change is told behind it. What is told of
		// earlier keys may still be on its way.
		got := k.hear()
		for strings.HasPrefix(got, ">[invalidate ") {
			got = k.hear()
		}
		switch got {
		case "1":
		case "_":
			old++
			for k.hear() != ">[invalidate ["+key+"]]" {
			}
		default:
			t.Fatalf("%q", got)
		}
	}
	t.Logf("%d of 50 reads came before the change", old)
}

// Large keys cost as much as many.
func TestTrackedBytesAreBounded(t *testing.T) {
	addr, _ := resptest.Start(t, resptest.NewMemory(), resp.Config{})
	k := newTalker(t, addr)
	k.say("hello 3")
	k.expect("+OK", "client tracking on")
	key := strings.Repeat("k", 1<<14)
	for i := range 1024 {
		request := fmt.Sprintf("exists %s%04d", key[4:], i)
		k.expect(":0", request)
		k.expect(":0", request) // the same key again costs nothing
	}
	k.expect(">[invalidate _]", "exists one-more")
	if got := k.hear(); got != ":0" {
		t.Error(got)
	}
	k.expect(":0", "exists another")
}

// A prefix is no longer than a key, and all of them together are bounded, too.
func TestPrefixesAreBounded(t *testing.T) {
	addr, _ := resptest.Start(t, resptest.NewMemory(), resp.Config{KeyBytes: 1 << 14})
	k := newTalker(t, addr)
	k.say("hello 3")
	long := strings.Repeat("p", 1<<14)
	k.expect("-ERR key of 16385 bytes is above the limit of 16384 bytes (limits.key_bytes)", "client tracking on bcast prefix "+long+"p")
	for range 1024 {
		k.expect("+OK", "client tracking on bcast prefix "+long)
	}
	k.expect("-ERR this connection asks for more than 10000 prefixes or 16777216 bytes of them, the most it can have", "client tracking on bcast prefix p")
	k.expect("+OK", "client tracking off")
	k.expect("+OK", "client tracking on bcast prefix p")
}

// A client that reads ever more keys is told to forget, and costs no more.
func TestTrackedKeysAreBounded(t *testing.T) {
	addr, _ := resptest.Start(t, resptest.NewMemory(), resp.Config{})
	k := newTalker(t, addr)
	k.say("hello 3")
	k.expect("+OK", "client tracking on")
	for i := 0; ; i++ {
		var b strings.Builder
		b.WriteString("exists")
		for j := range 5000 {
			fmt.Fprintf(&b, " %d", i*5000+j)
		}
		got := k.say(b.String())
		if got == ">[invalidate _]" {
			if i != 20 { // 100,000 are noted
				t.Errorf("at %d keys", i*5000)
			}
			break
		}
		if i > 20 {
			t.Fatal("100,000 keys are noted and more")
		}
	}
}
