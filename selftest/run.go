package selftest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"time"
)

// Run is one whole self test: a cluster of its own that is tormented for a
// while, and judged. It needs no root.
type Run struct {
	Options // Dir must be empty or missing
	// Duration is how long faults begin. Each that began is ended and judged, so
	// that the whole takes some seconds more.
	Duration time.Duration
	Seed     uint64            // of the faults and of what clients do; timing is real, so no run is repeated exactly
	Only     func(string) bool // which faults happen, by name; nil: all that suit the cluster
	Progress func(Progress)    // is told what happens, from one goroutine; may be nil
	Break    func(*Workload)   // lets clients do something wrong, to see that it is found; may be nil
}

// Limits of a run.
const (
	// roundTime is after which time what clients saw is judged, and new clients
	// begin on new keys: faults are found early, and memory stays bounded however
	// long a run takes.
	roundTime = 20 * time.Second
	// within is how long the cluster may take for anything. It says only that
	// something will never come: a busy machine makes no failure of it.
	within = 90 * time.Second
)

// Progress is where a run is.
type Progress struct {
	Elapsed, Duration time.Duration
	Acked             int // good answers so far
	Faults            int // so far
	Doing             string
}

// Verdict is what a run found.
type Verdict struct {
	Result
	Rounds  int
	Faults  map[string]int // by name
	Events  map[string]int // kill -9, SIGSTOP and so on, by name
	Term    uint64         // the newest that had a leader
	Looks   int            // how often the rules were held against something
	Picture string         // of the history that is wrong, if there is one
}

// Do starts the cluster, torments it and judges. The error says everything that
// was wrong; a run in which nothing happened is wrong as well. The processes are
// gone afterwards, their files are not.
func (r Run) Do(ctx context.Context) (v Verdict, err error) {
	v.Faults, v.Events = map[string]int{}, map[string]int{}
	var kinds []fault
	for _, f := range faults() {
		if r.Voters >= f.nodes && (r.Only == nil || r.Only(f.name)) {
			kinds = append(kinds, f)
		}
	}
	if len(kinds) == 0 {
		return v, fmt.Errorf("no fault suits %d nodes", r.Voters)
	}
	r.tell(Progress{Doing: "starting the cluster"})
	c, err := New(r.Options)
	if err != nil {
		return v, err
	}
	defer c.Close()
	t := &torment{c: c, rand: rand.New(rand.NewPCG(r.Seed, 0)), count: v.Events}
	if err := t.start(ctx); err != nil {
		return v, err
	}
	defer t.links.Close()
	defer t.fronts.Close()
	rules := NewRules()
	unwatch := c.Watch(ctx, rules)
	began := time.Now()
	bag := bag{all: kinds, rand: t.rand}
	for err == nil && time.Since(began) < r.Duration {
		v.Rounds++
		err = r.round(ctx, t, &bag, &v, began)
		err = errors.Join(err, c.CheckLogs(rules), rules.Err(), c.Deaths())
	}
	unwatch()
	v.Term, v.Looks = rules.Terms(), rules.Looks()
	switch {
	case err != nil:
	case len(v.Faults) == 0:
		err = errors.New("no fault happened: nothing was tested")
	case v.Looks == 0:
		err = errors.New("no node was looked at: nothing was tested")
	}
	return v, err
}

// start starts the cluster, and again with proxies between its nodes.
func (t *torment) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	whole := func() error {
		if err := t.c.Start(); err != nil {
			return err
		}
		return t.c.Ready(ctx)
	}
	if err := whole(); err != nil {
		return err
	}
	t.c.Close()
	var err error
	if t.links, err = NewLinks(t.c); err != nil {
		return err
	}
	if t.fronts, err = NewFronts(t.c); err != nil {
		t.links.Close()
		return err
	}
	if err := whole(); err != nil {
		t.fronts.Close()
		t.links.Close()
		return err
	}
	return nil
}

// round lets clients loose, faults happen for a while, and judges.
func (r Run) round(ctx context.Context, t *torment, bag *bag, v *Verdict, began time.Time) error {
	before := v.Operations
	t.w = &Workload{
		Endpoints: t.fronts.Endpoints(), Prefix: fmt.Sprintf("r%d-", v.Rounds),
		Clients: 6, Keys: 8, Seed: r.Seed + uint64(v.Rounds), Fresh: 2 * time.Second, Pause: 5 * time.Millisecond,
	}
	if r.Break != nil {
		r.Break(t.w)
	}
	t.w.Start(ctx)
	now := func(doing string) {
		faults := 0
		for _, n := range v.Faults {
			faults += n
		}
		r.tell(Progress{Elapsed: time.Since(began), Duration: r.Duration, Acked: before + t.w.Acked(), Faults: faults, Doing: doing})
	}
	end := time.Now().Add(roundTime)
	var err error
	for err == nil && time.Now().Before(end) && time.Since(began) < r.Duration {
		f := bag.next()
		now(f.name)
		err = t.happen(ctx, f)
		v.Faults[f.name]++
	}
	now("judging what clients saw")
	picture := filepath.Join(r.Dir, "history.html")
	res, wrong := t.w.Stop(picture)
	v.Result.add(res)
	if wrong != nil {
		v.Picture = picture
	}
	if err = errors.Join(err, wrong); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	return t.c.SameState(ctx)
}

// happen lets one fault happen, and waits until the cluster is whole again.
func (t *torment) happen(ctx context.Context, f fault) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	err := t.goesOn(ctx)
	if err == nil {
		err = f.do(ctx, t)
	}
	if err == nil {
		err = t.c.Ready(ctx)
	}
	if err == nil {
		err = t.goesOn(ctx)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", f.name, err)
	}
	return nil
}

func (r Run) tell(p Progress) {
	if r.Progress != nil {
		r.Progress(p)
	}
}

// bag hands out each kind of fault once, in any order, before one comes again.
type bag struct {
	all  []fault
	left []fault
	rand *rand.Rand
}

func (b *bag) next() fault {
	if len(b.left) == 0 {
		b.left = append(b.left, b.all...)
		b.rand.Shuffle(len(b.left), func(i, j int) { b.left[i], b.left[j] = b.left[j], b.left[i] })
	}
	f := b.left[0]
	b.left = b.left[1:]
	return f
}
