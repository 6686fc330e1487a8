package e2e

import (
	"errors"
	"fmt"
	"testing"

	"github.com/raftkv/raftkv/selftest"
)

// leads hands leadership over until a node has it.
func leads(t *testing.T, c *selftest.Cluster, n *selftest.Node) {
	t.Helper()
	until(t, n.Name+" to lead", func() (bool, error) {
		l := leader(t, c)
		if l == n {
			return true, nil
		}
		_, text := write(t, l, "RAFT", "TRANSFER", n.Name)
		return false, errors.New(text)
	})
}

// UP-01, UP-03, UP-04: the nodes are replaced one by one by a binary that knows a
// newer level, while clients work. The level is raised when the last one is there,
// and not before. From then on the older binary refuses the data, and the newer one goes on with it.
func TestRollingUpgrade(t *testing.T) {
	bothTiers(t)
	newer, upgraded := withFaults(t), map[int]bool{}
	c := start(t, selftest.Options{
		Env: []string{"FAULT_LEVEL=2"}, // the older one does not know that variable
		Wrap: func(node int, argv []string) []string {
			if upgraded[node] {
				argv[0] = newer
			}
			return argv
		},
	})
	levels := func(want uint32) {
		t.Helper()
		until(t, fmt.Sprintf("level %d on all nodes", want), func() (bool, error) {
			for _, n := range c.Nodes {
				if s, err := n.Status(t.Context()); err != nil || s.Level != want {
					return false, err
				}
			}
			return true, nil
		})
	}
	torment(t, c, func(w *selftest.Workload) {
		levels(1)
		for i, n := range c.Nodes {
			n.Terminate()
			if code, err := n.Wait(deadline(t)); err != nil || code != 0 {
				t.Fatalf("%s ended with %d, %v", n.Name, code, err)
			}
			upgraded[i+1] = true
			startOne(t, c, n)
			progress(t, w)
			if i < len(c.Nodes)-1 {
				// Were it up to the newer binaries, one that leads would raise it now.
				leads(t, c, n)
				s, err := n.Status(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				until(t, "some looks at the levels", func() (bool, error) {
					now, err := n.Status(t.Context())
					return now.UptimeSeconds > s.UptimeSeconds+1, err
				})
				levels(1)
			}
		}
		levels(2)
		progress(t, w) // the entry lies below what the disks know to be committed
	})
	n := c.Nodes[0]
	n.Kill()
	upgraded[1] = false
	ends(t, n, 65, "the data here is of level 2, this binary knows level 1: start the newer binary again")
	upgraded[1] = true
	startOne(t, c, n)
	levels(2)
	sameState(t, c)
}
