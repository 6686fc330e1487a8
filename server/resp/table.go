package resp

import (
	"sort"
	"strings"

	wire "github.com/raftkv/raftkv/resp"
	"github.com/raftkv/raftkv/server/access"
	"github.com/raftkv/raftkv/statemachine"
)

// property is a trait of a command, with Redis's words where it has one.
type property uint16

const (
	fWrite    property = 1 << iota // changes the state: goes through the log
	fRead                          // linearizable read of the state
	fGrows                         // may need space (Redis: denyoom)
	fFast                          // O(1) or O(log n)
	fLocal                         // answered by this node alone
	fAdmin                         // changes the cluster
	fLoading                       // answered while the node is starting
	fConn                          // about the connection
	fBlocks                        // takes long: the reader runs it itself and stands still meanwhile
	fVariadic                      // any number of keys
	fPubSub                        // about messages
	fNoAuth                        // for clients that haven't authenticated, too
	fNow                           // runs at once between MULTI and EXEC, too
	fNoMulti                       // not allowed there
)

// flagNames are what COMMAND calls them.
var flagNames = []struct {
	flag property
	name string
}{
	{fWrite, "write"}, {fRead, "readonly"}, {fGrows, "denyoom"}, {fAdmin, "admin"},
	{fLoading, "loading"}, {fLoading, "stale"}, {fFast, "fast"}, {fPubSub, "pubsub"}, {fNoAuth, "no_auth"},
	{fNoMulti, "no_multi"},
}

// command is everything that is known of one command.
type command struct {
	name    string // lower case; of a subcommand the part behind the bar
	parent  *command
	arity   int // with the name; negative: at least so many (Redis's way)
	flags   property
	keys    [3]int // position of the first and last key, and the step; 0: none
	group   string
	summary string
	syntax  string // of the arguments
	since   string // the version of Redis that it follows; "" is our own
	cost    string
	subs    []*command

	// parse makes a command for the node from the arguments. It returns an error
	// reply, or "".
	parse func(r *request) string
	// tell writes the result; nil tells it as it is.
	tell func(s *Server, w *wire.Writer, res statemachine.Result, sl *slot)
	// channels are those of a request that the user must have a right to.
	channels func(args [][]byte) [][]byte
	// local answers without the node. It writes one reply to c.w.
	local func(c *conn, args [][]byte)
	// run does all itself, the answer too. It returns false if the connection is over.
	run func(c *conn, args [][]byte) bool
}

// request is a command on its way from arguments to bytes.
type request struct {
	srv  *Server
	args [][]byte
	user *access.User // who asks
	cmd  statemachine.Command
	// stale asks for the state of this node as it is.
	stale bool
	// aux is kept for tell.
	aux uint64
	// done is a complete answer, if parsing found that nothing needs to be asked.
	done  func(w *wire.Writer)
	inner []byte // room for ONCE
	// told writes the result in place of the command that was sent.
	told  *command
	parts []part // of EXEC
}

// fullName is client|setname for a subcommand.
func (c *command) fullName() string {
	if c.parent != nil {
		return c.parent.name + "|" + c.name
	}
	return c.name
}

// fits tells whether n arguments, name included, are right.
func (c *command) fits(n int) bool {
	return n == c.arity || c.arity < 0 && n >= -c.arity
}

// container tells whether c only groups subcommands.
func (c *command) container() bool { return c.parse == nil && c.local == nil && c.run == nil }

// table finds commands by name.
type table struct {
	list   []*command // by name
	byName map[string]*command
}

func newTable() *table {
	t := &table{byName: make(map[string]*command)}
	for _, group := range [][]command{
		stringCommands(), valueCommands(), genericCommands(), deadlineCommands(), bitCommands(), multiCommands(), sessionCommands(),
		connectionCommands(), clientCommands(), aclCommands(), slowCommands(), nodeCommands(), clusterCommands(), pubsubCommands(), serverCommands(), raftCommands(),
	} {
		for i := range group {
			c := &group[i]
			for _, sub := range c.subs {
				sub.parent = c
				if sub.group == "" {
					sub.group = c.group
				}
				t.byName[sub.fullName()] = sub
			}
			t.list = append(t.list, c)
			t.byName[c.name] = c
		}
	}
	sort.Slice(t.list, func(i, j int) bool { return t.list[i].name < t.list[j].name })
	return t
}

// lookup finds the command of a request and checks its arity. It returns an error
// reply instead.
func (t *table) lookup(args [][]byte) (*command, string) {
	c := t.find(args[0])
	if c == nil || c.parent != nil {
		return nil, unknownCommand(args)
	}
	if len(c.subs) > 0 && len(args) > 1 {
		sub := c.sub(args[1])
		if sub == nil {
			return nil, "ERR unknown subcommand '" + clip(args[1], 128) + "'. Try " + strings.ToUpper(c.name) + " HELP."
		}
		c = sub
	}
	if !c.fits(len(args)) || c.container() {
		return nil, arityText(c)
	}
	return c, ""
}

func (t *table) find(name []byte) *command {
	var room [32]byte
	if len(name) > len(room) {
		return nil
	}
	return t.byName[string(lower(room[:0], name))]
}

func (c *command) sub(name []byte) *command {
	var room [32]byte
	if len(name) > len(room) {
		return nil
	}
	low := lower(room[:0], name)
	for _, s := range c.subs {
		if s.name == string(low) {
			return s
		}
	}
	return nil
}

func lower(dst, src []byte) []byte {
	for _, b := range src {
		if 'A' <= b && b <= 'Z' {
			b += 'a' - 'A'
		}
		dst = append(dst, b)
	}
	return dst
}

// is compares an argument with a word in lower case.
func is(arg []byte, word string) bool {
	if len(arg) != len(word) {
		return false
	}
	for i, b := range arg {
		if 'A' <= b && b <= 'Z' {
			b += 'a' - 'A'
		}
		if b != word[i] {
			return false
		}
	}
	return true
}

func arityText(c *command) string {
	return "ERR wrong number of arguments for '" + c.fullName() + "' command"
}

// unknownCommand is Redis's text, cut where Redis cuts it.
func unknownCommand(args [][]byte) string {
	var list strings.Builder
	for _, a := range args[1:] {
		if list.Len() >= 128 {
			break
		}
		list.WriteString("'" + clip(a, 128-list.Len()) + "' ")
	}
	return "ERR unknown command '" + clip(args[0], 128) + "', with args beginning with: " + list.String()
}

func clip(b []byte, n int) string { return string(b[:min(n, len(b))]) }

// Redis's words.
const (
	errSyntax  = "ERR syntax error"
	errInteger = "ERR value is not an integer or out of range"
)
