package resp

import (
	"fmt"
	"strings"
	"time"
)

// monitor makes the connection see what other clients of this node ask.
func monitor(c *conn, _ [][]byte) {
	c.w.Status("OK")
	if c.monitors {
		return
	}
	c.monitors = true
	s := c.srv
	s.monitorMu.Lock()
	defer s.monitorMu.Unlock()
	s.monitors[c] = c.next + uint64(len(c.slots)) + 1 // behind the slot of this reply
	s.monitored.Store(true)
}

// unmonitor ends that.
func (c *conn) unmonitor() {
	if !c.monitors {
		return
	}
	c.monitors = false
	s := c.srv
	s.monitorMu.Lock()
	defer s.monitorMu.Unlock()
	delete(s.monitors, c)
	s.monitored.Store(len(s.monitors) > 0)
}

// secret tells whether a request may hold a password.
func (c *command) secret() bool {
	return c.name == "auth" || c.name == "hello" || c.parent != nil && c.parent.name == "acl" || c.flags&fAdmin != 0
}

// show tells monitors of a request.
func (s *Server) show(c *conn, cmd *command, args [][]byte) {
	if cmd.secret() {
		return
	}
	now := time.Now().UnixMicro()
	var b strings.Builder
	fmt.Fprintf(&b, "+%d.%06d [0 %s]", now/1e6, now%1e6, c.nc.RemoteAddr())
	for _, a := range args {
		b.WriteByte(' ')
		b.WriteString(quote(a))
	}
	b.WriteString("\r\n")
	line := []byte(b.String())
	s.monitorMu.Lock()
	defer s.monitorMu.Unlock()
	for m, from := range s.monitors {
		if m != c {
			m.push(from, line)
		}
	}
}

// quote is Redis's form of any bytes on one line.
func quote(b []byte) string {
	var out strings.Builder
	out.WriteByte('"')
	for _, c := range b {
		switch c {
		case '\\', '"':
			out.WriteByte('\\')
			out.WriteByte(c)
		case '\n':
			out.WriteString(`\n`)
		case '\r':
			out.WriteString(`\r`)
		case '\t':
			out.WriteString(`\t`)
		case '\a':
			out.WriteString(`\a`)
		case '\b':
			out.WriteString(`\b`)
		default:
			if c < ' ' || c > '~' {
				fmt.Fprintf(&out, `\x%02x`, c)
				continue
			}
			out.WriteByte(c)
		}
	}
	out.WriteByte('"')
	return out.String()
}
