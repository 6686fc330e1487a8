package raft_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/rafttest"
)

var update = flag.Bool("update", false, "rewrite what stands under the rules in testdata/*.txt")

// Each file in testdata is a conversation: commands, a rule, and what they made
// the cluster do. See play for the commands.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			got := playFile(t, string(want))
			if *update {
				if err := os.WriteFile(f, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(want) {
				t.Errorf("%s differs; if that is right: go test ./raft -update\n%s", f, diff(string(want), got))
			}
		})
	}
}

// playFile plays the blocks of a file and returns it with what really came out.
func playFile(t *testing.T, text string) string {
	s := &scenario{t: t}
	var out bytes.Buffer
	for block := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n\n") {
		if out.Len() > 0 {
			out.WriteString("\n")
		}
		commands, _, _ := strings.Cut(block+"\n", "----\n")
		out.WriteString(commands)
		s.out.Reset()
		played := false
		for line := range strings.SplitSeq(commands, "\n") {
			if f := strings.Fields(line); len(f) > 0 && !strings.HasPrefix(line, "#") {
				played = true
				s.play(line, f[0], f[1:])
			}
		}
		if played {
			s.commits()
			out.WriteString("----\n")
			out.Write(s.out.Bytes())
		}
	}
	return out.String()
}

// diff is the first place where two texts part, with what stands around it.
func diff(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	i := 0
	for i < len(w) && i < len(g) && w[i] == g[i] {
		i++
	}
	from := max(0, i-3)
	return fmt.Sprintf("line %d, want:\n%s\ngot:\n%s", i+1,
		strings.Join(w[from:min(i+6, len(w))], "\n"), strings.Join(g[from:min(i+6, len(g))], "\n"))
}

// scenario is the cluster of one file.
type scenario struct {
	t     *testing.T
	c     *rafttest.Cluster
	out   bytes.Buffer
	held  map[raft.NodeID]bool // the disk does nothing by itself
	cut   map[string]bool      // "1->2"
	quiet bool
	said  map[raft.NodeID]raft.Index
	reads uint64
}

func (s *scenario) printf(format string, args ...any) {
	if !s.quiet {
		fmt.Fprintf(&s.out, format+"\n", args...)
	}
}

