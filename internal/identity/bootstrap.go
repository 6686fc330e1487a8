package identity

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
)

// Exchanger sends a request to a peer address and returns the reply. It must end with ctx.
type Exchanger func(ctx context.Context, addr string, body []byte) ([]byte, error)

// Pauses between two rounds of asking, and how long one node may take to answer.
// The pause grows while nothing changes: waiting for an operator may take days.
const (
	pauseMin   = 100 * time.Millisecond
	pauseMax   = time.Second
	askTimeout = 2 * time.Second
)

// Bootstrap returns once this node has a Birth on its disk: it had one, founded,
// got it from another node, or was added. Answer must be served meanwhile.
// progress is called, on this goroutine, whenever what the node waits for changes.
//
// Errors: ErrRefused (the sentence says what differs and what to do), ctx's, and
// those of the disk, after which the process must end.
func (id *Identity) Bootstrap(ctx context.Context, exchange Exchanger, progress func(state string)) error {
	last, doubts := "", 0
	for pause := pauseMin; ; pause = min(pause*3/2, pauseMax) {
		if done, err := id.finished(); done {
			return err
		}
		v, err := id.round(ctx, exchange)
		if err != nil {
			return fmt.Errorf("bootstrap: %w", err)
		}
		if v.birth != nil {
			err := id.StoreBirth(v.birth, v.joined)
			if err != nil && id.Birth() != nil && errors.Is(err, ErrRefused) {
				continue // adopted meanwhile by the cluster that was met
			}
			if err != nil {
				return fmt.Errorf("bootstrap: %w", err)
			}
			return nil
		}
		if doubts++; v.doubt == nil {
			doubts = 0
		}
		if doubts >= doubtRounds {
			return fmt.Errorf("bootstrap: %w", v.doubt)
		}
		if v.wait != last {
			last, pause = v.wait, pauseMin
			progress(last)
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("bootstrap: %s: %w", last, ctx.Err())
		case <-id.born:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// finished tells whether the node has a Birth, or never will because its disk failed under Answer.
func (id *Identity) finished() (bool, error) {
	id.mu.Lock()
	defer id.mu.Unlock()
	return id.rec.Birth != nil || id.failed != nil, id.failed
}

// round asks all others once and decides.
func (id *Identity) round(ctx context.Context, exchange Exchanger) (verdict, error) {
	rec, others := id.Record(), id.cfg.others()
	answers := make([]answer, len(others))
	var wg sync.WaitGroup
	for i, p := range others {
		// Owns answers[i]; ends with its exchange, at the latest by askTimeout; awaited below.
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, askTimeout)
			defer cancel()
			r, err := ask(ctx, exchange, rec, p.Peer)
			answers[i] = answer{at: p, reply: r, err: err}
		})
	}
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return verdict{}, err
	}
	id.note(answers)
	cluster, err := uuid.NewRandom()
	if err != nil {
		return verdict{}, fmt.Errorf("draw a cluster identity: %w", err)
	}
	v := decide(id.cfg, rec, answers, cluster)
	return v, v.err
}

// note keeps what this node tells others about whom it met.
func (id *Identity) note(answers []answer) {
	id.mu.Lock()
	defer id.mu.Unlock()
	for _, a := range answers {
		if !id.cfg.Join && a.at.Name == id.cfg.Voters[0].Name {
			id.first = a.Node // zero after an error
		}
		if a.err == nil && a.Birth != nil {
			id.seen = a.Birth.Cluster
		}
	}
}
