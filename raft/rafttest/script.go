package rafttest

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/raftkv/raftkv/raft"
)

// Script plays the commands of scenario files on a cluster and writes down what
// they make it do. What a command can't mean, and what breaks a rule, panics.
type Script struct {
	C     *Cluster // made by the command cluster
	Reads uint64   // asked so far, which is the id of the last one

	out   bytes.Buffer
	held  map[raft.NodeID]bool // the disk does nothing by itself
	cut   map[string]bool      // "1->2"
	quiet bool
	later bool // take no output
	said  map[raft.NodeID]raft.Index
}

func (s *Script) printf(format string, args ...any) {
	if !s.quiet {
		fmt.Fprintf(&s.out, format+"\n", args...)
	}
}

// Broken is what Play panics with: the command, and what is wrong with it or with what it did.
type Broken struct{ Command, Why string }

func (b Broken) Error() string { return fmt.Sprintf("%q: %s", b.Command, b.Why) }

// Output is what was written down since it was called last.
func (s *Script) Output() []byte {
	b := bytes.Clone(s.out.Bytes())
	s.out.Reset()
	return b
}

// Play runs one command, or none if the line is empty or a comment:
//
//	cluster N [leader=ID] [KEY=N ...]  a new one; keys as in newCluster; disloyal=1: no stickiness
//	propose ID WORD...                 and flush once: one batch
//	deliver [drop=A->B,...] [dup=..] [only=..]  what is in the net now, once, in order
//	settle                             deliver until nothing moves; no time passes
//	tick ID N                          | tick all N
//	heartbeat ID                       as many ticks as a heartbeat has, then flush
//	bid ID                             its timer runs out and all others grant its pre-vote
//	timeout ID / beat ID / deaf ID     its election timer, its heartbeat, or its patience with silent members runs out
//	hang ID / giveup ID                its patience with its own disk, or with the heir of its leadership, runs out
//	one MESSAGE / again MESSAGE        deliver the oldest message with this text, and keep it in the net
//	stand ID                           tick it until it opens a pre-vote; the other followers until they no longer hear a leader
//	quietly COMMAND...                 says nothing about it
//	pending COMMAND...                 takes no output behind it: the next command to this node does
//	hold ID / land ID [silent] / release ID   its disk: stop, do one write, go on
//	crash ID [landed=N] / start ID / forget ID   forget: crashed, one write back, fence up
//	cut A->B... / mend / lose          messages are dropped when they would be delivered / all that are under way
//	cut entries:A->B                   only messages that carry entries are
//	read ID / transfer ID TO / unreachable ID OF / full ID on|off / fence ID
//	learner ID NEW / promote ID M / demote ID M / remove ID M   asked of node ID
//	join ID                            start an empty node
//	snapshot ID [keep=N] / fetched ID / unfetched ID / losesnapshot ID (crashed)   unfetched: the fetch failed
//	apply ID off|on / applied ID       whether the applier takes anything / it has applied all that it was given
//	gather ID on|off                   whether new commands wait for more of them
//	message A->B KIND KEY=V...         hand-made, delivered at once
//	net / show                         what is under way / the state of all nodes
func (s *Script) Play(line string) {
	if f := strings.Fields(line); len(f) > 0 && !strings.HasPrefix(line, "#") {
		s.play(line, f[0], f[1:])
	}
}

