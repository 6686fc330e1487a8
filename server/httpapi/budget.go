package httpapi

import "sync/atomic"

// budget bounds what is under way at once. Nobody waits for it.
type budget struct {
	max  int64
	used atomic.Int64
}

func newBudget(max int64) *budget { return &budget{max: max} }

// take takes n if there is room. One thing larger than everything is let in alone.
func (b *budget) take(n int64) bool {
	if now := b.used.Add(n); now > b.max && now != n {
		b.used.Add(-n)
		return false
	}
	return true
}

func (b *budget) give(n int64) { b.used.Add(-n) }
