package sim

import (
	"bytes"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/statemachine"
)

// spy is the real state machine with somebody who looks on.
type spy struct {
	*statemachine.Machine
	h     *host
	entry raft.Entry // being applied: in a field, since the rules get a pointer to it
}

// Apply implements node.Machine.
func (s *spy) Apply(e raft.Entry, dst []byte) []byte {
	n := len(dst)
	dst = s.Machine.Apply(s.h.rot(e), dst)
	s.entry = e
	s.h.w.rules.applied(s.h, &s.entry, dst[n:])
	return dst
}

// rotPrefix begins keys that are written once and read by nobody.
const rotPrefix = "rot-"

// rot is an entry as this machine takes it: now and then memory is not what was
// written to it.
func (h *host) rot(e raft.Entry) raft.Entry {
	var c statemachine.Command
	if !h.drive.rotting || e.Type != raft.EntryCommand || c.Decode(e.Data) != nil || c.Op != statemachine.OpSet || !bytes.HasPrefix(c.Args[0], []byte(rotPrefix)) {
		return e
	}
	h.drive.rotting, h.drive.rotten, h.w.rotted = false, true, true
	h.w.count.Seen["rotten"]++
	h.w.say("%v stores %s wrongly, entry %v", h.id, c.Args[0], e.EntryID)
	c.Args[1] = append(bytes.Clone(c.Args[1]), '!')
	e.Data = statemachine.AppendCommand(nil, c)
	return e
}
