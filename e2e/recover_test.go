package e2e

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/selftest"
)

// raftkv runs a command of the program and returns its exit code and what it wrote.
func raftkv(t *testing.T, args ...string) (int, string) {
	t.Helper()
	var out bytes.Buffer
	cmd := exec.CommandContext(deadline(t), binary, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode(), out.String()
	}
	if err != nil {
		t.Fatal(err)
	}
	return 0, out.String()
}

// wantRaftkv checks the exit code of a command, and that it says all of these.
func wantRaftkv(t *testing.T, code int, args []string, says ...string) {
	t.Helper()
	got, out := raftkv(t, args...)
	if got != code {
		t.Errorf("raftkv %s ended with %d, want %d:\n%s", strings.Join(args, " "), got, code, out)
	}
	for _, s := range says {
		if !strings.Contains(out, s) {
			t.Errorf("raftkv %s does not say %q:\n%s", strings.Join(args, " "), s, out)
		}
	}
}

// MB-14: two of three nodes are gone with their disks. The third one is made a
// cluster of its own, by hand, has the data, and grows to three again. A member
// of the old cluster that turns up has no say in it.
func TestLostMajorityIsRecovered(t *testing.T) {
	bothTiers(t)
	c := start(t, selftest.Options{YAML: small})
	fill(t, leader(t, c), "k", 300)
	sameState(t, c) // so that the survivor lacks nothing
	left, back, lost := c.Nodes[2], c.Nodes[0], c.Nodes[1]
	recover := []string{"data", "recover-cluster", "--dir", left.Data}
	wantRaftkv(t, 75, append(recover, "--i-accept-data-loss"), "in use by another process")
	for _, n := range c.Nodes {
		n.Kill()
	}
	if err := os.RemoveAll(lost.Data); err != nil {
		t.Fatal(err)
	}

	wantRaftkv(t, 6, recover, "LOSES", "expels", "n1", "n2", "none of it was done")
	if err := left.Start(); err != nil {
		t.Fatal(err)
	}
	until(t, "the last node to say that it has no leader", func() (bool, error) {
		code, body, err := left.Get(t.Context(), "/readyz")
		return err == nil && code != 200 && strings.Contains(string(body), "no leader"), nil
	})
	left.Kill()
	wantRaftkv(t, 0, append(recover, "--i-accept-data-loss"), "done", "of one voter", "member add")

	for _, n := range []*selftest.Node{left, back} { // the old member comes back meanwhile
		if err := n.Start(); err != nil {
			t.Fatal(err)
		}
	}
	ready := func(n *selftest.Node) {
		t.Helper()
		until(t, n.Name+" to serve", func() (bool, error) {
			s, err := n.Status(t.Context())
			return err == nil && s.Ready, nil
		})
	}
	ready(left)
	if got := do(t, left, "DBSIZE"); got != "300" {
		t.Errorf("%s keys after the recovery, want 300", got)
	}
	do(t, left, "SET", "after", "1")
	until(t, "the member of the old cluster to be refused", func() (bool, error) {
		log, err := os.ReadFile(back.Log)
		return strings.Contains(string(log), "belongs to cluster"), err
	})
	s, err := back.Status(t.Context())
	if err != nil || s.Ready || s.Leader != "" {
		t.Errorf("the member of the old cluster is ready (%v) under leader %q, %v", s.Ready, s.Leader, err)
	}
	back.Kill()
	var added []*selftest.Node
	for range 2 {
		n, err := c.Add()
		if err != nil {
			t.Fatal(err)
		}
		if err := n.Start(); err != nil {
			t.Fatal(err)
		}
		until(t, n.Name+" to answer", func() (bool, error) {
			_, _, err := n.Get(t.Context(), "/livez")
			return err == nil, nil
		})
		changeMember(t, c, "ADD", n)
		ready(n)
		caughtUp(t, n, left)
		changeMember(t, c, "PROMOTE", n)
		added = append(added, n)
	}
	// The three go on without any one of them.
	c.Nodes = []*selftest.Node{left, added[0], added[1]}
	sameState(t, c)
	left.Kill()
	c.Nodes = added
	if got := do(t, leader(t, c), "GET", "after"); got != "1" {
		t.Errorf("what was written after the recovery is %q", got)
	}
}
