package sim

import (
	"bytes"
	"fmt"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/statemachine"
)

// sitting is an open session as the observer keeps it.
type sitting struct {
	last uint64     // newest number that ran
	used raft.Index // last entry that used it
	at   raft.Time  // and its time
}

// session is an open session that was used in time, or nil.
func (t *truth) session(id int64, m moment) *sitting {
	s := t.open[id]
	if s != nil && s.at+raft.Time(t.limits.SessionIdle)*perMilli <= m.now {
		delete(t.open, id)
		return nil
	}
	return s
}

// seat opens a session. If there is no room, the one that was used longest ago goes.
func (t *truth) seat(m moment) {
	oldest, n := int64(0), int64(0)
	for id := range t.open {
		if s := t.session(id, m); s != nil {
			if n++; oldest == 0 || s.used < t.open[oldest].used {
				oldest = id
			}
		}
	}
	if n >= t.limits.Sessions {
		delete(t.open, oldest)
	}
	t.open[int64(m.index)] = &sitting{used: m.index, at: m.now}
}

// forgotten tells whether the result of a number that ran is kept no more: only
// so many of the newest are, and so many bytes of them.
func (t *truth) forgotten(k ticket, last uint64) bool {
	bytes := int64(0)
	for n := last; n >= k.seq; n-- {
		bytes += int64(len(t.ran[ticket{k.session, n}])) + keptOverhead
		if int64(last-n) >= t.limits.SessionResults || bytes > t.limits.SessionResultBytes {
			return true
		}
	}
	return false
}

// keptOverhead is what a kept result costs beside its bytes (docs/formats-statemachine.md).
const keptOverhead = 32

// runSession runs a command of a session and tells what is wrong with its result, "" if nothing is.
func (t *truth) runSession(m moment, c *statemachine.Command, result []byte) string {
	want := ""
	s := t.session(c.Num, m)
	switch {
	case c.Op == statemachine.OpSessionOpen:
		t.seat(m)
		return same(resInt(int64(m.index)), result)
	case s == nil:
		want = statemachine.PrefixSessionExpired
	case c.Op == statemachine.OpSessionClose:
		delete(t.open, c.Num)
		return same(resOK(), result)
	default:
		s.used, s.at = m.index, m.now
	}
	k := ticket{c.Num, c.Seq}
	switch {
	case want != "":
	case c.Op == statemachine.OpSessionKeep:
		return same(resOK(), result)
	case c.Seq > s.last+1:
		want = statemachine.PrefixSeqGap
	case c.Seq <= s.last && t.forgotten(k, s.last):
		want = statemachine.PrefixSeqOld
	case c.Seq <= s.last:
		if t.ran[k] != string(result) {
			return "a write of a session that comes again has another result"
		}
		return ""
	default:
		s.last++
		t.ran[k] = string(result)
		var inner statemachine.Command
		if err := inner.Decode(c.Args[0]); err != nil {
			return err.Error()
		}
		return t.model.judge(m, &inner, result)
	}
	got, err := statemachine.DecodeResult(result)
	if err != nil {
		return err.Error()
	}
	if got.Kind != statemachine.ResultError || !bytes.HasPrefix(got.Bytes, []byte(want)) {
		return fmt.Sprintf("%v answers %s, want %s", c.Op, show(got), want)
	}
	return ""
}

// same tells what differs between what a result is and what it must be.
func same(want statemachine.Result, result []byte) string {
	if string(statemachine.AppendResult(nil, want)) != string(result) {
		return fmt.Sprintf("it answers %q, want %s", result, show(want))
	}
	return ""
}
