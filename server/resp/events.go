package resp

import (
	"strings"

	"github.com/raftkv/raftkv/statemachine"
)

// eventSet is what notify-keyspace-events asks for. It never changes.
type eventSet struct {
	keyspace, keyevent bool
	classes            string // of g$lshzxetdn, and m
}

// allClasses is what the letter A stands for.
const allClasses = "g$lshzxetd"

// parseEvents reads Redis's letters.
func parseEvents(s string) (*eventSet, bool) {
	e := &eventSet{}
	for _, l := range s {
		switch {
		case l == 'K':
			e.keyspace = true
		case l == 'E':
			e.keyevent = true
		case l == 'A':
			for _, c := range allClasses {
				e.add(c)
			}
		case strings.ContainsRune(allClasses+"nm", l):
			e.add(l)
		default:
			return nil, false
		}
	}
	return e, true
}

func (e *eventSet) add(class rune) {
	if !strings.ContainsRune(e.classes, class) {
		e.classes += string(class)
	}
}

// String is the set as CONFIG GET tells it: in Redis's order, with A where all are
// there, which hides n.
func (e *eventSet) String() string {
	has := func(c rune) bool { return strings.ContainsRune(e.classes, c) }
	all, one := "A", ""
	for _, c := range allClasses {
		if has(c) {
			one += string(c)
		} else {
			all = ""
		}
	}
	if all == "" {
		all = one
	}
	if has('n') && all != "A" {
		all += "n"
	}
	if e.keyspace {
		all += "K"
	}
	if e.keyevent {
		all += "E"
	}
	if has('m') {
		all += "m"
	}
	return all
}

// wants tells whether a change becomes a notification.
func (e *eventSet) wants(c *statemachine.Change) bool {
	return (e.keyspace || e.keyevent) && c.Event != "" && (c.Kind == statemachine.ChangeKey || c.Kind == statemachine.ChangeNote) &&
		strings.IndexByte(e.classes, c.Class) >= 0
}
