package e2e

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/raftkv/raftkv/internal/testenv"
	"github.com/raftkv/raftkv/selftest"
)

// PL-09: the disk of one node of three says that it synced and did not, and then the power of
// that node goes. Each time it comes back as it was some time ago: it refuses what is
// torn, or the first peer that heard more of it gives it away, and it is fenced for ever. The
// others never lose what was acknowledged, and the node is replaced.
func TestOneLyingDiskInACluster(t *testing.T) {
	needStrace(t)
	parallel(t)
	var liar atomic.Int32 // index of the node that lies
	c, disks := onDisks(t, 64, selftest.Options{YAML: lowSpace, Wrap: func(i int, argv []string) []string {
		if int32(i) != liar.Load() {
			return argv
		}
		return strace(argv, "fdatasync,fsync,msync,sync_file_range:retval=0")
	}})
	startAll(t, c)
	fenced, refused := 0, 0
	torment(t, c, func(w *selftest.Workload) {
		for i, n := range c.Nodes[:2] {
			n.Kill()
			liar.Store(int32(i + 1))
			startOne(t, c, n)
			if i == 0 { // once it leads, once it follows, so that it promises both ways
				leads(t, c, n)
			}
			for range 4 {
				progress(t, w)
			}
			liar.Store(0)
			cut(t, c, disks, n)
			progress(t, w)
			if err := n.Start(); err != nil {
				t.Fatal(err)
			}
			until(t, n.Name+" to be found out", func() (bool, error) {
				if n.Pid() == 0 {
					return true, nil
				}
				s, err := n.Status(t.Context())
				return err == nil && strings.Contains(s.Fence, "older copy"), fmt.Errorf("fence %q, %v", s.Fence, err)
			})
			if n.Pid() == 0 {
				refused++
				if err := n.Ends(deadline(t), 65); err != nil {
					t.Error(err)
				}
			} else {
				fenced++
				n.Kill()
			}
			progress(t, w)
			n.Log += ".anew" // that its term goes back is what happened here; the rules are for what follows
			replaceWiped(t, c, n)
		}
	})
	t.Logf("fenced %d times, refused %d times", fenced, refused)
}

// PL-01 for votes: the power of both others goes the moment that a node leads. One of
// them at least voted for it, and what it promised is on its disk.
func TestPowerCutKeepsVotes(t *testing.T) {
	testenv.FullOnly(t)
	parallel(t)
	c, disks := startOnDisks(t, 64, selftest.Options{YAML: lowSpace})
	record := regexp.MustCompile(`(?m)^log: term (\d+) vote (\S+) `)
	for range 4 {
		old := leader(t, c)
		was, err := old.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		old.Kill() // so that it is an election, and both others vote in it
		var now selftest.Status
		var voted []*selftest.Node
		until(t, "a node to lead", func() (bool, error) {
			for _, n := range c.Nodes {
				if n == old {
					continue
				}
				if s, err := n.Status(t.Context()); err == nil && s.Role == "leader" && s.Term > was.Term {
					now, voted = s, []*selftest.Node{third(c, old, n), n}
					return true, nil
				}
			}
			return false, nil
		})
		cut(t, c, disks, voted...)
		for _, n := range voted {
			out, code := command(t, "data", "check", n.Data)
			m := record.FindStringSubmatch(out)
			if code != 0 || m == nil {
				t.Fatalf("data check of %s: %d\n%s", n.Name, code, out)
			}
			if term, err := strconv.ParseUint(m[1], 10, 64); err != nil || term < now.Term || term == now.Term && m[2] != now.ID {
				t.Errorf("%s voted for %s in term %d, its disk says term %s, vote %s", n.Name, now.ID, now.Term, m[1], m[2])
			}
		}
		startAll(t, c)
	}
}
