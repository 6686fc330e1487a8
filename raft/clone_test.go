package raft_test

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/rafttest"
)

// busy makes a cluster with something in every field: reads, windows, changes, snapshots.
func busy(t *testing.T, steps int, each func(*rafttest.Cluster, *rafttest.Node, *rand.Rand)) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(7, 7))
	c := rafttest.NewWith(3, func(id raft.NodeID) raft.Config {
		cfg := raft.DefaultConfig()
		cfg.Seed, cfg.MaxWrites, cfg.MaxAppendBytes, cfg.MaxInflight = uint64(id), 3, 200, 3
		return cfg
	})
	for i := range steps {
		n := c.Nodes[rnd.IntN(len(c.Nodes))]
		c.Do(n, func(r *raft.Raft) {
			switch k := rnd.IntN(12); {
			case k == 0 && r.Role() == raft.Leader:
				_, _ = r.ChangeMember(raft.NodeID(4+i), &raft.Member{ID: raft.NodeID(4 + i), Name: string(rune(i)), Learner: true})
			case k < 3:
				_, _ = r.Propose([]byte{byte(i)}, 1)
			case k < 4:
				_ = r.Transfer(raft.NodeID(1 + rnd.IntN(3)))
			default:
				r.Tick()
			}
		})
		if n.Core.Role() == raft.Leader && rnd.IntN(4) == 0 {
			_, _ = c.Read(n, uint64(i))
		}
		if rnd.IntN(3) == 0 && len(n.Disk.Flight) > 0 {
			c.Land(n, true)
		}
		if rnd.IntN(10) == 0 && n.App.Last.Index > 0 {
			c.Snapshot(n, n.App.Last.Index-min(n.App.Last.Index, 3))
		}
		c.Flush(n)
		for k := rnd.IntN(4); k > 0 && len(c.Net) > 0; k-- {
			e := c.Net[0]
			c.Net = c.Net[1:]
			if rnd.IntN(8) > 0 {
				c.Receive(e)
			}
		}
		each(c, n, rnd)
	}
}

// Whatever happens to a clone, the original does not notice; and what happens to
// both happens alike, since nothing in a core comes from outside.
func TestCloneIsDeepAndAlike(t *testing.T) {
	roles := map[raft.Role]int{}
	busy(t, 600, func(c *rafttest.Cluster, n *rafttest.Node, rnd *rand.Rand) {
		roles[n.Core.Role()]++
		before := n.Core.AppendText(nil)
		a, b := n.Core.Clone(), n.Core.Clone()
		if !bytes.Equal(a.AppendText(nil), before) || a.Hash() != n.Core.Hash() {
			t.Fatalf("clone differs:\n%s\n%s", before, a.AppendText(nil))
		}
		seed := rnd.Uint64()
		for _, r := range []*raft.Raft{a, b} {
			mutate(r, c, n, rand.New(rand.NewPCG(seed, 1)))
			r.Verify()
		}
		if after := n.Core.AppendText(nil); !bytes.Equal(before, after) {
			t.Fatalf("the clone's life shows in the original:\n%s\n%s", before, after)
		}
		if x, y := a.AppendText(nil), b.AppendText(nil); !bytes.Equal(x, y) {
			t.Fatalf("two equal cores part ways:\n%s\n%s", x, y)
		}
	})
	if len(roles) < 4 {
		t.Errorf("saw roles %v only", roles)
	}
}

func mutate(r *raft.Raft, c *rafttest.Cluster, n *rafttest.Node, rnd *rand.Rand) {
	for range 5 {
		switch rnd.IntN(6) {
		case 0:
			_, _ = r.Propose([]byte("x"), 2)
		case 1:
			_, _ = r.Read(rnd.Uint64())
		case 2:
			for range rnd.IntN(100) {
				r.Tick()
			}
		case 3:
			if len(n.Disk.Flight) > 0 {
				r.Wrote(n.Disk.Flight[0].Seq)
			}
		case 4:
			for _, e := range c.Net {
				if e.To == n.ID {
					r.Receive(e.Message)
				}
			}
		case 5:
			r.Receive(raft.Message{Kind: raft.MsgAppend, From: n.ID%3 + 1, To: n.ID, Term: r.Term() + 1, Prev: raft.EntryID{}})
		}
		r.Output(raft.Room{Write: true, Apply: 100})
	}
}

// A field that a text leaves out would make two different cores look the same.
// So change every field there is, one at a time, in cores that have something in each.
func TestTextCoversEveryField(t *testing.T) {
	covers(t, func(r *raft.Raft) []byte { return r.AppendText(nil) }, nil)
}

