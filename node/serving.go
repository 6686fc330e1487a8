package node

import (
	"encoding/binary"
	"errors"
	"slices"

	"github.com/raftkv/raftkv/raft"
)

// serving is the leader's side of forwarding: requests of other nodes' clients.
type serving struct {
	boots map[raft.NodeID][]bootSeen // looked up only, never walked
	open  int                        // commands that are not answered
	out   []outPacket                // answers of this batch
	token uint64
}

// bootSeen is the highest forward id that came from one boot of a peer. A
// forward that is not above it is a repeated or late one: it was answered
// already, or its sender was told "unknown".
type bootSeen struct {
	boot uint64
	last uint64
}

// maxBootsSeen is how many boots of a peer are remembered, so that a late
// forward of an earlier boot is not taken for a new one.
const maxBootsSeen = 8

// served is one forward of another node that is under way here.
type served struct {
	from    raft.NodeID
	boot    uint64
	id      uint64
	left    int
	replies []Reply
}

// askedRead is a read index that another node asked for.
type askedRead struct {
	from raft.NodeID
	boot uint64
	id   uint64
}

// outPacket gathers the answers to one boot of one node.
type outPacket struct {
	to   raft.NodeID
	kind packetKind
	boot uint64
	b    []byte
}

// maxAnswerBytes is where a packet of answers is closed.
const maxAnswerBytes = 1 << 20

func appendUvarint(b []byte, v uint64) []byte { return binary.AppendUvarint(b, v) }

func (s *serving) init() {
	s.boots = make(map[raft.NodeID][]bootSeen)
	s.token = 1 << 63 // apart from those of forwards: an unsent answer ends nothing
}

// fresh tells whether the id is above all that came from this boot, and notes it.
func (s *serving) fresh(from raft.NodeID, boot, id uint64) bool {
	seen := s.boots[from]
	for i := range seen {
		if seen[i].boot != boot {
			continue
		}
		if id <= seen[i].last {
			return false
		}
		seen[i].last = id
		return true
	}
	if len(seen) == maxBootsSeen {
		seen = slices.Delete(seen, 0, 1)
	}
	s.boots[from] = append(seen, bootSeen{boot: boot, last: id})
	return true
}

// packet returns the open packet of answers for one boot of one node.
func (s *serving) packet(to raft.NodeID, k packetKind, boot uint64) *outPacket {
	for i := range s.out {
		if p := &s.out[i]; p.to == to && p.kind == k && p.boot == boot && len(p.b) < maxAnswerBytes {
			return p
		}
	}
	s.out = append(s.out, outPacket{to: to, kind: k, boot: boot, b: appendPacket(nil, k, boot)})
	return &s.out[len(s.out)-1]
}

func (s *serving) answer(f *served) {
	p := s.packet(f.from, packetReplies, f.boot)
	p.b = appendForward(p.b, f.id, len(f.replies))
	for _, y := range f.replies {
		p.b = appendReply(p.b, y)
	}
}

func (s *serving) answerRead(a askedRead, index raft.Index, err error) {
	p := s.packet(a.from, packetReadTell, a.boot)
	p.b = appendReadTell(p.b, a.id, index, err)
}

func (s *serving) send(d Driver) {
	for i := range s.out {
		s.token++
		// One that finds no connection is lost: its asker hears of the connection too.
		_, _ = d.SendPacket(s.out[i].to, s.token, s.out[i].b)
	}
	clear(s.out)
	s.out = s.out[:0]
}

// refuseForward answers a forward of which nothing was proposed.
func (r *Replica) refuseForward(from raft.NodeID, boot, id uint64, n int, err error) {
	f := &served{from: from, boot: boot, id: id}
	for range n {
		f.replies = append(f.replies, Reply{Outcome: NotApplied, Err: err})
	}
	r.metrics.ServedRefused.Add(uint64(n))
	r.serve.answer(f)
}

