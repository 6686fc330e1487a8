package node

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/raftkv/raftkv/raft"
)

// Replicas that were given the same entries must have the same state. Now and
// then the leader proposes an entry that changes nothing (Config.Verify); each
// node that applies it tells all others the hash of its state at exactly that
// entry, and each judges itself by what it hears:
//
//	agrees with a majority of all voters   nothing
//	a majority of all voters agrees        it stops: its state is wrong, and it
//	 on something else                      fetches another's at the next start
//	no majority agrees                     alarm only: nobody knows who is right
//
// A node that jumped over the entry with a snapshot tells nothing. Reports that
// get lost are not repeated: the next entry comes. Hashes of another level are
// made in another way and don't count.

// DivergedError means that the state of this node is not what a majority of the
// voters has at the same entry. It must not be used any more, nor the snapshots that
// were made of it; log and vote are good. Start again with raft.Durable.Refetch.
type DivergedError struct {
	Index         raft.Index // where the states were compared
	Own, Right    [16]byte   // hashes
	Agree, Voters int        // so many of so many have Right
}

func (e *DivergedError) Error() string {
	return fmt.Sprintf("the state of this node is wrong: at entry %d its hash is %x, and %x on %d of %d voters", e.Index, e.Own, e.Right, e.Agree, e.Voters)
}

// compare is what is known of the states at the last entries that were made to compare them.
type compare struct {
	points   []point // ascending
	last     raft.Index
	proposed raft.Index    // by this node, in its present leadership
	next     uint64        // tick before which none is proposed
	agreed   raft.Index    // highest one at which a majority agreed with this node
	differ   []raft.NodeID // ascending: whose state was another one when it was compared last
}

// maxPoints is for how many entries reports are kept: a node that applies late
// finds those of the others.
const maxPoints = 4

// point is one entry and what was heard of it.
type point struct {
	index   raft.Index
	reports []report // one a node, the own too
	at      uint64   // tick of the own report, 0: none yet
	judged  bool     // nothing more is to be found out
}

// of is what a node reported.
func (p *point) of(id raft.NodeID) (report, bool) {
	i := slices.IndexFunc(p.reports, func(o report) bool { return o.from == id })
	if i < 0 {
		return report{}, false
	}
	return p.reports[i], true
}

// agree counts the voters that reported the same as rep.
func (p *point) agree(rep report, voters []raft.NodeID) (n int) {
	for _, o := range p.reports {
		if o.level == rep.level && o.hash == rep.hash && slices.Contains(voters, o.from) {
			n++
		}
	}
	return n
}

// report is one node's state at one entry.
type report struct {
	from  raft.NodeID
	index raft.Index
	level uint32
	hash  [16]byte
}

// isVerify tells whether a committed command is one to compare at.
func (r *Replica) isVerify(e *raft.Entry) bool {
	return len(e.Data) == len(r.cfg.Verify) && len(e.Data) > 0 && e.Type == raft.EntryCommand && bytes.Equal(e.Data, r.cfg.Verify)
}

// proposeVerify proposes an entry to compare at, if it is time and anything was
// applied since the last one. It is called every lookTicks.
func (r *Replica) proposeVerify() {
	c := &r.compare
	if r.cfg.VerifyTicks == 0 || len(r.cfg.Verify) == 0 || !r.leads() || r.closing || r.tick < c.next || r.applied <= max(c.last, c.proposed) {
		return
	}
	id, err := r.core.Propose(r.cfg.Verify, r.clock.now)
	if err != nil {
		return // busy, or about to lead no more: later
	}
	c.proposed, c.next = id.Index, r.tick+uint64(r.cfg.VerifyTicks)
}

// onVerified tells the others the own state at an entry, and judges it.
func (r *Replica) onVerified(own report) {
	c := &r.compare
	own.from = r.cfg.Raft.ID
	c.last = max(c.last, own.index)
	c.next = r.tick + uint64(r.cfg.VerifyTicks)
	b := appendReport(appendPacket(nil, packetReport, r.cfg.Raft.Boot), own)
	for _, m := range r.core.Status().Committed.Members {
		if m.ID != own.from {
			r.serve.token++
			_, _ = r.d.SendPacket(m.ID, r.serve.token, b) // one that is out of reach hears of the next one
		}
	}
	r.noteReport(own)
}

// onReport takes another node's word for its state.
func (r *Replica) onReport(from raft.NodeID, d *packetReader) {
	for d.more() {
		rep := d.report()
		rep.from = from
		if d.err == nil {
			r.noteReport(rep)
		}
	}
}

