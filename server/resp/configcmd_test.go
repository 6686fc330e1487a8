package resp_test

import (
	"strings"
	"testing"

	"github.com/raftkv/raftkv/server/resp"
	"github.com/raftkv/raftkv/server/resp/resptest"
)

func TestConfigSet(t *testing.T) {
	addr, _ := resptest.Start(t, resptest.NewMemory(), resp.Config{})
	k := newTalker(t, addr)
	for _, tc := range [][2]string{
		{"config set nosuch 1", "-ERR Unknown option or number of arguments for CONFIG SET - 'nosuch'"},
		{"config set timeout x", "-ERR CONFIG SET failed (possibly related to argument 'timeout') - argument couldn't be parsed into an integer"},
		{"config set timeout 5 TIMEOUT 6", "-ERR CONFIG SET failed (possibly related to argument 'TIMEOUT') - duplicate parameter"},
		{"config set timeout", "-ERR wrong number of arguments for 'config|set' command"},
		{"config set timeout 5 slowlog-max-len", "-ERR wrong number of arguments for 'config|set' command"},
		{"config set databases 3", "-ERR CONFIG SET failed (possibly related to argument 'databases') - can't set immutable config"},
		{"config set timeout 300 slowlog-max-len -1", "-ERR CONFIG SET failed (possibly related to argument 'slowlog-max-len') - argument must be between 0 and 10000 inclusive"},
		{"config get timeout", "[timeout 0]"}, // all or nothing
		{"config set timeout 300 slowlog-max-len 5", "+OK"},
		{"config get timeout slowlog-max*", "[slowlog-max-len 5 timeout 300]"},
		{"config rewrite", "-ERR this node doesn't write its configuration file; change the YAML by hand"},
	} {
		k.expect(tc[1], tc[0])
	}
}

func TestResetStat(t *testing.T) {
	addr, srv := resptest.Start(t, resptest.NewMemory(), resp.Config{})
	k := newTalker(t, addr)
	for range 5 {
		k.say("ping")
	}
	before := srv.Stats().Commands
	k.expect("+OK", "config resetstat") // counted itself behind the reset, like INFO
	if got := k.say("info stats"); !strings.Contains(got, "total_commands_processed:2\r\n") || !strings.Contains(got, "total_connections_received:0\r\n") {
		t.Error(got)
	}
	if srv.Stats().Commands < before {
		t.Error("a counter of metrics went back")
	}
}

func TestSlowLog(t *testing.T) {
	addr, _ := resptest.Start(t, resptest.NewMemory(), resp.Config{})
	k := newTalker(t, addr)
	k.expect("+OK", "set a 1")
	k.expect(":0", "slowlog len")
	k.expect("+OK", "config set slowlog-log-slower-than 0 slowlog-max-len 2")
	k.expect("+OK", "client setname me")
	k.expect("+OK", "set b "+strings.Repeat("x", 200))
	k.expect(":40", "exists "+strings.Repeat("a ", 40))
	k.expect("1", "get a")
	k.expect("-WRONGPASS invalid username-password pair or user is disabled.", "auth x secret")
	got := k.say("slowlog get")
	if strings.Contains(got, "secret") || !strings.HasPrefix(got, "[[:2 :") || !strings.Contains(got, "[get a] "+k.nc.LocalAddr().String()+" me]") ||
		!strings.Contains(got, "[exists "+strings.Repeat("a ", 30)+"... (10 more arguments)]") || strings.Count(got, " me]") != 2 {
		t.Error(got)
	}
	if got := k.say("slowlog get 1"); strings.Count(got, " me]") != 1 {
		t.Error(got)
	}
	k.expect("-ERR count should be greater than or equal to -1", "slowlog get -2")
	k.expect("+OK", "slowlog reset")
	k.expect(":0", "slowlog len")
}
