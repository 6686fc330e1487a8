package node

import (
	"errors"

	"github.com/raftkv/raftkv/raft"
)

// level is what is known of the level of commands and meanings in force.
type level struct {
	inForce  uint32     // at applied; 0 until the first job came back
	proposed raft.Index // newest entry of this leadership that raises it
}

// ErrLevel means that a command is newer than the level in force: nothing was done.
var ErrLevel = errors.New("the command is newer than the level of the cluster; upgrade all nodes")

func (r *Replica) noteLevel(n uint32) {
	if was := r.level.inForce; was != n {
		r.level.inForce = n
		r.statusOld = true
		if was != 0 {
			r.log.Info("the level of commands was raised", "from", was, "to", n)
		}
	}
}

// proposeLevel raises the level once the binary of every member knows more. It is
// called every lookTicks.
func (r *Replica) proposeLevel() {
	if r.cfg.Level == nil || !r.leads() || r.closing || r.level.inForce == 0 || r.cfg.MaxLevel <= r.level.inForce || r.level.proposed > r.applied {
		return
	}
	next := r.cfg.MaxLevel
	for _, m := range r.core.Status().Config.Members {
		if m.ID != r.cfg.Raft.ID {
			next = min(next, r.cfg.PeerLevel(m.ID))
		}
	}
	if next <= r.level.inForce {
		return
	}
	id, err := r.core.Propose(r.cfg.Level(next), r.clock.now)
	if err != nil {
		return // busy: later
	}
	r.level.proposed = id.Index
	r.log.Info("every member knows a newer level of commands; proposing it", "level", next)
}

// tooNew tells whether a command needs a level that is not in force yet.
func (r *Replica) tooNew(cmd []byte) bool {
	return r.level.inForce < r.cfg.MaxLevel && r.cfg.Needs != nil && r.cfg.Needs(cmd) > max(r.level.inForce, 1)
}