func (r *Replica) noteReport(rep report) {
	c := &r.compare
	i, found := slices.BinarySearchFunc(c.points, rep.index, func(p point, i raft.Index) int { return int(int64(p.index) - int64(i)) })
	if !found {
		if i == 0 && len(c.points) == maxPoints {
			return // long ago
		}
		c.points = slices.Insert(c.points, i, point{index: rep.index})
		if len(c.points) > maxPoints {
			c.points = slices.Delete(c.points, 0, 1)
			i--
		}
	}
	p := &c.points[i]
	if slices.ContainsFunc(p.reports, func(o report) bool { return o.from == rep.from }) {
		return // its first word counts; a node that was restarted may say the same again
	}
	p.reports = append(p.reports, rep)
	if rep.from == r.cfg.Raft.ID {
		p.at = r.tick
	}
	r.judge(p, false)
}

// judge looks whether the own state at p is right, as far as that is known. final:
// whoever has not reported by now is not waited for.
func (r *Replica) judge(p *point, final bool) {
	own, ok := p.of(r.cfg.Raft.ID)
	if !ok || p.judged {
		return // not applied here yet
	}
	members := r.core.Status().Committed
	r.compare.differ = slices.DeleteFunc(r.compare.differ, func(id raft.NodeID) bool { _, is := members.Find(id); return !is })
	voters := members.Voters()
	need, missing, most := len(voters)/2+1, 0, 0
	var right [16]byte
	for _, v := range voters {
		rep, ok := p.of(v)
		if !ok || rep.level != own.level {
			missing++
			continue
		}
		if n := p.agree(rep, voters); n > most {
			most, right = n, rep.hash
		}
	}
	others := slices.DeleteFunc(slices.Clone(p.reports), func(o report) bool { return o.from == own.from || o.level != own.level })
	switch {
	case most >= need && own.hash != right:
		p.judged = true
		r.d.Fatal(&DivergedError{p.index, own.hash, right, most, len(voters)})
	case most >= need:
		r.compare.agreed = max(r.compare.agreed, p.index)
		for _, o := range others {
			r.tellDiffers(p, own, o, members, "the state of another node differs from that of the majority; it stops and fetches it anew")
		}
		p.judged = missing == 0 || final
	case most+missing < need || final:
		p.judged = true
		for _, o := range others {
			r.tellDiffers(p, own, o, members, "the states of two nodes differ and no majority agrees on one: which is right is not known; stop writing, and compare both with a backup")
		}
	}
	r.metrics.Differ.Store(int64(len(r.compare.differ)))
	r.statusOld = true
}

// tellDiffers notes whether the state of another node is like the own one, and
// sounds the alarm once if it is not.
func (r *Replica) tellDiffers(p *point, own, other report, members raft.Configuration, what string) {
	c := &r.compare
	i, known := slices.BinarySearch(c.differ, other.from)
	switch {
	case own.hash == other.hash && known:
		c.differ = slices.Delete(c.differ, i, i+1)
		r.log.Info("the state of another node is right again", "other", other.from.String(), "index", uint64(p.index))
	case own.hash != other.hash && !known:
		c.differ = slices.Insert(c.differ, i, other.from)
		r.metrics.Diverged.Add(1)
		m, _ := members.Find(other.from)
		r.log.Error(what, "other", other.from.String(), "name", m.Name, "index", uint64(p.index),
			"here", fmt.Sprintf("%x", own.hash), "there", fmt.Sprintf("%x", other.hash))
	}
}

// lookAtPoints ends the wait for those who did not report. It is called every lookTicks.
func (r *Replica) lookAtPoints() {
	for i := range r.compare.points {
		if p := &r.compare.points[i]; !p.judged && p.at > 0 && r.tick-p.at > reportTimeouts*uint64(r.cfg.Raft.ElectionTicks) {
			r.judge(p, true)
		}
	}
}

// reportTimeouts is how long reports are waited for, in election timeouts.
const reportTimeouts = 10

// appendReport appends one report: index level hash(16).
func appendReport(dst []byte, rep report) []byte {
	dst = binary.AppendUvarint(dst, uint64(rep.index))
	dst = binary.AppendUvarint(dst, uint64(rep.level))
	return append(dst, rep.hash[:]...)
}

func (d *packetReader) report() report {
	rep := report{index: raft.Index(d.uvarint())}
	level := d.uvarint()
	if d.err == nil && (level > 1<<32-1 || rep.index == 0 || rep.index >= 1<<62) {
		d.fault("index or level")
	}
	rep.level = uint32(level)
	if d.err == nil && len(d.b) < len(rep.hash) {
		d.fault("hash")
	}
	if d.err != nil {
		return report{}
	}
	d.b = d.b[copy(rep.hash[:], d.b):]
	return rep
}
