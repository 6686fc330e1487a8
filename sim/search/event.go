package search

import (
	"fmt"
	"strings"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/rafttest"
)

// event is one thing that happens. Its arg is the place of the message in net,
// the writes that a crash leaves, the node that shall lead, or the change. With
// more the node takes no output behind it: the next event is one of the same node, and shares it.
type event struct {
	kind Kind
	node raft.NodeID
	arg  uint16
	more bool
}

// events appends what may happen in s.
func (s *state) events(b *Budget, out []event) []event {
	for i, p := range s.net {
		out = s.mayBe(event{Deliver, p.To, uint16(i), false}, out)
		if s.left[Again] > 0 {
			out = s.mayBe(event{Again, p.To, uint16(i), false}, out)
		}
	}
	for _, n := range s.c.Nodes {
		if s.open == raft.None || s.open == n.ID {
			out = s.nodeEvents(b, n, out)
		}
	}
	return out
}

// A loop of node takes everything that waits in its inbox, in this order (node/inbox.go),
// and then the output. What its own clients want comes at the end; what other nodes forward,
// and entries that only let time pass, come before.
const (
	stepDisk = iota
	stepApplier
	stepFiles // snapshots, space
	stepLinks
	stepMessages
	stepAdmin
	stepTick // of one tick, in this order
	stepHeir
	stepEnd
)

// step is where in a turn of the loop an event comes, and where the turn is behind it:
// at its end, there is nothing more.
func (k Kind) step() (at, then uint8) {
	switch k {
	case Land:
		return stepDisk, stepDisk
	case Applied:
		return stepApplier, stepApplier
	case Snapshot, Fetched, Unfetched, Full:
		return stepFiles, stepFiles
	case Gone:
		return stepLinks, stepLinks
	case Deliver, Again:
		return stepMessages, stepMessages
	case Bid: // the last answer to its request
		return stepMessages, stepMessages
	case Transfer, Change:
		return stepAdmin, stepAdmin
	case Beat:
		return stepTick, stepHeir
	case GiveUp:
		return stepHeir, stepEnd
	case Propose:
		return stepEnd, stepApplier
	case Read:
		return stepEnd, stepMessages
	}
	return stepEnd, stepEnd
}

// mayBe appends e, and e with more, as far as they fit behind what the node has
// taken in this turn.
func (s *state) mayBe(e event, out []event) []event {
	at, then := e.kind.step()
	if s.open != raft.None {
		switch {
		case e.node != s.open, at < s.step:
			return out
		case e.kind == Crash, e.kind == Forget: // as before the turn: nothing has left
			return out
		case e.kind == Bid, e.kind == Gather: // the first of a turn, or none
			return out
		}
	}
	out = append(out, e)
	if s.left[Burst] > 0 && then < stepEnd {
		e.more = true
		out = append(out, e)
	}
	return out
}

func (s *state) nodeEvents(b *Budget, n *rafttest.Node, out []event) []event {
	add := func(k Kind, arg int) { out = s.mayBe(event{k, n.ID, uint16(arg), false}, out) }
	if len(n.Disk.Flight) > 0 {
		add(Land, 0)
	}
	if len(n.Queue) > 0 {
		add(Applied, 0)
	}
	if n.Fetch != nil {
		add(Fetched, 0)
		if s.left[Unfetched] > 0 {
			add(Unfetched, 0)
		}
	}
	if s.left[Full] > 0 {
		add(Full, 0)
	}
	if l := n.Core.Leader(); s.left[Gone] > 0 && l != raft.None && l != n.ID {
		add(Gone, int(l))
	}
	if s.left[Crash] > 0 {
		for k := range len(n.Disk.Flight) + 1 {
			add(Crash, k)
		}
	}
	if s.left[Forget] > 0 {
		add(Forget, 0)
	}
	leads := n.Core.Role() == raft.Leader
	for _, k := range []Kind{Bid, Timeout} {
		if s.left[k] > 0 && !leads {
			add(k, 0)
		}
	}
	if s.left[Beat] > 0 && n.Core.Role() != raft.Follower {
		add(Beat, 0)
	}
	if s.left[Snapshot] > 0 && n.App.Last.Index > n.Disk.Durable.Snapshot.Last.Index {
		add(Snapshot, 0)
	}
	if !leads {
		return out
	}
	for _, k := range []Kind{Deaf, Hang, GiveUp, Propose, Read} {
		if s.left[k] > 0 {
			add(k, 0)
		}
	}
	switch {
	case n.Gather:
		add(Release, 0)
	case s.left[Gather] > 0:
		add(Gather, 0)
	}
	if s.left[Transfer] > 0 {
		for _, o := range s.c.Nodes {
			if o.ID != n.ID {
				add(Transfer, int(o.ID))
			}
		}
	}
	if s.left[Change] > 0 {
		for i := range b.Changes {
			add(Change, i)
		}
	}
	return out
}

