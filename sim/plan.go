package sim

import (
	"fmt"
	"slices"
	"time"

	"github.com/raftkv/raftkv/node"
	"github.com/raftkv/raftkv/server/feed"
	"github.com/raftkv/raftkv/statemachine"
)

// plan is what a seed draws once: which faults there are, and how bad. Each run
// has some of them only (a swarm): a fault that is always there hides others.
type plan struct {
	voters         int
	electionTicks  int
	heartbeatTicks int
	maxWrites      int
	tiny           bool // windows, messages and writes of a few entries
	lazy           int  // percent of inputs that are not followed by a turn of the loop at once
	lazyFor        time.Duration
	faultsFor      time.Duration

	delay          time.Duration // of a message, about
	loss, dup      int           // of cores' messages, per mille
	late           int           // per mille: by up to two seconds
	diskMin        time.Duration // of a write
	diskMax        time.Duration
	diskSpikes     int // per mille of writes that take up to two seconds
	ackDelay       time.Duration
	applyDelay     time.Duration
	drift          int // percent by which clocks may be off
	snapshotEvery  int // entries
	trailing       int
	fileFaults     int // per mille of saves and fetches that fail or crash the node
	corrupt        int // per mille of pieces of a fetch that are damaged on the way
	clients        int
	think          time.Duration
	pipeline       int
	valueBytes     int
	feed           feed.Config   // of each node
	watch          time.Duration // between two looks of a watcher
	fleeting       int           // percent of writes whose key expires soon
	either         int           // percent of connections whose reads draw their level, each its own
	exotic         int           // percent of requests that are more than GET, SET and APPEND
	flush          int           // per mille of those on mixed keys that remove all keys
	crowd          int           // clients that rush now and then; 0: none
	crowdRound     time.Duration // within which they come again
	verifyTicks    int           // between two comparisons of states; 0: none
	requestTicks   int
	sessionResults int64
	sessions       int64
	nemesis        time.Duration // pause between faults
	aimElected     int           // per mille: a fresh leader is crashed or cut off
	aimPromise     int           // per mille of writes with a new vote or term: a crash while it is in flight
	aimConfig      int           // per mille of fresh configurations: who has it is crashed or cut off
	lateBirth      bool
	special        string  // at most one of the faults that only others can mend
	faults         []fault // this run's
}

func (p plan) String() string {
	names := make([]string, 0, len(p.faults))
	for _, f := range p.faults {
		if !slices.Contains(names, f.name) {
			names = append(names, f.name)
		}
	}
	return fmt.Sprintf("%+v %v", struct {
		Voters, Election, Heartbeat, Writes int
		Tiny                                bool
		Lazy                                int
		For                                 time.Duration
		Delay                               time.Duration
		Loss, Dup, Late                     int
		Disk                                [2]time.Duration
		Snapshot, Trailing, Clients         int
		Special                             string
	}{p.voters, p.electionTicks, p.heartbeatTicks, p.maxWrites, p.tiny, p.lazy, p.faultsFor, p.delay, p.loss, p.dup, p.late,
		[2]time.Duration{p.diskMin, p.diskMax}, p.snapshotEvery, p.trailing, p.clients, p.special}, names)
}

const (
	micro = time.Microsecond
	milli = time.Millisecond
	tick  = 10 * milli
)

func pick[T any](w *world, of ...T) T { return of[w.rand.IntN(len(of))] }

