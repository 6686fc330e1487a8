package sim

import (
	"context"
	"errors"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/server/feed"
)

// watcher follows the feed of changes of some node, and goes on at another one
// where it was when that node is gone.
type watcher struct {
	w     *world
	n     int
	h     *host // nil: at none
	run   int   // of the host's process
	sub   *feed.Subscription
	after feed.Place // it has seen everything up to here, or was told that it can't
}

// noWait is a context that has ended: whoever reads with it takes what is there.
var noWait = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

func (w *world) newWatcher(n int) {
	x := &watcher{w: w, n: n, after: feed.End(0)}
	w.watchers = append(w.watchers, x)
	w.after(w.upTo(w.plan.watch), x.act)
}

// act reads what there is and comes back.
func (x *watcher) act() {
	w := x.w
	w.after(w.upTo(2*w.plan.watch)+milli, x.act)
	if x.h != nil && (x.h.run != x.run || !x.h.up) {
		x.h, x.sub = nil, nil
	}
	switch {
	case x.h == nil:
		x.join()
	case !w.calm && w.chance(100), !x.good(x.h):
		x.leave()
	default:
		x.read()
	}
}

// good tells whether what a host tells is to be believed.
func (x *watcher) good(h *host) bool { return x.w.settledAt(h) && !h.drive.rotten }

func (x *watcher) leave() {
	x.sub.Close()
	x.h, x.sub = nil, nil
}

// join subscribes at some node, behind what was seen.
func (x *watcher) join() {
	h := x.w.some(x.good)
	if h == nil {
		return
	}
	sub, err := h.feed.Subscribe(feed.Options{After: x.after})
	if x.gap(err) {
		return // from where that node has everything, the next time
	}
	if err != nil {
		x.w.rules.broken(feedRule, "watcher %d can't subscribe at node %v: %v", x.n, h.id, err)
	}
	x.h, x.run, x.sub = h, h.run, sub
}

// gap takes the word of a node that it lacks changes, and where it has all again.
func (x *watcher) gap(err error) bool {
	lost, ok := errors.AsType[*feed.CompactedError](err)
	if !ok {
		return false
	}
	x.w.count.Answers["feed gap"]++
	if to := feed.End(lost.Oldest - 1); x.after.Before(to) {
		x.after = to
	}
	return true
}

func (x *watcher) read() {
	events, err := x.sub.Next(noWait, nil)
	for _, e := range events {
		x.w.rules.watched(x, e)
		x.after = e.At
		x.w.count.Answers["feed event"]++
	}
	if err == nil || errors.Is(err, context.Canceled) {
		return
	}
	if slow, ok := errors.AsType[*feed.SlowError](err); ok {
		x.w.count.Answers["feed cut off"]++
		if slow.After != x.after {
			x.w.rules.broken(feedRule, "watcher %d has seen %v and is to go on after %v", x.n, x.after, slow.After)
		}
	} else if !x.gap(err) {
		x.w.rules.broken(feedRule, "watcher %d at node %v: %v", x.n, x.h.id, err)
	}
	x.leave()
}

// behind tells whether there are changes that it has neither seen nor was told to have missed.
func (x *watcher) behind() bool {
	_, ok := x.w.truth.nextChange(x.after)
	return ok
}

// nextChange is the place of the first change behind a place.
func (t *truth) nextChange(after feed.Place) (feed.Place, bool) {
	i := max(after.Index, 1)
	if f := t.at(i); f != nil && i == after.Index && int64(after.Part)+1 < int64(len(f.changes)) {
		return feed.Place{Index: i, Part: after.Part + 1}, true
	}
	if i == after.Index {
		i++
	}
	for ; int(i) <= len(t.log) && t.at(i).applied; i++ {
		if len(t.at(i).changes) > 0 {
			return feed.Place{Index: i}, true
		}
	}
	return feed.Place{}, false
}

// observed takes what a machine tells of an entry, or of a snapshot.
func (h *host) observed(i raft.Index, sum uint64) {
	if h.changedAt != i {
		h.changedAt, h.changes = i, h.changes[:0]
	}
	h.changes = append(h.changes, sum)
}