// play runs one command:
//
//	cluster N [leader=ID] [KEY=N ...]  a new one; keys as in config below
//	propose ID WORD...                 and flush once: one batch
//	deliver [drop=A->B,...] [dup=..] [only=..]  what is in the net now, once, in order
//	settle                             deliver until nothing moves; no time passes
//	tick ID N                          | tick all N
//	heartbeat ID                       as many ticks as a heartbeat has, then flush
//	stand ID                           tick it until it opens a pre-vote; the other followers until they no longer hear a leader
//	quietly COMMAND...                 says nothing about it
//	hold ID / land ID [silent] / release ID   its disk: stop, do one write, go on
//	crash ID [landed=N] / start ID / forget ID   forget: crashed, one write back, fence up
//	cut A->B... / mend / lose          messages are dropped when they would be delivered / all that are under way
//	cut entries:A->B                   only messages that carry entries are
//	read ID / transfer ID TO / unreachable ID OF / full ID on|off / fence ID
//	learner ID NEW / promote ID M / demote ID M / remove ID M   asked of node ID
//	join ID                            start an empty node
//	snapshot ID [keep=N] / fetched ID / losesnapshot ID (crashed)
//	apply ID off|on                    whether the applier takes anything
//	message A->B KIND KEY=V...         hand-made, delivered at once
//	net / show                         what is under way / the state of all nodes
func (s *scenario) play(line, cmd string, args []string) {
	s.t.Helper()
	opts := map[string]string{}
	var pos []string
	for _, a := range args {
		if k, v, ok := strings.Cut(a, "="); ok {
			opts[k] = v
		} else {
			pos = append(pos, a)
		}
	}
	defer func() {
		if p := recover(); p != nil {
			s.t.Fatalf("%q: %v", line, p)
		}
	}()
	node := func(i int) *rafttest.Node { return s.c.Node(raft.NodeID(s.num(pos[i]))) }
	refused := func(err error) {
		if err != nil {
			s.printf("%s: %v", line, err)
		}
	}
	switch cmd {
	case "cluster":
		s.newCluster(s.num(pos[0]), opts)
	case "quietly":
		s.quiet = true
		s.play(line, pos[0], args[1:])
		s.quiet = false
	case "propose":
		for _, word := range pos[1:] {
			_, err := s.c.Propose(node(0), word, 1)
			refused(err)
		}
		s.flush(node(0))
	case "deliver":
		s.deliver(opts)
	case "settle":
		s.settle()
	case "tick":
		for _, n := range s.c.Nodes {
			for range s.num(pos[1]) {
				if n.Core != nil && (pos[0] == "all" || n == node(0)) {
					s.c.Tick(n)
					s.flush(n)
				}
			}
		}
	case "heartbeat":
		for range 5 {
			s.c.Tick(node(0))
		}
		s.flush(node(0))
	case "stand":
		for range 4000 { // beyond what slow writes stretch a timeout by
			for _, n := range s.c.Nodes {
				if n.Core != nil && n != node(0) && n.Core.Role() == raft.Follower && n.Core.Status().Ready {
					s.c.Tick(n)
				}
			}
			if r := node(0).Core.Role(); r != raft.Follower {
				return
			}
			s.c.Tick(node(0))
			s.flush(node(0))
		}
		s.printf("%s does not stand", pos[0])
	case "hold":
		s.held[node(0).ID] = true
	case "land":
		if len(node(0).Disk.Flight) == 0 {
			s.printf("%s has no write in flight", pos[0])
			return
		}
		s.c.Land(node(0), len(pos) == 1)
		s.flush(node(0))
	case "release":
		delete(s.held, node(0).ID)
		if node(0).Core != nil {
			s.flush(node(0))
		}
	case "crash":
		s.c.Crash(node(0), s.num(opts["landed"]))
	case "forget":
		s.c.Crash(node(0), 0)
		node(0).Disk.Forget()
	case "losesnapshot":
		node(0).Disk.Durable.Snapshot = raft.SnapshotMeta{Config: s.c.Node(1).Disk.Durable.Snapshot.Config}
	case "start":
		if err := s.c.Start(node(0)); err != nil {
			refused(err)
			return
		}
		s.said[node(0).ID] = node(0).Core.Commit()
		s.flush(node(0))
	case "cut":
		for _, p := range pos {
			s.cut[p] = true
		}
	case "lose":
		s.c.Net = nil
	case "mend":
		clear(s.cut)
	case "read":
		s.reads++
		_, err := s.c.Read(node(0), s.reads)
		refused(err)
		s.flush(node(0))
	case "transfer":
		s.c.Do(node(0), func(r *raft.Raft) { refused(r.Transfer(raft.NodeID(s.num(pos[1])))) })
		s.flush(node(0))
	case "unreachable":
		s.c.Do(node(0), func(r *raft.Raft) { r.Unreachable(raft.NodeID(s.num(pos[1]))) })
		s.flush(node(0))
	case "full":
		s.c.Do(node(0), func(r *raft.Raft) { r.SetFull(pos[1] == "on") })
		s.flush(node(0))
	case "fence":
		s.c.Do(node(0), func(r *raft.Raft) { r.SetFence(raft.FenceForever) })
		s.flush(node(0))
	case "learner", "promote", "demote", "remove":
		id := raft.NodeID(s.num(pos[1]))
		m := &raft.Member{ID: id, Name: fmt.Sprint("n", id), Learner: cmd != "promote"}
		if cmd == "remove" {
			m = nil
		}
		_, err := s.c.Change(node(0), id, m)
		refused(err)
		s.flush(node(0))
	case "join":
		s.c.Add(raft.NodeID(s.num(pos[0])), raft.SnapshotMeta{})
	case "snapshot":
		keep := raft.Index(s.num(opts["keep"]))
		if keep == 0 {
			keep = 1 << 40
		}
		s.c.Snapshot(node(0), keep)
		s.flush(node(0))
	case "fetched":
		if node(0).Fetch == nil {
			s.printf("%s fetches nothing", pos[0])
			return
		}
		s.c.Fetched(node(0))
		s.flush(node(0))
	case "apply":
		node(0).HoldApply = pos[1] == "off"
		s.flush(node(0))
	case "message":
		s.message(pos, opts)
	case "net":
		for _, e := range s.c.Net {
			s.printf("%v", e.Message)
		}
	case "show":
		s.show()
	default:
		s.t.Fatalf("unknown command %q", line)
	}
}

