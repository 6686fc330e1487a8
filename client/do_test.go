package client_test

import (
	"errors"
	"testing"

	"github.com/raftkv/raftkv/client"
	"github.com/raftkv/raftkv/server/resp/resptest"
)

// The connection is shared: a command that changes it would change what everybody
// else asked for.
func TestNobodyChangesTheSharedConnection(t *testing.T) {
	c := dial(t, client.Config{Endpoints: []string{start(t, resptest.NewMemory())}})
	for _, args := range [][]string{
		{"MULTI"}, {"watch", "k"}, {"SUBSCRIBE", "c"}, {"PSUBSCRIBE", "c*"}, {"MONITOR"}, {"RESET"}, {"QUIT"}, {"HELLO", "2"},
		{"READONLY"}, {"CLIENT", "REPLY", "OFF"}, {"CLIENT", "TRACKING", "ON"},
	} {
		if v, err := c.Do(t.Context(), args...); !errors.Is(err, client.ErrNotApplied) {
			t.Fatalf("%q: %v, %v", args, v, err)
		}
		if err := c.Put(t.Context(), "k", []byte("v")); err != nil {
			t.Fatalf("put behind %q: %v", args, err)
		}
	}
	if v, err := c.Do(t.Context(), "CLIENT", "ID"); err != nil || v.Int == 0 {
		t.Errorf("client id: %v, %v", v, err)
	}
}