func (s *Script) play(line, cmd string, args []string) {
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
			if b, ok := p.(Broken); ok {
				panic(b)
			}
			panic(Broken{line, fmt.Sprint(p)})
		}
	}()
	node := func(i int) *Node { return s.C.Node(raft.NodeID(s.num(pos[i]))) }
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
	case "pending":
		s.later = true
		s.play(line, pos[0], args[1:])
		s.later = false
	case "propose":
		for _, word := range pos[1:] {
			_, err := s.C.Propose(node(0), word, 1)
			refused(err)
		}
		s.flush(node(0))
	case "deliver":
		s.deliver(opts)
	case "settle":
		s.settle()
	case "tick":
		for _, n := range s.C.Nodes {
			for range s.num(pos[1]) {
				if n.Core != nil && (pos[0] == "all" || n == node(0)) {
					s.C.Tick(n)
					s.flush(n)
				}
			}
		}
	case "heartbeat":
		for range 5 {
			s.C.Tick(node(0))
		}
		s.flush(node(0))
	case "stand":
		for range 4000 { // beyond what slow writes stretch a timeout by
			for _, n := range s.C.Nodes {
				if n.Core != nil && n != node(0) && n.Core.Role() == raft.Follower && n.Core.Status().Ready {
					s.C.Tick(n)
				}
			}
			if r := node(0).Core.Role(); r != raft.Follower {
				return
			}
			s.C.Tick(node(0))
			s.flush(node(0))
		}
		s.printf("%s does not stand", pos[0])
	case "bid":
		s.C.Bid(node(0))
		s.flush(node(0))
	case "timeout", "beat", "deaf", "hang", "giveup":
		t := map[string]raft.Timer{
			"timeout": raft.TimerElection, "beat": raft.TimerHeartbeat, "deaf": raft.TimerQuorum, "hang": raft.TimerDisk, "giveup": raft.TimerTransfer,
		}[cmd]
		if !s.C.Expire(node(0), t) {
			s.printf("%s: nothing to do", line)
		}
		s.flush(node(0))
	case "one", "again":
		_, text, _ := strings.Cut(line, cmd+" ")
		text = strings.TrimSpace(text)
		i := slices.IndexFunc(s.C.Net, func(e *Envelope) bool { return e.Message.String() == text })
		if i < 0 {
			panic("no such message is under way")
		}
		e := s.C.Net[i]
		if cmd == "one" {
			s.C.Net = slices.Delete(slices.Clone(s.C.Net), i, i+1)
		}
		s.one(e, "")
	case "hold":
		s.held[node(0).ID] = true
	case "land":
		if len(node(0).Disk.Flight) == 0 {
			s.printf("%s has no write in flight", pos[0])
			return
		}
		s.C.Land(node(0), len(pos) == 1)
		s.flush(node(0))
	case "release":
		delete(s.held, node(0).ID)
		if node(0).Core != nil {
			s.flush(node(0))
		}
	case "crash":
		s.C.Crash(node(0), s.num(opts["landed"]))
	case "forget":
		s.C.Crash(node(0), 0)
		node(0).Disk.Forget()
	case "losesnapshot":
		node(0).Disk.Durable.Snapshot = raft.SnapshotMeta{Config: s.C.Node(1).Disk.Durable.Snapshot.Config}
	case "start":
		if err := s.C.Start(node(0)); err != nil {
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
		s.C.Net = nil
	case "mend":
		clear(s.cut)
	case "read":
		s.Reads++
		_, err := s.C.Read(node(0), s.Reads)
		refused(err)
		s.flush(node(0))
	case "transfer":
		s.C.Do(node(0), func(r *raft.Raft) { refused(r.Transfer(raft.NodeID(s.num(pos[1])))) })
		s.flush(node(0))
	case "unreachable":
		s.C.Unreachable(node(0), raft.NodeID(s.num(pos[1])))
		s.flush(node(0))
	case "full":
		s.C.SetFull(node(0), pos[1] == "on")
		s.flush(node(0))
	case "low":
		s.C.Do(node(0), func(r *raft.Raft) { r.SetLow(pos[1] == "on") })
		s.flush(node(0))
	case "fence":
		s.C.Do(node(0), func(r *raft.Raft) { r.SetFence(raft.FenceForever) })
		s.flush(node(0))
	case "learner", "promote", "demote", "remove":
		id := raft.NodeID(s.num(pos[1]))
		m := &raft.Member{ID: id, Name: fmt.Sprint("n", id), Learner: cmd != "promote"}
		if cmd == "remove" {
			m = nil
		}
		_, err := s.C.Change(node(0), id, m)
		refused(err)
		s.flush(node(0))
	case "join":
		s.C.Add(raft.NodeID(s.num(pos[0])), raft.SnapshotMeta{})
	case "snapshot":
		keep := raft.Index(s.num(opts["keep"]))
		if keep == 0 {
			keep = 1 << 40
		}
		s.C.Snapshot(node(0), keep)
		s.flush(node(0))
	case "fetched":
		if node(0).Fetch == nil {
			s.printf("%s fetches nothing", pos[0])
			return
		}
		s.C.Fetched(node(0))
		s.flush(node(0))
	case "unfetched":
		s.C.Unfetched(node(0))
		s.flush(node(0))
	case "gather":
		node(0).Gather = pos[1] == "on"
		s.flush(node(0))
	case "applied":
		s.C.Apply(node(0), len(node(0).Queue))
		s.flush(node(0))
	case "apply":
		node(0).HoldApply = pos[1] == "off"
		s.flush(node(0))
	case "message":
		s.message(pos, opts)
	case "net":
		for _, e := range s.C.Net {
			s.printf("%v", e.Message)
		}
	case "show":
		s.show()
	default:
		panic("unknown command")
	}
}

