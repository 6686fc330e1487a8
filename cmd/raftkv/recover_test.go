package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/raftkv/raftkv/internal/identity"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raftlog"
	"github.com/raftkv/raftkv/snapshot"
)

// survivor makes the data directory of n1, one of three voters, with these writes
// in its log and returns the ids of all three.
func survivor(t *testing.T, writes ...*raft.Write) (dir string, ids []raft.NodeID) {
	t.Helper()
	dir = t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	places := []identity.Place{{Name: "n1", Peer: "127.0.0.1:1"}, {Name: "n2", Peer: "127.0.0.1:2"}, {Name: "n3", Peer: "127.0.0.1:3"}}
	id, err := identity.Open(dir, identity.Config{Self: places[0], Voters: places})
	if err != nil {
		t.Fatal(err)
	}
	birth := &identity.Birth{Cluster: uuid.New()}
	for i, p := range places {
		node := uuid.New()
		if i == 0 {
			node = id.Node()
		}
		birth.Voters = append(birth.Voters, identity.Voter{Node: node, Place: p})
		ids = append(ids, identity.NodeIDOf(node))
	}
	if err := errors.Join(id.StoreBirth(birth, false), id.Close()); err != nil {
		t.Fatal(err)
	}
	log, err := raftlog.Open(filepath.Join(dir, logDir), raftlog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := log.Load(); err != nil {
		t.Fatal(err)
	}
	for _, w := range writes {
		if err := log.Write(w); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, ids
}

// bytesOf is everything in a directory.
func bytesOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		all[path] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// saveSnapshot puts a snapshot up to last beside the log.
func saveSnapshot(t *testing.T, dir string, meta raft.SnapshotMeta) {
	t.Helper()
	s, err := snapshot.OpenDir(snapshot.OS(), filepath.Join(dir, snapshotDir), snapshot.Options{})
	if err != nil {
		t.Fatal(err)
	}
	done := false
	err = s.Save(meta, func() ([]byte, error) {
		if done {
			return nil, io.EOF
		}
		done = true
		return []byte("state"), nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func entries(from raft.EntryID, n int) (es []raft.Entry) {
	for i := range n {
		es = append(es, raft.Entry{EntryID: raft.EntryID{Term: from.Term, Index: from.Index + raft.Index(i)}, Type: raft.EntryCommand, Data: []byte("x")})
	}
	return es
}

// After a recovery the node leads alone, with all that it had, in a cluster of
// its own; a dry run changes nothing (MB-14).
func TestRecoverCluster(t *testing.T) {
	written := &raft.Write{Seq: 1, State: raft.HardState{Term: 4, Vote: 7, Commit: 2}, Entries: entries(raft.EntryID{Term: 3, Index: 1}, 5)}
	for _, tc := range []struct {
		name     string
		writes   []*raft.Write
		snapshot raft.Index // at term 3, 0 is none
		last     raft.Index // before the recovery
	}{
		{"log alone", []*raft.Write{written}, 0, 5},
		{"snapshot within the log", []*raft.Write{written}, 3, 5},
		{"log ends before the snapshot", []*raft.Write{written}, 50, 50},
		{"empty", nil, 0, 0},
		{"fenced", []*raft.Write{written, {Seq: 2, State: raft.HardState{Term: 4, Vote: 7}, Fence: raft.FenceForever}}, 0, 5},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir, ids := survivor(t, tc.writes...)
			old, err := identity.Read(dir)
			if err != nil {
				t.Fatal(err)
			}
			meta := raft.SnapshotMeta{Config: old.Birth.Configuration()}
			if tc.snapshot > 0 {
				meta.Last = raft.EntryID{Term: 3, Index: tc.snapshot}
				saveSnapshot(t, dir, meta)
			}
			before := bytesOf(t, dir)
			var out bytes.Buffer
			if err := recoverCluster(&out, dir, false); codeOf(err) != exitCondition {
				t.Errorf("dry run: %v", err)
			}
			for path, b := range bytesOf(t, dir) {
				if before[path] != b && !strings.HasSuffix(path, ".db") { // bbolt touches its file when it opens it
					t.Errorf("the dry run changed %s", path)
				}
			}
			if err := recoverCluster(&out, dir, true); err != nil {
				t.Fatalf("%v\n%s", err, out.String())
			}
			rec, err := identity.Read(dir)
			if err != nil || rec.Birth.Cluster == old.Birth.Cluster || len(rec.Birth.Voters) != 1 || rec.Node != old.Node {
				t.Fatalf("identity %+v, %v", rec, err)
			}

			log, err := raftlog.Open(filepath.Join(dir, logDir), raftlog.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer log.Close()
			durable, err := log.Load()
			if err != nil {
				t.Fatal(err)
			}
			if durable.Snapshot = meta; tc.snapshot == 0 {
				durable.Snapshot.Config = rec.Birth.Configuration()
			}
			cfg := raft.DefaultConfig()
			cfg.ID, cfg.Boot = ids[0], 1
			core, err := raft.New(cfg, durable)
			if err != nil {
				t.Fatal(err)
			}
			for range 1000 {
				core.Tick()
				if w := core.Output(raft.Room{Write: true}).Write; w != nil {
					core.Wrote(w.Seq)
				}
			}
			s := core.Status()
			if s.Role != raft.Leader || len(s.Config.Members) != 1 || s.Config.Members[0].Peer != "127.0.0.1:1" || s.Commit != tc.last+2 {
				t.Errorf("%v, members %v, commit %d; want a leader alone with commit %d", s.Role, s.Config, s.Commit, tc.last+2)
			}
			for _, id := range ids[1:] {
				if !s.Config.WasRemoved(id) {
					t.Errorf("%v could come back", id)
				}
			}
			if err := core.CheckChange(ids[1], &raft.Member{ID: ids[1], Name: "n2", Learner: true}); err == nil {
				t.Error("a member of the old cluster could be added")
			}
		})
	}
}

func TestRecoverClusterRefuses(t *testing.T) {
	base := &raft.Write{Seq: 1, State: raft.HardState{Term: 3, Commit: 4}, Entries: entries(raft.EntryID{Term: 3, Index: 1}, 5)}
	for _, tc := range []struct {
		name   string
		spoil  func(t *testing.T) string
		code   exitCode
		advice string
	}{
		{"no identity", func(t *testing.T) string { return t.TempDir() }, exitFail, "identity"},
		{"in use", func(t *testing.T) string {
			dir, _ := survivor(t, base)
			id, err := identity.Take(dir)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { id.Close() })
			return dir
		}, exitTaken, "in use"},
		{"no state", func(t *testing.T) string {
			dir, _ := survivor(t, base, &raft.Write{Seq: 2, State: base.State, Base: raft.EntryID{Term: 3, Index: 2}})
			return dir
		}, exitDamaged, "no usable snapshot"},
		{"state known to be wrong", func(t *testing.T) string {
			dir, _ := survivor(t, base)
			if err := os.WriteFile(filepath.Join(dir, divergedFile), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			return dir
		}, exitDamaged, "known to be wrong"},
		{"removed", func(t *testing.T) string {
			c := raft.Configuration{Members: []raft.Member{{ID: 9, Name: "n9"}}}
			e := raft.Entry{EntryID: raft.EntryID{Term: 3, Index: 1}, Type: raft.EntryConfig, Data: raft.AppendConfiguration(nil, c)}
			dir, _ := survivor(t, &raft.Write{Seq: 1, State: raft.HardState{Term: 3}, Entries: []raft.Entry{e}})
			return dir
		}, exitFail, "it was removed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := recoverCluster(io.Discard, tc.spoil(t), true)
			if codeOf(err) != tc.code || !strings.Contains(err.Error(), tc.advice) {
				t.Errorf("code %d, %v; want %d and %q", codeOf(err), err, tc.code, tc.advice)
			}
		})
	}
}

// A fence is lifted by hand only, and then nothing that a peer remembers of this
// disk raises it again.
func TestLiftFence(t *testing.T) {
	for _, fence := range []raft.Fence{raft.FenceOneBack, raft.FenceForever} {
		dir, _ := survivor(t, &raft.Write{Seq: 7, State: raft.HardState{Term: 4, Vote: 7}, Entries: entries(raft.EntryID{Term: 3, Index: 1}, 2), Fence: fence})
		load := func() raft.Durable {
			log, err := raftlog.Open(filepath.Join(dir, logDir), raftlog.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer log.Close()
			d, err := log.Load()
			if err != nil {
				t.Fatal(err)
			}
			return d
		}
		var out bytes.Buffer
		if err := liftFence(&out, dir, false); codeOf(err) != exitCondition || load().Fence != fence || !strings.Contains(out.String(), "MAY LOSE") {
			t.Errorf("fence %d, dry run: %v, fence %d\n%s", fence, err, load().Fence, out.String())
		}
		if err := liftFence(&out, dir, true); err != nil {
			t.Fatal(err)
		}
		if d := load(); d.Fence != raft.FenceNone || d.Seq < 7+beyondMemory || d.State.Vote != 7 || d.State.Term != 4 || len(d.Entries) != 2 {
			t.Errorf("afterwards: %+v", d)
		}
		out.Reset()
		if err := liftFence(&out, dir, false); err != nil || !strings.Contains(out.String(), "nothing to do") {
			t.Errorf("without a fence: %v\n%s", err, out.String())
		}
	}
}
