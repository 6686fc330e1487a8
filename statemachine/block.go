package statemachine

import "fmt"

// maxBlockReply bounds the replies of one block, in bytes: a few small commands
// can ask for a large value a hundred thousand times.
const maxBlockReply = 64 << 20

// inspectBlock checks the conditions and commands of a block. inner is scratch.
func inspectBlock(block, inner *Command) error {
	conditions := block.Num
	if conditions < 0 || conditions > int64(len(block.Args)/2) {
		return &refusedError{fmt.Sprintf("ERR block with %d conditions in %d arguments", conditions, len(block.Args))}
	}
	for i := range conditions {
		if _, ok := token(block.Args[2*i+1]); !ok {
			return &refusedError{fmt.Sprintf("ERR condition %d of a block has no token", i)}
		}
	}
	for _, b := range block.Args[2*conditions:] {
		i, err := decodeKnown(b, inner)
		if err != nil {
			return err
		}
		if i.class != classRead && (i.class != classWrite || block.Op == OpReadBlock) || i.block {
			return &refusedError{fmt.Sprintf("ERR '%v' can't stand inside '%v'", inner.Op, block.Op)}
		}
	}
	return nil
}

// block runs a block of commands, all at one moment: an array with the answer of
// each, errors too, or nil if a condition isn't met and nothing ran. Its bytes
// passed inspectBlock.
func (m *Machine) block(c *Command, dst []byte) []byte {
	for i := range c.Num {
		if t, _ := token(c.Args[2*i+1]); !m.st.holds(c.Args[2*i], t) {
			return appendNil(dst)
		}
	}
	commands := c.Args[2*c.Num:]
	dst = appendArray(dst, len(commands))
	start := len(dst)
	for _, b := range commands {
		inner := &m.nested
		switch err := inner.Decode(b); {
		case err != nil:
			dst = appendErrorf(dst, "ERR %v", err)
		case len(dst)-start > maxBlockReply:
			dst = appendErrorf(dst, "ERR '%v' did not run: the replies of the block before it exceed %d bytes", inner.Op, maxBlockReply)
		case inner.Op.ReadOnly():
			dst = m.read(inner, dst)
		default:
			dst = m.write(inner, dst)
		}
	}
	return dst
}