func (s *Script) num(v string) int {
	if v == "" {
		return 0
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		panic(fmt.Sprintf("%q is no number", v))
	}
	return n
}

func (s *Script) newCluster(n int, opts map[string]string) {
	s.held, s.cut, s.said = map[raft.NodeID]bool{}, map[string]bool{}, map[raft.NodeID]raft.Index{}
	s.C = NewWith(n, func(id raft.NodeID) raft.Config {
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
	s.C.Disloyal = opts["disloyal"] != ""
	if l := opts["leader"]; l != "" {
		s.quiet = true
		s.play("", "stand", []string{l})
		s.settle()
		s.play("", "heartbeat", []string{l})
		s.settle()
		s.Commits()
		s.quiet = false
		if s.C.Leader() == nil {
			panic(fmt.Sprintf("node %s was not elected", l))
		}
	}
}

// flush takes outputs until nothing more comes, and does the writes of a disk that is not held.
func (s *Script) flush(n *Node) {
	if s.later {
		return
	}
	for range 1000 {
		term := n.Core.Term()
		out := s.C.Flush(n)
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
		s.C.Land(n, true)
	}
	panic(fmt.Sprintf("node %v never rests", n.ID))
}

// lane is "from->to".
func lane(m raft.Message) string { return fmt.Sprintf("%v->%v", m.From, m.To) }

func (s *Script) deliver(opts map[string]string) {
	in := func(key string, m raft.Message) bool {
		return slices.Contains(strings.Split(opts[key], ","), lane(m))
	}
	batch := s.C.Net
	s.C.Net = nil
	for _, e := range batch {
		switch {
		case opts["only"] != "" && !in("only", e.Message):
			s.C.Net = append(s.C.Net, e)
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

func (s *Script) one(e *Envelope, note string) {
	n := s.C.Node(e.To)
	if n.Core == nil {
		s.printf("%v   nobody there", e.Message)
		return
	}
	s.printf("%v%s", e.Message, note)
	s.C.Receive(e)
	s.flush(n)
}

func (s *Script) settle() {
	for range 200 {
		if len(s.C.Net) == 0 {
			return
		}
		s.deliver(nil)
	}
	panic("the cluster does not settle: something answers itself without end")
}

// message builds a message by hand: what a node might hear from a faulty or long gone one.
func (s *Script) message(pos []string, opts map[string]string) {
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
	n := s.C.Node(m.To)
	s.C.Do(n, func(r *raft.Raft) { r.Receive(m) })
	s.flush(n)
}

// Commits writes down whose commit has moved since it was told last.
func (s *Script) Commits() {
	var moved []string
	all, same := true, raft.Index(0)
	for _, n := range s.C.Nodes {
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

func (s *Script) show() {
	for _, n := range s.C.Nodes {
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
