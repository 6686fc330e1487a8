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