func (w *world) draw() plan {
	p := plan{
		voters:         pick(w, 3, 3, 3, 4, 5, 5, 7),
		maxWrites:      1 + w.rand.IntN(3),
		tiny:           w.chance(2),
		faultsFor:      w.between(12*time.Second, 30*time.Second),
		delay:          pick(w, 100*micro, 1*milli, 5*milli, 40*milli),
		diskMin:        pick(w, 100*micro, 500*micro, 2*milli),
		diskMax:        pick(w, 1*milli, 10*milli, 60*milli, 400*milli),
		ackDelay:       pick(w, 0, 1*milli, 20*milli),
		applyDelay:     pick(w, 50*micro, 2*milli, 20*milli),
		snapshotEvery:  pick(w, 0, 20, 100, 500),
		trailing:       pick(w, 0, 5, 100),
		clients:        5 + w.rand.IntN(4),
		think:          pick(w, 2*milli, 20*milli, 60*milli),
		pipeline:       pick(w, 1, 3, 8),
		valueBytes:     pick(w, 0, 20, 300),
		feed:           feed.Config{Events: pick(w, 16, 256, 4096), Bytes: pick[int64](w, 5_000, 1<<20), Lag: pick(w, 0, 8)},
		watch:          pick(w, 5*milli, 50*milli, 500*milli),
		fleeting:       pick(w, 0, 0, 50),
		either:         pick(w, 0, 30, 100),
		exotic:         pick(w, 0, 15, 30, 60),
		flush:          pick(w, 0, 0, 5, 20),
		crowd:          pick(w, 0, 0, 0, 16, 24),
		crowdRound:     pick(w, 20*micro, 100*micro, 1*milli),
		verifyTicks:    pick(w, 0, 20, 100),
		requestTicks:   pick(w, 50, 200, 500),
		sessionResults: pick[int64](w, 4, 64, 1024),
		sessions:       pick[int64](w, 2, 10_000, 10_000),
		nemesis:        pick(w, 200*milli, 700*milli, 2*time.Second),
		lateBirth:      w.chance(4),
	}
	if w.opt.Nodes > 0 {
		p.voters = w.opt.Nodes
	}
	p.heartbeatTicks = 1 + w.rand.IntN(5)
	p.electionTicks = 3*p.heartbeatTicks + w.rand.IntN(40)
	sometimes := func(n, most int) int {
		if w.chance(n) {
			return 1 + w.rand.IntN(most)
		}
		return 0
	}
	p.lazy, p.lazyFor = sometimes(2, 80), pick(w, 200*micro, 3*milli)
	p.loss, p.dup, p.late = sometimes(2, 150), sometimes(2, 150), sometimes(3, 60)
	p.drift, p.diskSpikes = sometimes(2, 40), sometimes(3, 30)
	p.fileFaults, p.corrupt = sometimes(2, 300), sometimes(3, 100)
	p.aimElected, p.aimPromise, p.aimConfig = sometimes(3, 500), sometimes(3, 200), sometimes(2, 500)
	p.keepNamed(w.opt.Faults)
	// A disk that forgot takes its node out of all elections until it has caught
	// up: when members come and go besides, that could be for ever. So a run has one of these.
	p.special = pick(w, specials...)
	if p.special == "rot" || slices.Contains(w.opt.Faults, "rotting-state") {
		p.verifyTicks = max(p.verifyTicks, 20)
	}
	for _, f := range allFaults() {
		switch {
		case w.opt.Faults != nil:
			if slices.Contains(w.opt.Faults, f.name) {
				p.faults = append(p.faults, f)
			}
		case f.special != "":
			if f.special == p.special {
				p.faults = append(p.faults, f, f, f)
			}
		case w.rand.IntN(5) < 2 || f.aimed && w.chance(3):
			p.faults = append(p.faults, f)
			if f.aimed {
				p.faults = append(p.faults, f, f, f, f)
			}
		}
	}
	return p
}

// climate is the faults that come up by themselves, not one at a time: a name,
// how often they come, and how often at least when they are asked for by name.
func (p *plan) climate() []climate {
	return []climate{
		{"lost-message", &p.loss, 20}, {"repeated-message", &p.dup, 20}, {"late-message", &p.late, 10},
		{"clock-drift", &p.drift, 10}, {"disk-spike", &p.diskSpikes, 10},
		{"file-error", &p.fileFaults, 50}, {"corrupt-transfer", &p.corrupt, 20},
		{"elected", &p.aimElected, 100}, {"crash-unsaved-promise", &p.aimPromise, 50}, {"changing", &p.aimConfig, 100},
	}
}

