package statemachine

import "github.com/raftkv/raftkv/raft"

// Levels let binaries of different versions run beside each other. What a command
// means is decided by the log, not by the binary that applies it:
//
//	a new operation, flag or meaning belongs to a new level, and does nothing below it
//	the leader proposes OpLevel once the binary of every member knows the level
//	from that entry on it holds, on every node, for ever; snapshots carry it
//	a binary that does not know it stops there, and does not start behind it
//
// Code that means something else from a level on asks state.level.

// sinceLevel is the level that an operation needs.
func sinceLevel(Op) uint32 { return 1 }

// Needs is the level that a command needs. Below it the command must not enter the
// log: binaries that don't know it would stop. Bytes that are no command need none.
func Needs(b []byte) uint32 { return needs(b, sinceLevel) }

func needs(b []byte, since func(Op) uint32) uint32 {
	var outer, inner, nested Command
	if inspect(b, &outer, &inner, &nested) != nil {
		return 0
	}
	c := &outer
	need := since(c.Op)
	if c.Op == OpOnce {
		c = &inner
		need = max(need, since(c.Op))
	}
	if c.Op == OpBlock {
		for _, b := range c.Args[min(max(2*c.Num, 0), int64(len(c.Args))):] {
			if len(b) > 0 {
				need = max(need, since(Op(b[0])))
			}
		}
	}
	return need
}

// LevelCommand appends the command that raises the level to n.
func LevelCommand(dst []byte, n uint32) []byte {
	return AppendCommand(dst, Command{Op: OpLevel, Num: int64(n)})
}

// LevelOf is the level that an entry raises to, 0 if it does nothing of the kind.
func LevelOf(e raft.Entry) uint32 {
	var c Command
	if e.Type != raft.EntryCommand || len(e.Data) == 0 || Op(e.Data[0]) != OpLevel || c.Decode(e.Data) != nil || c.Num < 0 || c.Num > 1<<31 {
		return 0
	}
	return uint32(c.Num)
}

// raise is OpLevel. The level never falls.
func (m *Machine) raise(c *Command, dst []byte) []byte {
	if c.Num < 1 {
		return appendErrorf(dst, "ERR level %d is none", c.Num)
	}
	m.st.level = max(m.st.level, uint32(c.Num))
	return appendOK(dst)
}
