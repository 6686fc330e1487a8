package selftest

import (
	"fmt"
	"math"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

// Recorder keeps what clients did and saw, with times, for the check of
// linearizability. Its methods may be called from several goroutines.
type Recorder struct {
	start time.Time

	mu      sync.Mutex
	ops     []porcupine.Operation
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
	if out.unknown {
		// It may take effect at any later time, or never: never is the same as
		// after the last look at the key.
		end = math.MaxInt64
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if out.unknown {
		r.unknown++
	}
	r.ops = append(r.ops, porcupine.Operation{ClientId: client, Input: in, Call: call, Output: out, Return: end})
}

// Len is the number of operations, and how many of them are unknown.
func (r *Recorder) Len() (ops, unknown int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.ops), r.unknown
}

// model is a store of strings, one key at a time.
func model() porcupine.Model {
	return porcupine.Model{
		Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
			at := map[string]int{}
			var parts [][]porcupine.Operation
			for _, o := range history {
				key := o.Input.(action).key
				i, ok := at[key]
				if !ok {
					i = len(parts)
					at[key] = i
					parts = append(parts, nil)
				}
				parts[i] = append(parts[i], o)
			}
			return parts
		},
		Init: func() any { return "" },
		Step: func(state, input, output any) (bool, any) {
			s, in, out := state.(string), input.(action), output.(seen)
			switch in.verb {
			case "set":
				return true, in.value
			case "append":
				return out.unknown || out.length == len(s)+len(in.value), s + in.value
			default:
				return out.unknown || out.value == s, s
			}
		},
		DescribeOperation: func(input, output any) string {
			in, out := input.(action), output.(seen)
			switch {
			case out.unknown:
				return fmt.Sprintf("%s %s %s -> unknown", in.verb, in.key, in.value)
			case in.verb == "get":
				return fmt.Sprintf("get %s -> %q", in.key, out.value)
			case in.verb == "append":
				return fmt.Sprintf("append %s %s -> %d", in.key, in.value, out.length)
			}
			return fmt.Sprintf("set %s %s", in.key, in.value)
		},
		DescribeState: func(state any) string { return state.(string) },
	}
}

// Check tells whether the history is linearizable. A checker that ran out of
// time is a failure as well: nothing was shown. picture, if not empty, is where
// a picture of a failure goes.
func (r *Recorder) Check(timeout time.Duration, picture string) error {
	r.mu.Lock()
	ops := r.ops
	r.mu.Unlock()
	if len(ops) == 0 {
		return fmt.Errorf("no operation was recorded")
	}
	m := model()
	verdict, info := porcupine.CheckOperationsVerbose(m, ops, timeout)
	if verdict == porcupine.Ok {
		return nil
	}
	where := ""
	if f, err := os.Create(picture); picture != "" && err == nil {
		defer f.Close()
		if err := porcupine.Visualize(m, info, f); err == nil {
			where = "; see " + picture
		}
	}
	if verdict == porcupine.Unknown {
		return fmt.Errorf("%d operations could not be checked within %v%s", len(ops), timeout, where)
	}
	return fmt.Errorf("%d operations: not linearizable%s", len(ops), where)
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