type climate struct {
	name  string
	often *int
	least int
}

// has tells whether faults of a kind are injected in this run.
func (p *plan) has(name string) bool {
	return slices.ContainsFunc(p.faults, func(f fault) bool { return f.name == name })
}

// keepNamed switches off what is not named; nil names nothing and switches nothing off.
func (p *plan) keepNamed(names []string) {
	if names == nil {
		return
	}
	for _, c := range p.climate() {
		if !slices.Contains(names, c.name) {
			*c.often = 0
			continue
		}
		*c.often = max(*c.often, c.least)
	}
	p.lateBirth = p.lateBirth && slices.Contains(names, "late-birth")
}

// nodeConfig draws the limits of one run of one node; they may differ between nodes and starts.
func (h *host) nodeConfig() node.Config {
	w, p := h.w, &h.w.plan
	c := node.DefaultConfig()
	c.Name = fmt.Sprintf("n%d", h.id)
	c.Logger = w.log
	if h.log != nil {
		c.Logger = h.log
	}
	c.RequestTicks = p.requestTicks
	c.SnapshotEntries, c.SnapshotBytes = p.snapshotEvery, pick(w, 0, 0, 4000, 100_000)
	c.TrailingEntries, c.MaxTrailingEntries = p.trailing, max(p.trailing, pick(w, 50, 2000))
	c.SnapshotRetryTicks = 5 + w.rand.IntN(50)
	c.FetchTicks = 100 + w.rand.IntN(300)
	c.FreezeTicks = pick(w, 20, 2000)
	c.StepBytes = pick(w, 64, 4096)
	c.MaxJobs = 1 + w.rand.IntN(3)
	c.MaxForwards = pick(w, 1, 3, 1024)
	c.Frees, c.Check = statemachine.Frees, statemachine.Check
	c.Verify, c.VerifyTicks = statemachine.AppendCommand(nil, statemachine.Command{Op: statemachine.OpVerify}), p.verifyTicks
	c.Committed = h.onCommitted
	r := &c.Raft
	w.boots++ // they ascend
	r.ID, r.Boot, r.Seed = h.id, w.boots, w.rand.Uint64()
	r.ElectionTicks, r.HeartbeatTicks, r.StartTicks = p.electionTicks, p.heartbeatTicks, 2*p.heartbeatTicks
	r.MaxWrites = 1 + w.rand.IntN(p.maxWrites)
	if p.tiny {
		c.ApplyBytes = 1 + w.rand.IntN(2000)
		c.Inbox.Messages, c.Inbox.Packets = 4+w.rand.IntN(60), 1+w.rand.IntN(8)
		c.Inbox.Requests = 4 + w.rand.IntN(60)
		r.MaxAppendBytes = 1 + w.rand.IntN(500)
		r.MaxInflight = 1 + w.rand.IntN(4)
		r.MaxInflightBytes = 1 + w.rand.IntN(2000)
		r.MaxWriteBytes = 1 + w.rand.IntN(pick(w, 60, 800))
		r.MaxUncommittedBytes = 1000 + w.rand.IntN(8000)
		r.MaxRetainedBytes = 60_000 + w.rand.IntN(200_000)
	}
	if p.has("unsaved-bid") {
		r.MaxWriteBytes = min(r.MaxWriteBytes, 1+w.rand.IntN(200)) // else one write holds all that there is
	}
	h.writeBytes = r.MaxWriteBytes
	return c
}

// limits are the cluster settings of a run: the same on every node.
func (p *plan) limits() statemachine.Limits {
	l := statemachine.DefaultLimits()
	l.SessionResults, l.Sessions = p.sessionResults, p.sessions
	return l
}
