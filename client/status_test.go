package client_test

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/raftkv/raftkv/client"
	"github.com/raftkv/raftkv/node"
	"github.com/raftkv/raftkv/server/resp/resptest"
)

// A row for each member, and an unreachable one says so.
func TestStatus(t *testing.T) {
	m1, m2 := resptest.NewMemory(), resptest.NewMemory()
	a1, a2 := start(t, m1), start(t, m2)
	members := []node.MemberStatus{{ID: "1", Name: "n1", Client: a1, Active: true}, {ID: "2", Name: "n2", Client: a2}, {ID: "3", Name: "n3", Client: "127.0.0.1:1"}}
	m1.SetStatus(func(s *node.Status) { s.Members, s.StateHash = members, "00ff" })
	m2.SetStatus(func(s *node.Status) { s.Members, s.ID, s.Name, s.Role = members, "2", "n2", "follower" })
	c := dial(t, client.Config{Endpoints: []string{a2}})
	rows, err := c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range rows {
		got = append(got, fmt.Sprint(r.Name, " ", r.Role, " ", r.Error == ""))
	}
	if want := []string{"n1 leader true", "n2 follower true", "n3  false"}; !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	if rows[0].StateHash != "00ff" {
		t.Errorf("state hash %q", rows[0].StateHash)
	}
	if ms, err := c.Members(t.Context()); err != nil || len(ms) != 3 || ms[2].Name != "n3" {
		t.Errorf("members: %v %v", ms, err)
	}
}

// One node that hangs must not hold up what the others say.
func TestStatusDoesNotWaitForAFrozenNode(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0") // accepts and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	m := resptest.NewMemory()
	at := start(t, m)
	m.SetStatus(func(s *node.Status) { s.Members[0].Client = at })
	patiently(t, func(timeout time.Duration) bool {
		c := dial(t, client.Config{Endpoints: []string{at, ln.Addr().String()}, Timeout: time.Hour, StatusTimeout: timeout})
		rows, err := c.Status(t.Context())
		silent := fmt.Sprintf("no answer within %v", timeout)
		if len(rows) == 2 && rows[0].Error == silent {
			return false // the live one was not quick enough
		}
		if err != nil || len(rows) != 2 || rows[0].Error != "" || rows[1].Error != silent {
			t.Errorf("%+v %v", rows, err)
		}
		return true
	})
}

// A change goes to the leader, wherever the client is connected, and its answers are told apart.
func TestChangesGoToTheLeader(t *testing.T) {
	leader := resptest.NewMemory()
	at := start(t, leader)
	follower := script(t, func(words []string) string {
		if words[1] == "ID" {
			return fmt.Sprintf("$%d\r\n%s\r\n", len(leader.Status().Cluster), leader.Status().Cluster)
		}
		return "-NOTLEADER " + at + " this node doesn't lead\r\n"
	})
	c := dial(t, client.Config{Endpoints: []string{follower}})
	if said, err := c.AddMember(t.Context(), "n9", "h:1", false); err != nil || said != "added n9" {
		t.Errorf("%q %v", said, err)
	}
	if ms := leader.Status().Members; ms[len(ms)-1].Name != "n9" {
		t.Errorf("members %v", ms)
	}
	for text, want := range map[string]error{
		"REFUSED it is behind":        client.ErrCondition,
		"UNKNOWNOUTCOME no answer":    client.ErrUnknown,
		"CLUSTERDOWN no leader":       client.ErrNoLeader,
		"TRYAGAIN another is pending": client.ErrNotApplied,
	} {
		addr := script(t, func(words []string) string {
			if words[1] == "ID" {
				return "$1\r\nc\r\n"
			}
			return "-" + text + "\r\n"
		})
		c := dial(t, client.Config{Endpoints: []string{addr}, BackoffMin: 1000 * time.Hour, BackoffMax: 1000 * time.Hour})
		if _, err := c.Remove(t.Context(), "n1", true); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", text, err, want)
		}
	}
}
