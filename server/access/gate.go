package access

import (
	"context"
	"sync"
	"time"
)

// Wrong passwords cost time. The first few of an address are free, because people
// mistype; then its tries are let in one by one with a pause between them, right
// ones too: whoever guesses must not learn from how fast the answer is.
const (
	freeTries  = 10                     // wrong ones of an address before the pauses begin
	tryPause   = 250 * time.Millisecond // between two tries of such an address: 4 guesses a second
	maxWait    = 5 * time.Second        // a try that would wait longer is refused unseen
	forgetTime = time.Minute            // an address without a wrong one for so long is forgotten
	maxHosts   = 10_000                 // addresses that are remembered
)

// gate slows down addresses that guess.
type gate struct {
	now   func() time.Time
	sleep func(ctx context.Context, d time.Duration) error

	mu    *sync.Mutex
	hosts map[string]*tries
}

// tries are the wrong passwords of one address.
type tries struct {
	wrong int
	last  time.Time // the newest wrong one
	next  time.Time // when the next try may be looked at
}

func newGate() gate {
	return gate{now: time.Now, sleep: sleep, mu: &sync.Mutex{}, hosts: make(map[string]*tries)}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// enter waits for the turn of one try.
func (g *gate) enter(ctx context.Context, host string) error {
	g.mu.Lock()
	t, now := g.hosts[host], g.now()
	if t == nil || t.wrong < freeTries || now.Sub(t.last) > forgetTime {
		g.mu.Unlock()
		return nil
	}
	at := now
	if t.next.After(now) {
		at = t.next
	}
	wait := at.Sub(now)
	if wait > maxWait {
		g.mu.Unlock()
		return ErrTooManyTries
	}
	t.next = at.Add(tryPause)
	g.mu.Unlock()
	if wait == 0 {
		return nil
	}
	return g.sleep(ctx, wait)
}

// failed counts a wrong password. It tells whether that is worth a line in the
// log: not each one of somebody who guesses.
func (g *gate) failed(host string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	t := g.hosts[host]
	if t == nil || now.Sub(t.last) > forgetTime {
		if t == nil && len(g.hosts) >= maxHosts {
			g.forget(now)
		}
		t = &tries{}
		g.hosts[host] = t
	}
	t.wrong++
	t.last = now
	return t.wrong&(t.wrong-1) == 0
}

// forget makes room: what is old goes, and if nothing is, everything does.
func (g *gate) forget(now time.Time) {
	for h, t := range g.hosts {
		if now.Sub(t.last) > forgetTime {
			delete(g.hosts, h)
		}
	}
	if len(g.hosts) >= maxHosts {
		clear(g.hosts)
	}
}
