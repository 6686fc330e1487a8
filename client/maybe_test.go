package client_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/raftkv/raftkv/client"
)

// scene is a server that opens sessions 1, 2, ... and answers the writes in its
// order; it notes the session of each.
type scene struct {
	mu       sync.Mutex
	opened   int
	answers  []string
	sessions []string
}

func (s *scene) say(words []string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch strings.ToUpper(words[0]) {
	case "RAFT":
		return "$1\r\nc\r\n"
	case "ONCE":
		s.sessions = append(s.sessions, words[1])
		if len(s.answers) == 0 {
			return "+OK\r\n"
		}
		a := s.answers[0]
		s.answers = s.answers[1:]
		return a + "\r\n"
	case "SESSION":
		if strings.EqualFold(words[1], "OPEN") {
			s.opened++
			return fmt.Sprintf(":%d\r\n", s.opened)
		}
	}
	return ":0\r\n"
}

const lost = "!" // no reply: the connection is given up

// A follower that answers MOVED did nothing: the write goes on to the next endpoint,
// with what is known of its earlier attempts.
func TestMovedIsAskedElsewhere(t *testing.T) {
	leader, follower := &scene{answers: []string{lost}}, &scene{}
	a := script(t, leader.say)
	follower.answers = []string{"-MOVED 0 " + a}
	c := dial(t, client.Config{Endpoints: []string{a, script(t, follower.say)}})
	if err := c.Put(t.Context(), "k", nil); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(leader.sessions, follower.sessions); got != "[1 1] [1]" {
		t.Errorf("the sessions of the writes are %s", got)
	}
}

// Where nobody but a follower is known, a write that only heard MOVED did nothing.
func TestMovedToNobodyKnown(t *testing.T) {
	s := &scene{answers: []string{"-MOVED 0 192.0.2.1:1"}}
	// A pause is longer than the time that is left: so the call ends between two attempts.
	c := dial(t, client.Config{Endpoints: []string{script(t, s.say)}, BackoffMin: 1e5 * time.Hour, BackoffMax: 1e5 * time.Hour})
	err := c.Put(t.Context(), "k", nil)
	if !errors.Is(err, client.ErrNotApplied) || errors.Is(err, client.ErrNoLeader) || !strings.Contains(err.Error(), "192.0.2.1:1") {
		t.Error(err)
	}
}

// Behind an attempt that may have run, a refusal by a server that didn't look at the
// session settles nothing, a result does (CS-06). Where nothing is settled, the
// session is given up: its number may be taken.
func TestRefusalsAfterALostAnswer(t *testing.T) {
	for _, tc := range []struct {
		reply   string
		unknown bool
	}{
		{"-SEQREUSED 1 ran another request", true},
		{"-NOPERM no permissions", true},
		{"-NOTLEADER n2", true},
		{"-ERR unknown command 'ONCE'", true},
		{"-ERR value is not an integer or out of range", false},
	} {
		s := &scene{answers: []string{lost, tc.reply}}
		a := script(t, s.say)
		c := dial(t, client.Config{Endpoints: []string{a}, Sessions: 1})
		err := c.Put(t.Context(), "k", nil)
		if errors.Is(err, client.ErrUnknown) != tc.unknown || errors.Is(err, client.ErrNotApplied) || err == nil {
			t.Errorf("%s: %v", tc.reply, err)
		}
		if err := c.Put(t.Context(), "k", nil); err != nil {
			t.Errorf("the write behind %s: %v", tc.reply, err)
		}
		want := "[1 1 1]"
		if tc.unknown {
			want = "[1 1 2]"
		}
		if got := fmt.Sprint(s.sessions); got != want {
			t.Errorf("%s: the sessions of the writes are %s, want %s", tc.reply, got, want)
		}
	}
}
