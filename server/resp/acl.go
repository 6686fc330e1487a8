package resp

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/raftkv/raftkv/node"
	wire "github.com/raftkv/raftkv/resp"
	"github.com/raftkv/raftkv/server/access"
	"github.com/raftkv/raftkv/statemachine"
)

// aclCommands are about users. Users live in the log: LIST and GETUSER are
// linearizable, and SETUSER and DELUSER writes.
func aclCommands() []command {
	const local = fLocal | fLoading
	return []command{
		{name: "acl", arity: -2, group: "server", since: "6.0.0", cost: "O(n) in the users", summary: "Users and what they may do, in the log: the same on every node", subs: []*command{
			{name: "cat", arity: -2, flags: local, since: "6.0.0", cost: "O(n) in the commands", syntax: "[category]", summary: "List the categories, or the commands of one", local: aclCat},
			{name: "deluser", arity: -3, flags: fWrite | fAdmin | fNoMulti, since: "6.0.0", cost: "O(n) in the users", syntax: "username [username ...]",
				summary: "Remove users and close their connections", parse: parseDelUser},
			{name: "dryrun", arity: -4, flags: local | fAdmin, since: "7.0.0", cost: "that of the check", syntax: "username command [arg [arg ...]]",
				summary: "Tell whether a user may run a command, as this node knows", local: aclDryRun},
			{name: "genpass", arity: -2, flags: local, since: "6.0.0", cost: "O(1)", syntax: "[bits]", summary: "Draw a password", local: aclGenPass},
			{name: "getuser", arity: 3, flags: fRead | fAdmin | fNoMulti, since: "6.0.0", cost: "O(n) in the rules", syntax: "username", summary: "Get the rules of a user", parse: parseGetUser, tell: tellGetUser},
			{name: "list", arity: 2, flags: fRead | fAdmin | fNoMulti, since: "6.0.0", cost: "O(n) in the users", summary: "List the users with their rules",
				parse: parseUsers, tell: tellUsers(func(u *access.User) string { return "user " + u.Name() + " " + u.Rules() })},
			{name: "load", arity: 2, flags: local | fAdmin, since: "6.0.0", cost: "O(1)", summary: "There is no file of users: an error", local: aclNoFile},
			{name: "log", arity: -2, flags: local | fAdmin, since: "6.0.0", cost: "O(n)", syntax: "[count | RESET]", summary: "List what this node refused its clients lately", local: aclLog},
			{name: "save", arity: 2, flags: local | fAdmin, since: "6.0.0", cost: "O(1)", summary: "There is no file of users: an error", local: aclNoFile},
			{name: "setuser", arity: -3, flags: fLocal | fAdmin | fBlocks | fNoMulti, since: "6.0.0", cost: "O(n) in the rules", syntax: "username [rule [rule ...]]",
				summary: "Make or change a user: on off nopass >password #hash ~keys %R~keys %W~keys &channels +command -command +@category", local: aclSetUser},
			{name: "users", arity: 2, flags: fRead | fAdmin | fNoMulti, since: "6.0.0", cost: "O(n) in the users", summary: "List the names of the users",
				parse: parseUsers, tell: tellUsers((*access.User).Name)},
			{name: "whoami", arity: 2, flags: local, since: "6.0.0", cost: "O(1)", summary: "Get the name of the connection's user",
				local: func(c *conn, _ [][]byte) { c.w.BulkString(c.user.Name()) }},
			helpCommand(),
		}},
	}
}

func aclCat(c *conn, args [][]byte) {
	cat := c.srv.access.Catalog()
	switch len(args) {
	case 2:
		list := cat.Categories()
		c.w.Array(len(list))
		for _, name := range list {
			c.w.BulkString(name)
		}
	case 3:
		list, ok := cat.In(string(args[2]))
		if !ok {
			c.w.Error("ERR Unknown category '" + clip(args[2], 128) + "'")
			return
		}
		c.w.Array(len(list))
		for _, name := range list {
			c.w.BulkString(name)
		}
	default:
		c.w.Error(arityText(c.srv.table.byName["acl|cat"]))
	}
}

func parseDelUser(r *request) string {
	r.cmd.Op = statemachine.OpUserDel
	for _, name := range r.args[2:] {
		if string(name) == access.DefaultUser {
			return "ERR The 'default' user cannot be removed"
		}
	}
	r.cmd.Args = append(r.cmd.Args, r.args[2:]...)
	return ""
}

