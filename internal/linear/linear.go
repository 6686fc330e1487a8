// Package linear checks histories of clients for linearizability, key by key,
// with porcupine. The simulator and the tests of real processes share it.
package linear

import (
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"time"

	"github.com/anishathalye/porcupine"
)

// Op is one operation as its client saw it. Times only have to be of one clock.
type Op struct {
	Client       int
	Verb         string // get, set, append, del, incr, swap or cas
	Key, Value   string // the value that is written; of incr what is added, in decimal
	Call, Return int64

	// Before is what cas asks for: it writes Value if the key holds that, and
	// nothing else. Empty: if the key is missing.
	Before string

	// Unknown: it may have taken effect at any time after Call, or never. Nothing
	// below counts then, nor does Return.
	Unknown bool
	Seen    string // of get and swap: the value there was, empty if the key was missing
	Length  int    // of append: of the value then; of incr: the number then
	Ran     bool   // of cas: it says that it has written
}

// Errors of Check.
var (
	// ErrViolated means that no order of the operations explains what was seen.
	ErrViolated = errors.New("not linearizable")
	// ErrUndecided means that the check ran out of time: nothing was shown.
	ErrUndecided = errors.New("could not be checked in time")
	// ErrNothing means that there was nothing to check.
	ErrNothing = errors.New("no operation was recorded")
)

// Check tells whether a history is linearizable. A checker that runs out of
// time is a failure as well. picture, if not empty, is the file that a picture
// of a failure goes to.
func Check(ops []Op, timeout time.Duration, picture string) error {
	if len(ops) == 0 {
		return ErrNothing
	}
	history := make([]porcupine.Operation, 0, len(ops))
	for i := range ops {
		o := &ops[i]
		end := o.Return
		if o.Unknown {
			// Never is the same as after the last look at the key.
			end = math.MaxInt64
		}
		history = append(history, porcupine.Operation{ClientId: o.Client, Input: o, Call: o.Call, Output: o, Return: end})
	}
	m := model()
	verdict := porcupine.CheckOperationsTimeout(m, history, timeout)
	if verdict == porcupine.Ok {
		return nil
	}
	where := ""
	if picture != "" {
		// Once more: to keep what a picture needs costs, and is hardly ever wanted.
		_, info := porcupine.CheckOperationsVerbose(m, history, timeout)
		where = draw(m, info, picture)
	}
	if verdict == porcupine.Unknown {
		return fmt.Errorf("%d operations, %v: %w%s", len(ops), timeout, ErrUndecided, where)
	}
	return fmt.Errorf("%d operations: %w%s", len(ops), ErrViolated, where)
}

// draw writes the picture and says where it is.
func draw(m porcupine.Model, info porcupine.LinearizationInfo, path string) string {
	f, err := os.Create(path)
	if err == nil {
		err = porcupine.Visualize(m, info, f)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return fmt.Sprintf("; no picture: %v", err)
	}
	return "; see " + path
}

// model is a store of strings, one key at a time.
func model() porcupine.Model {
	return porcupine.Model{
		Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
			at := map[string]int{}
			var parts [][]porcupine.Operation
			for _, o := range history {
				key := o.Input.(*Op).Key
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
		Step: func(state, input, _ any) (bool, any) {
			s, o := state.(string), input.(*Op)
			switch o.Verb {
			case "set":
				return true, o.Value
			case "del":
				return true, ""
			case "append":
				return o.Unknown || o.Length == len(s)+len(o.Value), s + o.Value
			case "incr":
				was, _ := strconv.Atoi(s) // a missing one is 0
				by, _ := strconv.Atoi(o.Value)
				return o.Unknown || o.Length == was+by, strconv.Itoa(was + by)
			case "swap":
				return o.Unknown || o.Seen == s, o.Value
			case "cas":
				ran := s == o.Before
				if ran {
					s = o.Value
				}
				return o.Unknown || o.Ran == ran, s
			default:
				return o.Unknown || o.Seen == s, state
			}
		},
		DescribeOperation: func(input, _ any) string {
			o := input.(*Op)
			switch {
			case o.Unknown:
				return fmt.Sprintf("%s %s %s -> unknown", o.Verb, o.Key, o.Value)
			case o.Verb == "get":
				return fmt.Sprintf("get %s -> %q", o.Key, o.Seen)
			case o.Verb == "append", o.Verb == "incr":
				return fmt.Sprintf("%s %s %s -> %d", o.Verb, o.Key, o.Value, o.Length)
			case o.Verb == "swap":
				return fmt.Sprintf("swap %s %s -> %q", o.Key, o.Value, o.Seen)
			case o.Verb == "cas":
				return fmt.Sprintf("cas %s from %q to %s -> %v", o.Key, o.Before, o.Value, o.Ran)
			}
			return fmt.Sprintf("%s %s %s", o.Verb, o.Key, o.Value)
		},
		DescribeState: func(state any) string { return state.(string) },
	}
}
