package statemachine

import (
	"math"

	"github.com/zeebo/xxh3"

	"github.com/raftkv/raftkv/raft"
)

// Prefixes of the errors that sessions answer; clients branch on them.
const (
	PrefixSessionExpired = "SESSIONEXPIRED" // no such session: this attempt did nothing
	PrefixSeqOld         = "SEQOLD"         // it ran once, and its result is forgotten
	PrefixSeqGap         = "SEQGAP"         // an earlier one is missing: nothing ran
	PrefixSeqReused      = "SEQREUSED"      // this number ran another request: nothing ran now
)

// session is one client's stream of writes, each run exactly once (raft paper
// 8, thesis 6.3).
//
//	1 ........ first ........ last | last+1
//	 forgotten |  results kept     | runs next
type session struct {
	id     uint64 // index of the entry that opened it
	last   uint64 // sequence number of the newest write that ran
	used   uint64 // index of the last entry that used it
	usedAt raft.Time
	kept   []kept // results of the newest writes, ending with last
	bytes  int64  // of kept, resultOverhead each included

	older, newer *session // the list by last use
}

// kept is what a repeated write is answered with.
type kept struct {
	request xxh3.Uint128
	result  string // an encoded Result
}

// first is the sequence number of kept[0].
func (s *session) first() uint64 { return s.last - uint64(len(s.kept)) + 1 }

// clone copies what later use changes.
func (s *session) clone() *session {
	c := *s
	c.kept = append([]kept(nil), s.kept...)
	c.older, c.newer = nil, nil
	return &c
}

// idleAt is when the session is gone if nobody uses it.
func (s *state) idleAt(e *session) raft.Time {
	idle := raft.Time(s.limits.SessionIdle) * millisecond
	if e.usedAt > math.MaxInt64-idle {
		return math.MaxInt64
	}
	return e.usedAt + idle
}

// session returns the session if it is open and not idle for too long.
func (s *state) session(id int64) *session {
	e, ok := s.sessions.Get(uint64(id))
	if !ok || s.idleAt(e) <= s.now {
		return nil
	}
	return e
}

// openSession opens one under the index of this entry. If there is no room, the
// least recently used one goes.
func (s *state) openSession() *session {
	if int64(s.sessions.Len()) >= s.limits.Sessions {
		s.removeSession(s.oldest)
	}
	e := &session{id: uint64(s.applied.Index), used: uint64(s.applied.Index), usedAt: s.now}
	s.sessions.Set(e.id, e)
	s.link(e)
	s.lasting.add(e.head())
	return e
}

// touch counts this entry as a use of the session.
func (s *state) touch(e *session) {
	s.view.keepSession(e)
	s.lasting.sub(e.head())
	e.used, e.usedAt = uint64(s.applied.Index), s.now
	s.lasting.add(e.head())
	s.unlink(e)
	s.link(e)
}

func (s *state) removeSession(e *session) {
	s.view.keepSession(e)
	s.lasting.sub(e.sum())
	s.sessions.Delete(e.id)
	s.unlink(e)
}

// sweepSessions removes at most limit sessions that are idle for too long or above the bound on their number.
func (s *state) sweepSessions(limit int) {
	for range limit {
		e := s.oldest
		if e == nil || s.idleAt(e) > s.now && int64(s.sessions.Len()) <= s.limits.Sessions {
			return
		}
		s.removeSession(e)
	}
}

// keep remembers the result of the write that just ran as last+1, and forgets
// the oldest ones that find no room. One too large alone is forgotten itself:
// the bound on memory holds, and SEQOLD says that it ran.
func (s *state) keep(e *session, request xxh3.Uint128, result []byte) {
	s.lasting.sub(e.head())
	e.last++
	s.lasting.add(e.head())
	e.kept = append(e.kept, kept{request, string(result)})
	e.bytes += int64(len(result)) + resultOverhead
	s.lasting.add(e.keptSum(len(e.kept) - 1))
	for int64(len(e.kept)) > s.limits.SessionResults || e.bytes > s.limits.SessionResultBytes {
		s.lasting.sub(e.keptSum(0))
		e.bytes -= int64(len(e.kept[0].result)) + resultOverhead
		e.kept[0] = kept{} // the array lives on for a while, the result need not
		e.kept = e.kept[1:]
	}
}

// link puts the session at the newest end of the list.
func (s *state) link(e *session) {
	e.older, e.newer = s.newest, nil
	if s.newest != nil {
		s.newest.newer = e
	} else {
		s.oldest = e
	}
	s.newest = e
}

func (s *state) unlink(e *session) {
	if e.older != nil {
		e.older.newer = e.newer
	} else {
		s.oldest = e.newer
	}
	if e.newer != nil {
		e.newer.older = e.older
	} else {
		s.newest = e.older
	}
	e.older, e.newer = nil, nil
}

func appendExpired(dst []byte, id int64) []byte {
	return appendErrorf(dst, "%s session %d is unknown or expired; this attempt did nothing", PrefixSessionExpired, uint64(id))
}

// once runs the inner command if its sequence number is the next one, and
// answers a repeated one with the result that was kept.
func (m *Machine) once(c, inner *Command, dst []byte) []byte {
	s := m.st
	e := s.session(c.Num)
	if e == nil {
		return appendExpired(dst, c.Num)
	}
	s.touch(e)
	request := xxh3.Hash128(c.Args[0])
	switch {
	case c.Seq == 0:
		return appendError(dst, "ERR sequence numbers start at 1")
	case c.Seq > e.last && c.Seq-e.last > 1:
		return appendErrorf(dst, "%s sequence number %d after %d; nothing ran", PrefixSeqGap, c.Seq, e.last)
	case c.Seq <= e.last && c.Seq < e.first():
		return appendErrorf(dst, "%s sequence number %d ran, its result is forgotten", PrefixSeqOld, c.Seq)
	case c.Seq <= e.last:
		k := &e.kept[c.Seq-e.first()]
		if k.request != request {
			return appendErrorf(dst, "%s sequence number %d ran another request", PrefixSeqReused, c.Seq)
		}
		return append(dst, k.result...)
	}
	start := len(dst)
	dst = m.write(inner, dst)
	s.keep(e, request, dst[start:])
	return dst
}

// sessionCommand runs what opens, keeps and closes sessions.
func (m *Machine) sessionCommand(c *Command, dst []byte) []byte {
	if c.Op == OpSessionOpen {
		return appendInt(dst, int64(m.st.openSession().id))
	}
	e := m.st.session(c.Num)
	if e == nil {
		return appendExpired(dst, c.Num)
	}
	if c.Op == OpSessionClose {
		m.st.removeSession(e)
	} else {
		m.st.touch(e)
	}
	return appendOK(dst)
}
