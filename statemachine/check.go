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
	var outer, inner Command
	return inspect(b, &outer, &inner)
}

// Frees tells whether a command of the log frees space, or is what a client
// needs for that (a session): nodes take it when their disk is nearly full.
// Bytes that are no command don't.
func Frees(b []byte) bool {
	var c, inner Command
	if c.Decode(b) != nil {
		return false
	}
	if c.Op == OpOnce && len(c.Args) == 1 && inner.Decode(c.Args[0]) == nil {
		c.Op = inner.Op
	}
	switch c.Op {
	case OpUserSet, OpUserDel: // bounded, and an operator must be able to lock somebody out
		return true
	case OpDel, OpTick, OpSessionOpen, OpSessionKeep, OpSessionClose:
		return true
	}
	return false
}

// inspect decodes a command of the log, with OpOnce the inner one too. The
// error is a *refusedError or an *unknownError.
func inspect(b []byte, outer, inner *Command) error {
	if err := inspectOne(b, outer); err != nil {
		return err
	}
	if outer.Op != OpOnce {
		return nil
	}
	if err := inspectOne(outer.Args[0], inner); err != nil {
		return err
	}
	if inner.Op.info().class != classWrite {
		return &refusedError{fmt.Sprintf("ERR '%v' can't stand inside 'once'", inner.Op)}
	}
	return nil
}

func inspectOne(b []byte, c *Command) error {
	// The operation first: what is unknown may be encoded in another way, too.
	if len(b) > 0 && !Op(b[0]).known() {
		return &unknownError{fmt.Sprintf("operation %d", b[0])}
	}
	if err := c.Decode(b); err != nil {
		return &refusedError{"ERR " + err.Error()}
	}
	i := c.Op.info()
	if strange := c.Flags &^ i.flags; strange != 0 {
		return &unknownError{fmt.Sprintf("flag %#x of '%v'", uint16(strange), c.Op)}
	}
	if i.class == classRead {
		return &refusedError{fmt.Sprintf("ERR '%v' is a read and doesn't belong in the log", c.Op)}
	}
	if !c.fits(i) {
		return &refusedError{fmt.Sprintf("ERR wrong number of arguments for '%v' command", c.Op)}
	}
	return nil
}
