package statemachine

import "fmt"

// opClass is where an operation may stand.
type opClass uint8

const (
	classNone    opClass = iota // unknown to this binary
	classPlain                  // of the log; has no effect to repeat, or can be repeated
	classSession                // of the log; of sessions themselves
	classOnce                   // of the log; carries another command
	classWrite                  // of the log; writes keys or settings, may stand inside OpOnce
	classRead                   // never in the log
)

// opInfo is what is known of an operation before it runs.
type opInfo struct {
	name  string // in error messages, that of Redis where there is one
	class opClass
	flags Flags // those that mean something with it
	least int   // arguments
	most  int   // arguments
	step  int   // the number of arguments is a multiple of it; 0 is 1
}

// unbounded is no bound but MaxArgs.
const unbounded = MaxArgs

// info is the one list of all operations. A switch, since packages like this
// one hold no state, and it is as fast as a table.
func (o Op) info() opInfo {
	const set = FlagNX | FlagXX | FlagGet | FlagKeepTTL | FlagIn | FlagAt
	switch o {
	case OpTick:
		return opInfo{"tick", classPlain, 0, 0, 0, 0}
	case OpSet:
		return opInfo{"set", classWrite, set, 2, 2, 0}
	case OpAppend:
		return opInfo{"append", classWrite, 0, 2, 2, 0}
	case OpDel:
		return opInfo{"del", classWrite, 0, 1, unbounded, 0}
	case OpMSet:
		return opInfo{"mset", classWrite, 0, 2, unbounded, 2}
	case OpIncrBy:
		return opInfo{"incrby", classWrite, 0, 1, 1, 0}
	case OpSessionOpen:
		return opInfo{"session-open", classSession, 0, 0, 0, 0}
	case OpSessionKeep:
		return opInfo{"session-keep", classSession, 0, 0, 0, 0}
	case OpSessionClose:
		return opInfo{"session-close", classSession, 0, 0, 0, 0}
	case OpOnce:
		return opInfo{"once", classOnce, 0, 1, 1, 0}
	case OpVerify:
		return opInfo{"verify", classPlain, 0, 0, 0, 0}
	case OpLimit:
		return opInfo{"limit", classWrite, 0, 1, 1, 0}
	case OpUserSet:
		return opInfo{"user-set", classPlain, 0, 2, 2, 0}
	case OpUserDel:
		return opInfo{"user-del", classPlain, 0, 1, unbounded, 0}
	case OpPublish:
		return opInfo{"publish", classWrite, 0, 2, 2, 0}

	case OpGet:
		return opInfo{"get", classRead, 0, 1, 1, 0}
	case OpStrlen:
		return opInfo{"strlen", classRead, 0, 1, 1, 0}
	case OpExists:
		return opInfo{"exists", classRead, 0, 1, unbounded, 0}
	case OpMGet:
		return opInfo{"mget", classRead, 0, 1, unbounded, 0}
	case OpScan:
		return opInfo{"scan", classRead, 0, 1, 2, 0}
	case OpDBSize:
		return opInfo{"dbsize", classRead, 0, 0, 0, 0}
	case OpSession:
		return opInfo{"session", classRead, 0, 0, 0, 0}
	case OpUsers:
		return opInfo{"users", classRead, 0, 0, 1, 0}
	}
	return opInfo{}
}

// ReadOnly tells whether the operation changes nothing and so stays out of the log.
func (o Op) ReadOnly() bool { return o >= 64 }

// known tells whether this binary knows the operation.
func (o Op) known() bool { return o.info().class != classNone }

// String is the operation's name.
func (o Op) String() string {
	if name := o.info().name; name != "" {
		return name
	}
	return fmt.Sprintf("op-%d", uint8(o))
}

// fits tells whether the number of arguments is right.
func (c *Command) fits(i opInfo) bool {
	n := len(c.Args)
	return n >= i.least && n <= i.most && (i.step == 0 || n%i.step == 0)
}
