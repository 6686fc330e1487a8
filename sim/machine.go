package sim

import (
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/statemachine"
)

// spy is the real state machine with somebody who looks on.
type spy struct {
	*statemachine.Machine
	h *host
}

// Apply implements node.Machine.
func (s *spy) Apply(e raft.Entry, dst []byte) []byte {
	n := len(dst)
	dst = s.Machine.Apply(e, dst)
	s.h.w.rules.applied(s.h, &e, dst[n:])
	return dst
}
