package statemachine

import "fmt"

// unknownError is a command with a meaning that this binary does not have.
// Committed, it stops the machine; it is never skipped.
type unknownError struct{ what string }

func (e *unknownError) Error() string {
	return fmt.Sprintf("%s is unknown at level %d; start a newer binary", e.what, level)
}

// refusedError is a command that is wrong on every node of every version alike:
// it is answered with an error and changes nothing.
type refusedError struct{ what string }

func (e *refusedError) Error() string { return e.what }

// Check tells whether b is a command that may be proposed. The server that
// takes it from a client or from another node calls it before the log: a
// command that this binary doesn't know would stop every node like it.
func Check(b []byte) error {
	var outer, inner, nested Command
	return inspect(b, &outer, &inner, &nested)
}

// Frees tells whether a command of the log frees space, or is what a client
// needs for that (a session): nodes take it when their disk is nearly full.
// A block does if each of its commands does or only reads. Bytes that are no
// command don't.
func Frees(b []byte) bool {
	var c, inner Command
	if c.Decode(b) != nil {
		return false
	}
	if c.Op == OpOnce && len(c.Args) == 1 && inner.Decode(c.Args[0]) == nil {
		c, inner = inner, c
	}
	if c.Op != OpBlock {
		return c.Op.frees()
	}
	for _, b := range c.Args[min(max(2*c.Num, 0), int64(len(c.Args))):] {
		if inner.Decode(b) != nil || !inner.Op.frees() && !inner.Op.ReadOnly() {
			return false
		}
	}
	return true
}

func (o Op) frees() bool {
	switch o {
	case OpUserSet, OpUserDel: // bounded, and an operator must be able to lock somebody out
		return true
	case OpDel, OpGetDel, OpDelIfEq, OpDelV, OpFlush, OpExpire, OpTick, OpSessionOpen, OpSessionKeep, OpSessionClose:
		return true
	}
	return false
}

// inspect decodes a command of the log, with OpOnce the inner one too. nested is
// scratch. The error is a *refusedError or an *unknownError.
func inspect(b []byte, outer, inner, nested *Command) error {
	i, err := decodeKnown(b, outer)
	switch {
	case err != nil:
		return err
	case i.class == classRead:
		return &refusedError{fmt.Sprintf("ERR '%v' is a read and doesn't belong in the log", outer.Op)}
	case i.block:
		return inspectBlock(outer, nested)
	case i.class != classOnce:
		return nil
	}
	i, err = decodeKnown(outer.Args[0], inner)
	switch {
	case err != nil:
		return err
	case i.class != classWrite:
		return &refusedError{fmt.Sprintf("ERR '%v' can't stand inside 'once'", inner.Op)}
	case i.block:
		return inspectBlock(inner, nested)
	}
	return nil
}

// decodeKnown decodes one command and checks what can be said of it alone.
func decodeKnown(b []byte, c *Command) (opInfo, error) {
	// The operation first: what is unknown may be encoded in another way, too.
	if len(b) > 0 && !Op(b[0]).known() {
		return opInfo{}, &unknownError{fmt.Sprintf("operation %d", b[0])}
	}
	if err := c.Decode(b); err != nil {
		return opInfo{}, &refusedError{"ERR " + err.Error()}
	}
	i := c.Op.info()
	if strange := c.Flags &^ i.flags; strange != 0 {
		return i, &unknownError{fmt.Sprintf("flag %#x of '%v'", uint16(strange), c.Op)}
	}
	if !c.fits(i) {
		return i, &refusedError{fmt.Sprintf("ERR wrong number of arguments for '%v' command", c.Op)}
	}
	return i, nil
}