// text is the commands of a scenario that make e happen in s.
func (s *state) text(b *Budget, e event) string {
	if e.more {
		e.more = false
		return "pending " + s.text(b, e)
	}
	switch e.kind {
	case Deliver:
		return "one " + s.net[e.arg].Message.String()
	case Again:
		return "again " + s.net[e.arg].Message.String()
	case Crash:
		return fmt.Sprintf("crash %v landed=%d\nstart %v", e.node, e.arg, e.node)
	case Forget:
		return fmt.Sprintf("forget %v\nstart %v", e.node, e.node)
	case Transfer:
		return fmt.Sprintf("transfer %v %d", e.node, e.arg)
	case Change:
		cmd, rest, _ := strings.Cut(b.Changes[e.arg], " ")
		return fmt.Sprintf("%s %v %s", cmd, e.node, rest)
	case Propose:
		return fmt.Sprintf("propose %v %s", e.node, s.word())
	case Gone:
		return fmt.Sprintf("unreachable %v %d", e.node, e.arg)
	case Full:
		return fmt.Sprintf("full %v %s", e.node, onOff(!s.c.Node(e.node).Full))
	case Gather, Release:
		return fmt.Sprintf("gather %v %s", e.node, onOff(e.kind == Gather))
	}
	return fmt.Sprintf("%v %v", e.kind, e.node)
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

// word is what the next proposal says: another one each time.
func (s *state) word() string { return string('a' + rune(s.said)) }

// after is the state that e leads to, or nil if e does not happen in s.
// What breaks a rule comes back as an error.
func (s *state) after(b *Budget, e event) (t *state, broken error) {
	t = s.branch(e.node)
	defer func() {
		if p := recover(); p != nil {
			broken = fmt.Errorf("%v", p)
		}
	}()
	if s.left[e.kind] > 0 {
		t.left[e.kind]--
	}
	n := t.c.Node(e.node)
	if e.kind == Deliver {
		t.drop(int(e.arg))
	}
	if !t.happen(b, n, e, s) {
		return nil, nil
	}
	if e.more {
		_, then := e.kind.step()
		t.left[Burst]--
		t.open, t.step = n.ID, max(s.step, then)
	} else {
		t.open, t.step = raft.None, 0
		t.flush(n)
	}
	t.settled(b, n)
	return t, nil
}

// happen makes e happen on n, without its outputs.
func (t *state) happen(b *Budget, n *rafttest.Node, e event, before *state) bool {
	c := t.c
	switch e.kind {
	case Deliver, Again:
		c.Receive(before.net[e.arg].Envelope)
	case Land:
		c.Land(n, true)
	case Crash, Forget:
		c.Crash(n, int(e.arg))
		if e.kind == Forget {
			n.Disk.Forget()
		}
		if err := c.Start(n); err != nil {
			panic(fmt.Sprintf("node %v does not start: %v", n.ID, err))
		}
	case Bid:
		return c.Bid(n)
	case Timeout:
		return c.Expire(n, raft.TimerElection)
	case Beat:
		return c.Expire(n, raft.TimerHeartbeat)
	case Deaf:
		return c.Expire(n, raft.TimerQuorum)
	case Hang:
		return c.Expire(n, raft.TimerDisk)
	case GiveUp:
		return c.Expire(n, raft.TimerTransfer)
	case Gone:
		c.Unreachable(n, raft.NodeID(e.arg))
	case Full:
		c.SetFull(n, !n.Full)
	case Gather, Release:
		n.Gather = e.kind == Gather
	case Propose:
		word := t.word()
		t.said++
		_, err := c.Propose(n, word, 1)
		return err == nil
	case Read:
		t.asked++
		_, err := c.Read(n, uint64(t.asked))
		return err == nil
	case Snapshot:
		c.Snapshot(n, n.App.Last.Index+1)
	case Fetched:
		c.Fetched(n)
	case Unfetched:
		c.Unfetched(n)
	case Applied:
		c.Apply(n, len(n.Queue))
	case Transfer:
		return transfer(c, n, raft.NodeID(e.arg))
	case Change:
		return change(c, n, b.Changes[e.arg]) == nil
	}
	return true
}

func transfer(c *rafttest.Cluster, n *rafttest.Node, to raft.NodeID) (ok bool) {
	c.Do(n, func(r *raft.Raft) { ok = r.Transfer(to) == nil })
	return ok
}

// change asks n for what a command of scenarios says: "learner 4", "promote 4",
// "demote 3", "remove 3".
func change(c *rafttest.Cluster, n *rafttest.Node, text string) error {
	var cmd string
	var id raft.NodeID
	if _, err := fmt.Sscanf(text, "%s %d", &cmd, &id); err != nil {
		return fmt.Errorf("change %q: %w", text, err)
	}
	m := &raft.Member{ID: id, Name: fmt.Sprint("n", uint64(id)), Learner: cmd != "promote"}
	if cmd == "remove" {
		m = nil
	}
	_, err := c.Change(n, id, m)
	return err
}
