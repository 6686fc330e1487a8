package resp

import (
	"context"

	"github.com/raftkv/raftkv/node"
	"github.com/raftkv/raftkv/server/access"
	"github.com/raftkv/raftkv/statemachine"
)

// Catalog lists the commands of this server for the rules on users.
func Catalog() *access.Catalog { return newTable().catalog() }

func (t *table) catalog() *access.Catalog {
	var list []access.Command
	add := func(c *command) {
		cats := c.categories()
		for i := range cats {
			cats[i] = cats[i][1:] // without @
		}
		list = append(list, access.Command{Name: c.fullName(), Categories: cats})
	}
	for _, c := range t.list {
		add(c)
		for _, s := range c.subs {
			add(s)
		}
	}
	return access.NewCatalog(list)
}

// need is what a command does with its first key, and with the others.
type need struct{ first, rest access.Need }

// needs are those of commands that don't do what a read (read) or write (read and
// write) does: Redis's flags ACCESS on the one hand, INSERT, UPDATE and DELETE on the other.
var needs = func() map[string]need {
	m := map[string]need{
		"copy": {access.Read, access.Write}, "rename": {access.Read | access.Write, access.Write}, "renamenx": {access.Read | access.Write, access.Write},
		"bitop": {access.Write, access.Read},
	}
	for _, name := range []string{"exists", "strlen", "type", "touch", "object|encoding", "object|freq", "object|idletime", "object|refcount", "memory|usage"} {
		m[name] = need{}
	}
	for _, name := range []string{"set", "setnx", "setex", "psetex", "mset", "msetnx", "append", "setrange", "del", "unlink",
		"expire", "pexpire", "expireat", "pexpireat", "persist", "setv"} {
		m[name] = need{access.Write, access.Write}
	}
	return m
}()

// needs is what the command does with its keys in this request.
func (c *command) needs(args [][]byte) need {
	n, ok := needs[c.fullName()]
	switch {
	case !ok && c.flags&fWrite != 0:
		return need{access.Read | access.Write, access.Read | access.Write}
	case !ok:
		return need{access.Read, access.Read}
	case c.name == "set" && len(args) > 3:
		for _, a := range args[3:] {
			if is(a, "get") {
				n.first |= access.Read
			}
		}
	}
	return n
}

// eachKey calls f with the places of the keys in a request, until f says false.
func (c *command) eachKey(args [][]byte, f func(i int, n access.Need) bool) {
	first, last, step := c.keys[0], c.keys[1], c.keys[2]
	if first == 0 {
		return
	}
	if last < 0 {
		last += len(args)
	}
	n := c.needs(args)
	for i := first; i <= last && i < len(args); i += step {
		if !f(i, n.first) {
			return
		}
		n.first = n.rest
	}
}

// Redis's words for what a user may not do.
const (
	errNoAuth    = "NOAUTH Authentication required."
	errNoKey     = "NOPERM this user has no permissions to access one of the keys used as arguments"
	errNoChannel = "NOPERM this user has no permissions to access one of the channels used as arguments"
)

// may tells why the user may not send the request, or "".
func may(u *access.User, cmd *command, args [][]byte) string {
	if u.Full() {
		return ""
	}
	if !u.Allows(cmd.fullName()) {
		return "NOPERM this user has no permissions to run the '" + cmd.fullName() + "' command"
	}
	refused := ""
	cmd.eachKey(args, func(i int, n access.Need) bool {
		if !u.Key(args[i], n) {
			refused = errNoKey
		}
		return refused == ""
	})
	if refused == "" && cmd.channels != nil {
		for _, ch := range cmd.channels(args) {
			if !u.Channel(ch, cmd.name[0] == 'p' && cmd.name != "publish") {
				return errNoChannel
			}
		}
	}
	return refused
}

// refreshUser takes notice of changed users. It returns false if the user of this
// connection is gone.
func (c *conn) refreshUser(now *access.Users) bool {
	c.users = now
	if c.user == nil {
		c.setUser(now.Open())
		return true
	}
	u := now.Find(c.user.Name())
	if u == nil {
		return false
	}
	c.setUser(u)
	return true
}

// setUser makes u the user of the connection; nil: it must authenticate first,
// and until then only requests that are small are read.
func (c *conn) setUser(u *access.User) {
	c.user = u
	c.rd.Small = u == nil
	c.shared.user.Store(u)
	c.judge()
}

// judge finds out whether each request must be looked at before it runs. For
// most connections it need not.
func (c *conn) judge() { c.checked = c.user == nil || !c.user.Full() || c.onlySubscriber() }

// permitted tells whether the user of the connection may send the request. If
// not it answers it.
func (c *conn) permitted(cmd *command, args [][]byte) bool {
	text := errNoAuth
	switch {
	case c.onlySubscriber() && !takesWhileSubscribed(cmd):
		c.w.Error("ERR Can't execute '" + cmd.fullName() + "': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context")
		c.answer()
		return false
	case c.user != nil:
		text = may(c.user, cmd, args)
	case cmd.flags&fNoAuth != 0:
		text = ""
	}
	if text == "" {
		return true
	}
	c.srv.denied.add(c, cmd, args, text)
	c.rejected(args[0], text)
	return false
}

// usersChanged ends the connections whose user is gone. It runs on the node's
// goroutine that applies.
func (s *Server) usersChanged() {
	now := s.access.Now()
	s.hub.revoke(now)
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		if u := c.shared.user.Load(); u != nil && now.Find(u.Name()) == nil {
			c.kill()
		}
	}
}

// one takes a single reply; node.Sink.
type one chan node.Reply

func (o one) Deliver(replies []node.Reply) {
	for _, r := range replies {
		select {
		case o <- r:
		default:
		}
	}
}

// ask runs one command of the server's own, beside all connections, and waits for
// its result. text is the error reply if there is none.
func (s *Server) ask(ctx context.Context, kind node.Kind, cmd statemachine.Command) (res statemachine.Result, text string) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.AdminTimeout)
	defer cancel()
	sink := make(one, 1)
	sub := s.backend.Connect(sink)
	defer sub.Close()
	err := sub.Submit(ctx, []node.Request{{Kind: kind, Data: statemachine.AppendCommand(nil, cmd)}})
	if err != nil {
		return res, outcomeText(node.NotApplied, err, false)
	}
	select {
	case rep := <-sink:
		if rep.Outcome != node.Applied {
			return res, outcomeText(rep.Outcome, rep.Err, kind != node.Write)
		}
		if res, err = statemachine.DecodeResult(rep.Result); err != nil {
			return res, "ERR node answered what can't be read: " + err.Error()
		}
		if res.Kind == statemachine.ResultError {
			return res, string(res.Bytes)
		}
		return res, ""
	case <-ctx.Done():
		return res, outcomeText(node.Unknown, node.ErrTimeout, kind != node.Write)
	}
}
