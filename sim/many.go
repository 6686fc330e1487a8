package sim

import (
	"fmt"
	"maps"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"
)

// Failure is a seed in which a rule was broken.
type Failure struct {
	Opt Options
	Err error
}

// Error tells what is wrong and how to see it again.
func (f *Failure) Error() string {
	return fmt.Sprintf("seed %d: %v\nreplay: %s", f.Opt.Seed, f.Err, f.Replay())
}

// Replay is the command that plays the same run again.
func (f *Failure) Replay() string {
	s := fmt.Sprintf("raftkv sim --seed %d", f.Opt.Seed)
	if f.Opt.Nodes > 0 {
		s += fmt.Sprintf(" --nodes %d", f.Opt.Nodes)
	}
	if f.Opt.Steps > 0 {
		s += fmt.Sprintf(" --steps %d", f.Opt.Steps)
	}
	if f.Opt.Faults != nil {
		s += " --faults " + strings.Join(f.Opt.Faults, ",")
	}
	return s + " --trace"
}

// PictureIn is where the picture of one seed's history goes in a directory.
func PictureIn(dir string, seed uint64) string {
	return filepath.Join(dir, fmt.Sprintf("raftkv-sim-%d.html", seed))
}

// gcPercent is GOGC while many seeds are played.
const gcPercent = 400

// RunMany plays n seeds from first on, in so many goroutines, each a run of its
// own. opt.Picture is a directory here. After three failures no more are begun. told, if not nil, is called
// after each run, by one goroutine at a time.
func RunMany(first, n uint64, lanes int, opt Options, told func(done uint64, sum *Counts)) (Counts, []*Failure) {
	var (
		mu       sync.Mutex
		all      sync.WaitGroup
		sum      Counts
		failures []*Failure
		next     = first
	)
	pictures := opt.Picture
	// What a run keeps is a few megabytes: the collector would begin anew every few
	// milliseconds.
	defer debug.SetGCPercent(debug.SetGCPercent(gcPercent))
	for range lanes {
		// Plays seeds until none is left. Owns its runs; RunMany waits for it.
		all.Go(func() {
			for {
				mu.Lock()
				o := opt
				o.Seed = next
				more := next < first+n && len(failures) < 3
				next++
				mu.Unlock()
				if !more {
					return
				}
				if pictures != "" {
					o.Picture = PictureIn(pictures, o.Seed)
				}
				res := Run(o)
				mu.Lock()
				sum.Add(res.Count)
				if res.Err != nil {
					failures = append(failures, &Failure{o, res.Err})
				}
				if told != nil {
					told(uint64(sum.Seeds), &sum)
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	slices.SortFunc(failures, func(a, b *Failure) int { return int(int64(a.Opt.Seed) - int64(b.Opt.Seed)) })
	return sum, failures
}

// Report tells the figures of many runs.
func (c *Counts) Report(took time.Duration) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d seeds, %.0f simulated seconds in %.1f s (%.0f x), %d events, %d commits, %d writes acknowledged, %d unknown, %d refused,\n",
		c.Seeds, c.Simulated.Seconds(), took.Seconds(), c.Simulated.Seconds()/took.Seconds(), c.Events, c.Committed, c.Writes, c.Unknown, c.Refused)
	fmt.Fprintf(&b, "%d linearizable reads and %d of a node's own state checked, %d operations through porcupine, %d terms, %d faults, commands kept back %d times, %d times for clients to come again,\n",
		c.Reads, c.Stale, c.History, c.Terms, c.Injected(), c.Held, c.Awaited)
	hours := max(c.Simulated.Hours(), 1e-9)
	fmt.Fprintf(&b, "%.2f cluster-hours that count (at least 100,000 acknowledged writes and 60 faults each; these have %.0f and %.0f an hour)\nfaults:",
		c.Hours(), float64(c.Writes)/hours, float64(c.Injected())/hours)
	for _, k := range slices.Sorted(maps.Keys(c.Faults)) {
		fmt.Fprintf(&b, " %s=%d", k, c.Faults[k])
	}
	b.WriteString("\nof them came:")
	for _, k := range slices.Sorted(maps.Keys(c.Seen)) {
		fmt.Fprintf(&b, " %s=%d", k, c.Seen[k])
	}
	b.WriteString("\nchecks:")
	for _, k := range slices.Sorted(maps.Keys(c.Checks)) {
		fmt.Fprintf(&b, " %s=%d,", k, c.Checks[k])
	}
	b.WriteString("\nanswers:")
	for _, k := range slices.Sorted(maps.Keys(c.Answers)) {
		fmt.Fprintf(&b, " %s=%d,", k, c.Answers[k])
	}
	return b.String()
}