// onForward proposes the commands of another node's clients.
func (r *Replica) onForward(ev Packet, boot uint64, d *packetReader) {
	term := raft.Term(d.uvarint())
	for d.more() {
		id, n := d.uvarint(), d.count(1)
		cmds := make([][]byte, 0, n)
		for range n {
			cmds = append(cmds, d.bytes())
		}
		if d.err != nil {
			return
		}
		if !r.serve.fresh(ev.From, boot, id) {
			r.metrics.ServedDropped.Add(uint64(n))
			continue
		}
		switch {
		case !r.leads() || r.soft.Term != term:
			// Another term: the sender believed in another leadership, and may have
			// had writes under way there.
			r.refuseForward(ev.From, boot, id, n, &raft.NotLeaderError{Leader: r.soft.Leader})
		case r.closing:
			r.refuseForward(ev.From, boot, id, n, ErrShutdown)
		case r.serve.open+n > r.cfg.MaxServed && r.serve.open > 0:
			r.refuseForward(ev.From, boot, id, n, ErrBusy)
		default:
			r.proposeForward(&served{from: ev.From, boot: boot, id: id, left: n, replies: make([]Reply, n)}, cmds)
		}
	}
}

// proposeForward proposes commands until one is refused: the rest then did
// nothing either, so that the order of their connection holds.
func (r *Replica) proposeForward(f *served, cmds [][]byte) {
	r.serve.open += len(cmds)
	deadline := r.tick + uint64(r.cfg.RequestTicks)
	for k, cmd := range cmds {
		var id raft.EntryID
		err := r.mayServe(cmd)
		if err == nil {
			id, err = r.core.Propose(cmd, r.clock.now)
		}
		if errors.Is(err, raft.ErrNoSpace) {
			err = ErrNoSpace
		}
		if err != nil {
			for ; k < len(cmds); k++ {
				r.servedOne(&op{served: f, k: k}, Reply{Outcome: NotApplied, Err: err})
			}
			return
		}
		r.tickets.add(id, op{served: f, k: k, deadline: deadline})
		r.metrics.Served.Add(1)
	}
}

// mayServe tells why another node's command can't be proposed here.
func (r *Replica) mayServe(cmd []byte) error {
	if r.cfg.Check != nil {
		if err := r.cfg.Check(cmd); err != nil {
			return err
		}
	}
	if r.tooNew(cmd) {
		return ErrLevel
	}
	if r.spared(cmd) {
		return ErrNoSpace
	}
	return nil
}

// servedOne notes the outcome of one command of a forward; the last one answers it.
func (r *Replica) servedOne(o *op, p Reply) {
	f := o.served
	f.replies[o.k] = p
	f.left--
	r.serve.open--
	if p.Outcome == NotApplied {
		r.metrics.ServedRefused.Add(1)
	}
	assert(f.left >= 0, "a forward was answered twice")
	if f.left == 0 {
		r.serve.answer(f)
	}
}

// onReadAsk lets another node's reads share the confirmation of this batch.
func (r *Replica) onReadAsk(ev Packet, boot uint64, d *packetReader) {
	for d.more() {
		a := askedRead{from: ev.From, boot: boot, id: d.uvarint()}
		if d.err != nil {
			return
		}
		g := r.openGroup()
		if g == nil {
			r.metrics.ServedRefused.Add(1)
			r.serve.answerRead(a, 0, &raft.NotLeaderError{Leader: r.soft.Leader})
			continue
		}
		g.asks = append(g.asks, a)
	}
}

// onOverflow refuses what found no room in the inbox.
func (r *Replica) onOverflow(f Refusal) {
	for i, id := range f.ids {
		if f.kind == packetReadAsk {
			r.serve.answerRead(askedRead{from: f.To, boot: f.boot, id: id}, 0, ErrBusy)
			continue
		}
		// It must not be taken for new, should it come again.
		if r.serve.fresh(f.To, f.boot, id) {
			r.refuseForward(f.To, f.boot, id, f.n[i], ErrBusy)
		}
	}
}
