package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/internal/identity"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raftlog"
)

// dataDir makes the data directory of a stopped node with one entry in its log.
func dataDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	self := identity.Place{Name: "n1", Peer: "127.0.0.1:1"}
	id, err := identity.Open(dir, identity.Config{Self: self, Voters: []identity.Place{self}})
	if err != nil {
		t.Fatal(err)
	}
	if err := id.Close(); err != nil {
		t.Fatal(err)
	}
	log, err := raftlog.Open(filepath.Join(dir, logDir), raftlog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := log.Load(); err != nil {
		t.Fatal(err)
	}
	e := raft.Entry{EntryID: raft.EntryID{Term: 1, Index: 1}, Type: raft.EntryCommand, Data: []byte("payload-to-damage")}
	if err := log.Write(&raft.Write{Seq: 1, State: raft.HardState{Term: 1, Vote: 7}, Entries: []raft.Entry{e}}); err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestDataCheck(t *testing.T) {
	dir := dataDir(t)
	var out bytes.Buffer
	if err := checkData(&out, dir, raftlog.DumpOptions{Entries: true, Data: 64}); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for _, want := range []string{"node n1", "1 entries", "payload-to-damage"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("output lacks %q:\n%s", want, out.String())
		}
	}

	files, err := filepath.Glob(filepath.Join(dir, logDir, "*.db"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no log files: %v", err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(f, bytes.ReplaceAll(b, []byte("payload"), []byte("paylOad")), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, identity.FileName), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	out.Reset()
	err = checkData(&out, dir, raftlog.DumpOptions{})
	if codeOf(err) != exitDamaged || !strings.Contains(out.String(), "FAULT") || !strings.Contains(err.Error(), "entry 1") {
		t.Errorf("damaged data: code %d, %v\n%s", codeOf(err), err, out.String())
	}
	if err := checkData(&out, filepath.Join(dir, "nowhere"), raftlog.DumpOptions{}); codeOf(err) != exitFail {
		t.Errorf("missing directory: code %d, %v", codeOf(err), err)
	}
}