func aclDryRun(c *conn, args [][]byte) {
	u := c.srv.access.Now().Find(string(args[2]))
	if u == nil {
		c.w.Error("ERR User '" + clip(args[2], 128) + "' not found")
		return
	}
	cmd, _ := c.srv.table.lookup(args[3:])
	if cmd == nil {
		if found := c.srv.table.find(args[3]); found != nil {
			c.w.Error(arityText(found))
			return
		}
		c.w.Error("ERR Command '" + clip(args[3], 128) + "' not found")
		return
	}
	if !u.Full() && !u.Allows(cmd.fullName()) {
		c.w.BulkString("This user has no permissions to run the '" + cmd.fullName() + "' command")
		return
	}
	refused := ""
	cmd.eachKey(args[3:], func(i int, n access.Need) bool {
		if !u.Key(args[3+i], n) {
			refused = "This user has no permissions to access the '" + clip(args[3+i], 128) + "' key"
		}
		return refused == ""
	})
	if refused == "" && may(u, cmd, args[3:]) != "" {
		refused = "This user has no permissions to access the '" + clip(cmd.channels(args[3:])[0], 128) + "' channel"
	}
	if refused != "" {
		c.w.BulkString(refused)
		return
	}
	c.w.Status("OK")
}

func aclGenPass(c *conn, args [][]byte) {
	bits := int64(256)
	if len(args) > 2 {
		var ok bool
		if bits, ok = wire.ParseInt(args[2]); !ok || bits <= 0 || bits > 4096 || len(args) > 3 {
			c.w.Error("ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to 4096")
			return
		}
	}
	b := make([]byte, (bits+7)/8)
	_, _ = rand.Read(b) // never fails: it ends the program instead
	c.w.BulkString(hex.EncodeToString(b)[:(bits+3)/4])
}

func aclNoFile(c *conn, _ [][]byte) {
	c.w.Error("ERR This node has no file of users: they live in the log, which is durable")
}

func parseUsers(r *request) string {
	r.cmd.Op = statemachine.OpUsers
	return ""
}

// usersOf makes users of what OpUsers answers. Default is always one of them.
func (s *Server) usersOf(res statemachine.Result) []*access.User {
	var list []statemachine.User
	for _, e := range res.Array {
		if len(e.Array) == 3 {
			list = append(list, statemachine.User{Name: string(e.Array[0].Bytes), Rules: string(e.Array[1].Bytes), Version: uint64(e.Array[2].Int)})
		}
	}
	return s.access.Read(list).List()
}

func tellUsers(text func(u *access.User) string) func(*Server, *wire.Writer, statemachine.Result, *slot) {
	return func(s *Server, w *wire.Writer, res statemachine.Result, _ *slot) {
		users := s.usersOf(res)
		w.Array(len(users))
		for _, u := range users {
			w.BulkString(text(u))
		}
	}
}

func parseGetUser(r *request) string {
	r.cmd.Op = statemachine.OpUsers
	r.cmd.Args = append(r.cmd.Args, r.args[2])
	if string(r.args[2]) == access.DefaultUser {
		r.aux = 1
	}
	return ""
}

func tellGetUser(s *Server, w *wire.Writer, res statemachine.Result, sl *slot) {
	if len(res.Array) == 0 && sl.aux == 0 {
		w.Null()
		return
	}
	// Besides the one that was asked for there is always default.
	var u *access.User
	for _, u = range s.usersOf(res) {
		if (u.Name() == access.DefaultUser) == (sl.aux == 1) {
			break
		}
	}
	w.Map(6)
	w.BulkString("flags")
	statuses(w, u.Flags())
	w.BulkString("passwords")
	w.Array(len(u.Passwords()))
	for _, p := range u.Passwords() {
		w.BulkString(p)
	}
	for _, kv := range [][2]string{
		{"commands", strings.Join(u.CommandRules(), " ")}, {"keys", strings.Join(u.KeyRules(), " ")}, {"channels", strings.Join(u.ChannelRules(), " ")},
	} {
		w.BulkString(kv[0])
		w.BulkString(kv[1])
	}
	w.BulkString("selectors")
	w.Array(0)
}

// setUserTries is how often SETUSER begins again because somebody else changed
// the same user at the same time.
const setUserTries = 10

