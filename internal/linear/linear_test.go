package linear

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// What is wrong is found, what is right is let pass, and a picture is drawn.
func TestCheck(t *testing.T) {
	set := Op{Client: 1, Verb: "set", Key: "k", Value: "a", Call: 1, Return: 2}
	get := func(call int64, seen string) Op {
		return Op{Client: 2, Verb: "get", Key: "k", Seen: seen, Call: call, Return: call + 1}
	}
	unknown := Op{Client: 3, Verb: "append", Key: "k", Value: "b", Call: 3, Unknown: true}
	incr := func(call int64, now int) Op {
		return Op{Client: 4, Verb: "incr", Key: "k", Value: "2", Length: now, Call: call, Return: call + 1}
	}
	cas := func(call int64, before string, ran bool) Op {
		return Op{Client: 5, Verb: "cas", Key: "k", Before: before, Value: "c", Ran: ran, Call: call, Return: call + 1}
	}
	swap := Op{Client: 6, Verb: "swap", Key: "k", Value: "", Seen: "a", Call: 3, Return: 4}
	lostCas := Op{Client: 7, Verb: "cas", Key: "k", Before: "a", Value: "c", Call: 3, Unknown: true}
	for _, tc := range []struct {
		name string
		ops  []Op
		want error
	}{
		{"read of the newest", []Op{set, get(3, "a")}, nil},
		{"stale read", []Op{set, get(3, "")}, ErrViolated},
		{"another key", []Op{set, {Verb: "get", Key: "l", Call: 3, Return: 4}}, nil},
		{"unknown took effect late", []Op{set, unknown, get(10, "a"), get(20, "ab")}, nil},
		{"unknown never took effect", []Op{set, unknown, get(10, "a"), get(20, "a")}, nil},
		{"unknown came and went", []Op{set, unknown, get(10, "ab"), get(20, "a")}, ErrViolated},
		{"append of another length", []Op{set, {Verb: "append", Key: "k", Value: "b", Length: 1, Call: 3, Return: 4}}, ErrViolated},
		{"deleted", []Op{set, {Verb: "del", Key: "k", Call: 3, Return: 4}, get(5, "")}, nil},
		{"counted", []Op{incr(1, 2), incr(3, 4), get(5, "4")}, nil},
		{"counted twice", []Op{incr(1, 2), incr(3, 6)}, ErrViolated},
		{"changed as it was", []Op{set, cas(3, "a", true), get(5, "c"), cas(7, "a", false)}, nil},
		{"changed as it was not", []Op{set, cas(3, "b", true)}, ErrViolated},
		{"not changed as it was", []Op{set, cas(3, "a", false)}, ErrViolated},
		{"made as it was missing", []Op{cas(1, "", true), get(3, "c")}, nil},
		{"unknown change", []Op{set, lostCas, get(5, "c")}, nil},
		{"unknown change of something else", []Op{set, {Verb: "set", Key: "k", Value: "z", Call: 3, Return: 4}, {Verb: "cas", Key: "k", Before: "a", Value: "c", Call: 5, Unknown: true}, get(6, "c")}, ErrViolated},
		{"taken", []Op{set, swap, get(5, "")}, nil},
		{"taken twice", []Op{set, swap, {Client: 8, Verb: "swap", Key: "k", Seen: "a", Call: 5, Return: 6}}, ErrViolated},
		{"nothing", nil, ErrNothing},
	} {
		t.Run(tc.name, func(t *testing.T) {
			picture := filepath.Join(t.TempDir(), "picture.html")
			err := Check(tc.ops, time.Minute, picture)
			if !errors.Is(err, tc.want) {
				t.Fatalf("got %v, want %v", err, tc.want)
			}
			if _, statErr := os.Stat(picture); errors.Is(err, ErrViolated) != (statErr == nil) {
				t.Errorf("picture: %v after %v", statErr, err)
			}
		})
	}
}
