package resp

import (
	"bytes"
	"strconv"
	"strings"
	"time"

	wire "github.com/raftkv/raftkv/resp"
	"github.com/raftkv/raftkv/statemachine"
)

// settings are what CONFIG GET answers, by name: enough for clients that look at
// limits, and what CONFIG SET can change.
func (s *Server) settings() [][2]string {
	threshold := s.slowlog.threshold.Load()
	return [][2]string{
		{"appendfsync", "always"},
		{"appendonly", "yes"},
		{"databases", "1"},
		{"maxclients", strconv.Itoa(s.cfg.Clients)},
		{"maxmemory", "0"},
		{"maxmemory-policy", "noeviction"},
		{"notify-keyspace-events", s.events.Load().String()},
		{"proto-max-bulk-len", strconv.Itoa(max(s.cfg.ValueBytes, s.cfg.KeyBytes))},
		{"save", ""},
		{"slowlog-log-slower-than", strconv.FormatInt(threshold, 10)},
		{"slowlog-max-len", strconv.FormatInt(s.slowlog.keep.Load(), 10)},
		{"timeout", strconv.FormatInt(s.idle.Load()/int64(time.Second), 10)},
	}
}

func configGet(c *conn, args [][]byte) {
	var found [][2]string
	for _, kv := range c.srv.settings() {
		for _, pattern := range args[2:] {
			if statemachine.MatchGlob(bytes.ToLower(pattern), kv[0]) {
				found = append(found, kv)
				break
			}
		}
	}
	c.w.Map(len(found))
	for _, kv := range found {
		c.w.BulkString(kv[0])
		c.w.BulkString(kv[1])
	}
}

// configSet changes settings, all or none.
func configSet(c *conn, args [][]byte) {
	s := c.srv
	if len(args)%2 != 0 {
		c.w.Error("ERR wrong number of arguments for 'config|set' command")
		return
	}
	known := make(map[string]bool)
	for _, kv := range s.settings() {
		known[kv[0]] = true
	}
	seen := make(map[string]bool)
	var changes []func()
	for i := 2; i < len(args); i += 2 {
		name, value := strings.ToLower(string(args[i])), args[i+1]
		fail := func(why string) {
			c.w.Error("ERR CONFIG SET failed (possibly related to argument '" + clip(args[i], 128) + "') - " + why)
		}
		number := func(least, most int64, do func(n int64)) bool {
			n, ok := wire.ParseInt(value)
			switch {
			case !ok:
				fail("argument couldn't be parsed into an integer")
			case n < least || n > most:
				fail("argument must be between " + strconv.FormatInt(least, 10) + " and " + strconv.FormatInt(most, 10) + " inclusive")
				ok = false
			default:
				changes = append(changes, func() { do(n) })
			}
			return ok
		}
		ok := false
		switch {
		case seen[name]:
			fail("duplicate parameter")
		case name == "notify-keyspace-events":
			var events *eventSet
			if events, ok = parseEvents(string(value)); !ok {
				fail("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")
			} else {
				changes = append(changes, func() { s.events.Store(events) })
			}
		case name == "slowlog-log-slower-than":
			ok = number(-1, 1<<62, s.slowlog.threshold.Store)
		case name == "slowlog-max-len":
			ok = number(0, maxSlow, func(n int64) { s.slowlog.keep.Store(n); s.slowlog.trim() })
		case name == "timeout":
			ok = number(0, 1<<31, func(n int64) { s.idle.Store(n * int64(time.Second)) })
		case known[name]:
			fail("can't set immutable config")
		default:
			c.w.Error("ERR Unknown option or number of arguments for CONFIG SET - '" + clip(args[i], 128) + "'")
		}
		if !ok {
			return
		}
		seen[name] = true
	}
	for _, do := range changes {
		do()
	}
	c.w.Status("OK")
}

// configResetStat sets the counters back. They are read by Stats as well, which
// metrics need ascending: what INFO shows is the distance from here.
func configResetStat(c *conn, _ [][]byte) {
	now := c.srv.Stats()
	c.srv.since.Store(&now)
	c.w.Status("OK")
}
