package selftest

import (
	"strings"
	"sync"
	"time"

	"github.com/raftkv/raftkv/internal/linear"
)

// Recorder keeps what clients did and saw, with times, for the check of
// linearizability. Its methods may be called from several goroutines.
type Recorder struct {
	start time.Time

	mu      sync.Mutex
	ops     []linear.Op
	unknown int
}

// NewRecorder starts the clock.
func NewRecorder() *Recorder { return &Recorder{start: time.Now()} }

// action is the input of one operation.
type action struct {
	verb  string // get, set or append
	key   string
	value string
}

// seen is its output. With unknown nothing else counts.
type seen struct {
	unknown bool
	value   string // of get; empty if the key is missing
	length  int    // of append
}

// Now is the time since the start, in nanoseconds.
func (r *Recorder) Now() int64 { return int64(time.Since(r.start)) }

func (r *Recorder) add(client int, call int64, in action, out seen) {
	end := r.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if out.unknown {
		r.unknown++
	}
	r.ops = append(r.ops, linear.Op{
		Client: client, Verb: in.verb, Key: in.key, Value: in.value, Call: call, Return: end,
		Unknown: out.unknown, Seen: out.value, Length: out.length,
	})
}

// Len is the number of operations, and how many of them are unknown.
func (r *Recorder) Len() (ops, unknown int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.ops), r.unknown
}

// Check tells whether the history is linearizable. A checker that ran out of
// time is a failure as well: nothing was shown. picture, if not empty, is where
// a picture of a failure goes.
func (r *Recorder) Check(timeout time.Duration, picture string) error {
	r.mu.Lock()
	ops := r.ops
	r.mu.Unlock()
	return linear.Check(ops, timeout, picture)
}

// Tokens counts what appends left in a value of tokens like "<c1.5>".
func Tokens(value string) map[string]int {
	n := map[string]int{}
	for _, t := range strings.SplitAfter(value, ">") {
		if t != "" {
			n[t]++
		}
	}
	return n
}