func (s *scenario) num(v string) int {
	if v == "" {
		return 0
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		s.t.Fatalf("%q is no number", v)
	}
	return n
}

func (s *scenario) newCluster(n int, opts map[string]string) {
	s.held, s.cut, s.said = map[raft.NodeID]bool{}, map[string]bool{}, map[raft.NodeID]raft.Index{}
	s.c = rafttest.NewWith(n, func(id raft.NodeID) raft.Config {
		c := raft.DefaultConfig()
		c.Seed = uint64(id) + 100
		for k, field := range map[string]*int{
			"writes": &c.MaxWrites, "append": &c.MaxAppendBytes, "inflight": &c.MaxInflight, "window": &c.MaxInflightBytes,
			"write": &c.MaxWriteBytes, "uncommitted": &c.MaxUncommittedBytes, "retained": &c.MaxRetainedBytes,
		} {
			if v := s.num(opts[k]); v > 0 {
				*field = v
			}
		}
		return c
	})
	if l := opts["leader"]; l != "" {
		s.quiet = true
		s.play("", "stand", []string{l})
		s.settle()
		s.play("", "heartbeat", []string{l})
		s.settle()
		s.commits()
		s.quiet = false
		if s.c.Leader() == nil {
			s.t.Fatalf("node %s was not elected", l)
		}
	}
}

// flush takes outputs until nothing more comes, and does the writes of a disk that is not held.
func (s *scenario) flush(n *rafttest.Node) {
	for range 1000 {
		term := n.Core.Term()
		out := s.c.Flush(n)
		if out.Soft != nil {
			s.printf("%v is %v t=%d leader=%v: %s", n.ID, out.Soft.Role, out.Soft.Term, out.Soft.Leader, out.Soft.Reason)
		}
		for _, d := range out.Reads {
			s.printf("%v read %d confirmed at %d", n.ID, d.ID, d.Index)
		}
		for _, id := range out.Lost {
			s.printf("%v read %d lost", n.ID, id)
		}
		if out.Install != nil {
			s.printf("%v fetches %v from %v", n.ID, out.Install.Meta.Last, out.Install.From)
		}
		if out.Write != nil && s.held[n.ID] {
			s.printf("%v %v", n.ID, out.Write)
		}
		if s.held[n.ID] || len(n.Disk.Flight) == 0 {
			if out.Write == nil && len(out.Messages) == 0 && n.Core.Term() == term {
				return
			}
			continue
		}
		s.c.Land(n, true)
	}
	s.t.Fatalf("node %v never rests", n.ID)
}

// lane is "from->to".
func lane(m raft.Message) string { return fmt.Sprintf("%v->%v", m.From, m.To) }

func (s *scenario) deliver(opts map[string]string) {
	in := func(key string, m raft.Message) bool {
		return slices.Contains(strings.Split(opts[key], ","), lane(m))
	}
	batch := s.c.Net
	s.c.Net = nil
	for _, e := range batch {
		switch {
		case opts["only"] != "" && !in("only", e.Message):
			s.c.Net = append(s.c.Net, e)
		case in("drop", e.Message) || s.cut[lane(e.Message)] || len(e.Entries) > 0 && s.cut["entries:"+lane(e.Message)]:
			s.printf("%v   dropped", e.Message)
		default:
			s.one(e, "")
			if in("dup", e.Message) {
				s.one(e, "   again")
			}
		}
	}
}

