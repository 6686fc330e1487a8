package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/raftkv/raftkv/raft"
)

// The whole life: it serves, roles change, the leader is killed and comes back, all stop in order.
func TestDevCluster(t *testing.T) {
	c := newCluster(t, 3)
	c.dev.twice = deadline
	c.lead(t, 1, 7)
	c.start(t)
	at := c.screen.wait(t, 0, "the cluster serves: n2 leads term 7")
	at = c.screen.wait(t, at, "Role changes follow")
	all, _ := c.screen.text()
	host := c.dev.layout.host
	for _, want := range []string{
		"n1   clients " + host + ":5001  http://" + host + ":5201/status",
		"log " + filepath.Join(c.dev.layout.dir, "node3.log"),
		" put --endpoints " + host + ":5001," + host + ":5002," + host + ":5003 greeting hello",
		"redis-cli -h " + host + " -p 5001",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is missing in\n%s", want, all)
		}
	}

	c.lead(t, 0, 8)
	c.screen.wait(t, at, "n1 leads term 8")
	c.screen.wait(t, at, "n2 is follower in term 8, n1 leads")
	c.put(t, 2, "status", `{"role":"candidate","term":9}`)
	at = c.screen.wait(t, at, "n3 is candidate in term 9")
	c.lead(t, 0, 10) // the same leader, but elected again
	at = c.screen.wait(t, at, "n1 leads term 10")

	if err := syscall.Kill(pidAfter(t, all, "kill -9 "), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	at = c.screen.wait(t, at, "n2 ended: killed by signal 9 (killed). Starting it again in 1ms.")
	c.screen.wait(t, at, "n2 serves again, pid ")

	c.lead(t, 1, 11)
	c.screen.wait(t, at, "n1 is follower in term 11, n2 leads")
	at = c.screen.wait(t, at, "n2 leads term 11")
	c.signals <- syscall.SIGINT
	c.signals <- syscall.SIGINT // the same Ctrl-C once more, by a wrapper
	if err := c.wait(t); err != nil {
		t.Errorf("ended with %v", err)
	}
	c.screen.wait(t, at, "n2 stopped: exit code 0")
	c.screen.wait(t, at, "all nodes are stopped")
	stops, err := os.ReadFile(filepath.Join(c.dev.layout.dir, "stops"))
	if got := strings.Fields(string(stops)); err != nil || strings.Join(got, " ") != "n1 n3 n2" {
		t.Errorf("stopped in the order %v, want the leader n2 last (%v)", got, err)
	}
}

// A node that a restart can't help stays down, and the end of its log is shown.
func TestDevLeavesHopelessNodes(t *testing.T) {
	c := newCluster(t, 5)
	codes := []exitCode{exitDamaged, exitIdentity, exitPermission, exitConfig}
	for i, code := range codes {
		c.put(t, i+1, "die", strconv.Itoa(int(code)))
	}
	c.start(t)
	for i, code := range codes {
		c.screen.wait(t, 0, fmt.Sprintf("n%d ended: %v (exit code %d). That needs your hand; it isn't started again. The end of %s:\n    first line\n    sorry, I can't: %d\n",
			i+2, code, int(code), filepath.Join(c.dev.layout.dir, fmt.Sprintf("node%d.log", i+2)), int(code)))
	}
	c.connect(t, 0)
	c.signals <- syscall.SIGTERM
	if err := c.wait(t); err != nil {
		t.Errorf("ended with %v", err)
	}
	if all, _ := c.screen.text(); strings.Contains(all, "Starting it again") {
		t.Errorf("a hopeless node was started again:\n%s", all)
	}
}

// With no node left there is nothing to look after: dev ends as the last one did.
func TestDevEndsWhenNoNodeIsLeft(t *testing.T) {
	c := newCluster(t, 3)
	for i := range 3 {
		c.put(t, i, "die", "78")
	}
	c.start(t)
	if err := c.wait(t); codeOf(err) != exitConfig {
		t.Errorf("ended with %v, code %d", err, codeOf(err))
	}
}

// Other ends are tried again, slower and slower.
func TestDevRetriesWithBackoff(t *testing.T) {
	c := newCluster(t, 1)
	c.lead(t, 0, 1)
	c.put(t, 0, "die", "74")
	c.start(t)
	at := 0
	for _, pause := range []string{"1ms", "2ms", "4ms", "4ms"} {
		at = c.screen.wait(t, at, "n1 ended: disk error (exit code 74). Starting it again in "+pause+". The end of ")
	}
	c.put(t, 0, "die", "")
	c.screen.wait(t, at, "the cluster serves: n1 leads term 1")
	c.signals <- syscall.SIGTERM
	if err := c.wait(t); err != nil {
		t.Errorf("ended with %v", err)
	}
}

func TestBackoff(t *testing.T) {
	b := backoff{500 * time.Millisecond, 15 * time.Second}
	for failures, want := range map[int]time.Duration{0: b.first, 1: time.Second, 4: 8 * time.Second, 5: b.max, 1 << 40: b.max} {
		if got := b.pause(failures); got != want {
			t.Errorf("pause(%d) = %v, want %v", failures, got, want)
		}
	}
}

// A status that is no status, or too long, is no answer.
func TestLook(t *testing.T) {
	c := newCluster(t, 1)
	c.start(t)
	c.connect(t, 0)
	client := &http.Client{Timeout: deadline}
	url := "http://" + c.dev.layout.voter(0).HTTP
	for _, tc := range []struct {
		text string
		want devStatus
	}{
		{`{"role":"leader","term":3,"leader_name":"n1","other":[1]}`, devStatus{"leader", "n1", 3}},
		{`{"role":5}`, devStatus{}},
		{`[`, devStatus{}},
		{strings.Repeat(" ", 1<<20) + `{"role":"leader"}`, devStatus{}},
	} {
		c.put(t, 0, "status", tc.text)
		got, ready := look(t.Context(), client, url)
		if ready != (got.Role != "") {
			t.Errorf("%.20q: ready %v", tc.text, ready)
		}
		if got != tc.want {
			t.Errorf("%.20q: %+v, want %+v", tc.text, got, tc.want)
		}
	}
}

func TestRoleNameIsRafts(t *testing.T) {
	if roleLeader != raft.Leader.String() {
		t.Errorf("%q is not %q", roleLeader, raft.Leader)
	}
	if b, err := json.Marshal(devStatus{Role: roleLeader}); err != nil || !strings.Contains(string(b), `"role":"leader"`) {
		t.Errorf("%s %v", b, err)
	}
}
