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
	block bool  // carries other commands, see inspectBlock
}

// unbounded is no bound but MaxArgs.
const unbounded = MaxArgs

// info is the one list of all operations. A switch, since packages like this
// one hold no state, and it is as fast as a table.
func (o Op) info() opInfo {
	const set = FlagKeepTTL | FlagIn | FlagAt
	switch o {
	case OpTick:
		return opInfo{"tick", classPlain, 0, 0, 0, 0, false}
	case OpSet:
		return opInfo{"set", classWrite, set | FlagNX | FlagXX | FlagGet | FlagEq, 2, 3, 0, false}
	case OpAppend:
		return opInfo{"append", classWrite, 0, 2, 2, 0, false}
	case OpDel:
		return opInfo{"del", classWrite, 0, 1, unbounded, 0, false}
	case OpMSet:
		return opInfo{"mset", classWrite, 0, 2, unbounded, 2, false}
	case OpIncrBy:
		return opInfo{"incrby", classWrite, 0, 1, 1, 0, false}
	case OpSessionOpen:
		return opInfo{"session-open", classSession, 0, 0, 0, 0, false}
	case OpSessionKeep:
		return opInfo{"session-keep", classSession, 0, 0, 0, 0, false}
	case OpSessionClose:
		return opInfo{"session-close", classSession, 0, 0, 0, 0, false}
	case OpOnce:
		return opInfo{"once", classOnce, 0, 1, 1, 0, false}
	case OpVerify:
		return opInfo{"verify", classPlain, 0, 0, 0, 0, false}
	case OpLimit:
		return opInfo{"limit", classWrite, 0, 1, 1, 0, false}
	case OpLevel:
		return opInfo{"level", classPlain, 0, 0, 0, 0, false}
	case OpUserSet:
		return opInfo{"user-set", classPlain, 0, 2, 2, 0, false}
	case OpUserDel:
		return opInfo{"user-del", classPlain, 0, 1, unbounded, 0, false}
	case OpPublish:
		return opInfo{"publish", classWrite, 0, 2, 2, 0, false}

	case OpGetDel:
		return opInfo{"getdel", classWrite, 0, 1, 1, 0, false}
	case OpGetEx:
		return opInfo{"getex", classWrite, FlagIn | FlagAt | FlagPersist, 1, 1, 0, false}
	case OpSetRange:
		return opInfo{"setrange", classWrite, 0, 2, 2, 0, false}
	case OpIncrByFloat:
		return opInfo{"incrbyfloat", classWrite, 0, 2, 2, 0, false}
	case OpMSetNX:
		return opInfo{"msetnx", classWrite, 0, 2, unbounded, 2, false}
	case OpSetBit:
		return opInfo{"setbit", classWrite, FlagOne, 1, 1, 0, false}
	case OpBitOp:
		return opInfo{"bitop", classWrite, 0, 2, unbounded, 0, false}
	case OpBitField:
		return opInfo{"bitfield", classWrite, 0, 1, unbounded, 0, false}
	case OpRename:
		return opInfo{"rename", classWrite, FlagNX, 2, 2, 0, false}
	case OpCopy:
		return opInfo{"copy", classWrite, FlagReplace, 2, 2, 0, false}
	case OpExpire:
		return opInfo{"expire", classWrite, FlagIn | FlagAt | FlagNX | FlagXX | FlagGT | FlagLT, 1, 1, 0, false}
	case OpPersist:
		return opInfo{"persist", classWrite, 0, 1, 1, 0, false}
	case OpFlush:
		return opInfo{"flushall", classWrite, 0, 0, 0, 0, false}
	case OpDelIfEq:
		return opInfo{"delifeq", classWrite, 0, 2, 2, 0, false}
	case OpBlock:
		return opInfo{"exec", classWrite, 0, 0, unbounded, 0, true}
	case OpSetV:
		return opInfo{"setv", classWrite, set, 2, 2, 0, false}
	case OpDelV:
		return opInfo{"delv", classWrite, 0, 1, 1, 0, false}

	case OpGet:
		return opInfo{"get", classRead, 0, 1, 1, 0, false}
	case OpStrlen:
		return opInfo{"strlen", classRead, 0, 1, 1, 0, false}
	case OpExists:
		return opInfo{"exists", classRead, 0, 1, unbounded, 0, false}
	case OpMGet:
		return opInfo{"mget", classRead, 0, 1, unbounded, 0, false}
	case OpScan:
		return opInfo{"scan", classRead, 0, 1, 2, 0, false}
	case OpDBSize:
		return opInfo{"dbsize", classRead, 0, 0, 0, 0, false}
	case OpSession:
		return opInfo{"session", classRead, 0, 0, 0, 0, false}

	case OpGetRange:
		return opInfo{"getrange", classRead, 0, 1, 1, 0, false}
	case OpLCS:
		return opInfo{"lcs", classRead, FlagLen | FlagIdx | FlagWithLen, 2, 2, 0, false}
	case OpGetBit:
		return opInfo{"getbit", classRead, 0, 1, 1, 0, false}
	case OpBitCount:
		return opInfo{"bitcount", classRead, FlagFrom | FlagBits, 1, 1, 0, false}
	case OpBitPos:
		return opInfo{"bitpos", classRead, FlagOne | FlagFrom | FlagTo | FlagBits, 1, 1, 0, false}
	case OpTTL:
		return opInfo{"pttl", classRead, 0, 1, 1, 0, false}
	case OpDeadline:
		return opInfo{"pexpiretime", classRead, 0, 1, 1, 0, false}
	case OpRandomKey:
		return opInfo{"randomkey", classRead, 0, 0, 0, 0, false}
	case OpKeys:
		return opInfo{"keys", classRead, 0, 1, 1, 0, false}
	case OpEncoding:
		return opInfo{"object|encoding", classRead, 0, 1, 1, 0, false}
	case OpMemory:
		return opInfo{"memory|usage", classRead, 0, 1, 1, 0, false}
	case OpGetV:
		return opInfo{"getv", classRead, 0, 1, 1, 0, false}
	case OpWatch:
		return opInfo{"watch", classRead, 0, 1, unbounded, 0, false}
	case OpReadField:
		return opInfo{"bitfield_ro", classRead, 0, 1, unbounded, 0, false}
	case OpReadBlock:
		return opInfo{"exec", classRead, 0, 0, unbounded, 0, true}
	case OpUsers:
		return opInfo{"users", classRead, 0, 0, 1, 0, false}
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