func (s *scenario) one(e *rafttest.Envelope, note string) {
	n := s.c.Node(e.To)
	if n.Core == nil {
		s.printf("%v   nobody there", e.Message)
		return
	}
	s.printf("%v%s", e.Message, note)
	s.c.Receive(e)
	s.flush(n)
}

func (s *scenario) settle() {
	for range 200 {
		if len(s.c.Net) == 0 {
			return
		}
		s.deliver(nil)
	}
	s.t.Fatal("the cluster does not settle: something answers itself without end")
}

// message builds a message by hand: what a node might hear from a faulty or long gone one.
func (s *scenario) message(pos []string, opts map[string]string) {
	from, to, _ := strings.Cut(pos[0], "->")
	m := raft.Message{From: raft.NodeID(s.num(from)), To: raft.NodeID(s.num(to)), Term: raft.Term(s.num(opts["t"])), Boot: 1}
	for k := raft.MsgAppend; k <= raft.MsgTimeoutNow; k++ {
		if k.String() == pos[1] {
			m.Kind = k
		}
	}
	id := func(v string) raft.EntryID {
		term, index, _ := strings.Cut(v, "/")
		return raft.EntryID{Term: raft.Term(s.num(term)), Index: raft.Index(s.num(index))}
	}
	m.Prev, m.Last, m.Hint = id(opts["prev"]), id(opts["last"]), id(opts["hint"])
	m.Commit, m.Match, m.Have = raft.Index(s.num(opts["commit"])), raft.Index(s.num(opts["match"])), raft.Index(s.num(opts["have"]))
	m.Round = uint64(s.num(opts["round"]))
	m.Granted, m.Transfer, m.Reject = slices.Contains(pos, "granted"), slices.Contains(pos, "transfer"), slices.Contains(pos, "reject")
	n := s.c.Node(m.To)
	s.c.Do(n, func(r *raft.Raft) { r.Receive(m) })
	s.flush(n)
}

// commits tells whose commit has moved since it was told last.
func (s *scenario) commits() {
	var moved []string
	all, same := true, raft.Index(0)
	for _, n := range s.c.Nodes {
		if n.Core == nil {
			all = false
			continue
		}
		c := n.Core.Commit()
		if c != s.said[n.ID] {
			moved = append(moved, fmt.Sprintf("%v:%d", n.ID, c))
			s.said[n.ID] = c
		} else {
			all = false
		}
		all = all && (same == 0 || same == c)
		same = c
	}
	switch {
	case all && len(moved) > 0:
		s.printf("all commit %d", same)
	case len(moved) > 0:
		s.printf("commit %s", strings.Join(moved, " "))
	}
}

func (s *scenario) show() {
	for _, n := range s.c.Nodes {
		if n.Core == nil {
			s.printf("%v is down, disk t=%d vote=%v last=%v", n.ID, n.Disk.Durable.State.Term, n.Disk.Durable.State.Vote, n.Disk.Last())
			continue
		}
		st := n.Core.Status()
		_, entries := n.Core.Log()
		line := fmt.Sprintf("%v %v t=%d vote=%v log=%v%v stable=%d commit=%d applied=%d members %v",
			n.ID, st.Role, st.Term, st.Vote, st.Base, entries, st.Stable, st.Commit, n.App.Last.Index, st.Config)
		if st.Fence != raft.FenceNone {
			line += fmt.Sprintf(" fence=%d", st.Fence)
		}
		if st.Refetch {
			line += " refetch"
		}
		if st.Forgotten > 0 {
			line += fmt.Sprintf(" forgotten=%d", st.Forgotten)
		}
		s.printf("%s", line)
	}
}
