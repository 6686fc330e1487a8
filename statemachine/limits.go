package statemachine

import (
	"errors"
	"fmt"
)

// Limits are the cluster settings: whatever Apply consults. They are part of
// the state, so they must be the same on every node: give New the same ones
// everywhere (DefaultLimits in production) and change them with OpLimit only.
// Lowering one changes nothing that is stored already, except that sessions
// above Sessions go, the least recently used first.
type Limits struct {
	KeyBytes           int64 // longest key that can be written
	ValueBytes         int64 // longest value that can be written
	Sessions           int64 // most sessions; one more drops the least recently used
	SessionIdle        int64 // milliseconds of log time after which an unused session is gone
	SessionResults     int64 // most results that a session keeps
	SessionResultBytes int64 // bytes of results that a session keeps, with resultOverhead each
}

// Bounds of the format. Settings can't go above them, and a snapshot that does is refused.
const (
	maxKeyBytes   = 16 << 20
	maxValueBytes = 512 << 20 // Redis's own
	maxSessions   = 1 << 20
	maxKept       = 1 << 16 // results of one session
	maxKeptBytes  = 64 << 20
	maxIdleMillis = 10 * 365 * 24 * 3600 * 1000
)

// resultOverhead is what a kept result costs beside its bytes: its hash and its header.
const resultOverhead = 32

// Setting describes one cluster setting for people and tools.
type Setting struct {
	Name    string // of OpLimit
	Unit    string
	Default int64
	Min     int64
	Max     int64
	Why     string
}

// limitCount is the number of settings at this level.
const limitCount = 6

// limit is a setting and where its value is.
type limit struct {
	Setting
	at *int64
}

// table lists the settings in the order in which snapshots carry them. It is
// the one place that knows names, units, defaults and bounds.
func (l *Limits) table() [limitCount]limit {
	return [limitCount]limit{
		{Setting{"key-bytes", "bytes", 1 << 20, 1, maxKeyBytes,
			"a key is held in memory twice over during a scan page"}, &l.KeyBytes},
		{Setting{"value-bytes", "bytes", 8 << 20, 1, maxValueBytes,
			"one value is one entry: it must pass through log, wire and reply"}, &l.ValueBytes},
		{Setting{"sessions", "sessions", 10_000, 1, maxSessions,
			"with session-result-bytes it bounds the memory of all sessions: 640 MiB"}, &l.Sessions},
		{Setting{"session-idle", "milliseconds", 3_600_000, 1000, maxIdleMillis,
			"a client that was cut off for longer can't settle what became of its last write"}, &l.SessionIdle},
		{Setting{"session-results", "results", 1024, 1, maxKept,
			"at least the writes that one session has under way at once"}, &l.SessionResults},
		{Setting{"session-result-bytes", "bytes", 64 << 10, resultOverhead + 1, maxKeptBytes,
			"a result that is larger alone is forgotten at once: a repeat answers SEQOLD"}, &l.SessionResultBytes},
	}
}

// DefaultLimits are the settings of a new cluster.
func DefaultLimits() Limits {
	var l Limits
	for _, s := range l.table() {
		*s.at = s.Default
	}
	return l
}

// Validate reports every setting that is out of its bounds.
func (l Limits) Validate() error {
	var errs []error
	for _, s := range l.table() {
		if err := s.check(*s.at); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (s Setting) check(v int64) error {
	if v < s.Min || v > s.Max {
		return fmt.Errorf("setting %s: %d is not between %d and %d %s", s.Name, v, s.Min, s.Max, s.Unit)
	}
	return nil
}

// set changes one setting. It tells whether there is one of this name.
func (l *Limits) set(name []byte, v int64) (known bool, err error) {
	for _, s := range l.table() {
		if s.Name != string(name) {
			continue
		}
		if err := s.check(v); err != nil {
			return true, err
		}
		*s.at = v
		return true, nil
	}
	return false, nil
}
