package load

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

type respConn struct {
	c     net.Conn
	r     *bufio.Reader
	w     []byte
	stale string
	addr  string
}

// Moved is a redirect to another node.
type Moved struct{ Addr string }

func (m Moved) Error() string { return "MOVED " + m.Addr }

// DialRESP opens a RESP connection.
func DialRESP(addr, stale string, to time.Duration) (*respConn, error) {
	c, err := net.DialTimeout("tcp", addr, to)
	if err != nil {
		return nil, err
	}
	rc := &respConn{c: c, r: bufio.NewReaderSize(c, 8192), stale: stale, addr: addr}
	if stale == "READONLY" { // a connection mode, not a command: GET is local after it
		rc.stale = "GET"
		if _, err := c.Write([]byte("*1\r\n$8\r\nREADONLY\r\n")); err != nil {
			return nil, err
		}
		if err := rc.reply(); err != nil {
			return nil, err
		}
	}
	return rc, nil
}

// leads says whether the node's ROLE is master. A node that does not know ROLE
// may lead: a write tells, where followers refuse them.
func leads(addr string) bool {
	c, err := DialRESP(addr, "", time.Second)
	if err != nil {
		return false
	}
	defer c.close()
	c.c.SetDeadline(time.Now().Add(time.Second))
	if _, err := c.c.Write([]byte("*1\r\n$4\r\nROLE\r\n")); err != nil {
		return false
	}
	l, err := c.r.ReadString('\n')
	if err != nil || l[0] != '*' {
		return err == nil
	}
	if _, err = c.r.ReadString('\n'); err != nil {
		return false
	}
	l, err = c.r.ReadString('\n')
	return err == nil && strings.TrimSpace(l) == "master"
}

func (c *respConn) close() { c.c.Close() }

func appendBulk(b, v []byte) []byte {
	b = append(b, '$')
	b = strconv.AppendInt(b, int64(len(v)), 10)
	b = append(b, '\r', '\n')
	b = append(b, v...)
	return append(b, '\r', '\n')
}

func (c *respConn) batch(n int, k []Kind, keys, vals [][]byte) error {
	w := c.w[:0]
	for i := 0; i < n; i++ {
		switch k[i] {
		case Set:
			w = append(w, "*3\r\n$3\r\nSET\r\n"...)
			w = appendBulk(w, keys[i])
			w = appendBulk(w, vals[i])
		case Append:
			w = append(w, "*3\r\n$6\r\nAPPEND\r\n"...)
			w = appendBulk(w, keys[i])
			w = appendBulk(w, vals[i])
		case Get:
			w = append(w, "*2\r\n$3\r\nGET\r\n"...)
			w = appendBulk(w, keys[i])
		case StaleGet:
			w = append(w, "*2\r\n"...)
			w = appendBulk(w, []byte(c.stale))
			w = appendBulk(w, keys[i])
		}
	}
	c.w = w
	if _, err := c.c.Write(w); err != nil {
		return err
	}
	var first error
	for i := 0; i < n; i++ {
		if err := c.reply(); err != nil {
			var re respError
			if !errors.As(err, &re) {
				return err
			}
			if first == nil {
				first = err
			}
		}
	}
	return first
}

type respError string

func (e respError) Error() string { return string(e) }

func (c *respConn) reply() error {
	l, err := c.r.ReadSlice('\n')
	if err != nil {
		return err
	}
	switch l[0] {
	case '+', ':':
		return nil
	case '-':
		return respError(strings.TrimSpace(string(l[1:])))
	case '$':
		n, err := strconv.Atoi(string(l[1 : len(l)-2]))
		if err != nil || n < 0 {
			return err
		}
		_, err = c.r.Discard(n + 2)
		return err
	}
	return fmt.Errorf("unexpected reply %q", l)
}