// AppendState leaves out what only ticks change and what only people look at, and nothing else.
func TestStateCoversAllButTicks(t *testing.T) {
	same := raft.Naming{ID: func(id raft.NodeID) raft.NodeID { return id }, Boot: func(b uint64) uint64 { return b }}
	covers(t, func(r *raft.Raft) []byte { return r.AppendState(nil, same) }, []string{
		"cfg.", "rand", "now", "elapsed", "timeout", "heard", "beat", "behind", "forgotten", "softSent.", "reason",
		"log.bytes", // the sum of the entries
		"w.seq", "w.done", "w.flight[].seq", "w.flight[].age", "w.slowest[]", "w.period", "w.ended",
		"election.beat", "lead.transferTicks",
		"lead.windows[].timely", "lead.windows[].silent", "lead.windows[].stuck", "lead.windows[].sent[].tick",
		"lead.windows[].sentBytes", // the sum of sent
		"lead.appended",            // as what is behind each window
		"lead.low",                 // from the windows
		"follow.wanted",            // only for Status.Ready
		"answers[].Seq", ".Name", ".Peer", ".Client", ".HTTP",
	})
}

// covers changes every field of many cores and looks whether the text shows it,
// but for the fields left out, which must not show: names, or beginnings and ends
// with a dot there.
func covers(t *testing.T, text func(*raft.Raft) []byte, out []string) {
	missed, shown, seen := map[string]bool{}, map[string]bool{}, map[string]bool{}
	busy(t, 400, func(c *rafttest.Cluster, n *rafttest.Node, rnd *rand.Rand) {
		if rnd.IntN(20) > 0 {
			return
		}
		r := n.Core.Clone()
		before := text(r)
		leaves(reflect.ValueOf(r).Elem(), "Raft", func(path string, flip func()) {
			path = strings.TrimPrefix(path, "Raft.")
			flip()
			if seen[path] = true; bytes.Equal(before, text(r)) {
				missed[path] = true
			} else {
				shown[path] = true
			}
			flip()
		})
	})
	left := func(path string) bool {
		return path != "cfg.ID" && slices.ContainsFunc(out, func(o string) bool {
			return path == o || strings.HasSuffix(o, ".") && strings.HasPrefix(path, o) || strings.HasPrefix(o, ".") && strings.HasSuffix(path, o)
		})
	}
	for path := range missed {
		if !left(path) {
			t.Errorf("left out: %s", path)
		}
	}
	for path := range shown {
		// Stickiness and silence show when they cross an election timeout.
		if left(path) && !missed[path] {
			t.Errorf("shows, but should not: %s", path)
		}
	}
	if len(seen) < 80 {
		t.Errorf("only %d fields were looked at", len(seen))
	}
}

// leaves calls f for every number, flag and text in v, with what changes it and changes it back.
func leaves(v reflect.Value, path string, f func(path string, flip func())) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			name := path + "." + v.Type().Field(i).Name
			if path == "Raft.rand" {
				name = path
			}
			leaves(v.Field(i), name, f)
		}
	case reflect.Pointer:
		if !v.IsNil() {
			leaves(v.Elem(), path, f)
		}
	case reflect.Slice:
		if v.Len() > 0 {
			leaves(v.Index(v.Len()-1), path+"[]", f)
		}
	case reflect.Array:
		leaves(v.Index(0), path+"[]", f)
	default:
		v = reflect.NewAt(v.Type(), unsafe.Pointer(v.UnsafeAddr())).Elem()
		old := reflect.New(v.Type()).Elem()
		old.Set(v)
		changed := false
		f(path, func() {
			if changed {
				v.Set(old)
				return
			}
			changed = true
			switch {
			case v.CanInt() && v.Type() == reflect.TypeFor[raft.Role]():
				v.SetUint((v.Uint() + 1) % 4)
			case v.CanInt():
				v.SetInt(v.Int() + 1)
			case v.CanUint() && v.Type() == reflect.TypeFor[raft.Role]():
				v.SetUint((v.Uint() + 1) % 4)
			case v.CanUint():
				v.SetUint(v.Uint() ^ 1)
			case v.Kind() == reflect.Bool:
				v.SetBool(!v.Bool())
			case v.Kind() == reflect.String:
				v.SetString(v.String() + "x")
			default:
				panic("cannot change " + path + " of kind " + v.Kind().String())
			}
		})
	}
}