// aclSetUser reads the user, changes it, and writes it if nobody else did in between.
func aclSetUser(c *conn, args [][]byte) {
	name := string(args[2])
	if err := access.CheckName(name); err != nil {
		c.w.Error("ERR " + err.Error())
		return
	}
	var words []string
	for _, a := range args[3:] {
		words = append(words, string(a))
	}
	list := statemachine.Command{Op: statemachine.OpUsers, Args: args[2:3]}
	for range setUserTries {
		res, text := c.srv.ask(c.ctx, node.Read, list)
		if text != "" {
			c.w.Error(text)
			return
		}
		u := c.srv.access.New(name)
		for _, have := range c.srv.usersOf(res) {
			if have.Name() == name {
				u = have
			}
		}
		next, err := u.SetRules(words)
		if err != nil {
			c.w.Error("ERR " + err.Error())
			return
		}
		res, text = c.srv.ask(c.ctx, node.Write, statemachine.Command{
			Op: statemachine.OpUserSet, Num: int64(u.Version()), Args: [][]byte{args[2], []byte(next.Rules())},
		})
		if text != "" {
			c.w.Error(text)
			return
		}
		if res.Kind != statemachine.ResultInt {
			continue
		}
		// Answered once this node knows it, too: a read is evaluated here, behind the write.
		if _, text := c.srv.ask(c.ctx, node.Read, list); text != "" {
			c.srv.cfg.Log.Debug("a user was changed, and this node may not know it yet", "user", name, "err", text)
		}
		c.w.Status("OK")
		return
	}
	c.w.Error("TRYAGAIN others change this user at the same time")
}

// authenticate answers a wrong name or password, or makes the connection the
// user's. It blocks while whoever guesses has to wait.
func (c *conn) authenticate(name, password []byte) bool {
	u, err := c.srv.access.Authenticate(c.ctx, c.nc.RemoteAddr(), string(name), string(password))
	switch {
	case err == nil:
		c.setUser(u)
		return true
	case errors.Is(err, access.ErrTooManyTries):
		c.w.Error("BUSY " + err.Error())
	case errors.Is(err, access.ErrWrongPassword):
		c.srv.denied.addAuth(c, clip(name, 128))
		c.w.Error("WRONGPASS " + err.Error())
	default:
		c.w.Error("TRYAGAIN " + err.Error())
	}
	return false
}

// denied is what ACL LOG tells: the newest refusals of this node. One of the same
// kind as one that is kept is counted there.
type denied struct {
	mu   sync.Mutex
	list []denial // newest first
}

type denial struct {
	count                   int
	reason, context, object string
	user, client            string
	first                   time.Time
}

// maxDenied is Redis's acllog-max-len.
const maxDenied = 128

func (d *denied) add(c *conn, cmd *command, args [][]byte, text string) {
	if c.user == nil {
		return // Redis keeps none of these either
	}
	e := denial{reason: "command", object: cmd.fullName(), user: c.user.Name()}
	switch text {
	case errNoKey:
		e.reason = "key"
		cmd.eachKey(args, func(i int, n access.Need) bool {
			e.object = clip(args[i], 128)
			return c.user.Key(args[i], n)
		})
	case errNoChannel:
		e.reason = "channel"
		e.object = clip(cmd.channels(args)[0], 128)
	}
	d.put(c, e)
}

func (d *denied) addAuth(c *conn, user string) {
	d.put(c, denial{reason: "auth", object: "AUTH", user: user})
}

func (d *denied) put(c *conn, e denial) {
	e.context, e.client, e.count, e.first = "toplevel", strings.TrimSuffix(c.describe(), "\n"), 1, time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, o := range d.list {
		if o.reason == e.reason && o.object == e.object && o.user == e.user && e.first.Sub(o.first) < time.Minute {
			d.list[i].count++
			return
		}
	}
	d.list = append([]denial{e}, d.list[:min(len(d.list), maxDenied-1)]...)
}

func aclLog(c *conn, args [][]byte) {
	d := &c.srv.denied
	count := int64(10)
	switch {
	case len(args) == 3 && is(args[2], "reset"):
		d.mu.Lock()
		d.list = nil
		d.mu.Unlock()
		c.w.Status("OK")
		return
	case len(args) == 3:
		n, ok := wire.ParseInt(args[2])
		if !ok {
			c.w.Error(errInteger)
			return
		}
		count = max(n, 0)
	case len(args) > 3:
		c.w.Error(arityText(c.srv.table.byName["acl|log"]))
		return
	}
	d.mu.Lock()
	list := append([]denial(nil), d.list[:min(int64(len(d.list)), count)]...)
	d.mu.Unlock()
	c.w.Array(len(list))
	for _, e := range list {
		c.w.Map(7)
		c.w.BulkString("count")
		c.w.Int(int64(e.count))
		for _, kv := range [][2]string{{"reason", e.reason}, {"context", e.context}, {"object", e.object}, {"username", e.user},
			{"age-seconds", fmt.Sprintf("%.3f", time.Since(e.first).Seconds())}, {"client-info", e.client}} {
			c.w.BulkString(kv[0])
			c.w.BulkString(kv[1])
		}
	}
}
