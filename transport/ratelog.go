package transport

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// rateLog logs a kind of line at most once in logEvery and then says how often
// it was left out. Strangers make lines here, so the number of kinds is bounded.
type rateLog struct {
	log *slog.Logger

	mu    sync.Mutex
	kinds map[string]*logKind
}

type logKind struct {
	last time.Time
	left int
}

const (
	logEvery    = 10 * time.Second
	maxLogKinds = 512
)

func newRateLog(l *slog.Logger) *rateLog {
	return &rateLog{log: l, kinds: make(map[string]*logKind)}
}

// warn is for what somebody should look at.
func (r *rateLog) warn(kind, msg string, args ...any) { r.write(slog.LevelWarn, kind, msg, args) }

// info is for what explains other lines.
func (r *rateLog) info(kind, msg string, args ...any) { r.write(slog.LevelInfo, kind, msg, args) }

func (r *rateLog) write(level slog.Level, kind, msg string, args []any) {
	now := time.Now()
	r.mu.Lock()
	if len(r.kinds) >= maxLogKinds {
		for name, k := range r.kinds {
			if now.Sub(k.last) >= logEvery {
				delete(r.kinds, name)
			}
		}
		if r.kinds[kind] == nil && len(r.kinds) >= maxLogKinds {
			kind = "" // too many strangers: they share one line
		}
	}
	k := r.kinds[kind]
	if k == nil {
		k = &logKind{last: now.Add(-logEvery)}
		r.kinds[kind] = k
	}
	if now.Sub(k.last) < logEvery {
		k.left++
		r.mu.Unlock()
		return
	}
	left := k.left
	k.last, k.left = now, 0
	r.mu.Unlock()
	if left > 0 {
		args = append(args, "left_out", left)
	}
	r.log.Log(context.Background(), level, msg, args...)
}
